"""Induction: random tokens, then the same again; what comes next is what came next before.

The task of Olsson et al. 2022, "In-context Learning and Induction Heads". It is made of tokens, not of text.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from random import Random
from types import MappingProxyType
from typing import Any, Literal, cast

import torch

from scrub.graph import TaskError
from scrub.tasks.encoding import Prefix, prefix_ids, token_text
from scrub.tasks.generators.registry import Effect, generator
from scrub.tasks.generators.vocabulary import enough
from scrub.tasks.generators.words import Arrangements, choose, draw
from scrub.tasks.task import Task

VARIANTS: Mapping[str, Effect] = MappingProxyType({"random": "undefined", "reversed": "changed"})
_SHORTEST = 3


@generator(
    prompts=None, variants=VARIANTS, settings=[{}, {"predictions": "all", "length": 6}, {"length": 3, "prefix": 0}]
)
def induction(
    tokenizer: Any,
    n: int = 100,
    seed: int = 0,
    *,
    counterfactual: str = "random",
    length: int = 10,
    predictions: Literal["last", "all"] = "last",
    prefix: Prefix = (),
    token_ids: Sequence[int] | None = None,
) -> Task:
    """`length` different random tokens, and the same again without the last, which is the right answer.

        x1 x2 ... xL x1 x2 ... x(L-1)  ->  xL

    A wrong answer is a token of the counterfactual's first half: that at the place of the right one for "random", the
    one that is right there for "reversed".

    Token positions: "end", the last token; "earlier", where the same token was before; "successor", the one after
    that. Facts: "counterfactual", "counterfactual_answers" (one token id for each prediction, or none).

    Args:
        tokenizer: tells which token ids there are: a `tokenizers.Tokenizer`, one of `transformers`, or anything where
            `token_ids` are given, None too.
        n: number of prompts.
        seed: of everything that is drawn.
        counterfactual: the second half stays. "random" has in place of the first half other tokens, none of them in
            the second, so that nothing is repeated; "reversed" has the first half in reverse, so that what came
            before is right.
        length: of a half, at least 3.
        predictions: "last" reads one prediction, after the last token; "all" reads one after each token of the second
            half but its first.
        prefix: in front of everything: an id, ids, or the text of a special token.
        token_ids: those to draw from; all but special ones if not given.

    Raises:
        TaskError: an option that is not known, n below 1, a length below 3, fewer than 2 * length tokens, or a
            tokenizer that does not say how many it has.

    >>> task = induction(None, 1, token_ids=range(8), length=4, counterfactual="reversed")
    >>> task.tokens[0, :4].equal(task.tokens[0, 4:]), task.tokens[0, 3].equal(task.answers[0, 0, 0])
    (False, True)
    """
    choose("counterfactual", counterfactual, VARIANTS)
    choose("predictions", predictions, {"last": "last", "all": "all"})
    if length < _SHORTEST:
        raise TaskError(
            f"length={length}: nothing comes before and after a repeated token",
            expected=f"length >= {_SHORTEST}",
            found=length,
            hint=f"take length={_SHORTEST} or more",
        )
    known = sorted(_ids_of(tokenizer) if token_ids is None else token_ids)
    known = enough(known, least=2 * length, of=known, option="token_ids", what="that differ and are not special")
    rng = Random(seed)
    rows = [list(row) for (row,) in draw(rng, n, Arrangements(known, length))]
    if counterfactual == "reversed":
        firsts = [row[::-1] for row in rows]
    else:
        firsts = [rng.sample([token for token in known if token not in used], length) for used in map(set, rows)]
    places = range(1, length - 1) if predictions == "all" else range(length - 2, length - 1)
    wrong = [
        [[row[place - 1] if counterfactual == "reversed" else first[place + 1]] for place in places]
        for row, first in zip(rows, firsts, strict=True)
    ]
    start = prefix_ids(tokenizer, prefix)
    last = torch.full((n,), len(start) + 2 * length - 2)
    there = [tuple(token for (token,) in of_row) if counterfactual == "reversed" else () for of_row in wrong]
    return Task.from_tokens(
        "induction",
        [start + row + row[:-1] for row in rows],
        counterfactual=[start + first + row[:-1] for first, row in zip(firsts, rows, strict=True)],
        positions=[[len(start) + length + place for place in places]] * n,
        answers=[[[row[place + 1]] for place in places] for row in rows],
        wrong=wrong,
        token_positions={"end": last, "earlier": last - length, "successor": last - length + 1},
        facts=[{"counterfactual": counterfactual, "counterfactual_answers": answers} for answers in there],
        token_text={token: token_text(tokenizer, token) for token in {*start, *itertools.chain(*rows, *firsts)}},
    )


def _ids_of(tokenizer: Any) -> list[int]:
    """The ids of a tokenizer, without those of special tokens.

    Raises:
        TaskError: it does not say which it has.
    """
    vocabulary = getattr(tokenizer, "get_vocab", None)
    if vocabulary is None:
        raise TaskError(
            f"{type(tokenizer).__name__} does not say which tokens it has",
            expected="get_vocab(), as tokenizers of `tokenizers` and `transformers` have",
            found=type(tokenizer).__name__,
            hint="give the ids to draw from: token_ids=range(1000)",
        )
    added: Callable[[], Mapping[int, object]] = getattr(tokenizer, "get_added_tokens_decoder", lambda: {})
    named: Sequence[int] = getattr(tokenizer, "all_special_ids", ())
    return sorted(set(cast(Mapping[str, int], vocabulary()).values()) - {*named, *added()})
