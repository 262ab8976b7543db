"""Tiny transformers split by head, with data, for hypotheses on their paths."""

from __future__ import annotations

from typing import Any

import torch

import scrub as rc
from scrub import IterativeMatcher, Symbol
from scrub.hypothesis import Correspondence, Dataset, ExactSampler, Hypothesis, InterpNode, UncondSampler
from scrub.hypothesis import corr_root_matcher as whole
from tests.models.families import tiny

SEQ, ROWS, N = 6, 20, 12


def make(family: str, *, is_flat: bool, **changes: Any) -> tuple[Any, rc.Expr]:
    """A tiny model of Hugging Face in double precision, and its logits of symbols `tokens` and `mask`, by head."""
    base = next(tiny.variants(family, first_only=True))
    module = tiny.build(tiny.Variant(family, base.name, changes).config(), dtype=torch.float64)
    model = rc.models.load(module)
    split = rc.configure_transformer(
        model.lower(seq_len=SEQ)["t.bind_w"],
        split_by_head_config="full",
        use_pull_up_head_split=True,
        use_flatten_res=is_flat,
    )
    tokens, mask = (Symbol.new_from_name((SEQ,), name) for name in ("tokens", "mask"))
    return module, model.call(tokens, attention_mask=mask, model=split)


def random_data() -> Dataset:
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(3, 23, (ROWS, SEQ), generator=generator)
    lengths = torch.randint(2, SEQ + 1, (ROWS,), generator=generator)
    return Dataset({"tokens": tokens, "mask": (torch.arange(SEQ) < lengths[:, None]).to(torch.int64)})


def unpadded(data: Dataset) -> Dataset:
    return data.with_arrays({"mask": torch.ones_like(data["mask"])})


def random_rows(*labels: str) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {label: torch.randint(ROWS, (N,), generator=generator) for label in labels}


def one_child(matcher: IterativeMatcher) -> Hypothesis:
    """Everything reads the reference but for what `matcher` finds, which reads another datum."""
    corr, root = Correspondence(), InterpNode(ExactSampler(), "root", other_inputs_sampler=ExactSampler())
    corr.add(root, whole)
    corr.add(root.make_descendant(UncondSampler(), "child"), matcher)
    return Hypothesis(corr)
