"""An experiment as one page: what the hypothesis claims, the data drawn for one reference, what each part reads.

Each draw has a number everywhere it appears, and one of eight colors that stay apart for readers who see fewer of them;
the ninth has the first one's color again, underlined.
"""

from __future__ import annotations

from functools import lru_cache
from html import escape
from importlib.resources import files

from scrub.graph import Expr
from scrub.graph.text import tree_lines
from scrub.hypothesis.experiment import Experiment
from scrub.hypothesis.render.data import Datum, printable, shortened
from scrub.hypothesis.render.nodes import Drawn, ShownNode, places_text
from scrub.hypothesis.render.tree import ExperimentTree, experiment_tree
from scrub.view.page import page
from scrub.view.tree import HtmlTree, tree_html

NUM_COLORS = 8
_NUM_LINES = 3
_MAX_SHOWN, _MAX_HOVER = 160, 600
_MOST_OTHERS = 20
_ABOUT_MODEL = (
    "A part in a color reads that draw alone, a bold one several; numbers say which. What reads none, such as weights, "
    "is grey. In a body that is called with different draws, the numbers are those of all calls. Shown is "
    "<code>experiment.scrubbed.expr</code>; matchers that a click copies are for that."
)


class HypothesisHtml(HtmlTree):
    """A page about one experiment; in a notebook it shows itself, and `save(path)` writes it.

    Attributes:
        html: the whole document; it needs no network and no other file.
    """

    def __repr__(self) -> str:
        return f"<HypothesisHtml of {len(self.html):,} letters; in a notebook it shows itself, save(path) writes it>"


def hypothesis_html(
    experiment: Experiment,
    *,
    seed: int = 0,
    reference: int = 0,
    datum: Datum | None = None,
    max_depth: int = 8,
    title: str | None = None,
) -> HypothesisHtml:
    """The hypothesis of an experiment as a page. Writes no file; `hypothesis_html(experiment).save(path)` does.

    Three parts: the draws with their data, the interpretation as a tree, the model as a tree in which each part has the
    color of the draw it reads. Parts that read several draws are bold, and start unfolded; the numbers of all draws
    stand behind each part.

    Args:
        experiment, seed, reference, datum: as for `scrub.hypothesis.render.tree.experiment_tree`.
        max_depth: levels of the model that start unfolded.
        title: of the page; the name of the hypothesis if None.

    >>> import torch
    >>> from scrub.graph import Symbol
    >>> from scrub.hypothesis import Correspondence, Dataset, ExactSampler, InterpNode, corr_root_matcher
    >>> corr = Correspondence()
    >>> corr.add(InterpNode(ExactSampler(), "all"), corr_root_matcher)
    >>> experiment = Experiment(Symbol.new_from_name((), "x"), Dataset({"x": torch.arange(4.0)}), corr)
    >>> "<title>hypothesis &#x27;hypothesis&#x27;</title>" in hypothesis_html(experiment).html
    True
    """
    tree = experiment_tree(experiment, seed=seed, reference=reference, datum=datum)
    hypothesis = experiment.hypothesis
    about = (
        f"unimportant={hypothesis.unimportant!r}, handed_down={hypothesis.handed_down!r}; "
        f"reference {reference} of seed {seed}"
    )
    sections = [
        f'<style>{_style()}</style><p class="soft">{escape(about)}</p>',
        f"<h2>Draws</h2>\n{_draws(tree)}",
        f"<h2>What is claimed</h2>\n{_claims(tree)}",
        f'<h2>What the model reads</h2>\n<p class="soft">{_ABOUT_MODEL}</p>',
        _model(tree, max_depth),
    ]
    return HypothesisHtml(page(title or f"hypothesis {printable(repr(hypothesis.name))}", sections, is_wide=True))


def draw_classes(drawn: Drawn) -> str:
    """CSS classes of the color of a draw."""
    if drawn.shade is None:
        return "unread"
    return f"d{drawn.shade % NUM_COLORS} r{drawn.shade // NUM_COLORS % _NUM_LINES}"


def _mark(drawn: Drawn) -> str:
    return f'<span class="mark {draw_classes(drawn)}">{drawn.number}</span>'


