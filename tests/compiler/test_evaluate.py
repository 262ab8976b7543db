"""`evaluate` against torch, and its errors."""

import gc
import weakref

import pytest
import torch

import scrub as rc
from scrub.graph import Expr


def _array(*shape: int, seed: int = 0, name: str | None = None) -> rc.Array:
    return rc.Array(torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64), name)


def test_a_small_network_equals_torch() -> None:
    x, w, b = _array(5, 3, seed=1), _array(3, 4, seed=2), _array(4, seed=3)
    hidden = rc.elementwise("relu", rc.Einsum.from_string("pos d, d e -> pos e", x, w).add(b))
    out = rc.log_softmax(hidden).index(rc.I[1:4, [0, 2]]).mean(axis=0)
    expected = torch.log_softmax(torch.relu(x.value @ w.value + b.value), -1)[1:4][:, [0, 2]].mean(0)
    torch.testing.assert_close(out.evaluate(), expected)


def test_concat_rearrange_and_gather_equal_torch() -> None:
    table, rows = _array(6, 2, 3), rc.Array(torch.tensor([[4, 0], [5, 5]]))
    picked = rc.GeneralFunction.gen_index(table, rows, index_dim=0)
    flat = rc.Rearrange(picked, "a b c d -> (a b) (d c)")
    both = rc.Concat(flat, flat.scale(-2.0), axis=1)
    expected = table.value[rows.value].transpose(-1, -2).reshape(4, 6)
    torch.testing.assert_close(both.evaluate(), torch.cat([expected, -2 * expected], 1))


def test_modules_are_calls_with_batch_axes() -> None:
    a, b = rc.Symbol.new_from_name((3,), "a"), rc.Symbol.new_from_name((3,), "b")
    dot = rc.ModuleSpec(rc.Einsum.from_string("i,i->", a, b), [a, b])
    x, y = _array(4, 2, 3, seed=1), _array(2, 3, seed=2)
    torch.testing.assert_close(rc.Module(dot, "dot", a=x, b=y).evaluate(), (x.value * y.value).sum(-1))


def test_a_long_chain_and_a_deep_dag() -> None:
    chain: Expr = rc.Array(torch.ones(2))
    for _ in range(10_000):
        chain = chain.add(rc.Scalar(1.0))
    assert chain.evaluate().tolist() == [10_001.0, 10_001.0]
    doubled: Expr = rc.Array(torch.ones((), dtype=torch.float64))
    for _ in range(60):
        doubled = doubled.add(doubled)
    assert doubled.evaluate().item() == 2.0**60


def test_bindings_give_values_to_symbols() -> None:
    s = rc.Symbol.new_from_name((2,), "s")
    (value,) = rc.evaluate_many([s.add(rc.Array(torch.ones(2)))], {s: torch.tensor([3.0, 4.0])})
    assert value.tolist() == [4.0, 5.0]


def test_a_binding_of_the_wrong_shape_is_an_error() -> None:
    s = rc.Symbol.new_from_name((2,), "s")
    with pytest.raises(rc.ShapeError, match=r"symbol 's' has shape \(2,\), the value \(1, 2\)") as caught:
        rc.evaluate_many([s], {s: torch.ones(1, 2)})
    assert (caught.value.expected, caught.value.found) == ((2,), (1, 2))


def test_an_unbound_symbol_is_named_with_its_path_and_the_fix() -> None:
    """The path goes to where it is free, not to where a module binds it."""
    s = rc.Symbol.new_from_name((2,), "s")
    bound = rc.Module(rc.ModuleSpec(s.add(s, name="inside"), [s]), "call", s=rc.Array(torch.ones(2)))
    expr = rc.Add(bound, rc.Add(s, name="outside"), name="top")
    with pytest.raises(rc.UnboundSymbolError, match=r"'top' .*the first is 's'") as caught:
        expr.evaluate()
    message = str(caught.value)
    assert "'outside' [2] Add" in message
    assert "'inside'" not in message
    assert "module_new_bind" in message


def test_a_random_variable_is_named_with_its_path_and_the_fix() -> None:
    dice = rc.DiscreteVar(rc.Array(torch.arange(6.0)), name="dice")
    for expr in (rc.Add(dice.scale(2.0, name="doubled"), name="top"), rc.Cumulant(dice.scale(2.0, name="doubled"))):
        with pytest.raises(rc.RandomVariableError, match="random variable 'dice'") as caught:
            expr.evaluate()
        message = str(caught.value)
        assert "'doubled' [] Einsum" in message
        assert "rc.Sampler(spec).sample(expr)" in message
        assert "rc.estimate(expr" in message


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str | None, list[str | None]]]:
    """Every einsum computed, with the names of the einsums whose results were then still alive."""
    log: list[tuple[str | None, list[str | None]]] = []
    alive: list[tuple[str | None, weakref.ref[torch.Tensor]]] = []
    original = rc.Einsum.compute

    def compute(self: rc.Einsum, *values: torch.Tensor) -> torch.Tensor:
        result = original(self, *values).clone()
        gc.collect()
        log.append((self.name, [name for name, ref in alive if ref() is not None]))
        alive.append((self.name, weakref.ref(result)))
        return result

    monkeypatch.setattr(rc.Einsum, "compute", compute)
    return log


def test_evaluate_many_computes_what_is_shared_once(computed: list[tuple[str | None, list[str | None]]]) -> None:
    shared = _array(3).scale(2.0, name="shared")
    exprs = [shared.scale(3.0, name="a"), shared.add(shared.scale(5.0, name="b")), shared]
    values = rc.evaluate_many(exprs)
    x = _array(3).value
    for value, factor in zip(values, (6, 12, 2), strict=True):
        torch.testing.assert_close(value, factor * x)
    assert sorted(name or "" for name, _ in computed) == ["a", "b", "shared"]


def test_a_tensor_is_freed_after_its_last_use(computed: list[tuple[str | None, list[str | None]]]) -> None:
    x: Expr = _array(3)
    for step in range(6):
        x = x.scale(1.5, name=f"step{step}")
    x.evaluate()
    assert [name for name, _ in computed] == [f"step{step}" for step in range(6)]
    assert computed[-1][1] == ["step4"]


def test_shared_values_live_until_their_last_use(computed: list[tuple[str | None, list[str | None]]]) -> None:
    early = _array(3).scale(2.0, name="early")
    middle = early.scale(2.0, name="middle").scale(2.0, name="middle2")
    late = rc.Einsum.from_string("a,a->a", early, middle, name="late").scale(1.0, name="last")
    late.evaluate()
    alive = dict(computed)
    assert alive["late"] == ["early", "middle2"]
    assert alive["last"] == ["late"]


def test_an_unbound_symbol_in_an_argument_that_no_body_uses_is_named() -> None:
    parameter, x = (rc.Symbol.new_from_name((), name) for name in ("s", "x"))
    spec = rc.ModuleSpec(rc.Scalar(1.0).add(rc.Scalar(2.0)), [parameter], allow_unused=True)
    with pytest.raises(rc.UnboundSymbolError, match="'x'"):
        rc.evaluate(rc.Module(spec, "m", s=x))
