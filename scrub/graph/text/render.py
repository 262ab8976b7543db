"""Expressions as text: one node a line, two spaces a level, a node's second appearance as its name alone (SPEC 10).

    'loss' [] Einsum a,a->
      'model' [3] Module
        'spec' [3] Add
          'in' [3] Symbol 7f0c53c1
          'w' [3] Array 2f97b0bb
        'x' [3] Array 50dba7b0 ! 'in'          bound to the parameter 'in' of the module above
      'y' [3] Array 292d9fdb
      'model'                                  a second appearance
      'y' ... x 4                              four more of the same
      'n' @1 [3] Add ...                       has children that are not printed; second appearances of *this* 'n',
      'n' @1                                   where another node has the same name, carry the same label
    100|'deep' [] Add                          levels beyond the hundredth begin on the left again, so that the text of
    100|  'deeper' [] Add                      a chain is linear in its length

The exact form differs in three ways: digests and uuids are whole, unnamed nodes have no derived name, and numbers of
labels go by first appearance. `scrub.graph.parser` reads both.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Sequence
from html import escape
from itertools import islice
from typing import NamedTuple

from scrub.graph.axis_names import shape_text
from scrub.graph.errors import ConstructionError
from scrub.graph.expr import Expr
from scrub.graph.fluent import provide
from scrub.graph.text.names import QUOTED, derived_name, display_name
from scrub.graph.text.params import params_text
from scrub.graph.text.tree import Line, Traversal, tree_lines

Colorer = Callable[[Expr], str | None]
Commenter = Callable[[Expr], str | None]
COLORS = {"red": 31, "green": 32, "yellow": 33, "blue": 34, "purple": 35, "cyan": 36, "lightgrey": 90}
"""Names of colors that a colorer may answer, and their codes on terminals."""
KIND_COLORS = {
    "Array": "green",
    "Scalar": "green",
    "Symbol": "yellow",
    "Module": "blue",
    "DiscreteVar": "purple",
    "StoredCumulantVar": "purple",
    "Cumulant": "purple",
    "Tag": "purple",
}
"""Color of the type in a line, where no colorer is given; cyan for all others."""
WINDOW = 100
_SHOWN_LINES, _SHOWN_DEPTH = 40, 4  # what a notebook shows of an expression on the last line of a cell


class Piece(NamedTuple):
    """A stretch of a line in one color (None: the usual one)."""

    text: str
    color: str | None = None


def to_text(
    expr: Expr | Iterable[Expr],
    *,
    exact: bool = False,
    max_depth: int | None = None,
    descend: Callable[[Expr], bool] | None = None,
    traversal: Traversal | None = None,
    colorer: Colorer | None = None,
    commenters: Commenter | Sequence[Commenter] = (),
    shapes: bool = True,
    arrows: bool = False,
    color: bool = False,
) -> str:
    """The expression as indented text.

    Args:
        expr: the root, or several, one below the other.
        exact: write everything, so that `Parser` gives back the identical object without being shown it: digests and
            uuids in full.
        max_depth, descend, traversal: how far to print, as in `tree_lines`; `...` marks what was left out.
        colorer: node -> color of its line, used where `color` is set: red, green, yellow, blue, purple, cyan,
            lightgrey. Without it the type is coloured by what it is.
        commenters: node -> text to append to its line behind `#`, or None; one function or several.
        shapes: whether to write shapes.
        arrows: whether to draw lines from parents to children, and to say at a second appearance on which line the
            first one is.
        color: whether to write terminal color codes.

    >>> from scrub.graph import Add, Scalar
    >>> to_text(Add(Scalar(1.0, name="one"), Scalar(2.0, name="two"), name="three")).splitlines()
    ["'three' [] Add", "  'one' [] Scalar 1.0", "  'two' [] Scalar 2.0"]
    """
    lines = list(tree_lines(expr, max_depth=max_depth, descend=descend, traversal=traversal))
    if color or colorer or commenters or arrows or not shapes:
        rows = styled_lines(
            lines, exact=exact, colorer=colorer, commenters=commenters, shapes=shapes, arrows=arrows, has_color=color
        )
        return "\n".join([ansi_text(row) for row in rows])
    return "\n".join(plain_lines(lines, exact=exact))


@provide
def print(  # noqa: A001
    expr: Expr,
    *,
    exact: bool = False,
    max_depth: int | None = None,
    descend: Callable[[Expr], bool] | None = None,
    traversal: Traversal | None = None,
    colorer: Colorer | None = None,
    commenters: Commenter | Sequence[Commenter] = (),
    shapes: bool = True,
    arrows: bool = False,
    color: bool | None = None,
) -> None:
    """Print `to_text(expr)` to standard output, in color on terminals and in notebooks if `color` is None."""
    text = to_text(
        expr,
        exact=exact,
        max_depth=max_depth,
        descend=descend,
        traversal=traversal,
        colorer=colorer,
        commenters=commenters,
        shapes=shapes,
        arrows=arrows,
        color=shows_color() if color is None else color,
    )
    sys.stdout.write(text + "\n")


@provide
def _repr_html_(expr: Expr) -> str:
    """The first lines of the tree, in color, for notebooks. Small, however large the expression."""
    first = list(islice(tree_lines(expr, max_depth=_SHOWN_DEPTH), _SHOWN_LINES + 1))
    rows = styled_lines(first[:_SHOWN_LINES])
    if len(first) > _SHOWN_LINES or any(line.is_cut for line in first):
        rows.append([Piece("expr.print() shows all, expr.print_html() to look around", "lightgrey")])
    return html_text(rows)


def shows_color() -> bool:
    """Whether standard output is a terminal, or a notebook's, which shows the same codes."""
    return sys.stdout.isatty() or type(sys.stdout).__module__.startswith("ipykernel")


