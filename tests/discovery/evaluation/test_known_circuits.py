"""Methods against circuits that are known, and removed heads against what others measured."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import scrub as rc
from scrub.discovery.machine import machine_of
from zoo.known_circuits import COMPILED, METHODS, Found, exact_effects, study, tasks_of
from zoo.known_heads import KNOWN, head_effects
from zoo.known_models import DATA, load_compiled, load_trained

needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="the models in shared/data are not on this machine")


def _check(found: list[Found]) -> None:
    """1 wherever something matters; and there is something unless the length is all that the program computes."""
    scored = [each for each in found if each.area == each.area]
    assert [each for each in scored if each.decided != 1] == []
    assert {each.method for each in scored if each.ablation == "zero"} == set(METHODS) - {"clean-corrupted"}
    assert [each.area == each.area for each in found if each.method == "exact"] == [
        each.n_true > 0 for each in found if each.method == "exact"
    ]


@needs_data
def test_every_method_finds_the_circuit_of_a_histogram() -> None:
    found = study("hist")
    _check(found)
    assert {(each.ablation, each.n_true) for each in found} == {("zero", 6), ("mean", 4), ("resample", 4)}
    assert {each.area for each in found if each.method == "clean-corrupted" and each.ablation == "resample"} == {1.0}


@needs_data
@pytest.mark.slow
@pytest.mark.parametrize("program", [name for name in COMPILED if name != "hist"])
def test_every_method_finds_the_circuit(program: str) -> None:
    _check(study(program))


@needs_data
@pytest.mark.slow
def test_first_order_scores_miss_saturated_steps_without_rounding() -> None:
    """In double precision slopes that cancel do so exactly, and EAP gives edges that matter a score of 0."""
    found = study("sort", methods=("EAP", "EAP-IG-inputs"), dtype=torch.float64)
    assert all(each.decided < 0.8 for each in found if each.method == "EAP")
    assert all(each.decided == 1 for each in found if each.method == "EAP-IG-inputs")


@needs_data
def test_exact_effects_are_those_that_were_measured() -> None:
    """Edges whose removal changes an answer's logit by some amount: the edges with an effect in the file, no others."""
    compiled = load_compiled("hist")
    machine = machine_of(compiled.model, split_input=True)
    tasks = tasks_of(compiled.model, compiled.inputs)
    largest = torch.stack([exact_effects(machine, task, "zero") for task in tasks]).amax(0)
    assert torch.equal(largest > 1e-5, compiled.truth(machine.graph, "zero"))


@needs_data
def test_edges_below_the_tolerance() -> None:
    compiled = load_compiled("reverse")
    graph = machine_of(compiled.model, split_input=True).graph
    found = compiled.below_tolerance(graph, "zero")
    assert [str(edge) for edge in graph.edges() if found[graph.index(edge)]] == [
        "input.tokens->a3.h0.q",
        "input.tokens->a3.h0.k",
    ]
    assert not bool((found & compiled.truth(graph, "zero")).any())


@needs_data
@pytest.mark.parametrize(("name", "within"), [("palindrome_july23", 0.2), ("sorted_list_oct23", 0.15)])
def test_removed_heads(name: str, within: float) -> None:
    exact, _ = head_effects(name, 500)
    assert exact == pytest.approx(KNOWN[name], abs=within)


def test_a_folder_without_the_models_says_so(tmp_path: Path) -> None:
    with pytest.raises(rc.FileError, match="there is no compiled program 'hist'"):
        load_compiled("hist", tmp_path)
    with pytest.raises(rc.FileError, match="there is no trained model 'x'"):
        load_trained("x", tmp_path)
