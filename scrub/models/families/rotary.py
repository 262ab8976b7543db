"""Rotary tables of Hugging Face configs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scrub.models.architecture import RotaryTable
from scrub.models.families.config_reader import ConfigReader
from scrub.models.tables import frequencies_of


def rotary(
    config: ConfigReader, name: str, width: int, *, layer_type: str | None = None, is_interleaved: bool = False
) -> RotaryTable:
    """The table of `config.rope_parameters`.

    Args:
        config: of the model.
        name: of the table.
        width: how many features of a head are rotated; an odd number is rounded up.
        layer_type: for which type of layer, where they differ by type.
        is_interleaved: whether pairs are neighbours.

    Raises:
        CheckpointError: a kind of table that `transformers` does not know, or parameters that do not fit it.

    >>> import types
    >>> config = types.SimpleNamespace(rope_parameters={"rope_theta": 10000.0}, max_position_embeddings=32)
    >>> rotary(ConfigReader(config), "rope", 4).frequencies(32)
    (tensor([1.0000, 0.0100]), 1.0)
    """
    parameters: Mapping[str, Any] = config.rope_parameters
    try:
        if layer_type is not None:
            parameters = parameters[layer_type]
        frequencies = frequencies_of(config.config, parameters, width, layer_type=layer_type)
        n_angles = {frequencies(length)[0].numel() for length in (1, config.max_position_embeddings)}
    except (ArithmeticError, AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
        config.refuse("rope_parameters", expected=f"what its rope_type needs ({error})")
    if n_angles != {(width + 1) // 2}:
        config.refuse("rope_parameters", expected=f"angles for {width} features of a head, not {n_angles}")
    return RotaryTable(name, 2 * ((width + 1) // 2), frequencies, is_interleaved)
