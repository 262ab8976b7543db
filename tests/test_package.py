"""What importing the package does and offers."""

from __future__ import annotations

import subprocess
import sys

import scrub

HEAVY = ("transformers", "sympy", "networkx", "plotly", "ray", "tokenizers", "typer", "rich")


def test_importing_scrub_does_not_import_what_loads_where_used() -> None:
    code = f"import scrub, sys; print([m for m in {HEAVY!r} if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_every_public_name_exists_and_is_documented() -> None:
    for name in scrub.__all__:
        value = getattr(scrub, name)
        if isinstance(value, type) or callable(value):
            assert value.__doc__, name
