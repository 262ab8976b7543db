"""The passes of the compiler, in the order in which they run."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from scrub.compiler.passes.attention import recognise_attention
from scrub.compiler.passes.constants import fold_constants
from scrub.compiler.passes.contractions import order_contractions
from scrub.compiler.passes.cross_entropy import recognise_cross_entropy
from scrub.compiler.passes.linear import recognise_linear
from scrub.compiler.passes.normalization import recognise_normalization
from scrub.compiler.passes.siblings import batch_siblings
from scrub.compiler.passes.simplify import simplify
from scrub.compiler.values import Graph, Value, values_below

Pass = Callable[[Graph, Sequence[Value]], list[Value]]

PASSES: dict[str, Pass] = {
    "simplify": simplify,
    "normalization": recognise_normalization,
    "attention": recognise_attention,
    "cross_entropy": recognise_cross_entropy,
    "siblings": batch_siblings,
    "contractions": order_contractions,
    "constants": fold_constants,
    "linear": recognise_linear,
}
ALL_PASSES = (*PASSES, "order", "probes")
"""Those of `PASSES`, and "order": looking for an order of the steps that takes little memory; "probes": gradients taken
where they cost least (`scrub.compiler.passes.probes`)."""


def run_passes(
    graph: Graph,
    outputs: Sequence[Value],
    names: Collection[str],
    report: Callable[[str, int, int], None] | None = None,
) -> list[Value]:
    """The outputs after the named passes, which run in the order of `PASSES`.

    Args:
        graph, outputs: what to work on.
        names: of the passes to run.
        report: called with the name of each pass and the number of values before and after it.
    """
    current = list(outputs)
    before = sum(1 for _ in values_below(current)) if report is not None else 0
    for name, run in PASSES.items():
        if name in names:
            current = run(graph, current)
            if report is not None:
                after = sum(1 for _ in values_below(current))
                report(name, before, after)
                before = after
    return current
