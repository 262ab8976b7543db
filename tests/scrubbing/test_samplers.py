"""SPEC 9.3: what each sampler draws, against the law that it states, and what its pool bounds."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import torch

import scrub as rc
from scrub.discovery.hypotheses import CounterfactualSampler
from scrub.hypothesis import (
    CondSampler,
    Dataset,
    ExactSampler,
    FewRowsWarning,
    FixedOtherSampler,
    FuncSampler,
    Source,
    Stream,
    UncondSampler,
    UncondTogetherSampler,
)

KIND = torch.tensor([0, 1, 0, 2, 1, 0, 0, 2])
DATA = Dataset({"x": torch.arange(8.0), "kind": KIND}, inputs=["x"])
OTHER = Dataset({"x": torch.arange(3.0) + 100, "kind": torch.tensor([0, 1, 2])}, inputs=["x"])
REFERENCES = Dataset({"x": torch.arange(4.0) + 50, "kind": torch.tensor([0, 1, 2, 2])}, inputs=["x"])


@dataclass(frozen=True)
class NextSampler(CondSampler):
    """A user's own: the next row or the one after it."""

    def draw(self, given: torch.Tensor, source: Source, stream: Stream) -> torch.Tensor:
        return (given + 1 + stream.below(2)) % source.size

    def probabilities(self, given: torch.Tensor, source: Source) -> torch.Tensor:
        chances = torch.zeros(len(given), source.data.num_rows, dtype=torch.float64)
        for step in (1, 2):
            chances[torch.arange(len(given)), (given + step) % source.size] += 0.5
        return chances


SAMPLERS: list[CondSampler] = [
    ExactSampler(),
    UncondSampler(),
    UncondSampler(pool=3),
    UncondTogetherSampler(),
    FixedOtherSampler(OTHER),
    FuncSampler("kind", few=1),
    FuncSampler(lambda data: data["x"] % 2, name="parity", few=1),
    FuncSampler("kind", pool=2, few=1),
    CounterfactualSampler(),
    NextSampler(),
]


def subclasses(kind: type) -> Iterator[type]:
    for below in kind.__subclasses__():
        yield below
        yield from subclasses(below)


def test_every_sampler_of_the_package_is_here() -> None:
    shipped = {kind for kind in subclasses(CondSampler) if kind.__module__.startswith("scrub.")}
    assert shipped <= {type(sampler) for sampler in SAMPLERS}


def source_for(sampler: CondSampler) -> Source:
    return Source(DATA, references=REFERENCES, others=sampler.datasets)


def law_of(sampler: CondSampler, source: Source) -> torch.Tensor | None:
    """For each row of the source how likely each is; None if that depends on the seed."""
    if isinstance(sampler, UncondTogetherSampler) or getattr(sampler, "pool", None) is not None:
        return None
    return sampler.probabilities(torch.arange(source.data.num_rows), source)


