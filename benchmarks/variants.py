"""Many variants of one model: every head replaced in turn, one path scrubbed, and up to 1,000 variants at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import pairwise

import torch

import scrub as rc
from benchmarks.expressions import Expressions, expressions, head_name, patched_heads, replace_head, value_scrubbed
from benchmarks.forward import plain
from benchmarks.peers import gpt2_config, hugging_face, patched_losses
from benchmarks.setting import Setting, Size, agree, prepared
from benchmarks.timing import CLOCKS, Clock, Row, seconds
from scrub.compiler import compile  # noqa: A004

PATCHED = ((Size(1, 15), 1), (Size(8, 15), 3), (Size(8, 64), 6))
"""Sizes, and of how many heads one is patched: all, or where that takes too long four or two a layer."""
SCRUBBED_LAYERS = (2, 5, 8)
SCRUBBED = (Size(8, 64), Size(8, 15))
SMALL = {"n_layer": 6, "n_head": 8, "n_embd": 256, "vocab_size": 2048, "n_positions": 64}
SMALL_SIZE = "small GPT-2, 1 x 15 tokens"
COUNTS = (0, 1, 10, 100, 1000)
ROUNDS_OF_MANY, FLAT = 3, 1.1


def every_head(setting: Setting) -> Iterator[Row]:
    """Activation patching: each head's output in turn from the run on other tokens, and all the losses."""
    for size, step in PATCHED:
        of = setting.expressions(size.seq)
        other, heads = of.other_tokens(), of.heads[::step]
        tokens, others = setting.draw(size), setting.draw(size, seed=1)
        bindings = {of.tokens: tokens, other: others}
        ours = prepared(
            [of.loss(logits) for logits in patched_heads(of, heads, other)], bindings, batched=[of.tokens, other]
        )
        peer = patching_peer(setting, tokens, others, heads)
        agree(torch.stack(ours()).mean(-1), peer())
        rounds = max(2, min(3, setting.rounds))
        what = f"{len(heads)} heads replaced in turn / TransformerLens hooks"
        yield setting.compare(what, str(size), ours, peer, rounds=rounds, target=0.35, warm_ups=0)


def patching_peer(
    setting: Setting, tokens: torch.Tensor, others: torch.Tensor, heads: Sequence[tuple[int, int]]
) -> Callable[[], torch.Tensor]:
    hooked = setting.transformer_lens

    @torch.inference_mode()
    def run() -> torch.Tensor:
        return patched_losses(hooked, tokens, others, heads)

    return run


def path_scrub(setting: Setting) -> Iterator[Row]:
    """One head's value input from other tokens, logits; beside the two forwards that a hook needs for it."""
    for size in SCRUBBED:
        of, tokens, others = setting.expressions(size.seq), setting.draw(size), setting.draw(size, seed=1)
        other = of.other_tokens()
        peer = partial(_both, plain(setting.hugging_face, tokens), plain(setting.hugging_face, others))
        for layer in SCRUBBED_LAYERS:
            scrubbed = value_scrubbed(of, (layer, 3), other)
            ours = prepared([scrubbed], {of.tokens: tokens, other: others}, batched=[of.tokens, other])
            what = f"value input of a head in layer {layer} scrubbed / two Hugging Face forwards"
            yield setting.compare(what, str(size), ours, peer, target=0.75)


def _both(first: Callable[[], object], second: Callable[[], object]) -> tuple[object, object]:
    return first(), second()


def many(setting: Setting) -> Iterator[Row]:
    """Cost of one more variant that changes one head, by how many there are already, on a small GPT-2.

    The original is among the expressions, so that the first variant's cost is what it adds, too.
    """
    size = Size(1, 15)
    of = expressions(hugging_face(gpt2_config(SMALL)), size.seq)
    bindings: dict[rc.Expr, torch.Tensor] = {of.tokens: setting.draw(size) % SMALL["vocab_size"]}
    marginal: dict[str, list[tuple[float, ...]]] = {step: [] for step in ("build", "compile", "run")}
    for _ in range(ROUNDS_OF_MANY):
        costs = [_costs(of, number, bindings, CLOCKS[setting.clock]) for number in COUNTS]
        for step, found in marginal.items():
            values = [cost[step] for cost in costs]
            steps = zip(COUNTS, COUNTS[1:], values, values[1:], strict=False)
            found.append(tuple((b - a) / (m - n) for n, m, a, b in steps))
    for step, found in marginal.items():
        for (n, m), values in zip(pairwise(COUNTS), zip(*found, strict=True), strict=True):
            yield Row(f"one more variant, {n} to {m}: {step}", SMALL_SIZE, tuple(1e3 * v for v in values), unit="ms")
        ratios = tuple(values[-1] / values[-2] for values in found)
        yield Row(f"one more variant: {step}, 100 to 1000 / 10 to 100", SMALL_SIZE, ratios, FLAT)


def _costs(of: Expressions, number: int, bindings: dict[rc.Expr, torch.Tensor], clock: Clock) -> dict[str, float]:
    """Seconds to write so many variants down, to compile them and the original, and to run them."""
    started = clock()
    exprs = [of.loss(logits) for logits in (of.split, *scaled_heads(of, number))]
    built = clock()
    program = compile(exprs, batched=[of.tokens])
    program.compiled(bindings)
    compiled = clock()
    program.run(bindings)
    run = min(seconds(partial(program.run, bindings), clock) for _ in range(3))
    return {"build": built - started, "compile": compiled - built, "run": run}


def scaled_heads(of: Expressions, number: int) -> list[rc.Expr]:
    """Logits of variants that each scale one head's output; layers take turns, so that any number of them is fair."""
    found: list[rc.Expr] = []
    for index in range(number):
        head = of.heads[index * 61 % len(of.heads)]  # 61 is coprime to 48
        output = of.split.get_unique(head_name(head))
        found.append(replace_head(of.split, head, output.scale(-1.0 - index // len(of.heads))))
    return found
