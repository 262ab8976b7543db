"""The search of `worst_case`: which draws, among those that a hypothesis allows, give each reference the most."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from scrub.hypothesis.adversary.allowed import ShortLists, allows, joint_draws
from scrub.hypothesis.evaluation.distinct import distinct, distinct_tuples
from scrub.hypothesis.evaluation.evaluator import Evaluator
from scrub.hypothesis.experiment import Experiment
from scrub.hypothesis.samplers import UncondTogetherSampler
from scrub.hypothesis.slots import REFERENCE, Slot
from scrub.hypothesis.streams import Stream

_STEP = 4096
"""References that are computed at a time."""


@dataclass
class Best:
    """The best draws that were found so far.

    Attributes:
        rows: of every slot, int64 [n].
        scores: float64 [n].
    """

    rows: dict[Slot, torch.Tensor]
    scores: torch.Tensor


class Search:
    """Looks for draws of given references with high scores. A score is the metric, or minus it.

    Args:
        experiment: what draws are allowed, and what they come to.
        references: rows, int64 [n].
        seed: of the draws that are proposed, and of the plain ones.
        metric: name of the metric.
        sign: 1 to maximise it, -1 to minimise it.
        batch_size: how many pairs are computed at a time.
        num_expected: how often references will be evaluated, about.

    Attributes:
        plain: what the experiment itself draws.
        evaluations: how many references were evaluated.
    """

    def __init__(
        self,
        experiment: Experiment,
        references: torch.Tensor,
        *,
        seed: int,
        metric: str,
        sign: int,
        batch_size: int,
        num_expected: int,
    ) -> None:
        self.experiment, self.seed, self.metric, self.sign = experiment, seed, metric, sign
        self.slots, self.draws = experiment.slots, experiment.scrubbed.slots.draws
        self.shared = [slot for slot in self.slots if isinstance(self.draws[slot].sampler, UncondTogetherSampler)]
        self.evaluations = 0
        self._rounding = 0.0
        self._lists: dict[int, ShortLists] = {}
        rows = experiment.draw(references, seed=seed)
        self._evaluator = Evaluator(
            experiment.scrubbed,
            experiment.source.data,
            rows,
            num_references=max(num_expected, len(references)),
            batch_size=batch_size,
        )
        self.plain = Best(rows, self.scores(rows))

    @property
    def n(self) -> int:
        """Number of references."""
        return len(self.plain.scores)

    def scores(self, rows: Mapping[Slot, torch.Tensor]) -> torch.Tensor:
        """Of draws for references, float64 [n]; the references are among the rows."""
        n = len(rows[REFERENCE])
        found: list[torch.Tensor] = []
        for start in range(0, n, _STEP):
            part = {slot: known[start : start + _STEP] for slot, known in rows.items()}
            outputs = self._evaluator.run(part)
            self._rounding = 32 * torch.finfo(outputs.dtype).eps if outputs.is_floating_point() else 0.0
            found.append(self.sign * self.experiment.measure(outputs, part[REFERENCE])[self.metric])
        self.evaluations += n
        return torch.cat(found)

    def exceeds(self, scores: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
        """Whether scores are higher by more than rounding, which depends on what is computed together."""
        margin = self._rounding * (1 + others.abs())
        return scores > others + torch.where(others.isfinite(), margin, torch.zeros_like(margin))

    def run(self, *, starts: int, candidates: int, rounds: int) -> Best:
        """Ascend from the plain draw and from others.

        Of draws that references share, those of the start with the best mean are taken. Then the other draws are
        searched again, with these fixed: now each reference can take the best start for itself.
        """
        best = self.ascend(self.plain, self.slots, candidates=candidates, rounds=rounds, key="plain")
        for k in range(starts):
            start = self.start(f"start {k}")
            other = self.ascend(start, self.slots, candidates=candidates, rounds=rounds, key=f"start {k}")
            best = self.better_of(best, other, is_joint=bool(self.shared))
        own = [slot for slot in self.slots if slot not in self.shared]
        for k in range(starts if self.shared and own else 0):
            start = self.start(f"again {k}", fixed={slot: best.rows[slot] for slot in self.shared})
            other = self.ascend(start, own, candidates=candidates, rounds=rounds, key=f"again {k}")
            best = self.better_of(best, other, is_joint=False)
        return best

    def start(self, key: str, fixed: Mapping[Slot, torch.Tensor] | None = None) -> Best:
        """A joint draw like the plain one, by other streams."""
        rows = {REFERENCE: self.plain.rows[REFERENCE]}
        for slot in self.slots:
            known = (fixed or {}).get(slot)
            rows[slot] = self._draw(slot, rows[self.draws[slot].given], key) if known is None else known
        return Best(rows, self.scores(rows))

    def better_of(self, best: Best, other: Best, *, is_joint: bool) -> Best:
        """The better for each reference; or in the mean, one for all."""
        if is_joint:
            return other if bool(self.exceeds(other.scores.mean(), best.scores.mean())) else best
        better = self.exceeds(other.scores, best.scores)
        rows = {slot: torch.where(better, other.rows[slot], known) for slot, known in best.rows.items()}
        return Best(rows, torch.where(better, other.scores, best.scores))

    def ascend(self, best: Best, slots: Sequence[Slot], *, candidates: int, rounds: int, key: str) -> Best:
        """Change one slot at a time, those above first, as long as it helps.

        What depends on the slot stays where the new row allows it, and is drawn anew where not. A reference is left
        alone after a round that did not help it.
        """
        best = Best(dict(best.rows), best.scores.clone())
        lists = self._lists.setdefault(candidates, ShortLists(self.experiment, most=candidates))
        active = torch.ones(self.n, dtype=torch.bool)
        for number in range(rounds):
            improved = torch.zeros(self.n, dtype=torch.bool)
            for slot in slots:
                listed, are_all = lists(slot, best.rows[self.draws[slot].given])
                draws_some = not bool(are_all.all())
                width = candidates if draws_some else int((listed >= 0).sum(1).max())
                for j in range(width):
                    this = f"{key} round {number} candidate {j} of {slot.label}"
                    rows = listed[:, j]
                    if draws_some:
                        drawn = self._draw(slot, best.rows[self.draws[slot].given], this)
                        rows = torch.where(are_all, rows, drawn)
                    improved |= self._attempt(best, slot, rows, active, this)
            active = improved
            if not bool(active.any()):
                break
        return best

    def _attempt(self, best: Best, slot: Slot, to: torch.Tensor, active: torch.Tensor, key: str) -> torch.Tensor:
        """Move a slot to other rows where that is better; -1 is no row. Returns which references were changed."""
        is_shared = slot in self.shared
        at = (((active | is_shared) & (to >= 0)) & (to != best.rows[slot])).nonzero()[:, 0]
        if not len(at) or (is_shared and not bool(active.any())):
            return torch.zeros(self.n, dtype=torch.bool)
        rows = self._moved(best.rows, slot, to, at, key)
        scores = self.scores(rows)
        if is_shared:
            better = self.exceeds(scores.mean(), best.scores.mean()).expand(len(at))
        else:
            better = self.exceeds(scores, best.scores[at])
        chosen = at[better]
        for each in self.slots:
            # Copied, for other results may hold the tensor.
            best.rows[each] = best.rows[each].index_copy(0, chosen, rows[each][better])
        best.scores = best.scores.index_copy(0, chosen, scores[better])
        return torch.zeros(self.n, dtype=torch.bool).index_fill(0, chosen, True)

    def _moved(
        self, rows: Mapping[Slot, torch.Tensor], slot: Slot, to: torch.Tensor, at: torch.Tensor, key: str
    ) -> dict[Slot, torch.Tensor]:
        """The rows of these references with a slot moved, and all that depends on it still allowed."""
        new = {each: known[at] for each, known in rows.items()}
        new[slot] = to[at]
        moved = {slot}
        for each in self.slots:
            sampler, given = self.draws[each]
            if given not in moved or each in self.shared:
                continue
            kept = (new[given] == rows[given][at]) | allows(sampler, new[given], new[each], self.experiment.source)
            if not bool(kept.all()):
                drawn = self._draw(each, rows[given].index_copy(0, at, new[given]), key)[at]
                new[each] = torch.where(kept, new[each], drawn)
                moved.add(each)
        return new

    def _draw(self, slot: Slot, given: torch.Tensor, key: str) -> torch.Tensor:
        """Rows of a slot for all references, as its sampler draws them."""
        stream = Stream(self.seed, f"adversary: {slot.label}, {key}", 0, self.n)
        return self.draws[slot].sampler.draw(given, self.experiment.source, stream)

    def exhaust(self, *, limit: int) -> Best:
        """The best of all joint draws."""
        references = distinct(self.plain.rows[REFERENCE])
        owners, rows = joint_draws(self.experiment, references.values, limit=limit)
        scores = self.scores(rows)
        shared = [rows[slot] for slot in self.shared]
        groups = distinct_tuples(shared).inverse if shared else torch.zeros_like(owners)
        num_groups = int(groups.max()) + 1
        # The best of every reference for every choice of the draws that all references share.
        cells = owners * num_groups + groups
        ranked = scores.nan_to_num(nan=-torch.inf, posinf=torch.inf, neginf=-torch.inf)
        most = torch.full((len(references.values) * num_groups,), -torch.inf, dtype=torch.float64)
        most.scatter_reduce_(0, cells, ranked, "amax")
        first = torch.full((len(most),), len(cells), dtype=torch.int64)
        is_most = (ranked == most[cells]).nonzero()[:, 0]
        first.scatter_reduce_(0, cells[is_most], is_most, "amin")
        group = int(most.reshape(-1, num_groups)[references.inverse].mean(0).argmax())
        chosen = first.reshape(-1, num_groups)[references.inverse, group]
        found = Best({slot: known[chosen] for slot, known in rows.items()}, scores[chosen])
        return self.better_of(self.plain, found, is_joint=bool(self.shared))

    def blame(self, best: Best) -> dict[str, torch.Tensor]:
        """By label of each draw that is read: how much scores fall if it alone is as plainly drawn, float64 [n]."""
        found: dict[str, torch.Tensor] = {}
        for slot in (slot for slot in self.slots if slot in self.experiment.scrubbed.read_slots):
            fall = torch.zeros(self.n, dtype=torch.float64)
            at = (best.rows[slot] != self.plain.rows[slot]).nonzero()[:, 0]
            if len(at):
                rows = {each: known[at] for each, known in best.rows.items()}
                rows[slot] = self.plain.rows[slot][at]
                fall[at] = best.scores[at] - self.scores(rows)
            found[slot.label] = fall
        return found
