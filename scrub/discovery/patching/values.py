"""What replaces an activation: its value in another run, 0, or its mean over a dataset."""

from __future__ import annotations

import torch

from scrub.discovery.ablations import Ablation
from scrub.discovery.machine import Machine, Run
from scrub.discovery.patching.sites import Place, read_site
from scrub.graph import DiscoveryError
from scrub.tasks.task import Task


class Replacements:
    """Replacements of activations, for batches of a task.

    Args:
        machine: the model.
        ablation: which; means are of the activation itself, whatever it is.
        over: the dataset of means.
        batch_size: examples at a time, for means.

    Raises:
        DiscoveryError: a mean over positions of something that has a pair of positions.
    """

    def __init__(self, machine: Machine, ablation: Ablation, over: Task, batch_size: int) -> None:
        self._machine = machine
        self._ablation = ablation
        self._over = over
        self._batch_size = batch_size
        self._means: dict[tuple[str, int], torch.Tensor] = {}

    def of(self, place: Place, own: torch.Tensor, source: Run | None) -> torch.Tensor:
        """What replaces an activation, of the shape of `own`, [n, heads, *shape].

        Args:
            place: which activation.
            own: its value in the run that is patched.
            source: the run that values are taken from, where the ablation takes them from one.
        """
        if source is not None:
            return read_site(self._machine, place, source)
        if self._ablation.name == "zero":
            return torch.zeros_like(own)
        key = (place.site.name, place.layer)
        if key not in self._means:
            self._means[key] = self._mean(place)
        return self._means[key].to(own).expand_as(own)

    def _mean(self, place: Place) -> torch.Tensor:
        """[1, heads, *shape], over examples, and over positions unless means are per position."""
        per_position = self._ablation.name == "mean-positional"
        if not per_position and "query" in place.site.axes:
            raise DiscoveryError(
                f"{place.site.name} has pairs of positions, over which a mean says nothing",
                expected="ablation='mean-positional', 'zero', 'resample' or 'counterfactual'",
                found=self._ablation.name,
                hint="use ablation='mean-positional'",
            )
        total, count = torch.zeros(()), torch.zeros(())
        for batch in self._over.batches(self._batch_size):
            given = self._machine.source.given(batch.tokens, batch.mask)
            run = self._machine.run(given, keep_writes=True)
            value = read_site(self._machine, place, run).double()
            if per_position:
                total, count = total + value.sum(0, keepdim=True), count + len(batch)
                continue
            shown = batch.mask.reshape(len(batch), *[1] * (value.ndim - 3), batch.mask.shape[1], 1).to(value)
            total = total + (value * shown).sum((0, -2), keepdim=True)
            count = count + shown.sum((0, -2), keepdim=True)
        return total / count
