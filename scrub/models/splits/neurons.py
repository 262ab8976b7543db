"""Splitting an MLP by neuron: what it writes as a sum over named groups of neurons."""

from __future__ import annotations

from collections.abc import Callable

from scrub.graph import Add, Einsum, Expr, Module
from scrub.graph.errors import SplitError
from scrub.models.splits.axes import label_of
from scrub.models.splits.contraction import ContractedAxis, contraction_groups
from scrub.models.splits.partition import Groups
from scrub.rewrite.iterative import IterativeMatcherIn


def split_neurons(
    groups: Groups, *, axis: ContractedAxis = None, push: IterativeMatcherIn = False
) -> Callable[[Expr], Expr]:
    """A transform for `update`: what an MLP writes [.., d_model] as a sum over named groups of neurons.

        sum_m post[s, m] w_out[m, d]  ->  sum over groups g of sum_{m in g} post[s, m] w_out[m, d]

    The node is the einsum over the hidden axis (`m.proj`), a sum with that among its terms (`m.out`, with the bias), or
    a call whose body is one of these. A group is named `{node}.{label}` after the node that the transform is given:
    `m0.facts`, where `update` finds `m0`.

    Args:
        groups: label -> neurons, or pairs (neurons, label), which partition the neurons; "full" for each neuron by
            itself, `n0`, `n1`, ... An int drops the hidden axis, a slice or list keeps it and sums.
        axis: where the einsum sums over several axes, which of them the neurons lie along; as for `split_contraction`.
        push: which nodes an index by a group may pass on its way down. With True it passes activation functions and
            gates, and the in-projections' weights and biases are cut, so that a group computes its own neurons only.

    Raises:
        SplitError: the node contracts nothing, or several things; the groups do not partition the neurons.

    >>> import torch
    >>> from scrub.graph import Array, elementwise
    >>> x, w_in, w_out = (Array(torch.zeros(shape), name) for shape, name in
    ...                   [((5, 4), "x"), ((4, 16), "m.w.in"), ((16, 4), "m.w.out")])
    >>> post = elementwise("gelu", Einsum.from_string("s d, d m -> s m", x, w_in, name="m.pre"), name="m.post")
    >>> mlp = Einsum.from_string("s m, m d -> s d", post, w_out, name="m.proj")
    >>> split_neurons({"on": [3, 7], "off": 0, "rest": [*range(1, 3), *range(4, 7), *range(8, 16)]}, push=True)(
    ...     mlp
    ... ).get_unique("m.proj.on").print(max_depth=3)
    'm.proj.on' [5, 4] Einsum ab,bc->ac
      'm.post.on' [5, 2] GeneralFunction gelu
        'm.pre.on' [5, 2] Einsum ab,bc->ac
          'x' [5, 4] Array ...
          m.w.in[:, [3, 7]] [4, 2] Index [:, [3, 7]] ...
      'm.w.out.on' [2, 4] Index [[3, 7], :]
        'm.w.out' [16, 4] Array ...
    """

    def transform(expr: Expr) -> Expr:
        calls: list[Module] = []
        node = expr
        while isinstance(node, Module):
            calls.append(node)
            node = node.body
        result = _split(expr, node, groups, axis, push)
        for call in reversed(calls):
            result = call.with_children((result, *call.args))
        return result

    return transform


def _split(expr: Expr, node: Expr, groups: Groups, axis: ContractedAxis, push: IterativeMatcherIn) -> Expr:
    """The einsum, or the sum with one, in groups that are named after `expr`."""
    what, noun = "split_neurons", "neuron"
    if isinstance(node, Add):
        products = [i for i, term in enumerate(node.children) if isinstance(term, Einsum) and _contracts(term)]
        if len(products) != 1:
            raise SplitError(
                f"{what} of {label_of(expr)}: {len(products)} terms of {label_of(node)} are einsums over a hidden axis",
                nodes=[expr, node],
                expected=1,
                found=len(products),
                hint="give the transform the einsum itself, for example update('m.proj', ...)",
            )
        (at,) = products
        term = node.children[at]
        parts = contraction_groups(what, term, groups, axis, noun, push, expr.name)
        return node.with_children((*node.children[:at], Add(*parts, name=term.name), *node.children[at + 1 :]))
    parts = contraction_groups(what, node, groups, axis, noun, push, expr.name)
    return Add(*parts, name=node.name)


def _contracts(einsum: Einsum) -> bool:
    """Whether it sums over an axis that two operands share: a sum of one thing alone is no projection."""
    shared = [a for axes in einsum.in_axes for a in dict.fromkeys(axes) if a not in einsum.out_axes]
    return len(set(shared)) < len(shared)
