"""Calls of linear layers opened, and fused projections taken apart."""

from __future__ import annotations

from collections.abc import Sequence

from scrub.graph import (
    Add,
    Einsum,
    Expr,
    FrozenTensor,
    GeneralFunction,
    Index,
    Module,
    Rearrange,
    Scalar,
    Size,
    Symbol,
    postorder,
    rebuild,
)
from scrub.graph.functions.cast import Cast
from scrub.graph.index import Entry
from scrub.models.exported.recover import cases
from scrub.models.exported.recover.rules import recovers
from scrub.models.exported.recover.views import factors, is_view
from scrub.rewrite import NoMatch, restrict, substitute
from scrub.rewrite.rules import push_index_down

MIN_FUSED = 3
"""A layer of which three parts are taken and nothing else is three layers: queries, keys and values. One of which two
are taken may be a rotation of halves."""

_OPEN = (Add, Einsum, Rearrange, Scalar, Symbol)


@recovers(cases=cases.call_of_linear)
def open_linear(module: Module) -> Expr | NoMatch:
    """The call of a linear layer, or of one that only rearranges or passes on, becomes what it computes.

        (x, w, b -> x w + b)(y, W, B)  ->  y W + B

    The result has the name of the call, so that the layer is found as before.

    >>> from scrub.graph import ModuleSpec
    >>> x, w = Symbol.new_from_name((5, 8), "x"), Symbol.new_from_name((6, 8), "w")
    >>> layer = ModuleSpec(Einsum.from_string("s d, f d -> s f", x, w), [x, w])
    >>> open_linear(Module(layer, "q_proj", x=Symbol.new_from_name((5, 8), "y"), w=Symbol.new_from_name((6, 8), "W")))
    'q_proj' [5, 6] Einsum ab,cb->ac
    """
    products = 0
    for node in postorder([module.body]):
        if isinstance(node, Einsum):
            products += len(factors(node)) > 1
        elif not isinstance(node, _OPEN) and not is_view(node) and not _is_cast(node):
            return NoMatch(f"{node!r} is no part of a linear layer")
    if products > 1:
        return NoMatch(f"it has {products} products")
    return substitute(module)


def separate_fused(expr: Expr) -> Expr:
    """Linear layers whose result is only ever taken in parts become one for each part, on slices of the weight.

    This looks at every user of a layer, so it is no rule for a node.

    >>> from scrub.graph import I
    >>> x, w = Symbol.new_from_name((5, 8), "x"), Symbol.new_from_name((6, 8), "w")
    >>> fused = Einsum.from_string("s d, f d -> s f", x, w, name="c_attn")
    >>> parts = [fused.index(I[:, i : i + 2]) for i in (0, 2, 4)]
    >>> [part.children[1] for part in separate_fused(Add(*parts)).children]
    [w[0:2, :] [2, 8] Index [0:2, :], w[2:4, :] [2, 8] Index [2:4, :], w[4:6, :] [2, 8] Index [4:6, :]]
    """
    users: dict[Expr, list[Expr]] = {}
    for node in postorder([expr]):
        for child in node.children:
            users.setdefault(child, []).append(node)
    chosen: dict[Expr, Expr] = {}
    for above in users.values():
        if not _is_partitioned(above):
            continue
        parts = {user: _on_slices(user) for user in above}
        if all(parts.values()):
            chosen |= {user: part for user, part in parts.items() if part}
    if not chosen:
        return expr
    return rebuild([expr], lambda node, children: chosen.get(node) or node.with_children(children))[expr]


def _is_partitioned(users: list[Expr]) -> bool:
    """Whether all users take different parts along one axis."""
    cuts: list[tuple[int, Entry]] = []
    for user in dict.fromkeys(users):
        cut = [(i, e) for i, e in enumerate(user.entries) if e is not None] if isinstance(user, Index) else []
        if len(cut) != 1:
            return False
        cuts += cut
    if len(cuts) < MIN_FUSED or len({axis for axis, _ in cuts}) > 1:
        return False
    size = users[0].children[0].shape[cuts[0][0]]
    taken = [set(_positions(entry, size)) for _, entry in cuts]
    return sum(map(len, taken)) == len(set[int]().union(*taken))


def _positions(entry: Entry, size: Size) -> Sequence[int]:
    if isinstance(entry, FrozenTensor):
        return [int(i) for i in entry.value]
    if isinstance(entry, tuple):
        return range(int(entry[0]), int(entry[1]))
    return [int(entry)] if entry is not None else range(int(size))


def _on_slices(index: Expr) -> Expr | None:
    """The index of a linear layer as that layer on sliced weights; None where it would slice what is computed."""
    before = set(postorder([index]))
    pushed = push_index_down.attempt(index, traversal=restrict({Einsum, Add, Rearrange}))
    if isinstance(pushed, NoMatch):
        return None
    made = [node for node in postorder([pushed]) if isinstance(node, Index) and node not in before]
    return pushed if made and all(is_view(node) for node in made) else None


def _is_cast(node: Expr) -> bool:
    return isinstance(node, GeneralFunction) and isinstance(node.spec, Cast)
