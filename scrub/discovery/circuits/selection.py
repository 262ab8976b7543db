"""Choosing a circuit by scores: the largest, those over a threshold, or greedily from the logits.

Every rule says in `Circuit.selection` how many were asked for and how many it chose; `n_edges` is what pruning left.
"""

from __future__ import annotations

import heapq
import math
from typing import Literal, cast

import torch

from scrub.discovery.circuits.circuit import Circuit, Selection
from scrub.discovery.circuits.paths import prune as prune_circuit
from scrub.discovery.components import ComponentGraph
from scrub.discovery.scores import By, Scores
from scrub.graph import DiscoveryError

Ties = Literal["first", "all"]
Rule = Literal["top_n", "greedy"]


def top_n(scores: Scores, n: int, *, by: By = "absolute", ties: Ties = "first", prune: bool = True) -> Circuit:
    """The circuit of the n largest.

    Args:
        scores: of edges, nodes or neurons; the circuit is made of the same.
        n: how many edges, nodes or neurons to choose.
        by: what is largest: "absolute", "signed" or "per_example", see `Scores.ranking`.
        ties: of scores equal to the n-th, take the first in order of readers and writers, so that n are chosen, or all.
            How many were left out is in `selection.ties_left_out`.
        prune: drop what lies on no path from input to logits; then fewer than n are kept.

    Raises:
        DiscoveryError: a number that is negative or larger than there are, or scores by position.

    >>> from scrub.discovery.components import Component
    >>> parts = (Component("input", "input"), Component("m0", "mlp", 0), Component("logits", "logits"))
    >>> exists = torch.tensor([[True, False], [True, True]])
    >>> graph = ComponentGraph(parts, ("input", "m0"), ("m0", "logits"), ("m0", "logits"), exists)
    >>> scores = Scores(graph, torch.tensor([[0.5, 0.0], [0.1, -2.0]]), level="edge", method="EAP", metric="loss",
    ...                 larger_is_better=False, ablation="zero", n_examples=8)
    >>> top_n(scores, 2)
    circuit of 2 of 3 edges, 3 nodes (top_n, by absolute score, asked 2, chosen 2, pruned)
    >>> top_n(scores, 1)  # m0->logits alone is on no path from the input
    circuit of 0 of 3 edges, 0 nodes (top_n, by absolute score, asked 1, chosen 1, pruned)
    """
    ranks, there = _ranking(scores, by)
    _check_count(n, len(ranks), scores)
    order = torch.argsort(ranks, descending=True, stable=True)
    chosen = torch.zeros(len(ranks), dtype=torch.bool)
    tied = 0
    if n:
        last = ranks[order[n - 1]]
        if ties == "all":
            chosen = ranks >= last
        else:
            chosen[order[:n]] = True
            tied = int((ranks == last).sum() - (ranks[order[:n]] == last).sum())
    selection = Selection("top_n", by, n, int(chosen.sum()), tied)
    return _circuit(scores, there, chosen, selection, prune=prune)


def threshold(scores: Scores, at: float, *, by: By = "absolute", prune: bool = True) -> Circuit:
    """The circuit of everything whose rank value (see `Scores.ranking`) is at least `at`, in units of the metric.

    Raises:
        DiscoveryError: a threshold that is NaN, or scores by position.
    """
    if math.isnan(at):
        raise DiscoveryError("a threshold is a number, not NaN", expected="a number", found=at)
    ranks, there = _ranking(scores, by)
    chosen = ranks >= at
    return _circuit(scores, there, chosen, Selection("threshold", by, at, int(chosen.sum())), prune=prune)


def greedy(scores: Scores, n: int, *, by: By = "absolute", prune: bool = True) -> Circuit:
    """The circuit that grows from the logits: n times, add the best edge whose reader is already in.

    A component is in with its first outgoing edge, and with it everything it reads: q, k and v of a head. So every edge
    reaches the logits; what no path from the input reaches is pruned. Of equal scores the first in order of readers and
    writers is taken. Source: Hanna et al. 2024, "Have faith in faithfulness".

    Args:
        scores: of edges.
        n: how many edges to add; fewer are chosen where no more can be reached.
        by: see `Scores.ranking`.
        prune: drop what no path from the input reaches.

    Raises:
        DiscoveryError: scores of nodes or neurons, or a number that is negative or larger than there are edges.
    """
    if scores.level != "edge":
        raise DiscoveryError(
            f"greedy search adds edges, and these are scores of {scores.level}s",
            expected="scores of edges",
            found=scores.level,
            hint="use top_n",
        )
    ranks, there = _ranking(scores, by)
    _check_count(n, len(ranks), scores)
    chosen = _grow(scores.graph, ranks, there, n)
    return _circuit(scores, there, chosen, Selection("greedy", by, n, int(chosen.sum())), prune=prune)


