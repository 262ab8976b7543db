"""Parts of what a node computes as places of their own: one position of a head's input, a direction, a guess.

These are equality rewrites: they change where a hypothesis can take hold, not the value. `scrub.models.splits` has the
splits themselves; these make them for one reader, on a whole model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import torch

from scrub.graph import Add, Concat, Expr, Module, SplitError, Symbol
from scrub.hypothesis.paths import Part
from scrub.models.splits import Groups, partition, split_positions, split_subspace
from scrub.models.splits.partition import every_position
from scrub.rewrite.iterative import IterativeMatcherIn

Positions = Groups | Sequence[int]
"""Positions that become parts `p{i}`, with all others in `rest`; "full" for each; or named groups."""


def split_input_by_position(
    expr: Expr,
    head: str,
    positions: Positions,
    *,
    part: Part = "all",
    push: IterativeMatcherIn = False,
) -> Expr:
    """Make each position of what a head reads a part of its own, and leave what other heads read alone.

        a1.norm  ->  a1.h0.input = [a1.h0.input.p1, a1.h0.input.rest]

    The head's parameters are bound to `{head}.input`, a concat of parts `{head}.input.p{i}` that pick from what the
    head read before. `at_position` finds them.

    Args:
        expr: a model in which heads have inputs of their own (`configure_transformer(use_pull_up_head_split=True)`).
        head: its name, or that of a group.
        positions: those that become parts, with all others in `{head}.input.rest`; "full" for each; or groups, as
            `split_positions` takes them.
        part: "q", "k" or "v" to split this input alone, as `{head}.{part}.input`.
        push: whether a part is computed at its positions alone, see `split_positions`.

    Raises:
        SplitError: it is no head with inputs of its own, or positions do not exist or are taken twice.
        MatchError: nothing is named so.

    >>> from scrub.hypothesis.paths import at_position, input_of
    >>> from scrub.models import configure_transformer, load_shipped
    >>> bind_w = load_shipped("attn_only_2l").lower(seq_len=4)["t.bind_w"]
    >>> split = configure_transformer(bind_w, split_by_head_config={1}, use_pull_up_head_split=True)
    >>> by_position = split_input_by_position(split, "a1.h0", [1])
    >>> by_position.get(input_of("a1.h0", "k").chain(at_position(1)), see_through=True)
    ('a1.h0.input.p1' [1, 256] Index [1:2, :],)
    """

    def transform(node: Expr) -> Expr:
        call = _head_call(node, part)
        inputs = _own_inputs(call, part)
        name = f"{head}.input" if part == "all" else f"{head}.{part}.input"
        args = [
            _by_position(arg, positions, name, axis=-2 if symbol.ndim > 1 else -1, push=push)
            if symbol in inputs
            else arg
            for symbol, arg in call.bindings.items()
        ]
        again = call.with_children((call.body, *args))
        return again if call is node else node.update(call, lambda _: again)

    return expr.update(head, transform, see_through=True)


def split_projection(
    expr: Expr, where: IterativeMatcherIn, directions: Mapping[str, torch.Tensor] | torch.Tensor
) -> Expr:
    """Write a node as its projections onto directions and the rest, each a place of its own.

        x  ->  x.proj + x.rest

    Args:
        expr: the model.
        where: finds the nodes, on those paths that are meant.
        directions: one direction [d_model], several that span a subspace [k, d_model], or several subspaces by name, in
            which case parts are `x.{name}`. See `split_subspace`.

    Raises:
        SplitError: directions do not fit the node.
        MatchError: nothing is found.

    >>> from scrub.graph import Array, elementwise
    >>> x = elementwise("tanh", Array(torch.ones(3, 4), "tokens"), name="x")
    >>> both = split_projection(elementwise("relu", x), "x", torch.tensor([1.0, 0, 0, -1]))
    >>> [part.name for part in both.children[0].children]
    ['x.proj', 'x.rest']
    """
    if isinstance(directions, torch.Tensor):
        directions = {"proj": directions[None] if directions.ndim == 1 else directions}
    return expr.update(where, split_subspace(directions), see_through=True)


def replace_by(expr: Expr, where: IterativeMatcherIn, phi: Expr | Callable[[Expr], Expr], *, name: str = "phi") -> Expr:
    """Write a node as a guess of it and what the guess misses, each a place of its own.

        x  ->  phi + (x - phi)

    The parts are `x.{name}` and `x.rest`. "This is all that matters of x" is the claim that `x.{name}` reads a datum on
    which phi is the same, and the rest another draw. The rest computes phi by itself, under no such name.

    Args:
        expr: the model.
        where: finds the nodes, on those paths that are meant.
        phi: an expression of the same shape, of inputs of the dataset; or a function that makes it of the node.
        name: of the part; not "rest".

    Raises:
        SplitError: phi has another shape than the node, or the part no name of its own.
        MatchError: nothing is found.

    >>> from scrub.graph import Symbol, elementwise
    >>> from scrub.rewrite import restrict
    >>> x, p = (Symbol.new_from_name((), name) for name in ("x", "p"))
    >>> model = replace_by(elementwise("tanh", x, name="h").scale(2.0), "h", p.scale(0.5))
    >>> [part.name for part in model.get_unique(restrict("h", term_if_matches=True)).children]
    ['h.phi', 'h.rest']
    """

    if name == "rest":
        raise SplitError("replace_by: the guess needs another name", found=name, hint="`rest` is what the guess misses")

    def transform(node: Expr) -> Expr:
        guess = phi if isinstance(phi, Expr) else phi(node)
        if guess.shape != node.shape:
            raise SplitError(
                f"replace_by: the guess {guess!r} has another shape than {node!r}",
                nodes=[node, guess],
                expected=node.shape,
                found=guess.shape,
                hint="an Einsum or Rearrange gives it the node's axes",
            )
        label = node.name or "x"
        missed = Add(node, guess.scale(-1.0), name=f"{label}.rest")
        return Add(Add(guess, name=f"{label}.{name}"), missed, name=node.name)

    return expr.update(where, transform, see_through=True)


def _head_call(node: Expr, part: Part) -> Module:
    """The call of the head module: the node itself, or what a group sums up."""
    call = node if isinstance(node, Module) else next((c for c in node.children if isinstance(c, Module)), None)
    if call is not None and _own_inputs(call, part):
        return call
    raise SplitError(
        f"split_input_by_position: {node!r} is no head with inputs of its own",
        nodes=[node],
        expected="a call of the head module",
        found=type(node),
        hint="configure_transformer(..., split_by_head_config=..., use_pull_up_head_split=True) gives heads inputs; "
        "where modules have been substituted, split_positions splits `a{l}.norm`",
    )


def _own_inputs(call: Module, part: Part) -> set[Symbol]:
    """Parameters that lead to the residual stream: [seq, d_model]; norms of all queries or keys, [seq] (OLMo 2)."""
    wanted = {f"a.{p}.{what}" for p in ("qkv" if part == "all" else part) for what in ("input", "recip_rms")}
    return {symbol for symbol in call.bindings if symbol.name in wanted}


def _by_position(arg: Expr, positions: Positions, name: str, *, axis: int, push: IterativeMatcherIn) -> Expr:
    """An input as a concat of its parts, both named after the head. Below the parts it keeps its own name."""
    groups = _groups(positions, arg.shape[axis])
    labels = [group.label for group in partition(groups, arg.shape[axis], where=f"{name} by position", nodes=[arg])]
    whole = split_positions(groups, axis=axis, push=push)(arg)
    joined = whole if isinstance(whole, Concat) else whole.children[0]
    parts = [part.rename(f"{name}.{label}") for part, label in zip(joined.children, labels, strict=True)]
    again = joined.with_children(parts)
    return (again if whole is joined else whole.with_children([again])).rename(name)


def _groups(positions: Positions, size: object) -> Groups:
    """Groups as splits take them; a size that is no number is an error of theirs."""
    if positions == "full":
        return every_position(size, "p")
    given = cast("Sequence[Any]", positions)
    if isinstance(positions, Mapping) or not isinstance(size, int) or not all(isinstance(p, int) for p in given):
        return cast("Groups", positions)
    chosen = [p % size if -size <= p < size else p for p in cast("Sequence[int]", positions)]
    rest = [p for p in range(size) if p not in chosen]
    return [*((p, f"p{p}") for p in chosen), *([(rest, "rest")] if rest else [])]
