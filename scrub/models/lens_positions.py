"""Rotary and ALiBi positions as TransformerLens' `HookedTransformer` computes them."""

from __future__ import annotations

import math
from types import SimpleNamespace

import torch

from scrub.models.architecture import RotaryTable


def rotary_tables(c: SimpleNamespace, dtype: torch.dtype) -> dict[str, RotaryTable]:
    """The tables of layers of type "global" and "local"; one and the same if they rotate alike.

    Args:
        c: the fields of the config.
        dtype: of the weights: angles are computed in double precision for these only.
    """
    high = torch.float64 if dtype == torch.float64 else torch.float32
    own = c.rotary_base_local is not None or c.rotary_scaling_factor != 1.0
    own = own or (c.use_yarn_rope and c.yarn_global_attn_only)
    shared = _table(c, "rope", "global", high)
    return {"global": shared, "local": _table(c, "rope_local", "local", high) if own else shared}


def alibi_multipliers(n_heads: int) -> tuple[float, ...]:
    """2^(-8 (h + 1) / n) for head h, for any number n of heads, in single precision.

    >>> alibi_multipliers(4)
    (0.25, 0.0625, 0.015625, 0.00390625)
    """
    start = 2 ** (-8 / n_heads)
    return tuple(float(m) for m in start * start ** torch.arange(n_heads))


def _table(c: SimpleNamespace, name: str, attn_type: str, high: torch.dtype) -> RotaryTable:
    base, width = c.rotary_base, c.rotary_dim
    if attn_type == "local" and c.rotary_base_local is not None:
        base = c.rotary_base_local
    factor = 1.0
    if c.use_NTK_by_parts_rope:
        frequencies = 1.0 / _by_parts(c, base).to(high)
    elif c.use_yarn_rope and not (c.yarn_global_attn_only and attn_type == "local"):
        frequencies, factor = _yarn(c, base, high), float(c.yarn_attention_factor)
    else:
        scaling = c.rotary_scaling_factor if attn_type == "global" else 1.0
        frequencies = 1.0 / (scaling * base ** (torch.arange(width // 2, dtype=high) / (width / 2)))
    return RotaryTable(name, width, lambda _seq_len: (frequencies, factor), c.rotary_adjacent_pairs)


def _plain(base: float, width: int, dtype: torch.dtype) -> torch.Tensor:
    return 1.0 / base ** (torch.arange(0, width, 2, dtype=dtype) / width)


def _by_parts(c: SimpleNamespace, base: float) -> torch.Tensor:
    """Positions to a radian: slow features are slowed further, fast ones left alone, others between (Llama 3.1).

    In single precision always. Source: Peng et al. 2023, "YaRN", section 3.2.
    """
    plain = _plain(base, c.rotary_dim, torch.float32)
    low, high, length = c.NTK_by_parts_low_freq_factor, c.NTK_by_parts_high_freq_factor, c.NTK_original_ctx_len
    wavelength = 2 * math.pi / plain
    mixed = (length / wavelength - low) / (high - low)
    between = (1 - mixed) * plain / c.NTK_by_parts_factor + mixed * plain
    slowed = torch.where(wavelength > length / low, plain / c.NTK_by_parts_factor, between)
    return 1.0 / torch.where(wavelength < length / high, plain, slowed)


def _yarn(c: SimpleNamespace, base: float, dtype: torch.dtype) -> torch.Tensor:
    """Features that turn less often than `yarn_beta_slow` times are slowed down, with a ramp up to `yarn_beta_fast`.

    Source: Peng et al. 2023, "YaRN".
    """
    width, length = c.rotary_dim, c.yarn_original_max_position_embeddings

    def feature_of(turns: float) -> float:
        return width * math.log(length / (turns * 2 * math.pi)) / (2 * math.log(base))

    low, high = feature_of(c.yarn_beta_fast), feature_of(c.yarn_beta_slow)
    if c.yarn_truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, width - 1)
    span = high - low if high != low else 0.001
    ramp = ((torch.arange(width // 2, dtype=dtype) - low) / span).clamp(0, 1)
    plain = _plain(base, width, dtype)
    return plain / c.yarn_factor * ramp + plain * (1 - ramp)
