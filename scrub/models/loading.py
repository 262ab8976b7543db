"""Loading: a Hugging Face model, folder, config or hub name becomes a `LoadedModel`. Weights are never copied."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch

from scrub.graph import CheckpointError
from scrub.models.checkpoint import expression_weights, read_folder, weights_on_meta
from scrub.models.families import FAMILIES, Family
from scrub.models.loaded import LoadedModel


def load(model: Any, *, dtype: torch.dtype | None = None, device: torch.device | str | None = None) -> LoadedModel:
    """A model of a supported family, of which expressions can be made. The families: `scrub.models.FAMILIES`.

    Args:
        model: a Hugging Face module, whose weights are shared; a folder with `config.json` and safetensors, which are
            mapped and not copied; a config, for shapes without weights; or a name on the hub.
        dtype: convert floating-point weights to this one; None: as they are.
        device: "meta" for shapes without weights; another to move weights there; None: where they are.

    Raises:
        CheckpointError: a family or a value in the config that is not supported, or weights that do not fit it.

    >>> from transformers import LlamaConfig
    >>> config = LlamaConfig(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, vocab_size=64)
    >>> load(config).lower(seq_len=16)["t.bind_w"]
    't.bind_w' [16, 64] Module
    """
    import transformers

    is_meta = device is not None and torch.device(device).type == "meta"
    if isinstance(model, torch.nn.Module):
        config, class_name = _config_of(model), type(model).__name__
        if is_meta:
            return _without_weights(config, class_name, dtype)
        return _with_weights(config, class_name, dict(model.state_dict()), dtype, device)
    if isinstance(model, transformers.PreTrainedConfig):
        if device is not None and not is_meta:
            raise CheckpointError(
                "a config has no weights to move", expected="device=None or 'meta'", found=device, hint="load a module"
            )
        return _without_weights(model, None, dtype)
    source = str(model)
    if not Path(source).is_dir():
        module: Any = transformers.AutoModelForCausalLM.from_pretrained(source, dtype=dtype or "auto")
        return dataclasses.replace(load(module, dtype=dtype, device=device), source=source)
    config = transformers.AutoConfig.from_pretrained(source)  # pyright: ignore[reportUnknownMemberType]
    if is_meta:
        return dataclasses.replace(_without_weights(config, None, dtype), source=source)
    family = family_of(config)
    class_name = family.class_of(config)
    stored = read_folder(Path(source), family, config, class_name)
    return dataclasses.replace(_with_weights(config, class_name, stored, dtype, device), source=source)


def family_of(config: Any) -> Family:
    """The family of a config.

    Raises:
        CheckpointError: it is not supported.
    """
    family = FAMILIES.get(config.model_type)
    if family is None:
        raise CheckpointError(
            f"models of type {config.model_type!r} are not a family that scrub knows",
            expected=sorted(FAMILIES),
            found=config.model_type,
            hint="scrub.models.from_torch(module, example_inputs) takes any module that torch.export accepts",
        )
    return family


def _config_of(module: torch.nn.Module) -> Any:
    config = getattr(module, "config", None)
    if not hasattr(config, "model_type"):
        raise CheckpointError(
            f"{type(module).__name__} is no Hugging Face model: it has no config with a model_type",
            expected="a transformers.PreTrainedModel",
            found=type(module).__name__,
            hint="scrub.models.from_torch(module, example_inputs) takes any module that torch.export accepts",
        )
    return config


def _without_weights(config: Any, class_name: str | None, dtype: torch.dtype | None) -> LoadedModel:
    family = family_of(config)
    family = family.for_class(class_name or family.class_of(config))
    architecture, notes = family.read(config, class_name)
    weights = weights_on_meta(architecture, dtype or getattr(config, "dtype", None) or torch.float32)
    return LoadedModel(architecture, weights, family.model_type, config, family.components, notes)


def _with_weights(
    config: Any,
    class_name: str,
    stored: dict[str, torch.Tensor],
    dtype: torch.dtype | None,
    device: torch.device | str | None,
) -> LoadedModel:
    family = family_of(config).for_class(class_name)
    architecture, notes = family.read(config, class_name)
    weights = expression_weights(family, architecture, stored)
    if dtype is not None or device is not None:
        weights = {name: weight.to(device=device, dtype=dtype) for name, weight in weights.items()}
    return LoadedModel(architecture, weights, family.model_type, config, family.components, notes)
