"""What is patched at a time: one head, one position, one neuron, or all of them, as the caller asks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from scrub.discovery.patching.sites import Site
from scrub.discovery.tables import Axis, Label
from scrub.graph import DiscoveryError
from scrub.tasks.task import Task

_LAST = ("neuron", "key")
_SECOND = ("position", "query")
BY_NAMES = ("example", "layer", "head", "position", "query", "key", "neuron")


@dataclass(frozen=True)
class Units:
    """The units of a table along each axis of an activation [n, heads, seq, last], in this order of axes.

    Attributes:
        by: the axes asked for.
        heads: sets of heads that are patched together.
        positions: labels of positions; None for all positions at once.
        last: sets of indices of the last axis; None for all of them at once.
        joint: positions to patch together where `positions` is None; None for all.
        axes: the labels of the axes after the layer.
    """

    by: tuple[str, ...]
    heads: tuple[tuple[int, ...], ...]
    positions: tuple[Label, ...] | None
    last: tuple[tuple[int, ...], ...] | None
    joint: tuple[Label, ...] | None
    axes: tuple[Axis, ...]

    @property
    def n(self) -> int:
        """How many units a layer has."""
        return len(self.heads) * self.n_places

    @property
    def n_places(self) -> int:
        """How many units a layer has for each set of heads."""
        return len(self.positions or (None,)) * len(self.last or (None,))

    def masks(self, batch: Task, size: int, start: int, stop: int) -> torch.Tensor:
        """Where units `start` to `stop` of the positions and last axes are, bool [units, n, seq, size or 1]."""
        seq = batch.tokens.shape[1]
        n_last = len(self.last or (None,))
        result: list[torch.Tensor] = []
        for unit in range(start, stop):
            position, last = divmod(unit, n_last)
            labels = self.joint if self.positions is None else (self.positions[position],)
            at = _at_positions(batch, labels)[:, :, None]
            if self.last is not None:
                chosen = torch.zeros(size, dtype=torch.bool)
                chosen[list(self.last[last])] = True
                at = at & chosen
            result.append(at)
        assert all(mask.shape[1] == seq for mask in result)
        return torch.stack(result)

    def summed(self, values: torch.Tensor, batch: Task) -> torch.Tensor:
        """The sum of values over each unit, [n_units, n].

        Args:
            values: [n, heads, ..., seq, last], axes in between are summed over.
            batch: the examples.
        """
        values = values.flatten(2, -3).sum(2) if values.ndim > 4 else values
        if self.last is None:
            values = values.sum(-1, keepdim=True)
        else:
            values = torch.stack([values[..., list(chosen)].sum(-1) for chosen in self.last], -1)
        groups = [self.joint] if self.positions is None else [(label,) for label in self.positions]
        at = torch.stack([_at_positions(batch, labels) for labels in groups]).to(values)
        values = torch.stack([values[:, list(heads)].sum(1) for heads in self.heads])  # [sets, n, seq, last]
        return torch.einsum("hnsl,pns->hpln", values, at).flatten(0, 2)

    def blocks(self, size: int) -> Iterator[tuple[int, int]]:
        """Ranges of units of the positions and last axes, at most `size` long."""
        for start in range(0, self.n_places, size):
            yield start, min(start + size, self.n_places)


def units_of(
    task: Task,
    site: Site,
    by: Sequence[str],
    *,
    n_heads: int,
    n_last: int,
    heads: Sequence[int] | None,
    positions: Sequence[Label] | None,
    neurons: Sequence[int] | None,
) -> Units:
    """The units that are asked for.

    Args:
        task: the examples.
        site: the kind of activation.
        by: names of axes, "layer" among them.
        n_heads, n_last: sizes of the activation's axes.
        heads, positions, neurons: those wanted; all if None. Positions by number, or by their name in the task.

    Raises:
        DiscoveryError: the activation has no such axis, or the prompts have no positions in common.
    """
    _check_by(site, by)
    _check_positions(task, by, positions)
    last_name = site.axes[-1] if site.axes[-1] in _LAST else None
    all_heads = _chosen("head", heads, n_heads)
    all_last = _chosen(last_name or "neuron", neurons, n_last)
    places = tuple(range(task.tokens.shape[1])) if positions is None else tuple(positions)
    by_position = bool(set(by) & set(_SECOND))
    by_last = last_name is not None and last_name in by
    if neurons is not None and last_name is None:
        raise DiscoveryError(f"{site.name} has no neurons to choose", expected=None, found=tuple(neurons))
    axes = [Axis("head", all_heads)] if "head" in by else []
    axes += [Axis(next(name for name in by if name in _SECOND), places)] if by_position else []
    axes += [Axis(last_name, all_last)] if last_name is not None and by_last else []
    grouped = None if neurons is None else (all_last,)
    return Units(
        tuple(by),
        tuple((head,) for head in all_heads) if "head" in by else (all_heads,),
        places if by_position else None,
        tuple((i,) for i in all_last) if by_last else grouped,
        None if by_position or positions is None else tuple(positions),
        tuple(axes),
    )


def _check_by(site: Site, by: Sequence[str]) -> None:
    has = {*site.axes, "layer", "example", *(_SECOND if "query" in site.axes else ())}
    wrong = [name for name in by if name not in has]
    if wrong or len(set(by)) < len(by) or "layer" not in by or set(_SECOND) <= set(by):
        raise DiscoveryError(
            f"{site.name} cannot be patched by {', '.join(map(repr, by))}",
            axis=tuple(by),
            expected=tuple(name for name in BY_NAMES if name in has),
            found=tuple(by),
            hint='name "layer", and each axis once'
            if not wrong
            else f"{site.what} has no axis {', '.join(map(repr, wrong))}",
        )


def _check_positions(task: Task, by: Sequence[str], positions: Sequence[Label] | None) -> None:
    unknown = [at for at in positions or () if isinstance(at, str) and at not in task.token_positions]
    if unknown:
        raise DiscoveryError(
            f"task {task.name!r} names no position {unknown[0]!r}",
            expected=tuple(task.token_positions),
            found=unknown[0],
            hint="positions are numbers, or names in task.token_positions",
        )
    seq = task.tokens.shape[1]
    outside = [at for at in positions or () if isinstance(at, int) and not 0 <= at < seq]
    if outside:
        raise DiscoveryError(f"there is no position {outside[0]}", expected=f"0 to {seq - 1}", found=outside[0])
    by_number = positions is None or any(isinstance(at, int) for at in positions)
    if (set(by) & {*_SECOND, "key"} or positions is not None) and by_number and not task.is_aligned:
        raise DiscoveryError(
            f"task {task.name!r} has prompts of several lengths, whose positions do not correspond",
            expected="prompts of one length",
            found=sorted({int(n) for n in task.mask.sum(1)}),
            hint="name positions: positions=('end', ...) of task.token_positions; or use prompts of one length",
        )


def _chosen(name: str, wanted: Sequence[int] | None, n: int) -> tuple[int, ...]:
    if wanted is None:
        return tuple(range(n))
    wrong = [i for i in wanted if not 0 <= i < n]
    if wrong or not len(wanted):
        raise DiscoveryError(
            f"there is no {name} {wrong or list(wanted)}", expected=f"0 to {n - 1}", found=list(wanted)
        )
    return tuple(wanted)


def _at_positions(batch: Task, labels: Sequence[Label] | None) -> torch.Tensor:
    """bool [n, seq], at these positions of each prompt."""
    n, seq = batch.tokens.shape
    if labels is None:
        return torch.ones(n, seq, dtype=torch.bool)
    result = torch.zeros(n, seq, dtype=torch.bool)
    for label in labels:
        at = torch.full((n,), label) if isinstance(label, int) else batch.token_positions[label].cpu()
        result |= torch.arange(seq) == at[:, None]
    return result
