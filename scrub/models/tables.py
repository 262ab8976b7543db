"""Tables that depend on positions alone: angles of rotary positions, slopes of ALiBi, sinusoids.

Angles, cosines and sines are computed in the precision of the frequencies and then cast: in single precision, as
Hugging Face's models are trained and run.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from typing import Any

import torch

from scrub.graph import CheckpointError
from scrub.models.architecture import RotaryTable


def cos_and_sin(
    rotary: RotaryTable, positions: torch.Tensor, *, seq_len: int, d_head: int, dtype: torch.dtype
) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosine and sine of the angles at positions [...], each [..., d_head].

    The sign of the rotation is in the sine: it is negative in the first of each pair. Features that are not rotated
    have cosine 1 and sine 0.

    Source: Su et al. 2021, "RoFormer".
    """
    frequencies, factor = rotary.frequencies(seq_len)
    angles = positions[..., None].to(frequencies.dtype) * frequencies.to(positions.device)
    cos, sin = (angles.cos() * factor).to(dtype), (angles.sin() * factor).to(dtype)
    if rotary.is_interleaved:
        cos, sin = cos.repeat_interleave(2, dim=-1), torch.stack([-sin, sin], dim=-1).flatten(-2)
    else:
        cos, sin = torch.cat([cos, cos], dim=-1), torch.cat([-sin, sin], dim=-1)
    rest = (*cos.shape[:-1], d_head - rotary.width)
    return torch.cat([cos, cos.new_ones(rest)], dim=-1), torch.cat([sin, sin.new_zeros(rest)], dim=-1)


def plain_frequencies(theta: float, width: int) -> Callable[[int], tuple[torch.Tensor, float]]:
    """theta^(-2 i / width) for pairs i, at any length of sequences.

    >>> plain_frequencies(10000.0, 4)(128)
    (tensor([1.0000, 0.0100]), 1.0)
    """
    exponents = torch.arange(0, width, 2, dtype=torch.float32) / width
    return lambda _seq_len: (1.0 / (theta**exponents), 1.0)


def frequencies_of(
    config: Any, parameters: Mapping[str, Any], width: int, *, layer_type: str | None = None
) -> Callable[[int], tuple[torch.Tensor, float]]:
    """Frequencies for a Hugging Face config with these rope parameters, which may stretch the context.

    The formulas of the ways of stretching (linear, dynamic, yarn, longrope, llama3) are those of `transformers`.

    Args:
        config: of the model.
        parameters: its rope parameters, those of this type of layer where they differ by type.
        width: how many features of a head are rotated; the ways of stretching work it out by themselves.
        layer_type: the type, if they do.

    Raises:
        CheckpointError: `transformers` does not know this way.
    """
    kind = str(parameters.get("rope_type", "default"))
    if kind == "default":
        return plain_frequencies(float(parameters["rope_theta"]), width)
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    if kind not in ROPE_INIT_FUNCTIONS:
        known = ["default", *ROPE_INIT_FUNCTIONS]
        raise CheckpointError(
            f"config field 'rope_type' is {kind!r}, which is not supported", expected=known, found=kind
        )
    make: Callable[..., tuple[torch.Tensor, float]] = ROPE_INIT_FUNCTIONS[kind]
    config = copy.deepcopy(config)
    return lambda seq_len: make(config, None, seq_len=seq_len, layer_type=layer_type)


def alibi_slopes(n_heads: int) -> tuple[float, ...]:
    """Slopes of ALiBi: a geometric series, 2^(-8 i / n) for powers of two, filled up in between for other numbers.

    Source: Press et al. 2022, "Train Short, Test Long".

    >>> alibi_slopes(4)
    (0.25, 0.0625, 0.015625, 0.00390625)
    """
    power = 2 ** math.floor(math.log2(n_heads))
    base = 2.0 ** (-8.0 / power)
    slopes = [base**i for i in range(1, power + 1)]
    if power < n_heads:
        between = 2.0 ** (-4.0 / power)
        slopes += [between**i for i in range(1, 2 * (n_heads - power), 2)]
    return tuple(slopes)
