"""Plans say what a run takes before it is run; memory limits are kept."""

from __future__ import annotations

from collections.abc import Collection

import pytest
import torch

import scrub as rc
from benchmarks.memory import peak_bytes
from scrub.compiler import Program
from scrub.compiler import compile as compile_expr
from scrub.compiler.passes import ALL_PASSES
from tests.compiler.transformers import Shape, lowered, random_model, symbol_named

SHAPE = Shape("gpt2", 3, 4, 4, 128, 32, 512, 600, 24)
N = 12


def _model(*, is_split: bool) -> tuple[rc.Expr, rc.Symbol, dict[rc.Expr, torch.Tensor]]:
    model = lowered(random_model(SHAPE, std=0.05, dtype=torch.float32), SHAPE.seq, split=is_split)
    x = symbol_named(model, "t.input")
    bindings: dict[rc.Expr, torch.Tensor] = {
        x: torch.randn(N, SHAPE.seq, SHAPE.d_model, generator=torch.Generator().manual_seed(0)),
        symbol_named(model, "a.mask"): torch.ones(SHAPE.seq, SHAPE.seq).tril(),
    }
    return model, x, bindings


def _program(
    is_split: bool, passes: Collection[str] = ALL_PASSES, **options: int
) -> tuple[Program, dict[rc.Expr, torch.Tensor]]:
    model, x, bindings = _model(is_split=is_split)
    return compile_expr(
        rc.elementwise("tanh", model).mean(), batched=[x], passes=passes, max_memory=options.get("max_memory")
    ), bindings


@pytest.mark.parametrize("is_split", [False, True])
@pytest.mark.parametrize("passes", [ALL_PASSES, ("order",), (), tuple(p for p in ALL_PASSES if p != "attention")])
def test_the_predicted_peak_is_within_a_fifth_of_the_measured(passes: tuple[str, ...], is_split: bool) -> None:
    program, bindings = _program(is_split, passes)
    program.run(bindings)
    measured = peak_bytes(lambda: program.run(bindings))
    assert program.plan(bindings).peak_bytes == pytest.approx(measured, rel=0.2)


@pytest.mark.parametrize("share", [0.7, 0.35, 0.1])
def test_a_limit_is_kept_by_computing_fewer_draws_at_a_time(share: float) -> None:
    free, bindings = _program(True)
    expected = free.run(bindings)[0]
    limit = int(free.plan(bindings).peak_bytes * share)
    program, bindings = _program(True, max_memory=limit)
    torch.testing.assert_close(program.run(bindings)[0], expected, rtol=1e-4, atol=1e-6)
    plan = program.plan(bindings)
    assert plan.portion < N
    assert plan.peak_bytes <= limit
    assert peak_bytes(lambda: program.run(bindings)) <= 1.2 * limit


def test_below_one_draw_values_are_computed_again() -> None:
    x = rc.Symbol.new_from_name((256, 256), "x")
    kept = [rc.elementwise("tanh", x.scale(float(i + 1)), name=f"kept{i}") for i in range(6)]
    total: rc.Expr = kept[0]
    for value in (*kept[1:], *reversed(kept)):  # every one is needed twice, far apart
        total = rc.Einsum.from_string("a b, b c -> a c", total, value).scale(1 / 256)
    bindings: dict[rc.Expr, torch.Tensor] = {x: torch.randn(3, 256, 256, generator=torch.Generator().manual_seed(0))}
    free = compile_expr(total.mean(), batched=[x], passes=["order"])
    one_draw = {x: bindings[x][:1]}
    limit = int(0.7 * free.plan(one_draw).peak_bytes)
    program = compile_expr(total.mean(), batched=[x], passes=["order"], max_memory=limit)
    torch.testing.assert_close(program.run(bindings)[0], free.run(bindings)[0])
    plan = program.plan(bindings)
    assert plan.peak_bytes <= limit
    assert plan.flops > free.plan(bindings).flops
    assert peak_bytes(lambda: program.run(bindings)) <= 1.2 * limit


def test_a_limit_that_cannot_be_kept_says_what_needs_how_much() -> None:
    model, x, bindings = _model(is_split=False)
    logits = N * SHAPE.seq * SHAPE.d_vocab * 4
    with pytest.raises(rc.MemoryLimitError, match="results for 12 draws") as caught:
        compile_expr(model, batched=[x], max_memory=logits // 2).run(bindings)
    assert caught.value.found == logits // 2
    program, bindings = _program(False, max_memory=1000)
    with pytest.raises(rc.MemoryLimitError):
        program.run(bindings)


def test_operations_are_those_that_torch_counts() -> None:
    from torch.utils.flop_counter import FlopCounterMode

    program, bindings = _program(False, ())
    program.run(bindings)
    with FlopCounterMode(display=False) as counter:
        program.run(bindings)
    # torch counts products of matrices alone; norms, softmax and sums are some per cent more
    assert counter.get_total_flops() < program.plan(bindings).flops < 1.1 * counter.get_total_flops()


def test_a_plan_prints_steps_operations_memory_and_what_passes_did() -> None:
    program, bindings = _program(True)
    text = str(program.plan(bindings))
    assert text.startswith("1 outputs on 12 draws, 12 at a time")
    assert "operations; at most" in text
    for name in ("siblings", "normalization", "attention", "linear"):
        assert f"{name} " in text
    assert "3 Attention" in text
    assert "t.bind_w linear" in text  # the logits, under the name of the module that was inlined


def test_what_several_outputs_share_is_counted_once() -> None:
    x = rc.Symbol.new_from_name((64, 64), "x")
    shared = rc.Einsum.from_string("a b, b c -> a c", x, x, name="shared")
    exprs = [shared.scale(2.0), rc.elementwise("exp", shared), rc.elementwise("tanh", shared)]
    bindings = {x: torch.randn(5, 64, 64, generator=torch.Generator().manual_seed(0))}
    alone = [compile_expr(expr, batched=[x]).plan(bindings).flops for expr in exprs]
    plan = compile_expr(exprs, batched=[x]).plan(bindings)
    together = plan.flops
    assert "steps that several outputs need: 1, 97.7%" in str(plan)
    product = 5 * 2 * 64**3
    assert together == sum(alone) - 2 * product
