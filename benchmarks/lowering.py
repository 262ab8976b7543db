"""Seconds to lower, substitute everything in, and split every head of models of published shapes, on one core.

    python -m benchmarks.lowering

Tensors are on the `meta` device, so only the work on expressions is timed; a small model on the CPU shows that no
weight is copied on the way. The plain walk over the result stands beside, as in `graph_scale`.
"""

from __future__ import annotations

import gc
import statistics
import time

import torch

import scrub as rc
from benchmarks.shapes import SHAPES, ModelShape, lower, split_every_head

ROUNDS = 5
TARGETS = {"GPT-2 XL": 2.0, "Llama-3-8B": 3.0}


def meta_weight(name: str, shape: tuple[int, ...]) -> rc.Expr:
    return rc.Array(torch.empty(shape, device="meta"), name)


def one_round(shape: ModelShape) -> tuple[dict[str, float], rc.Expr]:
    """Seconds of each step, and the final expression."""
    gc.collect()
    seconds: dict[str, float] = {}
    started = time.perf_counter()
    model = lower(shape, meta_weight)
    seconds["lower"] = time.perf_counter() - started
    split = split_every_head(model)
    seconds["split every head"] = time.perf_counter() - started - sum(seconds.values())
    inlined = rc.substitute_all_modules(split)
    seconds["substitute all"] = time.perf_counter() - started - sum(seconds.values())
    seconds["total"] = sum(seconds.values())
    started = time.perf_counter()
    for _ in rc.postorder([inlined]):
        pass
    seconds["plain walk"] = time.perf_counter() - started
    return seconds, inlined


def num_copied_weights() -> tuple[int, int]:
    """Of a small model on the CPU: arrays of the final expression that are no weight's storage, and all arrays."""
    small = ModelShape("llama", 2, 4, 2, 32, 8, 64, 100, 16)
    pointers: set[int] = set()

    def weight(name: str, shape: tuple[int, ...]) -> rc.Expr:
        tensor = torch.randn(shape)
        pointers.add(tensor.untyped_storage().data_ptr())
        return rc.Array(tensor, name)

    inlined = rc.substitute_all_modules(split_every_head(lower(small, weight)))
    arrays = [node for node in rc.postorder([inlined]) if isinstance(node, rc.Array)]
    return sum(array.value.untyped_storage().data_ptr() not in pointers for array in arrays), len(arrays)


def main() -> None:
    torch.set_num_threads(1)
    for name, shape in SHAPES.items():
        rounds = [one_round(shape) for _ in range(ROUNDS)]
        num_nodes = sum(1 for _ in rc.postorder([rounds[0][1]]))
        print(f"\n{name}: {num_nodes:,} distinct nodes, target {TARGETS[name]} s in total")
        walk = statistics.median(seconds["plain walk"] for seconds, _ in rounds)
        for step in rounds[0][0]:
            values = [seconds[step] for seconds, _ in rounds]
            median = statistics.median(values)
            print(
                f"{step:<18}{median:8.3f} s ({min(values):.3f} to {max(values):.3f}) {median / walk:8.1f} x plain walk"
            )
    copied, total = num_copied_weights()
    print(f"\nweights copied: {copied} of {total}")


if __name__ == "__main__":
    main()
