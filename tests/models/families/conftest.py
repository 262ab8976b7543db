"""Hugging Face says at length what it makes of unusual configs; these tests make many."""

import sys
from typing import Any

import transformers

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """How many flips of configs were tested, refused and wrong, by family."""
    module = sys.modules.get("tests.models.families.test_flips")
    for label, report in getattr(module, "REPORTS", {}).items():
        terminalreporter.write_line(f"flips of {label}: {report}")
