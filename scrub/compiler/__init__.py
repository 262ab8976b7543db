"""How expressions run: the reference evaluator, and the compiler."""

from scrub.compiler.function import TorchFunction
from scrub.compiler.plan import Plan
from scrub.compiler.program import Program, compile  # noqa: A004 - as torch.compile
from scrub.compiler.reference import evaluate, evaluate_many

__all__ = ["Plan", "Program", "TorchFunction", "compile", "evaluate", "evaluate_many"]
