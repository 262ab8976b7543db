"""Any architecture lowers to what plain torch computes of it, and rewriting and compiling change nothing."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, seed, settings
from hypothesis import strategies as st

import scrub as rc
from tests.models.architectures import Case, cases

FEW_THEN_MANY = pytest.mark.parametrize("number", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in range(1, 21))])


def on_random_cases(number: int, check: Callable[[Case, st.DataObject], None]) -> None:
    """Few cases of each seed: after the first, hypothesis draws variations of what it has drawn."""

    @seed(number)
    @settings(max_examples=12)
    @given(cases(), st.data())
    def each(case: Case, data: st.DataObject) -> None:
        check(case, data)

    each()


@st.composite
def options(draw: st.DrawFn, case: Case) -> dict[str, Any]:
    """Arguments of `configure_transformer`: any level, any groups of heads in any layers."""
    split: Any = draw(st.sampled_from([None, "full", "groups"]))
    if split == "groups":
        split = {}
        for number, layer in enumerate(case.model.architecture.layers):
            if draw(st.booleans()):
                heads = draw(st.permutations(range(layer.attention.n_heads)))
                split[number] = draw(groups(heads))
    return {
        "to": draw(st.sampled_from(list(rc.To))),
        "split_by_head_config": split,
        "use_pull_up_head_split": draw(st.booleans()),
        "use_flatten_res": draw(st.booleans()),
    }


@st.composite
def groups(draw: st.DrawFn, heads: list[int]) -> list[tuple[Any, str]]:
    """A partition of the heads: single heads, and lists in any order."""
    cuts = sorted({0, len(heads), *draw(st.lists(st.integers(0, len(heads)), max_size=3))})
    parts = [heads[start:stop] for start, stop in itertools.pairwise(cuts)]
    return [
        (part[0] if len(part) == 1 and draw(st.booleans()) else part, f"g{number}") for number, part in enumerate(parts)
    ]


def assert_close(case: Case, got: torch.Tensor, wanted: torch.Tensor) -> None:
    assert got.shape == wanted.shape
    torch.testing.assert_close(case.compared(got), case.compared(wanted), rtol=1e-10, atol=1e-10)


def check_against_torch(case: Case) -> None:
    assert_close(case, case.call().evaluate(), case.by_hand())


def check_symbols(case: Case) -> None:
    assert_close(case, case.call_of_symbols().evaluate(), case.by_hand())


def check_rewrites(case: Case, data: st.DataObject) -> None:
    """Also of the model for sequences of any length."""
    wanted = case.by_hand()
    seq_len = data.draw(st.sampled_from([None, case.tokens.shape[1]]))
    chosen = data.draw(options(case))
    configured = rc.configure_transformer(case.model.lower(seq_len=seq_len)["t.bind_w"], **chosen)
    assert_close(case, case.call(configured).evaluate(), wanted)


def check_compiled(case: Case, data: st.DataObject) -> None:
    wanted = case.by_hand()
    chosen = data.draw(options(case))
    configured = rc.configure_transformer(case.model.lower()["t.bind_w"], **chosen)
    first, second = rc.compile([case.call(), case.call(configured)]).run()
    assert_close(case, first, wanted)
    assert_close(case, second, wanted)


@FEW_THEN_MANY
def test_lowered_models_are_plain_torch_s(number: int) -> None:
    on_random_cases(number, lambda case, _: check_against_torch(case))


@FEW_THEN_MANY
def test_models_of_inputs_that_are_bound_later_are_plain_torch_s(number: int) -> None:
    on_random_cases(number, lambda case, _: check_symbols(case))


@FEW_THEN_MANY
def test_configured_models_are_plain_torch_s(number: int) -> None:
    on_random_cases(number, check_rewrites)


@FEW_THEN_MANY
def test_compiled_models_are_plain_torch_s(number: int) -> None:
    on_random_cases(number, check_compiled)
