"""Labelled tensors of results: tables that print, select by label, and plot themselves."""

from scrub.discovery.tables.svg import heatmap
from scrub.discovery.tables.table import Axis, Label, Table

__all__ = ["Axis", "Label", "Table", "heatmap"]
