"""Names of components in other styles, and the sizes that files of circuits record."""

from __future__ import annotations

import dataclasses

from scrub.discovery.components import Component, ComponentGraph
from scrub.discovery.derive.model import Anatomy
from scrub.graph import MatchError
from scrub.models import LoadedModel
from scrub.models.names import Style

_STYLES: tuple[Style, ...] = ("transformer_lens", "hugging_face")


def named_graph(anatomy: Anatomy, model: LoadedModel) -> ComponentGraph:
    """The component graph of a loaded model, with names in all styles."""
    a = model.architecture
    graph = anatomy.graph
    names = {component.name: _names(component, model) for component in graph.components}
    heads = max((layer.attention.n_heads for layer in a.layers), default=0)
    shape = {"n_layers": len(a.layers), "n_heads": heads, "d_model": a.d_model}
    return dataclasses.replace(graph, other_names=names, shape=shape)


def _names(component: Component, model: LoadedModel) -> dict[str, str]:
    found: dict[str, str] = {}
    for style in _STYLES:
        name = _translated(component, model, style)
        if name is not None:
            found[style] = name
    return found


def _translated(component: Component, model: LoadedModel, style: Style) -> str | None:
    """A head is an entry of what its layer's module or hook gives: "blocks.1.attn.hook_result[3]"."""
    if component.kind == "input" and component.name not in ("input", "input.tokens"):
        return None
    if component.kind == "logits" and style == "transformer_lens":
        return "unembed"
    is_whole = component.name == "input" and _adds_to_embeddings(model)
    if is_whole and style == "transformer_lens":  # it hooks the terms, then the stream
        return "blocks.0.hook_resid_pre"
    ours = {"input": ["t.input" if is_whole else "idxed_embeds"], "logits": ["t.logits"]}.get(component.kind, [])
    if component.kind == "mlp":
        ours = [f"{component.name}.p_bias", component.name]
    elif component.kind == "head":
        if style == "transformer_lens":
            return f"blocks.{component.layer}.attn.hook_result[{component.head}]"
        ours = [f"a{component.layer}", f"a{component.layer}.p_bias"]
    for name in ours:
        try:
            other = model.names.translate(name, style)
        except MatchError:
            continue
        if other is not None:
            return f"{other}[{component.head}]" if component.kind == "head" else other
    return None


def _adds_to_embeddings(model: LoadedModel) -> bool:
    """Whether the first residual stream is more than embeddings of tokens."""
    embedding = model.architecture.embedding
    return embedding.positions == "learned" or embedding.n_token_types > 0 or embedding.norm is not None
