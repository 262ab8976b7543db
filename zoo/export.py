"""What ships with the package: half-precision weights, the tokenizer, and a config with the scores of those weights."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from tokenizers import Tokenizer
from torch import Tensor

from zoo.attn_only import AttnOnlyConfig, AttnOnlyTransformer
from zoo.scores import induction_gap, prefix_matching_scores, previous_token_scores

SCORE_SEED = 1
PREFIX_THRESHOLD = 0.5


def save_weights(model: AttnOnlyTransformer, folder: Path) -> None:
    """Write `model.safetensors` in float16."""
    folder.mkdir(parents=True, exist_ok=True)
    half = {name: value.detach().half().contiguous() for name, value in model.state_dict().items()}
    path = folder / "model.safetensors"
    safetensors.torch.save_file(half, path)
    path.chmod(0o644)


def load_model(folder: Path) -> AttnOnlyTransformer:
    """The shipped model in float32, from its config and half-precision weights."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    sizes = {field.name: config[field.name] for field in dataclasses.fields(AttnOnlyConfig)}
    return load_weights(AttnOnlyConfig(**sizes), folder)


def load_weights(config: AttnOnlyConfig, folder: Path) -> AttnOnlyTransformer:
    """The weights that `save_weights` wrote, in float32."""
    model = AttnOnlyTransformer(config)
    model.load_state_dict(
        {name: value.float() for name, value in safetensors.torch.load_file(folder / "model.safetensors").items()}
    )
    return model.requires_grad_(False)


def measure(model: AttnOnlyTransformer, held_out: Tensor) -> dict[str, Any]:
    """Every score that config.json and the model's page state, on held-out sequences [n, n_ctx].

    The induction heads are the heads after layer 0 whose prefix-matching score exceeds `PREFIX_THRESHOLD`, or the best
    one where none does; the previous-token head is the layer-0 head that attends most to the previous token.
    """
    prefix = prefix_matching_scores(model, seed=SCORE_SEED)
    previous = previous_token_scores(model, held_out)
    heads = [(int(layer), int(head)) for layer, head in (prefix > PREFIX_THRESHOLD).nonzero() if layer > 0]
    last = model.config.n_layers - 1
    heads = heads or [(last, int(prefix[last].argmax()))]
    gap = induction_gap(model, held_out, heads)
    return {
        "held_out_loss": round(gap.overall, 4),
        "held_out_loss_induction_ablated": round(gap.overall_ablated, 4),
        "induction_predicted_loss": round(gap.intact, 4),
        "induction_predicted_loss_ablated": round(gap.ablated, 4),
        "induction_predicted_positions": gap.n_positions,
        "induction_heads": [list(head) for head in heads],
        "previous_token_head": [0, int(previous[0].argmax())],
        "prefix_matching": _rounded(prefix),
        "previous_token": _rounded(previous),
        "score_seed": SCORE_SEED,
    }


def save_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    """Write `tokenizer.json`."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))


def save_config(config: dict[str, Any], folder: Path) -> None:
    """Write `config.json`; lists stay on one line each."""
    lines = [f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in config.items()]
    (folder / "config.json").write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def _rounded(scores: Tensor) -> list[list[float]]:
    return [[round(float(score), 4) for score in layer] for layer in scores.to(torch.float64)]
