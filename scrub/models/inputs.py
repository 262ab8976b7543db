"""What attention needs besides the residual stream: masks, rotary tables, positions of ALiBi and shortformer."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from scrub.graph import Array, CheckpointError, Expr, GeneralFunction, cast_to
from scrub.models.architecture import Architecture, Attention, RotaryTable
from scrub.models.embedding import check_range, counted_positions, position_embeddings
from scrub.models.parts.attention import masked_score, rotary_symbols
from scrub.models.parts.einsums import on_last_axes
from scrub.models.tables import cos_and_sin


def attention_inputs(
    architecture: Architecture,
    arrays: Mapping[str, Expr],
    seq: int,
    mask: Expr | None,
    positions: Expr | None,
    *,
    dtype: torch.dtype,
    device: torch.device,
) -> dict[str, Expr]:
    """Name of a free symbol of `t.bind_w` -> what it is bound to.

    Args:
        architecture: of the model.
        arrays: the embedding arrays.
        seq: length of the sequences.
        mask: [*batch, seq], 1 for tokens and 0 for padding.
        positions: [*batch, seq].
        dtype, device: of the model.

    Raises:
        CheckpointError: positions that the model does not have or take, sequences too long for its ALiBi, or layers
            that mask or rotate differently under one name.
    """
    _check_takes_positions(architecture, positions)
    _check_shared_inputs(architecture)
    inputs: dict[str, Expr] = {}
    for attention in dict.fromkeys(layer.attention for layer in architecture.layers):
        if attention.mask_name not in inputs:
            inputs[attention.mask_name] = mask_of(attention, seq, mask, dtype=dtype, device=device)
        if attention.rotary is not None:
            cos, sin = rotary_symbols(attention.rotary, seq, attention.d_head)
            if cos.name not in inputs:
                pair = _rotary(architecture, attention.rotary, attention.d_head, seq, positions, dtype, device)
                inputs |= {str(symbol.name): value for symbol, value in zip((cos, sin), pair, strict=True)}
        if attention.alibi_slopes is not None and "a.alibi.positions" not in inputs:
            _check_alibi_stays_below_masks(attention.alibi_slopes, seq, dtype)
            inputs["a.alibi.positions"] = _alibi_positions(seq, mask, dtype, device)
    if architecture.embedding.positions == "shortformer":
        inputs["a.pos_input"] = position_embeddings(architecture, arrays, seq, mask, positions)
    return inputs


def _check_takes_positions(architecture: Architecture, positions: Expr | None) -> None:
    a = architecture
    is_embedded = a.embedding.positions != "none" and a.embedding.patches is None
    if positions is None or is_embedded or any(layer.attention.rotary is not None for layer in a.layers):
        return
    raise CheckpointError("this model takes no positions", nodes=[positions], hint="leave out position_ids")


def _check_shared_inputs(architecture: Architecture) -> None:
    """Raise where one input would be bound for layers that need different ones."""
    known: dict[str, object] = {}
    for attention in dict.fromkeys(layer.attention for layer in architecture.layers):
        needs: dict[str, object] = {attention.mask_name: f"is_causal={attention.is_causal}"}
        if attention.rotary is not None:
            needs[f"a.{attention.rotary.name}"] = (attention.rotary, f"d_head={attention.d_head}")
        for name, need in needs.items():
            if known.setdefault(name, need) != need:
                raise CheckpointError(
                    f"layers whose attention differs share the input {name}", expected=known[name], found=need
                )


def _check_alibi_stays_below_masks(slopes: tuple[float, ...], seq: int, dtype: torch.dtype) -> None:
    """Later keys are preferred by `slope` a position, which what is added to their scores as masked must outweigh."""
    steepest, most = max(map(abs, slopes)), -masked_score(dtype) / 2
    if seq * steepest > most:
        longest = int(most / steepest)
        raise CheckpointError(
            f"sequences of {seq} tokens are too long for ALiBi here", expected=f"at most {longest}", found=seq
        )


def mask_of(attention: Attention, seq: int, mask: Expr | None, *, dtype: torch.dtype, device: torch.device) -> Expr:
    """[*batch, query, key]: 1 where a query may attend to a key, 0 elsewhere.

    >>> causal = Attention(1, 1, 4, 0.5, window=2)
    >>> mask_of(causal, 3, None, dtype=torch.float32, device=torch.device("cpu")).evaluate()
    tensor([[1., 0., 0.],
            [1., 1., 0.],
            [0., 1., 1.]])
    """
    seen = torch.ones(seq, seq, dtype=dtype, device=device)
    if attention.is_causal:
        seen = seen.tril()
    if attention.window is not None:
        seen = seen.triu(1 - attention.window)
        if not attention.is_causal:
            seen = seen.tril(attention.window - 1)
    name = "t.a.c.causal_mask" if attention.is_causal else "t.a.c.mask"
    if attention.window is not None:
        name = f"{name}.window_{attention.window}"
    among = Array(seen, name)
    if mask is None:
        return among
    shown = mask if mask.dtype == dtype else cast_to(mask, dtype)
    return on_last_axes("q k, ... k -> ... q k", among, shown, name=f"{name}.padded")


def _rotary(
    architecture: Architecture,
    rotary: RotaryTable,
    d_head: int,
    seq: int,
    positions: Expr | None,
    dtype: torch.dtype,
    device: torch.device,
) -> tuple[Expr, Expr]:
    """Cosine and sine: arrays where positions are known, else rows of the table of all positions.

    That of a model without a longest sequence has `seq` rows; a larger position is an error when it is looked up.
    """
    names = [f"t.a.c.{rotary.name}.{part}" for part in ("cos", "sin")]
    known = torch.arange(seq, device=device) if positions is None else None
    if isinstance(positions, Array):
        check_range(positions, architecture.n_ctx or 2**62, "position")
        known = positions.value
    at = torch.arange(architecture.n_ctx or seq, device=device) if known is None else known
    if known is None:
        _check_same_at_any_length(rotary, at.numel(), positions)
    is_countable = positions is not None and at.numel() and at.device.type != "meta"
    tables = cos_and_sin(rotary, at, seq_len=int(at.max()) + 1 if is_countable else seq, d_head=d_head, dtype=dtype)
    cos, sin = (Array(table, name) for table, name in zip(tables, names, strict=True))
    if known is not None or positions is None:
        return cos, sin
    rows = [GeneralFunction.gen_index(t, positions, index_dim=0, name=f"{t.name}_idxed") for t in (cos, sin)]
    return rows[0], rows[1]


def _check_same_at_any_length(rotary: RotaryTable, longest: int, positions: Expr | None) -> None:
    """Raise if the angles depend on the largest position, which is not known."""
    short, long = (rotary.frequencies(length)[0] for length in (1, longest))
    if not torch.equal(short, long):
        raise CheckpointError(
            f"the rotary angles of this model depend on the largest position, and {positions!r} has no known values",
            nodes=[] if positions is None else [positions],
            expected="position_ids as a tensor, or none",
            found=positions,
        )


def _alibi_positions(seq: int, mask: Expr | None, dtype: torch.dtype, device: torch.device) -> Expr:
    """Positions of keys; with a mask, the number of tokens it shows up to each, 0 at padding."""
    if mask is None:
        return Array(torch.arange(seq, dtype=dtype, device=device), "t.a.c.alibi_positions")
    counted = counted_positions(mask, seq)
    shown = mask if mask.dtype == torch.int64 else cast_to(mask, torch.int64)
    product = on_last_axes("... k, ... k -> ... k", counted, shown, name="t.a.alibi_positions")
    return cast_to(product, dtype)
