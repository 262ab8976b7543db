"""Cumulants against enumeration in plain Python, unbiasedness against all samples that could have been drawn."""

import itertools
import operator
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest
import torch

import scrub as rc
from scrub.sampling.moments import BlockMoments
from tests.sampling.cumulants_by_hand import joint_cumulant, partitions

_OUTCOMES = [(Fraction(1, 2), (0, 3)), (Fraction(1, 3), (2, -1)), (Fraction(1, 6), (5, 4))]


def test_the_oracle_counts_bell_numbers() -> None:
    assert [len(list(partitions(range(n)))) for n in range(6)] == [1, 1, 2, 5, 15, 52]


def _variables() -> tuple[rc.DiscreteVar, rc.DiscreteVar]:
    """Two tied variables with the joint distribution of `_OUTCOMES`."""
    group = rc.Tag.new_from_name(rc.Array(torch.tensor([float(p) for p, _ in _OUTCOMES], dtype=torch.float64)), "pair")
    tables = [rc.Array(torch.tensor([float(o[i]) for _, o in _OUTCOMES], dtype=torch.float64)) for i in range(2)]
    x, y = (rc.DiscreteVar(table, group) for table in tables)
    return x, y


def _arguments(which: str) -> list[Callable[[Any], Any]]:
    """One component of an outcome per letter."""
    return [operator.itemgetter("xy".index(letter)) for letter in which]


@pytest.mark.parametrize("which", ["", "x", "y", "xx", "xy", "xxx", "xxy", "xxxx", "xyxy", "yyyx", "xxxxx", "xyxyx"])
def test_exact_cumulants_equal_brute_force(which: str) -> None:
    x, y = _variables()
    expr = rc.Cumulant(*({"x": x, "y": y}[letter] for letter in which))
    got = rc.estimate(expr, spec=rc.RunDiscreteVarAllSpec.create_full_from_exprs(x))
    assert float(got) == pytest.approx(float(joint_cumulant(_OUTCOMES, _arguments(which))), abs=1e-9)
    assert float(got.stderr) == 0


def test_exact_cumulants_over_two_groups_with_weights() -> None:
    """The product distribution, with arguments that mix the groups."""
    probs = [Fraction(1, 4), Fraction(0), Fraction(3, 4)]
    x, _ = _variables()
    z = rc.DiscreteVar(
        rc.Array(torch.tensor([1.0, 100.0, -2.0], dtype=torch.float64)), rc.Array(torch.tensor([0.25, 0.0, 0.75]))
    )
    product, total = x.mul(z), x.add(z)
    outcomes = [(p * q, (o[0], v)) for p, o in _OUTCOMES for q, v in zip(probs, (1, 100, -2), strict=True)]
    by_hand = [lambda o: o[0] * o[1], lambda o: o[0] + o[1], lambda o: o[1]]
    spec = rc.RunDiscreteVarAllSpec.create_full_from_exprs(product)
    for order in (1, 2, 3):
        got = rc.estimate(rc.Cumulant(*(product, total, z)[:order]), spec=spec, batch_size=2)
        assert float(got) == pytest.approx(float(joint_cumulant(outcomes, by_hand[:order])), rel=1e-9)


def test_axes_come_in_the_order_of_the_arguments() -> None:
    """A joint cumulant of tensors is, element by element, the one of their elements."""
    generator = torch.Generator().manual_seed(0)
    tables = [torch.randn(4, *shape, generator=generator, dtype=torch.float64) for shape in [(2,), (), (3, 2), (2,)]]
    group = rc.uniform(4)
    variables = [rc.DiscreteVar(rc.Array(table), group) for table in tables]
    outcomes = [(0.25, row) for row in range(4)]
    spec = rc.RunDiscreteVarAllSpec([group])
    for order in range(1, 5):
        got = rc.estimate(rc.Cumulant(*variables[:order]), spec=spec).value
        assert got.shape == tuple(size for table in tables[:order] for size in table.shape[1:])
        expected = torch.empty_like(got)
        for at in itertools.product(*(range(size) for size in got.shape)):
            rest, arguments = list(at), []
            for table in tables[:order]:
                index = tuple(rest.pop(0) for _ in table.shape[1:])
                arguments.append(lambda row, table=table, index=index: table[(row, *index)].item())
            expected[at] = joint_cumulant(outcomes, arguments)
        torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-10)


def test_order_three_and_four_equal_their_closed_forms() -> None:
    """Third central moment; fourth central moment minus its pairings."""
    values = torch.tensor([0.0, 1.0, 1.0, 4.0, 7.0], dtype=torch.float64)
    x = rc.DiscreteVar(rc.Array(values))
    spec = rc.RunDiscreteVarAllSpec([x.probs_and_group])
    centred = values - values.mean()
    third, fourth = (float(rc.estimate(rc.Cumulant(*[x] * order), spec=spec)) for order in (3, 4))
    assert third == pytest.approx(float((centred**3).mean()))
    assert fourth == pytest.approx(float((centred**4).mean() - 3 * (centred**2).mean() ** 2))


