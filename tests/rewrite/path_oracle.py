"""What path matchers find, defined on whole paths and written out one path at a time.

`paths_of` lists every path of a small expression, as written or as if inlined. `finds(m, path)` says whether a matcher,
given as nested tuples, finds the end of a path, by quantifying over the nodes on it. Nothing here carries a state down
a path, and nothing is shared between paths.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import scrub as rc
from scrub.rewrite import directly_below, not_through

Spec = tuple[Any, ...]
"""("nodes", names), ("chain", a, b, must_be_sub), ("restrict", m, options), ("any" | "all", m, ...),
("children", indices), ("argument", name), ("body",), ("no_spec", m), ("not_through", m), ("below", m)."""


@dataclass(frozen=True, eq=False)
class Step:
    """A node on a path and how it was come to: as child number `index`, or bound to `symbol` by the module `binder`."""

    node: rc.Expr
    index: int | None
    symbol: rc.Symbol | None = None
    binder: Step | None = None


Path = tuple[Step, ...]
Scope = dict[rc.Symbol, tuple[rc.Expr, "Scope", Step]]


def paths_of(expr: rc.Expr, *, see_through: bool, limit: int) -> list[Path] | None:
    """Every path from the root, left to right, a node before what is below it; None if there are more than `limit`."""
    found: list[Path] = []

    def walk(path: Path, scope: Scope) -> None:
        if len(found) > limit:
            return
        found.append(path)
        step = path[-1]
        node = step.node
        if see_through and isinstance(node, rc.Symbol):
            if node in scope:
                argument, outer, binder = scope[node]
                walk((*path, Step(argument, None, node, binder)), outer)
        elif see_through and isinstance(node, rc.Module):
            inner = scope | {symbol: (arg, scope, step) for symbol, arg in node.bindings.items()}
            walk((*path, Step(node.body, 0)), inner)
        else:
            for i, child in enumerate(node.children):
                walk((*path, Step(child, i)), scope)

    walk((Step(expr, None),), {})
    return found if len(found) <= limit else None


def finds(spec: Spec, path: Path) -> bool:
    """Whether the matcher, begun at the first node of the path, finds the last one."""
    return _RULES[spec[0]](spec, path) if path else False


def _chain(spec: Spec, path: Path) -> bool:
    _, first, second, must_be_sub = spec
    return any(finds(first, path[: j + 1]) and finds(second, path[j + must_be_sub :]) for j in range(len(path)))


def _restrict(spec: Spec, path: Path) -> bool:
    inner, options = spec[1], spec[2]
    end = options.get("end_depth")

    def is_found(upto: Path) -> bool:
        depth = len(upto) - 1
        return options.get("start_depth", 0) <= depth and (end is None or depth < end) and finds(inner, upto)

    for j in range(len(path) - 1):
        if path[j].node.name in options.get("term_early_at", ()):
            return False
        if options.get("term_if_matches") and is_found(path[: j + 1]):
            return False
    return is_found(path)


def _selected(path: Path, chosen: Callable[[rc.Expr], set[int]]) -> bool:
    start = 0
    while start + 1 < len(path) and path[start + 1].symbol is not None and path[start + 1].symbol is path[start].node:
        if path[start + 1].binder is path[start]:
            break
        start += 1
    node, last = path[start].node, path[-1]
    if len(path) == start + 2 and last.symbol is None:
        return last.index in chosen(node)
    if last.binder is path[start] and last.binder is not None:
        return 1 + list(node.cast(rc.Module).bindings).index(last.symbol) in chosen(node)  # type: ignore[arg-type]
    return False


def _argument(spec: Spec, path: Path) -> bool:
    def chosen(node: rc.Expr) -> set[int]:
        names = [s.name for s in node.bindings] if isinstance(node, rc.Module) else []
        return {i for i, name in enumerate(names, start=1) if name == spec[1]}

    return _selected(path, chosen)


def _outside_bodies(path: Path) -> Path | None:
    """The path with what lies in bodies left out; None if it ends in one."""
    kept: list[Step] = [path[0]]
    i = 0
    while i + 1 < len(path):
        step, following = path[i], path[i + 1]
        is_call = isinstance(step.node, rc.Module)
        if is_call and following.index == 0:
            j = next((j for j in range(i + 2, len(path)) if path[j].binder is step), None)
            if j is None:
                return None
            number = 1 + list(step.node.cast(rc.Module).bindings).index(path[j].symbol)  # type: ignore[arg-type]
            kept.append(Step(path[j].node, number))
            rest = _rebased(path[j:], kept[-1])
            path, i = (*path[:i], step, *rest), i + 1
        else:
            kept.append(following)
            i += 1
    return tuple(kept)


def _rebased(path: Path, first: Step) -> Path:
    """The path with another first step, and what that one binds bound by the new one."""
    old, made = path[0], [first]
    for step in path[1:]:
        made.append(Step(step.node, step.index, step.symbol, first) if step.binder is old else step)
    return tuple(made)


def _no_spec(spec: Spec, path: Path) -> bool:
    outside = _outside_bodies(path)
    return outside is not None and finds(spec[1], outside)


def _below(spec: Spec, path: Path) -> bool:
    first = _start_of_group(path, len(path) - 1)
    if first == 0:
        return False
    parents = range(_start_of_group(path, first - 1), first)
    return any(finds(spec[1], path[: k + 1]) for k in parents)


def _start_of_group(path: Path, i: int) -> int:
    """Symbols that stand for each other and what the last is bound to are one thing."""
    while i > 0 and path[i].symbol is not None:
        i -= 1
    return i


_RULES: dict[str, Callable[[Spec, Path], bool]] = {
    "nodes": lambda spec, path: path[-1].node.name in spec[1],
    "any": lambda spec, path: any(finds(m, path) for m in spec[1:]),
    "all": lambda spec, path: all(finds(m, path) for m in spec[1:]),
    "chain": _chain,
    "restrict": _restrict,
    "children": lambda spec, path: _selected(path, lambda node: spec[1]),
    "argument": _argument,
    "body": lambda spec, path: _selected(path, lambda node: {0} if isinstance(node, rc.Module) else set()),
    "no_spec": _no_spec,
    "not_through": lambda spec, path: not any(finds(spec[1], path[: j + 1]) for j in range(len(path) - 1)),
    "below": _below,
}


def build(spec: Spec) -> rc.IterativeMatcher:
    """The package's matcher."""
    kind, *rest = spec
    if kind == "nodes":
        return rc.IterativeMatcher(set(rest[0]))
    if kind == "chain":
        return build(rest[0]).chain(build(rest[1]), must_be_sub=rest[2])
    if kind == "restrict":
        return rc.restrict(build(rest[0]), **rest[1])
    if kind in ("any", "all"):
        return getattr(rc.IterativeMatcher, kind)(*map(build, rest))
    if kind == "no_spec":
        return build(rest[0]).filter_module_spec()
    simple: dict[str, Any] = {
        "children": lambda: rc.children_matcher(rest[0]),
        "argument": lambda: rc.module_arg_matcher(rest[0]),
        "body": rc.spec_matcher,
        "not_through": lambda: not_through(build(rest[0])),
        "below": lambda: directly_below(build(rest[0])),
    }
    return simple[kind]()


