"""Expressions as text: one node a line, two spaces a level, a node's second appearance as its name alone (SPEC 10)."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from scrub.graph.expr import Expr
from scrub.graph.fluent import provide
from scrub.graph.module import Module

Colorer = Callable[[Expr], str | None]
_ANSI = {"red": 31, "green": 32, "yellow": 33, "blue": 34, "purple": 35, "cyan": 36, "lightgrey": 90}


@dataclass(frozen=True)
class Line:
    """One line of the tree.

    Attributes:
        node, depth: the node and its depth below the root.
        is_repeat: it was printed before, so nothing is printed below.
        is_cut: it has children that are not printed, because of `max_depth` or `descend`.
        argument: name of the parameter this node is bound to in the module above, or None.
    """

    node: Expr
    depth: int
    is_repeat: bool
    is_cut: bool
    argument: str | None


def tree_lines(
    expr: Expr, *, max_depth: int | None = None, descend: Callable[[Expr], bool] | None = None
) -> Iterator[Line]:
    """The lines of an expression, linear in its distinct nodes.

    Args:
        expr: the root.
        max_depth: deepest level to print; all if None.
        descend: whether to print what is below a node; always if None.
    """
    seen: set[Expr] = set()
    stack: list[tuple[Expr, int, str | None]] = [(expr, 0, None)]
    while stack:
        node, depth, argument = stack.pop()
        is_repeat = node in seen
        is_stopped = (max_depth is not None and depth >= max_depth) or (descend is not None and not descend(node))
        is_cut = is_stopped and bool(node.children) and not is_repeat
        yield Line(node, depth, is_repeat, is_cut, argument)
        if is_repeat or is_cut:
            continue
        seen.add(node)
        arguments: list[str | None] = [None] * len(node.children)
        if isinstance(node, Module):
            arguments = [None, *(symbol.name for symbol in node.bindings)]
        stack.extend((c, depth + 1, a) for c, a in reversed(list(zip(node.children, arguments, strict=True))))


def to_text(
    expr: Expr,
    *,
    max_depth: int | None = None,
    descend: Callable[[Expr], bool] | None = None,
    colorer: Colorer | None = None,
    commenter: Callable[[Expr], str | None] | None = None,
    color: bool = False,
) -> str:
    """The expression as indented text.

    Args:
        expr, max_depth, descend: as in `tree_lines`.
        colorer: node -> color name, used where `color` is set: red, green, yellow, blue, purple, cyan, lightgrey.
        commenter: node -> text to append to its line behind `#`.
        color: whether to write terminal color codes.

    >>> from scrub.graph import Add, Scalar
    >>> to_text(Add(Scalar(1.0, name="one"), Scalar(2.0, name="two"), name="three")).splitlines()
    ["'three' [] Add", "  'one' [] Scalar 1.0", "  'two' [] Scalar 2.0"]
    """
    lines: list[str] = []
    for line in tree_lines(expr, max_depth=max_depth, descend=descend):
        node = line.node
        text = display_name(node) if line.is_repeat else one_line(node)
        text += f" ! {line.argument!r}" if line.argument is not None else ""
        text += " ..." if line.is_cut else ""
        comment = commenter(node) if commenter else None
        text += f"  # {comment}" if comment else ""
        shade = _ANSI.get(colorer(node) or "") if color and colorer else None
        lines.append("  " * line.depth + (f"\033[{shade}m{text}\033[0m" if shade else text))
    return "\n".join(lines)


@provide
def print(  # noqa: A001
    expr: Expr,
    *,
    max_depth: int | None = None,
    descend: Callable[[Expr], bool] | None = None,
    colorer: Colorer | None = None,
    commenter: Callable[[Expr], str | None] | None = None,
) -> None:
    """Print `to_text(expr)` to standard output, in color on a terminal."""
    is_terminal = sys.stdout.isatty()
    text = to_text(expr, max_depth=max_depth, descend=descend, colorer=colorer, commenter=commenter, color=is_terminal)
    sys.stdout.write(text + "\n")


def one_line(node: Expr) -> str:
    """`'name' [shape] Type parameters`."""
    parts = [display_name(node), str(list(node.shape)), type(node).__name__, node.param_text()]
    return " ".join(part for part in parts if part)


def display_name(node: Expr) -> str:
    """The given name in quotes, or the derived one without."""
    return repr(node.name) if node.name is not None else derived_name(node)


def derived_name(node: Expr, *, levels: int = 3) -> str:
    """The given name, or one made from the operation and the children's; at most `levels` deep and 60 letters long.

    >>> from scrub.graph import Add, Scalar
    >>> derived_name(Add(Scalar(1.0, name="a"), Scalar(2.0, name="b")))
    'a + b'
    """
    if node.name is not None:
        return node.name
    if levels == 0:
        return "..."
    shown = node.children[:4]
    names = [derived_name(child, levels=levels - 1) for child in shown]
    if node.infix:
        names = [f"({n})" if c.infix and c.name is None else n for n, c in zip(names, shown, strict=True)]
    if len(node.children) > len(shown):
        names.append("...")
    text = node.derived_name(names)
    return text if len(text) <= 60 else text[:57] + "..."
