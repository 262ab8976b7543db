"""CPR and CMD: against integrals in closed form of piecewise linear faithfulness, and what a result says of itself."""

import math

import pytest
import torch

from scrub.discovery.statistics import MIB_SIZES, area_under, cmd, cpr
from scrub.graph import DiscoveryError, UndefinedRatioError

CLEAN = torch.tensor([4.0, 5.0, 6.0, 5.0], dtype=torch.float64)
CORRUPT = torch.tensor([0.0, 1.0, 1.0, 0.0], dtype=torch.float64)
SIZES = torch.tensor(MIB_SIZES, dtype=torch.float64)


def circuits(faithfulness: torch.Tensor) -> torch.Tensor:
    """Metrics [sizes, n] of circuits of that faithfulness on every example."""
    return CORRUPT + faithfulness[:, None] * (CLEAN - CORRUPT)


def options(**others):
    return {"clean": CLEAN, "corrupt": CORRUPT, **others}


def test_sizes_of_the_benchmark():
    assert [100 * size for size in MIB_SIZES] == pytest.approx([0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100])


@pytest.mark.parametrize(("slope", "start"), [(0.0, 1.0), (1.0, 0.0), (-2.0, 3.0), (0.5, 0.25)])
def test_cpr_of_a_line_is_its_integral(slope: float, start: float):
    """Of start + slope x from 0.001 to 1, on which trapezoids are exact."""
    area = cpr(circuits(start + slope * SIZES), selection="signed", **options())
    assert float(area) == pytest.approx(start * 0.999 + slope * (1 - 0.001**2) / 2)


@pytest.mark.parametrize("knot", [0.002, 0.1, 0.5])
def test_areas_of_a_rise_and_a_plateau(knot: float):
    """f rises from 0 at 0.001 to 1 at the knot, then is level: a triangle, and a rectangle."""
    f = ((SIZES - 0.001) / (knot - 0.001)).clamp_max(1)
    triangle = (knot - 0.001) / 2
    assert float(cpr(circuits(f), selection="signed", **options())) == pytest.approx(triangle + 1 - knot)
    assert float(cmd(circuits(f), selection="absolute", **options())) == pytest.approx(triangle)


def test_cmd_counts_both_sides_of_1_and_cpr_adds_them():
    """Overshooting at some sizes is a distance too: CMD is not 0.999 - CPR, except below 1."""
    over, under = torch.full((10,), 1.25).double(), torch.full((10,), 0.75).double()
    found = {f: float(cmd(circuits(f), selection="absolute", **options())) for f in (over, under)}
    assert list(found.values()) == pytest.approx([0.25 * 0.999] * 2)
    assert float(cpr(circuits(over), selection="signed", **options())) == pytest.approx(1.25 * 0.999)


def test_cmd_between_sizes_is_a_trapezoid_of_the_distance():
    """From 0.5 to 1.5 the published area takes the mean of both distances, though the line crosses 1."""
    area = cmd(circuits(torch.tensor([0.5, 1.5])), selection="absolute", sizes=[0.0, 1.0], **options())
    assert float(area) == pytest.approx(0.5)


def test_axis_is_linear():
    """Only the last size counts for a quarter of the axis: half the width of its one interval."""
    f = torch.zeros(10).double()
    f[-1] = 1
    assert float(cpr(circuits(f), selection="signed", **options())) == pytest.approx(0.25)


def test_area_under_any_leading_axes():
    values = torch.tensor([[[0.0, 1.0, 1.0]], [[2.0, 2.0, 2.0]]])
    torch.testing.assert_close(area_under(values, [0.0, 0.5, 2.0]), torch.tensor([[1.75], [4.0]]))


def test_interval_is_of_the_area():
    """Faithfulness differs by example only: the area of line by example, so the interval of their weighted mean."""
    noise = torch.randn(10, 60, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    clean, corrupt = torch.ones(60), torch.zeros(60)
    runs = SIZES[:, None] + 0.3 * noise
    area = cpr(runs, clean=clean, corrupt=corrupt, selection="signed")
    by_example = area_under(runs.T, MIB_SIZES)  # the gap is 1 on every example, so the area is a mean of these
    assert float(area) == pytest.approx(float(by_example.mean()))
    assert area.estimate is not None
    assert float(area.estimate.stderr) == pytest.approx(float(by_example.std() / math.sqrt(60)), rel=0.06)
    low, high = area.interval(0.9)
    assert low < float(area) < high


def test_a_result_names_its_selection():
    runs = circuits(SIZES)
    assert "circuits by signed score" in repr(cpr(runs, selection="signed", **options()))
    assert "circuits by absolute score" in repr(cpr(runs, selection="absolute", **options()))


@pytest.mark.parametrize(("function", "standard", "other"), [(cpr, "signed", "absolute"), (cmd, "absolute", "signed")])
def test_whether_it_is_the_benchmarks(function, standard: str, other: str):
    runs = circuits(SIZES)
    assert function(runs, selection=standard, **options()).is_standard
    others = [
        function(runs, selection=other, **options()),
        function(runs, selection=standard, **options(convention="mean of ratios")),
        function(runs[1:], selection=standard, sizes=MIB_SIZES[1:], **options()),
    ]
    for area in others:
        assert not area.is_standard
        assert "not the benchmark's definition" in repr(area)


def test_undefined_faithfulness():
    with pytest.raises(UndefinedRatioError):
        cpr(circuits(SIZES), selection="signed", clean=CLEAN, corrupt=CLEAN)
    area = cpr(circuits(SIZES), selection="signed", clean=CLEAN, corrupt=CLEAN, undefined="nan")
    assert math.isnan(float(area))
    assert all(math.isnan(end) for end in area.interval())
    assert repr(area).startswith("CPR is undefined: clean and corrupted metric differ by 0")


def test_selection_has_to_be_known():
    with pytest.raises(DiscoveryError, match=r"'size' score\nhint: .* takes 'absolute'") as error:
        cmd(circuits(SIZES), selection="size", **options())  # type: ignore[arg-type]
    assert error.value.expected == ("signed", "absolute")


@pytest.mark.parametrize(
    ("rows", "sizes"), [(9, MIB_SIZES), (2, [0.5, 0.1]), (2, [0.5, 0.5]), (1, [1.0]), (0, []), (3, [0.1, 1.0])]
)
def test_sizes_that_do_not_fit(rows: int, sizes):
    with pytest.raises(DiscoveryError, match=rf"CPR of circuits \({rows}, 4\)(.|\n)*sizes ascending"):
        cpr(torch.zeros(rows, 4), selection="signed", sizes=sizes, **options())
