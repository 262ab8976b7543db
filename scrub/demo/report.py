"""The demo's report: one HTML file with the table, the plot, two attention patterns and the coloured expression."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from itertools import pairwise

import torch

from scrub.demo.hypotheses import BASELINE, ORIGINAL
from scrub.demo.run import DemoResult, Row
from scrub.graph import Expr
from scrub.models import configure_transformer
from scrub.models.stdlib_text import held_out_sequences
from scrub.rewrite import IterativeMatcher, Regex, restrict, substitute_all_modules
from scrub.sampling import Estimate
from scrub.view import Interval, attention_plot, interval_plot, page, reads, table, tree_html

HEADER = ("hypothesis", "claim", "loss", "loss recovered", "samples", "seconds")
_PASSAGE = 48  # tokens shown
_UNFOLDED = Regex(r"^(t.|b1$|a1|loss_on|final|a.)")


def table_rows(result: DemoResult) -> list[tuple[str, ...]]:
    """The table as text, one tuple a row, in the order of `HEADER`."""
    return [
        (
            row.hypothesis.name,
            row.hypothesis.claim,
            _with_error(row.loss),
            _with_error(row.recovered) if row.hypothesis.name not in (ORIGINAL, BASELINE) else _by_definition(row),
            str(row.loss.n),
            f"{row.loss.seconds:.1f}",
        )
        for row in result.rows
    ]


def summary(result: DemoResult) -> str:
    """One line on what it took."""
    return (
        f"{result.n} draws of {result.seq_len} tokens for each of {len(result.rows)} rows in {result.seconds:.1f} s: "
        f"{result.tokens_per_second:,.0f} tokens per second; seed {result.seed}"
    )


def report_html(result: DemoResult) -> str:
    """The whole page, self-contained."""
    return page(
        "Which text do the induction heads read?",
        [
            *_introduction(result),
            "<h2>Loss recovered</h2>",
            table(HEADER, table_rows(result), wide=(1,)),
            f'<p class="soft">{escape(summary(result))}. Intervals are 95%. All rows see the same draws, so '
            "differences between rows are more certain than their intervals suggest. Seconds: a row's part of the time "
            "of all rows, by the operations that it adds to those of the rows above it."
            "</p>",
            _plot(result),
            "<h2>What the two kinds of head attend to</h2>",
            *_attention(result),
            "<h2>The last hypothesis as an expression</h2>",
            _tree(result.rows[-1].expr, result),
        ],
    )


def _introduction(result: DemoResult) -> list[str]:
    heads = result.experiment.heads
    induction = ", ".join(f"1.{head}" for head in heads.induction)
    paragraphs = [
        f"Head 0.{heads.previous_token} attends to the previous token (<code>a0.prev</code>); heads "
        f"{induction} complete repeated sequences (<code>a1.ind</code>). Each row below rewrites the model so that the "
        "paths a hypothesis calls irrelevant read an unrelated text, and measures what is left of the benefit.",
        "Loss is the mean over positions of the negative log-likelihood (nats) where the current token is one after "
        "which induction is likely, and 0 elsewhere. Loss recovered is 0 where the induction heads read unrelated text "
        "altogether, and 1 for the original model.",
    ]
    paragraphs += [escape(result.note)] if result.note else []
    return [f"<p>{paragraph}</p>" for paragraph in paragraphs]


def _with_error(estimate: Estimate) -> str:
    return f"{float(estimate):.3f} ± {float(estimate.half_width()):.3f}"


def _by_definition(row: Row) -> str:
    return f"{float(row.recovered):.0f} by definition"


def _plot(result: DemoResult) -> str:
    rows: list[Interval] = []
    for row in result.rows:
        if row.hypothesis.name not in (ORIGINAL, BASELINE) and float(row.recovered) > -1:
            low, high = row.recovered.interval()
            rows.append(Interval(row.hypothesis.name, float(row.recovered), float(low), float(high)))
    caption = "Loss recovered with 95% intervals. 0: induction heads scrubbed; 1: the original model."
    left_out = [row.hypothesis.name for row in result.rows if float(row.recovered) <= -1]
    caption += f" Far to the left, not shown: {', '.join(left_out)}." if left_out else ""
    plot = interval_plot(rows, axis="loss recovered")
    return f'<figure><div class="scroll">{plot}</div><figcaption>{escape(caption)}</figcaption></figure>'


@dataclass(frozen=True)
class _Passage:
    tokens: torch.Tensor
    texts: list[str]
    previous: torch.Tensor
    induction: torch.Tensor
    induction_head: int


def _attention(result: DemoResult) -> list[str]:
    passage = _find_passage(result)
    heads = result.experiment.heads
    text = result.model.tokenizer.decode(_ids(passage.tokens))
    figures = [
        (passage.previous, f"Head 0.{heads.previous_token}: from each token (row) to the one before it (column)."),
        (
            passage.induction,
            f"Head 1.{passage.induction_head}: from a token that occurred before to what followed it then.",
        ),
    ]
    parts = [f"<p>The passage, from text the model was not trained on:</p><pre>{escape(text)}</pre>"]
    for pattern, caption in figures:
        plot = attention_plot(pattern, passage.texts, title=caption)
        parts.append(
            f'<figure><div class="scroll">{plot}</div><figcaption>{escape(caption)} Hover for the numbers.'
            "</figcaption></figure>"
        )
    return parts


def _find_passage(result: DemoResult) -> _Passage:
    """The held-out passage in which the induction heads find most to complete, and the clearest of these heads."""
    model, heads = result.model, result.experiment.heads
    candidates = held_out_sequences(model.tokenizer, _PASSAGE)
    tokens = max(candidates, key=_num_repeats)
    lowered = model.lower(seq_len=_PASSAGE)
    by_layer = configure_transformer(lowered["t.bind_w"])
    call = model.call(tokens, model=by_layer)
    inlined = substitute_all_modules(call)
    prev = _pattern(inlined, 0)[heads.previous_token]
    layer = _pattern(inlined, 1)
    target = _induction_targets(tokens)
    clearest = max(heads.induction, key=lambda head: float((layer[head] * target).sum()))
    texts = [model.tokenizer.decode([token]) for token in _ids(tokens)]
    return _Passage(tokens, texts, prev, layer[clearest], clearest)


def _pattern(inlined: Expr, layer: int) -> torch.Tensor:
    """Attention probabilities of a layer's heads, [head, query, key]."""
    here = IterativeMatcher(f"a{layer}").chain(restrict("a.attn_probs", term_early_at=f"a{layer}.norm"))
    return inlined.get_unique(here).evaluate()


