"""`worst_case`: of all that a hypothesis allows, the resampling that most raises the loss.

A hypothesis says that the draws it allows change nothing that matters. Loss recovered asks whether that holds on
average; an adversary looks for the draws on which it fails.
"""

from __future__ import annotations

from scrub.graph import HypothesisError
from scrub.hypothesis.adversary.result import Adversary
from scrub.hypothesis.adversary.search import Search
from scrub.hypothesis.experiment import Experiment


def worst_case(
    experiment: Experiment,
    n: int,
    *,
    seed: int = 0,
    metric: str | None = None,
    minimise: bool = False,
    starts: int = 8,
    candidates: int = 16,
    rounds: int = 8,
    exhaustive: bool = False,
    limit: int = 1_000_000,
    batch_size: int = 256,
) -> Adversary:
    """Search for the draws, among those that the hypothesis allows, that most raise a metric.

    For each of the references of `experiment.run(n, seed=seed)`, coordinate ascent from the draws of that run and from
    further joint draws: one slot at a time, those above first, is moved to other rows that its sampler allows, all of
    them if they are few. What depends on the slot stays if it is allowed, and is drawn anew if not. What is found is
    a lower bound of the worst case, never below the run's value. Draws that all references share
    (`UncondTogetherSampler`) are chosen for the mean over references; then it is the mean that is never below.

    What a sampler `allows` counts, whatever its pool. Deterministic, for any `batch_size`; improvements within rounding
    are left alone.

    Args:
        experiment: what is attacked.
        n: number of references.
        seed: of references, plain draws, and draws that are proposed.
        metric: name of one of the experiment's metrics; the first unless given.
        minimise: look for the lowest values, as for an accuracy.
        starts: joint draws, besides the plain one, that the ascent is repeated from.
        candidates: rows that are tried for a slot, in a round; if no more are allowed, all of them.
        rounds: the most times that all slots are gone through.
        exhaustive: try all joint draws instead. The result is then the true worst case.
        limit: the most joint draws to try, for all different references together.
        batch_size: how many pairs are computed at a time.

    Raises:
        HypothesisError: there is no such metric; there are more joint draws than `limit`; a sampler does not say what
            it allows, and `exhaustive` needs it.

    >>> import torch
    >>> from scrub.graph import Symbol
    >>> from scrub.hypothesis import Correspondence, Dataset, ExactSampler, InterpNode, corr_root_matcher
    >>> x, y = (Symbol.new_from_name((), name) for name in "xy")
    >>> root, corr = InterpNode(ExactSampler(), "sum"), Correspondence()
    >>> corr.add(root, corr_root_matcher)
    >>> corr.add(root.make_descendant(ExactSampler(), "left"), "x")
    >>> data = Dataset({"x": torch.zeros(10), "y": torch.tensor([0.0] * 9 + [1.0])})
    >>> found = worst_case(Experiment(x.add(y), data, corr), 100)
    >>> found
    hypothesis: loss ... plain, 1 ± 0 the highest found (95%, n=100, seed=0; ... evaluations)
    a change of ...; what this alone does to it:
      'sum/other': ...
    the highest: reference 0: 0 plain, 1 found, through 'sum/other'
      reference: row ...: x = 0, y = ...
      'sum/other': row 9: x = 0, y = 1
    >>> bool((found.values == 1).all())
    True
    """
    metric = _check(experiment, n, metric, starts=starts, candidates=candidates, rounds=rounds, limit=limit)
    search = Search(
        experiment,
        experiment.references(0, n, seed=seed),
        seed=seed,
        metric=metric,
        sign=-1 if minimise else 1,
        batch_size=batch_size,
        num_expected=n * (1 + starts) * (1 + candidates * len(experiment.slots)),
    )
    if exhaustive:
        best = search.exhaust(limit=limit)
    else:
        best = search.run(starts=starts, candidates=candidates, rounds=rounds)
    blame = search.blame(best)
    return Adversary(
        name=experiment.hypothesis.name,
        metric=metric,
        values=search.sign * best.scores,
        plain=search.sign * search.plain.scores,
        draws={slot.label: rows for slot, rows in best.rows.items()},
        plain_draws={slot.label: rows for slot, rows in search.plain.rows.items()},
        blame=blame,
        data=experiment.source.data,
        seed=seed,
        evaluations=search.evaluations,
        is_minimum=minimise,
        is_exhaustive=exhaustive,
    )


def _check(experiment: Experiment, n: int, metric: str | None, **counts: int) -> str:
    """The name of the metric, if all is well."""
    for name, least, count in (("n", 1, n), *((name, 0, count) for name, count in counts.items())):
        if count < least:
            raise HypothesisError(f"{name}={count} is too few", expected=f"at least {least}", found=count)
    metrics = list(experiment.metrics)
    if metric is None:
        return metrics[0]
    if metric not in metrics:
        raise HypothesisError(
            f"there is no metric {metric!r}", expected=metrics, found=metric, hint=f"the experiment has {metrics}"
        )
    return metric
