"""The small trained models that ship with the package."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file  # pyright: ignore[reportUnknownVariableType]

from scrub.graph import CheckpointError, Expr
from scrub.models.config import TransformerConfig
from scrub.models.lower import lower_transformer

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class ShippedModel:
    """A trained model with its tokenizer.

    Attributes:
        name: of its folder.
        config: sizes and options.
        weights: in TransformerLens' layout.
        info: everything that the training script recorded: seed, corpus digests, scores, candidates.
    """

    name: str
    config: TransformerConfig
    weights: dict[str, torch.Tensor]
    info: dict[str, Any]

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """Its byte-pair tokenizer, from the `tokenizers` library."""
        from tokenizers import Tokenizer

        return Tokenizer.from_file(str(_FOLDER / self.name / "tokenizer.json"))

    def lower(self, *, seq_len: int | None = None) -> dict[str, Expr]:
        """The model as expressions; see `lower_transformer`."""
        return lower_transformer(self.weights, self.config, seq_len=seq_len)

    @property
    def induction_candidates(self) -> torch.Tensor:
        """bool [d_vocab]: tokens after which induction is likely, by the rule recorded in `info`."""
        chosen = torch.zeros(self.config.d_vocab, dtype=torch.bool)
        chosen[torch.tensor(self.info["induction_candidates"])] = True
        return chosen


def load_shipped(name: str, *, dtype: torch.dtype = torch.float32) -> ShippedModel:
    """A model that ships with the package, its half-precision weights converted to `dtype`.

    >>> load_shipped("attn_only_2l").config.n_layers
    2
    """
    folder = _FOLDER / name
    if not (folder / "config.json").is_file():
        known = sorted(path.parent.name for path in _FOLDER.glob("*/config.json"))
        raise CheckpointError(f"no model named {name!r} ships with scrub", expected=known, found=name)
    info = json.loads((folder / "config.json").read_text())
    config = TransformerConfig.from_dict(
        {field.name: info[field.name] for field in dataclasses.fields(TransformerConfig)}
    )
    weights = {key: value.to(dtype) for key, value in load_file(folder / "model.safetensors").items()}
    return ShippedModel(name, config, weights, info)
