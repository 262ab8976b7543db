"""The adversary against brute force in plain Python, over the rows that each sampler allows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from scrub.graph import Add, HypothesisError, Symbol
from scrub.hypothesis import (
    CondSampler,
    Correspondence,
    Dataset,
    ExactSampler,
    Experiment,
    FixedOtherSampler,
    FuncSampler,
    InterpNode,
    Metric,
    Source,
    Stream,
    UncondSampler,
    UncondTogetherSampler,
    corr_root_matcher,
)
from scrub.hypothesis.adversary.allowed import ShortLists, allows
from scrub.hypothesis.adversary.result import Adversary, Case
from scrub.hypothesis.adversary.worst_case import worst_case
from tests.scrubbing.adversary_oracle import NUM_ROWS, PLACES, generated


def xy_experiment(
    x: torch.Tensor, y: torch.Tensor, *, other: CondSampler | None = None, metric: Metric | None = None, **more: Any
) -> Experiment:
    """x + y, the hypothesis that only x matters."""
    left, right = (Symbol.new_from_name((), name) for name in "xy")
    root, corr = InterpNode(ExactSampler(), "sum", other_inputs_sampler=other), Correspondence()
    corr.add(root, corr_root_matcher)
    corr.add(root.make_descendant(ExactSampler(), "left"), "x")
    metrics = None if metric is None else {"loss": metric}
    return Experiment(left.add(right), Dataset({"x": x, "y": y}), corr, metrics=metrics, **more)


EASY = {"x": torch.zeros(40), "y": torch.linspace(0, 1, 40)}


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("minimise", [False, True])
def test_exhaustive_search_is_the_maximum_of_brute_force(seed: int, minimise: bool) -> None:
    case = generated(seed)
    found = worst_case(case.experiment, 12, exhaustive=True, minimise=minimise)
    best = min if minimise else max
    expected = [best(map(case.value, case.joint_draws(reference))) for reference in found.references.tolist()]
    torch.testing.assert_close(found.values, torch.tensor(expected, dtype=torch.float64), rtol=1e-12, atol=1e-12)


def test_ascent_mostly_attains_the_maximum_of_brute_force_and_stays_allowed() -> None:
    attained, plainly, total = 0, 0, 0
    for seed in range(8):
        case = generated(100 + seed)
        experiment = case.experiment
        found = worst_case(experiment, 5, seed=seed)
        for i, reference in enumerate(found.references.tolist()):
            draws = list(case.joint_draws(reference))
            highest = max(map(case.value, draws))
            assert found.values[i] <= highest + 1e-12
            given = {slot.label: int(found.draws[slot.label][i]) for slot in experiment.slots}
            same = [draw for draw in draws if all(draw[label] == row for label, row in given.items())]
            assert any(abs(case.value(draw) - float(found.values[i])) < 1e-12 for draw in same)
            attained += abs(float(found.values[i]) - highest) < 1e-9
            plainly += abs(float(found.plain[i]) - highest) < 1e-9
            total += 1
    print(f"the ascent attains the maximum for {attained} of {total} references, the plain draw for {plainly}")
    assert attained / total > 0.95
    assert plainly / total < 0.5


@pytest.mark.parametrize("shared", ["root/other", "h/other", "root", "g"])
@pytest.mark.parametrize("exhaustive", [True, False])
def test_a_draw_that_references_share_is_chosen_for_their_mean(shared: str, exhaustive: bool) -> None:
    attained, total = 0, 0
    for seed in (2, 4):
        # References 0 and 3 are in different classes here, so that they disagree about the best row.
        chosen = dict.fromkeys(PLACES, "f") | {"root": "exact", shared: "together"}
        case = generated(seed, **chosen)
        if case.unimportant == "shared" and shared == "h/other":
            continue
        found = worst_case(case.experiment, 5, starts=4, exhaustive=exhaustive)
        assert len(found.draws[shared].unique()) == 1
        means: list[float] = []
        for row in range(NUM_ROWS):
            highest = [
                max(case.value(draw) for draw in case.joint_draws(reference) if draw[shared] == row)
                for reference in found.references.tolist()
            ]
            means.append(sum(highest) / len(highest))
        assert float(found.mean) >= float(found.plain.mean())
        attained += float(found.mean) == pytest.approx(max(means), rel=1e-12)
        total += 1
        assert float(found.mean) <= max(means) + 1e-12
    assert total >= 1
    assert attained >= (total if exhaustive else total - 1)


@pytest.mark.parametrize("exhaustive", [True, False])
@pytest.mark.parametrize("minimise", [True, False])
def test_a_shared_draw_is_not_each_reference_s_own(exhaustive: bool, minimise: bool) -> None:
    """x y with y shared: the mean is that of x, times y; by themselves references with x < 0 would take another y."""
    x, y = (Symbol.new_from_name((), name) for name in "xy")
    root, corr = InterpNode(ExactSampler(), "root", other_inputs_sampler=UncondTogetherSampler()), Correspondence()
    corr.add(root, corr_root_matcher)
    corr.add(root.make_descendant(ExactSampler(), "x"), "x")
    data = Dataset({"x": torch.tensor([-1.0, 3.0, -2.0, 4.0, 2.0]), "y": torch.tensor([0.5, -3.0, 2.0, 1.0, -1.0])})
    found = worst_case(Experiment(x.mul(y), data, corr), 30, exhaustive=exhaustive, minimise=minimise)
    of_references = data["x"][found.references].double()
    assert float(of_references.min()) < 0 < float(of_references.mean())
    expected = of_references * (-3.0 if minimise else 2.0)
    torch.testing.assert_close(found.values, expected)
    assert found.draws["root/other"].unique().tolist() == [1 if minimise else 2]


@pytest.mark.parametrize("exhaustive", [True, False])
def test_an_experiment_run_with_the_draws_gives_the_values(exhaustive: bool) -> None:
    for seed in range(2):
        experiment = generated(seed).experiment
        found = worst_case(experiment, 20, seed=seed, starts=2, exhaustive=exhaustive)
        again = experiment.run(20, seed=seed, draws=found.draws, batch_size=7)
        torch.testing.assert_close(again.values["loss"], found.values, rtol=1e-13, atol=1e-13)
        plain = experiment.run(20, seed=seed, keep_draws=True)
        assert plain.draws is not None
        assert {label: rows.tolist() for label, rows in found.plain_draws.items()} == {
            label: rows.tolist() for label, rows in plain.draws.items()
        }
        torch.testing.assert_close(plain.values["loss"], found.plain, rtol=1e-13, atol=1e-13)
        assert bool((found.values >= found.plain).all())


def test_the_same_seed_finds_the_same_for_any_batch_size_and_number_of_references() -> None:
    experiment = generated(3, **dict.fromkeys(PLACES, "any")).experiment
    options = {"candidates": 2, "starts": 1, "rounds": 2}
    first = worst_case(experiment, 30, **options)  # type: ignore[arg-type]
    other = worst_case(experiment, 30, batch_size=3, **options)  # type: ignore[arg-type]
    fewer = worst_case(experiment, 11, **options)  # type: ignore[arg-type]
    for label, rows in first.draws.items():
        assert rows.tolist() == other.draws[label].tolist()
        assert rows[:11].tolist() == fewer.draws[label].tolist()
    different = worst_case(experiment, 30, seed=1, **options)  # type: ignore[arg-type]
    assert different.references.tolist() != first.references.tolist()


def test_a_hypothesis_that_is_exactly_right_has_no_gap() -> None:
    """y is read and does not matter: 0 y; x y with x exact and y in classes of equal |y| of which |.| is read."""
    x, y = (Symbol.new_from_name((), name) for name in "xy")
    model = Add(x, y.scale(0.0))
    root, corr = InterpNode(ExactSampler(), "root"), Correspondence()
    corr.add(root, corr_root_matcher)
    corr.add(root.make_descendant(ExactSampler(), "left"), "x")
    data = Dataset({"x": torch.randn(30, generator=torch.Generator().manual_seed(0)), "y": torch.arange(30.0)})
    for exhaustive in (False, True):
        found = worst_case(Experiment(model, data, corr), 25, starts=2, exhaustive=exhaustive)
        assert found.values.tolist() == found.plain.tolist() == data["x"][found.references].double().tolist()
        assert float(found.gap) == 0
        assert found.worst()[0].through is None
    squared, corr = y.mul(y), Correspondence()
    corr.add(InterpNode(FuncSampler(lambda rows: rows["y"].abs(), name="size", few=1), "root"), corr_root_matcher)
    data = Dataset({"y": torch.tensor([-2.0, -1.0, 1.0, 2.0, 3.0, -3.0])})
    assert float(worst_case(Experiment(squared, data, corr), 25).gap) == 0


def test_a_hypothesis_that_is_wrong_has_the_gap_it_should() -> None:
    """x + y with y free: every reference can get the largest y."""
    for exhaustive in (False, True):
        found = worst_case(xy_experiment(**EASY), 50, candidates=40, starts=1, exhaustive=exhaustive)
        assert found.values.tolist() == [1.0] * 50
        assert bool((found.plain < 1).any())
        assert float(found.gap) == pytest.approx(1 - float(found.plain.mean()))
        torch.testing.assert_close(found.blame["sum/other"], 1 - found.plain)
        lowest = worst_case(xy_experiment(**EASY), 50, candidates=40, starts=1, exhaustive=exhaustive, minimise=True)
        assert lowest.values.tolist() == [0.0] * 50
        torch.testing.assert_close(lowest.blame["sum/other"], lowest.plain)


def test_few_candidates_come_from_the_sampler_and_more_of_them_find_more() -> None:
    plain = worst_case(xy_experiment(**EASY), 200, rounds=0, starts=0)
    few = worst_case(xy_experiment(**EASY), 200, candidates=2, rounds=1, starts=0)
    many = worst_case(xy_experiment(**EASY), 200, candidates=20, rounds=1, starts=0)
    assert plain.values.tolist() == plain.plain.tolist()
    # The mean of the largest of m uniform numbers is m / (m + 1); plain, and 2 or 20 others.
    assert float(plain.mean) == pytest.approx(1 / 2, abs=0.08)
    assert float(few.mean) == pytest.approx(3 / 4, abs=0.06)
    assert float(many.mean) == pytest.approx(21 / 22, abs=0.03)


class DrawsOnly(CondSampler):
    """A user's sampler that does not say what it allows: one of two rows, the given one or its pair."""

    def draw(self, given: torch.Tensor, source: Source, stream: Stream) -> torch.Tensor:
        return given ^ stream.below(2)


