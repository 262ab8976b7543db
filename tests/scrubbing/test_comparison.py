"""Paired comparisons, against the same arithmetic by numpy and the exact losses of a small experiment."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from scrub import HypothesisError
from scrub.hypothesis.result import Result
from scrub.hypothesis.statistics.comparison import compare, pairing_factor
from tests.scrubbing.noisy_copy import expected, experiment, loss_table


def result(name: str, *values: float, **info: object) -> Result:
    return Result(
        name, {"loss": torch.tensor(values, dtype=torch.float64)}, torch.arange(len(values)), None, {"seed": 0, **info}
    )


def test_a_difference_by_hand() -> None:
    a, b = result("a", 1, 2, 3, 5), result("b", 1, 3, 5, 8)
    found = compare(a, b)
    d = np.array([0, -1, -2, -3])
    stderr = d.std(ddof=1) / 2
    assert float(found.difference) == -1.5
    assert found.interval(0.95) == pytest.approx((-1.5 - 3.182446305284263 * stderr, -1.5 + 3.182446305284263 * stderr))
    assert found.p_a_better == pytest.approx(found.p_value / 2)
    assert found.p_a_better + found.p_b_better == 1
    assert compare(a, b, better="higher").p_a_better == pytest.approx(1 - found.p_value / 2)
    assert repr(found).startswith("loss of a - b: -1.5 ± 2.1 (95%, n=4, seed=0), a is better, p=0.1")
    assert "b is better" in repr(compare(a, b, better="higher"))


def test_the_p_value_for_three_references_in_closed_form() -> None:
    found = compare(result("a", 1, 2, 3), result("b", 0, 0, 0))
    t = 2 * math.sqrt(3)
    assert found.p_value == pytest.approx(1 - t / math.sqrt(2 + t * t))


def test_equal_results() -> None:
    found = compare(result("a", 1, 2, 3), result("a", 1, 2, 3))
    assert (found.p_value, found.interval()) == (1, (0, 0))
    assert (found.a, found.b) == ("a (1)", "a (2)")
    assert "equal" in repr(found)


def test_what_is_not_paired_is_refused() -> None:
    a = result("a", 1, 2, 3, dataset="d", reference_seed=0)
    cases = {
        "3 and 2 of them": result("b", 1, 2, dataset="d"),
        "their datasets differ": result("b", 1, 2, 3, dataset="e"),
        "their reference datasets differ": result("b", 1, 2, 3, dataset="d", references="r"),
    }
    for problem, b in cases.items():
        with pytest.raises(HypothesisError) as caught:
            compare(a, b)
        assert f"'a' and 'b' are not about the same references: {problem}" in str(caught.value)
        assert "hint: run both with the same dataset, n and seed (or reference_seed)" in str(caught.value)
    seeds = [experiment("group").run(5, seed=seed) for seed in (0, 1)]
    with pytest.raises(HypothesisError, match=r"other rows were drawn \(reference seeds 0 and 1\)"):
        compare(seeds[0], seeds[1])
    same = experiment("group").run(5, seed=1, reference_seed=0)
    assert compare(seeds[0], same).difference.n == 5


def test_unknown_choices() -> None:
    a, b = result("a", 1, 2), result("b", 1, 3)
    with pytest.raises(HypothesisError, match="'a' has no metric 'los'"):
        compare(a, b, metric="los")
    with pytest.raises(HypothesisError, match="better='less' is no choice"):
        compare(a, b, better="less")  # pyright: ignore[reportArgumentType]
    with pytest.raises(HypothesisError, match="there is no result 'aa'") as caught:
        pairing_factor({"a": a, "b": b}, "aa", original="a", baseline="b")
    assert "similar names: ['a']" in str(caught.value)


def test_a_true_difference_is_found_and_of_the_right_size() -> None:
    runs = {name: experiment(name).run(4000, seed=2) for name in ("group", "baseline")}
    found = compare(runs["group"], runs["baseline"])
    truth = expected("group", loss_table()) - expected("baseline", loss_table())
    assert found.interval(0.999)[0] < truth < found.interval(0.999)[1]
    assert found.p_value < 1e-20
    assert found.p_a_better < 1e-20
    large = compare(runs["group"], runs["baseline"], metric="large")
    truth = expected("group", (loss_table() > 1).double()) - expected("baseline", (loss_table() > 1).double())
    assert large.interval(0.999)[0] < truth < large.interval(0.999)[1]


def test_pairing_factor_of_an_experiment() -> None:
    """From variances and covariances of the three losses over many references, written out."""
    runs = {name: experiment(name).run(5000) for name in ("original", "baseline", "group")}
    found = pairing_factor(runs, "group", original="original", baseline="baseline")
    o, b, s = (runs[name].values["loss"].numpy() for name in runs)
    ratio = (b.mean() - s.mean()) / (b.mean() - o.mean())
    unpaired = s.var() + ratio**2 * o.var() + (1 - ratio) ** 2 * b.var()
    assert found == pytest.approx(unpaired / (-s + ratio * o + (1 - ratio) * b).var())
