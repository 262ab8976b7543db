"""What loading adds to a Hugging Face model, memory and seconds, and how long models without weights take.

Memory is that of a process that does nothing else. A step is measured by what is resident after it, so whatever it
keeps counts: copies of weights, Python objects, libraries that are imported for it. Of a folder, pages of the mapped
file count as far as they were read, and the digests of arrays read all weights.
"""

from __future__ import annotations

import gc
import multiprocessing
import tempfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

import scrub as rc
from benchmarks.expressions import expressions, split_heads
from benchmarks.forward import plain
from benchmarks.lowering import published
from benchmarks.peers import GPT2_SMALL, Config, HuggingFace, gpt2_config, hugging_face
from benchmarks.setting import Setting
from benchmarks.timing import CLOCKS, Clock, Row, seconds
from scrub.models import load

MEGA, SEQ = 1e6, 15
STATISTICS = Path("/proc/self/smaps_rollup")
"""Where Linux says how much memory this process has; on other systems there are no rows of memory."""
MOST_SECONDS = {"Llama-3-8B": 5.0, "Llama-3-70B": 15.0}


def loading(setting: Setting) -> Iterator[Row]:
    """Memory and seconds for GPT-2, seconds for shapes without weights."""
    clock = CLOCKS[setting.clock]
    with tempfile.TemporaryDirectory() as folder:
        setting.hugging_face.save_pretrained(folder)
        if STATISTICS.exists():
            yield from resident_rows(setting.sizes, folder)
        rounds = range(max(3, setting.rounds))
        yield from time_rows([seconds_to_load(setting.hugging_face, folder, clock) for _ in rounds])
    for name, most in MOST_SECONDS.items():
        config = published()[name]
        times = tuple(seconds(partial(without_weights, config), clock) for _ in rounds)
        yield Row("config to expression, every head split", name, times, most, unit="s")


def resident_rows(sizes: Mapping[str, int], folder: str) -> Iterator[Row]:
    """Resident memory after loading over that of the Hugging Face model alone."""
    alone, loaded = in_own_process(partial(resident_of_module, dict(sizes)))
    yield _memory_row("memory of a module and its expressions / the module alone", loaded, alone)
    (alone,), (loaded,) = (
        in_own_process(partial(step, folder)) for step in (resident_from_pretrained, resident_mapped)
    )
    yield _memory_row("memory of expressions of a folder / from_pretrained", loaded, alone)


def time_rows(rounds: list[dict[str, float]]) -> Iterator[Row]:
    """Seconds of loading and making expressions, of a module and of a folder."""
    of = "GPT-2 small"
    yield Row("expressions of a module", of, tuple(times["module"] for times in rounds), 1.0, unit="s")
    yield Row("expressions of a folder", of, tuple(times["folder"] for times in rounds), unit="s")
    yield Row("from_pretrained of the same folder", of, tuple(times["peer"] for times in rounds), unit="s")


def seconds_to_load(module: HuggingFace, folder: str, clock: Clock) -> dict[str, float]:
    """To the logits on tokens as an expression, digests of all weights included."""
    return {
        "module": seconds(partial(expression_of, module), clock),
        "folder": seconds(partial(expression_of, folder), clock),
        "peer": seconds(partial(from_pretrained, folder), clock),
    }


def expression_of(source: HuggingFace | str) -> rc.Expr:
    """The logits of a module or folder as an expression, all heads of a layer as one call."""
    loaded = load(source)
    return loaded.call(rc.Symbol.new_from_name((SEQ,), "tokens"))


def from_pretrained(folder: str) -> HuggingFace:
    library: Any = import_module("transformers")
    return library.AutoModelForCausalLM.from_pretrained(folder).eval().requires_grad_(False)


def without_weights(config: Config) -> rc.Expr:
    """The expression of a model of this shape for sequences of any length, with every head a call of its own."""
    return split_heads(load(config).lower()["t.bind_w"])


def in_own_process(measure: Callable[[], tuple[float, ...]]) -> tuple[float, ...]:
    """What `measure` finds in a new process."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(measure).result()


def resident_of_module(sizes: Mapping[str, int]) -> tuple[float, float]:
    """Megabytes of a GPT-2, and of it and its expressions."""
    before = _warmed_up()
    module = hugging_face(gpt2_config(sizes))
    plain(module, torch.zeros(1, SEQ, dtype=torch.int64))()
    alone = resident() - before
    held = expressions(module, SEQ)
    together = resident() - before
    del held
    return alone, together


def resident_from_pretrained(folder: str) -> tuple[float]:
    """Megabytes of the model of a folder, after a forward, which reads all weights."""
    before = _warmed_up()
    module = from_pretrained(folder)
    plain(module, torch.zeros(1, SEQ, dtype=torch.int64))()
    return (resident() - before,)


def resident_mapped(folder: str) -> tuple[float]:
    """Megabytes of the expression of a folder's model, with its digests, which read all weights."""
    before = _warmed_up()
    held = expression_of(folder)
    together = resident() - before
    del held
    return (together,)


def resident() -> float:
    """Megabytes of this process, with its share of what it has in common with others."""
    gc.collect()
    lines = STATISTICS.read_text().splitlines()[1:]
    (kilobytes,) = (line.split()[1] for line in lines if line.startswith("Pss:"))
    return int(kilobytes) * 1024 / MEGA


def _warmed_up() -> float:
    """Resident memory once `transformers` and kernels are loaded, as they are for a model alone."""
    small = GPT2_SMALL | {"n_layer": 1, "n_head": 2, "n_embd": 64, "vocab_size": 64}
    plain(hugging_face(gpt2_config(small)), torch.zeros(1, SEQ, dtype=torch.int64))()
    return resident()


def _memory_row(what: str, ours: float, peer: float) -> Row:
    return Row(what, "GPT-2 small", (ours / peer,), 1.05, note=f"{ours:.0f} / {peer:.0f} MB")
