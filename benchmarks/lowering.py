"""Processor seconds to load, lower, split by head and substitute everything in, for models of published shapes.

    python -m benchmarks.lowering

Models are loaded from configs, so that tensors are on the `meta` device and only the work on expressions is timed; a
small model on the CPU shows that no weight is copied on the way. The plain walk over the result stands beside, as in
`graph_scale`.
"""

from __future__ import annotations

import gc
import statistics
import time

import torch

import scrub as rc
from benchmarks.expressions import split_heads
from benchmarks.peers import (
    GPT2_XL,
    LLAMA_3_8B,
    LLAMA_3_70B,
    Config,
    gpt2_config,
    hugging_face,
    llama_config,
)
from scrub.models import load

ROUNDS, SEQ = 5, 1024
TARGETS = {"GPT-2 XL": 2.0, "Llama-3-8B": 3.0, "Llama-3-70B": 15.0}


def published() -> dict[str, Config]:
    """The configs by name."""
    return {
        "GPT-2 XL": gpt2_config(GPT2_XL),
        "Llama-3-8B": llama_config(LLAMA_3_8B),
        "Llama-3-70B": llama_config(LLAMA_3_70B),
    }


def one_round(config: Config) -> tuple[dict[str, float], rc.Expr]:
    """Seconds of a processor for each step, and the final expression."""
    gc.collect()
    times = [time.process_time()]
    loaded = load(config)
    times.append(time.process_time())
    lowered = loaded.lower(seq_len=SEQ)["t.bind_w"]
    times.append(time.process_time())
    split = split_heads(lowered)
    times.append(time.process_time())
    inlined = rc.substitute_all_modules(split)
    times.append(time.process_time())
    names = ("load", "lower", "split every head", "substitute all")
    seconds = {name: end - start for name, start, end in zip(names, times, times[1:], strict=False)}
    seconds["total"] = times[-1] - times[0]
    started = time.process_time()
    for _ in rc.postorder([inlined]):
        pass
    seconds["plain walk"] = time.process_time() - started
    return seconds, inlined


def num_copied_weights(config: Config) -> tuple[int, int]:
    """Of a model on the CPU: arrays of the final expression that are no weight's storage, and all arrays."""
    model = hugging_face(config)
    pointers = {weight.untyped_storage().data_ptr() for weight in model.state_dict().values()}
    inlined = rc.substitute_all_modules(split_heads(load(model).lower(seq_len=16)["t.bind_w"]))
    arrays = [node for node in rc.postorder([inlined]) if isinstance(node, rc.Array)]
    return sum(array.value.untyped_storage().data_ptr() not in pointers for array in arrays), len(arrays)


def main() -> None:
    torch.set_num_threads(1)
    for name, config in published().items():
        rounds = [one_round(config) for _ in range(ROUNDS)]
        num_nodes = sum(1 for _ in rc.postorder([rounds[0][1]]))
        print(f"\n{name}: {num_nodes:,} distinct nodes, target {TARGETS[name]} s in total")
        walk = statistics.median(seconds["plain walk"] for seconds, _ in rounds)
        for step in rounds[0][0]:
            values = [seconds[step] for seconds, _ in rounds]
            median = statistics.median(values)
            print(
                f"{step:<18}{median:8.3f} s ({min(values):.3f} to {max(values):.3f}) {median / walk:8.1f} x plain walk",
                flush=True,
            )
    copied, total = num_copied_weights(llama_config())
    print(f"\nweights copied: {copied} of {total}")


if __name__ == "__main__":
    main()
