"""Circuits: sets of edges, nodes or neurons that are kept while everything else is patched."""

from scrub.discovery.circuits.circuit import Circuit, Selection
from scrub.discovery.circuits.json_files import from_json, load_json, save_json, to_json
from scrub.discovery.circuits.networkx import to_networkx
from scrub.discovery.circuits.paths import prune
from scrub.discovery.circuits.picture import circuit_svg
from scrub.discovery.circuits.selection import greedy, threshold, top_fraction, top_n
from scrub.discovery.circuits.setops import complement, difference, intersection, is_subset, union

__all__ = [
    "Circuit",
    "Selection",
    "circuit_svg",
    "complement",
    "difference",
    "from_json",
    "greedy",
    "intersection",
    "is_subset",
    "load_json",
    "prune",
    "save_json",
    "threshold",
    "to_json",
    "to_networkx",
    "top_fraction",
    "top_n",
    "union",
]
