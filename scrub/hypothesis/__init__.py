"""What is tested: interpretations, their correspondence to paths of a model, experiments and their results (SPEC 9)."""

from scrub.hypothesis.classes import FewRowsWarning
from scrub.hypothesis.dataset import Dataset
from scrub.hypothesis.experiment import Experiment
from scrub.hypothesis.hypothesis import Hypothesis
from scrub.hypothesis.interpretation import Correspondence, InterpNode, corr_root_matcher
from scrub.hypothesis.metrics import Metric, accuracy, cross_entropy
from scrub.hypothesis.result import Result
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
from scrub.hypothesis.streams import Stream

__all__ = [
    "CondSampler",
    "Correspondence",
    "Dataset",
    "ExactSampler",
    "Experiment",
    "FewRowsWarning",
    "FixedOtherSampler",
    "FuncSampler",
    "Hypothesis",
    "InterpNode",
    "Metric",
    "Result",
    "Scrubbed",
    "Slot",
    "Source",
    "Stream",
    "UncondSampler",
    "UncondTogetherSampler",
    "accuracy",
    "corr_root_matcher",
    "cross_entropy",
    "scrub",
]
