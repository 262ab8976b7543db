"""The same program by torch as it is, by torch's compiler and as CUDA graphs; indices are checked under each."""

from __future__ import annotations

import shutil
from collections.abc import Callable

import pytest
import torch

import scrub as rc
from scrub.compiler import Program, compile  # noqa: A004 - as torch.compile
from scrub.graph import Expr

pytestmark = [  # of torch's compiler about itself
    pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning"),
]
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-4, torch.bfloat16: 5e-2, torch.float16: 1e-2}
SKIPS = {
    "inductor": (shutil.which("g++") is None and shutil.which("clang++") is None, "inductor needs a C++ compiler"),
    "cudagraphs": (not torch.cuda.is_available(), "CUDA graphs need a CUDA device"),
}
"""What cannot run everywhere, and why."""
needs = {name: pytest.mark.skipif(condition, reason=reason) for name, (condition, reason) in SKIPS.items()}


def moved(expr: Expr, device: str) -> Expr:
    return rc.cast(expr, device=device) if device != "cpu" else expr


@pytest.fixture(scope="module")
def tokens() -> rc.Symbol:
    return rc.Symbol.new_from_name((8,), "tokens")


def loss_of(tokens: rc.Symbol, dtype: torch.dtype = torch.float32, *, split: bool = False) -> Expr:
    """The loss of the shipped model."""
    model = rc.load_shipped("attn_only_2l", dtype=dtype)
    lowered = model.lower(seq_len=8)["t.bind_w"]
    if split:
        lowered = rc.configure_transformer(lowered, split_by_head_config="full", use_pull_up_head_split=True)
    logits = model.call(tokens, model=lowered)
    return rc.negative_log_likelihood(logits.index(rc.I[:-1]), tokens.index(rc.I[1:]), "nll").mean(name="loss")


def some_tokens(n: int, device: str = "cpu") -> torch.Tensor:
    return torch.randint(0, 2048, (n, 8), generator=torch.Generator().manual_seed(n)).to(device)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_dtype_is_near_float64(tokens: rc.Symbol, dtype: torch.dtype, device: str) -> None:
    given = some_tokens(3)
    want = compile(loss_of(tokens, torch.float64), batched=[tokens], passes=()).run({tokens: given})[0]
    program = compile(moved(loss_of(tokens, dtype), device), batched=[tokens])
    got = program.run({tokens: given.to(device)})[0]
    assert got.dtype == dtype
    torch.testing.assert_close(got.cpu().double(), want, rtol=TOLERANCE[dtype], atol=0.0)


@pytest.mark.parametrize("split", [False, True])
def test_the_shipped_model_is_one_graph_for_torch_s_compiler(tokens: rc.Symbol, split: bool) -> None:
    program = compile(loss_of(tokens, split=split), batched=[tokens])
    compiled = program.compiled({tokens: some_tokens(3)})
    once = compiled.once.module()
    graphs: list[torch.fx.GraphModule] = []

    def count(graph: torch.fx.GraphModule, example: list[torch.Tensor]) -> Callable[..., object]:
        graphs.append(graph)
        return graph.forward

    run = torch.compile(compiled.per_portion.module, backend=count, fullgraph=True, dynamic=True)
    for n in (3, 5):
        torch.testing.assert_close(run(some_tokens(n), *once)[0], program.run({tokens: some_tokens(n)})[0])
    assert len(graphs) == 1


@needs["inductor"]
@pytest.mark.parametrize("device", DEVICES)
def test_inductor_agrees_for_any_number_of_draws(device: str) -> None:
    x = rc.Symbol.new_from_name((4,), "x")
    w = rc.Array(torch.randn(4, 4, generator=torch.Generator().manual_seed(0)), "w")
    hidden = rc.elementwise("gelu", rc.Einsum.from_string("i, i j -> j", x, w), name="hidden")
    loss = moved(rc.log_softmax(hidden).index(rc.I[0]), device)
    plain, inductor = (compile(loss, batched=[x], backend=backend) for backend in ("eager", "inductor"))
    for n in (3, 5, 0, 1):
        given = {x: torch.randn(n, 4, generator=torch.Generator().manual_seed(n)).to(device)}
        torch.testing.assert_close(inductor.run(given), plain.run(given), rtol=1e-5, atol=1e-6)


