"""What is tested: interpretations, their correspondence to paths of a model, experiments and their results (SPEC 9)."""

from scrub.hypothesis.adversary.result import Adversary
from scrub.hypothesis.adversary.worst_case import worst_case
from scrub.hypothesis.classes import FewRowsWarning
from scrub.hypothesis.dataset import Dataset
from scrub.hypothesis.enumeration.exact_loss import exact, exact_law
from scrub.hypothesis.experiment import Experiment
from scrub.hypothesis.hypothesis import HandedDown, Hypothesis, Unimportant
from scrub.hypothesis.interpretation import Correspondence, InterpNode, corr_root_matcher
from scrub.hypothesis.lockstep import run_all, run_until
from scrub.hypothesis.metrics import Metric, accuracy, cross_entropy
from scrub.hypothesis.parts import replace_by, split_input_by_position, split_projection
from scrub.hypothesis.paths import at_position, by_any_route, input_of, mask_of, straight
from scrub.hypothesis.render.tree import ExperimentTree, decoded, experiment_tree
from scrub.hypothesis.result import Result
from scrub.hypothesis.results import Results
from scrub.hypothesis.running import PartialResultWarning
from scrub.hypothesis.samplers import (
    CondSampler,
    ExactSampler,
    FixedOtherSampler,
    FuncSampler,
    UncondSampler,
    UncondTogetherSampler,
)
from scrub.hypothesis.scrubbed import Scrubbed, scrub
from scrub.hypothesis.slots import Slot
from scrub.hypothesis.source import Source
from scrub.hypothesis.statistics.comparison import Comparison, compare, pairing_factor
from scrub.hypothesis.statistics.repeats import SeedRuns
from scrub.hypothesis.statistics.variance import VarianceSplit
from scrub.hypothesis.streams import Stream
from scrub.hypothesis.text.text_form import hypothesis_text, load_hypothesis, parse_hypothesis, save_hypothesis
from scrub.hypothesis.treeify import treeify

__all__ = [
    "Adversary",
    "Comparison",
    "CondSampler",
    "Correspondence",
    "Dataset",
    "ExactSampler",
    "Experiment",
    "ExperimentTree",
    "FewRowsWarning",
    "FixedOtherSampler",
    "FuncSampler",
    "HandedDown",
    "Hypothesis",
    "InterpNode",
    "Metric",
    "PartialResultWarning",
    "Result",
    "Results",
    "Scrubbed",
    "SeedRuns",
    "Slot",
    "Source",
    "Stream",
    "UncondSampler",
    "UncondTogetherSampler",
    "Unimportant",
    "VarianceSplit",
    "accuracy",
    "at_position",
    "by_any_route",
    "compare",
    "corr_root_matcher",
    "cross_entropy",
    "decoded",
    "exact",
    "exact_law",
    "experiment_tree",
    "hypothesis_text",
    "input_of",
    "load_hypothesis",
    "mask_of",
    "pairing_factor",
    "parse_hypothesis",
    "replace_by",
    "run_all",
    "run_until",
    "save_hypothesis",
    "scrub",
    "split_input_by_position",
    "split_projection",
    "straight",
    "treeify",
    "worst_case",
]
