"""The small trained models that ship with the package."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file  # pyright: ignore[reportUnknownVariableType]

from scrub.graph import CheckpointError
from scrub.models.loaded import LoadedModel
from scrub.models.transformer_lens import from_transformer_lens

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_FOLDER = Path(__file__).parent
_SIZES = ("n_layers", "n_heads", "d_model", "d_head", "d_vocab", "n_ctx")


@dataclass(frozen=True)
class ShippedModel(LoadedModel):
    """A trained model with its tokenizer.

    Attributes:
        name: of its folder.
        info: everything that the training script recorded: seed, corpus digests, scores, candidates.
        state_dict: its weights in TransformerLens' layout, which `weights` shares.
    """

    name: str = ""
    info: dict[str, Any] = field(default_factory=dict[str, Any], repr=False)
    state_dict: dict[str, torch.Tensor] = field(default_factory=dict[str, torch.Tensor], repr=False)

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """Its byte-pair tokenizer, from the `tokenizers` library."""
        from tokenizers import Tokenizer

        return Tokenizer.from_file(str(_FOLDER / self.name / "tokenizer.json"))

    @property
    def induction_candidates(self) -> torch.Tensor:
        """bool [d_vocab]: tokens after which induction is likely, by the rule recorded in `info`."""
        chosen = torch.zeros(self.architecture.d_vocab, dtype=torch.bool)
        chosen[torch.tensor(self.info["induction_candidates"])] = True
        return chosen


def load_shipped(name: str, *, dtype: torch.dtype = torch.float32) -> ShippedModel:
    """A model that ships with the package, its half-precision weights converted to `dtype`.

    >>> load_shipped("attn_only_2l").architecture.n_layers
    2
    """
    folder = _FOLDER / name
    if not (folder / "config.json").is_file():
        known = sorted(path.parent.name for path in _FOLDER.glob("*/config.json"))
        raise CheckpointError(f"no model named {name!r} ships with scrub", expected=known, found=name)
    info = json.loads((folder / "config.json").read_text())
    config = {field: info[field] for field in _SIZES} | {
        "eps": info["norm_eps"],
        "normalization_type": info["normalization"].upper(),
        "positional_embedding_type": info["positions"],
        "attn_only": True,
    }
    weights = {key: value.to(dtype) for key, value in load_file(folder / "model.safetensors").items()}
    loaded = from_transformer_lens(weights, config)
    given = {f.name: getattr(loaded, f.name) for f in dataclasses.fields(loaded)}
    return ShippedModel(**given, name=name, info=info, state_dict=weights)
