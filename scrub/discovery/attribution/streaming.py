"""Runs over a task, some examples at a time: progress, interrupts, and files that a run goes on from."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from scrub.discovery.attribution.sums import Sums
from scrub.discovery.stored import read, write
from scrub.graph import DiscoveryError
from scrub.tasks.task import Task

Progress = Callable[[int, int], None]

_KIND = "partial scores"
_WIDTH = 30


class PartialScoresWarning(UserWarning):
    """Attribution was interrupted, and the scores are means over the examples so far.

    Attributes:
        n, num_asked: examples that the scores are from, and examples of the task.
    """

    def __init__(self, n: int, num_asked: int) -> None:
        self.n, self.num_asked = n, num_asked
        super().__init__(
            f"interrupted: these scores are means over the first {n} of {num_asked} examples\n"
            "hint: checkpoint=path keeps what is done, and the same call with it goes on from there"
        )


@dataclass(frozen=True)
class Checkpoint:
    """A file of sums over the examples so far.

    Attributes:
        path: where it is.
        facts: what was asked for: a file of anything else is refused.
    """

    path: Path
    facts: Mapping[str, str]

    def load(self) -> Sums:
        """What the file holds; empty sums if there is none.

        Raises:
            DiscoveryError: it holds something else.
            FileError: it is no such file.
        """
        if not self.path.exists():
            return Sums()
        facts, tensors = read(self.path, _KIND)
        other = [name for name, value in self.facts.items() if facts["asked"].get(name) != value]
        if other:
            raise DiscoveryError(
                f"{self.path} holds the sums of another run: it differs in {', '.join(other)}",
                expected={name: self.facts[name] for name in other},
                found={name: facts["asked"].get(name) for name in other},
                hint="give this run a path of its own, or delete the file",
            )
        return Sums(int(facts["n"]), tensors)

    def save(self, sums: Sums) -> None:
        """Write the sums; an older file is replaced at once when everything is written."""
        write(self.path, _KIND, {"asked": dict(self.facts), "n": sums.n}, sums.parts)


def summed(
    task: Task,
    size: int,
    scores_of: Callable[[Task], torch.Tensor],
    *,
    progress: Progress | None,
    checkpoint: Checkpoint | None,
) -> Sums:
    """Sums over the examples of a task, `size` at a time.

    An interrupt ends the run; the sums are then those of the examples so far. What a batch would have added is added
    as a whole or not at all.

    Args:
        task: the examples.
        size: how many at a time.
        scores_of: the scores of each of some examples, [n, *axes].
        progress: called with (examples done, examples).
        checkpoint: where sums are kept.

    Raises:
        KeyboardInterrupt: before the first batch was done.
    """
    sums = Sums() if checkpoint is None else checkpoint.load()
    try:
        for start in range(sums.n, len(task), size):
            scores = scores_of(task[start : start + size])
            sums.add(scores)
            if checkpoint is not None:
                checkpoint.save(sums)
            if progress is not None:
                progress(sums.n, len(task))
    except KeyboardInterrupt:
        if not sums.n:
            raise
    return sums


def text_bar(done: int, total: int) -> None:
    """A bar on one line of stderr: what `progress=True` shows."""
    filled = _WIDTH * done // total
    end = "\n" if done == total else ""
    sys.stderr.write(f"\r[{'#' * filled}{'.' * (_WIDTH - filled)}] {done}/{total} examples{end}")
    sys.stderr.flush()