@needs["inductor"]
def test_gradients_under_inductor() -> None:
    x = rc.Symbol.new_from_name((4,), "x")
    w = rc.Array(torch.randn(4, 4, generator=torch.Generator().manual_seed(0)), "w")
    hidden = rc.elementwise("gelu", rc.Einsum.from_string("i, i j -> j", x, w, name="pre"), name="hidden")
    loss = rc.log_softmax(hidden).index(rc.I[0])
    plain, inductor = (
        compile(loss, batched=[x], wrt=[x, w, "pre", "hidden"], backend=backend) for backend in ("eager", "inductor")
    )
    given = {x: torch.randn(3, 4, generator=torch.Generator().manual_seed(3))}
    want, got = plain.value_and_grad(given), inductor.value_and_grad(given)
    torch.testing.assert_close(got[0], want[0], rtol=1e-5, atol=1e-6)
    for node, gradient in want[1].items():
        assert float(gradient.abs().max()) > 0
        torch.testing.assert_close(got[1][node], gradient, rtol=1e-5, atol=1e-6)


@needs["cudagraphs"]
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_cuda_graphs_agree(tokens: rc.Symbol, dtype: torch.dtype) -> None:
    loss = moved(loss_of(tokens, dtype), "cuda")
    plain, graphs = (compile(loss, batched=[tokens], backend=backend) for backend in ("eager", "cudagraphs"))
    first = graphs.run({tokens: some_tokens(3, "cuda")})[0]
    for n in (3, 5, 0):
        given = {tokens: some_tokens(n, "cuda")}
        torch.testing.assert_close(graphs.run(given), plain.run(given))
    torch.testing.assert_close(first, plain.run({tokens: some_tokens(3, "cuda")})[0])


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_graphs_without_a_device_are_an_error(tokens: rc.Symbol) -> None:
    with pytest.raises(rc.DeviceError, match="needs a CUDA device"):
        compile(loss_of(tokens), batched=[tokens], backend="cudagraphs")


def test_an_unknown_backend_is_an_error(tokens: rc.Symbol) -> None:
    with pytest.raises(rc.ConstructionError, match="no backend 'jax', but eager, inductor, cudagraphs"):
        compile(loss_of(tokens), batched=[tokens], backend="jax")  # type: ignore[arg-type]


def raises_out_of_range(program: Program, bindings: dict[Expr, torch.Tensor], found: int) -> None:
    with pytest.raises(rc.ShapeError, match=f"index {found} is out of range for an axis of size 5") as caught:
        program.run(bindings)
    assert caught.value.found == found


TABLE = rc.Array(torch.arange(10.0).reshape(5, 2), "table")


@pytest.mark.parametrize("bad", [5, -1])
def test_an_index_that_is_bound_is_checked(bad: int) -> None:
    """As a whole, or the part that is read."""
    row = rc.Symbol.new_from_name((3,), "row")
    whole = rc.GeneralFunction.gen_index(TABLE, row, index_dim=0)
    program = compile(whole, batched=[row])
    raises_out_of_range(program, {row: torch.tensor([[0, 1, 2], [0, bad, 1]])}, bad)
    part = compile(rc.GeneralFunction.gen_index(TABLE, row.index(rc.I[:2]), index_dim=0), batched=[row])
    raises_out_of_range(part, {row: torch.tensor([[0, 1, 2], [0, bad, 1]])}, bad)
    (picked,) = part.run({row: torch.tensor([[0, 1, bad]])})
    assert picked.tolist() == [[[0.0, 1.0], [2.0, 3.0]]]
    gradient = compile(whole.sum(), batched=[row], wrt=[TABLE])
    with pytest.raises(rc.ShapeError, match="out of range"):
        gradient.value_and_grad({row: torch.tensor([[0, bad, 1]])})


