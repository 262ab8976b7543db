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
from scrub.models.architecture import Architecture
from scrub.models.loaded import LoadedModel
from scrub.models.transformer_lens import from_transformer_lens

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_FOLDER = Path(__file__).parent
_SIZES = ("n_layers", "n_heads", "d_model", "d_head", "d_vocab", "n_ctx")
"""Without a "transformer_lens" of its own, a config is of an attention-only model of these sizes."""


@dataclass(frozen=True)
class ShippedModel(LoadedModel):
    """A trained model, with its tokenizer if it is one of text.

    Attributes:
        name: of its folder.
        info: everything that the training script recorded: seed, data, scores, which heads do what.
        state_dict: its weights in TransformerLens' layout, which `weights` shares.
    """

    name: str = ""
    info: dict[str, Any] = field(default_factory=dict[str, Any], repr=False)
    state_dict: dict[str, torch.Tensor] = field(default_factory=dict[str, torch.Tensor], repr=False)

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """Its byte-pair tokenizer, from the `tokenizers` library.

        Raises:
            CheckpointError: it is no model of text.
        """
        from tokenizers import Tokenizer

        path = _FOLDER / self.info.get("tokenizer", self.name) / "tokenizer.json"
        if not path.is_file():
            raise CheckpointError(
                f"{self.name!r} has no tokenizer: its tokens are {self.info.get('vocabulary')}",
                expected="tokenizer.json",
                found=sorted(file.name for file in path.parent.iterdir()),
                hint="its tokens come from scrub.tasks",
            )
        return Tokenizer.from_file(str(path))

    @property
    def induction_candidates(self) -> torch.Tensor:
        """bool [d_vocab]: tokens after which induction is likely, by the rule recorded in `info`.

        Raises:
            CheckpointError: no candidates were recorded for this model.
        """
        if "induction_candidates" not in self.info:
            raise CheckpointError(
                f"{self.name!r} has no induction candidates", expected="induction_candidates", found=list(self.info)
            )
        chosen = torch.zeros(self.architecture.d_vocab, dtype=torch.bool)
        chosen[torch.tensor(self.info["induction_candidates"])] = True
        return chosen


def load_shipped(name: str, *, dtype: torch.dtype = torch.float32) -> ShippedModel:
    """A model that ships with the package, its weights converted to `dtype`.

    The folder's config.json says what it is. "transformer_lens" holds the fields of TransformerLens' config;
    "reads_first" says that only position 0 is read, by a classifier, whose positions then do not depend on padding;
    "tokenizer" names the model whose tokenizer it uses, where that is another one.

    >>> load_shipped("attn_only_2l").architecture.n_layers
    2
    >>> load_shipped("parens").architecture.readout.reads_first
    True
    >>> model = load_shipped("ioi")
    >>> [len(model.tokenizer.encode(f" {name}").ids) for name in model.info["names"][:3]]
    [1, 1, 1]
    """
    folder = _FOLDER / name
    if not (folder / "config.json").is_file():
        known = sorted(path.parent.name for path in _FOLDER.glob("*/config.json"))
        raise CheckpointError(f"no model named {name!r} ships with scrub", expected=known, found=name)
    info = json.loads((folder / "config.json").read_text())
    weights = {key: value.to(dtype) for key, value in load_file(folder / "model.safetensors").items()}
    return shipped_model(name, info, weights)


def shipped_model(name: str, info: dict[str, Any], weights: dict[str, torch.Tensor]) -> ShippedModel:
    """A model from the entries of its config.json and its weights in TransformerLens' layout."""
    loaded = from_transformer_lens(weights, info.get("transformer_lens") or _attention_only(info))
    given = {f.name: getattr(loaded, f.name) for f in dataclasses.fields(loaded)}
    if info.get("reads_first"):
        given["architecture"] = _classifier(loaded.architecture)
    return ShippedModel(**given, name=name, info=info, state_dict=weights)


def _attention_only(info: dict[str, Any]) -> dict[str, Any]:
    return {name: info[name] for name in _SIZES} | {
        "eps": info["norm_eps"],
        "normalization_type": info["normalization"].upper(),
        "positional_embedding_type": info["positions"],
        "attn_only": True,
    }


def _classifier(architecture: Architecture) -> Architecture:
    """One that reads position 0, and takes positions as they are: 0, 1, 2, ... whatever is padding."""
    return dataclasses.replace(
        architecture,
        embedding=dataclasses.replace(architecture.embedding, positions_from_mask=False),
        readout=dataclasses.replace(architecture.readout, reads_first=True),
    )
