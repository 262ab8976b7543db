"""Methods that the notebooks of the field use."""

from __future__ import annotations

import pytest
import torch

import scrub as rc


def test_casts_return_the_node_itself_or_say_what_it_is() -> None:
    dice = rc.DiscreteVar(rc.Array(torch.arange(1.0, 7.0), "faces"), name="dice")
    probs = dice.probs_and_group.cast_tag().node
    assert probs.evaluate().tolist() == pytest.approx([1 / 6] * 6)
    assert dice.values.cast_array().value.tolist() == [1, 2, 3, 4, 5, 6]
    with pytest.raises(rc.ConstructionError, match="expected a Module, found a DiscreteVar"):
        dice.cast_module()