def _estimator(sample: list[tuple[int, int]], which: str, *, biased: bool = False) -> float:
    """The library's estimator on one sample, with shifts that are nobody's mean."""
    columns = [torch.tensor([float(o["xy".index(letter)]) for o in sample], dtype=torch.float64) for letter in which]
    shifts = [torch.tensor(0.7 + i, dtype=torch.float64) for i in range(len(which))]
    empty = BlockMoments.empty(shifts, num_blocks=2)
    moments = empty.plus(columns, torch.ones(len(sample), dtype=torch.float64), start=0)
    return float(moments.cumulant(biased=biased))


@pytest.mark.parametrize("which", ["x", "xx", "xy", "xxx", "xxy", "xyy", "xxxx", "xxyy", "xyxx"])
@pytest.mark.parametrize("n", [4, 5])
def test_k_statistics_are_unbiased(which: str, n: int) -> None:
    """Averaged over all equally likely samples of size n they equal the cumulant, exactly."""
    support = [(0, 3), (2, -1), (5, 4)]
    samples = list(itertools.product(support, repeat=n))
    mean = sum(_estimator(list(sample), which) for sample in samples) / len(samples)
    outcomes = [(Fraction(1, 3), o) for o in support]
    expected = joint_cumulant(outcomes, _arguments(which))
    assert mean == pytest.approx(float(expected), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("which", ["xx", "xxy", "xyxy", "xyxyx"])
def test_biased_estimates_are_the_cumulants_of_the_sample(which: str) -> None:
    """Plug-in: the empirical distribution's own cumulants; also what is used above order 4."""
    sample = [(0, 3), (2, -1), (5, 4), (5, 4), (2, 0), (7, 7)]
    outcomes = [(Fraction(1, 6), o) for o in sample]
    expected = float(joint_cumulant(outcomes, _arguments(which)))
    assert _estimator(sample, which, biased=True) == pytest.approx(expected)
    if len(which) > 4:
        assert _estimator(sample, which) == pytest.approx(expected)
    else:
        assert _estimator(sample, which) != pytest.approx(expected)


@pytest.mark.parametrize("order", [2, 3, 4])
def test_too_few_draws_for_an_unbiased_cumulant_are_an_error(order: int) -> None:
    x = rc.DiscreteVar(rc.Array(torch.arange(3.0)))
    with pytest.raises(rc.EstimateError, match=f"order {order} needs at least {order} draws"):
        rc.estimate(rc.Cumulant(*[x] * order), n=order - 1)
    assert rc.estimate(rc.Cumulant(*[x] * order), n=order).value.isfinite()


def _filled(values: list[torch.Tensor], portions: list[range]) -> BlockMoments:
    moments = BlockMoments.empty([torch.zeros(v.shape[1:], dtype=torch.float64) for v in values], num_blocks=8)
    for draws in portions:
        weights = torch.ones(len(draws), dtype=torch.float64)
        moments = moments.plus([v[draws.start : draws.stop] for v in values], weights, start=draws.start)
    return moments


def test_merging_two_halves_equals_one_pass() -> None:
    generator = torch.Generator().manual_seed(0)
    values = [torch.randn(100, *shape, generator=generator, dtype=torch.float64) for shape in [(2,), (), (3,)]]
    whole = _filled(values, [range(100)])
    first, second = _filled(values, [range(37)]), _filled(values, [range(60, 100), range(37, 60)])
    merged = first.merged(second)
    for biased, block in itertools.product((True, False), (None, 3)):
        torch.testing.assert_close(
            merged.cumulant(biased=biased, without_block=block),
            whole.cumulant(biased=biased, without_block=block),
            rtol=1e-12,
            atol=1e-12,
        )


def test_leaving_out_a_block_equals_never_having_seen_it() -> None:
    generator = torch.Generator().manual_seed(0)
    values = [torch.randn(50, generator=generator, dtype=torch.float64) for _ in range(3)]
    kept = torch.arange(50) % 8 != 5
    rest = _filled([v[kept] for v in values], [range(int(kept.sum()))])
    torch.testing.assert_close(
        _filled(values, [range(50)]).cumulant(biased=False, without_block=5), rest.cumulant(biased=False)
    )


def test_memory_does_not_grow_with_the_number_of_draws() -> None:
    def size(n: int) -> int:
        values = [torch.zeros(n, 2), torch.zeros(n)]
        moments = _filled(values, [range(n)])
        return moments.total.numel() + sum(v.numel() for v in moments.sums.values())

    assert size(10) == size(10_000) == 8 * (1 + 2 + 1 + 2)
