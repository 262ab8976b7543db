"""Whether a hypothesis fits a model, and a dataset does (SPEC 9.4): all that is wrong at once, with the paths."""

from __future__ import annotations

import difflib
from collections.abc import Iterator

import torch

from scrub.graph import Array, DatasetError, DiscreteVar, Expr, HypothesisError, postorder
from scrub.hypothesis.claims import NOBODY, Claims, Position
from scrub.hypothesis.dataset import Dataset
from scrub.rewrite import get
from scrub.rewrite.explain import nothing_found

_MOST_SHOWN = 8
_LONGEST_PATH = 14


def check_claims(claims: Claims) -> None:
    """Raise a `HypothesisError` if the hypothesis does not fit the model.

    The root claims the whole model and nothing else; every other node claims something; every place of a node belongs
    to a place of its parent, that is, no other node claims a place on the path between them; and no two nodes claim
    one place. A module and its body are one place, and so are a bound symbol and what is bound to it.
    """
    problems = [*_root_problems(claims), *_misplaced(claims), *_without_places(claims)]
    if problems:
        shown = "\n".join(problems[:_MOST_SHOWN])
        more = f"\nand {len(problems) - _MOST_SHOWN} more" if len(problems) > _MOST_SHOWN else ""
        raise HypothesisError(
            f"hypothesis {claims.hypothesis.name!r} does not fit the model:\n{shown}{more}",
            nodes=[claims.model],
            found=problems,
            hint="matchers find places on paths from the top of the model; a child's paths lie below its parent's, "
            "and no path below one node may lead through a place of another that is not its child",
        )


def path_text(claims: Claims, position: Position) -> str:
    """One path to a position, by the names on it; of a long one the ends, and what is claimed on it."""
    steps: list[tuple[str, bool]] = []
    for at in _upwards(claims, position):
        node = at[0].node
        name = node.name or (repr(node) if at is position else "")
        is_claimed = bool(claims.steps[at].claimed)
        if steps and steps[-1][0] == name:
            steps[-1] = (name, steps[-1][1] or is_claimed)
        elif name:
            steps.append((name, is_claimed))
    steps.reverse()
    kept: list[str] = []
    for i, (name, is_claimed) in enumerate(steps):
        if len(steps) <= _LONGEST_PATH or i < 2 or i >= len(steps) - 5 or is_claimed:
            kept.append(name)
        elif kept[-1] != "...":
            kept.append("...")
    return " > ".join(kept)


def _upwards(claims: Claims, position: Position) -> Iterator[Position]:
    """Positions of one path, from the last to the first."""
    at: Position | None = position
    while at is not None:
        yield at
        at = claims.above[at]


def _root_problems(claims: Claims) -> list[str]:
    root = claims.nodes[0]
    matcher = claims.hypothesis.matcher(root)
    if not claims.reads(claims.start[0]):
        inputs = ", ".join(map(repr, sorted(claims.inputs)))
        return [f"root node {root.name!r} claims nothing: the model reads no input ({inputs}) on any path"]
    if 0 not in claims.steps[claims.start].claimed:
        found = next((position for position, step in claims.steps.items() if 0 in step.claimed), None)
        where = "" if found is None else f"; it finds {path_text(claims, found)}"
        return [f"root node {root.name!r}: {matcher!r} does not find the whole model{where}; use corr_root_matcher"]
    below = [at for at, step in claims.steps.items() if 0 in step.claimed and at != claims.start]
    if not below:
        return []
    paths = "\n".join(f"    {root.name!r}: {path_text(claims, at)}" for at in (claims.start, below[0]))
    return [
        f"root node {root.name!r}: {matcher!r} finds {claims.counts[0]} places, it must find only the whole model; "
        f"use corr_root_matcher\n{paths}"
    ]


def _misplaced(claims: Claims) -> list[str]:
    """Places that belong to the wrong node, or to two at once: one for each pair of nodes."""
    numbers = {node: i for i, node in enumerate(claims.nodes)}
    parents = [NOBODY if node.parent is None else numbers[node.parent] for node in claims.nodes]
    problems: dict[tuple[object, ...], str] = {}
    for position, step in claims.steps.items():
        if not step.claimed:
            continue
        if len(step.at_once) > 1:
            if ("same", *step.at_once) not in problems:
                problems["same", *step.at_once] = _same_place(claims, position)
            continue
        (i,) = step.claimed
        owner = position[1].owner
        if i and parents[i] != owner and (i, owner) not in problems:
            text = _nested(claims, i, position) if owner == i else _not_below_parent(claims, i, parents[i], position)
            problems[i, owner] = text
    return list(problems.values())