def one_line(node: Expr) -> str:
    """`'name' [shape] Type parameters`."""
    head = node_head(node, exact=False)
    parts = [head, shape_text(node), type(node).__name__, node.param_text()]
    return " ".join([part for part in parts if part])


def node_head(node: Expr, *, exact: bool) -> str:
    """What stands in front of the shape: the name, or, but for the exact form, what derives from what it computes."""
    if node.name is not None:
        return repr(node.name)
    if exact:
        return ""
    derived = derived_name(node)
    is_redundant = not node.children and derived == f"{type(node).__name__} {node.param_text()}"
    is_like_a_given_name = derived[:1] in ("'", '"') and re.fullmatch(QUOTED, derived) is not None
    return "" if is_redundant or is_like_a_given_name else derived


def plain_lines(lines: Sequence[Line], *, exact: bool, window: int = WINDOW) -> list[str]:
    """The lines as they are without options; `window` is the number of levels until they begin on the left again."""
    heads, labels = _heads_and_labels(lines, exact=exact)
    indents = ["  " * level for level in range(window)]
    result: list[str] = []
    for node, depth, is_repeat, is_cut, argument, count, _ in lines:
        text = heads[node]
        label = labels.get(node)
        if label is not None:
            text = f"{text} {label}" if text else label
        if not is_repeat or (label is None and node in labels):
            params = params_text(node, exact=exact)
            kind = type(node).__name__
            text = f"{text} {shape_text(node)} {kind}" if text else f"{shape_text(node)} {kind}"
            if params:
                text = f"{text} {params}"
        if argument is not None:
            text = f"{text} ! {argument!r}"
        if is_cut:
            text += " ..."
        elif count > 1:
            text = f"{text} ... x {count}"
        result.append(f"{_base(depth, window)}{indents[depth % window]}{text}")
    return result


def styled_lines(
    lines: Sequence[Line],
    *,
    exact: bool = False,
    colorer: Colorer | None = None,
    commenters: Commenter | Sequence[Commenter] = (),
    shapes: bool = True,
    arrows: bool = False,
    has_color: bool = True,
) -> list[list[Piece]]:
    """The lines in pieces with their colors; options as in `to_text`."""
    heads, labels = _heads_and_labels(lines, exact=exact)
    comment = [commenters] if callable(commenters) else list(commenters)
    guides = _guides(lines) if arrows else [_base(line.depth, WINDOW) + "  " * (line.depth % WINDOW) for line in lines]
    first: dict[Expr, int] = {}
    rows: list[list[Piece]] = []
    for number, (line, guide) in enumerate(zip(lines, guides, strict=True), start=1):
        node = line.node
        label = labels.get(node)
        whole = not line.is_repeat or (label is None and node in labels)
        pieces = _pieces(node, heads[node], label=label, whole=whole, shapes=shapes, exact=exact)
        if line.argument is not None:
            pieces.append(Piece(f"! {line.argument!r}", "yellow"))
        if line.is_cut or line.times > 1:
            pieces.append(Piece("..." if line.is_cut else f"... x {line.times}", "lightgrey"))
        notes = [note for function in comment if (note := function(node))]
        notes += [f"↑ line {first[node]}"] if arrows and line.is_repeat else []
        first.setdefault(node, number)
        shade = _checked_color(colorer(node), node) if colorer and has_color else None
        row = [Piece(guide, "lightgrey" if arrows else None)]
        for i, piece in enumerate(pieces):
            row.append(Piece(" " * (i > 0) + piece.text, (shade if colorer else piece.color) if has_color else None))
        if notes:
            row.append(Piece(f"  # {_single_line('; '.join(notes))}", "lightgrey" if has_color else None))
        rows.append(row if has_color else [Piece(piece.text) for piece in row])
    return rows


