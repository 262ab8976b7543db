"""Section 6.1 to 6.5 of the specification: random variables, draws and cumulants, as expressions."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import pytest
import torch

import scrub as rc
from scrub.graph import Cumulant, DiscreteVar
from scrub.sampling import RandomSampleSpec, RunDiscreteVarAllSpec, Sampler, SampleSpec
from tests.independent import assert_same


def table(*shape: int, seed: int = 0) -> rc.Array:
    return rc.Array(torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64))


def enumerate_all(*exprs: rc.Expr) -> Sampler:
    return Sampler(RunDiscreteVarAllSpec.create_full_from_exprs(*exprs))


def weighted(values: list[float], probs: list[float]) -> DiscreteVar:
    group = rc.Tag.new_with_random_uuid(rc.Array(torch.tensor(probs, dtype=torch.float64)))
    return DiscreteVar(rc.Array(torch.tensor(values, dtype=torch.float64)), group)


def test_6_1_a_variable_has_the_shape_of_a_row() -> None:
    """SPEC 6.1: "`values [n, ...]` has shape `[...]`"."""
    assert DiscreteVar(table(6, 2, 3)).shape == (2, 3)


def test_6_1_without_a_group_it_is_independent_of_every_other() -> None:
    """SPEC 6.1: "Without a group it gets a fresh one: independent of every other"."""
    rows = table(6)
    one, two = DiscreteVar(rows, name="v"), DiscreteVar(rows, name="v")
    assert one != two
    expr = Cumulant(one, two)
    assert abs(enumerate_all(expr).estimate(expr).evaluate().item()) < 1e-12


def test_6_1_passing_the_group_of_another_ties_them_row_by_row() -> None:
    """SPEC 6.1: "Passing another variable's group ties them: drawn together, row by row"."""
    one = DiscreteVar(table(6, seed=1))
    two = DiscreteVar(table(6, seed=2), one.probs_and_group)
    both = enumerate_all(one).sample(rc.Concat.stack(one, two)).evaluate()
    assert both.tolist() == torch.stack([table(6, seed=1).value, table(6, seed=2).value], 1).tolist()
    drawn = Sampler(RandomSampleSpec((50,), seed=3)).sample(rc.Concat.stack(one, two)).evaluate()
    pairs = {tuple(pair) for pair in both.tolist()}
    assert all(tuple(pair) in pairs for pair in drawn.tolist())


def test_6_1_a_tag_makes_equal_expressions_distinct() -> None:
    """SPEC 6.1: "`Tag.new_with_random_uuid(expr)` makes equal expressions distinct", a group is one."""
    probs = rc.uniform(6)
    tags = [rc.Tag.new_with_random_uuid(probs) for _ in range(2)]
    assert tags[0] != tags[1]
    assert torch.equal(tags[0].evaluate(), probs.evaluate())
    assert isinstance(DiscreteVar(table(6)).probs_and_group, rc.Tag)


def test_6_2_a_variable_of_shape_s_becomes_shape_plus_s() -> None:
    """SPEC 6.2: "Sample axes go in front: a variable of shape S becomes shape + S"."""
    variable = DiscreteVar(table(6, 2, 3))
    assert Sampler(RandomSampleSpec((4, 5), seed=0)).sample(variable).evaluate().shape == (4, 5, 2, 3)


def test_6_2_draws_are_a_pure_function_of_seed_group_and_number() -> None:
    """SPEC 6.2: "do not depend on device, batch size, order of evaluation or worker count"."""
    group = rc.Tag.new_from_name(rc.uniform(6), "dice")
    rows = RandomSampleSpec((100,), seed=7).rows(group, 0, 100)
    again = RandomSampleSpec((9, 9), seed=7)
    assert torch.equal(torch.cat([again.rows(group, i, i + 10) for i in range(0, 100, 10)]), rows)
    assert torch.equal(torch.cat([again.rows(group, i, i + 1) for i in reversed(range(100))]), rows.flip(0))
    assert not torch.equal(RandomSampleSpec((100,), seed=8).rows(group, 0, 100), rows)
    other = rc.Tag.new_from_name(rc.uniform(6), "other dice")
    assert not torch.equal(RandomSampleSpec((100,), seed=7).rows(other, 0, 100), rows)
    seeded = RandomSampleSpec((100,), seeder=lambda group: 5)
    assert torch.equal(seeded.rows(group, 0, 100), seeded.rows(other, 0, 100))


def test_6_2_draws_are_with_replacement_by_probability() -> None:
    """SPEC 6.2: "draws with replacement by group probability": frequencies to five standard deviations."""
    probs = torch.tensor([0.5, 0.0, 0.2, 0.3], dtype=torch.float64)
    group = rc.Tag.new_from_name(rc.Array(probs), "weighted")
    n = 20_000
    counts = torch.bincount(RandomSampleSpec((n,), seed=0).rows(group, 0, n), minlength=4).double()
    assert counts[1] == 0
    assert bool(((counts / n - probs).abs() <= 5 * (probs * (1 - probs) / n).sqrt()).all())


def test_6_3_one_leading_axis_per_group_in_the_given_order() -> None:
    """SPEC 6.3: "Groups of 3 and 4: a variable of group 0 with values [3, h] becomes [3, 4, h]"; the full product."""
    h = 2
    one, two = DiscreteVar(table(3, h, seed=1)), DiscreteVar(table(4, h, seed=2))
    sampler = Sampler(RunDiscreteVarAllSpec([one.probs_and_group, two.probs_and_group]))
    assert sampler.sample(one).evaluate().shape == (3, 4, h)
    product = sampler.sample(one.mul(two)).evaluate()
    for i, j in itertools.product(range(3), range(4)):
        assert torch.equal(product[i, j], table(3, h, seed=1).value[i] * table(4, h, seed=2).value[j])
    with pytest.raises(rc.SampleSpecError, match="its group is not listed"):
        sampler.sample(DiscreteVar(table(3)))


def test_6_4_sample_replaces_every_variable_that_is_not_under_a_cumulant() -> None:
    """SPEC 6.4: "returns an explicitly computable expression, batched even when it contained no variable"."""
    variable = DiscreteVar(table(6), name="v")
    sampler = Sampler(RandomSampleSpec((5,), seed=0))
    sampled = sampler.sample(rc.Add(variable, rc.elementwise("exp", variable)))
    assert sampled.is_explicitly_computable
    assert sampled.shape == (5,)
    mixed = sampler.sample(rc.Add(variable, Cumulant(variable, name="mean")))
    assert mixed.get_unique("mean") is Cumulant(variable, name="mean")
    constant = sampler.sample(table(2))
    assert_same(constant.evaluate(), table(2).value.expand(5, 2), tolerance=0)


def test_6_4_all_in_one_call_so_that_sample_axes_are_shared() -> None:
    """SPEC 6.4: "in one Expander call": two variables of one expression share the sample axis."""
    one, two = DiscreteVar(table(6, seed=1)), DiscreteVar(table(6, seed=2))
    sampler = Sampler(RandomSampleSpec((5,), seed=0))
    product = sampler.sample(one.mul(two))
    assert product.shape == (5,)
    assert_same(product.evaluate(), sampler.sample(one).evaluate() * sampler.sample(two).evaluate())


def test_6_4_estimate_replaces_cumulants() -> None:
    """SPEC 6.4: "`.estimate(expr)` replaces cumulants"."""
    dice = DiscreteVar(rc.Array(torch.arange(1.0, 7.0, dtype=torch.float64)))
    expr = rc.Add(Cumulant(dice, name="mean"), rc.Scalar(1.0))
    estimated = enumerate_all(expr).estimate(expr)
    assert not estimated.get(Cumulant)
    assert estimated.evaluate().item() == pytest.approx(4.5)


def test_6_5_shape_and_constants() -> None:
    """SPEC 6.5: "shape is the arguments' shapes concatenated. Order 0 => 1, of constants: order 1 => the constant,
    order >= 2 => zeros"."""
    x, y = table(2, 3), table(4, seed=1)
    assert Cumulant(x, y, x).shape == (2, 3, 4, 2, 3)
    assert Cumulant().evaluate().item() == 1
    assert torch.equal(Cumulant(x).evaluate(), x.value)
    assert torch.equal(Cumulant(x, y).evaluate(), torch.zeros(2, 3, 4, dtype=torch.float64))
    assert torch.equal(Cumulant(x, y, y).evaluate(), torch.zeros(2, 3, 4, 4, dtype=torch.float64))


