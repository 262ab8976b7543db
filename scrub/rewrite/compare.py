"""What a rewrite that keeps the value must not change: shape, dtype, names (SPEC 1.4), values."""

from __future__ import annotations

import difflib
import itertools

import torch

from scrub.graph import Array, Expr, Module, Scalar, Symbol, postorder, to_text

_MAX_DIFF_LINES = 60


def shape_problem(before: Expr, after: Expr) -> str | None:
    """How shape or dtype changed, or None."""
    if before.shape != after.shape:
        return f"the shape was {before.shape}, is {after.shape}"
    if before.dtype != after.dtype and not _has_undecided_dtype(before) and not _has_undecided_dtype(after):
        return f"the dtype was {before.dtype}, is {after.dtype}"
    return None


def _has_undecided_dtype(expr: Expr) -> bool:
    """Parameters and free symbols have no dtype, so that of what is above them is known only once they are bound."""
    return bool(expr.free_symbols) or any(isinstance(node, Module) for node in postorder([expr]))


def name_problem(before: Expr, after: Expr) -> str | None:
    """How the root lost its name, or a leaf got another, or None."""
    is_old_leaf = isinstance(after, Array | Scalar | Symbol) and after in set(postorder([before]))
    if before.name is not None and after.name != before.name and not is_old_leaf:
        return f"the name {before.name!r} became {after.name!r}"
    old, new = _array_names(before), _array_names(after)
    for digest, names in new.items():
        if digest in old and not old[digest] & names and names != {before.name}:
            return f"the leaf {sorted(map(repr, old[digest]))[0]} was renamed to {sorted(map(repr, names))[0]}"
    return None


def _array_names(expr: Expr) -> dict[str, set[str | None]]:
    """Digest of a tensor that is not empty -> the names it is held under."""
    names: dict[str, set[str | None]] = {}
    for node in postorder([expr]):
        if isinstance(node, Array) and node.numel != 0:
            names.setdefault(node.frozen.digest, set()).add(node.name)
    return names


def value_problem(old: torch.Tensor, new: torch.Tensor, *, rtol: float, atol: float) -> str | None:
    """Where two values differ most, or None if they agree; nan agrees with nan."""
    if old.shape != new.shape:
        return f"the value had shape {tuple(old.shape)}, has {tuple(new.shape)}"
    if old.dtype == torch.bool or new.dtype == torch.bool:
        old, new = old.to(torch.int64), new.to(torch.int64)
    if torch.allclose(new, old.to(new.dtype), rtol=rtol, atol=atol, equal_nan=True):
        return None
    a, b = old.to(torch.float64), new.to(torch.float64)
    difference = (a - b).abs()
    difference[torch.isnan(difference)] = float("inf")
    difference[(a == b) | (torch.isnan(a) & torch.isnan(b))] = 0.0
    at = int(difference.argmax())
    index = tuple(int(i) for i in torch.unravel_index(torch.tensor(at), old.shape)) if old.ndim else ()
    num_different = int((difference > atol + rtol * a.abs().nan_to_num(posinf=0.0)).sum())
    return (
        f"the value changed at {num_different} of {old.numel()} positions, most at {list(index)}: "
        f"it was {a[index].item():.10g}, is {b[index].item():.10g} (difference {difference[index].item():.3g})"
    )


def text_difference(before: Expr, after: Expr) -> str:
    """Lines of the two expressions as text that differ, with their surroundings."""
    lines = difflib.unified_diff(
        to_text(before).splitlines(), to_text(after).splitlines(), "before", "after", lineterm="", n=2
    )
    shown = list(itertools.islice(lines, _MAX_DIFF_LINES + 1))
    if len(shown) > _MAX_DIFF_LINES:
        shown[-1] = "..."
    return "\n".join(shown)
