"""Stored weights and their names: reading a folder of safetensors, and seeing weights as the expression needs them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from scrub.graph import CheckpointError
from scrub.models.architecture import Architecture, Layer
from scrub.models.families import Family
from scrub.models.lower import weight_symbols

_IN_LAYER = re.compile(r"^([abm])(\d+)\.(.*)$")
_COMPUTED = ".alibi.slopes"


def expression_weights(
    family: Family, architecture: Architecture, stored: Mapping[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """Expression name -> tensor, views of the stored weights.

    Raises:
        CheckpointError: names every weight that is missing, of the wrong shape, or has no place in the architecture.
    """
    weights: dict[str, torch.Tensor] = {}
    problems: list[str] = []
    used: set[str] = set()
    for symbol in weight_symbols(architecture):
        name = str(symbol.name)
        if name.endswith(_COMPUTED):
            continue
        key, number, layer = _place(name, architecture)
        source = family.sources.get(key)
        if source is None:
            problems.append(f"{family.model_type} says of no stored weight that it is {name}")
            continue
        stored_name = source.weight.replace("{l}", str(number))
        if stored_name not in stored:
            problems.append(f"{stored_name} is missing")
            continue
        used.add(stored_name)
        tensor = stored[stored_name].detach()
        try:
            seen = tensor if source.view is None else source.view(tensor, layer)
        except (RuntimeError, IndexError):
            seen = tensor
        if tuple(seen.shape) != symbol.shape:
            shape = tuple(tensor.shape)
            problems.append(f"{stored_name} has shape {shape}, which does not fit {name} {list(symbol.shape)}")
        weights[name] = seen
    extra = [name for name in stored if name not in used and not name.endswith(family.ignored)]
    problems += [f"{name} is not a weight of this model" for name in extra]
    if problems:
        raise CheckpointError(
            f"the weights do not fit the config of {family.model_type}:\n    " + "\n    ".join(dict.fromkeys(problems)),
            expected=[s.weight for s in family.sources.values()],
            found={name: tuple(tensor.shape) for name, tensor in stored.items()},
        )
    return weights | computed_weights(architecture, like=weights["t.w.unembed"])


def weights_on_meta(architecture: Architecture, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """All weights as tensors without content."""
    return {
        str(symbol.name): torch.empty(symbol.shape, dtype=dtype, device="meta")
        for symbol in weight_symbols(architecture)
    }


def computed_weights(architecture: Architecture, *, like: torch.Tensor) -> dict[str, torch.Tensor]:
    """What the expression takes for weights but checkpoints do not hold: the slopes of ALiBi."""
    return {
        f"a{number}{_COMPUTED}": _per_query_head(torch.tensor(slopes, dtype=like.dtype, device=like.device), layer)
        for number, layer in enumerate(architecture.layers)
        if (slopes := layer.attention.alibi_slopes) is not None
    }


def _per_query_head(values: torch.Tensor, layer: Layer) -> torch.Tensor:
    """[heads] as [*query_axes]: head `g * n + i` is number i of group g."""
    axes = layer.attention.query_axes
    return values.view(axes[::-1]).transpose(0, -1)


def read_folder(folder: Path, family: Family, config: Any, class_name: str) -> dict[str, torch.Tensor]:
    """The weights of a folder that `save_pretrained` wrote, by the names of the whole model; files are mapped.

    Weights that are tied come under both names, and the prefix that files of a model without its head leave out is
    put back.

    Raises:
        CheckpointError: the folder has no safetensors.
    """
    import transformers

    stored: dict[str, torch.Tensor] = dict(_mapped(folder))
    for pattern, name in family.renamed.items():
        stored = {re.sub(pattern, name, old): tensor for old, tensor in stored.items()}
    if family.regrouped is not None:
        stored = family.regrouped(stored)
    if family.base_prefix and not any(name.startswith(family.base_prefix) for name in stored):
        stored = {f"{family.base_prefix}{name}": tensor for name, tensor in stored.items()}
    if getattr(config, "tie_word_embeddings", False):
        tied: Mapping[str, str] = getattr(getattr(transformers, class_name), "_tied_weights_keys", None) or {}
        for name, original in tied.items():
            if name not in stored and original in stored:
                stored[name] = stored[original]
    return stored


def _mapped(folder: Path) -> Iterator[tuple[str, torch.Tensor]]:
    index = folder / "model.safetensors.index.json"
    files = [folder / "model.safetensors"]
    if index.is_file():
        files = [folder / name for name in sorted(set(json.loads(index.read_text())["weight_map"].values()))]
    for file in files:
        if not file.is_file():
            raise CheckpointError(
                f"{file} does not exist",
                expected="model.safetensors, or the files that model.safetensors.index.json lists",
                found=sorted(path.name for path in folder.iterdir()),
                hint="save it with save_pretrained(folder), or load the module: load(Model.from_pretrained(folder))",
            )
        yield from _mapped_file(file)


def _mapped_file(file: Path) -> Iterator[tuple[str, torch.Tensor]]:
    """The tensors of a file, all of them views of one mapping of it, so that neighbours can be seen as one tensor."""
    import safetensors

    safe_open: Any = safetensors.safe_open
    with safe_open(file, framework="pt") as opened, file.open("rb") as raw:
        size = int.from_bytes(raw.read(8), "little")
        header: dict[str, Any] = json.loads(raw.read(size))
        data = torch.from_file(str(file), shared=False, size=file.stat().st_size, dtype=torch.uint8)
        for name in opened.keys():  # noqa: SIM118
            alone: torch.Tensor = opened.get_tensor(name)
            start, end = (8 + size + int(offset) for offset in header[name]["data_offsets"])
            is_aligned = start % alone.element_size() == 0
            yield name, data[start:end].view(alone.dtype).view(alone.shape) if is_aligned else alone


def _place(name: str, architecture: Architecture) -> tuple[str, int, Layer]:
    """Name without its layer, number of the layer, the layer; for other weights the first layer, which views ignore."""
    match = _IN_LAYER.match(name)
    if match is None:
        return name, 0, architecture.layers[0]
    part, number, rest = match.groups()
    return f"{part}.{rest}", int(number), architecture.layers[int(number)]
