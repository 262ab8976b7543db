"""An expression as a collapsible tree in HTML, coloured by which of two inputs each part reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from html import escape

from scrub.graph import Expr, display_name, postorder, tree_lines

READS = ("neither", "original", "scrubbed", "both")
"""CSS class by what a node reads: bit 0 the original input, bit 1 the scrubbed one."""


def reads(expr: Expr, original: Expr, scrubbed: Expr) -> dict[Expr, str]:
    """For each node below `expr`, which of the two inputs it reads: neither, original, scrubbed or both."""
    bits: dict[Expr, int] = {}
    for node in postorder([expr]):
        bits[node] = (node is original) | (node is scrubbed) << 1
        for child in node.children:
            bits[node] |= bits[child]
    return {node: READS[bit] for node, bit in bits.items()}


def tree_html(expr: Expr, classes: Mapping[Expr, str], *, is_open: Callable[[Expr], bool]) -> str:
    """The tree as nested `<details>`. What reads neither input (weights, functions' bodies) has its first line only.

    Args:
        expr: the root.
        classes: node -> CSS class, from `reads`.
        is_open: whether a node starts unfolded.
    """
    lines = list(tree_lines(expr, descend=lambda node: classes[node] != "neither"))
    parts = ['<div class="tree scroll">']
    depth = 0
    for line, following in zip(lines, [*lines[1:], None], strict=True):
        parts.append("</details>" * (depth - line.depth))
        depth = line.depth
        node = line.node
        text = escape(display_name(node) if line.is_repeat else f"{display_name(node)} {list(node.shape)}")
        kind = "" if line.is_repeat else f' <span class="neither">{type(node).__name__}</span>'
        bound = f' <span class="neither">! {escape(repr(line.argument))}</span>' if line.argument is not None else ""
        note = ' <span class="neither">(shown above)</span>' if line.is_repeat and node.children else ""
        label = f'<span class="{classes[node]}">{text}</span>{kind}{bound}{note}'
        if following is not None and following.depth > line.depth:
            parts.append(f"<details{' open' if is_open(node) else ''}><summary>{label}</summary>")
            depth += 1
        else:
            parts.append(f'<div class="leaf">{label}</div>')
    parts.append("</details>" * depth + "</div>")
    return "".join(parts)