VALUES, PROBS = [0.0, 1.0, 4.0], [0.2, 0.5, 0.3]


def central_moment(order: int) -> float:
    mean = sum(p * v for p, v in zip(PROBS, VALUES, strict=True))
    return sum(p * (v - mean) ** order for p, v in zip(PROBS, VALUES, strict=True))


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        (1, sum(p * v for p, v in zip(PROBS, VALUES, strict=True))),
        (2, central_moment(2)),
        (3, central_moment(3)),  # the third central moment
        (4, central_moment(4) - 3 * central_moment(2) ** 2),  # the fourth minus the three pairings
    ],
)
def test_6_5_an_enumeration_is_exact_and_weighted(order: int, expected: float) -> None:
    """SPEC 6.5: "with `RunDiscreteVarAllSpec` the value is exact, weighted by the probabilities"; closed forms."""
    variable = weighted(VALUES, PROBS)
    expr = Cumulant(*[variable] * order)
    assert enumerate_all(expr).estimate(expr).evaluate().item() == pytest.approx(expected, abs=1e-12)


@dataclass(frozen=True)
class Given(SampleSpec):
    """Draws that are these rows."""

    given: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.given),)

    def rows(self, group: rc.Expr, start: int, stop: int) -> torch.Tensor:
        return torch.tensor(self.given[start:stop])

    def weights(self, start: int, stop: int) -> None:
        return None


@pytest.mark.parametrize("order", [2, 3, 4])
def test_6_5_estimators_are_unbiased_to_order_4(order: int) -> None:
    """SPEC 6.5: "**unbiased** (k-statistics) to order 4": the mean over every possible sample of five draws."""
    variable = weighted(VALUES, PROBS)
    expr = Cumulant(*[variable] * order)
    mean, mean_biased = 0.0, 0.0
    for sample in itertools.combinations_with_replacement(range(3), 5):
        counts = [sample.count(row) for row in range(3)]
        probability = float(torch.lgamma(torch.tensor(6.0, dtype=torch.float64)).exp())
        for count, p in zip(counts, PROBS, strict=True):
            probability *= p**count / float(torch.lgamma(torch.tensor(count + 1.0, dtype=torch.float64)).exp())
        mean += probability * rc.estimate(expr, spec=Given(sample)).value.item()
        mean_biased += probability * rc.estimate(expr, spec=Given(sample), biased=True).value.item()
    expected = {2: central_moment(2), 3: central_moment(3), 4: central_moment(4) - 3 * central_moment(2) ** 2}[order]
    assert mean == pytest.approx(expected, abs=1e-9)
    assert abs(mean_biased - expected) > 0.05  # "plug-in ... on request (`biased=True`)"
