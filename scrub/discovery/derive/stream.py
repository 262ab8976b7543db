"""The residual stream of an expression: its sums, found by their skip connections.

A residual sum adds something to what that was computed from: x + f(x). What such sums add up, with the sums in it
opened, are the terms: what the writers write. Whatever computes a term from earlier sums is a reader of those.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from scrub.discovery.derive.pointwise import is_pointwise
from scrub.discovery.derive.walks import depending, opened, outside_bodies, reads, uncast
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


def skip_sums(
    root: Expr, inputs: Iterable[Expr], computed_from: Mapping[Expr, Collection[Expr]] | None = None
) -> list[Expr]:
    """Sums that add something to what that was computed from, those first that are computed first.

    What is added has the shape of the sum: in x - mean(x) nothing is written to x. Nor is it in x + c x^3, where every
    element is added to by itself.

    Args:
        root: the expression.
        inputs: what the stream comes from; tables of positions that every layer adds are no stream.
        computed_from: input -> other inputs that are computed from it, where the expression is the body of a call.
    """
    others_of = computed_from or {}
    live = depending(root, set(inputs))
    found: list[Expr] = []
    for node in outside_bodies([root]):
        if isinstance(node, Add) and len(node.children) > 1:
            whole = [child for child in node.children if child.shape == node.shape and child in live]
            pairs = _each_and_others(whole, live)
            if any(_is_read_by(carried, others, others_of.get(carried, ())) for carried, others in pairs):
                found.append(node)
    return found


def _sums_of(root: Expr, inputs: set[Expr]) -> list[Expr]:
    """Sums of several inputs, such as the embeddings of tokens and of positions where these are apart."""
    return [
        node
        for node in outside_bodies([root])
        if isinstance(node, Add) and len(node.children) > 1 and inputs.issuperset(node.children)
    ]


def _each_and_others(children: list[Expr], live: set[Expr]) -> list[tuple[Expr, list[Expr]]]:
    """What a child of a sum carries on, itself and what it adds up, with what the other children add."""
    opened = {child: [term for term in _opened_terms(child) if term in live] for child in children}
    return [
        (carried, [term for other in children if other is not child for term in opened[other]])
        for child in children
        for carried in dict.fromkeys((child, *opened[child]))
    ]


def _is_read_by(term: Expr, others: Sequence[Expr], computed: Collection[Expr]) -> bool:
    """Whether one of the others is computed from the term by more than adding, and not element by element.

    Args:
        term: what a sum carries on.
        others: what is added to it.
        computed: what stands for things that are computed from the term.
    """
    for other in others:
        below = set(outside_bodies([other]))
        if not below.isdisjoint(computed) or (term in below and not is_pointwise(other, term)):
            return True
    return False


def _opened_terms(node: Expr) -> list[Expr]:
    """What a nested sum of one shape adds up."""
    terms: list[Expr] = []
    stack: list[Expr] = [node]
    while stack:
        at = uncast(stack.pop())
        if isinstance(at, Add) and at.shape == node.shape and at.children:
            stack.extend(reversed(at.children))
        else:
            terms.append(at)
    return terms


def _terms(node: Expr, sums: set[Expr], touched: set[Expr]) -> tuple[Expr, ...]:
    """What a residual sum adds up: other residual sums are opened, and sums of several things that inputs reach.

    Casts of the stream to another precision are left out.
    """
    terms: list[Expr] = []
    stack = [node]
    while stack:
        at = uncast(stack.pop())
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