@pytest.mark.parametrize("sampler", SAMPLERS, ids=repr)
class TestConformance:
    def test_rows_are_rows_that_it_allows(self, sampler: CondSampler) -> None:
        source = source_for(sampler)
        given = torch.arange(8).repeat(50)
        drawn = sampler.draw(given, source, Stream(0, "n", 0, 400))
        assert drawn.dtype == torch.int64
        assert drawn.shape == (400,)
        assert bool(sampler.allows(given, drawn, source).all())

    def test_draws_are_a_function_of_seed_name_and_number(self, sampler: CondSampler) -> None:
        source = source_for(sampler)
        given = torch.arange(8).repeat(12)
        whole = sampler.draw(given, source, Stream(3, "n", 0, 96))
        part = sampler.draw(given[40:71], source, Stream(3, "n", 40, 71))
        assert torch.equal(whole[40:71], part)
        assert torch.equal(whole, sampler.draw(given, source_for(sampler), Stream(3, "n", 0, 96)))
        others = [sampler.draw(given, source, stream) for stream in (Stream(4, "n", 0, 96), Stream(3, "m", 0, 96))]
        # nothing is drawn, or one of 8 rows, which may well come twice
        is_fixed = isinstance(sampler, ExactSampler | CounterfactualSampler | UncondTogetherSampler)
        assert is_fixed or not any(torch.equal(whole, other) for other in others)

    def test_frequencies_are_those_of_the_law(self, sampler: CondSampler) -> None:
        source = source_for(sampler)
        law = law_of(sampler, source)
        if law is None:
            return
        repeats = 4000
        given = torch.arange(source.size + REFERENCES.num_rows).repeat_interleave(repeats)
        drawn = sampler.draw(given, source, Stream(0, "law", 0, len(given)))
        for row in given.unique().tolist():
            torch.testing.assert_close(law[row].sum(), torch.tensor(1.0, dtype=torch.float64))
            counts = torch.bincount(drawn[given == row], minlength=source.data.num_rows).double()
            expected = law[row] * repeats
            assert bool((counts[expected == 0] == 0).all())
            mine = expected > 0
            chi2 = float(((counts[mine] - expected[mine]) ** 2 / expected[mine]).sum())
            freedom = int(mine.sum()) - 1
            assert chi2 <= freedom + 6 * (2 * freedom) ** 0.5 + 6  # six deviations of a chi-square

    def test_the_law_is_what_it_allows(self, sampler: CondSampler) -> None:
        source = source_for(sampler)
        law = law_of(sampler, source)
        for row in range(source.data.num_rows):
            rows = torch.full((source.size,), row)
            allowed = sampler.allows(torch.arange(source.size), rows, source)
            if law is not None:
                assert torch.equal(allowed, law[: source.size, row] > 0)

    def test_it_prints_and_is_a_value(self, sampler: CondSampler) -> None:
        assert type(sampler).__name__ in repr(sampler)
        assert sampler in {sampler}


def test_references_of_another_dataset_are_given_but_not_drawn() -> None:
    source = source_for(UncondSampler())
    given = torch.tensor(list(source.reference_rows)).repeat(100)
    for sampler in (UncondSampler(), UncondTogetherSampler(), FuncSampler("kind", few=1)):
        drawn = sampler.draw(given, source, Stream(0, "n", 0, 400))
        assert int(drawn.max()) < 8
    drawn = FuncSampler("kind").draw(given, source, Stream(0, "n", 0, 400))
    assert torch.equal(KIND[drawn], REFERENCES["kind"].repeat(100))
    assert torch.equal(ExactSampler().draw(given, source, Stream(0, "n", 0, 400)), given)


def test_pools_bound_different_rows() -> None:
    source = source_for(UncondSampler())
    given = torch.arange(8).repeat(500)
    for pool in (1, 2, 3):
        drawn = UncondSampler(pool=pool).draw(given, source, Stream(0, "n", 0, 4000))
        assert len(drawn.unique()) == pool
        drawn = FuncSampler("kind", pool=pool).draw(given, source, Stream(0, "n", 0, 4000))
        for kind in range(3):
            rows = drawn[KIND[given] == kind].unique()
            assert len(rows) == min(pool, KIND.tolist().count(kind))
            assert bool((KIND[rows] == kind).all())
        counts = torch.bincount(drawn)[drawn.unique()].double()
        assert float(counts.min()) > 0.5 * float(counts.max()) / 4  # all of the pool are in use
    pools = {
        tuple(UncondSampler(pool=2).draw(given, source, Stream(s, "n", 0, 4000)).unique().tolist()) for s in range(9)
    }
    assert len(pools) > 1  # the seed chooses them


def test_one_draw_together() -> None:
    source = source_for(UncondTogetherSampler())
    rows = [UncondTogetherSampler().draw(torch.arange(8), source, Stream(s, "n", 0, 8)).unique() for s in range(400)]
    assert all(len(row) == 1 for row in rows)
    counts = torch.bincount(torch.cat(rows), minlength=8)
    assert int(counts.min()) > 20  # 50 expected for each of the 8 rows
    parts = [UncondTogetherSampler().draw(torch.arange(4), source, Stream(1, "n", at, at + 4)) for at in (0, 4)]
    assert torch.equal(*parts)


