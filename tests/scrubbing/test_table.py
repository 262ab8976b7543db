"""Tables of results, as text and as frames."""

from __future__ import annotations

import importlib
import math

import pytest
import torch

import scrub as rc
from scrub.hypothesis.lockstep import run_all
from scrub.hypothesis.result import Result
from scrub.hypothesis.results import Results
from scrub.hypothesis.statistics.table import Table, reference_frame
from tests.scrubbing.noisy_copy import SAMPLERS, expected, experiment, loss_table

ENDS = {"original": "original", "baseline": "baseline"}


@pytest.fixture(scope="module")
def results() -> Results:
    return run_all([experiment(name) for name in SAMPLERS], 2000)


def result(name: str, *values: float, metric: str = "loss") -> Result:
    return Result(
        name, {metric: torch.tensor(values, dtype=torch.float64)}, torch.arange(len(values)), None, {"seed": 0}
    )


def test_a_table_in_full() -> None:
    table = Results(
        [result("original", 0, 0.5, 0.25), result("a longer name", 2, 2.5, 2.25), result("b", 1, 1.5, 1.25)]
    ).table(original="original", baseline="a longer name")
    assert str(table) == (
        "hypothesis            loss  loss recovered  n\n"
        "-------------  -----------  --------------  -\n"
        "original       0.25 ± 0.62      100.0% ± 0  3\n"
        "a longer name  2.25 ± 0.62        0.0% ± 0  3\n"
        "b              1.25 ± 0.62       50.0% ± 0  3"
    )


def test_cells_are_the_numbers(results: Results) -> None:
    lines = str(results.table(**ENDS, level=0.9)).splitlines()
    assert lines[0].split("  ")[0] == "hypothesis"
    found = results.loss_recovered("group", **ENDS)
    line = next(line for line in lines if line.startswith("group"))
    assert f"{100 * float(found):.1f}% ± {100 * float(found.half_width(0.9)):.2g}" in line
    assert results["group"].shown("loss", level=0.9) in line
    assert results["group"].shown("large", level=0.9) in line
    assert line.endswith("2000")
    assert {len(line) for line in lines} == {len(lines[0])}


def test_without_ends_there_is_no_loss_recovered(results: Results) -> None:
    assert "recovered" not in repr(results)
    assert repr(results) == str(results.table())
    assert repr(Results([])) == "no results"
    with pytest.raises(rc.HypothesisError, match="one of them was not given"):
        results.table(original="original")
    with pytest.raises(rc.HypothesisError, match="there is no result 'basline'") as caught:
        results.table(original="original", baseline="basline")
    assert "similar names: ['baseline']" in str(caught.value)


def test_undefined_is_said() -> None:
    """The gap between original and baseline is chance."""
    found = Results([result("o", 0, 1, 2, 0), result("b", 1, 0, 2, 0.1), result("h", 1, 1, 1, 1)])
    assert str(found.table(original="o", baseline="b")).count("undefined") == 3
    frame = found.to_pandas(original="o", baseline="b")
    assert frame["loss recovered"].isna().all()
    with pytest.raises(rc.UndefinedRatioError):
        found.loss_recovered("h", original="o", baseline="b")


def test_metrics_that_not_all_have() -> None:
    text = str(Results([result("a", 1, 2), result("b", 3, 4, metric="other")]).table())
    assert text.splitlines()[0].split() == ["hypothesis", "loss", "other", "n"]
    frame = Results([result("a", 1, 2), result("b", 3, 4, metric="other")]).to_pandas()
    assert math.isnan(frame.loc["a", "other"])
    assert frame.loc["b", "other"] == 3.5


def test_loss_recovered_is_near_the_exact_one(results: Results) -> None:
    exact = {name: expected(name, loss_table()) for name in SAMPLERS}
    ratio = (exact["baseline"] - exact["group"]) / (exact["baseline"] - exact["original"])
    found = results.loss_recovered("group", **ENDS)
    assert abs(float(found) - ratio) < 4 * float(found.stderr)
    estimates = results.estimates()
    plain = rc.loss_recovered(estimates["group"], original=estimates["original"], baseline=estimates["baseline"])
    assert (float(plain), float(plain.stderr)) == pytest.approx((float(found), float(found.stderr)))
    assert results.pairing_factor("group", **ENDS) > 1


def test_results_of_other_references_are_not_mixed() -> None:
    mixed = Results([experiment("original").run(50), experiment("baseline").run(50), experiment("group").run(60)])
    assert "60" in str(mixed.table())  # a table of each is fine
    with pytest.raises(rc.HypothesisError, match="not about the same references: 60 and 50 of them"):
        mixed.table(**ENDS)
    with pytest.raises(rc.HypothesisError, match="several results are named 'group'"):
        Results([experiment("group").run(5), experiment("group").run(5)])


def test_a_mapping_with_names_of_its_own(results: Results) -> None:
    renamed = Results({"mine": results["group"], "other": results["baseline"]})
    assert (len(renamed), list(renamed), "mine" in renamed, "group" in renamed) == (2, ["mine", "other"], True, False)
    found = renamed.compare("mine", "other")
    assert (found.a, found.b) == ("mine", "other")
    assert "mine is better" in repr(found)
    with pytest.raises(rc.HypothesisError, match="there is no result 'min'"):
        renamed["min"]


def test_a_frame_of_results(results: Results) -> None:
    frame = results.to_pandas(**ENDS)
    assert list(frame.index) == list(SAMPLERS)
    row = frame.loc["group"]
    assert row["loss"] == float(results["group"].estimate("loss"))
    assert row["loss stderr"] == float(results["group"].estimate("loss").stderr)
    assert (row["large low"], row["large high"]) == results["group"].interval("large")
    found = results.loss_recovered("group", **ENDS)
    assert (row["loss recovered"], row["loss recovered stderr"]) == (float(found), float(found.stderr))
    assert row["loss recovered high"] == float(found.interval()[1])
    assert (row["n"], row["seed"]) == (2000, 0)


def test_a_frame_of_references() -> None:
    found = experiment("group").run(30, keep_draws=True)
    frame = reference_frame(found)
    assert list(frame.columns) == ["reference", "loss", "large", "draw reference", "draw copy"]
    assert frame["loss"].tolist() == found.values["loss"].tolist()
    assert frame["reference"].tolist() == found.references.tolist()
    assert frame.equals(found.to_pandas())


def test_pandas_is_only_needed_for_frames(results: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str, *_: object) -> object:
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(rc.ScrubError, match="pandas is not installed") as caught:
        results.to_pandas()
    assert "hint: pip install pandas" in str(caught.value)
    assert str(results.table(**ENDS))


def test_a_table_of_nothing() -> None:
    assert str(Table(("a", "b"), [])) == "a  b\n-  -"
