"""Splitting an activation into its projections onto given subspaces, and the rest.

    x  ->  (x Q_a^T) Q_a + (x Q_b^T) Q_b + (x - (x Q^T) Q)

where the rows of Q_a are an orthonormal basis of subspace a, and Q is all of them.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from typing import cast

import torch

from scrub.graph import Add, Array, Einsum, Expr
from scrub.graph.errors import SplitError
from scrub.models.splits.axes import Axis, axis_number, label_of
from scrub.rewrite.rules.concatenation.parts import part_name

_SMALLEST_SINE = 1e-5
"""Of the angle between a direction and those before it; below this they count as dependent. More in low precision."""


def split_subspace(
    directions: Mapping[str, torch.Tensor], *, axis: Axis = -1, sequential: bool = False
) -> Callable[[Expr], Expr]:
    """A transform for `update`: an activation [.., d_model] as a sum of projections onto subspaces, plus the rest.

        x  ->  x.{label} + ... + x.rest

    `x.{label}` is the projection onto what the directions of a label span, computed from its coordinates
    `x.{label}.coords` [.., k] with the orthonormal basis `x.{label}.basis` [k, d_model]. `x.rest` is what is left of x,
    and computes the projections by itself: whoever replaces `x.{label}` or its coordinates changes x there.

    The basis is that of Gram-Schmidt on the directions in order, computed in float64 (by QR) and then rounded to the
    activation's dtype, or to that of the directions where the activation's is open. So a single direction v has the
    coordinate x . v / |v|. Values are equal to rounding, where they are finite.

    Args:
        directions: label -> [k, d_model], linearly independent; they need not be orthogonal or of length 1.
        axis: that of the directions, by number or name; coordinates take its place.
        sequential: let subspaces overlap: each is taken without its part in those before it. If not, subspaces have
            to be orthogonal to each other.

    Raises:
        SplitError: directions that are linearly dependent, of the wrong size, not finite or not floating; subspaces
            that are not orthogonal, with the angle; the activation is not floating, or has no such axis.

    >>> from scrub.graph import elementwise
    >>> resid = elementwise("tanh", Array(torch.zeros(5, 8), "x"), name="resid")
    >>> split_subspace({"gender": torch.ones(1, 8)})(resid).print(max_depth=2)
    'resid' [5, 8] Add
      'resid.gender' [5, 8] Einsum ab,bc->ac
        'resid.gender.coords' [5, 1] Einsum ab,cb->ac ...
        'resid.gender.basis' [1, 8] Array ...
      'resid.rest' [5, 8] Add
        'resid' [5, 8] GeneralFunction tanh ...
        ... [5, 8] Einsum ab,->ab ...
    """
    bases = _bases(directions, is_sequential=sequential)

    def transform(expr: Expr) -> Expr:
        at = axis_number("split_subspace", expr, axis)
        _check_fits(expr, at, bases)
        tensors = [_like(expr, basis, directions) for basis in bases.values()]
        parts = [
            _projection(expr, at, part_name(expr, label), tensor) for label, tensor in zip(bases, tensors, strict=True)
        ]
        removed = _projection(expr, at, None, torch.cat(tensors), basis_name=part_name(expr, "rest.basis"))
        rest = Add(expr, removed.scale(-1.0), name=part_name(expr, "rest"))
        return Add(*parts, rest, name=expr.name)

    return transform


def _projection(expr: Expr, at: int, name: str | None, basis: torch.Tensor, *, basis_name: str | None = None) -> Einsum:
    """(x Q^T) Q along an axis."""
    names = [None, expr.axis_names[at]]
    q = Array(basis, basis_name if name is None else f"{name}.basis", axis_names=names)
    axes, k = tuple(range(expr.ndim)), expr.ndim
    in_coords = (*axes[:at], k, *axes[at + 1 :])
    coords_name = None if name is None else f"{name}.coords"
    coords = Einsum((expr, axes), (q, (k, at)), out_axes=in_coords, name=coords_name)
    return Einsum((coords, in_coords), (q, (k, at)), out_axes=axes, name=name)


def _bases(directions: Mapping[str, torch.Tensor], *, is_sequential: bool) -> dict[str, torch.Tensor]:
    """label -> orthonormal rows [k, d_model], float64."""
    _check_directions(directions)
    tolerance = max(_SMALLEST_SINE, *(16 * torch.finfo(given.dtype).eps for given in directions.values()))
    rows = {label: given.detach().to("cpu", torch.float64) for label, given in directions.items()}
    if is_sequential:
        together = _orthonormal(
            [(label, i, row) for label, own in rows.items() for i, row in enumerate(own)], tolerance
        )
        parts = cast("tuple[torch.Tensor, ...]", together.split([len(own) for own in rows.values()]))
        return dict(zip(rows, parts, strict=True))
    bases = {
        label: _orthonormal([(label, i, row) for i, row in enumerate(own)], tolerance) for label, own in rows.items()
    }
    _check_orthogonal(bases, tolerance)
    return bases


def _orthonormal(rows: list[tuple[str, int, torch.Tensor]], tolerance: float) -> torch.Tensor:
    """Gram-Schmidt on directions (label, number, [d_model]), in order: [n, d_model]."""
    d_model = len(rows[0][2])
    for i, (label, number, row) in enumerate(rows):
        if i >= d_model or not bool(row.any()):
            why = "is zero" if i < d_model else f"is number {i + 1} in a space of {d_model} dimensions"
            raise _dependent(label, number, why)
    scaled = torch.stack([row / row.abs().max() for _, _, row in rows])
    unit = torch.nn.functional.normalize(scaled, dim=1)
    q, r = cast("tuple[torch.Tensor, torch.Tensor]", torch.linalg.qr(unit.T))
    sines = cast("list[float]", r.diagonal().abs().tolist())
    for (label, number, _), sine in zip(rows, sines, strict=True):
        if sine < tolerance:
            raise _dependent(label, number, "is, to rounding, a combination of those before it")
    return (q * r.diagonal().sign()).T.contiguous()


def _dependent(label: str, number: int, why: str) -> SplitError:
    return SplitError(
        f"split_subspace: direction {number} of {label!r} {why}",
        expected="linearly independent directions",
        found=(label, number),
        hint="leave it out; torch.linalg.svd gives a basis of what directions span",
    )


def _check_directions(directions: Mapping[str, torch.Tensor]) -> None:
    if not isinstance(directions, Mapping) or not directions:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise SplitError(
            f"split_subspace: {directions!r} are no directions",
            expected="{label: tensor [k, d_model]}",
            found=directions,
            hint="give at least one subspace",
        )
    for label, given in directions.items():
        problem, hint = _problem_of(label, given)
        if problem is not None:
            shape = tuple(given.shape) if isinstance(given, torch.Tensor) else given  # pyright: ignore[reportUnnecessaryIsInstance]
            raise SplitError(
                f"split_subspace: the directions of {label!r} {problem}",
                expected="floating [k, d_model]",
                found=shape,
                hint=hint,
            )
    widths = {label: given.shape[1] for label, given in directions.items()}
    if len(set(widths.values())) > 1:
        raise SplitError(
            f"split_subspace: the directions differ in length: {widths}",
            expected="one d_model",
            found=widths,
            hint="all directions lie in the space of one activation",
        )


def _problem_of(label: object, given: object) -> tuple[str | None, str | None]:
    """What is wrong with the directions of a label, and a hint."""
    if not isinstance(label, str) or not label or label == "rest":
        return "need another name", "`rest` is what the subspaces leave" if label == "rest" else "name them by text"
    if not isinstance(given, torch.Tensor):
        return f"are a {type(given).__name__}", "give a tensor [k, d_model]"
    if given.ndim != 2 or not given.numel():
        one = "a single direction v is v[None]" if given.ndim == 1 else "one row for each direction"
        return f"have shape {tuple(given.shape)}", one
    if not given.is_floating_point():
        return f"are {given.dtype}", "convert them to a floating dtype"
    if given.is_meta:
        return "are meta tensors, without values", "give their values"
    if not bool(given.isfinite().all()):
        return "are not finite", "see where nan or infinity comes from"
    return None, None


def _check_orthogonal(bases: Mapping[str, torch.Tensor], tolerance: float) -> None:
    """The smallest angle between two subspaces has the largest singular value of Q_a Q_b^T as cosine."""
    labels = list(bases)
    for i, second in enumerate(labels):
        for first in labels[:i]:
            cosine = float(cast("torch.Tensor", torch.linalg.matrix_norm(bases[first] @ bases[second].T, ord=2)))
            if cosine > tolerance:
                angle = math.degrees(math.acos(min(cosine, 1.0)))
                raise SplitError(
                    f"split_subspace: subspaces {first!r} and {second!r} are not orthogonal, the smallest angle "
                    f"between them is {angle:.3g} degrees",
                    expected=90.0,
                    found=angle,
                    hint=f"sequential=True takes {second!r} without its part in {first!r}; or make them one subspace",
                )


def _check_fits(expr: Expr, at: int, bases: Mapping[str, torch.Tensor]) -> None:
    width = next(iter(bases.values())).shape[1]
    if expr.shape[at] != width:
        raise SplitError(
            f"split_subspace of {label_of(expr)}: the directions have length {width}, axis {at} has size "
            f"{expr.shape[at]}",
            nodes=[expr],
            axis=at,
            expected=expr.shape[at],
            found=width,
            hint="axis= says along which axis the directions lie",
        )
    if expr.dtype is not None and not expr.dtype.is_floating_point:
        raise SplitError(
            f"split_subspace of {label_of(expr)}: it is {expr.dtype}",
            nodes=[expr],
            expected="a floating dtype",
            found=expr.dtype,
            hint="only activations of floating numbers have projections",
        )


def _like(expr: Expr, basis: torch.Tensor, directions: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """The basis in the activation's dtype and on its device; where these are open, in those of the directions."""
    given = list(directions.values())
    dtype = expr.dtype or functools.reduce(torch.promote_types, (tensor.dtype for tensor in given))
    return basis.to(expr.device or given[0].device, dtype)
