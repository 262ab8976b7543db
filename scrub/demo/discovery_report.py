"""The report of the discovery demo: one HTML file with the tables, the circuit and the heads."""

from __future__ import annotations

from html import escape

from scrub.demo.discovery import CHOSEN_BY, WANTED, DiscoveryResult
from scrub.discovery.statistics import Faithfulness, bootstrap, mean
from scrub.view import Interval, interval_plot, page, table

HEADER = ("method", "seconds", "correlation with exact effects", "CPR", "CMD")


def method_rows(result: DiscoveryResult) -> list[tuple[str, ...]]:
    """A line for each method, in the order of `HEADER`."""
    return [
        (
            method,
            f"{found.seconds:.1f}",
            f"{found.correlation:.3f}",
            _with_interval(found.areas.cpr.value, found.areas.cpr.interval()),
            _with_interval(found.areas.cmd.value, found.areas.cmd.interval()),
        )
        for method, found in result.found.items()
    ]


def circuit_rows(result: DiscoveryResult) -> list[tuple[str, ...]]:
    """What was measured of the circuit: name, value with its interval."""
    evaluation = result.evaluation
    faithful, complete = evaluation.faithfulness(), evaluation.completeness()
    scrubbed = bootstrap({"metric": result.scrubbed.double()}, mean("metric"), name="scrubbed")
    low, high = scrubbed.interval()
    gap = float((result.scrubbed.double() - evaluation.values[0]).abs().max())
    return [
        ("edges kept", f"{result.circuit.n_edges} of {result.machine.graph.n_edges}"),
        ("logit difference, clean", f"{float(evaluation.clean.mean()):.3f}"),
        ("logit difference, corrupted", f"{float(evaluation.corrupted.mean()):.3f}"),
        ("logit difference of the circuit", f"{float(evaluation.values[0].mean()):.3f}"),
        ("faithfulness", _share(faithful)),
        ("faithfulness of everything else", _share(complete)),
        ("logit difference by causal scrubbing", _with_interval(float(scrubbed), (float(low), float(high)))),
        ("largest difference of the two, any prompt", f"{gap:.1e}"),
    ]


def summary(result: DiscoveryResult) -> str:
    """One line on what it took."""
    return (
        f"{len(result.searched)} prompts searched, {len(result.held_out)} held out, "
        f"{result.machine.graph.n_edges} edges; {result.seconds:.0f} s"
    )


def discovery_html(result: DiscoveryResult) -> str:
    """The whole page, self-contained."""
    return page(
        "Which edges identify the indirect object?",
        [
            *_introduction(result),
            "<h2>Methods</h2>",
            table(HEADER, method_rows(result)),
            '<p class="soft">CPR: area under faithfulness of circuits chosen by signed score, over the fraction of '
            "edges asked for; higher is better. CMD: area under its distance from 1, circuits chosen by absolute "
            "score; lower is better. Intervals are 95%, by bootstrap over the held-out prompts.</p>",
            _plot(result),
            "<h2>The circuit</h2>",
            f"<p>Grown from the logits by the scores of {escape(CHOSEN_BY)}, until {WANTED:.0%} of the logit "
            "difference is kept on the prompts searched; measured on the others.</p>",
            table(("measured", "value"), circuit_rows(result)),
            f'<figure><div class="scroll">{result.circuit.svg()}</div></figure>',
            "<p>Causal scrubbing computes the same in another way: the circuit as a hypothesis, where everything "
            "outside of it reads the prompt's counterfactual.</p>",
            "<h2>One head at a time</h2>",
            f'<figure><div class="scroll">{result.heads.svg()}</div><figcaption>What is left of the logit difference '
            "where one head's output is that of the counterfactual. 1: nothing changes; 0: as if all was replaced."
            "</figcaption></figure>",
            "<h2>Sizes</h2>",
            *_sizes(result),
            f'<p class="soft">{escape(summary(result))}.</p>',
        ],
    )


def _introduction(result: DiscoveryResult) -> list[str]:
    task = result.searched
    return [
        "<p>The model that ships as <code>ioi</code> continues a sentence about two names with the name that is given "
        "something. Each prompt has a counterfactual with three other names; an edge is patched by giving its reader "
        "what its writer writes on that. The metric is the difference of two logits: the right name's less the other's."
        "</p>",
        f"<pre>{escape(task.prompts[0])}\n{escape(task.counterfactual_prompts[0])}</pre>",
    ]


def _plot(result: DiscoveryResult) -> str:
    rows: list[Interval] = []
    for method, found in result.found.items():
        low, high = found.areas.cpr.interval()
        rows.append(Interval(method, found.areas.cpr.value, low, high))
    return f'<figure><div class="scroll">{interval_plot(rows, axis="CPR")}</div></figure>'


def _sizes(result: DiscoveryResult) -> list[str]:
    """Faithfulness of the circuits of every size, chosen by absolute score."""
    first = next(iter(result.found.values())).areas
    header = ("edges asked for", *result.found)
    rows = [
        (f"{100 * size:g}%", *(f"{float(found.areas.cmd.curve.value[i]):.3f}" for found in result.found.values()))
        for i, size in enumerate(first.sizes)
    ]
    return ["<p>Faithfulness of the edges with the largest absolute scores.</p>", table(header, rows)]


def _share(share: Faithfulness) -> str:
    value, (low, high) = share.value, share.interval()
    return _with_interval(float(value[0]), (float(low[0]), float(high[0])))


def _with_interval(value: float, ends: tuple[float, float]) -> str:
    return f"{value:.3f} [{ends[0]:.3f}, {ends[1]:.3f}]"
