"""How well circuits account for what a model does: faithfulness, completeness, minimality, areas over sizes."""

from scrub.discovery.evaluation.evaluate import evaluate
from scrub.discovery.evaluation.masks import Kept, Mask, mask_of
from scrub.discovery.evaluation.members import evaluate_minimality
from scrub.discovery.evaluation.nodes import PatchedNodesRun
from scrub.discovery.evaluation.results import Evaluation
from scrub.discovery.evaluation.run import Measured, measure
from scrub.discovery.evaluation.sizes import Areas, areas

__all__ = [
    "Areas",
    "Evaluation",
    "Kept",
    "Mask",
    "Measured",
    "PatchedNodesRun",
    "areas",
    "evaluate",
    "evaluate_minimality",
    "mask_of",
    "measure",
]
