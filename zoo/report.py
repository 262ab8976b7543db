"""The page of the shipped model, docs/model.md, and its loss curve as SVG, written from what was measured."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from zoo.training import CurvePoint

_PAGE = """\
# The shipped model

<!-- Written by `make zoo` (zoo/train_attn_only_2l.py): change zoo/report.py, not this page. -->

`attn_only_2l` is a two-layer attention-only language model that comes inside the package, so that every example runs
without a download. It was trained for `scrub`, on the source and documentation of Python's own standard library, and
it shows the textbook mechanism of induction: a previous-token head in layer 0, read by induction heads in layer 1.

## What it is

| | |
|---|---|
| layers, heads, d_model, d_head | {n_layers}, {n_heads}, {d_model}, {d_head} |
| vocabulary | {d_vocab} tokens, byte-level BPE, none of them special (no beginning-of-text token) |
| context | {n_ctx} tokens |
| parameters | {n_parameters:,}, stored in half precision |
| positions | "shortformer": learned, added to the inputs of queries and keys of every layer after its LayerNorm |
| normalization | LayerNorm with weight and bias before each attention and before the unembedding, epsilon {norm_eps} |
| biases | none in attention, none in the unembedding (not tied to the embedding) |

Files, in `scrub/models/shipped/attn_only_2l/`: `model.safetensors` (parameter names as in TransformerLens),
`tokenizer.json`, `config.json` (sizes, candidates, digests, scores).

## How it was trained

All `*.py` files of the standard library except tests, installed packages and generated tables, and the topics of the
language reference in `pydoc_data`; documents go to the training or the held-out part by a hash of their names
(`scrub.models.stdlib_text`). {trained_on}

- {tokens_trained:,} tokens in {n_steps:,} steps of {batch} sequences of {n_ctx} tokens, seed {seed}.
- Of the {batch} sequences, {n_text} are windows of training text and {n_repeated} consists of uniform random tokens in
  which a segment of random length comes twice, at random places; there, only what the first copy predicts counts in
  the loss.
- Attention matrices: Muon (Jordan et al. 2024), head by head, learning rate {muon_lr}, weight decay
  {muon_weight_decay}. Embedding and unembedding: AdamW, learning rate {vocabulary_lr}, weight decay {weight_decay}.
  Positions and LayerNorms: AdamW, learning rate {other_lr}. Warm-up of {warmup} steps; linear decay to zero from
  {decay_from:.0%} of the steps on.
- Positions start as large sinusoids, so that "one position back" is a rotation that a head can learn early; queries
  and keys start small and grow slowly. In a trial with queries and keys twice as large at the start, a Muon learning
  rate of 0.02 and no weight decay, attention was nearly one-hot after 2.5 M tokens and the best previous-token score
  had stopped at 0.07.
- Time: {minutes} minutes on {machine}.

![Loss against tokens](model_loss.svg)

{curve}

Loss is in nats per token; the columns for heads give the best previous-token score of layer 0 and the best
prefix-matching score of layer 1 at that point, on samples smaller than the ones below.

## What its heads do

All numbers are of the half-precision weights run in single precision.

- Prefix matching (Olsson et al. 2022): on a segment of {half} uniform random tokens that comes twice, mean attention
  from a token of the second copy to the position right after it in the first.
- Previous token: mean attention to the previous token on held-out text.

{heads}

The previous-token head is {previous_head}; the induction heads are {induction_heads} (prefix matching above 0.5).

Held-out text, {n_sequences} sequences of {n_ctx} tokens:

| positions | number | loss | with the induction heads mean-ablated |
|---|---|---|---|
| all | {all_positions:,} | {held_out_loss:.3f} | {held_out_loss_induction_ablated:.3f} |
| where induction predicts the next token | {induction_predicted_positions:,} | {induction_predicted_loss:.3f} \
| {induction_predicted_loss_ablated:.3f} |

Induction predicts the next token where the latest earlier occurrence of the current token was followed by that same
next token.

## Induction candidates

Tokens A after which hard induction ("A B ... A" predicts B) is particularly helpful, {n_candidates} of {d_vocab}. The
rule, over training windows of {window} tokens, with occurrences of A that have an earlier occurrence in the window:

- r(A): how often the next token is the one that followed A's most recent earlier occurrence;
- m(A): how often A's most frequent follower over the training part follows A;
- A is a candidate where there are at least {min_occurrences} such occurrences, r(A) >= {min_repeat_rate}, and
  r(A) - m(A) >= {min_advantage}.

Some of the most frequent candidates:

{candidates}

## Another version of Python