def resolved(path: Path, paths: list[Path]) -> Path:
    """The path, on through bound symbols to what the last one stands for."""
    while isinstance(path[-1].node, rc.Symbol):
        longer = next((p for p in paths if len(p) == len(path) + 1 and p[:-1] == path), None)
        if longer is None:
            break
        path = longer
    return path


def found_paths(spec: Spec, paths: list[Path]) -> list[Path]:
    """The paths to what is found; a bound symbol counts as what is bound to it, once."""
    found = (resolved(path, paths) for path in paths if finds(spec, path))
    return list(dict.fromkeys(found))


def _below_each(paths: list[Path]) -> dict[int, list[Path]]:
    below: dict[int, list[Path]] = {}
    for path in paths:
        if len(path) > 1:
            below.setdefault(id(path[-2]), []).append(path)
    return below


def updated(paths: list[Path], found: list[Path], transform: Callable[[rc.Expr], rc.Expr]) -> rc.Expr:
    """The expression with every place that is found transformed, each path by itself."""
    ends, below = {id(path[-1]) for path in found}, _below_each(paths)

    def rebuilt(path: Path) -> rc.Expr:
        node = path[-1].node.with_children([rebuilt(child) for child in below.get(id(path[-1]), ())])
        return transform(node) if id(path[-1]) in ends else node

    return rebuilt(paths[0])


def updated_value(paths: list[Path], found: list[Path], transform: Callable[[float], float]) -> float:
    """The value of a sum of sums, seen through, with the value of every place that is found transformed."""
    ends, below = {id(path[-1]) for path in found}, _below_each(paths)

    def value(path: Path) -> float:
        node = path[-1].node
        parts = [value(child) for child in below.get(id(path[-1]), ())]
        total = sum(parts) if parts or not isinstance(node, rc.Scalar) else float(node.value)
        return transform(total) if id(path[-1]) in ends else total

    return value(paths[0])


def nodes_of(path: Path) -> tuple[rc.Expr, ...]:
    """The nodes on a path."""
    return tuple(step.node for step in path)


def iter_specs(spec: Spec) -> Iterator[str]:
    """The kinds of combinators in it."""
    yield spec[0]
    for part in spec[1:]:
        if isinstance(part, tuple) and spec[0] != "nodes":
            yield from iter_specs(part)
