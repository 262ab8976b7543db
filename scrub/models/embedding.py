"""The first residual stream: what tokens, positions and token types, or the patches of an image, embed to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch

from scrub.graph import Add, Array, CheckpointError, Concat, Expr, GeneralFunction, I, Rearrange, cast_to
from scrub.graph.rearrange import repeat_axes
from scrub.models.architecture import Architecture
from scrub.models.parts.einsums import on_last_axes, rearrange_last_axes
from scrub.models.parts.norms import call, norm_spec, norm_weights


def embedded_tokens(
    architecture: Architecture,
    arrays: Mapping[str, Expr],
    tokens: Expr,
    mask: Expr | None,
    positions: Expr | None,
    types: Expr | None,
) -> Expr:
    """`t.embeds` [*batch, seq, d_model], of tokens [*batch, seq]; see `Embedding` for what is added.

    Raises:
        CheckpointError: tokens are no sequence, too many, or some that the model does not have.
    """
    e = architecture.embedding
    seq = check_sequence(architecture, tokens)
    check_range(tokens, architecture.d_vocab, "token")
    x: Expr = _looked_up(arrays["t.w.tok_embeds"], tokens, "idxed_embeds")
    if e.scale != 1.0:
        x = x.scale(_rounded(e.scale, x.dtype), name="t.scaled_embeds")
    if e.d_embed is not None:
        x = on_last_axes("... d, d m -> ... m", x, arrays["t.w.project_in"], name="t.projected_in")
    terms = [x]
    if e.positions == "learned":
        terms.append(position_embeddings(architecture, arrays, seq, mask, positions))
    if types is not None and not e.n_token_types:
        raise CheckpointError("this model has no token types", nodes=[types], hint="leave out token_type_ids")
    if e.n_token_types:
        terms.append(_type_embeddings(architecture, arrays, types))
    summed = Add(*terms, name="t.embeds") if len(terms) > 1 else x
    if e.norm is None:
        return summed
    spec = norm_spec(e.norm, seq, architecture.d_model)
    weights = [arrays[str(s.name)] for s in norm_weights(e.norm, "t.embed_norm", architecture.d_model)]
    return call(spec, "t.embed_norm", summed, *weights)


def position_embeddings(
    architecture: Architecture, arrays: Mapping[str, Expr], seq: int, mask: Expr | None, positions: Expr | None
) -> Expr:
    """`t.w.pos_embeds_idxed` [*batch, seq, d_model]."""
    e = architecture.embedding
    table = arrays["t.w.pos_embeds"]
    name = "t.w.pos_embeds_idxed"
    if positions is None and e.positions_from_mask and mask is not None:
        positions = counted_positions(mask, seq, at_padding=-1 if e.position_offset else 0)
    if positions is None:
        return table.index(I[e.position_offset : e.position_offset + seq], name=name)
    check_range(positions, e.n_positions - e.position_offset, "position", lowest=-e.position_offset)
    if e.position_offset:
        offset = torch.full((), e.position_offset, dtype=torch.int64, device=table.device)
        positions = Add(positions, Array(offset, "t.position_offset"), name="t.rows")
    return _looked_up(table, positions, name)


def counted_positions(mask: Expr, seq: int, *, at_padding: Literal[-1, 0] = -1) -> Expr:
    """Number of tokens up to each that the attention mask [*batch, seq] shows, from 0; `at_padding` at padding."""
    device = mask.device
    ones = torch.ones(seq, seq, dtype=torch.int64, device=device)
    shown = mask if mask.dtype == torch.int64 else cast_to(mask, torch.int64)
    counts = on_last_axes("... k, k q -> ... q", shown, Array(ones.triu(), "t.up_to"), name="t.counts")
    one_less = Array(torch.full((), -1, dtype=torch.int64, device=device))
    if at_padding == 0:
        return on_last_axes("... q, ... q -> ... q", Add(counts, one_less), shown, name="t.positions")
    return Add(on_last_axes("... q, ... q -> ... q", counts, shown), one_less, name="t.positions")


def embedded_patches(architecture: Architecture, arrays: Mapping[str, Expr], pixels: Expr) -> Expr:
    """`t.embeds` [*batch, 1 + patches, d_model] of images [*batch, channels, height, width].

    Rows and columns on the right and below that fill no patch are left out, as a convolution leaves them out.
    """
    patches = architecture.embedding.patches
    expected = None if patches is None else (patches.n_channels, *patches.image)
    if patches is None or pixels.shape[-3:] != expected:
        raise CheckpointError(
            f"{pixels!r} is no image of this model, whose images are {expected}",
            nodes=[pixels],
            expected=expected,
            found=pixels.shape[-3:],
        )
    p, q = patches.patch
    height, width = (size - size % side for size, side in zip(patches.image, patches.patch, strict=True))
    if (height, width) != patches.image:
        pixels = pixels.index((*[slice(None)] * (pixels.ndim - 2), slice(height), slice(width)), name="t.cropped")
    cut = rearrange_last_axes(pixels, "... c (h p) (w q) -> ... (h w) c p q", "t.patches", p=p, q=q)
    product = on_last_axes("... n c p q, c p q d -> ... n d", cut, arrays["t.w.patches"], name="t.patches.lin")
    embedded = Add(product, arrays["t.b.patches"], name="t.patch_embeds")
    token = Rearrange(arrays["t.w.class_token"], "d -> 1 d")
    token = repeat_axes(token, pixels.shape[:-3])
    both = Concat(token, embedded, axis=embedded.ndim - 2, name="t.with_class_token")
    return Add(both, arrays["t.w.pos_embeds"], name="t.embeds")


def check_inputs(architecture: Architecture, tokens: Expr, others: Mapping[str, Expr]) -> None:
    """Raise for an input that the model does not take, or that does not go with the tokens."""
    for name, value in others.items():
        if architecture.embedding.patches is not None:
            raise CheckpointError(f"a model of images takes no {name}", nodes=[value], hint=f"leave out {name}")
        if tokens.ndim and (not value.ndim or value.shape[-1] != tokens.shape[-1]):
            raise CheckpointError(
                f"{name} {value!r} does not go with {tokens!r}",
                nodes=[value, tokens],
                expected=f"[*batch, {tokens.shape[-1]}]",
                found=value.shape,
                hint=f"give one entry of {name} for each token",
            )
        if name == "attention_mask":
            _check_shows(value)
        elif value.dtype is not None and (value.dtype.is_floating_point or value.dtype == torch.bool):
            raise CheckpointError(
                f"{name} {value!r} is {value.dtype}", nodes=[value], expected=torch.int64, found=value.dtype
            )


def _check_shows(mask: Expr) -> None:
    """Raise for entries that are neither 0 nor 1, such as those of masks that are added to scores."""
    if not isinstance(mask, Array) or mask.device is None or mask.device.type == "meta":
        return
    others = mask.value[(mask.value != 0) & (mask.value != 1)]
    if others.numel():
        raise CheckpointError(
            f"entry {others[0].item()} of {mask!r} is neither 0 nor 1",
            nodes=[mask],
            expected="1 for tokens, 0 for padding",
            found=others[0].item(),
        )


def check_sequence(architecture: Architecture, tokens: Expr) -> int:
    """Length of the sequences; raises for none, and for more tokens than the model has positions."""
    if not tokens.ndim:
        raise CheckpointError(
            f"{tokens!r} is a single token, not a sequence", nodes=[tokens], expected="[*batch, seq]", found=()
        )
    seq, longest = tokens.shape[-1], architecture.n_ctx
    if not isinstance(seq, int):
        raise CheckpointError(
            f"the length of {tokens!r} is not known yet",
            nodes=[tokens],
            expected="a number",
            found=seq,
            hint="bind_sizes gives sizes a value; model.lower() is the expression for any length",
        )
    if not seq or (longest is not None and seq > longest):
        raise CheckpointError(
            f"sequences of {seq} tokens do not fit the model's {longest} positions",
            nodes=[tokens],
            expected=f"1 to {longest}",
            found=seq,
        )
    return seq


def check_range(values: Expr, size: int, what: str, *, lowest: int = 0) -> None:
    """Raise for a value outside [lowest, size), as far as values are known."""
    if not isinstance(values, Array) or values.device is None or values.device.type == "meta":
        return
    tensor = values.value
    if tensor.numel() and not (lowest <= int(tensor.min()) and int(tensor.max()) < size):
        bad = tensor[(tensor < lowest) | (tensor >= size)]
        raise CheckpointError(
            f"{what} {int(bad[0])} of {values!r} is out of range",
            nodes=[values],
            expected=f"{lowest} to {size - 1}",
            found=int(bad[0]),
        )


def _rounded(factor: float, dtype: torch.dtype | None) -> float:
    """As a tensor of that dtype holds it: sqrt(3072) is 55.5 in bfloat16, and Gemma was trained with that."""
    return factor if dtype is None else torch.tensor(factor, dtype=dtype).item()


def _looked_up(table: Expr, index: Expr, name: str) -> Expr:
    return GeneralFunction.gen_index(table, index, index_dim=0, name=name)


def _type_embeddings(architecture: Architecture, arrays: Mapping[str, Expr], types: Expr | None) -> Expr:
    table = arrays["t.w.type_embeds"]
    if types is None:
        return table.index(I[0], name="t.w.type_embeds_idxed")
    check_range(types, architecture.embedding.n_token_types, "token type")
    return _looked_up(table, types, "t.w.type_embeds_idxed")