def _same_place(claims: Claims, position: Position) -> str:
    names = [claims.nodes[i].name for i in claims.steps[position].at_once]
    lines = [f"nodes {names[0]!r} and {names[-1]!r} claim the same place:"]
    for i in dict.fromkeys((claims.steps[position].at_once[0], claims.steps[position].at_once[-1])):
        at = next(at for at in _upwards(claims, position) if i in claims.steps[at].claimed)
        lines.append(f"    {claims.nodes[i].name!r}: {path_text(claims, at)}")
    return "\n".join(lines)


def _nested(claims: Claims, i: int, position: Position) -> str:
    name = claims.nodes[i].name
    other = next(at for at in _upwards(claims, position) if at != position and i in claims.steps[at].claimed)
    return (
        f"node {name!r} claims a place below another of its own; "
        "restrict(..., term_if_matches=True) stops at the first:\n"
        f"    {name!r}: {path_text(claims, other)}\n"
        f"    {name!r}: {path_text(claims, position)}"
    )


def _not_below_parent(claims: Claims, i: int, parent: int, position: Position) -> str:
    node, owner = claims.nodes[i], position[1].owner
    above = f"node {claims.nodes[owner].name!r}" if owner != NOBODY else "no node"
    lines = [
        f"node {node.name!r} claims a place whose path belongs to {above}, not to its parent "
        f"{claims.nodes[parent].name!r}:",
        f"    {node.name!r}: {path_text(claims, position)}",
    ]
    for who in (owner, parent):
        on_path = [at for at in _upwards(claims, position) if who in claims.steps[at].claimed]
        elsewhere = (at for at, step in claims.steps.items() if who in step.claimed)
        at = on_path[0] if on_path else next(elsewhere, None)
        if at is not None:
            lines.append(f"    {claims.nodes[who].name!r}: {path_text(claims, at)}")
    return "\n".join(lines)


def _without_places(claims: Claims) -> list[str]:
    problems: list[str] = []
    for node, count in list(zip(claims.nodes, claims.counts, strict=True))[1:]:
        if count:
            continue
        matcher = claims.hypothesis.matcher(node)
        found = get(claims.model, matcher, see_through=True)
        if found:
            inputs = ", ".join(map(repr, sorted(claims.inputs)))
            problems.append(
                f"node {node.name!r} claims nothing: {matcher!r} finds {found[0]!r}, but no input ({inputs}) is read "
                "there or below"
            )
        else:
            explanation = nothing_found(claims.model, matcher, see_through=True)
            problems.append(f"node {node.name!r} claims nothing: {explanation}")
    return problems


def check_inputs(model: Expr, data: Dataset) -> None:
    """Raise a `DatasetError` if inputs of the model and of the dataset do not match."""
    arrays = [node for node in postorder([model]) if isinstance(node, Array | DiscreteVar)]
    leaves = [*arrays, *model.free_symbols]
    for name in data.inputs:
        named = [leaf for leaf in leaves if leaf.name == name]
        shape = tuple(data[name].shape[1:])
        if not named:
            near = sorted({str(leaf.name) for leaf in leaves if leaf.name})
            close = difflib.get_close_matches(name, near, n=3, cutoff=0.4)
            raise DatasetError(
                f"the dataset has an input {name!r}, but no leaf of {model!r} is named so",
                nodes=[model],
                expected=near[:20],
                found=name,
                hint=f"similar names: {close}" if close else "inputs= of the dataset names the leaves that it replaces",
            )
        for leaf in named:
            _check_leaf(leaf, name, shape, data[name].dtype)
    unknown = [symbol for symbol in model.free_symbols if symbol.name not in data.inputs]
    if unknown:
        raise DatasetError(
            f"nothing is bound to {unknown[0]!r}, and the dataset has no input of that name",
            nodes=unknown[:5],
            expected=[symbol.name for symbol in unknown],
            found=data.inputs,
            hint="add an array of that name, name it in inputs=, or bind the symbol with rc.module_new_bind",
        )


def _check_leaf(leaf: Expr, name: str, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    if tuple(leaf.shape) != shape:
        raise DatasetError(
            f"input {name!r}: a row of the dataset has shape {list(shape)}, the model's leaf {list(leaf.shape)}",
            nodes=[leaf],
            expected=tuple(leaf.shape),
            found=shape,
            hint=f"bind_sizes(model, {leaf.free_sizes[0]}=...) makes the model for rows of one size"
            if leaf.free_sizes
            else "a leaf stands for one datum: the array has one axis more, the rows",
        )
    if leaf.dtype is not None and leaf.dtype != dtype:
        raise DatasetError(
            f"input {name!r} is {dtype} in the dataset and {leaf.dtype} in the model",
            nodes=[leaf],
            expected=leaf.dtype,
            found=dtype,
            hint=f"dataset.with_arrays({{{name!r}: array.to({leaf.dtype})}})",
        )