def line_pieces(node: Expr, *, is_repeat: bool) -> list[Piece]:
    """One node's line, without indentation; a repeat shows the name alone, if it has one."""
    head = node_head(node, exact=False)
    pieces = _pieces(node, head, label=None, whole=not is_repeat or not head, shapes=True, exact=False)
    return [Piece(" " * (i > 0) + piece.text, piece.color) for i, piece in enumerate(pieces)]


def _pieces(node: Expr, head: str, *, label: str | None, whole: bool, shapes: bool, exact: bool) -> list[Piece]:
    pieces = [Piece(head), Piece(label or "", "lightgrey")]
    if whole:
        kind = type(node).__name__
        pieces.append(Piece(shape_text(node) if shapes else "", "lightgrey"))
        pieces.append(Piece(kind, KIND_COLORS.get(kind, "cyan")))
        pieces.append(Piece(params_text(node, exact=exact), "lightgrey"))
    return [piece for piece in pieces if piece.text]


def ansi_text(pieces: Iterable[Piece]) -> str:
    """A line with terminal color codes."""
    return "".join([_ansi(piece) for piece in pieces])


def html_text(rows: Iterable[Sequence[Piece]]) -> str:
    """Lines as one preformatted block of HTML; colors are legible on light and on dark."""
    lines = ["".join([_html(piece) for piece in row]) for row in rows]
    return f'<pre style="line-height:1.35;overflow-x:auto">{"&#10;".join(lines)}</pre>'


_HTML_COLORS = {
    "red": "#d1383d",
    "green": "#2a8a4a",
    "yellow": "#a67400",
    "blue": "#2f7fd6",
    "purple": "#9461d8",
    "cyan": "#12849a",
    "lightgrey": "#848b94",
}


def _html(piece: Piece) -> str:
    text = escape(piece.text)
    return f'<span style="color:{_HTML_COLORS[piece.color]}">{text}</span>' if piece.color else text


def _heads_and_labels(lines: Sequence[Line], *, exact: bool) -> tuple[dict[Expr, str], dict[Expr, str | None]]:
    """How each node's lines begin, and the labels of nodes whose repeats would be ambiguous without.

    A label of None: the repeat is written in full, which says as much and is as short (nodes without children).
    """
    heads: dict[Expr, str] = {}
    repeated: set[Expr] = set()
    users: dict[str, Expr | None] = {}  # which node a head belongs to; None: several
    for line in lines:
        node = line.node
        if node in heads:
            if line.is_repeat:
                repeated.add(node)
            continue
        head = heads[node] = repr(node.name) if node.name is not None else node_head(node, exact=exact)
        users[head] = node if head and head not in users else None
    labels: dict[Expr, str | None] = {}
    if repeated:
        number = 0
        for node, head in heads.items():
            if node in repeated and (users[head] is None or (node.name is None and not node.children)):
                number += bool(node.children)
                labels[node] = f"@{number}" if node.children else None
    return heads, labels


def _base(depth: int, window: int) -> str:
    return "" if depth < window else f"{depth - depth % window}|"


def _guides(lines: Sequence[Line]) -> list[str]:
    """What stands in front of each line to connect it with its parent."""
    is_open: list[bool] = []  # for each level, whether more of it follows
    guides: list[str] = []
    for line in lines:
        del is_open[line.depth :]
        start = line.depth - line.depth % WINDOW
        bars = "".join(["│ " if more else "  " for more in is_open[max(start, 1) :]])
        own = "" if line.depth == 0 else "└ " if line.is_last else "├ "
        guides.append(_base(line.depth, WINDOW) + bars + own)
        is_open.append(not line.is_last)
    return guides


def _ansi(piece: Piece) -> str:
    return f"\033[{COLORS[piece.color]}m{piece.text}\033[0m" if piece.color else piece.text


def _checked_color(color: str | None, node: Expr) -> str | None:
    if color is not None and color not in COLORS:
        raise ConstructionError(
            f"the colorer answered {color!r}, which is not a color",
            nodes=[node],
            expected=sorted(COLORS),
            found=color,
            hint=f"one of {', '.join(sorted(COLORS))}, or None",
        )
    return color


def _single_line(text: str) -> str:
    return " ".join(text.split("\n")).replace("\r", " ")


__all__ = ["Line", "display_name", "one_line", "plain_lines", "print", "styled_lines", "to_text"]
