"""Logits stay Hugging Face's after `configure_transformer`, whatever it is asked to do."""

from __future__ import annotations

import functools
import inspect
import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import torch

import scrub as rc
from tests.models.families import cases
from tests.models.families.suite import assert_equal, by_family, call, expected, pair, parameters, registered
from tests.models.families.tiny import Variant

SPLITS = ("full", "none", "groups")
OPTIONS = tuple(name for name in inspect.signature(rc.configure_transformer).parameters if name.startswith("use_"))
"""Every switch that `configure_transformer` has, also those that come later."""


def every_choice() -> list[dict[str, Any]]:
    """All combinations of level, split and switches."""
    names = ("to", "split", *OPTIONS)
    values = [tuple(rc.To), SPLITS, *[(False, True)] * len(OPTIONS)]
    return [dict(zip(names, row, strict=True)) for row in itertools.product(*values)]


def choices_that_cover_pairs() -> list[dict[str, Any]]:
    """Few of them, in which every two settings meet: greedily, the combination with most pairs that are new."""
    left = every_choice()
    missing = set[Any]().union(*map(_pairs, left))
    chosen: list[dict[str, Any]] = []
    while missing:
        best = max(left, key=lambda choice: len(_pairs(choice) & missing))
        chosen.append(best)
        missing -= _pairs(best)
    return chosen


def _pairs(choice: Mapping[str, Any]) -> set[Any]:
    return set(itertools.combinations(choice.items(), 2))


def configured(model: rc.Expr, choice: Mapping[str, Any], n_heads: int, n_layers: int) -> rc.Expr:
    """`t.bind_w` rewritten. Groups: one head and the rest in the first layer, even and odd heads in the last."""
    options = {name: value for name, value in choice.items() if name in OPTIONS}
    split: Any = {"full": "full", "none": None}.get(choice["split"])
    if choice["split"] == "groups":
        heads = list(range(n_heads))
        rest = [(rc.S[1:], "rest")] if n_heads > 1 else []
        halves = [(heads[i::2], name) for i, name in enumerate(("even", "odd")) if heads[i::2]]
        split = {0: [(0, "one"), *rest], n_layers - 1: halves}
    return rc.configure_transformer(model, to=choice["to"], split_by_head_config=split, **options)


def _quick() -> Iterator[bool]:
    """Every setting at least once in each family's base: every third of those that cover pairs, shifted by family."""
    for number, _ in enumerate(registered(first_only=True)):
        for index, _ in enumerate(_COVERING):
            yield (index + number) % 3 != 0


_COVERING = choices_that_cover_pairs()


def _label(choice: Mapping[str, Any]) -> str:
    used = [name.removeprefix("use_") for name in OPTIONS if choice[name]]
    return "-".join([choice["to"].name, choice["split"], *used])


def _rows(variants: list[Variant], choices: list[dict[str, Any]]) -> list[tuple[Variant, str]]:
    return [(variant, _label(choice)) for variant in variants for choice in choices]


_BY_LABEL = {_label(choice): choice for choice in every_choice()}
_OTHERS = [variant for variant in registered() if variant.name != "base"]


@pytest.mark.parametrize(("variant", "label"), parameters(_rows(registered(first_only=True), _COVERING), slow=_quick()))
def test_bases_keep_their_logits(variant: Variant, label: str) -> None:
    _check(variant, _BY_LABEL[label])


@pytest.mark.slow
@pytest.mark.parametrize(("variant", "label"), parameters(_rows(_OTHERS, _COVERING)))
def test_all_configs_keep_their_logits(variant: Variant, label: str) -> None:
    _check(variant, _BY_LABEL[label])


@pytest.mark.slow
@pytest.mark.parametrize("variant", by_family())
def test_bases_keep_their_logits_under_every_combination(variant: Variant) -> None:
    for choice in every_choice():
        _check(variant, choice)


@pytest.mark.parametrize("variant", by_family())
def test_every_head_can_be_addressed(variant: Variant) -> None:
    """Also where heads share keys and values: each query head by its own name."""
    choice = {"to": rc.To.ATTN_HEAD_MLP_NORM, "split": "full", **dict.fromkeys(OPTIONS, False)}
    choice |= {name: True for name in OPTIONS if name == "use_pull_up_head_split"}
    model = configured(*_lowered(variant, _case(variant)), choice, *_sizes(variant))
    heads, layers = _sizes(variant)
    for layer, head in itertools.product(range(layers), range(heads)):
        assert model.are_any_found(f"a{layer}.h{head}"), (layer, head)


def _check(variant: Variant, choice: Mapping[str, Any]) -> None:
    given, wanted = expected(variant, _case(variant), torch.float64)
    loaded = pair(variant, torch.float64)[1]
    (model,) = _lowered(variant, _case(variant))
    rewritten = configured(model, choice, *_sizes(variant))
    assert rewritten.shape == model.shape
    assert_equal(call(loaded, given, rewritten).evaluate(), wanted, given, is_exact=variant.is_exact)


@functools.cache
def _lowered(variant: Variant, case: str) -> tuple[rc.Expr]:
    """`t.bind_w` for sequences as long as those of the case."""
    loaded = pair(variant, torch.float64)[1]
    first = cases.inputs(variant, case).first
    lowered = loaded.lower() if variant.family == "vit" else loaded.lower(seq_len=first.shape[-1])
    return (lowered["t.bind_w"],)


def _case(variant: Variant) -> str:
    return "five" if variant.family == "vit" else "five-left-positions"


def _sizes(variant: Variant) -> tuple[int, int]:
    config = variant.config()
    return config.num_attention_heads, config.num_hidden_layers
