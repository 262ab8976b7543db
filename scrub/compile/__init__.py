"""How expressions run: the reference evaluator, and the compiler."""

from scrub.compile.program import Program, compile  # noqa: A004 - as torch.compile
from scrub.compile.reference import evaluate, evaluate_many

__all__ = ["Program", "compile", "evaluate", "evaluate_many"]
