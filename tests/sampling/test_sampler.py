"""`Sampler` and the sample specs: shapes, what is replaced, errors."""

import itertools

import pytest
import torch

import scrub as rc


def _var(values: torch.Tensor, name: str) -> rc.DiscreteVar:
    return rc.DiscreteVar(rc.Array(values), rc.Tag.new_from_name(rc.uniform(len(values)), name), name)


def test_sample_axes_come_in_front() -> None:
    x = _var(torch.arange(12.0).reshape(4, 3), "x")
    sampled = rc.Sampler(rc.RandomSampleSpec((5, 2))).sample(x)
    assert sampled.is_explicitly_computable
    assert sampled.shape == (5, 2, 3)
    rows = {tuple(row) for row in sampled.evaluate().reshape(10, 3).tolist()}
    assert rows <= {tuple(row) for row in x.values.evaluate().tolist()}


def test_an_expression_without_variables_is_repeated() -> None:
    sampled = rc.Sampler(rc.RandomSampleSpec((5, 2))).sample(rc.Array(torch.tensor([1.0, 2.0])))
    assert sampled.evaluate().tolist() == torch.tensor([1.0, 2.0]).expand(5, 2, 2).tolist()


def test_one_expression_reads_one_draw_everywhere() -> None:
    x = _var(torch.arange(100.0), "x")
    difference = x.scale(3.0).sub(x.add(x)).sub(x)
    assert rc.Sampler(rc.RandomSampleSpec((50,))).sample(difference).evaluate().abs().max() == 0


def test_variables_under_cumulants_are_left_alone() -> None:
    x = _var(torch.arange(6.0), "x")
    mean = rc.Cumulant(x, name="mean")
    sampled = rc.Sampler(rc.RandomSampleSpec((3,))).sample(x.sub(mean))
    assert sampled.get("mean") == (mean,)
    assert sampled.is_constant
    assert not sampled.is_explicitly_computable
    only = rc.Sampler(rc.RandomSampleSpec((3,))).sample(mean)
    assert only.shape == (3,)
    assert only.get("mean") == (mean,)


def test_enumeration_has_one_axis_per_group_in_the_given_order() -> None:
    """SPEC 6.3: groups of 3 and 4, a variable of group 0 with values [3, h] becomes [3, 4, h]."""
    h = 2
    a, b = _var(torch.randn(3, h), "a"), _var(torch.randn(4, h), "b")
    sampler = rc.Sampler(rc.RunDiscreteVarAllSpec([a.probs_and_group, b.probs_and_group]))
    assert sampler.sample(a).shape == sampler.sample(b).shape == (3, 4, h)
    ta, tb = a.values.evaluate(), b.values.evaluate()
    both = sampler.sample(rc.Concat(a, b, axis=0)).evaluate()
    for i, j in itertools.product(range(3), range(4)):
        assert both[i, j].tolist() == [*ta[i].tolist(), *tb[j].tolist()]
    swapped = rc.Sampler(rc.RunDiscreteVarAllSpec([b.probs_and_group, a.probs_and_group]))
    torch.testing.assert_close(swapped.sample(rc.Concat(a, b, axis=0)).evaluate(), both.transpose(0, 1))


def test_an_unlisted_group_is_an_error_that_says_what_to_do() -> None:
    a, b = _var(torch.arange(3.0), "a"), _var(torch.arange(4.0), "b")
    sampler = rc.Sampler(rc.RunDiscreteVarAllSpec([a.probs_and_group]))
    with pytest.raises(rc.SampleSpecError, match="group is not listed in RunDiscreteVarAllSpec") as caught:
        sampler.sample(a.add(b))
    assert caught.value.found is b.probs_and_group
    assert str(caught.value).startswith("'b' [] DiscreteVar")
    assert "create_full_from_exprs" in str(caught.value)
    with pytest.raises(rc.SampleSpecError, match="not listed"):
        rc.estimate(rc.Cumulant(b), spec=sampler.spec)


def test_a_group_listed_twice_is_an_error() -> None:
    a = _var(torch.arange(3.0), "a")
    with pytest.raises(rc.SampleSpecError, match="listed twice"):
        rc.RunDiscreteVarAllSpec([a.probs_and_group, a.probs_and_group])


def test_create_full_lists_every_group_once_in_order() -> None:
    a, b = _var(torch.arange(3.0), "a"), _var(torch.arange(4.0), "b")
    tied = rc.DiscreteVar(rc.Array(torch.ones(3)), a.probs_and_group)
    spec = rc.RunDiscreteVarAllSpec.create_full_from_exprs(rc.Add(b, a, tied), rc.Cumulant(a))
    assert list(spec.groups) == [b.probs_and_group, a.probs_and_group]
    assert spec.num_draws == 12


@pytest.mark.parametrize("size", [3, 4])
def test_draws_and_a_module_s_own_batch_axes_stay_apart(size: int) -> None:
    """Heads and draws of the same number must not be confused: per draw, per head, as computed one draw at a time."""
    x = _var(torch.randn(5, 2, generator=torch.Generator().manual_seed(0)), "x")
    weights = torch.randn(3, 2, 2, generator=torch.Generator().manual_seed(1))
    a, w = rc.Symbol.new_from_name((2,), "a"), rc.Symbol.new_from_name((2, 2), "w")
    inner = rc.Module(rc.ModuleSpec(rc.Einsum.from_string("i,ij->j", a, w), [a, w]), "heads", a=a, w=rc.Array(weights))
    outer = rc.Module(rc.ModuleSpec(inner.mul(inner), [a]), "outer", a=x)
    sampler = rc.Sampler(rc.RandomSampleSpec((size,)))
    draws = sampler.sample(x).evaluate()
    expected = torch.einsum("ni,hij->nhj", draws, weights) ** 2
    torch.testing.assert_close(sampler.sample(outer).evaluate(), expected)
    got = rc.estimate(rc.Cumulant(outer), n=size, batch_size=size).value
    torch.testing.assert_close(got.float(), expected.mean(0))


def test_sampler_estimate_puts_numbers_for_cumulants() -> None:
    x = _var(torch.arange(1.0, 7.0), "x")
    sampler = rc.Sampler(rc.RunDiscreteVarAllSpec([x.probs_and_group]))
    expr = rc.Cumulant(x, name="mean").add(rc.Cumulant(x, x).scale(2.0))
    estimated = sampler.estimate(expr)
    assert estimated.evaluate().item() == pytest.approx(3.5 + 2 * 35 / 12)
    assert isinstance(estimated.get_unique("mean"), rc.Array)


def test_sampler_estimate_of_integers_is_not_truncated() -> None:
    dice = _var(torch.arange(1, 7), "dice")
    sampler = rc.Sampler(rc.RunDiscreteVarAllSpec([dice.probs_and_group]))
    assert sampler.estimate(rc.Cumulant(dice)).evaluate().item() == 3.5
