"""GPT-2 and Llama as expressions beside plain Hugging Face: time of a forward pass, peak memory, time to compile."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import count

import torch

from benchmarks.expressions import Expressions, expressions
from benchmarks.memory import peak_bytes
from benchmarks.peers import HuggingFace, hugging_face, llama_config
from benchmarks.setting import SIZES, Bindings, Setting, Size, agree, prepared
from benchmarks.timing import CLOCKS, Row, seconds

MEGA = 1e6
COMPILED = Size(1, 15)
LLAMA_SIZE = SIZES[0]


def forward(setting: Setting) -> Iterator[Row]:
    """Logits of GPT-2 as it is, and with every head split into a call with inputs of its own."""
    for size in SIZES:
        of = setting.expressions(size.seq)
        yield from beside(setting, of, setting.hugging_face, size, ("original model", "every head split"), (1.05, 1.30))


def llama(setting: Setting) -> Iterator[Row]:
    """The same of a small Llama: rotary positions, grouped queries, root-mean-square norms, gated MLPs."""
    model, size = hugging_face(llama_config()), LLAMA_SIZE
    names = ("small Llama", "small Llama, every head split")
    yield from beside(setting, expressions(model, size.seq), model, size, names, (1.10, 1.30))


def beside(
    setting: Setting,
    of: Expressions,
    model: HuggingFace,
    size: Size,
    names: tuple[str, str],
    targets: tuple[float, float],
) -> Iterator[Row]:
    """Rows of both forms of a model, beside its own forward."""
    tokens = setting.draw(size) % of.loaded.architecture.d_vocab
    for what, logits, target in zip(names, (of.logits, of.split), targets, strict=True):
        ours, peer = prepared([logits], {of.tokens: tokens}, batched=[of.tokens]), plain(model, tokens)
        agree(ours()[0], peer())
        yield setting.compare(f"{what} / Hugging Face", str(size), ours, peer, target=target)


def memory(setting: Setting) -> Iterator[Row]:
    """Peak bytes of tensors during a forward pass, beyond the weights; the logits count."""
    for size in SIZES:
        of, tokens = setting.expressions(size.seq), setting.draw(size)
        ours = prepared([of.logits], {of.tokens: tokens}, batched=[of.tokens])
        peer = plain(setting.hugging_face, tokens)
        peer()
        ours_bytes, peer_bytes = peak_bytes(ours), peak_bytes(peer)
        note = f"{ours_bytes / MEGA:.1f} / {peer_bytes / MEGA:.1f} MB"
        yield Row("peak memory / Hugging Face", str(size), (ours_bytes / peer_bytes,), 1.10, note=note)


def compiling(setting: Setting) -> Iterator[Row]:
    """Seconds to compile the model with every head split; each round has another length, so that nothing is known."""
    times: list[float] = []
    for _, seq in zip(range(max(setting.rounds, 3)), count(COMPILED.seq), strict=False):
        of = expressions(setting.hugging_face, seq)
        bindings: Bindings = {of.tokens: setting.draw(Size(COMPILED.batch, seq))}
        compile_it = partial(prepared, [of.split], bindings, batched=[of.tokens])
        times.append(seconds(compile_it, CLOCKS[setting.clock]))
    yield Row("compile, every head split", str(COMPILED), tuple(times), 3.0, unit="s")


def plain(model: HuggingFace, tokens: torch.Tensor) -> Callable[[], torch.Tensor]:
    """The peer: Hugging Face's own forward, without gradients and without a cache of keys and values."""

    @torch.inference_mode()
    def run() -> torch.Tensor:
        return model(tokens, use_cache=False).logits

    return run