def _induction_targets(tokens: torch.Tensor) -> torch.Tensor:
    """[query, key]: 1 where the key is the token right after the query token's most recent earlier occurrence."""
    target = torch.zeros(len(tokens), len(tokens))
    last: dict[int, int] = {}
    for position, token in enumerate(_ids(tokens)):
        if token in last:
            target[position, last[token] + 1] = 1
        last[token] = position
    return target


def _num_repeats(tokens: torch.Tensor) -> int:
    """How many different pairs of neighbouring tokens come back, not at once, in a passage of full context."""
    ids = _ids(tokens)
    first: dict[tuple[int, int], int] = {}
    returned: set[tuple[int, int]] = set()
    for position, pair in enumerate(pairwise(ids)):
        if position - first.setdefault(pair, position) > 4 and pair[0] != pair[1]:
            returned.add(pair)
    return len({second for _, second in returned})


def _ids(tokens: torch.Tensor) -> list[int]:
    return [int(token) for token in tokens]


def _tree(expr: Expr, result: DemoResult) -> str:
    classes = reads(expr, result.experiment.tokens, result.experiment.other)
    legend = "".join(
        f'<span class="swatch {kind}">■ {text}</span>'
        for kind, text in (
            ("original", "reads the reference text"),
            ("scrubbed", "reads the other text"),
            ("both", "reads both"),
            ("neither", "reads neither"),
        )
    )
    tree = tree_html(expr, classes, is_open=lambda node: node.name is not None and _UNFOLDED.matches(node.name))
    return f"<p>{legend}</p>{tree}"
