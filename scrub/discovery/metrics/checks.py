"""What a metric is given, and what it returns, checked; and absent prediction places made harmless."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import torch

from scrub.graph import DiscoveryError

if TYPE_CHECKING:
    from scrub.tasks.task import Task

_HALF = (torch.float16, torch.bfloat16)


def no_absent(logits: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
    """Logits [b, k, V], at least float32, with 0 where `present` [b, k] is False; no gradient goes there."""
    logits = logits.float() if logits.dtype in _HALF else logits
    return logits if bool(present.all()) else torch.where(present[..., None], logits, 0.0)


def require_fitting(name: str, logits: torch.Tensor, batch: Task, original: torch.Tensor | None) -> None:
    """Raise a `DiscoveryError` unless the logits are those of the batch's prediction places."""
    places = tuple(batch.positions.shape)
    if logits.ndim != 3 or tuple(logits.shape[:2]) != places:
        raise DiscoveryError(
            f"metric {name!r} was given logits of shape {tuple(logits.shape)} for {places[0]} examples with "
            f"{places[1]} prediction places each",
            expected=(*places, "V"),
            found=tuple(logits.shape),
            hint="pick the logits at batch.positions: [examples, places, vocabulary]",
        )
    if not logits.is_floating_point():
        raise DiscoveryError(
            f"metric {name!r} was given logits of {logits.dtype}",
            expected="a floating-point type",
            found=logits.dtype,
            hint="pass logits, not tokens",
        )
    if original is not None and (original.shape != logits.shape or original.device != logits.device):
        raise DiscoveryError(
            f"metric {name!r} was given original logits {_described(original)} and logits {_described(logits)}",
            expected=_described(logits),
            found=_described(original),
            hint="take the original logits at the same batch.positions, on the same device",
        )


def require_needs(
    name: str, needs: Collection[str], logits: torch.Tensor, batch: Task, original: torch.Tensor | None
) -> None:
    """Raise a `DiscoveryError` unless what the metric needs is there, and its tokens are of this vocabulary."""
    if "original" in needs and original is None:
        raise DiscoveryError(
            f"metric {name!r} compares with the original logits, and was given none",
            expected=tuple(logits.shape),
            found=None,
            hint="pass original=, the logits of the model itself at the same places",
        )
    if "wrong" in needs and not batch.wrong.shape[-1]:
        raise DiscoveryError(
            f"metric {name!r} compares with wrong answers, and task {batch.name!r} has none, from example 0 on",
            expected="wrong answers for every example",
            found=tuple(batch.wrong.shape),
            hint="give the task wrong=, or take a metric that needs none, such as answer_log_probability",
        )
    for field, tokens in (("answers", batch.answers), ("wrong", batch.wrong)):
        if field in needs:
            _require_known(name, field, tokens, logits.shape[-1])


def checked_result(name: str, result: Any, logits: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
    """What a metric's function returned, if it is a number for each example and none is NaN."""
    n = logits.shape[0]
    if not isinstance(result, torch.Tensor) or tuple(result.shape) != (n,):
        found = tuple(result.shape) if isinstance(result, torch.Tensor) else type(result).__name__
        raise DiscoveryError(
            f"metric {name!r} returned {found} for {n} examples",
            expected=(n,),
            found=found,
            hint="return one number for each example: reduce over places and vocabulary, not over examples",
        )
    bad = result.detach().isnan().nonzero().flatten()
    if len(bad):
        example = int(bad[0])
        cause = (~logits.detach()[example][present[example]].isfinite()).sum().item()
        raise DiscoveryError(
            f"metric {name!r} is NaN at example {example} ({len(bad)} of {n} examples)",
            expected="numbers",
            found=float("nan"),
            hint=f"{cause} logits of that example are not finite: look for overflow in the model, or run it in float32"
            if cause
            else "the logits of that example are finite: look at the metric's function, and at the original logits",
        )
    return result


def _require_known(name: str, field: str, tokens: torch.Tensor, vocabulary: int) -> None:
    """Tokens [b, k, a] are all in the vocabulary."""
    outside = (tokens >= vocabulary).nonzero()
    if len(outside):
        example = int(outside[0, 0])
        token = int(tokens[example].max())
        raise DiscoveryError(
            f"metric {name!r}: token {token} in {field} of example {example} is not among {vocabulary} logits",
            expected=f"below {vocabulary}",
            found=token,
            hint="the task was made with the tokenizer of another model",
        )


def _described(logits: torch.Tensor) -> str:
    return f"{tuple(logits.shape)} on {logits.device}"
