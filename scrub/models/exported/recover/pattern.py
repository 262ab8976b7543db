"""Attention found: `softmax(q k + mask) v`, and the linear layer that reads it, by the axes that nodes carry over."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from scrub.graph import Einsum, Expr, GeneralFunction
from scrub.graph.functions.softmax import Softmax
from scrub.models.exported.recover.views import factors, is_view
from scrub.rewrite import NoMatch

Place = tuple[Expr, int]
"""A node and one of its axes."""

COMBINED = "a.comb_v"
"""Name of the weighted sum of values, as in `scrub.models`."""


@dataclass(frozen=True)
class Core:
    """`softmax(q k + mask) v` of some heads.

    Attributes:
        combined: the einsum of probabilities and values, summed over keys.
        probs, values: which of its operands are which.
        softmax: the function.
        scores: the einsum of queries and keys.
        queries, keys: which of its operands are which.
    """

    combined: Einsum
    probs: int
    values: int
    softmax: GeneralFunction
    scores: Einsum
    queries: int
    keys: int


@dataclass(frozen=True)
class Attention:
    """A core with the linear layer that reads it, which sums over its heads.

    Attributes:
        out: the einsum of the core's result, or of something made of it, with `W_O`.
        result, weight: which of its operands are which.
        heads: its axes that are heads.
        core: what it reads.
    """

    out: Einsum
    result: int
    weight: int
    heads: tuple[int, ...]
    core: Core


def find_core(combined: Einsum) -> Core | NoMatch:
    """The attention whose weighted sum of values an einsum is; or why it is none."""
    operands = factors(combined)
    if len(operands) != 2:
        return NoMatch("it is no product of two")
    for probs, values in (operands, operands[::-1]):
        shared = set(combined.in_axes[probs]) & set(combined.in_axes[values]) - set(combined.out_axes)
        for label in shared:
            key_axis = combined.in_axes[probs].index(label)
            found = _follow((combined.children[probs], key_axis), _is_softmaxed)
            if found is None:
                continue
            softmax = found[0].cast(GeneralFunction)
            scores = _follow((softmax.children[0], softmax.ndim - 1), _is_contraction)
            if scores is None:
                return NoMatch(f"what {softmax!r} is of are no products of queries and keys")
            product = scores[0].cast(Einsum)
            key_label = product.out_axes[scores[1]]
            first, second = factors(product)
            keys = first if key_label in product.in_axes[first] else second
            queries = second if keys == first else first
            return Core(combined, probs, values, softmax, product, queries, keys)
    return NoMatch("neither operand is a softmax along an axis that is summed")


def names_of_parts(core: Core) -> dict[Expr, str]:
    """The names that parts of an attention have."""
    names: dict[Expr, str] = {core.softmax.children[0]: "a.masked_scores", core.scores: "a.scores"}
    return names | {core.softmax: "a.attn_probs", core.combined: COMBINED}


def find_attention(out: Einsum) -> Attention | NoMatch:
    """The attention that an einsum with a weight sums over heads; or why there is none."""
    operands = factors(out)
    weights = [i for i in operands if is_view(out.children[i])]
    if len(operands) != 2 or len(weights) != 1:
        return NoMatch("it is no product of something computed and a weight")
    (weight,) = weights
    (result,) = (i for i in operands if i != weight)
    summed = [label for label in out.in_axes[result] if label in out.in_axes[weight] and label not in out.out_axes]
    heads: list[int] = []
    core: Core | None = None
    reason = NoMatch("it sums over one axis only, so there are no heads")
    for label in summed if len(summed) > 1 else []:
        found = _follow((out.children[result], out.in_axes[result].index(label)), _is_core)
        if found is None:
            reason = NoMatch("what it sums over heads is no attention")
            continue
        here = find_core(found[0].cast(Einsum))
        assert isinstance(here, Core)
        if here.combined.out_axes[found[1]] in here.combined.in_axes[here.probs]:
            heads.append(label)
            core = here
    if core is None:
        return reason
    return Attention(out, result, weight, tuple(heads), core)


def carried(node: Expr, axis: int) -> list[Place | None]:
    """For each child, the axis that becomes this axis of the node, value by value.

    >>> from scrub.graph import Add, Symbol
    >>> x, b = Symbol.new_from_name((2, 3), "x"), Symbol.new_from_name((3,), "b")
    >>> carried(Add(x, b), 0)
    [('x' [2, 3] Symbol ..., 0), None]
    """
    return [
        (child, uses.index(axis)) if axis in uses else None
        for child, uses in zip(node.children, node.axis_map(), strict=True)
    ]


def _follow(start: Place, is_found: Callable[[Expr, int], bool]) -> Place | None:
    """The first node, going down along an axis, of which the condition holds."""
    return next((place for place in _along(start) if is_found(*place)), None)


def _along(start: Place) -> Iterator[Place]:
    seen: set[Place] = set()
    stack = [start]
    while stack:
        place = stack.pop()
        if place in seen:
            continue
        seen.add(place)
        yield place
        stack.extend(below for below in reversed(carried(*place)) if below is not None)


def _is_softmaxed(node: Expr, axis: int) -> bool:
    return isinstance(node, GeneralFunction) and isinstance(node.spec, Softmax) and axis == node.ndim - 1


def _is_contraction(node: Expr, axis: int) -> bool:
    """Whether it is a product of two, one of which has the axis, summed over another that both have."""
    if not isinstance(node, Einsum) or node.out_axes.count(node.out_axes[axis]) > 1:
        return False
    operands = factors(node)
    if len(operands) != 2:
        return False
    first, second = (set(node.in_axes[i]) for i in operands)
    label = node.out_axes[axis]
    return (label in first) != (label in second) and bool((first & second) - set(node.out_axes))


def _is_core(node: Expr, axis: int) -> bool:
    return isinstance(node, Einsum) and isinstance(find_core(node), Core)
