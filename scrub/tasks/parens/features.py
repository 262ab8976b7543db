"""What hypotheses say about sequences of parentheses: exact features of rows of tokens.

Every feature is a function of tokens [n, 42] to int64 [n] or [n, k], and two rows are of one class where theirs are
equal. All of it is counting with integers, so that a share that is 1/2 is 1/2.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from scrub.tasks.parens.data import CLOSE, END, OPEN, PAD, is_balanced

Feature = Callable[[torch.Tensor], torch.Tensor]

AT_PAD, END_AFTER_OPEN, END_AFTER_CLOSE, MOSTLY_OPEN, NOT_MOSTLY_OPEN = range(5)
"""Classes of a position, see `position_classes`."""
BAD_CLASSES = (END_AFTER_OPEN, MOSTLY_OPEN)
"""Where from a position on there are more "(" than ")"."""
STARTS_CLOSED = (-1, -1)
"""What `p` gives for sequences that start with ")"."""


def n_open(tokens: torch.Tensor) -> torch.Tensor:
    """[n]: how many "(" there are."""
    return (tokens == OPEN).sum(1)


def n_close(tokens: torch.Tensor) -> torch.Tensor:
    """[n]: how many ")" there are."""
    return (tokens == CLOSE).sum(1)


def length(tokens: torch.Tensor) -> torch.Tensor:
    """[n]: number of parentheses."""
    return (tokens >= OPEN).sum(1)


def count(tokens: torch.Tensor) -> torch.Tensor:
    """[n]: 1 where there are as many "(" as ")".

    >>> from scrub.tasks.parens.data import from_strings
    >>> count(from_strings(["(())", "))((", "(()"]))
    tensor([1, 1, 0])
    """
    return (n_open(tokens) == n_close(tokens)).long()


def start(tokens: torch.Tensor) -> torch.Tensor:
    """[n]: 1 where the first parenthesis is "("."""
    return (tokens[:, 1] == OPEN).long()


def horizon(tokens: torch.Tensor) -> torch.Tensor:
    """[n]: 1 where, reading from the right, no suffix has more "(" than ")".

    >>> from scrub.tasks.parens.data import from_strings
    >>> horizon(from_strings(["(())", "())(", "))))", "(())(())(("]))
    tensor([1, 0, 1, 0])
    """
    return (open_surplus(tokens) <= 0).all(1).long()


def count_and_start(tokens: torch.Tensor) -> torch.Tensor:
    """[n]: 1 where both hold."""
    return count(tokens) * start(tokens)


def balanced(tokens: torch.Tensor) -> torch.Tensor:
    """[n]: the label, 1 where the sequence is balanced: where `count` and `horizon` hold."""
    return is_balanced(tokens)


def p(tokens: torch.Tensor) -> torch.Tensor:
    """[n, 2]: the share of "(" as a reduced fraction, `STARTS_CLOSED` for all sequences that start with ")".

    >>> from scrub.tasks.parens.data import from_strings
    >>> p(from_strings(["()", "(())", "(((("])).tolist()
    [[1, 2], [1, 2], [1, 1]]
    >>> p(from_strings([")(", "))"])).tolist()
    [[-1, -1], [-1, -1]]
    """
    fraction = share_of_open(tokens)
    return torch.where(start(tokens)[:, None] == 1, fraction, torch.tensor(STARTS_CLOSED, device=tokens.device))


def share_of_open(tokens: torch.Tensor) -> torch.Tensor:
    """[n, 2]: the share of "(" as a reduced fraction, numerator and denominator."""
    opened, total = n_open(tokens), length(tokens)
    divisor = torch.gcd(opened, total).clamp(min=1)
    return torch.stack([opened // divisor, total // divisor], dim=1)


def open_surplus(tokens: torch.Tensor) -> torch.Tensor:
    """[n, 42]: from each position on, how many more "(" than ")" there are.

    >>> from scrub.tasks.parens.data import from_strings
    >>> open_surplus(from_strings(["())("]))[0, :7].tolist()
    [0, 0, -1, 0, 1, 0, 0]
    """
    step = (tokens == OPEN).long() - (tokens == CLOSE).long()
    return step.flip(1).cumsum(1).flip(1)


def position_classes(tokens: torch.Tensor) -> torch.Tensor:
    """[n, 42]: the class of every position.

    `AT_PAD`; `END_AFTER_OPEN`, `END_AFTER_CLOSE` at END; elsewhere `MOSTLY_OPEN` where the share of "(" among the
    parentheses from there on exceeds 1/2, else `NOT_MOSTLY_OPEN`.

    >>> from scrub.tasks.parens.data import from_strings
    >>> position_classes(from_strings(["())("]))[0, :7].tolist()
    [4, 4, 4, 4, 3, 1, 0]
    """
    classes = torch.where(open_surplus(tokens) > 0, MOSTLY_OPEN, NOT_MOSTLY_OPEN)
    before = tokens.roll(1, 1)
    classes[tokens == END] = END_AFTER_CLOSE
    classes[(tokens == END) & (before == OPEN)] = END_AFTER_OPEN
    classes[tokens == PAD] = AT_PAD
    return classes


def position_class(i: int) -> Feature:
    """The class of position i: a feature; see `position_classes`.

    >>> from scrub.tasks.parens.data import from_strings
    >>> position_class(3)(from_strings(["()", "((", "(())"])).tolist() == [END_AFTER_CLOSE, END_AFTER_OPEN, 4]
    True
    """

    def feature(tokens: torch.Tensor) -> torch.Tensor:
        return position_classes(tokens)[:, i]

    feature.__name__ = f"position_class_{i}"
    return feature


def no_bad_position(tokens: torch.Tensor) -> torch.Tensor:
    """[n]: 1 where no position is in one of the `BAD_CLASSES`: `horizon`, put the way a head could see it."""
    return no_bad_class(position_classes(tokens))


def no_bad_class(classes: torch.Tensor) -> torch.Tensor:
    """[n]: 1 where none of the classes of positions [n, 42] is one of the `BAD_CLASSES`."""
    is_bad = torch.stack([classes == bad for bad in BAD_CLASSES]).any(0)
    return (~is_bad.any(1)).long()
