"""How expressions run: the reference evaluator."""

from scrub.compile.reference import evaluate, evaluate_many, evaluate_prepared

__all__ = ["evaluate", "evaluate_many", "evaluate_prepared"]