Held-out text is read from the standard library of the Python that runs. The split goes by document names, so held-out
documents are held out on every version and platform, but their text differs between versions, and numbers differ a
little with it (files that later versions renamed keep their former name for the split).
`config.json` records the digest of the held-out text that the numbers above belong to;
`scrub.models.stdlib_text.held_out_note` gives a sentence to show where it differs.

## Reproduce

`make zoo` trains the model anew and writes its files and this page. The same versions of Python and torch on the same
kind of processor give the same weights; others give a model that differs in rounding first and visibly later.
"""


def write_page(path: Path, facts: dict[str, Any], curve: Sequence[CurvePoint]) -> None:
    """Write the page, and `model_loss.svg` next to it.

    Args:
        facts: config.json's entries and what the template names besides.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    text = _PAGE.format(
        **{
            **facts,
            "curve": _curve_table(curve),
            "heads": _head_table(facts["prefix_matching"], facts["previous_token"]),
            "candidates": _candidate_table(facts["candidate_examples"]),
            "previous_head": _name(facts["previous_token_head"]),
            "induction_heads": ", ".join(_name(head) for head in facts["induction_heads"]),
        }
    )
    path.write_text(text, encoding="utf-8")
    path.with_name("model_loss.svg").write_text(loss_svg(curve), encoding="utf-8")


def _name(head: Sequence[int]) -> str:
    return f"{head[0]}.{head[1]}"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _curve_table(curve: Sequence[CurvePoint]) -> str:
    step = max(1, len(curve) // 14)
    kept = [point for index, point in enumerate(curve) if (len(curve) - 1 - index) % step == 0]
    rows = [
        [
            f"{point.tokens / 1e6:.1f} M",
            f"{point.train_loss:.3f}",
            f"{point.held_out_loss:.3f}",
            f"{point.previous_token:.2f}",
            f"{point.prefix_matching:.2f}",
        ]
        for point in kept
    ]
    return _table(["tokens", "training loss", "held-out loss", "previous token", "prefix matching"], rows)


def _head_table(prefix: Sequence[Sequence[float]], previous: Sequence[Sequence[float]]) -> str:
    rows = [
        [_name((layer, head)), f"{prefix[layer][head]:.3f}", f"{previous[layer][head]:.3f}"]
        for layer in range(len(prefix))
        for head in range(len(prefix[layer]))
    ]
    return _table(["head", "prefix matching", "previous token"], rows)


def _candidate_table(examples: Sequence[tuple[str, int, float, float]]) -> str:
    rows = [
        [f"`{text!r}`".replace("|", "\\|"), f"{count:,}", f"{repeat:.2f}", f"{bigram:.2f}"]
        for text, count, repeat, bigram in examples
    ]
    return _table(["token", "occurrences", "r(A)", "m(A)"], rows)


def loss_svg(curve: Sequence[CurvePoint]) -> str:
    """The training and the held-out loss against tokens, as a self-contained SVG."""
    width, height, left, bottom = 640, 320, 48, 36
    last, low = curve[-1].tokens, min(min(point.train_loss, point.held_out_loss) for point in curve) // 0.5 * 0.5
    high = max(max(point.train_loss, point.held_out_loss) for point in curve) // 0.5 * 0.5 + 0.5

    def place(tokens: float, loss: float) -> str:
        x = left + (width - left - 12) * tokens / last
        return f"{x:.1f},{12 + (height - bottom - 12) * (high - loss) / (high - low):.1f}"

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" '
        f'font-size="12"><rect width="{width}" height="{height}" fill="white"/>'
    ]
    for tick in range(int((high - low) / 0.5) + 1):
        loss = low + 0.5 * tick
        x, y = place(0, loss).split(",")
        parts.append(
            f'<path d="M{x},{y}H{width - 12}" stroke="#ddd"/><text x="10" y="{float(y) + 4:.1f}">{loss}</text>'
        )
    for tick in range(0, int(last / 1e6) + 1, 5):
        x = place(tick * 1e6, low).split(",")[0]
        parts.append(f'<text x="{x}" y="{height - 16}" text-anchor="middle">{tick}</text>')
    parts.append(f'<text x="{width / 2}" y="{height - 2}" text-anchor="middle">million tokens</text>')
    for row, (label, colour, field) in enumerate(
        [("training loss", "#1f77b4", "train_loss"), ("held-out loss", "#d62728", "held_out_loss")]
    ):
        points = " ".join(place(point.tokens, getattr(point, field)) for point in curve)
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        parts.append(f'<text x="{width - 130}" y="{30 + 18 * row}" fill="{colour}">{label}</text>')
    return "\n".join(parts) + "\n</svg>\n"
