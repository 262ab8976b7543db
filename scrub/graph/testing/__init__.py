"""Trying what users register: whether a function keeps what it declares."""

from scrub.graph.testing.functions import FunctionReport, Mismatch, check_function

__all__ = ["FunctionReport", "Mismatch", "check_function"]
