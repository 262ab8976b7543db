"""The demo: an induction hypothesis tested by causal scrubbing, on the model that ships with the package."""

from scrub.demo.experiment import Experiment, Heads, build_experiment
from scrub.demo.hypotheses import BASELINE, HYPOTHESES, ORIGINAL, Hypothesis, scrub_input
from scrub.demo.report import report_html
from scrub.demo.run import DemoResult, Row, run_demo

__all__ = [
    "BASELINE",
    "HYPOTHESES",
    "ORIGINAL",
    "DemoResult",
    "Experiment",
    "Heads",
    "Hypothesis",
    "Row",
    "build_experiment",
    "report_html",
    "run_demo",
    "scrub_input",
]
