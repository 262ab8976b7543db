"""What is seen: self-contained HTML pages, plots, expression trees."""

from scrub.view.hypothesis import HypothesisHtml, hypothesis_html
from scrub.view.page import page, table
from scrub.view.plots import Interval, attention_plot, interval_plot
from scrub.view.tree import HtmlTree, print_html, reads, tree_html

__all__ = [
    "HtmlTree",
    "HypothesisHtml",
    "Interval",
    "attention_plot",
    "hypothesis_html",
    "interval_plot",
    "page",
    "print_html",
    "reads",
    "table",
    "tree_html",
]
