"""Evaluation of a scrubbed model by distinct pairs of a subexpression and the rows that it reads (SPEC 9.5).

A scrubbed model is one expression in which what reads the same draws is one node. That leaves pairs that coincide by
chance: references, or different draws, that come to the same row. Subexpressions that read one draw only are computed
once for every distinct row, whichever draw and reference it is read by, if that saves enough; of those that read
several draws, and of the whole, every distinct tuple of rows is computed once.

So the model is cut into *stages*: expressions computed on distinct rows or tuples, whose values later stages look up.
"""

from __future__ import annotations

import torch

from scrub.hypothesis.dataset import Dataset
from scrub.hypothesis.evaluation.cutting import cut_into_stages
from scrub.hypothesis.evaluation.stages import Rows, Work
from scrub.hypothesis.scrubbed import Scrubbed


class Evaluator:
    """Computes the output of a scrubbed model for references and their draws.

    Args:
        scrubbed: the model.
        data: rows that draws are about.
        rows: draws, such as those of the first batch, to see how often they coincide.
        num_references: how many there will be in all; draws are expected to coincide as in `rows`.
        batch_size: how many pairs are computed at a time; more, where all their values fit in `batch_bytes`. It
            changes no number beyond rounding.
        batch_bytes: how much may be computed at a time, however many pairs that is.
        max_bytes: of values that are kept, for what reads them and for later batches.

    Attributes:
        work: how much was computed so far.
    """

    def __init__(
        self,
        scrubbed: Scrubbed,
        data: Dataset,
        rows: Rows,
        *,
        num_references: int,
        batch_size: int = 256,
        batch_bytes: int = 2**24,
        max_bytes: int = 2**30,
    ) -> None:
        self.data, self.batch_size, self.batch_bytes, self.max_bytes = data, batch_size, batch_bytes, max_bytes
        self.work = Work()
        self.stages, self._result = cut_into_stages(
            scrubbed, rows, num_rows=data.num_rows, num_references=num_references
        )

    def run(self, rows: Rows) -> torch.Tensor:
        """The output for each reference, [n, *shape]."""
        n = len(next(iter(rows.values())))
        self.work.references += n
        for_one = sum(stage.nbytes * len(stage.readers) for stage in self.stages)
        at_once = max(1, self.max_bytes // max(1, for_one))
        if n <= at_once:
            return self._run(rows)
        starts = range(0, n, at_once)
        return torch.cat([self._run({s: r[at : at + at_once] for s, r in rows.items()}) for at in starts])

    def _run(self, rows: Rows) -> torch.Tensor:
        for stage in self.stages:
            size = max(self.batch_size, self.batch_bytes // max(1, stage.nbytes_inside))
            most_kept = max(1, self.max_bytes // max(1, stage.nbytes * len(self.stages)))
            stage.prepare(rows, self.data, self.work, batch_size=size, most_kept=most_kept)
        return self._result.stage.look_up(self._result, torch.arange(len(next(iter(rows.values())))))
