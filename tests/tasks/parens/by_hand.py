"""The hypotheses about parentheses computed with torch, head by head, from draws: no expression, no matcher.

Written for attention and residual stream as they stand in `zoo.parens_model`; what reads which draw is spelled out here
once more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from scrub.hypothesis import Dataset
from scrub.tasks.parens.hypotheses import Roles
from zoo.parens_model import ParensTransformer

Rows = Callable[[str], Tensor]
"""From the label of a draw to row numbers."""


@dataclass
class Run:
    """What a forward pass leaves: resid[layer] [n, 42, d] that a layer reads, heads[layer, head] [n, 42, d], terms."""

    resid: list[Tensor] = field(default_factory=list[Tensor])
    heads: dict[tuple[int, int], Tensor] = field(default_factory=dict[tuple[int, int], Tensor])
    terms: dict[str, Tensor] = field(default_factory=dict[str, Tensor])


class ByHand:
    """The logits under each hypothesis."""

    def __init__(self, model: ParensTransformer, data: Dataset, roles: Roles, v: Tensor) -> None:
        self.model, self.data, self.roles, self.v = model, data, roles, v

    def embed(self, rows: Tensor) -> Tensor:
        """[n, 42, d]."""
        return self.model.embed.W_E[self.data["tokens"][rows]] + self.model.pos_embed.W_pos

    def head(self, layer: int, number: int, x: Tensor, mask: Tensor) -> Tensor:
        """What a head writes [n, 42, d], reading x [n, 42, d] after its norm."""
        a = self.model.layers[layer].attn
        q, k, v = (x @ w[number] for w in (a.W_Q, a.W_K, a.W_V))
        scores = q @ k.transpose(1, 2) / q.shape[-1] ** 0.5
        scores = scores.masked_fill(~mask.bool()[:, None, :], -torch.inf)
        return scores.softmax(-1) @ v @ a.W_O[number]

    def run(self, embedded: Tensor, mask: Tensor, averaging: Tensor | None = None) -> Run:
        """A forward pass, with the averaging head's output replaced if one is given."""
        x, run = embedded, Run()
        run.terms["embeds"] = x[:, 0]
        for layer, block in enumerate(self.model.layers):
            run.resid.append(x)
            normed = block.ln1(x)
            for number in range(self.model.config.n_heads):
                out = self.head(layer, number, normed, mask)
                if averaging is not None and (layer, number) == self.roles.averaging_head:
                    out = averaging
                run.heads[layer, number] = out
                run.terms[f"{layer}.{number}"] = out[:, 0]
            x = x + sum(run.heads[layer, number] for number in range(self.model.config.n_heads))
            written = block.mlp(block.ln2(x))
            run.terms[f"mlp{layer}"] = written[:, 0]
            x = x + written
        return run

    def of(self, rows: Tensor, mask_rows: Tensor | None = None) -> Run:
        """A forward pass on tokens of these rows, and masks of those."""
        return self.run(self.embed(rows), self.data["mask"][rows if mask_rows is None else mask_rows])

    def logits(self, which: str, rows: Rows, *, is_mask_conditioned: bool = True) -> Tensor:
        """[n, 2] under a hypothesis."""
        if which in ("0a", "0b"):
            return self.model.read_out(sum(self.of(rows("reference" if which == "0a" else "logits")).terms.values()))
        terms = dict(self.of(rows("logits/other")).terms)

        def leaf(name: str, *, parent: str = "logits") -> Run:
            return self.of(rows(name), None if is_mask_conditioned else rows(f"{parent}/other"))

        for head in self.roles.count_heads:
            key = f"{head[0]}.{head[1]}"
            name = f"count head {key}"
            if which in ("1a", "1b", "1c", "3a", "3b"):
                terms[key] = leaf(name).terms[key]
            else:
                terms[key] = self.count_head(which, head, name, rows, is_mask_conditioned=is_mask_conditioned)
        layer, number = self.roles.horizon_head
        key = f"{layer}.{number}"
        name = f"horizon head {key}"
        if which in ("3a", "3b", "4"):
            mask_rows = rows(f"{name}: mask" if is_mask_conditioned else f"{name}/other")
            read = torch.stack(
                [leaf(f"{name} at position {i}", parent=name).resid[layer][:, i] for i in range(42)], dim=1
            )
            normed = self.model.layers[layer].ln1(read)
            terms[key] = self.head(layer, number, normed, self.data["mask"][mask_rows])[:, 0]
        else:
            terms[key] = leaf(name).terms[key]
        if which == "1c":
            key = f"{self.roles.averaging_head[0]}.{self.roles.averaging_head[1]}"
            terms[key] = leaf(f"averaging head {key}, directly").terms[key]
        return self.model.read_out(sum(terms.values()))

    def count_head(
        self, which: str, head: tuple[int, int], name: str, rows: Rows, *, is_mask_conditioned: bool
    ) -> Tensor:
        """What a count head writes to position 0 [n, d], its input at position 1 apart from the others."""
        layer, number = head
        at_1 = f"{name} at position 1"
        if which == "2-part":
            mask_rows = None if is_mask_conditioned else rows(f"{name}/other")
            input_at_1 = self.of(rows(at_1), mask_rows).resid[layer][:, 1]
        else:
            input_at_1 = self.input_at_1(which, layer, at_1, rows, is_mask_conditioned=is_mask_conditioned)
        read = self.of(rows(f"{name}/other")).resid[layer].clone()
        read[:, 1] = input_at_1
        mask = self.data["mask"][rows(f"{name}/other")]
        return self.head(layer, number, self.model.layers[layer].ln1(read), mask)[:, 0]

    def input_at_1(self, which: str, layer: int, at_1: str, rows: Rows, *, is_mask_conditioned: bool) -> Tensor:
        other, p_rows = rows(f"{at_1}/other"), rows(f"{at_1}: averaging head")
        has_mask = which in ("2a", "2p")
        p_mask = None if is_mask_conditioned or not has_mask else other
        by_p, by_other = (run.heads[self.roles.averaging_head] for run in (self.of(p_rows, p_mask), self.of(other)))
        if which == "2a":
            written = by_p[:, 1]
        elif which == "2p":
            unit = self.v / self.v.norm()
            written = by_other[:, 1] + ((by_p[:, 1] - by_other[:, 1]) @ unit)[:, None] * unit
        else:
            phi_p, phi_other = (self.data["signed_share"][r][:, None] * self.v for r in (p_rows, other))
            written = by_other[:, 1] + phi_p - phi_other
        averaging = by_other.clone()
        averaging[:, 1] = written
        embedded = self.embed(rows(f"{at_1}: embeddings"))
        return self.run(embedded, self.data["mask"][other], averaging).resid[layer][:, 1]
