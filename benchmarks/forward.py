"""GPT-2 as an expression beside plain Hugging Face: time of a forward pass, peak memory, and the time to compile."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import count

import torch

from benchmarks.gpt2 import gpt2
from benchmarks.memory import peak_bytes
from benchmarks.setting import SIZES, Bindings, Setting, Size, agree, prepared
from benchmarks.timing import CLOCKS, Row, seconds

MEGA = 1e6
COMPILED = Size(1, 15)


def forward(setting: Setting) -> Iterator[Row]:
    """Logits of the model as it is, and with every head split into a call with inputs of its own."""
    for size in SIZES:
        of, tokens = setting.expressions(size.seq), setting.draw(size)
        for what, logits, target in (("original model", of.logits, 1.05), ("every head split", of.split, 1.30)):
            ours, peer = prepared([logits], {of.tokens: tokens}, batched=[of.tokens]), plain(setting, tokens)
            agree(ours()[0], peer())
            yield setting.compare(
                f"{what} / Hugging Face",
                str(size),
                ours,
                peer,
                target=target,
            )


def memory(setting: Setting) -> Iterator[Row]:
    """Peak bytes of tensors during a forward pass, beyond the weights; the logits count."""
    for size in SIZES:
        of, tokens = setting.expressions(size.seq), setting.draw(size)
        ours, peer = prepared([of.logits], {of.tokens: tokens}, batched=[of.tokens]), plain(setting, tokens)
        peer()
        ours_bytes, peer_bytes = peak_bytes(ours), peak_bytes(peer)
        note = f"{ours_bytes / MEGA:.1f} / {peer_bytes / MEGA:.1f} MB"
        yield Row("peak memory / Hugging Face", str(size), (ours_bytes / peer_bytes,), 1.10, note=note)


def compiling(setting: Setting) -> Iterator[Row]:
    """Seconds to compile the model with every head split; each round has another length, so that nothing is known."""
    times: list[float] = []
    for _, seq in zip(range(max(setting.rounds, 3)), count(COMPILED.seq), strict=False):
        of = gpt2(setting.hugging_face, seq)
        bindings: Bindings = {of.tokens: setting.draw(Size(COMPILED.batch, seq))}
        compile_it = partial(prepared, [of.split], bindings, batched=[of.tokens])
        times.append(seconds(compile_it, CLOCKS[setting.clock]))
    yield Row("compile, every head split", str(COMPILED), tuple(times), 3.0, unit="s")


def plain(setting: Setting, tokens: torch.Tensor):
    """The peer: Hugging Face's own forward, without gradients and without a cache of keys and values."""
    model = setting.hugging_face

    @torch.inference_mode()
    def run() -> torch.Tensor:
        return model(tokens, use_cache=False).logits

    return run
