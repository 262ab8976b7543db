"""The discovery demo on few prompts: what it shows is what was computed, and the two ways to run the circuit agree."""

from __future__ import annotations

import pytest
import torch
from typer.testing import CliRunner

from scrub.cli import app
from scrub.demo.discovery import METHODS, DiscoveryResult, run_discovery
from scrub.demo.discovery_report import circuit_rows, discovery_html, method_rows
from scrub.discovery.evaluation import evaluate


@pytest.fixture(scope="module")
def result() -> DiscoveryResult:
    return run_discovery(n=16, seed=1)


def test_halves_share_no_prompt(result: DiscoveryResult) -> None:
    assert len(result.searched) == len(result.held_out) == 8
    assert not set(result.searched.prompts) & set(result.held_out.prompts)


def test_the_circuit_is_chosen_where_it_is_not_evaluated(result: DiscoveryResult) -> None:
    assert result.circuit.n_edges < result.machine.graph.n_edges
    found = evaluate(result.circuit, result.machine, result.searched).faithfulness().value
    assert float(found[0]) >= 0.85


def test_causal_scrubbing_gives_what_evaluating_gives(result: DiscoveryResult) -> None:
    torch.testing.assert_close(result.scrubbed.double(), result.evaluation.values[0], atol=1e-4, rtol=0)


def test_integrated_gradients_are_closer_to_exact_effects(result: DiscoveryResult) -> None:
    assert result.found["exact"].correlation == pytest.approx(1)
    assert result.found["EAP"].correlation < result.found["EAP-IG-inputs"].correlation


def test_the_page_holds_everything(result: DiscoveryResult) -> None:
    html = discovery_html(result)
    assert [row[0] for row in method_rows(result)] == list(METHODS)
    for cells in (*method_rows(result), *circuit_rows(result)):
        for cell in cells:
            assert cell in html
    assert html.count("<svg") == 3


def test_the_command_is_there() -> None:
    shown = CliRunner().invoke(app, ["discover", "--help"])
    assert shown.exit_code == 0
    assert "prompts" in shown.output
