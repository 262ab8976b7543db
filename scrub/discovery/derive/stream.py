"""The residual stream of an expression: its sums, found by their skip connections.

A residual sum adds something to what that was computed from: x + f(x). What such sums add up, with the sums in it
opened, are the terms: what the writers write. Whatever computes a term from earlier sums is a reader of those.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from scrub.discovery.derive.walks import depending, opened, outside_bodies, reads
from scrub.graph import Add, DiscoveryError, Expr
from scrub.rewrite import Matcher
from scrub.rewrite.matcher import MatcherIn


@dataclass(frozen=True)
class Stream:
    """Residual sums and their terms.

    Attributes:
        root: the expression, with those calls opened whose bodies hold parts of the stream.
        states: every value of the stream that is read: a residual sum, or a term that is read by itself -> its terms.
        terms: every term of every sum, in order of computation.
        constants: those terms that no input reaches.
    """

    root: Expr
    states: dict[Expr, tuple[Expr, ...]]
    terms: tuple[Expr, ...]
    constants: frozenset[Expr]


def find_stream(root: Expr, inputs: Sequence[Expr], sums: MatcherIn | None = None) -> Stream:
    """Find the residual stream of an expression.

    Args:
        root: the logits, or whatever the model computes.
        inputs: what the model reads: the symbols of tokens, or of the first residual stream.
        sums: finds the residual sums, where they are not to be found by their skip connections.

    Raises:
        DiscoveryError: there are none.
    """
    if sums is None:
        root = opened(root, lambda call: bool(skip_sums(call.body, call.bindings)), inputs)
        found = skip_sums(root, inputs)
    else:
        is_sum = Matcher(sums)
        found = [node for node in outside_bodies([root]) if isinstance(node, Add) and is_sum(node)]
    if not found:
        raise DiscoveryError(
            f"{root!r} has no residual stream: no sum adds something to what that was computed from",
            nodes=[root],
            expected="sums x + f(x)",
            hint="sums= takes a matcher of the sums that components write to",
        )
    shape = found[-1].shape  # the one closest to the result; others are sums within components
    chosen = [node for node in _sums_of(root, set(inputs)) if node.shape == shape]
    chosen += [node for node in found if node.shape == shape]
    touched = depending(root, set(inputs))
    terms_of = {node: _terms(node, set(chosen), touched) for node in chosen}
    terms = dict.fromkeys(term for node in chosen for term in terms_of[node])
    constants = frozenset(term for term in terms if term not in touched)
    states = {node: terms_of[node] for node in chosen} | {term: (term,) for term in terms if term not in constants}
    order = [node for node in outside_bodies([root]) if node in terms]
    return Stream(root, states, tuple(order), constants)


def skip_sums(root: Expr, inputs: Iterable[Expr]) -> list[Expr]:
    """Sums that add something to what that was computed from, those first that are computed first.

    What is added has the shape of the sum: in x - mean(x) nothing is written to x.

    Args:
        root: the expression.
        inputs: what the stream comes from; tables of positions that every layer adds are no stream.
    """
    live = depending(root, set(inputs))
    found: list[Expr] = []
    for node in outside_bodies([root]):
        if isinstance(node, Add) and len(node.children) > 1:
            terms = _opened_terms(node)
            whole = [term for term in terms if term.shape == node.shape and term in live]
            if any(_is_read_by(term, others) for term, others in _each_and_others(whole, node)):
                found.append(node)
    return found


def _sums_of(root: Expr, inputs: set[Expr]) -> list[Expr]:
    """Sums of several inputs, such as the embeddings of tokens and of positions where these are apart."""
    return [
        node
        for node in outside_bodies([root])
        if isinstance(node, Add) and len(node.children) > 1 and inputs.issuperset(node.children)
    ]


def _each_and_others(terms: list[Expr], node: Expr) -> list[tuple[Expr, list[Expr]]]:
    carried = [*terms, *(child for child in node.children if isinstance(child, Add) and child.shape == node.shape)]
    return [(term, [other for other in terms if other is not term]) for term in carried]


def _is_read_by(term: Expr, others: Sequence[Expr]) -> bool:
    """Whether one of the others is computed from the term by more than adding."""
    return any(term in set(outside_bodies([other])) and not isinstance(other, Add) for other in others)


def _opened_terms(node: Expr) -> list[Expr]:
    """What a nested sum of one shape adds up."""
    terms: list[Expr] = []
    stack: list[Expr] = [node]
    while stack:
        at = stack.pop()
        if isinstance(at, Add) and at.shape == node.shape and at.children:
            stack.extend(reversed(at.children))
        else:
            terms.append(at)
    return terms


def _terms(node: Expr, sums: set[Expr], touched: set[Expr]) -> tuple[Expr, ...]:
    """What a residual sum adds up: other residual sums are opened, and sums of several things that inputs reach."""
    terms: list[Expr] = []
    stack = [node]
    while stack:
        at = stack.pop()
        if isinstance(at, Add) and at.shape == node.shape and (at in sums or _adds_several(at, sums, touched)):
            stack.extend(reversed(at.children))
        else:
            terms.append(at)
    return tuple(terms)


def _adds_several(node: Add, sums: set[Expr], touched: set[Expr]) -> bool:
    """Whether a sum adds up what several components write, as attention and MLP added together first."""
    live = [child for child in node.children if child in touched and child.shape == node.shape]
    below = [child for child in live if any(part in sums or _reads_sum(part, sums) for part in reads(child))]
    return len(live) > 1 and len(below) > 1


def _reads_sum(node: Expr, sums: set[Expr]) -> bool:
    return any(part in sums for part in outside_bodies([node]))