class Pairs(DrawsOnly):
    """The same, and it says."""

    def probabilities(self, given: torch.Tensor, source: Source) -> torch.Tensor:
        rows = torch.arange(source.data.num_rows)
        return (rows[None] // 2 == given[:, None] // 2) / 2


@pytest.mark.parametrize("sampler", [DrawsOnly(), Pairs()])
def test_samplers_of_users(sampler: CondSampler) -> None:
    found = worst_case(xy_experiment(**EASY, other=sampler), 60)
    expected = EASY["y"][found.references | 1].double()
    torch.testing.assert_close(found.values, expected)
    assert bool((found.draws["sum/other"] // 2 == found.references // 2).all())


def test_what_depends_on_a_draw_stays_allowed_if_the_sampler_only_draws() -> None:
    """x of a drawn row, plus y of the pair of that row."""
    x, y = (Symbol.new_from_name((), name) for name in "xy")
    root, corr = InterpNode(UncondSampler(), "root", other_inputs_sampler=ExactSampler()), Correspondence()
    corr.add(root, corr_root_matcher)
    corr.add(root.make_descendant(DrawsOnly(), "right"), "y")
    data = Dataset({"x": torch.tensor([0.0, 0.0, 5.0, 4.0]), "y": torch.tensor([7.0, 8.0, 0.0, 2.0])})
    found = worst_case(Experiment(Add(x, y), data, corr), 30)
    assert bool((found.draws["root"] // 2 == found.draws["right"] // 2).all())
    assert found.values.tolist() == [8.0] * 30  # 0 + 8, above 5 + 2


def test_a_dataset_of_its_own_and_references_of_their_own() -> None:
    other = Dataset({"x": torch.zeros(3), "y": torch.tensor([4.0, 6.0, 5.0])})
    references = Dataset({"x": torch.tensor([10.0]), "y": torch.tensor([0.0])})
    experiment = xy_experiment(**EASY, other=FixedOtherSampler(other), references=references)
    for exhaustive in (False, True):
        assert worst_case(experiment, 5, exhaustive=exhaustive).values.tolist() == [16.0] * 5


def test_a_metric_of_the_reference_is_what_is_raised() -> None:
    """(x + y of a draw - y of the reference)^2: highest at whichever end of y is further away."""

    def squared(values: torch.Tensor, references: Dataset) -> torch.Tensor:
        return (values - references["y"]) ** 2

    found = worst_case(xy_experiment(**EASY, metric=squared), 40, candidates=40, starts=0, metric="loss")
    y = EASY["y"][found.references].double()
    torch.testing.assert_close(found.values, torch.maximum(y, 1 - y) ** 2, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("exhaustive", [True, False])
def test_infinite_values_are_left_and_nan_is_never_taken(exhaustive: bool) -> None:
    """The logarithm of 0, 0.2, ... 1 and of -1, which is no number."""

    def logarithm(values: torch.Tensor, references: Dataset) -> torch.Tensor:
        return values.log()

    y = torch.tensor([0.0, 0.2, 0.4, 0.6, 0.8, 1.0, -1.0])
    experiment = xy_experiment(torch.zeros(7), y, metric=logarithm)
    found = worst_case(experiment, 60, starts=0, exhaustive=exhaustive)
    assert bool((found.plain == -torch.inf).any())
    assert found.values[~found.plain.isnan()].unique().tolist() == [0.0]
    lowest = worst_case(experiment, 60, starts=0, exhaustive=exhaustive, minimise=True)
    assert lowest.values[~found.plain.isnan()].unique().tolist() == [-torch.inf]


def test_blame_says_which_draw_it_is() -> None:
    """out = 3 y of one draw + z of another: of a gap 3 dy + dz, each takes its part."""
    y, z = (Symbol.new_from_name((), name) for name in "yz")
    root, corr = InterpNode(ExactSampler(), "root"), Correspondence()
    corr.add(root, corr_root_matcher)
    corr.add(root.make_descendant(UncondSampler(), "y"), "y")
    corr.add(root.make_descendant(UncondSampler(), "z"), "z")
    numbers = torch.linspace(0, 1, 8, dtype=torch.float64)
    data = Dataset({"y": numbers, "z": numbers})
    found = worst_case(Experiment(Add(y.scale(3.0), z), data, corr), 30)
    for label, factor in (("y", 3.0), ("z", 1.0)):
        torch.testing.assert_close(found.blame[label], factor * (1 - numbers[found.plain_draws[label]]))
    assert list(found.mean_blame) == ["y", "z"]
    case = found.worst(3)[2]
    assert case.value == 4.0 == case.datum("y")["y"].item() * 3 + case.datum("z")["z"].item()
    expected = "y" if 3 * (1 - numbers[found.plain_draws["y"][2]]) > 1 - numbers[found.plain_draws["z"][2]] else "z"
    assert case.through == expected


def test_the_worst_references_come_in_order() -> None:
    experiment = xy_experiment(torch.arange(40.0), EASY["y"])
    found = worst_case(experiment, 20, candidates=40, starts=1)
    cases = found.worst(5)
    assert [case.value for case in cases] == sorted(found.values.tolist(), reverse=True)[:5]
    assert [case.rows["reference"] for case in cases] == [int(found.references[case.number]) for case in cases]
    lowest = worst_case(experiment, 20, candidates=40, starts=1, minimise=True)
    assert lowest.worst()[0].value == float(lowest.values.min())


def test_the_report_names_draws_and_data() -> None:
    text = repr(worst_case(xy_experiment(**EASY), 30, exhaustive=True))
    assert "1 ± 0 the highest there is (95%, n=30, seed=0;" in text
    assert "through 'sum/other'" in text
    assert "'sum/other': row 39: x = 0, y = 1" in text
    assert "the lowest found" in repr(worst_case(xy_experiment(**EASY), 30, starts=0, minimise=True))
    constant = repr(worst_case(xy_experiment(torch.zeros(4), torch.zeros(4)), 5))
    assert "through" not in constant
    assert "a change of" not in constant


def test_one_reference_is_enough() -> None:
    """There is no error of one number, and it prints."""
    found = worst_case(xy_experiment(**EASY), 1, candidates=40)
    assert found.values.tolist() == [1.0]
    assert "± inf" in repr(found)


def _wide_case() -> Case:
    data = Dataset({f"x{i}": torch.zeros(1, 100) for i in range(9)})
    return Case(0, 1.0, 0.0, {f"d{i}": 0 for i in range(30)}, {}, data)


def test_a_wide_report_stays_short() -> None:
    lines = repr(_wide_case()).splitlines()
    assert len(lines) == 10
    assert lines[-1] == "  and 22 more draws"
    assert "100 in all" in lines[1]
    assert lines[1].endswith("and 5 more")


def test_short_lists_are_the_classes() -> None:
    features = torch.tensor([0, 1, 0, 2, 1, 0])
    left, right = (Symbol.new_from_name((), name) for name in "xy")
    root, corr = InterpNode(ExactSampler(), "sum", other_inputs_sampler=FuncSampler("f", few=1)), Correspondence()
    corr.add(root, corr_root_matcher)
    corr.add(root.make_descendant(ExactSampler(), "left"), "x")
    data = Dataset({"x": torch.zeros(6), "y": torch.zeros(6), "f": features}, inputs=["x", "y"])
    experiment = Experiment(left.add(right), data, corr)
    (slot,) = experiment.slots
    rows, are_all = ShortLists(experiment, most=2)(slot, torch.tensor([3, 0, 4, 1]))
    assert are_all.tolist() == [True, False, True, True]
    assert rows[[0, 2, 3]].tolist() == [[3, -1], [1, 4], [1, 4]]


def test_allows_of_many_rows_at_once_is_that_of_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scrub.hypothesis.adversary.allowed._MOST_AT_ONCE", 100)
    source = Source(Dataset({"x": torch.zeros(40)}))
    given, rows = torch.arange(40).repeat_interleave(40), torch.arange(40).repeat(40)
    expected = given // 2 == rows // 2
    assert allows(Pairs(), given, rows, source).tolist() == expected.tolist()
    assert not allows(DrawsOnly(), given, rows, source).any()
    found = worst_case(xy_experiment(**EASY, other=Pairs()), 60, exhaustive=True)
    torch.testing.assert_close(found.values, EASY["y"][found.references | 1].double())


def test_too_many_joint_draws_is_an_error_that_says_how_many() -> None:
    experiment = xy_experiment(torch.arange(1600.0), torch.zeros(1600))
    with pytest.raises(HypothesisError, match=r"1,600 up to 'sum/other' alone, for 1 different.*limit is 1,000"):
        worst_case(experiment, 1, exhaustive=True, limit=1000)


@pytest.mark.parametrize(
    ("attempt", "message"),
    [
        (lambda e: worst_case(e, 5, metric="los"), "there is no metric 'los'"),
        (lambda e: worst_case(e, 0), "n=0 is too few"),
        (lambda e: worst_case(e, 5, candidates=-1), "candidates=-1 is too few"),
        (lambda e: worst_case(xy_experiment(**EASY, other=DrawsOnly()), 5, exhaustive=True), "does not say which rows"),
    ],
)
def test_errors(attempt: Callable[[Experiment], Adversary], message: str) -> None:
    with pytest.raises(HypothesisError, match=message):
        attempt(xy_experiment(**EASY))
