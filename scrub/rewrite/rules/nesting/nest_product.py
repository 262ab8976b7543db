"""A product, regrouped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from scrub.graph import Einsum, Expr
from scrub.rewrite.matcher import Matcher, MatcherIn
from scrub.rewrite.rule import NoMatch, Options, rewrite
from scrub.rewrite.rules.nesting.nest_sum import MAX_PARTS
from scrub.rewrite.rules.nesting.spec import Nest, Part, random_specs, resolve
from scrub.rewrite.rules.products.cases import product_with
from scrub.rewrite.rules.products.composition import Composition, InnerEinsum, compose, num_parts
from scrub.rewrite.rules.sums.cases import part, some_dtype
from scrub.rewrite.rules.sums.terms import computes_in

if TYPE_CHECKING:
    from scrub.rewrite.testing.maker import Maker


def _cases(maker: Maker) -> Expr:
    dtype = some_dtype(maker)
    inner = [product_with(maker, part(maker, maker.shape(max_ndim=2), dtype), dtypes=[dtype]) for _ in range(2)]
    return product_with(maker, *inner)


def _choices(einsum: Einsum) -> Iterator[Options]:
    opens = _opens(einsum, Matcher(True))
    if num_parts(einsum, opens) <= 30:
        operands = [operand for operand, _ in compose(einsum, opens, is_deep=True).operands]
        for spec in random_specs(einsum.digest, operands):
            yield {"spec": spec}


@rewrite(keeps="value", cases=_cases, choices=_choices)
def nest_product(einsum: Einsum, spec: Sequence[Part], *, dissolve: MatcherIn = True) -> Expr | NoMatch:
    """The operands of a product, and of products among them, in groups as a spec says (`rules.nesting.spec`).

        sum_jk a[i, j] (b[j, k] c[k])  ->  sum_k (sum_j a[i, j] b[j, k]) c[k]        with spec [["a", "b"], "c"]

    Operands are counted after taking the products below apart. Each group is summed over the axes that nothing outside
    it has; those that are left are in the order of first appearance, unless the group gives a permutation of that. A
    group of just the operands that were one of the products taken apart has its name, and its order of axes.

    Args:
        einsum: the product.
        spec: what belongs together; each operand exactly once.
        dissolve: which of the products below to take apart first; the others count as one operand.

    >>> from scrub.graph import Scalar
    >>> from scrub.rewrite.rules.nesting.spec import Group
    >>> a, b, c = Scalar(1.0, (2, 3), "a"), Scalar(2.0, (3, 4), "b"), Scalar(3.0, (4,), "c")
    >>> product = Einsum.from_string("ij,jk,k->i", a, b, c, name="s")
    >>> nest_product(product, [Group("a", "b", name="ab", axes=(1, 0)), "c"]).print()
    's' [2] Einsum ab,a->b
      'ab' [4, 2] Einsum ab,bc->ca
        'a' [2, 3] Scalar 1.0
        'b' [3, 4] Scalar 2.0
      'c' [4] Scalar 3.0
    """
    opens = _opens(einsum, Matcher(dissolve))
    count = num_parts(einsum, opens)
    if count > MAX_PARTS:
        return NoMatch(f"taken apart, it has {count} operands")
    flat = compose(einsum, opens, is_deep=True)
    nests = resolve(spec, [operand for operand, _ in flat.operands])
    return nests if isinstance(nests, NoMatch) else _built(flat, nests, einsum)


def _opens(einsum: Einsum, may: Matcher) -> Callable[[Expr], bool]:
    return lambda node: isinstance(node, Einsum) and may(node) and computes_in(node, einsum)


def _built(flat: Composition, nests: Sequence[Nest], whole: Einsum) -> Expr | NoMatch:
    """The einsums of the nests, the innermost first. Axes are counted by the operands that have them."""
    total = Counter(axis for _, axes in flat.operands for axis in set(axes))
    total.update(set(flat.out_axes))
    existing: dict[tuple[int, int], InnerEinsum] = {}
    for inner in flat.inner:
        at = (inner.start, inner.stop)
        if at not in existing or existing[at].einsum.name is None:
            existing[at] = inner
    made: dict[Nest, tuple[Expr, tuple[int, ...]]] = {}
    within: dict[Nest, Counter[int]] = {}
    for nest in reversed(nests[1:]):
        operands, count = _operands(nest, flat, made, within)
        needed = tuple(axis for axis in count if count[axis] < total[axis])
        within[nest] = Counter({axis: count[axis] for axis in needed})
        before = existing.get((nest.start, nest.stop)) if nest.is_range else None
        if before is not None and sorted(before.out_axes) == sorted(needed):
            needed = before.out_axes
        if nest.group.axes is not None:
            if len(nest.group.axes) != len(needed):
                return NoMatch(f"{nest.group!r} permutes {len(nest.group.axes)} axes, its result has {len(needed)}")
            needed = tuple(needed[i] for i in nest.group.axes)
        name = nest.group.name if nest.group.name is not None or before is None else before.einsum.name
        made[nest] = Einsum(*operands, out_axes=needed, name=name), needed
        if not computes_in(made[nest][0], whole):
            return NoMatch(
                f"{nest.group!r} would be computed in {made[nest][0].dtype}, the product is in {whole.dtype}"
            )
    return Einsum(*_operands(nests[0], flat, made, within)[0], out_axes=flat.out_axes)


def _operands(
    nest: Nest,
    flat: Composition,
    made: dict[Nest, tuple[Expr, tuple[int, ...]]],
    within: dict[Nest, Counter[int]],
) -> tuple[list[tuple[Expr, tuple[int, ...]]], Counter[int]]:
    """The operands of a nest with their axes, and how many of the flat operands in it have each axis."""
    operands: list[tuple[Expr, tuple[int, ...]]] = []
    count: Counter[int] = Counter()
    for part_ in nest.parts:
        if isinstance(part_, Nest):
            operands.append(made[part_])
            count.update(within[part_])
        elif isinstance(part_, int):
            operands.append(flat.operands[part_])
            count.update(dict.fromkeys(flat.operands[part_][1], 1))
    return operands, count
