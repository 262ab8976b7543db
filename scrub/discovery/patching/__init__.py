"""Patching sweeps over activations and paths, and their estimates by gradients, as labelled tables."""

from scrub.discovery.patching.activation import activation_patching
from scrub.discovery.patching.attribution import atp_star, attention_attribution, attribution_patching
from scrub.discovery.patching.path import path_patching
from scrub.discovery.patching.sites import SITES, Site

__all__ = [
    "SITES",
    "Site",
    "activation_patching",
    "atp_star",
    "attention_attribution",
    "attribution_patching",
    "path_patching",
]
