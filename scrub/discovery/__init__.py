"""What is searched: component graphs, patching, attribution, circuits."""

from scrub.discovery.ablations import ABLATIONS, Ablation, AblationName
from scrub.discovery.attribution import METHODS, PartialScoresWarning, attribute
from scrub.discovery.circuits import (
    Circuit,
    circuit_svg,
    greedy,
    load_json,
    prune,
    save_json,
    threshold,
    to_networkx,
    top_fraction,
    top_n,
)
from scrub.discovery.components import Component, ComponentGraph, Edge
from scrub.discovery.evaluation import Areas, Evaluation, areas, evaluate, evaluate_minimality
from scrub.discovery.hypotheses import circuit_experiment, circuit_hypothesis, circuit_matcher
from scrub.discovery.interventions import (
    counterfactual_writes,
    fixed_writes,
    patched_expression,
    path_patched_expression,
    zero_writes,
)
from scrub.discovery.machine import Machine, machine_of, machine_of_expression
from scrub.discovery.metrics import METRICS, Metric, as_metric, metric
from scrub.discovery.patching import (
    SITES,
    activation_patching,
    atp_star,
    attention_attribution,
    attribution_patching,
    path_patching,
)
from scrub.discovery.scores import Scores
from scrub.discovery.tables import Table

__all__ = [
    "ABLATIONS",
    "Ablation",
    "AblationName",
    "activation_patching",
    "Areas",
    "areas",
    "as_metric",
    "atp_star",
    "attention_attribution",
    "attribute",
    "attribution_patching",
    "Circuit",
    "circuit_experiment",
    "circuit_hypothesis",
    "circuit_matcher",
    "circuit_svg",
    "Component",
    "ComponentGraph",
    "counterfactual_writes",
    "Edge",
    "evaluate",
    "evaluate_minimality",
    "Evaluation",
    "fixed_writes",
    "greedy",
    "load_json",
    "Machine",
    "machine_of",
    "machine_of_expression",
    "Metric",
    "metric",
    "METHODS",
    "METRICS",
    "PartialScoresWarning",
    "patched_expression",
    "path_patched_expression",
    "path_patching",
    "prune",
    "save_json",
    "Scores",
    "SITES",
    "Table",
    "threshold",
    "to_networkx",
    "top_fraction",
    "top_n",
    "zero_writes",
]
