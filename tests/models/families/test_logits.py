"""Logits are Hugging Face's: every family, every tiny config, both dtypes, every way to pad."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

import scrub as rc
from scrub.models import load
from scrub.models.families import FAMILIES
from tests.models.families import cases
from tests.models.families.reference import hf_logits
from tests.models.families.suite import DTYPES, assert_equal, by_family, call, expected, pair, parameters, registered
from tests.models.families.tiny import BASES, MODEL_CLASSES, VARIANTS, Variant, build


def test_every_family_has_tiny_configs() -> None:
    """A family that is registered without them would not be tested; one of the table must not have gone missing."""
    assert set(FAMILIES) == set(VARIANTS) == set(BASES) == set(MODEL_CLASSES)


def _rows() -> Iterator[tuple[Variant, str, torch.dtype]]:
    for variant in registered():
        for case in cases.names(variant.family, every=True):
            for dtype in DTYPES:
                yield variant, case, dtype


def _are_slow() -> Iterator[bool]:
    """All but every case of a family's base in float64, and two of every config."""
    for variant, case, dtype in _rows():
        is_quick = case in (*cases.QUICK, "five") if variant.name == "base" else case in cases.QUICK
        yield not (is_quick and dtype == torch.float64) and not (case == "five-left" and dtype == torch.float32)


@pytest.mark.parametrize(("variant", "case", "dtype"), parameters(_rows(), slow=_are_slow()))
def test_logits_are_hugging_face_s(variant: Variant, case: str, dtype: torch.dtype) -> None:
    given, wanted = expected(variant, case, dtype)
    got = call(pair(variant, dtype)[1], given).evaluate()
    assert_equal(got, wanted, given, is_exact=variant.is_exact)


@pytest.mark.parametrize("variant", by_family())
def test_compiled_logits_are_hugging_face_s(variant: Variant) -> None:
    for case in ("five",) if variant.family == "vit" else ("five", "five-left"):
        given, wanted = expected(variant, case, torch.float32)
        got = rc.compile([call(pair(variant, torch.float32)[1], given)]).run()[0]
        assert_equal(got, wanted, given)


@pytest.mark.parametrize("variant", by_family())
def test_inputs_may_have_any_batch_axes(variant: Variant) -> None:
    given, wanted = expected(variant, "five", torch.float64)
    loaded = pair(variant, torch.float64)[1]
    alone = loaded.call(given.first[0], **{name: value[0] for name, value in given.others.items()})
    torch.testing.assert_close(alone.evaluate(), wanted[0], rtol=1e-10, atol=1e-10)
    twice = loaded.call(
        torch.stack([given.first, given.first]),
        **{name: torch.stack([value, value]) for name, value in given.others.items()},
    )
    torch.testing.assert_close(twice.evaluate(), torch.stack([wanted, wanted]), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("variant", [row for row in by_family() if row.values[0].family not in ("vit", "bloom")])
def test_one_mask_and_positions_for_all_rows(variant: Variant) -> None:
    """Of shape [seq], or [1, seq] as Hugging Face makes them itself."""
    model, loaded = pair(variant, torch.float64)
    tokens = cases.inputs(variant, "five").first
    mask, positions = torch.tensor([0, 1, 1, 1, 1, 1, 1]), torch.tensor([0, 0, 1, 2, 3, 4, 5])
    wanted = hf_logits(model, tokens, attention_mask=mask.expand(5, -1), position_ids=positions[None])[:, 1:]
    for rows in (mask, positions), (mask[None], positions[None]):
        got = loaded.call(tokens, attention_mask=rows[0], position_ids=rows[1]).evaluate()[:, 1:]
        torch.testing.assert_close(got, wanted, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("variant", by_family())
def test_inputs_may_be_expressions_and_be_bound_later(variant: Variant) -> None:
    """Tokens, masks and positions: what is known as a tensor must not be treated in another way."""
    case = "five" if variant.family == "vit" else "five-left-positions"
    given, wanted = expected(variant, case, torch.float64)
    loaded = pair(variant, torch.float64)[1]
    values = {"first": given.first, **given.others}
    symbols = {name: rc.Symbol.new_from_name(tuple(value.shape), name) for name, value in values.items()}
    expr = loaded.call(symbols.pop("first"), **symbols)
    free = {str(symbol.name): symbol for symbol in expr.free_symbols}
    assert set(free) == set(values)
    program = rc.compile([expr])
    got = program.run({symbol: values[name] for name, symbol in free.items()})[0]
    assert_equal(got, wanted, given)
    arrays = {name: rc.Array(value, name) for name, value in values.items()}
    assert_equal(loaded.call(arrays.pop("first"), **arrays).evaluate(), wanted, given)


@pytest.mark.parametrize("family", ["llama", "phi3"])
def test_the_largest_position_decides_on_long_factors(family: str) -> None:
    """Of the whole batch, and not its length; where positions are not known, that is an error and no guess."""
    variant = Variant(family, "longrope")
    model, loaded = pair(variant, torch.float64)
    tokens = torch.arange(12).reshape(3, 4)
    for last in (3, 5, 6, 11):
        positions = torch.tensor([[0, 1, 2, 3], [0, 1, 2, last], [0, 1, 2, 3]])
        wanted = hf_logits(model, tokens, position_ids=positions, attention_mask=torch.ones_like(tokens))
        got = loaded.call(tokens, position_ids=positions).evaluate()
        torch.testing.assert_close(got, wanted, rtol=1e-10, atol=1e-10)
    with pytest.raises(rc.CheckpointError, match="position_ids"):
        loaded.call(tokens, position_ids=rc.Symbol.new_from_name((3, 4), "position_ids"))


def test_token_types_are_0_where_none_are_given() -> None:
    variant = Variant("bert", "three-types")
    model, loaded = pair(variant, torch.float64)
    tokens = cases.inputs(variant, "five").first
    with torch.no_grad():
        wanted = model(tokens).logits
    torch.testing.assert_close(loaded.call(tokens).evaluate(), wanted, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("variant", by_family())
def test_dtypes_can_be_asked_for(variant: Variant) -> None:
    """float64 from the module's float32 weights is the float64 module."""
    given, wanted = expected(variant, "five", torch.float64)
    loaded = load(build(variant.config()), dtype=torch.float64)
    assert_equal(call(loaded, given).evaluate(), wanted, given)
