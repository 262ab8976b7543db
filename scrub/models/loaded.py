"""A model that has been loaded: its architecture and weights, and the expression of its logits on given inputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from scrub.graph import Array, CheckpointError, Expr, Module, Size
from scrub.models.architecture import Architecture
from scrub.models.embedding import check_inputs, embedded_patches, embedded_tokens
from scrub.models.inputs import attention_inputs
from scrub.models.lower import Weight, as_expr, embedding_weights, lower_transformer
from scrub.models.names import ComponentNames
from scrub.rewrite import module_new_bind

Input = torch.Tensor | Expr


@dataclass(frozen=True)
class LoadedModel:
    """A transformer with its weights, in the names of the expression.

    Attributes:
        architecture: sizes and options.
        weights: expression name -> tensor, a view of what the model was loaded from; or an expression of such.
        family: `model_type`, or "transformer_lens".
        config: what it was loaded with.
        components: expression name -> name of the Hugging Face module, see `Family.components`.
        stored: expression name -> name of the Hugging Face weight, without the number of the layer.
        notes: what in the config has no effect here.
        source: where the tokenizer is, if anywhere.
    """

    architecture: Architecture
    weights: Mapping[str, Weight] = field(repr=False)
    family: str = "transformer"
    config: Any = field(default=None, repr=False)
    components: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    stored: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    notes: tuple[str, ...] = ()
    source: str | None = None

    @cached_property
    def tokenizer(self) -> Any:
        """Its tokenizer, from `transformers`.

        Raises:
            CheckpointError: the model was loaded from a module or a config, or its folder holds none.
        """
        if self.source is None:
            raise CheckpointError(
                "this model was loaded without a tokenizer",
                hint="load it from a folder that holds one, or use transformers.AutoTokenizer",
            )
        folder = Path(self.source)
        if folder.is_dir() and not any(any(folder.glob(files)) for files in ("tokenizer*", "vocab*", "*.model")):
            raise CheckpointError(
                f"the folder {folder} holds no tokenizer",
                expected="tokenizer.json",
                found=sorted(path.name for path in folder.iterdir()),
                hint="save it there with tokenizer.save_pretrained(folder)",
            )
        from transformers import AutoTokenizer

        tokenizers: Any = AutoTokenizer
        return tokenizers.from_pretrained(self.source)

    @cached_property
    def names(self) -> ComponentNames:
        """The names of its components: ours, TransformerLens' and Hugging Face's."""
        return ComponentNames(self.architecture, self.components, self.stored)

    @property
    def dtype(self) -> torch.dtype:
        """Of its weights."""
        return self._unembed.dtype or torch.get_default_dtype()

    @property
    def device(self) -> torch.device:
        """Of its weights."""
        return self._unembed.device or torch.device("cpu")

    @property
    def _unembed(self) -> Weight:
        return self.weights["t.w.unembed"]

    def lower(self, *, seq_len: Size | None = None) -> dict[str, Expr]:
        """The model as expressions; see `lower_transformer`."""
        return lower_transformer(self.weights, self.architecture, seq_len=seq_len)

    def call(
        self,
        tokens: Input,
        *,
        attention_mask: Input | None = None,
        position_ids: Input | None = None,
        token_type_ids: Input | None = None,
        model: Expr | None = None,
        name: str = "t.call",
    ) -> Module:
        """The logits on tokens: embeds them, and binds masks and positions.

        All inputs may have batch axes in front, and may be expressions (symbols, random variables) as well as tensors.

        Args:
            tokens: [*batch, seq] int64; for a model of images, pixels [*batch, channels, height, width].
            attention_mask: [*batch, seq], 1 for tokens and 0 for padding, on either side; None: no padding.
            position_ids: [*batch, seq] int64; None: what the model does by itself, 0, 1, 2, ... for most.
            token_type_ids: [*batch, seq] int64, for models that have token types; None: all 0.
            model: a rewritten `t.bind_w` to call instead.
            name: of the result.

        Returns:
            [*batch, seq, n_logits], or [*batch, n_logits] for a classifier. At padding, values mean nothing.

        Raises:
            CheckpointError: a token or position that the model does not have, too many of them, or an input it does
                not take.

        >>> from scrub.models import load_shipped
        >>> load_shipped("attn_only_2l").call(torch.tensor([[1, 2, 3, 4], [5, 6, 7, 8]])).shape
        (2, 4, 2048)
        """
        a = self.architecture
        x = as_expr(tokens, "tokens")
        mask, positions, types = (
            None if value is None else as_expr(value, what)
            for value, what in (
                (attention_mask, "attention_mask"),
                (position_ids, "position_ids"),
                (token_type_ids, "token_type_ids"),
            )
        )
        arrays = self.embedding_arrays
        mask, positions, types = (
            None if value is None else _for_all_rows(value, x) for value in (mask, positions, types)
        )
        given = {"attention_mask": mask, "position_ids": positions, "token_type_ids": types}
        check_inputs(a, x, {what: value for what, value in given.items() if value is not None})
        if a.embedding.patches is not None:
            embedded = embedded_patches(a, arrays, x)
        else:
            embedded = embedded_tokens(a, arrays, x, mask, positions, types)
        seq = int(embedded.shape[-2])
        bound = self.lower(seq_len=seq)["t.bind_w"] if model is None else model
        _check_length(bound, seq, x)
        inputs = {"t.input": embedded}
        inputs |= attention_inputs(a, arrays, seq, mask, positions, dtype=self.dtype, device=self.device)
        free = {symbol.name for symbol in bound.free_symbols}
        return module_new_bind(bound, *((key, value) for key, value in inputs.items() if key in free), name=name)

    @cached_property
    def embedding_arrays(self) -> dict[str, Expr]:
        """The arrays that embed tokens and positions, by name."""
        return {str(s.name): as_expr(self.weights[str(s.name)], s.name) for s in embedding_weights(self.architecture)}

    def weight_expressions(self) -> dict[str, Expr]:
        """The weights as expressions, each under its name."""
        return {name: as_expr(weight, name) for name, weight in self.weights.items()}


def _for_all_rows(value: Expr, tokens: Expr) -> Expr:
    """An input [1, seq] that goes with every row of tokens [batch, seq], as [seq]."""
    is_one = value.ndim > 1 and all(size == 1 for size in value.shape[:-1])
    if not is_one or value.shape[:-1] == tokens.shape[:-1]:
        return value
    if isinstance(value, Array):
        return Array(value.value.flatten(), value.name)
    return value.index([0] * (value.ndim - 1), name=value.name)


def _check_length(model: Expr, seq: int, tokens: Expr) -> None:
    """Raise if the model was lowered for another length."""
    lowered_for = next((s.shape[-2] for s in model.free_symbols if s.name == "t.input"), None)
    if isinstance(lowered_for, int) and lowered_for != seq:
        raise CheckpointError(
            f"the model was lowered for {lowered_for} tokens, {tokens!r} has {seq}",
            nodes=[model, tokens],
            expected=lowered_for,
            found=seq,
            hint=f"lower it with seq_len={seq}, or without seq_len for any length",
        )