def test_another_dataset() -> None:
    source = source_for(FixedOtherSampler(OTHER))
    drawn = FixedOtherSampler(OTHER).draw(torch.arange(8).repeat(20), source, Stream(0, "n", 0, 160))
    assert set(source.data["x"][drawn].tolist()) == {100.0, 101.0, 102.0}
    with pytest.raises(rc.DatasetError, match="the source does not hold the rows of Dataset of 3 rows"):
        FixedOtherSampler(OTHER).draw(torch.arange(8), Source(DATA), Stream(0, "n", 0, 8))


def test_a_value_that_no_row_has_is_an_error_that_shows_it() -> None:
    references = Dataset({"x": torch.tensor([1.0]), "kind": torch.tensor([7])}, inputs=["x"])
    source = Source(DATA, references=references)
    with pytest.raises(rc.HypothesisError, match="no row of the dataset has 'kind' equal to 7, as a reference has"):
        FuncSampler("kind").draw(torch.tensor([8]), source, Stream(0, "n", 0, 1))
    pairs = FuncSampler(lambda data: torch.stack([data["kind"], data["kind"] + 1], 1), name="pair")
    with pytest.raises(rc.HypothesisError, match=r"'pair' equal to \[7, 8\]"):
        pairs.draw(torch.tensor([8]), source, Stream(0, "n", 0, 1))


def test_few_rows_are_a_warning() -> None:
    with pytest.warns(
        FewRowsWarning, match=r"node 'n': few rows agree in 'kind': 1 \(2\), 2 \(2\); 50.0% of"
    ) as caught:
        FuncSampler("kind", few=3).check(Source(DATA), "n")
    assert isinstance(caught[0].message, FewRowsWarning)
    assert caught[0].message.counts == [2, 2]
    many = Dataset({"x": torch.arange(1000) // 990})  # one row in a hundred has a rare value: no warning
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        FuncSampler("kind", few=2).check(Source(DATA), "n")
        FuncSampler("x", few=11).check(Source(many), "n")


def test_values_are_compared_exactly() -> None:
    values = torch.tensor([0.5, 0.5 + 1e-12, -0.0, 0.0, 0.5], dtype=torch.float64)
    source = Source(Dataset({"x": torch.arange(5), "v": values}, inputs=["x"]))
    classes = FuncSampler("v").classes(source)
    assert classes.of_row[0] == classes.of_row[4] != classes.of_row[1]
    assert classes.of_row[2] == classes.of_row[3]
    with pytest.raises(rc.DatasetError, match="'v' is NaN on some rows"):
        FuncSampler("v").classes(Source(Dataset({"v": torch.tensor([1.0, torch.nan])})))


def test_a_condition_gives_a_value_for_each_row() -> None:
    with pytest.raises(rc.DatasetError, match=r"'mean' gave a value of shape \[\] for 8 rows"):
        FuncSampler(lambda data: data["x"].mean(), name="mean").classes(Source(DATA))
    with pytest.raises(rc.DatasetError, match="no array 'z'"):
        FuncSampler("z").classes(Source(DATA))


@pytest.mark.parametrize("pool", [0, -1, True, 1.5])
def test_a_pool_has_rows(pool: object) -> None:
    for make in (UncondSampler, lambda pool: FuncSampler("x", pool=pool)):  # type: ignore[misc]
        with pytest.raises(rc.HypothesisError, match="cannot be drawn from"):
            make(pool=pool)  # type: ignore[arg-type]


def test_without_an_exact_law_there_is_an_error() -> None:
    for sampler in (UncondTogetherSampler(), UncondSampler(pool=2), FuncSampler("kind", pool=2)):
        with pytest.raises(rc.HypothesisError, match="so there is no exact result"):
            sampler.probabilities(torch.tensor([0]), Source(DATA))
