"""Loading: a Hugging Face model, folder, config or hub name becomes a `LoadedModel`. Weights are never copied."""

from __future__ import annotations

import copy
import dataclasses
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, overload

import torch

from scrub.graph import CheckpointError
from scrub.models.architecture import Architecture
from scrub.models.checkpoint import expression_weights, read_folder, weights_on_meta
from scrub.models.exported import ExportedModel, from_torch
from scrub.models.families import FAMILIES, Family
from scrub.models.loaded import LoadedModel


@overload
def load(model: Any, *, dtype: torch.dtype | None = None, device: torch.device | str | None = None) -> LoadedModel: ...


@overload
def load(
    model: Any,
    *,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
    example_inputs: Mapping[str, Any],
) -> LoadedModel | ExportedModel: ...


def load(
    model: Any,
    *,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
    example_inputs: Mapping[str, Any] | None = None,
) -> LoadedModel | ExportedModel:
    """A model of a supported family, of which expressions can be made. The families: `scrub.models.FAMILIES`.

    Args:
        model: a Hugging Face module, whose weights are shared; a folder with `config.json` and safetensors, which are
            mapped and not copied; a config, for shapes without weights; or a name on the hub.
        dtype: convert floating-point weights to this one; None: as they are.
        device: "meta" for shapes without weights; another to move weights there; None: where they are.
        example_inputs: arguments of the module's forward, by name. With them, a model of no supported family is
            lowered by `from_torch` for inputs of these shapes, which a warning says; without them it is an error.

    Raises:
        CheckpointError: a family or a value in the config that is not supported, or weights that do not fit it.

    >>> from transformers import LlamaConfig
    >>> config = LlamaConfig(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, vocab_size=64)
    >>> load(config).lower(seq_len=16)["t.bind_w"]
    't.bind_w' [16, 64] Module
    """
    import transformers

    if example_inputs is not None and not _is_of_a_family(model):
        return _by_the_general_route(model, dtype, device, example_inputs)
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
    if not isinstance(model, str | Path):
        raise CheckpointError(
            f"{model!r} is nothing to load a model from",
            expected="a Hugging Face module, a config, a folder, or a name on the hub",
            found=type(model).__name__,
            hint="scrub.models.from_transformer_lens takes state dicts in the layout of TransformerLens",
        )
    source = str(model)
    config = _read_config(source)
    if is_meta:
        return dataclasses.replace(_without_weights(config, None, dtype), source=source)
    family = family_of(config)
    class_name = family.class_of(config)
    if not Path(source).is_dir():
        family.read(config, class_name)
        module: Any = getattr(transformers, class_name).from_pretrained(source, dtype=dtype or "auto")
        return dataclasses.replace(load(module, dtype=dtype, device=device), source=source)
    stored = read_folder(Path(source), family, config, class_name)
    return dataclasses.replace(_with_weights(config, class_name, stored, dtype, device), source=source)


def _is_of_a_family(model: Any) -> bool:
    config = _read_config(str(model)) if isinstance(model, str | Path) else getattr(model, "config", model)
    return getattr(config, "model_type", None) in FAMILIES


def _by_the_general_route(
    model: Any, dtype: torch.dtype | None, device: torch.device | str | None, example_inputs: Mapping[str, Any]
) -> ExportedModel:
    module: Any = model
    if isinstance(model, str | Path):
        import transformers

        config = _read_config(str(model))
        name = next(iter(getattr(config, "architectures", None) or []), "AutoModelForCausalLM")
        module = getattr(transformers, name).from_pretrained(str(model))
    if not isinstance(module, torch.nn.Module):
        raise CheckpointError(
            f"{model!r} is of no family that scrub knows, and has no module to lower",
            expected=sorted(FAMILIES),
            found=type(model).__name__,
            hint="give a module",
        )
    warnings.warn(
        f"{type(module).__name__} is of no family that scrub knows: it is lowered by from_torch, for inputs of the"
        " shapes of example_inputs",
        stacklevel=3,
    )
    if dtype is not None or device is not None:
        module = copy.deepcopy(module).to(dtype=dtype, device=device)
    return from_torch(module, example_kwargs=example_inputs)


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
            hint="load(module, example_inputs={...}) or from_torch takes any module that torch.export accepts",
        )
    return family


def _read_config(source: str) -> Any:
    from transformers import AutoConfig

    if Path(source).is_dir() and not (Path(source) / "config.json").is_file():
        raise CheckpointError(
            f"the folder {source} has no config.json",
            expected="config.json and model.safetensors",
            found=sorted(path.name for path in Path(source).iterdir()),
            hint="save the model with save_pretrained(folder)",
        )
    configs: Any = AutoConfig
    return configs.from_pretrained(source)


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
    return _loaded(family, architecture, weights, config, notes)


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
    return _loaded(family, architecture, weights, config, notes)


def _loaded(
    family: Family, architecture: Architecture, weights: Mapping[str, torch.Tensor], config: Any, notes: tuple[str, ...]
) -> LoadedModel:
    return LoadedModel(
        architecture,
        weights,
        family.model_type,
        config,
        components=family.components_of(architecture),
        stored={name: source.weight for name, source in family.sources.items()},
        notes=notes,
    )
