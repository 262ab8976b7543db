"""Hugging Face's logits, in float32 as they are, in float64 without the roundings to float32 that are written into it.

Norms, softmaxes and scores of Hugging Face's models go through float32 whatever the dtype of the model. Here a float64
model stays float64 throughout, but for tables of cosines and sines, which are defined in float32, and constants.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode


class RoundingError(AssertionError):
    """An operation on float64 tensors gave float32 outside of what is defined in float32."""


class WithoutRounding(TorchFunctionMode):
    """Conversions of float64 tensors to float32 do nothing; any other way to float32 is a `RoundingError`.

    Attributes:
        skipped: how many conversions did nothing.
        is_suspended: whether operations are left alone for now.
    """

    def __init__(self) -> None:
        super().__init__()
        self.skipped = 0
        self.is_suspended = False

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if self.is_suspended or not _are_any(args, torch.float64):
            return func(*args, **kwargs)
        if func is torch.Tensor.float:
            self.skipped += 1
            return args[0]
        wanted = sum(value is torch.float32 for value in (*args, *kwargs.values()))
        self.skipped += wanted
        args = tuple(torch.float64 if arg is torch.float32 else arg for arg in args)
        kwargs = {key: torch.float64 if value is torch.float32 else value for key, value in kwargs.items()}
        result = func(*args, **kwargs)
        if _are_any([result], torch.float32):
            raise RoundingError(f"{func} rounds to float32")
        return result


def _are_any(values: Any, dtype: torch.dtype) -> bool:
    return any(isinstance(value, torch.Tensor) and value.dtype == dtype for value in values)


@contextmanager
def without_rounding(model: torch.nn.Module) -> Generator[WithoutRounding]:
    """The mode, suspended inside the modules of rotary embeddings."""
    mode = WithoutRounding()
    handles: list[Any] = []

    def suspend(*_: Any) -> None:
        mode.is_suspended = True

    def resume(*_: Any) -> None:
        mode.is_suspended = False

    for module in model.modules():
        if type(module).__name__.endswith("RotaryEmbedding"):
            handles.append(module.register_forward_pre_hook(suspend))
            handles.append(module.register_forward_hook(resume, always_call=True))
    try:
        with mode:
            yield mode
    finally:
        for handle in handles:
            handle.remove()


def hf_logits(
    model: Any,
    inputs: torch.Tensor,
    *,
    attention_mask: torch.Tensor | None = None,
    position_ids: torch.Tensor | None = None,
    token_type_ids: torch.Tensor | None = None,
) -> torch.Tensor:
    """Logits [batch, seq, vocab_size] of tokens [batch, seq], or [batch, n_classes] of pixels.

    In float64 nothing is rounded, see above. `attention_mask`, `position_ids`, `token_type_ids`: [batch, seq].
    """
    given = {"attention_mask": attention_mask, "position_ids": position_ids, "token_type_ids": token_type_ids}
    arguments: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    arguments |= {model.main_input_name: inputs, "return_dict": True}
    with torch.no_grad():
        if model.dtype == torch.float64:
            with without_rounding(model):
                return model(**arguments).logits
        return model(**arguments).logits
