"""Metrics of a run, one file for each kind. Importing this package registers every file in it."""

import pkgutil
from importlib import import_module

from scrub.discovery.metrics.base import METRICS, Metric, as_metric, metric, register
from scrub.discovery.metrics.logits import answer_logit, logit_difference
from scrub.discovery.metrics.losses import cross_entropy, kl_divergence
from scrub.discovery.metrics.probabilities import answer_log_probability, answer_probability, probability_difference
from scrub.discovery.metrics.ranks import accuracy, accuracy_among_answers, reciprocal_rank

for _module in pkgutil.iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

__all__ = [
    "METRICS",
    "Metric",
    "accuracy",
    "accuracy_among_answers",
    "answer_log_probability",
    "answer_logit",
    "answer_probability",
    "as_metric",
    "cross_entropy",
    "kl_divergence",
    "logit_difference",
    "metric",
    "probability_difference",
    "reciprocal_rank",
    "register",
]
