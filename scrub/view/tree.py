"""An expression as a collapsible tree in HTML: search by name, click to copy a matcher, hover for digest and params.

The page holds each distinct node once, as JSON, and renders what is opened; so its size is linear in distinct nodes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

from scrub.graph import Expr, Module, display_name, postorder, provide
from scrub.graph.text import Commenter, params_text, shape_text, tree_lines
from scrub.view.page import page

READS = ("neither", "original", "scrubbed", "both")
"""CSS class by what a node reads: bit 0 the original input, bit 1 the scrubbed one."""
_STYLES = {
    "Array": "leaf",
    "Scalar": "leaf",
    "Symbol": "symbol",
    "Module": "call",
    "DiscreteVar": "random",
    "StoredCumulantVar": "random",
    "Cumulant": "random",
    "Tag": "random",
}
_MAX_OPEN = 400  # rows that are rendered before anything is clicked
_MAX_PARAMS = 300  # letters of parameters shown on hover


class HtmlTree:
    """A page that shows one expression as a tree; in a notebook it shows itself.

    Attributes:
        html: the whole document; it needs no network and no other file.
    """

    def __init__(self, html: str) -> None:
        self.html = html

    def save(self, path: str | Path) -> None:
        """Write the page to a file."""
        Path(path).write_text(self.html, encoding="utf-8")

    def _repr_html_(self) -> str:
        # in a frame of its own, so that neither the notebook's style nor the page's reaches the other
        return (
            f'<iframe srcdoc="{escape(self.html)}" style="width:100%;height:600px;border:0" '
            'title="expression tree"></iframe>'
        )

    def __repr__(self) -> str:
        return f"<HtmlTree of {len(self.html):,} letters; in a notebook it shows itself, save(path) writes it>"


@provide
def print_html(
    expr: Expr,
    *,
    max_depth: int = 2,
    commenters: Commenter | Sequence[Commenter] = (),
    title: str | None = None,
) -> HtmlTree:
    """The expression as a page with one collapsible tree. Writes no file; `print_html(expr).save(path)` does.

    Typing in the search box shows the nodes whose name holds the text. Clicking a name copies a matcher that finds
    exactly this node, to be pasted where `import scrub as rc` was done. A node's second appearance links to the first.

    Args:
        expr: what to show.
        max_depth: levels that start unfolded.
        commenters: node -> text to show behind it, or None; one function or several.
        title: of the page; the expression's name if None.

    >>> from scrub.graph import Add, Scalar
    >>> tree = print_html(Add(Scalar(1.0, name="x"), name="sum"))
    >>> "<title>&#x27;sum&#x27;</title>" in tree.html
    True
    """
    depth = {line.node: line.depth for line in tree_lines(expr, max_depth=max_depth) if not line.is_repeat}
    fragment = tree_html(expr, is_open=lambda node: depth.get(node, max_depth) < max_depth, commenters=commenters)
    return HtmlTree(page(title or display_name(expr), [fragment], is_wide=True))


def tree_html(
    expr: Expr,
    classes: Mapping[Expr, str] | None = None,
    *,
    is_open: Callable[[Expr], bool],
    commenters: Commenter | Sequence[Commenter] = (),
) -> str:
    """The tree as a part of a `page`.

    Args:
        expr: the root.
        classes: node -> CSS class, for example from `reads`; by node type if None.
        is_open: whether a node starts unfolded. What reads neither input (weights, functions' bodies) never does.
        commenters: node -> text to show behind it, or None; one function or several.
    """
    functions = [commenters] if callable(commenters) else list(commenters)
    data = json.dumps(_data(expr, classes, is_open, functions), separators=(",", ":")).replace("<", "\\u003c")
    return (
        f'<div class="tree"><style>{_asset("tree.css")}</style>'
        '<div class="bar"><input type="search" placeholder="search names" aria-label="search names">'
        '<button class="fold" type="button">fold</button><span class="status" role="status"></span></div>'
        '<div class="rows"><noscript>The tree needs JavaScript.</noscript></div>'
        f'<script type="application/json">{data}</script>'
        f"<script>(() => {{\n{_asset('tree.js')}\n"
        "const container = document.currentScript.parentElement;\n"
        "const data = container.querySelector('script[type=\"application/json\"]').textContent;\n"
        "container.tree = showTree(container, JSON.parse(data));\n})();</script></div>"
    )


def reads(expr: Expr, original: Expr, scrubbed: Expr) -> dict[Expr, str]:
    """For each node below `expr`, which of the two inputs it reads: neither, original, scrubbed or both."""
    bits: dict[Expr, int] = {}
    for node in postorder([expr]):
        bits[node] = (node is original) | (node is scrubbed) << 1
        for child in node.children:
            bits[node] |= bits[child]
    return {node: READS[bit] for node, bit in bits.items()}


def _data(
    expr: Expr,
    classes: Mapping[Expr, str] | None,
    is_open: Callable[[Expr], bool],
    commenters: Sequence[Commenter],
) -> dict[str, Any]:
    """One entry a distinct node in each list, in order of first visit; what each list holds is said in tree.js."""
    order, parents = _first_visits(expr)
    number = {node: i for i, node in enumerate(order)}
    opened = [
        bool(node.children) and (classes is None or classes[node] != "neither") and is_open(node) for node in order
    ]
    for late in [i for i, starts in enumerate(opened) if starts][_MAX_OPEN:]:
        opened[late] = False
    return {
        "name": [node.name for node in order],
        "head": ["" if node.name is not None else display_name(node) for node in order],
        "kind": [type(node).__name__ for node in order],
        "shape": [shape_text(node) for node in order],
        "brief": [params_text(node, exact=False)[:60] for node in order],
        "params": [params_text(node, exact=True)[:_MAX_PARAMS] for node in order],
        "digest": [node.digest for node in order],
        "dtype": [_dtype_text(node) for node in order],
        "note": ["; ".join([note for function in commenters if (note := function(node))]) for node in order],
        "style": [_STYLES.get(type(node).__name__, "") if classes is None else classes[node] for node in order],
        "children": [[number[child] for child in node.children] for node in order],
        "bound": [
            [None, *(spec.symbol.name for spec in node.params)] if isinstance(node, Module) else None for node in order
        ],
        "parent": [number[parents[node][0]] if node in parents else -1 for node in order],
        "at": [parents[node][1] if node in parents else -1 for node in order],
        "open": opened,
    }


def _first_visits(expr: Expr) -> tuple[list[Expr], dict[Expr, tuple[Expr, int]]]:
    """The distinct nodes in order of first visit, depth first, and the (parent, child number) of each first visit."""
    order: list[Expr] = []
    parents: dict[Expr, tuple[Expr, int]] = {}
    seen: set[Expr] = set()
    stack: list[tuple[Expr, tuple[Expr, int] | None]] = [(expr, None)]
    while stack:
        node, place = stack.pop()
        if node in seen:
            continue
        seen.add(node)
        order.append(node)
        if place is not None:
            parents[node] = place
        stack.extend((child, (node, i)) for i, child in reversed(list(enumerate(node.children))))
    return order, parents


def _dtype_text(node: Expr) -> str:
    words = [str(node.dtype).removeprefix("torch.") if node.dtype is not None else ""]
    words += [f"on {node.device}"] if node.device is not None else []
    return " ".join(words).strip()


@lru_cache
def _asset(name: str) -> str:
    return files("scrub.view").joinpath(name).read_text(encoding="utf-8")