def _datum(drawn: Drawn) -> str:
    """The mark of a draw and its datum; more of the datum on hover."""
    shown, hover = shortened(drawn.datum, _MAX_SHOWN), shortened(drawn.datum, _MAX_HOVER)
    title = f' title="{escape(hover)}"' if hover != shown else ""
    return f'{_mark(drawn)} <span class="datum draw {draw_classes(drawn)}"{title}>{escape(shown)}</span>'


# ---- draws -------------------------------------------------------------------------------------------------------


def _draws(tree: ExperimentTree) -> str:
    head = "".join([f"<th>{name}</th>" for name in ("draw", "label", "how", "datum", "row", "inputs that read it")])
    rows = "\n".join([_draw_row(drawn, tree) for drawn in tree.draws])
    table = f'<table class="draws"><thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody></table>'
    return f'<div class="scroll">{table}</div>'


def _draw_row(drawn: Drawn, tree: ExperimentTree) -> str:
    if drawn.how is None:
        how = "the reference"
    else:
        sampler, given = drawn.how
        how = f'<code>{escape(sampler)}</code> <span class="given">given {_mark(tree.draws[given])}</span>'
    shown = shortened(drawn.datum, _MAX_HOVER)
    cells = [
        f"<td>{_mark(drawn)}</td>",
        f'<td class="wide">{escape(printable(drawn.slot.label))}</td>',
        f'<td class="wide">{how}</td>',
        f'<td class="wide"><span class="datum draw {draw_classes(drawn)}">{escape(shown)}</span></td>',
        f'<td class="nums">{drawn.row}</td>',
        f'<td class="wide">{escape(", ".join(drawn.inputs) or "not read")}</td>',
    ]
    return f"<tr>{''.join(cells)}</tr>"


# ---- the interpretation ------------------------------------------------------------------------------------------


def _claims(tree: ExperimentTree) -> str:
    """The nodes as nested `details`."""
    parts: list[str] = []
    closing: list[str] = []  # what ends each node that is open
    for shown in tree.nodes:
        while len(closing) > shown.depth:
            parts.append(closing.pop())
        others = [_others(tree, shown, drawn) for drawn in shown.others[:_MOST_OTHERS]]
        if len(shown.others) > _MOST_OTHERS:
            others.append(f'<div class="others soft">… {len(shown.others) - _MOST_OTHERS} more terms</div>')
        if shown.node.is_leaf:
            parts.append(f'<div class="leaf line">{_node(shown)}')
            closing.append("</div>")
        else:
            parts.append(f"<details open><summary>{_node(shown)}</summary>{''.join(others)}")
            closing.append("</details>")
    return f'<div class="claims">{"".join([*parts, *reversed(closing)])}</div>'


def _node(shown: ShownNode) -> str:
    own = '<span class="soft">not drawn: nothing depends on it</span>' if shown.own is None else _datum(shown.own)
    return (
        f"<b>{escape(printable(shown.node.name))}</b> <code>{escape(shown.condition)}</code> {own} "
        f'<span class="where soft">{escape(places_text(shown))}</span>'
    )


def _others(tree: ExperimentTree, shown: ShownNode, drawn: Drawn) -> str:
    what = escape(tree.others_text(shown.node, drawn))
    return f'<div class="others line"><span class="soft">{what}</span> {_datum(drawn)}</div>'


# ---- the model ---------------------------------------------------------------------------------------------------


def _model(tree: ExperimentTree, max_depth: int) -> str:
    expr = tree.experiment.scrubbed.expr
    depth = {line.node: line.depth for line in tree_lines(expr, max_depth=max_depth) if not line.is_repeat}

    def style(node: Expr) -> str:
        draws = tree.reads[node]
        if not draws:
            return "neither"
        if len(draws) == 1 and tree.color(node) is not None:
            return f"draw {draw_classes(draws[0])}"
        return "several" if tree.is_mixed(node) else "calls"

    return tree_html(
        expr,
        {node: style(node) for node in tree.reads},
        is_open=lambda node: tree.is_mixed(node) and depth.get(node, max_depth) < max_depth,
        commenters=tree.marks,
    )


@lru_cache
def _style() -> str:
    return files("scrub.view").joinpath("hypothesis.css").read_text(encoding="utf-8")
