"""What models are called with: batches of one and five, padding on either side, given positions, all positions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch

from tests.models.families.tiny import Variant

QUICK = ("five-left-positions", "longest")
EVERY = ("one", "five", "five-left", "five-right", "five-left-positions", "gapped-positions", "holes", "longest")
PIXELS = ("one", "five")
NO_POSITIONS = ("bloom",)  # its forward takes no position_ids


@dataclass(frozen=True)
class Inputs:
    """Arguments of a call: `first` tokens or pixels, `others` by name, and where logits are compared."""

    first: torch.Tensor
    others: dict[str, torch.Tensor]

    def kept(self, logits: torch.Tensor) -> torch.Tensor:
        """Those at positions that the mask keeps: what a model says at padding is nobody's business."""
        mask = self.others.get("attention_mask")
        return logits if mask is None else logits[mask.bool()]


def names(family: str, *, every: bool) -> Iterable[str]:
    """Cases that a family can be called with."""
    if family == "vit":
        return PIXELS
    chosen = EVERY if every else QUICK
    return [name for name in chosen if not (family in NO_POSITIONS and name == "gapped-positions")]


def longest(config: Any) -> int:
    """The number of positions, or some for a family that has no limit."""
    return getattr(config, "max_position_embeddings", 12)


def inputs(variant: Variant, case: str, *, dtype: torch.dtype = torch.float32, seed: int = 0) -> Inputs:
    """The arguments of one case, drawn from `seed`."""
    config = variant.config()
    generator = torch.Generator().manual_seed(seed)
    batch = 1 if case in ("one", "longest") else 5
    if variant.family == "vit":
        return Inputs(_pixels(config, batch, generator).to(dtype), {})
    seq_len = longest(config) if case == "longest" else 7
    tokens = torch.randint(config.vocab_size, (batch, seq_len), generator=generator)
    others: dict[str, torch.Tensor] = {}
    if case in _MASKS:
        others["attention_mask"] = torch.tensor(_MASKS[case])
    if case == "five-left-positions" and variant.family not in NO_POSITIONS:
        others["position_ids"] = (others["attention_mask"].cumsum(-1) - 1).clamp(min=0)
    if case == "gapped-positions":
        drawn = [torch.randperm(longest(config), generator=generator)[:seq_len].sort().values for _ in range(batch)]
        others["position_ids"] = torch.stack(drawn)
        others["attention_mask"] = torch.ones_like(tokens)
    if variant.family == "bert":
        others["token_type_ids"] = torch.randint(config.type_vocab_size, tokens.shape, generator=generator)
    return Inputs(tokens, others)


def flip_inputs(variant: Variant, *, dtype: torch.dtype) -> Inputs:
    """Two sequences as long as any limit that a flip may set allows, the first one padded on the left."""
    config = variant.config()
    generator = torch.Generator().manual_seed(1)
    if variant.family == "vit":
        return Inputs(_pixels(config, 2, generator).to(dtype), {})
    seq_len = min(10, longest(config))
    tokens = torch.randint(min(config.vocab_size, 11), (2, seq_len), generator=generator)
    mask = torch.ones_like(tokens)
    mask[0, : seq_len // 3] = 0
    others = {"attention_mask": mask}
    if variant.family not in NO_POSITIONS:
        others["position_ids"] = (mask.cumsum(-1) - 1).clamp(min=0)
    if variant.family == "bert":
        others["token_type_ids"] = torch.randint(config.type_vocab_size, tokens.shape, generator=generator)
    return Inputs(tokens, others)


def _pixels(config: Any, batch: int, generator: torch.Generator) -> torch.Tensor:
    size = config.image_size
    height, width = size if isinstance(size, (tuple, list)) else (size, size)
    return torch.randn(batch, config.num_channels, height, width, generator=generator)


_LEFT = [[0] * n + [1] * (7 - n) for n in (0, 1, 3, 5, 6)]
_MASKS = {
    "five-left": _LEFT,
    "five-left-positions": _LEFT,
    "five-right": [row[::-1] for row in _LEFT],
    "holes": [[1, 0, 1, 1, 0, 0, 1], [1] * 7, [1, 0, 0, 0, 0, 0, 1], [0, 1, 0, 1, 0, 1, 0], [0, 1, 1, 1, 1, 1, 0]],
}