def top_fraction(
    scores: Scores, fraction: float, *, rule: Rule = "top_n", by: By = "absolute", prune: bool = True
) -> Circuit:
    """The circuit of this fraction, from 0 to 1, of all edges, nodes or neurons, rounded down.

    Args:
        scores, by, prune: as in `top_n`.
        fraction: 0.01 is one in a hundred.
        rule: choose the largest, or greedily.

    Raises:
        DiscoveryError: a fraction outside [0, 1].
    """
    if not 0 <= fraction <= 1:
        raise DiscoveryError(f"{fraction} is no fraction", expected="from 0 to 1", found=fraction)
    total = len(scores.entries())
    n = math.floor(fraction * total + 1e-9)  # 0.29 * 100 is 28.999999999999996
    return greedy(scores, n, by=by, prune=prune) if rule == "greedy" else top_n(scores, n, by=by, prune=prune)


# ---- how ----


def _grow(graph: ComponentGraph, ranks: torch.Tensor, there: torch.Tensor, n: int) -> torch.Tensor:
    """Greedy search over edges numbered as in `there`; bool [n_edges].

    Edges are sorted once, by what they lead to and then best first: one run for each component. A heap holds the best
    edge left of each component that is in.
    """
    number = {component.name: i for i, component in enumerate(graph.components)}
    target = torch.tensor([number[owner] for owner in graph.owners])[there[:, 0]]
    best_first = torch.argsort(ranks, descending=True, stable=True)
    runs, places = torch.sort(target[best_first], stable=True)
    ends = torch.searchsorted(runs, torch.arange(len(number)), right=True)
    ends, edges, place, run = (_ints(of) for of in (ends, best_first[places], places, runs))
    source = _ints(torch.tensor([number[writer] for writer in graph.writers])[there[:, 1]])

    heap: list[tuple[int, int]] = []  # (place in the order of all edges, place in the runs)
    sinks = dict.fromkeys(number[owner] for owner in graph.owners if owner not in graph.writer_index)
    entering, is_in = list(sinks), set(sinks)
    chosen: list[int] = []
    while len(chosen) < n:
        for component in entering:
            start = ends[component - 1] if component else 0
            if start < ends[component]:
                heapq.heappush(heap, (place[start], start))
        if not heap:
            break
        _, at = heapq.heappop(heap)
        chosen.append(edges[at])
        if at + 1 < ends[run[at]]:
            heapq.heappush(heap, (place[at + 1], at + 1))
        writer = source[edges[at]]
        entering = [] if writer in is_in else [writer]
        is_in.add(writer)
    mask = torch.zeros(len(ranks), dtype=torch.bool)
    mask[chosen] = True
    return mask


def _ints(vector: torch.Tensor) -> list[int]:
    return cast("list[int]", vector.tolist())


def _ranking(scores: Scores, by: By) -> tuple[torch.Tensor, torch.Tensor]:
    """What to rank by, float64 [n], and where each is, int64 [n, axes]."""
    if scores.per_position:
        raise DiscoveryError(
            "a circuit is of edges, nodes or neurons at all positions, and these scores are by position",
            expected="scores summed over positions",
            found=tuple(scores.values.shape),
            hint="use scores.summed()",
        )
    there = scores.entries()
    return scores.ranking(by)[tuple(there.T)], there


def _check_count(n: int, total: int, scores: Scores) -> None:
    if not 0 <= n <= total:
        raise DiscoveryError(
            f"cannot choose {n:,} of {total:,} {scores.level}s", expected=f"from 0 to {total:,}", found=n
        )


def _circuit(
    scores: Scores, there: torch.Tensor, chosen: torch.Tensor, selection: Selection, *, prune: bool
) -> Circuit:
    mask = torch.zeros_like(scores.values, dtype=torch.bool)
    mask[tuple(there[chosen].T)] = True
    circuit = Circuit.of_units(scores.graph, mask, scores.level, scores=scores, selection=selection)
    return prune_circuit(circuit) if prune else circuit
