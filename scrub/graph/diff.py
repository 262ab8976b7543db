"""`diff`: what was changed, added and removed between two expressions, aligned by structure.

Walks down both at once. What the two share is the same object, so identical parts are cut off at once and the walk
follows the difference alone. Children are paired by identity first, then by name and type, then by type, in order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from scrub.graph.expr import Expr
from scrub.graph.module import Module
from scrub.graph.text.params import params_text
from scrub.graph.text.render import Piece, ansi_text, html_text, line_pieces, shows_color
from scrub.graph.walk import postorder

_KEPT = 3  # levels without a change of their own that are shown at either end of a longer run
_MAX_PAIRS = 4  # pairs per node: beyond, what is left counts as removed and added


@dataclass(frozen=True)
class Change:
    """A node that became another.

    Attributes:
        before, after: the two.
        what: which of "type", "name", "params", "children", "shape", "dtype" differ. "children" means that some were
            added, removed or reordered, not that something below them changed. "shape" and "dtype" are listed alone
            where they follow from changes below.
    """

    before: Expr
    after: Expr
    what: tuple[str, ...]

    @property
    def is_own(self) -> bool:
        """Whether it is more than another shape or dtype that follows from changes below."""
        return not self.before.children or any(fact not in ("shape", "dtype") for fact in self.what)


@dataclass(frozen=True)
class _Row:
    """One child position of a pair: both sides, one of them, or the same node on both."""

    before: Expr | None
    after: Expr | None


class Diff:
    """What differs between two expressions. Prints itself; in a notebook, shows itself in color.

    Attributes:
        before, after: the two expressions.
        changes: nodes that changed, in order of first visit, with what changed.
        added, removed: nodes that only `after`, or only `before`, has, and that are not a changed version of another.
    """

    def __init__(self, before: Expr, after: Expr) -> None:
        self.before = before
        self.after = after
        walk = _Walk(before, after)
        self._rows = walk.rows
        self._root = walk.root
        self.changes: tuple[Change, ...] = tuple(walk.changes.values())
        self.added: tuple[Expr, ...] = tuple(n for n in walk.new if n not in walk.paired_after)
        self.removed: tuple[Expr, ...] = tuple(n for n in walk.old if n not in walk.paired_before)
        self._changes = walk.changes

    def __bool__(self) -> bool:
        """Whether there is any difference."""
        return self.before is not self.after

    @property
    def summary(self) -> str:
        """One line: how much changed, was added and removed."""
        if self.before is self.after:
            return "no difference"
        own = sum(change.is_own for change in self.changes)
        counts = [(own, "changed"), (len(self.added), "added"), (len(self.removed), "removed")]
        counts.append((len(self.changes) - own, "of another shape or dtype because of it"))
        parts = [f"{count:,} {'node ' if count == 1 else 'nodes '}{word}" for count, word in counts if count]
        first, *rest = parts or ["nodes only moved"]
        return ", ".join([first, *(part.replace("nodes ", "").replace("node ", "") for part in rest)])

    def to_text(self, *, color: bool = False) -> str:
        """The summary, then the parts that differ: `-` before, `+` after, what surrounds them for orientation.

        Args:
            color: whether to write terminal color codes.
        """
        rows = [[Piece(self.summary)], *self._lines]
        return "\n".join(ansi_text(row) if color else "".join(piece.text for piece in row) for row in rows)

    def print(self) -> None:
        """Print `to_text()`, in color on terminals and in notebooks."""
        import sys

        sys.stdout.write(self.to_text(color=shows_color()) + "\n")

    def __str__(self) -> str:
        return self.to_text()

    def __repr__(self) -> str:
        return f"<Diff: {self.summary}>"

    def _repr_html_(self) -> str:
        return html_text([[Piece(self.summary)], *self._lines[:400]])

    @cached_property
    def _lines(self) -> list[list[Piece]]:
        return _Writer(self._rows, self._changes).write(self._root) if self else []


def diff(before: Expr, after: Expr) -> Diff:
    """What differs between two expressions.

    Args:
        before, after: the two, usually before and after a rewrite.

    >>> from scrub.graph import Add, Scalar
    >>> x, y = Scalar(1.0, name="x"), Scalar(2.0, name="y")
    >>> found = diff(Add(x, y, name="sum"), Add(x, y.rename("z"), x, name="sum"))
    >>> found.summary
    '2 nodes changed'
    >>> found.print()
    2 nodes changed
      'sum' [] Add  (children)
        'x'
    -   'y' [] Scalar 2.0
    +   'z' [] Scalar 2.0  (name)
    +   'x' [] Scalar 1.0
    """
    return Diff(before, after)


class _Walk:
    """Pairs the nodes of two expressions."""

    def __init__(self, before: Expr, after: Expr) -> None:
        nodes_before, nodes_after = list(postorder([before])), list(postorder([after]))
        in_before, in_after = set(nodes_before), set(nodes_after)
        self.old = [node for node in nodes_before if node not in in_after]
        self.new = [node for node in nodes_after if node not in in_before]
        self._only_before, self._only_after = set(self.old), set(self.new)
        self.paired_before: set[Expr] = set()
        self.paired_after: set[Expr] = set()
        self.changes: dict[tuple[Expr, Expr], Change] = {}
        self.rows: dict[tuple[Expr | None, Expr | None], list[_Row]] = {}
        self.root = self._wrapped(before, after)
        self._run(_MAX_PAIRS * (len(self.old) + len(self.new)) + 1)

    def _run(self, max_pairs: int) -> None:
        stack = [self.root]
        seen: set[tuple[Expr | None, Expr | None]] = set()
        while stack:
            row = stack.pop()
            before, after = row.before, row.after
            if before is after or (before, after) in seen:
                continue
            seen.add((before, after))
            if before is None or after is None:
                node = before if after is None else after
                assert node is not None
                mine = self._only_before if after is None else self._only_after
                if node in mine and len(seen) < max_pairs:
                    below = [_Row(c, None) if after is None else _Row(None, c) for c in node.children]
                    self.rows[before, after] = self._around(row, below)
                    stack.extend(reversed(self.rows[before, after]))
                continue
            self.paired_before.add(before)
            self.paired_after.add(after)
            rows, has_moved = _align(before, after)
            what = [*_facts(before, after), *(["children"] if has_moved else [])]
            if what:
                self.changes[before, after] = Change(before, after, tuple(sorted(what, key=_ORDER.index)))
            if len(seen) < max_pairs:
                self.rows[before, after] = [
                    self._wrapped(r.before, r.after) if r.before is not None and r.after is not None else r
                    for r in rows
                ]
                stack.extend(reversed(self.rows[before, after]))

    def _wrapped(self, before: Expr, after: Expr) -> _Row:
        """The pair; or one of them alone, if the other is one of its children: then it was put or taken around it."""
        if before is not after and _similarity(before, after) < 2:
            if any(_similarity(before, child) == 3 for child in after.children) and after in self._only_after:
                self._inner[None, after] = before
                return _Row(None, after)
            if any(_similarity(child, after) == 3 for child in before.children) and before in self._only_before:
                self._inner[before, None] = after
                return _Row(before, None)
        return _Row(before, after)

    @cached_property
    def _inner(self) -> dict[tuple[Expr | None, Expr | None], Expr]:
        """What the other side has in place of a node that was put around it."""
        return {}

    def _around(self, row: _Row, below: list[_Row]) -> list[_Row]:
        inner = self._inner.get((row.before, row.after))
        if inner is None:
            return below
        paired: list[_Row] = []
        for child in below:
            own = child.before or child.after
            assert own is not None
            if inner is not None and _similarity(own, inner) == 3:
                paired.append(_Row(own, inner) if row.after is None else _Row(inner, own))
                inner = None
            else:
                paired.append(child)
        return paired


_ORDER = ["type", "name", "params", "children", "shape", "dtype"]


def _facts(before: Expr, after: Expr) -> list[str]:
    facts: list[tuple[str, Callable[[Expr], Any]]] = [
        ("type", type),
        ("name", lambda node: node.name),
        ("params", lambda node: repr(node.params)),
        ("shape", lambda node: node.shape),
        ("dtype", lambda node: node.dtype),
    ]
    return [what for what, fact in facts if fact(before) != fact(after)]


def _similarity(a: Expr, b: Expr) -> int:
    """3: the same, or of the same given name and type; 2: of one name; 1: of one type."""
    if a is b or (a.name is not None and a.name == b.name and type(a) is type(b)):
        return 3
    if a.name is not None and a.name == b.name:
        return 2
    return 2 if type(a) is type(b) and a.name is None and b.name is None else int(type(a) is type(b))


def _align(before: Expr, after: Expr) -> tuple[list[_Row], bool]:
    """The children of both in rows, in the order of `after`, and whether any came, went or changed places."""
    xs, ys = before.children, after.children
    partner: list[int | None] = [None] * len(ys)
    free = dict.fromkeys(range(len(xs)))
    keys: list[Callable[[Expr], Any]] = [
        lambda node: node,
        lambda node: (node.name, type(node)) if node.name is not None else None,
        lambda node: (type(node), repr(node.params)) if node.name is None and node.params else None,
        lambda node: (type(node), node.name is None),
        type,
        lambda node: 0,
    ]
    for key in keys:
        if not free:
            break
        waiting: dict[Any, deque[int]] = {}
        for i in free:
            waiting.setdefault(key(xs[i]), deque()).append(i)
        for j, y in enumerate(ys):
            if partner[j] is None and (wanted := key(y)) is not None and waiting.get(wanted):
                i = partner[j] = waiting[wanted].popleft()
                del free[i]
    rows: list[_Row] = []
    gone = deque(free)
    for j, i in enumerate(partner):
        while gone and i is not None and gone[0] < i:
            rows.append(_Row(xs[gone.popleft()], None))
        rows.append(_Row(None if i is None else xs[i], ys[j]))
    rows.extend(_Row(xs[i], None) for i in gone)
    order = [i for i in partner if i is not None]
    return rows, len(order) < len(ys) or bool(free) or order != sorted(order)


class _Writer:
    """Lines of a difference."""

    def __init__(
        self,
        rows: dict[tuple[Expr | None, Expr | None], list[_Row]],
        changes: dict[tuple[Expr, Expr], Change],
    ) -> None:
        self.rows = rows
        self.changes = changes

    def write(self, root: _Row) -> list[list[Piece]]:
        lines: list[list[Piece]] = []
        shown: set[tuple[Expr | None, Expr | None]] = set()
        stack: list[tuple[_Row | int, int]] = [(root, 0)]
        while stack:
            row, depth = stack.pop()
            if isinstance(row, int):
                lines.append(_line(" ", depth, [Piece(f"... {row} not changed", "lightgrey")]))
                continue
            key = (row.before, row.after)
            is_repeat = key in shown
            shown.add(key)
            lines.extend(self._own_lines(row, depth, is_repeat=is_repeat))
            if is_repeat or row.before is row.after:
                continue
            below = self.rows.get(key, [])
            differing = [item for item in below if item.before is not item.after]
            if self._is_plain(row) and len(differing) == 1:
                row, skipped = self._skip(differing[0], shown)
                if skipped > 2 * _KEPT:
                    lines.append(_line(" ", depth + 1, [Piece(f"... {skipped} levels", "lightgrey")]))
                    stack.append((row, depth + 2))
                    continue
            stack.extend((item, depth + 1) for item in reversed(self._folded(below)))
        return lines

    def _is_plain(self, row: _Row) -> bool:
        """Whether both sides are there and differ only below, or in shape."""
        if row.before is None or row.after is None or row.before is row.after:
            return False
        change = self.changes.get((row.before, row.after))
        return change is None or not change.is_own

    def _skip(self, row: _Row, shown: set[tuple[Expr | None, Expr | None]]) -> tuple[_Row, int]:
        """The end of a run of nodes that differ below only, in one child each, and how many were passed."""
        passed: list[_Row] = []
        while self._is_plain(row) and (row.before, row.after) not in shown:
            differing = [r for r in self.rows.get((row.before, row.after), []) if r.before is not r.after]
            if len(differing) != 1:
                break
            passed.append(row)
            row = differing[0]
        kept = passed[-_KEPT:]
        if kept:
            passed, row = passed[: -len(kept)], kept[0]
        return row, len(passed)

    def _folded(self, rows: list[_Row]) -> Sequence[_Row | int]:
        """The rows with long stretches of unchanged ones folded into their number."""
        folded: list[_Row | int] = []
        same: list[_Row] = []
        for row in [*rows, None]:
            if row is not None and row.before is row.after:
                same.append(row)
                continue
            folded.extend(same if len(same) <= _KEPT + 1 else [same[0], len(same) - 2, same[-1]])
            same = []
            if row is not None:
                folded.append(row)
        return folded

    def _own_lines(self, row: _Row, depth: int, *, is_repeat: bool) -> list[list[Piece]]:
        before, after = row.before, row.after
        if before is after and before is not None:
            return [_line(" ", depth, line_pieces(before, is_repeat=True))]
        if before is None and after is not None:
            is_known = is_repeat or (None, after) not in self.rows
            return [_line("+", depth, line_pieces(after, is_repeat=is_known and bool(after.children)))]
        if after is None and before is not None:
            is_known = is_repeat or (before, None) not in self.rows
            return [_line("-", depth, line_pieces(before, is_repeat=is_known and bool(before.children)))]
        assert before is not None
        assert after is not None
        change = self.changes.get((before, after))
        note = [Piece(f"  ({', '.join(change.what)})", "lightgrey")] if change is not None else []
        if is_repeat:
            return [_line(" ", depth, [*line_pieces(after, is_repeat=True), Piece("  (see above)", "lightgrey")])]
        old, new = line_pieces(before, is_repeat=False), line_pieces(after, is_repeat=False)
        reads_same = [piece.text for piece in old] == [piece.text for piece in new]
        if change is None or (reads_same and not _differs_in_print(before, after)):
            return [_line(" ", depth, [*new, *note])]
        return [_line("-", depth, old), _line("+", depth, [*new, *note])]


def _differs_in_print(before: Expr, after: Expr) -> bool:
    return type(before) is not Module and params_text(before, exact=True) != params_text(after, exact=True)


_MARKS = {"+": "green", "-": "red", " ": None}


def _line(mark: str, depth: int, pieces: list[Piece]) -> list[Piece]:
    shade = _MARKS[mark]
    indent = f"{mark} {'  ' * min(depth, 60)}"
    return [Piece(indent, shade), *(Piece(piece.text, shade or piece.color) for piece in pieces)]
