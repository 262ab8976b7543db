"""Expressions as text (SPEC 10): `tree_lines` says which line each node gets, `to_text` and `print` write them."""

from scrub.graph.axis_names import shape_text
from scrub.graph.text.names import derived_name, display_name
from scrub.graph.text.params import params_text
from scrub.graph.text.render import (
    COLORS,
    Colorer,
    Commenter,
    Piece,
    one_line,
    plain_lines,
    print,  # noqa: A004
    shows_color,
    styled_lines,
    to_text,
)
from scrub.graph.text.tree import Line, Traversal, tree_lines

__all__ = [
    "COLORS",
    "Colorer",
    "Commenter",
    "Line",
    "Piece",
    "Traversal",
    "derived_name",
    "display_name",
    "one_line",
    "params_text",
    "plain_lines",
    "print",
    "shape_text",
    "shows_color",
    "styled_lines",
    "to_text",
    "tree_lines",
]
