"""Attention as a module called once for each head: the form in which `split_heads` and hypotheses take it.

    out = sum over heads of head(q.input, k.input, v.input, W_Q[h], W_K[h], W_V[h], W_O[h], ...)

The body of one head is found by taking the head axis out of everything that carries it, from the output down: what has
no such axis becomes an input of the head, and weights that have it become batched arguments. With grouped queries there
are two axes, (query within its group, group): keys and values have only the second, and are not repeated.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from scrub.graph import Add, Concat, Einsum, Expr, Index, Module, ModuleArgSpec, Rearrange, Scalar, Symbol, postorder
from scrub.graph.walk import settle
from scrub.models.exported.recover import cases
from scrub.models.exported.recover.pattern import Attention, carried, find_attention, names_of_parts
from scrub.models.exported.recover.rules import recovers
from scrub.models.exported.recover.views import factors, is_linear, is_view, permuted, rearranged, viewed_leaf
from scrub.rewrite import NoMatch, simplify
from scrub.rewrite.rules import absorb_permutations, drop_identity_rearrange, fuse_rearrange
from scrub.rewrite.rules.indexing.descent import passage

T = TypeVar("T")

HEADS = "a.head.on_inp"
"""Name of the call of all heads, as in `scrub.models`."""

HeadAxes = tuple[int | None, ...]
"""For each head axis, which axis of a node it is; None where the node has it not."""

Place = tuple[Expr, str, HeadAxes]
"""A node, whose part it is ("q", "k", "v" or ""), and its head axes."""


@recovers(cases=cases.attention)
def call_heads(einsum: Einsum) -> Expr | NoMatch:
    """The linear layer over all heads of an attention becomes a sum over the calls of a head.

        sum_h softmax((x W_Q[h]) (x W_K[h]) + mask) (x W_V[h]) W_O[h]  ->  sum_h head(x, x, x, W_Q[h], ...)

    Parameters of a head are `a.q.input`, `a.k.input`, `a.v.input`, `a.w.q_h` and so on for weights, `a.b.q_h` for
    biases, and the rest under names of their own. Within it: `a.q`, `a.k`, `a.v`, `a.scores`, `a.attn_probs`,
    `a.comb_v`.

    >>> from scrub.rewrite.testing import Maker
    >>> call_heads(cases.attention(Maker("an example"))).children[0].name
    'a.head.on_inp'
    """
    found = find_attention(einsum)
    return found if isinstance(found, NoMatch) else _Heads(found).sum_of_calls()


@dataclass
class _Parameter:
    """What a head takes from outside: an expression, which of its axes are heads, and the order of the others."""

    name: str
    expr: Expr
    heads: HeadAxes
    order: tuple[int, ...]
    """The other axes of the expression, in the order in which the parameter has them."""

    @property
    def symbol(self) -> Symbol:
        return Symbol.new_from_name(tuple(self.expr.shape[axis] for axis in self.order), self.name)

    @property
    def in_place(self) -> Expr:
        """The parameter with its axes in the order in which the expression has them."""
        return permuted(self.symbol, tuple(self.order.index(axis) for axis in sorted(self.order)))


@dataclass
class _Heads:
    """The work on one attention."""

    found: Attention
    parameters: dict[Place, _Parameter] = field(default_factory=dict[Place, _Parameter])
    results: dict[Place, Expr] = field(default_factory=dict[Place, Expr])
    names: dict[Expr, str] = field(default_factory=dict[Expr, str])
    shared: dict[str, set[Expr]] = field(default_factory=dict[str, set[Expr]])
    """What one set of keys or values for all heads is made of, from its projection up."""

    def sum_of_calls(self) -> Expr | NoMatch:
        """The whole, under the name of the layer."""
        out, labels = self.found.out, self.found.heads
        whole = Einsum(*out.operands, out_axes=(*labels, *out.out_axes), name="a.head")
        self.names = names_of_parts(self.found.core)
        for part, (product, child) in self._tops().items():
            self.shared[part] = _down_to_projection(product.children[child])
        start: Place = (whole, "", tuple(range(len(labels))))
        settle(start, self.results, self._step)
        if not {f"a.{part}.input" for part in "qkv"} <= {p.name for p in self.parameters.values()}:
            return NoMatch("queries, keys and values are not all made by a weight with a head axis")
        order = self._order()
        if order is None:
            return NoMatch("head axes of weights are no suffixes of one another")
        tidy = (fuse_rearrange, drop_identity_rearrange, absorb_permutations)
        body = simplify(self.results[start], tidy, keep_names=True)
        specs = [ModuleArgSpec(parameter.symbol) for parameter in self._in_order()]
        args = [self._argument(parameter, order) for parameter in self._in_order()]
        call = Module.make((body, *args), tuple(specs), HEADS)
        axes = tuple(range(call.ndim))
        return Einsum((call, axes), out_axes=axes[len(labels) :])

    # ---- the region that carries heads -------------------------------------------------------------------------

    def _step(self, place: Place) -> Sequence[Place]:
        """The node without its head axes, on children without theirs."""
        node, part, heads = place
        if isinstance(node, Scalar):
            self.results[place] = Scalar(node.value, _without(node.shape, heads), node.name)
            return ()
        passing = self._passage(place) if self._is_inside(place) else None
        if passing is None:
            self.results[place] = self._parameter(place, _default_name(node), range(node.ndim))
            return ()
        below, build = passing
        self._name_parameters(place, below)
        waiting = [each for each in below if each is not None and each not in self.results]
        if waiting:
            return waiting
        children = [
            child if each is None else self.results[each] for child, each in zip(node.children, below, strict=True)
        ]
        made, name = build(children), self._name_of(node, part)
        is_child = made in children  # a parameter keeps its name, anything else its own unless it gets one
        self.results[place] = made if is_child and (name is None or is_view(made)) else made.rename(name)
        return ()

    def _is_inside(self, place: Place) -> bool:
        """Whether a head computes the node, rather than take it from outside."""
        node, part, heads = place
        if node in self.shared.get(part, ()):
            return True
        return bool(_full_heads(node, heads)) and (not is_view(node) or _repeats(node, heads))

    def _passage(self, place: Place) -> tuple[list[Place | None], Callable[[list[Expr]], Expr]] | None:
        """The places of the children, None for the body of a call, and how the node is made of them without heads.

        None where a head axis of the node ends in it.
        """
        node, part, heads = place
        by_head = [[None] * len(node.children) if axis is None else carried(node, axis) for axis in heads]
        places: list[Place | None] = []
        for i, child in enumerate(node.children):
            at = tuple(
                below[1] if (below := found[i]) is not None else _broadcast_axis(node, child, axis)
                for axis, found in zip(heads, by_head, strict=True)
            )
            is_body = isinstance(node, Module) and i == 0
            if is_body and any(axis is not None for axis in at):
                return None
            places.append(None if is_body else (child, self._part_of(node, i, part), at))
        if isinstance(node, Index):  # what else it picks stays, and does not pass with the heads
            entries = _without(node.entries, () if places[0] is None else places[0][2])
            return places, lambda children: Index.make((children[0],), (entries,), None)
        if isinstance(node, Concat) and node.axis not in heads:  # without the casts that keep a dtype known
            joined = node.axis - sum(at is not None and at < node.axis for at in heads)
            return places, lambda children: Concat(*children, axis=joined)
        passing = passage(node, _entries(node, heads), partial=False)
        if isinstance(passing, NoMatch):
            return None
        wanted = {i: _entries(each[0], each[2]) for i, each in enumerate(places) if each is not None}
        plan = passing.plan
        if any(wanted.get(i, entries) != entries for i, entries in plan.below):
            return None
        return places, lambda children: plan.build([children[i] for i, _ in plan.below], None)

    def _tops(self) -> dict[str, tuple[Einsum, int]]:
        """Where queries, keys and values go in: the product, and which of its operands they are."""
        core = self.found.core
        return {
            "q": (core.scores, core.queries),
            "k": (core.scores, core.keys),
            "v": (core.combined, core.values),
        }

    def _part_of(self, node: Expr, child: int, part: str) -> str:
        if part:
            return part
        return next((name for name, top in self._tops().items() if top == (node, child)), "")

    def _name_of(self, node: Expr, part: str) -> str | None:
        if part == "":
            return self.names.get(node, node.name)
        product, child = self._tops()[part]
        return f"a.{part}" if node is product.children[child] else node.name

    # ---- what a head takes from outside -------------------------------------------------------------------------

    def _name_parameters(self, place: Place, below: list[Place | None]) -> None:
        """Names for inputs, weights and biases of projections, and for what is added to scores."""
        node, part, _ = place
        present = [each for each in below if each is not None]
        if isinstance(node, Einsum):
            self._name_projection(node, part, present)
        elif isinstance(node, Add):
            for each in present:
                if (part and _kind(each) == "weight") or self._is_shared_bias(node, part, each):
                    self.results[each] = self._parameter(each, f"a.b.{part}_h", range(each[0].ndim), is_of_part=True)
                elif not part and _kind(each) in ("weight", "input"):
                    self.results[each] = self._parameter(each, "a.mask_bias", range(each[0].ndim))

    def _is_shared_bias(self, node: Add, part: str, place: Place) -> bool:
        is_bias = is_view(place[0]) and place[0].ndim == 1 and not isinstance(place[0], Scalar)
        return bool(part) and is_bias and node in self.shared[part]

    def _name_projection(self, node: Einsum, part: str, below: list[Place]) -> None:
        weights = [i for i, each in enumerate(below) if _kind(each) == "weight"]
        if part and not weights and is_linear(node) and node in self.shared[part]:
            weights = [min(factors(node), key=lambda i: (not is_view(node.children[i]), node.children[i].ndim, -i))]
        is_out = node.name == "a.head" and not part
        kind = "inside" if is_out else "input"
        inputs = [i for i, each in enumerate(below) if i not in weights and _kind(each) == kind]
        if len(weights) != 1 or len(inputs) != 1 or not (part or is_out):
            return
        weight, x = weights[0], inputs[0]
        summed = set(node.in_axes[weight]) & set(node.in_axes[x]) - set(node.out_axes)
        if not summed:
            return
        order = sorted(range(len(node.in_axes[weight])), key=lambda i: node.in_axes[weight][i] not in summed)
        self.results[below[weight]] = self._parameter(below[weight], f"a.w.{part or 'o'}_h", order, is_of_part=True)
        if part:
            every = range(below[x][0].ndim)
            self.results[below[x]] = self._parameter(below[x], f"a.{part}.input", every, is_of_part=True)

    def _parameter(self, place: Place, name: str, order: Sequence[int], *, is_of_part: bool = False) -> Expr:
        """A parameter of a head for what is at a place: its axes but for heads, in that order.

        What is of a part has a parameter for that part alone: queries, keys and values have inputs of their own.
        """
        node, _, heads = place
        key = place if is_of_part else (node, "", heads)
        if key not in self.parameters:
            taken = {parameter.name for parameter in self.parameters.values()}
            unique = name if name not in taken else next(n for i in range(2, 999) if (n := f"{name}{i}") not in taken)
            own = tuple(axis for axis in order if axis not in heads)
            self.parameters[key] = _Parameter(unique, node, heads, own)
        return self.parameters[key].in_place

    # ---- the call -----------------------------------------------------------------------------------------------

    def _order(self) -> tuple[int, ...] | None:
        """The head axes, outermost first: those that fewer parameters have come first."""
        every = range(len(self.found.heads))
        having = [_full_heads(parameter.expr, parameter.heads) for parameter in self.parameters.values()]
        order = tuple(sorted(every, key=lambda axis: sum(axis in has for has in having)))
        is_suffix = all(sorted(has, key=order.index) == list(order[len(order) - len(has) :]) for has in having)
        return order if is_suffix else None

    def _in_order(self) -> list[_Parameter]:
        """Inputs first, then weights and biases, then the rest."""
        first = ["a.q.input", "a.k.input", "a.v.input", "a.w.q_h", "a.w.k_h", "a.w.v_h", "a.w.o_h"]
        rank = {name: i for i, name in enumerate(first)}
        return sorted(self.parameters.values(), key=lambda parameter: rank.get(parameter.name, len(first)))

    def _argument(self, parameter: _Parameter, order: tuple[int, ...]) -> Expr:
        expr, heads = parameter.expr, parameter.heads
        full = _full_heads(expr, heads)
        batch = [at for axis in order if axis in full and (at := heads[axis]) is not None]
        gone = [at for i, at in enumerate(heads) if at is not None and i not in full]
        left = tuple(() if axis in gone else (axis,) for axis in range(expr.ndim))
        right = tuple((axis,) for axis in (*batch, *parameter.order))
        return expr if left == right else rearranged(expr, left, right, {})


def _entries(node: Expr, heads: HeadAxes) -> tuple[int | None, ...]:
    """The index of head 0."""
    return tuple(0 if axis in heads else None for axis in range(node.ndim))


def _without(values: tuple[T, ...], heads: HeadAxes) -> tuple[T, ...]:
    return tuple(value for axis, value in enumerate(values) if axis not in heads)


def _down_to_projection(top: Expr) -> set[Expr]:
    """The nodes on the way from queries, keys or values down to the first linear layers, and these."""
    every = list(postorder([top], descend=lambda node: not (isinstance(node, Einsum) and is_linear(node))))
    found: set[Expr] = set()
    for node in every:
        if (isinstance(node, Einsum) and is_linear(node)) or not found.isdisjoint(node.children):
            found.add(node)
    return found


def _repeats(node: Expr, heads: HeadAxes) -> bool:
    """Whether a view has its head axes from repeating."""
    if not isinstance(node, Rearrange):
        return False
    on_left = {part for group in node.left for part in group}
    return all(axis is None or on_left.isdisjoint(node.right[axis]) for axis in heads)


def _full_heads(node: Expr, heads: HeadAxes) -> list[int]:
    """Which head axes a node has, not counting those of size 1 along which it is broadcast."""
    return [i for i, axis in enumerate(heads) if axis is not None and node.shape[axis] != 1]


def _broadcast_axis(node: Expr, child: Expr, axis: int | None) -> int | None:
    """The axis of size 1 along which a term is broadcast over heads."""
    at = None if axis is None else axis - node.ndim + child.ndim
    is_broadcast = isinstance(node, Add) and at is not None and at >= 0 and child.shape[at] == 1
    return at if is_broadcast else None


def _kind(place: Place) -> str:
    """What an operand is to a head: a number, a weight that heads have, something without heads, or inside it."""
    node, _, heads = place
    if isinstance(node, Scalar):
        return "number"
    if not _full_heads(node, heads):
        return "input"
    return "weight" if is_view(node) else "inside"


def _default_name(node: Expr) -> str:
    leaf = viewed_leaf(node)
    name = node.name if leaf is None else leaf.name
    return "a." + ".".join((name or "arg").split(".")[-2:])