def test_an_index_that_is_constant_is_checked() -> None:
    rows = rc.Array(torch.tensor([0, 7]), "rows")
    raises_out_of_range(compile(rc.GeneralFunction.gen_index(TABLE, rows, index_dim=0)), {}, 7)


def test_an_index_that_is_computed_is_checked() -> None:
    row, one = rc.Symbol.new_from_name((), "row"), rc.Array(torch.tensor(1), "one")
    program = compile(rc.GeneralFunction.gen_index(TABLE, row.add(one), index_dim=0), batched=[row])
    assert program.run({row: torch.tensor([0, 3])})[0].tolist() == [[2.0, 3.0], [8.0, 9.0]]
    raises_out_of_range(program, {row: torch.tensor([0, 4])}, 5)


def test_rows_of_random_variables_are_checked() -> None:
    variable = rc.DiscreteVar(TABLE, name="v")
    raises_out_of_range(compile(variable), {variable.probs_and_group: torch.tensor([0, 5])}, 5)


def test_an_index_that_is_no_integer_is_an_error() -> None:
    row = rc.Symbol.new_from_name((), "row")
    program = compile(rc.GeneralFunction.gen_index(TABLE, row, index_dim=0), batched=[row])
    with pytest.raises(rc.DtypeError, match=r"the index must be int64, not torch\.float32"):
        program.run({row: torch.tensor([0.0])})


@pytest.mark.parametrize("dims", [(0, False, True), (-1, False, True), (-2, True, False), (0, False, False)])
def test_tables_and_indices_with_draws_of_their_own(dims: tuple[int, bool, bool]) -> None:
    """Every layout, with draws in the table, in the index and in both."""
    dim, batch_x, batch_index = dims
    table, index = rc.Symbol.new_from_name((4, 3), "table"), rc.Symbol.new_from_name((2,), "index")
    expr = rc.GeneralFunction.gen_index(table, index, index_dim=dim, batch_x=batch_x, batch_index=batch_index)
    generator = torch.Generator().manual_seed(0)
    tables, indices = torch.randn(5, 4, 3, generator=generator), torch.randint(0, 3, (5, 2), generator=generator)

    def one(table: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        picked = table[index] if dim in (0, -2) else table[:, index]
        return picked.T if dim == -1 else picked

    for drawn in ([table], [index], [table, index]):
        given = {table: tables if table in drawn else tables[0], index: indices if index in drawn else indices[0]}
        want = [
            one(tables[i] if table in drawn else tables[0], indices[i] if index in drawn else indices[0])
            for i in range(5)
        ]
        torch.testing.assert_close(compile(expr, batched=drawn).run(given)[0], torch.stack(want))


def test_a_gather_along_shared_axes_with_and_without_draws() -> None:
    table, index = rc.Symbol.new_from_name((2, 4, 3), "table"), rc.Symbol.new_from_name((2,), "index")
    expr = rc.GeneralFunction.gen_index(table, index, index_dim=0, batch_x=True, batch_index=True)
    tables, indices = torch.randn(5, 2, 4, 3), torch.randint(0, 4, (5, 2))
    for drawn in ([table], [index], [table, index]):
        given = {table: tables if table in drawn else tables[0], index: indices if index in drawn else indices[0]}
        want = [
            torch.stack(
                [
                    (tables[i] if table in drawn else tables[0])[j, (indices[i] if index in drawn else indices[0])[j]]
                    for j in range(2)
                ]
            )
            for i in range(5)
        ]
        torch.testing.assert_close(compile(expr, batched=drawn).run(given)[0], torch.stack(want))
