"""The registry of families joined with the table of tiny configs, and what the tests of both share."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
import torch

import scrub as rc
from scrub.models import load
from scrub.models.families import FAMILIES
from tests.models.families import cases
from tests.models.families.reference import hf_logits
from tests.models.families.tiny import VARIANTS, Variant, build, variants

DTYPES = (torch.float32, torch.float64)


def registered(*, first_only: bool = False) -> list[Variant]:
    """The tiny configs of all registered families; that every family has some is a test of its own."""
    return [variant for family in FAMILIES if family in VARIANTS for variant in variants(family, first_only=first_only)]


def by_family() -> list[Any]:
    """The first tiny config of each family, as parameters of a test."""
    return [pytest.param(variant, id=str(variant)) for variant in registered(first_only=True)]


def parameters(rows: Iterable[tuple[Any, ...]], *, slow: Iterator[bool] | None = None) -> list[Any]:
    """Rows as parameters of a test, with readable ids, those marked slow that `slow` says are."""
    marks = slow or iter(lambda: False, True)
    return [
        pytest.param(*row, id="-".join(str(value).removeprefix("torch.") for value in row), marks=_slow(is_slow))
        for row, is_slow in zip(rows, marks, strict=False)
    ]


def _slow(is_slow: bool) -> tuple[Any, ...]:
    return (pytest.mark.slow,) if is_slow else ()


@functools.cache
def pair(variant: Variant, dtype: torch.dtype) -> tuple[Any, Any]:
    """The Hugging Face model, and the same loaded."""
    model = build(variant.config(), dtype=dtype)
    return model, load(model)


def expected(variant: Variant, case: str, dtype: torch.dtype) -> tuple[cases.Inputs, torch.Tensor]:
    """Inputs of a case, and Hugging Face's logits on them."""
    given = cases.inputs(variant, case, dtype=dtype)
    return given, hf_logits(pair(variant, dtype)[0], given.first, **given.others)


def call(loaded: Any, given: cases.Inputs, model: rc.Expr | None = None) -> rc.Expr:
    """The expression of the logits on these inputs."""
    return loaded.call(given.first, **given.others, model=model)


def assert_equal(got: torch.Tensor, wanted: torch.Tensor, given: cases.Inputs, *, is_exact: bool = True) -> None:
    """To 1e-5 in float32 and 1e-10 in float64, wherever the mask keeps a position."""
    assert got.shape == wanted.shape
    assert got.dtype == wanted.dtype
    tolerance = 1e-5 if wanted.dtype == torch.float32 else 1e-10 if is_exact else 1e-6
    torch.testing.assert_close(given.kept(got), given.kept(wanted), rtol=tolerance, atol=tolerance)
