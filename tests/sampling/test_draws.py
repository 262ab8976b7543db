"""Draws are a pure function of seed, group and draw number."""

import hashlib
import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import scrub as rc
from scrub.sampling.draws import draw_rows, uniforms

_MASK = 2**64 - 1


def _philox(counter: int, key: int) -> list[int]:
    """Philox4x64-10 as published (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3")."""
    x = [counter >> (64 * i) & _MASK for i in range(4)]
    k = [key & _MASK, key >> 64]
    for _ in range(10):
        first, second = 0xD2E7470EE14C6C93 * x[0], 0xCA5A826395121157 * x[2]
        x = [second >> 64 ^ x[1] ^ k[0], second & _MASK, first >> 64 ^ x[3] ^ k[1], first & _MASK]
        k = [k[0] + 0x9E3779B97F4A7C15 & _MASK, k[1] + 0xBB67AE8584CAA73B & _MASK]
    return x


def test_uniforms_are_the_philox_stream_of_the_key() -> None:
    """So that no release of numpy can change anybody's draws unnoticed."""
    key = int.from_bytes(hashlib.blake2b(b"some key", digest_size=16).digest(), "little")
    words = [word for counter in range(1, 4) for word in _philox(counter, key)]
    assert uniforms("some key", 0, 12).tolist() == [(word >> 11) / 2**53 for word in words]


@settings(max_examples=50, derandomize=True, deadline=None)
@given(st.lists(st.integers(0, 20), max_size=8), st.text(max_size=5))
def test_any_portioning_gives_the_same_numbers(sizes: list[int], key: str) -> None:
    stops = np.cumsum([0, *sizes])
    portions = [uniforms(key, int(a), int(b)) for a, b in itertools.pairwise(stops)]
    whole = uniforms(key, 0, int(stops[-1]))
    assert np.concatenate([np.empty(0), *portions]).tolist() == whole.tolist()
    assert ((whole >= 0) & (whole < 1)).all()


def test_rows_are_the_inverse_of_the_distribution_function() -> None:
    probs = [0.1, 0.0, 0.4, 0.5]
    rows = draw_rows(torch.tensor(probs), "k", 0, 200).tolist()
    for row, u in zip(rows, uniforms("k", 0, 200).tolist(), strict=True):
        below = sum(probs[:row])
        assert below - 1e-7 <= u < below + probs[row] + 1e-7


@pytest.mark.parametrize("probs", [[0.0, 1.0], [1.0, 0.0], [0.0, 0.25, 0.0, 0.75, 0.0]])
def test_rows_of_probability_zero_are_never_drawn(probs: list[float]) -> None:
    rows = draw_rows(torch.tensor(probs), "k", 0, 5000)
    assert set(rows.tolist()) == {i for i, p in enumerate(probs) if p}


def test_frequencies_fit_the_probabilities() -> None:
    probs = torch.tensor([0.05, 0.2, 0.0, 0.3, 0.45], dtype=torch.float64)
    n = 20_000
    expected = (probs * n)[probs > 0]
    observed = torch.bincount(draw_rows(probs, "frequencies", 0, n), minlength=5)[probs > 0]
    assert float(((observed - expected) ** 2 / expected).sum()) < 16.3  # 0.1% point of chi-square with 3 degrees


@pytest.mark.parametrize("probs", [[0.5, 0.6], [1.5, -0.5], [0.0, 0.0], [float("nan"), 1.0]])
def test_bad_probabilities_are_an_error(probs: list[float]) -> None:
    variable = rc.DiscreteVar(rc.Array(torch.arange(2.0)), rc.Array(torch.tensor(probs)))
    specs = rc.RandomSampleSpec((4,)), rc.RunDiscreteVarAllSpec.create_full_from_exprs(variable)
    for spec in specs:
        with pytest.raises(rc.SampleSpecError, match="must not be negative and must sum to 1"):
            rc.estimate(rc.Cumulant(variable), spec=spec)
    with pytest.raises(rc.SampleSpecError, match=r"sum 1\.1"):
        draw_rows(torch.tensor([0.5, 0.6]), "k", 0, 1)


def _dice(name: str, group: rc.Expr | None = None) -> rc.DiscreteVar:
    group = group or rc.Tag.new_from_name(rc.uniform(6), name)
    return rc.DiscreteVar(rc.Array(torch.arange(6.0)), group, name)


def test_draws_depend_on_seed_and_group_digest_and_on_nothing_else() -> None:
    a, b = _dice("a"), _dice("b")

    def rows(variable: rc.DiscreteVar, seed: int) -> list[int]:
        return rc.RandomSampleSpec((50,), seed=seed).rows(variable.probs_and_group, 0, 50).tolist()

    assert rows(a, 0) == rows(_dice("a"), 0)
    assert rows(a, 0) != rows(b, 0)
    assert rows(a, 0) != rows(a, 1)
    spec = rc.RandomSampleSpec((5, 10), seed=0)
    assert spec.rows(a.probs_and_group, 0, 50).tolist() == rows(a, 0)
    assert spec.rows(a.probs_and_group, 13, 31).tolist() == rows(a, 0)[13:31]


def test_a_seeder_replaces_the_group() -> None:
    a, b, c = _dice("a"), _dice("b"), _dice("c")
    seeds = {a.probs_and_group: 1, b.probs_and_group: 1, c.probs_and_group: 2}
    sampler = rc.Sampler(rc.RandomSampleSpec((40,), seeder=seeds.__getitem__))
    drawn = [sampler.sample(v).evaluate().tolist() for v in (a, b, c)]
    assert drawn[0] == drawn[1]
    assert drawn[0] != drawn[2]


def test_tied_variables_are_drawn_together_and_untied_ones_are_independent() -> None:
    n = 7200
    a, other = _dice("a"), _dice("other")
    opposite = rc.DiscreteVar(rc.Array(5 - torch.arange(6.0)), a.probs_and_group, "opposite")
    together = rc.Concat.stack(a, opposite, other, axis=0)
    x, y, z = rc.Sampler(rc.RandomSampleSpec((n,), seed=2)).sample(together).evaluate().T
    assert torch.equal(x + y, torch.full((n,), 5.0))
    counts = torch.bincount((6 * x + z).long(), minlength=36)
    assert float(((counts - n / 36) ** 2 / (n / 36)).sum()) < 66.6  # 0.1% point of chi-square with 35 degrees


def test_fresh_groups_are_independent() -> None:
    first, second = (rc.DiscreteVar(rc.Array(torch.arange(6.0))) for _ in range(2))
    sampler = rc.Sampler(rc.RandomSampleSpec((100,)))
    assert sampler.sample(first).evaluate().tolist() != sampler.sample(second).evaluate().tolist()
