"""`StoredCumulantVar`: known by its cumulants, random, and never drawn."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import scrub as rc
from scrub.graph import StoredCumulantVar, rebuild_batched

MEAN = rc.Array(torch.tensor([1.0, 2.0]), "mean")
COVARIANCE = rc.Array(torch.eye(2), "covariance")
THIRD = rc.Scalar(0.0, (2, 2, 2), "third")


def noise() -> StoredCumulantVar:
    return StoredCumulantVar.new_mv(MEAN, COVARIANCE, {3: THIRD}, uuid="the noise", name="noise")


def test_it_holds_what_is_stored_and_nothing_above() -> None:
    variable = noise()
    assert (variable.shape, variable.dtype) == ((2,), torch.float32)
    assert variable.cumulants == {1: MEAN, 2: COVARIANCE, 3: THIRD}
    assert [variable.cumulant(order) for order in (1, 2, 3)] == [MEAN, COVARIANCE, THIRD]
    with pytest.raises(rc.RandomVariableError, match="'noise': its cumulant of order 4 is not known") as caught:
        variable.cumulant(4)
    assert (caught.value.found, "hint: store it" in str(caught.value)) == (4, True)
    assert repr(variable) == "'noise' [2] StoredCumulantVar the nois"
    assert rc.display_name(variable.rename(None)) == "random(mean mean)"


def test_1_5_flags() -> None:
    variable = noise()
    assert (variable.is_constant, variable.is_explicitly_computable, variable.can_be_sampled) == (False, False, False)
    doubled = variable.add(variable)
    assert (doubled.is_constant, doubled.can_be_sampled) == (False, False)
    expectation = rc.Cumulant(doubled)
    assert (expectation.is_constant, expectation.is_explicitly_computable) == (True, False)
    dice = rc.DiscreteVar(rc.Array(torch.arange(2.0)))
    assert StoredCumulantVar({1: rc.Cumulant(dice)}, "u").can_be_sampled is False


def test_identity_is_the_uuid() -> None:
    assert noise() is noise()
    fresh = [StoredCumulantVar.new_mv(MEAN, COVARIANCE) for _ in range(2)]
    assert fresh[0] is not fresh[1]
    made = [StoredCumulantVar.new_with_random_uuid({1: MEAN}, "m") for _ in range(2)]
    assert made[0] is not made[1]
    assert made[0].name == "m"
    assert StoredCumulantVar({2: COVARIANCE, 1: MEAN}, "u") is StoredCumulantVar.new_mv(MEAN, COVARIANCE, uuid="u")


def test_it_is_saved_and_loaded(tmp_path: Path) -> None:
    expr = rc.Add(noise(), MEAN)
    rc.save(expr, tmp_path / "v.safetensors")
    assert rc.load(tmp_path / "v.safetensors") is expr


def test_its_cumulants_can_be_updated_and_take_no_batch_axes() -> None:
    shifted = noise().update("mean", lambda _: rc.Array(torch.zeros(2), "zero"))
    assert shifted.cast(StoredCumulantVar).cumulant(1).name == "zero"
    assert shifted.cast(StoredCumulantVar).uuid == "the noise"
    with pytest.raises(rc.BatchError, match="'noise': its cumulants take no batch axes"):
        rebuild_batched(noise(), [rc.Scalar(0.0, (5, 2)), COVARIANCE, THIRD])


def test_errors_of_construction() -> None:
    with pytest.raises(rc.ConstructionError, match=r"'v': cumulants of orders \[2\] are given, order 1 is missing"):
        StoredCumulantVar({2: COVARIANCE}, "u", "v")
    with pytest.raises(rc.ConstructionError, match=r"orders \[1, 3\] are given, order 2 is missing") as gap:
        StoredCumulantVar({1: MEAN, 3: THIRD}, "u", "v")
    assert "stored as Scalar(0.0, shape)" in str(gap.value)
    with pytest.raises(rc.ConstructionError, match=r"orders \[\] are given, order 1 is missing"):
        StoredCumulantVar({}, "u", "v")
    with pytest.raises(rc.ConstructionError, match=r"orders \[0, 1\] are given"):
        StoredCumulantVar({0: rc.Scalar(1.0), 1: MEAN}, "u", "v")
    with pytest.raises(rc.ConstructionError, match="order 2 is given as variance and again in higher_cumulants"):
        StoredCumulantVar.new_mv(MEAN, COVARIANCE, {2: COVARIANCE})
    with pytest.raises(rc.ShapeError, match=r"'v': the mean has shape \(2,\), so .* order 2 has \(2, 2\), not \(2,\)"):
        StoredCumulantVar.new_mv(MEAN, MEAN, name="v")
    with pytest.raises(rc.DtypeError, match=r"StoredCumulantVar 'v': torch.float32"):
        StoredCumulantVar.new_mv(MEAN, rc.Array(torch.eye(2, dtype=torch.float64)), name="v")


def test_asking_for_a_value_or_draws_says_what_to_do() -> None:
    total = rc.Add(noise(), MEAN, name="total")
    with pytest.raises(rc.RandomVariableError, match=r"cannot evaluate 'total'.* random variable 'noise'") as evaluated:
        total.evaluate()
    assert "hint: a StoredCumulantVar is known by its cumulants alone: replace it" in str(evaluated.value)
    sampler = rc.Sampler(rc.RandomSampleSpec((3,)))
    with pytest.raises(rc.SampleSpecError, match=r"cannot draw 'noise' .*, of which only cumulants are known") as drawn:
        sampler.sample(total)
    assert drawn.value.nodes == (noise(), total)
    assert "replace it by one that can be drawn" in str(drawn.value)
    with pytest.raises(rc.RandomVariableError, match=r"'noise' .* is under no Cumulant"):
        rc.estimate(total, n=10)
    with pytest.raises(rc.SampleSpecError, match="cannot draw 'noise'"):
        rc.estimate(rc.Cumulant(total), n=10)
    held = rc.Add(rc.Cumulant(noise()), rc.DiscreteVar(rc.Array(torch.ones(3, 2))))
    assert sampler.sample(held).shape == (3, 2)  # under a cumulant nothing is drawn
