"""What holds for every program: depth, sharing, sizes at the edge, inputs left alone, runs after errors."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import torch
from torch.overrides import TorchFunctionMode

import scrub as rc
from scrub.compiler import compile as compile_expressions
from scrub.compiler.passes import ALL_PASSES
from scrub.graph import Expr
from tests.compiler.cases import Case, corpus

BOTH = pytest.mark.parametrize("passes", [(), ALL_PASSES], ids=["no passes", "all passes"])
DEPTH = 10_000


def symbol(name: str, *shape: int) -> rc.Symbol:
    return rc.Symbol.new_from_name(shape, name)


def array(*shape: int, seed: int = 0) -> rc.Array:
    return rc.Array(torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64))


def variable(*shape: int, rows: int = 5) -> rc.DiscreteVar:
    group = rc.Tag.new_from_name(rc.Scalar(1 / rows, (rows,)), f"group of {rows}")
    return rc.DiscreteVar(array(rows, *shape), group)


# Deep, and with many paths


@BOTH
def test_a_chain_ten_thousand_deep(passes: tuple[str, ...]) -> None:
    x = symbol("x", 2)
    chain: Expr = x
    for i in range(DEPTH):
        chain = rc.elementwise("abs", chain) if i % 2 else chain.add(rc.Scalar(1.0))
    program = compile_expressions(chain, passes=passes)
    assert program.run({x: torch.ones(2, dtype=torch.float64)})[0].tolist() == [1 + DEPTH / 2] * 2


@BOTH
def test_a_chain_ten_thousand_deep_of_draws(passes: tuple[str, ...]) -> None:
    x, step = symbol("x", 2), variable(2)
    chain: Expr = x
    for i in range(DEPTH):
        chain = chain.sub(step) if i % 2 else chain.add(step.scale(2.0))
    program = compile_expressions(chain, batched=[x], passes=passes)
    start, rows = torch.zeros(3, 2, dtype=torch.float64), torch.tensor([4, 0, 4])
    (got,) = program.run({x: start, step.probs_and_group: rows})
    torch.testing.assert_close(got, step.values.cast(rc.Array).value[rows] * (DEPTH / 2), rtol=1e-10, atol=1e-10)


@BOTH
def test_modules_nested_ten_thousand_deep_as_arguments(passes: tuple[str, ...]) -> None:
    p, x = symbol("p", 2), symbol("x", 2)
    spec = rc.ModuleSpec(p.add(rc.Scalar(1.0)), [p])
    call: Expr = x
    for i in range(DEPTH):
        call = rc.Module(spec, f"call{i % 3}", p=call)
    program = compile_expressions(call, passes=passes)
    assert program.run({x: torch.zeros(2, dtype=torch.float64)})[0].tolist() == [DEPTH] * 2


@BOTH
def test_modules_nested_in_bodies(passes: tuple[str, ...]) -> None:
    depth = 1000
    x = symbol("x", 2)
    inner = symbol("p0", 2)
    body: Expr = inner.add(rc.Scalar(1.0))
    for i in range(depth):
        outer = symbol(f"p{i + 1}", 2)
        body = rc.Module(rc.ModuleSpec(body, [inner]), None, **{str(inner.name): outer.add(rc.Scalar(1.0))})
        inner = outer
    call = rc.Module(rc.ModuleSpec(body, [inner]), None, **{str(inner.name): x})
    assert (
        compile_expressions(call, passes=passes).run({x: torch.zeros(2, dtype=torch.float64)})[0].tolist()
        == [depth + 1.0] * 2
    )


@BOTH
@pytest.mark.parametrize("is_drawn", [False, True])
def test_two_to_the_power_of_sixty_paths(passes: tuple[str, ...], is_drawn: bool) -> None:
    x = symbol("x")
    doubled: Expr = x
    for i in range(60):
        doubled = doubled.add(doubled) if i % 2 else rc.Add(doubled, rc.elementwise("abs", doubled))
    p = symbol("p")
    twice = rc.ModuleSpec(p.add(rc.elementwise("relu", p)), [p])
    called: Expr = x
    for _ in range(60):
        called = rc.Module(twice, None, p=called)
    program = compile_expressions([doubled, called], batched=[x] if is_drawn else [], passes=passes)
    one = torch.ones((3,) if is_drawn else (), dtype=torch.float64)
    for got in program.run({x: one}):
        assert torch.equal(got, one * 2.0**60)


# Numbers of draws


@pytest.fixture(scope="module", params=[(), ALL_PASSES], ids=["no passes", "all passes"])
def program(request: pytest.FixtureRequest) -> Any:
    case = corpus()[0]
    return compile_expressions(case.exprs, batched=case.batched, passes=request.param)


def bindings_of(case: Case, program: Any, draws: torch.Tensor) -> dict[Expr, torch.Tensor]:
    """Those of the case, at these of its draws."""
    return {
        key: case.bindings[key][draws] if key in program.groups or key in case.batched else case.bindings[key]
        for key in (*program.symbols, *program.groups)
    }


def test_no_draws_give_no_values(program: Any) -> None:
    case = corpus()[0]
    empty = bindings_of(case, program, torch.tensor([], dtype=torch.int64))
    full = program.run(bindings_of(case, program, torch.arange(2)))
    for got, some in zip(program.run(empty), full, strict=True):
        if some.shape[:1] != (2,):
            assert torch.equal(got, some)
        elif got.shape[0] == 0:
            assert (got.shape[1:], got.dtype) == (some.shape[1:], some.dtype)
    assert any(got.shape[:1] == (0,) for got in program.run(empty))


def test_each_draw_by_itself_gives_what_all_give_together(program: Any) -> None:
    case = corpus()[0]
    together = program.run(bindings_of(case, program, torch.arange(5)))
    for i in range(5):
        for expr, got, all_draws in zip(
            case.exprs, program.run(bindings_of(case, program, torch.tensor([i]))), together, strict=True
        ):
            want = all_draws[i : i + 1] if all_draws.ndim > expr.ndim else all_draws
            torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-10, equal_nan=True)


@BOTH
def test_portions_that_do_not_divide_the_draws(passes: tuple[str, ...]) -> None:
    """Under every limit, from all draws at a time to one."""
    x, w, n = symbol("x", 16), array(16, 16), 7
    wide = rc.elementwise("tanh", rc.Einsum.from_string("a, b, a b -> a b", x, x, w))
    exprs = [rc.elementwise("sin", wide.mul(wide)).sum(), x.sum(), w.sum(), rc.softmax(wide).mean(0)]
    bound: dict[Expr, torch.Tensor] = {x: torch.randn(n, 16, dtype=torch.float64)}
    unlimited = compile_expressions(exprs, batched=[x], passes=passes)
    want, whole = unlimited.run(bound), unlimited.plan(bound).peak_bytes
    portions: set[int] = set()
    for limit in range(whole, whole // 8, -whole // 16):
        limited = compile_expressions(exprs, batched=[x], passes=passes, max_memory=limit)
        plan = limited.plan(bound)
        assert plan.peak_bytes <= limit
        portions.add(plan.portion)
        for got, expected in zip(limited.run(bound), want, strict=True):
            torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)
    assert portions > {1, 2, 3, 4}


# Again and again


def test_a_program_run_twice_gives_the_same_bits(program: Any) -> None:
    case = corpus()[0]
    bound = bindings_of(case, program, torch.arange(4))
    for first, second in zip(program.run(bound), program.run(bound), strict=True):
        assert torch.equal(first.nan_to_num(), second.nan_to_num())


def test_inputs_are_not_written_to(program: Any) -> None:
    case = corpus()[0]
    bound = bindings_of(case, program, torch.arange(4))
    before = {key: tensor.clone() for key, tensor in bound.items()}
    program.run(bound)
    for key, tensor in bound.items():
        assert torch.equal(tensor, before[key]), key


def test_writing_to_results_changes_neither_inputs_nor_the_model_nor_later_results(program: Any) -> None:
    case = corpus()[0]
    bound = bindings_of(case, program, torch.arange(4))
    before = {key: tensor.clone() for key, tensor in bound.items()}
    first = [result.clone() for result in program.run(bound)]
    for result in program.run(bound):
        for position in torch.ones(result.shape).nonzero():  # one by one, since expanded ones share memory
            result[tuple(position)] = 7
    for key, tensor in bound.items():
        assert torch.equal(tensor, before[key]), key
    for got, want in zip(program.run(bound), first, strict=True):
        assert torch.equal(got.nan_to_num(), want.nan_to_num())


@BOTH
def test_results_share_no_memory_with_each_other_inputs_or_constants(passes: tuple[str, ...]) -> None:
    x, once, w = symbol("x", 2, 3), symbol("once", 2, 3), array(2, 3)
    turned = [rc.Rearrange(node, "a b -> b a") for node in (x, once, w)]
    outputs = [x, once, w, *turned, x, w.index([0]), once.index([0]), w.add(rc.Scalar(0.0)), rc.Scalar(1.0, (2, 2))]
    program = compile_expressions(outputs, batched=[x], passes=passes)
    bound = {x: torch.randn(4, 2, 3, dtype=torch.float64), once: torch.randn(2, 3, dtype=torch.float64)}
    before = [tensor.clone() for tensor in (*bound.values(), w.value)]
    first = [result.clone() for result in program.run(bound)]
    for i in range(len(outputs)):
        results = program.run(bound)
        results[i].fill_(7.0)
        for j, (result, want) in enumerate(zip(results, first, strict=True)):
            assert j == i or torch.equal(result, want), (i, j)
        for tensor, want in zip((*bound.values(), w.value), before, strict=True):
            assert torch.equal(tensor, want), i


@BOTH
def test_a_program_can_be_run_after_an_error_in_the_middle(passes: tuple[str, ...]) -> None:
    table, at, x = variable(3), symbol("at"), symbol("x", 3)
    picked = rc.GeneralFunction.gen_index(table.add(x), at, index_dim=0)
    program = compile_expressions([picked, x.scale(2.0)], batched=[x], passes=passes)
    bound = {
        x: torch.randn(4, 3, dtype=torch.float64),
        at: torch.tensor(1),
        table.probs_and_group: torch.tensor([0, 1, 4, 2]),
    }
    first = program.run(bound)
    with pytest.raises(rc.ScrubError, match="out of range"):
        program.run(bound | {at: torch.tensor(3)})
    with pytest.raises(rc.ScrubError, match="out of range"):
        program.run(bound | {table.probs_and_group: torch.tensor([0, 1, 5, 2])})
    with pytest.raises(rc.ShapeError):
        program.run(bound | {x: torch.randn(5, 3, dtype=torch.float64)})
    for got, want in zip(program.run(bound), first, strict=True):
        assert torch.equal(got, want)


@BOTH
def test_an_interrupt_leaves_the_program_as_it_was(passes: tuple[str, ...]) -> None:
    """Wherever it comes: at the first, second, third.. call of torch."""
    x, w = variable(3), array(3, 3)
    product = rc.Einsum.from_string("d, d e -> e", x, w)
    program = compile_expressions([rc.softmax(product).add(x), w.sum()], passes=passes)
    bound = {x.probs_and_group: torch.tensor([0, 1, 4, 2])}
    first = [result.clone() for result in program.run(bound)]
    num_interrupted = 0
    for i in range(20):
        try:
            with InterruptedAt(i):
                program.run(bound)
        except KeyboardInterrupt:
            num_interrupted += 1
            torch.set_grad_enabled(True)  # it may have come where torch itself was about to do so
        for got, want in zip(program.run(bound), first, strict=True):
            assert torch.equal(got, want)
    assert num_interrupted > 3


class InterruptedAt(TorchFunctionMode):
    """Raises at call number `at` of a torch function."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.left = at

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if not self.left:
            raise KeyboardInterrupt
        self.left -= 1
        return func(*args, **(kwargs or {}))


def test_threads_share_a_program() -> None:
    case = corpus()[1]
    program = compile_expressions(case.exprs, batched=case.batched)
    bound = {key: case.bindings[key] for key in (*program.symbols, *program.groups)}
    want = compile_expressions(case.exprs, batched=case.batched).run(bound)
    failures: list[BaseException] = []

    def run() -> None:
        try:
            for _ in range(5):
                for got, expected in zip(program.run(bound), want, strict=True):
                    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12, equal_nan=True)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


@BOTH
def test_two_programs_of_one_expression_are_bit_for_bit_the_same(passes: tuple[str, ...]) -> None:
    case = corpus()[1]
    results = []
    for _ in range(2):
        program = compile_expressions(case.exprs, batched=case.batched, passes=passes)
        results.append(program.run({key: case.bindings[key] for key in (*program.symbols, *program.groups)}))
    for first, second in zip(*results, strict=True):
        assert torch.equal(first.nan_to_num(), second.nan_to_num())
