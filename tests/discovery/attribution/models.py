"""Tiny models and tasks, and effects of patching computed by `PatchedRun`, to compare attribution with."""

from functools import lru_cache

import torch

from scrub.discovery.machine import Machine, PatchedRun, Replacement, machine_of, machine_of_expression, writes_of
from scrub.graph import Add, Array, Einsum, Expr, GeneralFunction, Symbol
from scrub.models import load
from scrub.tasks.task import Task
from tests.models.families import tiny

FAMILIES = ("gpt2", "qwen2", "gptj", "gemma2", "bert")
"""Plain; grouped queries; parallel blocks; norms after components; norms after sums."""


@lru_cache
def machine(family: str = "gpt2") -> Machine:
    """A machine of a tiny model in double precision."""
    config = next(variant for variant in tiny.variants() if variant.family == family).config()
    return machine_of(load(tiny.build(config, dtype=torch.float64)))


def task(n: int = 3, seq: int = 5, seed: int = 0) -> Task:
    """Random prompts of one length with counterfactuals."""
    generator = torch.Generator().manual_seed(seed)
    tokens, other = torch.randint(3, 20, (2, n, seq), generator=generator)
    answers, wrong = torch.randint(3, 11, (n,), generator=generator), torch.randint(11, 20, (n,), generator=generator)
    return Task.from_tokens("random", tokens, counterfactual=other, answers=answers, wrong=wrong)


def padded_task(side: str, lengths: tuple[int, ...] = (3, 6, 4), seed: int = 0) -> Task:
    """Prompts of several lengths; what stands at padding is random."""
    whole = task(len(lengths), max(lengths), seed)
    place = torch.arange(max(lengths))
    size = torch.tensor(lengths)[:, None]
    mask = (place < size if side == "right" else place >= max(lengths) - size).long()
    return Task.from_tokens(
        "padded",
        whole.tokens,
        mask=mask,
        counterfactual=whole.counterfactual,
        answers=whole.answers,
        wrong=whole.wrong,
    )


def difference(logits: torch.Tensor, batch: Task) -> torch.Tensor:
    """Logit difference by hand, [n, k, V] -> [n]."""
    rows = torch.arange(len(batch))
    return logits[rows, 0, batch.answers[:, 0, 0]] - logits[rows, 0, batch.wrong[:, 0, 0]]


def replacement(model: Machine, batch: Task) -> Replacement:
    """What all writers write on the counterfactuals."""
    assert batch.counterfactual is not None
    run = model.run(model.source.given(batch.counterfactual, batch.mask), keep_writes=True)
    return Replacement(writes_of(model, run), "counterfactual")


def patched(model: Machine, batch: Task, keep: torch.Tensor, *, per_position: bool = False) -> torch.Tensor:
    """The logit difference of each example with edges patched."""
    given = model.source.given(batch.tokens, batch.mask)
    run = PatchedRun(model, given, keep, replacement(model, batch), per_position=per_position)
    return difference(run.logits(batch.positions), batch)


def effects_of_edges(model: Machine, batch: Task) -> torch.Tensor:
    """M with one edge patched less M, one run each, mean over examples, [n_readers, n_writers]."""
    whole = torch.ones(model.graph.exists.shape, dtype=torch.float64)
    found = torch.zeros_like(whole)
    clean = patched(model, batch, whole)
    for row, column in model.graph.exists.nonzero().tolist():
        keep = whole.clone()
        keep[row, column] = 0
        found[row, column] = (patched(model, batch, keep) - clean).mean()
    return found


@lru_cache
def linear_machine(*, in_front: tuple[int, ...] = ()) -> Machine:
    """Three linear layers on a residual stream, and a linear readout: no attention, no nonlinearity.

    Args:
        in_front: axes of the stream in front of the positions.
    """
    generator = torch.Generator().manual_seed(1)
    vocabulary, d, hidden = 20, 6, 7

    def weight(*shape: int) -> Array:
        return Array(torch.randn(shape, generator=generator, dtype=torch.float64) / 2)

    tokens = Symbol.new_with_random_uuid((*in_front, 5), "tokens")
    stream: Expr = GeneralFunction.gen_index(weight(vocabulary, d), tokens, 0)
    s = "b s" if in_front else "s"
    for layer in range(3):
        inside = Einsum.from_string(f"{s} d, h d -> {s} h", stream, weight(hidden, d))
        stream = Add(stream, Einsum.from_string(f"{s} h, d h -> {s} d", inside, weight(d, hidden), name=f"m{layer}"))
    logits = Einsum.from_string(f"{s} d, v d -> {s} v", stream, weight(vocabulary, d), name="logits")
    return machine_of_expression(logits, tokens)
