"""Files of scores and circuits: one `.safetensors` file, tensors by name, all other facts as JSON in the header.

    metadata    scrub.discovery   JSON: {"kind": "scores" or "circuit", "version": 1, "facts": {...}}

A component graph is among the facts, but for its matrix of edges, which is the tensor `exists`. JSON keeps every float
as it was, so nothing is lost. Nothing from a file is executed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file  # pyright: ignore[reportUnknownVariableType]

from scrub.discovery.components import Component, ComponentGraph
from scrub.graph import DiscoveryError, FileError

_KEY, _VERSION = "scrub.discovery", 1
_DAMAGE = (SafetensorError, LookupError, TypeError, ValueError, AttributeError, RuntimeError, OSError)


def write(path: str | Path, kind: str, facts: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> None:
    """Write a file; an older one is replaced at once when everything is written.

    Raises:
        DiscoveryError: the facts hold what JSON has no words for.
    """
    path = Path(path)
    try:
        text = json.dumps({"kind": kind, "version": _VERSION, "facts": facts})
    except (TypeError, ValueError) as error:
        raise DiscoveryError(
            f"these {kind} hold something that a file cannot: {error}",
            expected="text, numbers, truth values, None, lists and mappings with text as keys",
            found=facts.get("details"),
            hint="put plain values into `details`",
        ) from error
    temporary = path.with_name(path.name + ".part")
    try:
        save_file({name: t.cpu().contiguous().clone() for name, t in tensors.items()}, temporary, metadata={_KEY: text})
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    temporary.replace(path)


def read(path: str | Path, kind: str) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Facts and tensors of a file that `write` wrote.

    Raises:
        FileError: it is no such file, it holds another kind of thing, or another version wrote it.
    """
    try:
        opener: Any = safe_open
        with opener(str(path), framework="pt") as reader:
            metadata: dict[str, str] = reader.metadata() or {}
            header = json.loads(metadata[_KEY])
            tensors: dict[str, torch.Tensor] = {name: reader.get_tensor(name) for name in reader.keys()}  # noqa: SIM118
        found_kind, version, facts = str(header["kind"]), header["version"], dict(header["facts"])
    except _DAMAGE as error:
        raise FileError(
            f"{path} is no file of {kind}: {type(error).__name__}", expected=f"what `save` of {kind} wrote", found=path
        ) from error
    if found_kind != kind or version != _VERSION:
        raise FileError(
            f"{path} holds {found_kind}, version {version}; expected {kind}, version {_VERSION}",
            expected=(kind, _VERSION),
            found=(found_kind, version),
            hint=f"load it with `load` of {found_kind}",
        )
    return facts, tensors


def graph_facts(graph: ComponentGraph) -> dict[str, Any]:
    """A component graph as JSON, without its matrix of edges."""
    return {
        "components": [asdict(component) for component in graph.components],
        "writers": list(graph.writers),
        "readers": list(graph.readers),
        "owners": list(graph.owners),
        "other_names": {name: dict(names) for name, names in graph.other_names.items()},
        "shape": dict(graph.shape),
    }


def graph_from(facts: Mapping[str, Any], exists: torch.Tensor) -> ComponentGraph:
    """Inverse of `graph_facts`."""
    return ComponentGraph(
        components=tuple(Component(**component) for component in facts["components"]),
        writers=tuple(facts["writers"]),
        readers=tuple(facts["readers"]),
        owners=tuple(facts["owners"]),
        exists=exists,
        other_names=facts["other_names"],
        shape=facts["shape"],
    )
