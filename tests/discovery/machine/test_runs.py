"""Plain runs of a model taken apart: Hugging Face's logits, whatever is replaced and wherever a run starts."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import scrub as rc
from scrub.discovery.machine import as_machine, at_positions
from tests.discovery.machine.cases import FIRST, OF_TEXT, Case, case, marked
from tests.models.families.reference import hf_logits
from tests.models.families.tiny import Variant, variants

LEFT = torch.tensor([[1, 1, 1, 1, 1, 1], [0, 0, 1, 1, 1, 1], [0, 1, 1, 1, 1, 1]])
TAKES_POSITIONS = ("gpt2", "gpt_neo", "bert")


def theirs(of: Case, family: str, mask: Tensor) -> Tensor:
    """Hugging Face's logits, positions counted from the first token."""
    others: dict[str, Any] = {"attention_mask": mask}
    if family in TAKES_POSITIONS:
        others["position_ids"] = (mask.cumsum(-1) - 1).clamp(min=0)
    return hf_logits(of.theirs, of.tokens, **others)


@pytest.mark.parametrize("side", ["none", "left", "right"])
@pytest.mark.parametrize("variant", marked(OF_TEXT))
def test_logits_are_those_of_hugging_face(variant: Variant, side: str) -> None:
    if side == "left" and variant.family == "distilbert":
        pytest.skip("its forward takes no positions")
    of = case(variant)
    mask = {"none": torch.ones_like(LEFT), "left": LEFT, "right": LEFT.flip(1)}[side]
    given = of.machine.source.given(of.tokens, mask)
    found, shown = of.logits(of.run(given)), mask.bool()
    tolerance = 1e-9 if variant.is_exact else 1e-5
    torch.testing.assert_close(found[shown], theirs(of, variant.family, mask)[shown], rtol=tolerance, atol=tolerance)
    without_writes = of.machine.run(given)
    torch.testing.assert_close(of.logits(without_writes), found)
    assert not without_writes.writes


@pytest.mark.parametrize("variant", marked(FIRST))
def test_states_add_up_what_was_written(variant: Variant) -> None:
    """The last state is the sum of all that its writers wrote, and of what is nobody's."""
    of = case(variant)
    run = of.run(of.clean)
    (state,) = of.machine.readout.states
    names = of.machine.anatomy.writers_of(state)
    total = sum(run.writes[name].sum(1) + (0.0 if (rest := run.rests[name]) is None else rest) for name in names)
    constants = sum(of.machine.constants(run)[term] for term in of.machine.plans[state].constants)
    torch.testing.assert_close(of.machine.state(state, run), total + constants)


@pytest.mark.parametrize("variant", marked(FIRST))
def test_a_run_goes_on_from_a_part(variant: Variant) -> None:
    of = case(variant)
    clean, corrupted = of.run(of.clean), of.run(of.corrupted)
    start = of.machine.order[len(of.machine.order) // 2]
    again = of.machine.run(of.clean, start=start, base=clean)
    torch.testing.assert_close(of.logits(again), of.logits(clean))
    replaced = {start: corrupted.totals[start]}
    whole = of.machine.run(of.clean, replaced=replaced)
    torch.testing.assert_close(
        of.logits(of.machine.run(of.clean, replaced=replaced, start=start, base=clean)), of.logits(whole)
    )
    assert (of.logits(whole) - of.logits(clean)).abs().max() > 1e-4


def test_all_parts_replaced_is_the_other_run() -> None:
    of = case(next(variants("llama")))
    other = of.run(of.corrupted)
    run = of.machine.run(of.clean, replaced=other.totals)
    torch.testing.assert_close(of.logits(run), of.logits(other))


def test_embeddings_of_tokens_can_be_given() -> None:
    of = case(next(variants("gpt2")))
    half = (of.clean.embeds + of.corrupted.embeds) / 2
    found = of.logits(of.machine.run(of.machine.source.given(of.tokens, embeds=half)))
    weight = of.theirs.transformer.wte.weight
    wanted = of.theirs(inputs_embeds=(weight[of.tokens] + weight[of.corrupted_tokens]) / 2).logits
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("variant", marked(FIRST))
def test_logits_at_positions(variant: Variant) -> None:
    of = case(variant)
    run, positions = of.run(of.clean), torch.tensor([[5, 1], [3, 0], [4, -1]])
    found, whole = of.logits(run, positions), of.logits(run)
    assert of.machine.is_local
    for example, places in enumerate(positions.tolist()):
        for k, place in enumerate(places):
            if place >= 0:
                torch.testing.assert_close(found[example, k], whole[example, place])


def test_at_positions() -> None:
    value = torch.arange(24.0).reshape(2, 3, 4)
    assert at_positions(value, torch.tensor([[2], [0]])).tolist() == [[[8, 9, 10, 11]], [[12, 13, 14, 15]]]


def test_a_machine_of_a_model_or_of_a_machine() -> None:
    of = case(next(variants("gpt2")))
    assert as_machine(of.machine) is of.machine
    assert as_machine(of.model).graph.writers == of.machine.graph.writers


def test_a_wrong_part_inside_says_what_there_is() -> None:
    of = case(next(variants("gpt2")))
    functions = of.machine.functions(of.clean)["a0"]
    with pytest.raises(rc.ScrubError, match=r"there is no activation 'a\.atn_probs' in a0") as caught:
        functions.node("a.atn_probs")
    assert "did you mean 'a.attn_probs'" in str(caught.value)
