"""Three ways to name a component of a transformer: ours, TransformerLens' hooks, Hugging Face's modules.

    a3.comb_v      blocks.3.attn.hook_z      (none)
    a3.p_bias      blocks.3.hook_attn_out    transformer.h.3.attn.c_proj

Ours has the layer in it, `a3.comb_v`; within an expression a node in the body of a block or a head, which layers share,
is called `a.comb_v`, and which layer it belongs to is a matter of the path to it.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from scrub.graph import Expr, MatchError
from scrub.models.architecture import Architecture, Layer, Mlp
from scrub.models.lower import weight_symbols
from scrub.models.parts.norms import has_bias
from scrub.rewrite import IterativeMatcher, Regex, restrict

Style = Literal["scrub", "transformer_lens", "hugging_face"]

_IN_LAYER = re.compile(r"^([abm])(\d+)(\..*)?$")
_OF_MODULES = {
    "t.w.tok_embeds": "idxed_embeds",
    "t.w.unembed": "t.logits",
    "final.norm.w": "final.norm",
    "a.norm.w": "a.norm",
    "m.norm.w": "m.norm",
    "a.w.q": "a.q",
    "a.w.k": "a.k",
    "a.w.v": "a.v",
    "m.w.in": "m.pre",
    "m.w.gate": "m.gate.pre",
}
"""Weight -> what the module computes that has this weight and no other matrix."""

LENS_WEIGHTS = {
    "t.w.tok_embeds": "embed.W_E",
    "t.w.pos_embeds": "pos_embed.W_pos",
    "t.embed_norm.w": "embed.ln.w",
    "t.embed_norm.b": "embed.ln.b",
    **{
        f"{kind}.{part.lower()}": f"blocks.{{l}}.attn.{kind[-1].upper().replace('B', 'b')}_{part}"
        for kind in ("a.w", "a.b")
        for part in "QKVO"
    },
    **{
        f"m.{kind}.{part}": f"blocks.{{l}}.mlp.{kind.upper().replace('B', 'b')}_{part}"
        for kind in "wb"
        for part in ("in", "out", "gate")
    },
    **{f"a.norm.{w}": f"blocks.{{l}}.ln1.{w}" for w in "wb"},
    **{f"m.norm.{w}": f"blocks.{{l}}.ln2.{w}" for w in "wb"},
    **{f"a.out_norm.{w}": f"blocks.{{l}}.ln1_post.{w}" for w in "wb"},
    **{f"m.out_norm.{w}": f"blocks.{{l}}.ln2_post.{w}" for w in "wb"},
    "a.q.norm.w": "blocks.{l}.attn.q_norm.w",
    "a.k.norm.w": "blocks.{l}.attn.k_norm.w",
    "m.post_norm.w": "blocks.{l}.mlp.ln.w",
    "m.post_norm.b": "blocks.{l}.mlp.ln.b",
    "final.norm.w": "ln_final.w",
    "final.norm.b": "ln_final.b",
    "t.w.unembed": "unembed.W_U",
    "t.b.unembed": "unembed.b_U",
}
"""Expression name of a weight -> its name in the layout of TransformerLens."""


@dataclass(frozen=True)
class ComponentNames:
    """The names of the components and weights of a model.

    Attributes:
        architecture: of the model.
        modules: expression name -> Hugging Face module, `{l}` for the layer.
        weights: expression name -> Hugging Face weight.

    >>> from transformers import GPT2Config
    >>> from scrub.models import load
    >>> names = load(GPT2Config(n_layer=4)).names
    >>> names.ours("blocks.3.attn.hook_z"), names.ours("transformer.h.3.attn.c_proj")
    ('a3.comb_v', 'a3.p_bias')
    >>> names.translate("a3.p_bias", "transformer_lens"), names.translate("m0.post", "hugging_face")
    ('blocks.3.hook_attn_out', 'transformer.h.0.mlp.act')
    """

    architecture: Architecture
    modules: Mapping[str, str]
    weights: Mapping[str, str]

    def ours(self, name: str) -> str:
        """The name in the expression of a component named in any style, with its layer: `a3.comb_v`.

        Raises:
            MatchError: nothing is named so.
        """
        if name in self._ours:
            return self._ours[name]
        near = difflib.get_close_matches(name, self._ours, n=3, cutoff=0.5)
        raise MatchError(
            f"no component or weight of this model is named {name!r}",
            found=name,
            expected=f"{len(self._ours)} names, such as {list(self._ours)[:3]}",
            hint=f"did you mean {' or '.join(map(repr, near))}?" if near else "model.names.table() lists all names",
        )

    def translate(self, name: str, style: Style) -> str | None:
        """The name of a component in a style, given in any; None where that style has none.

        Raises:
            MatchError: nothing is named so.
        """
        ours = self.ours(name)
        return ours if style == "scrub" else next(iter(self._others[style].get(ours, ())), None)

    def matcher(self, name: str) -> IterativeMatcher:
        """A matcher of the component named, in any style, in this layer and no other.

        It works on `t.bind_w` as it is lowered, and as `configure_transformer` leaves it, with `see_through=True` for
        nodes in bodies of modules. Where a layer is split by head, what heads have for themselves (`a3.comb_v`) is
        found in each of them; `IterativeMatcher("a3.h2").chain(...)` takes one.

        Raises:
            MatchError: nothing is named so.
        """
        ours = self.ours(name)
        match = _IN_LAYER.match(ours)
        if match is None:
            return IterativeMatcher(ours)
        part, number, rest = match.groups()
        own_layer = Regex(rf"^[abm]{number}(.|$)")
        elsewhere = Regex(rf"^[abm](?!{number}(.|$))\d+(.|$)|^t.input$")
        inside = IterativeMatcher(own_layer).chain(restrict(f"{part}{rest or ''}", term_early_at=elsewhere))
        return IterativeMatcher(ours) | inside

    def commenter(self, style: Style) -> Callable[[Expr], str | None]:
        """For `print(commenters=)`: the name of each component in a style.

        What layers share is shown with a star for the layer: `blocks.*.attn.hook_z`.
        """
        of_ours = (
            {ours: next(iter(names), None) for ours, names in self._others[style].items()} if style != "scrub" else {}
        )
        shared = {re.sub(r"^([abm])0", r"\1", k): re.sub(r"\.0(\.|$)", r".*\1", v) for k, v in of_ours.items() if v}

        def comment(node: Expr) -> str | None:
            name = node.name or ""
            return (of_ours.get(name) or shared.get(name)) if name else None

        return comment

    def table(self) -> list[tuple[str, str | None, str | None]]:
        """All components and weights: (ours, TransformerLens', Hugging Face's)."""
        return [
            (ours, self.translate(ours, "transformer_lens"), self.translate(ours, "hugging_face"))
            for ours in dict.fromkeys(self._ours.values())
        ]

    @cached_property
    def _others(self) -> dict[Style, dict[str, list[str]]]:
        """Style -> ours -> names in it, the best first."""
        generic: dict[Style, Iterator[tuple[str, str]]] = {
            "transformer_lens": self._lens_names(),
            "hugging_face": self._module_names(),
        }
        result: dict[Style, dict[str, list[str]]] = {}
        weights = {str(symbol.name) for symbol in weight_symbols(self.architecture)}
        for style, pairs in generic.items():
            by_ours: dict[str, list[str]] = {}
            for key, name in pairs:
                is_weight = key in LENS_WEIGHTS or key in self.weights
                for ours, written in self._in_layers(key, name):
                    if is_weight and ours not in weights:
                        continue
                    if written not in (names := by_ours.setdefault(ours, [])):
                        names.append(written)
            result[style] = by_ours
        return result

    def _in_layers(self, key: str, name: str) -> Iterator[tuple[str, str]]:
        """A name of what layers have, in every layer; another as it is."""
        if key[0] not in "abm" or key[1:2] not in ("", "."):
            yield key, name
            return
        for number in range(self.architecture.n_layers):
            yield f"{key[0]}{number}{key[1:]}", name.replace("{l}", str(number))

    @cached_property
    def _ours(self) -> dict[str, str]:
        """Name in any style -> ours."""
        result: dict[str, str] = {}
        for by_ours in self._others.values():
            for ours, names in by_ours.items():
                result.setdefault(ours, ours)
                for name in names:
                    result.setdefault(name, ours)
        return result

    def _lens_names(self) -> Iterator[tuple[str, str]]:
        if self.architecture.embedding.patches is None:
            yield "idxed_embeds", "hook_embed"
            if self.architecture.embedding.positions != "none":
                yield "t.w.pos_embeds_idxed", "hook_pos_embed"
        yield from _lens_hooks(self.architecture.layers[0])
        yield from LENS_WEIGHTS.items()

    def _module_names(self) -> Iterator[tuple[str, str]]:
        yield from self.modules.items()
        stored = list(self.weights.values())
        first = self.architecture.layers[0]
        # queries that are normed over all heads: their scale is computed from the stream, beside them
        apart = {"a.w.q", "a.w.k"} if first.attention.qk_norm_over == "all" else set[str]()
        for weight, key in (*_OF_MODULES.items(), *_writers(first).items()):
            name = self.weights.get(weight, "")
            if stored.count(name) == 1 and weight not in apart:
                yield key, name.rsplit(".", 1)[0]
        yield from self.weights.items()


def _writers(layer: Layer) -> dict[str, str]:
    """Weight of the last matrix of attention and MLP -> what it writes."""
    written = {"a.w.o": "a.p_bias" if "o" in layer.attention.bias else "a"}
    if isinstance(layer.mlp, Mlp):
        written["m.w.out"] = "m.p_bias" if layer.mlp.bias_out else "m"
    return written


def _lens_hooks(layer: Layer) -> Iterator[tuple[str, str]]:
    """TransformerLens' hooks for a layer like this one."""
    block = "blocks.{l}"
    yield from (("b", f"{block}.hook_resid_post"), (_out(layer, "a"), f"{block}.hook_attn_out"))
    for norm, name in ((layer.a_norm, "a.norm"), (layer.m_norm, "m.norm")):
        if norm is not None and not norm.weight and not has_bias(norm):  # TransformerLens' hook lies before both
            yield name, f"{block}.{'ln1' if name[0] == 'a' else 'ln2'}.hook_normalized"
    for part in "qkv":
        yield f"a.{part}", f"{block}.attn.hook_{part}"
        if part != "v" and layer.attention.rotary is not None:
            yield f"a.rot_{part}", f"{block}.attn.hook_rot_{part}"
    yield from (
        ("a.masked_scores", f"{block}.attn.hook_attn_scores"),
        ("a.attn_probs", f"{block}.attn.hook_pattern"),
        ("a.comb_v", f"{block}.attn.hook_z"),
        ("a.head", f"{block}.attn.hook_result"),
    )
    if layer.mlp is not None:
        yield from _lens_mlp_hooks(layer, block)


def _lens_mlp_hooks(layer: Layer, block: str) -> Iterator[tuple[str, str]]:
    yield _out(layer, "m"), f"{block}.hook_mlp_out"
    if not layer.is_parallel:
        yield "b.mid", f"{block}.hook_resid_mid"
    if not isinstance(layer.mlp, Mlp):
        return
    if layer.mlp.post_norm is not None:
        yield from (("m.post", f"{block}.mlp.hook_mid"), ("m.post_norm", f"{block}.mlp.hook_post"))
    else:
        yield "m.post", f"{block}.mlp.hook_post"
    if layer.mlp.is_gated:
        yield from (("m.gate.pre", f"{block}.mlp.hook_pre"), ("m.pre", f"{block}.mlp.hook_pre_linear"))
    else:
        yield "m.pre", f"{block}.mlp.hook_pre"


def _out(layer: Layer, part: str) -> str:
    """What a part writes to the residual stream."""
    has_norm = (layer.a_out_norm if part == "a" else layer.m_out_norm) is not None
    if has_norm:
        return f"{part}.out_norm"
    return _writers(layer).get(f"{part}.w.o" if part == "a" else "m.w.out", part)
