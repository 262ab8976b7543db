"""Attribution: estimates of what patching each edge, node or neuron does to a metric, and the exact effects."""

from scrub.discovery.attribution.attribute import attribute
from scrub.discovery.attribution.clean_corrupted import clean_corrupted
from scrub.discovery.attribution.eap import eap
from scrub.discovery.attribution.exact import exact
from scrub.discovery.attribution.ig_activations import ig_activations, ig_activations_all_groups
from scrub.discovery.attribution.ig_inputs import ig_inputs
from scrub.discovery.attribution.registry import METHODS, Method, method
from scrub.discovery.attribution.rules import RULES, Rule, points
from scrub.discovery.attribution.streaming import PartialScoresWarning

__all__ = [
    "METHODS",
    "Method",
    "PartialScoresWarning",
    "RULES",
    "Rule",
    "attribute",
    "clean_corrupted",
    "eap",
    "exact",
    "ig_activations",
    "ig_activations_all_groups",
    "ig_inputs",
    "method",
    "points",
]
