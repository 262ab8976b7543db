"""Modules of symbolic sizes (SPEC 2.9, 4.2, 4.5): solved for, conformed, substituted, batched, seen through."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import scrub as rc
from scrub.compiler import evaluate_many
from scrub.graph import FUNCTIONS, SetSymbolicShape, postorder, size_value, symbolic_sizes
from scrub.rewrite import (
    apply_in_traversal,
    bind_sizes,
    canonicalize,
    conform_all_modules,
    inline_single_callsite,
    partially_substitute,
    push_down_modules,
    simplify,
    substitute_all_modules,
)
from tests.independent import assert_same
from tests.rewrite.symbolic_specs import (
    attention_spec,
    block_spec,
    layer_norm_spec,
    random_weights,
    symbol,
    torch_attention,
    torch_block,
)

N, D, K = symbolic_sizes("n d k")
SIZES = [(5, 12, 3, 4, 7), (1, 1, 1, 1, 1), (4, 6, 2, 5, 1), (3, 8, 2, 4, 9)]


def random_array(*shape: int, name: str | None = None, seed: int = 0) -> rc.Array:
    generator = torch.Generator().manual_seed(seed)
    return rc.Array(torch.randn(shape, dtype=torch.float64, generator=generator), name)


def block_call(sizes: tuple[int, ...], batch: tuple[int, ...]) -> tuple[rc.Module, torch.Tensor]:
    """A block of these sizes, and its value by torch."""
    seq, d_model, n_heads, d_head, d_mlp = sizes
    weights = random_weights(d_model, n_heads, d_head, d_mlp, seq, seed=seq)
    x = random_array(*batch, seq, d_model, name="x").value
    bound = {name: rc.Array(value, name) for name, value in weights.items()}
    return rc.Module(block_spec(), "b", **{"b.input": rc.Array(x, "x")}, **bound), torch_block(x, weights)


# ---- a transformer's modules, written once ----------------------------------------------------------------------


@pytest.mark.parametrize("batch", [(), (2,), (3, 2)], ids=str)
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_one_block_spec_fits_all_sizes(sizes: tuple[int, ...], batch: tuple[int, ...]) -> None:
    call, expected = block_call(sizes, batch)
    assert call.shape == (*batch, sizes[0], sizes[1])
    assert call.is_explicitly_computable
    assert_same(call.evaluate(), expected)
    substituted = call.substitute()
    assert (substituted.shape, substituted.name, substituted.free_sizes) == (call.shape, "b", ())
    assert_same(substituted.evaluate(), expected)
    assert_same(substitute_all_modules(call).evaluate(), expected)


def test_calls_of_different_sizes_share_one_body() -> None:
    first, second = block_call(SIZES[0], ())[0], block_call(SIZES[2], (2,))[0]
    assert first.body is second.body
    total = rc.Add(first.sum(), second.sum())
    assert_same(total.evaluate(), first.evaluate().sum() + second.evaluate().sum())


def test_modules_can_be_inlined_in_any_order() -> None:
    """SPEC 4.3: substituting nested modules in any order gives the same value, here at each size."""
    call, expected = block_call((3, 4, 2, 2, 5), (2,))
    names = ["b", "a", "ln1", "ln2", "m"]
    for order in random.Random(0).sample(list(itertools.permutations(names)), 6):
        expr: rc.Expr = call
        for name in order:
            expr = expr.update(
                lambda node, name=name: isinstance(node, rc.Module) and node.name == name,
                lambda node: node.substitute(),
                assert_any_found=False,
            )
            assert expr.shape == call.shape
            assert_same(expr.evaluate(), expected)
        assert not expr.get(rc.Module)


def test_conforming_gives_every_body_the_sizes_of_its_call() -> None:
    call, expected = block_call(SIZES[0], (2,))
    conformed = conform_all_modules(call)
    assert conformed is not call
    assert all(not node.free_sizes for node in postorder([conformed]))
    assert [node.name for node in conformed.get(rc.Module)] == [node.name for node in call.get(rc.Module)]
    assert_same(conformed.evaluate(), expected)
    assert conform_all_modules(conformed) is conformed
    uuids = {node.uuid for node in postorder([call]) if isinstance(node, rc.Symbol)}
    assert {node.uuid for node in postorder([conformed]) if isinstance(node, rc.Symbol)} == uuids


@pytest.mark.parametrize(
    "rewritten",
    [
        push_down_modules,
        lambda call: push_down_modules(call, rc.new_traversal(end_depth=4)),
        inline_single_callsite,
        lambda call: apply_in_traversal(call, rc.new_traversal(end_depth=3), canonicalize),
        simplify,
        canonicalize,
        lambda call: simplify(call.substitute()),
    ],
)
def test_rewrites_of_calls_keep_their_values(rewritten: Callable[[rc.Expr], rc.Expr]) -> None:
    call, expected = block_call((5, 12, 3, 4, 7), (2,))
    result = rewritten(call)
    assert result.shape == call.shape
    assert_same(result.evaluate(), expected)


@pytest.mark.parametrize("rewritten", [simplify, canonicalize])
def test_rewrites_of_a_symbolic_body_hold_at_all_sizes(rewritten: Callable[[rc.Expr], rc.Expr]) -> None:
    body = rewritten(block_spec().expr)
    for sizes in SIZES[:3]:
        call, expected = block_call(sizes, ())
        spec = rc.ModuleSpec(body, [parameter.symbol for parameter in call.params])
        assert_same(rc.Module(spec, **{str(s.name): arg for s, arg in call.bindings.items()}).evaluate(), expected)


def test_attention_and_norm_alone_and_with_a_batch_of_weights() -> None:
    weights = random_weights(6, 2, 3, 1, 4, seed=1)
    x = random_array(4, 6)
    many = torch.stack([weights["a.w.v"], 2 * weights["a.w.v"]])
    bound = {name: rc.Array(value) for name, value in weights.items() if name.startswith("a.")}
    call = rc.Module(attention_spec(), "a", **{"a.input": x}, **(bound | {"a.w.v": rc.Array(many)}))
    assert call.shape == (2, 4, 6)
    expected = torch_attention(x.value, weights)
    assert_same(call.evaluate(), torch.stack([expected, 2 * expected]))
    norm = rc.Module(layer_norm_spec(), **{"ln.input": x}, **{"ln.w": random_array(6), "ln.b": random_array(6, seed=2)})
    assert_same(
        norm.evaluate(), torch.nn.functional.layer_norm(x.value, (6,), norm.args[1].evaluate(), norm.args[2].evaluate())
    )


def test_a_size_that_the_body_cannot_be_made_for_says_so() -> None:
    """Five features do not make two heads: the weights tell the sizes apart, and name them."""
    weights = random_weights(6, 2, 3, 1, 4, seed=1)
    bound = {name: rc.Array(value) for name, value in weights.items() if name.startswith("a.")}
    bound["a.w.q"] = random_array(5, 6)
    with pytest.raises(rc.ModuleBindingError) as caught:
        rc.Module(attention_spec(), "a", **{"a.input": random_array(4, 6)}, **bound)
    error = caught.value
    assert "Module 'a': axis -2 of parameter 'a.w.q' is d_head*n_heads" in str(error)
    assert "has 5 there; n_heads is 2 in axis -1 of argument 'a.head'" in str(error)
    assert (error.axis, error.found) == (-2, 5)


# ---- solving -----------------------------------------------------------------------------------------------------


def call_of(shape: tuple[object, ...], *found: int, extra: dict[str, rc.Expr] | None = None) -> rc.Module:
    w = symbol("w", *shape)
    extra = extra or {}
    params = [w, *(s for s in (symbol("x", N), symbol("y", N, D)) if s.name in extra)]
    body = w.sum()
    for s in params[1:]:
        body = body.add(s.sum())
    return rc.Module(rc.ModuleSpec(body, params), "call", w=random_array(*found), **extra)


@pytest.mark.parametrize(
    ("shape", "found", "solved"),
    [
        ((N, D), (3, 4), {N: 3, D: 4}),
        ((N * D, D), (12, 4), {N: 3, D: 4}),
        ((D, N * D + N), (4, 15), {N: 3, D: 4}),
        ((N * D * K, N * D, N), (24, 12, 3), {N: 3, D: 4, K: 2}),
        ((N * N,), (9,), {N: 3}),
        ((2 * N + 1,), (7,), {N: 3}),
        ((D / N, N), (4, 3), {D: 12, N: 3}),
        ((N - 1,), (0,), {N: 1}),
        ((N, N * D), (0, 0), None),
        ((N,), (0,), {N: 0}),
    ],
    ids=str,
)
def test_sizes_are_solved_for(
    shape: tuple[object, ...], found: tuple[int, ...], solved: dict[object, int] | None
) -> None:
    if solved is None:
        with pytest.raises(rc.ModuleBindingError, match="the arguments do not decide the size d"):
            call_of(shape, *found)
        return
    call = call_of(shape, *found)
    assert call.solved_sizes() == solved
    assert_same(call.evaluate(), call.args[0].evaluate().sum())


@pytest.mark.parametrize(
    ("shape", "found", "message"),
    [
        ((2 * N,), (5,), r"axis -1 of parameter 'w' is 2\*n, .* has 5 there"),
        ((N, N), (3, 4), r"axis -1 of parameter 'w' is n, .* has 4 there; n is 3 in axis -2 of argument 'w'"),
        ((N + 4,), (3,), r"axis -1 of parameter 'w' is n \+ 4, .* has 3 there"),
        ((N * N,), (8,), r"axis -1 of parameter 'w' is n\*\*2, .* has 8 there"),
        ((N, 3), (2, 4), r"axis -1 of parameter 'w' is 3, .* has 4 there"),
        ((N / 2, N), (2, 5), r"axis -2 of parameter 'w' is n/2, .* has 2 there; n is 5 in axis -1"),
    ],
    ids=str,
)
def test_sizes_that_do_not_fit_are_named(shape: tuple[object, ...], found: tuple[int, ...], message: str) -> None:
    with pytest.raises(rc.ModuleBindingError, match=f"(?s)Module 'call': {message}"):
        call_of(shape, *found)


def test_another_argument_that_decided_a_size_is_named() -> None:
    x, w = symbol("x", N, D), symbol("w", D, K)
    spec = rc.ModuleSpec(rc.Einsum.from_string("n d, d k -> n k", x, w), [x, w])
    with pytest.raises(rc.ModuleBindingError) as caught:
        rc.Module(spec, "product", x=random_array(7, 2, 3, name="X"), w=random_array(4, 5, name="W"))
    error = caught.value
    assert "axis -2 of parameter 'w' is d, 'W' [4, 5]" in str(error)
    assert "has 4 there; d is 3 in axis -1 of argument 'x'" in str(error)
    assert (error.axis, error.expected, error.found) == (-2, 3, 4)
    assert {node.name for node in error.nodes} == {"w", "W", "X"}  # type: ignore[attr-defined]


def test_the_shape_of_the_body_must_be_made_of_sizes() -> None:
    x = symbol("x", N)
    spec = rc.ModuleSpec(x.index(rc.I[2:]), [x])
    assert rc.Module(spec, x=random_array(5)).shape == (3,)
    with pytest.raises(rc.ModuleBindingError, match=r"(?s)Module 'short': the body's shape is \[n - 2\].*negative"):
        rc.Module(spec, "short", x=random_array(1))


def test_a_parameter_that_is_not_expandable_has_the_sizes_of_outside() -> None:
    x = symbol("x", N)
    fixed = rc.ModuleSpec(x.sum(), [rc.ModuleArgSpec(x, expandable=False)])
    with pytest.raises(rc.ModuleBindingError, match=r"axis -1 of parameter 'x' is n, .* has 3 there"):
        rc.Module(fixed, x=random_array(3))
    inside = rc.Module(fixed, "inner", x=x.scale(2.0))
    assert inside.free_sizes == (N,)
    whole = rc.Module(rc.ModuleSpec(inside, [x]), "outer", x=random_array(3))
    assert_same(whole.evaluate(), 2 * whole.args[0].evaluate().sum())


# ---- scopes ------------------------------------------------------------------------------------------------------


def test_size_variables_of_a_body_are_its_own() -> None:
    """The same names inside and outside, swapped: both are replaced at once."""
    inner = rc.ModuleSpec(symbol("p", N, D).mean(axis=0), [symbol("p", N, D)])
    y = symbol("y", N, D)
    transposed = rc.Rearrange(y, "a b -> b a")
    call = rc.Module(inner, "inner", p=transposed)
    assert call.solved_sizes() == {N: D, D: N}
    assert call.shape == (N,)
    assert call.free_sizes == (N, D)
    value = random_array(3, 5)
    outer = rc.Module(rc.ModuleSpec(call, [y]), "outer", y=value)
    for expr in (outer, outer.substitute(), conform_all_modules(outer), substitute_all_modules(outer)):
        assert expr.shape == (3,)
        assert_same(expr.evaluate(), value.value.mean(1))


def test_a_free_symbol_of_a_body_has_the_sizes_of_outside() -> None:
    """What a module does not bind is the same inside and outside, and so are its sizes, until all are bound at once."""
    x, mask = symbol("x", N), symbol("mask", N)
    inner = rc.ModuleSpec(x.mul(mask), [x])
    with pytest.raises(rc.ModuleBindingError, match=r"(?s)is n, .* has 3 there"):
        rc.Module(inner, "inner", x=random_array(3))
    call = rc.Module(inner, "inner", x=x.scale(3.0))
    whole = rc.module_new_bind(call, ("x", random_array(2, 4)), ("mask", random_array(4, seed=5)), name="whole")
    assert whole.shape == (2, 4)
    expected = 3 * whole.args[0].evaluate() * whole.args[1].evaluate()
    for expr in (whole, whole.substitute(), conform_all_modules(whole), substitute_all_modules(whole)):
        assert_same(expr.evaluate(), expected)


def test_sizes_bound_inside_are_not_replaced_from_outside() -> None:
    inner = rc.ModuleSpec(symbol("p", N).mean(), [symbol("p", N)])
    expr = symbol("y", N).sum().add(rc.Module(inner, p=random_array(3)))
    bound = bind_sizes(expr, n=5)
    assert bound.get(rc.Module)[0] is expr.get(rc.Module)[0]
    assert [s.shape for s in bound.free_symbols] == [(5,)]


def test_a_value_that_uses_a_size_name_of_the_body_is_not_captured() -> None:
    """s [d] stands for a sum over the outer n, the body has another n."""
    p, s = symbol("p", N), symbol("s", D)
    call = rc.Module(rc.ModuleSpec(p.sum().add(s.sum()), [p]), "call", p=random_array(3))
    outer_n = rc.Scalar(1.0, (N, D)).sum(axis=0)  # n copies of 1
    bound = rc.bind(call, {s: outer_n})
    assert set(bound.free_sizes) == {N, D}
    value = bind_sizes(bound, n=7, d=2).evaluate()
    assert_same(value, call.args[0].evaluate().sum() + 14)


# ---- other operations -------------------------------------------------------------------------------------------


def mean_spec() -> rc.ModuleSpec:
    x = symbol("x", N, D)
    return rc.ModuleSpec(x.mean(axis=0, name="mean").add(symbol("b", D), name="out"), [x, symbol("b", D)])


def test_expander_gives_bodies_batch_axes_and_new_sizes() -> None:
    call = rc.Module(mean_spec(), "call", x=random_array(3, 4, name="X"), b=random_array(4, name="B"))
    new = random_array(6, 3, 4, seed=9)
    expanded = rc.Expander(("X", new)).run(call)
    assert_same(expanded.evaluate(), new.value.mean(1) + call.args[1].evaluate())
    in_body = rc.Expander((rc.IterativeMatcher("out").chain("mean"), random_array(5, 4))).run(call)
    assert in_body.shape == (5, 4)
    assert rc.Expander(("nothing", new)).run(call) is call


def test_see_through_walks_bodies_of_the_sizes_of_the_call() -> None:
    call = rc.Module(mean_spec(), "call", x=random_array(3, 4, name="X"), b=random_array(4, name="B"))
    (mean,) = call.get("mean", see_through=True)
    assert mean.shape == (4,)
    doubled = call.update("mean", lambda node: node.scale(2.0), see_through=True)
    assert_same(doubled.evaluate(), 2 * call.args[0].evaluate().mean(0) + call.args[1].evaluate())
    assert call.update("mean", lambda node: node, see_through=True) is call
    found = call.update(mean, lambda node: rc.Scalar(0.0, node.shape), see_through=True)
    assert_same(found.evaluate(), call.args[1].evaluate())
    several = rc.Module(mean_spec(), "twice", x=random_array(3, 4, name="X"), b=call)
    changed = several.update("B", lambda node: node.scale(0.0), see_through=True)
    assert_same(changed.evaluate(), 2 * call.args[0].evaluate().mean(0))


def test_updates_inside_a_symbolic_body_stay_symbolic() -> None:
    call = rc.Module(mean_spec(), "call", x=random_array(3, 4), b=random_array(4))
    changed = call.update("mean", lambda node: node.scale(2.0))
    assert changed.cast_module().body.free_sizes == (N, D) or changed.cast_module().body.free_sizes == (D, N)
    assert_same(changed.evaluate(), 2 * call.args[0].evaluate().mean(0) + call.args[1].evaluate())


def test_partial_substitution_keeps_parameters_of_the_sizes_of_the_call() -> None:
    call = rc.Module(mean_spec(), "call", x=random_array(2, 3, 4), b=random_array(2, 4))
    for names in ({"x"}, {"b"}, {"x", "b"}):
        part = partially_substitute(call, names)
        assert part.shape == (2, 4)
        assert_same(part.evaluate(), call.evaluate())


def test_evaluate_solves_sizes_from_bindings() -> None:
    spec = mean_spec()
    x, b = spec.symbols
    values = {x: random_array(3, 4).value, b: random_array(4, seed=3).value}
    assert_same(evaluate_many([spec.expr], values)[0], values[x].mean(0) + values[b])
    with pytest.raises(rc.ModuleBindingError, match=r"(?s)axis -1 of parameter 'b' is d, .* has 5 there; d is 4"):
        evaluate_many([spec.expr], {x: values[x], b: torch.zeros(5, dtype=torch.float64)})
    with pytest.raises(rc.ShapeError, match="symbol 'b' has shape"):
        evaluate_many([spec.expr], {x: values[x], b: torch.zeros(2, 4, dtype=torch.float64)})


def test_an_open_size_is_named_when_a_value_is_asked_for() -> None:
    expr = rc.Scalar(1.0, (N, 2), name="ones").sum()
    assert not expr.is_explicitly_computable
    with pytest.raises(rc.UnboundSymbolError, match=r"(?s)the size n is not known.*'ones' \[n, 2\].*bind_sizes"):
        expr.evaluate()
    assert_same(bind_sizes(expr, n=3).evaluate(), torch.tensor(6.0))
    with pytest.raises(rc.ShapeError, match=r"(?s)has no free size m.*free sizes are \[n\]"):
        bind_sizes(expr, m=3)


def test_claims_are_checked_once_sizes_are_known() -> None:
    x = symbol("x", N)
    claim = SetSymbolicShape(x, (3,), name="claim")
    spec = rc.ModuleSpec(claim.add(random_array(3, name="c"), name="sum"), [x])
    call = rc.Module(spec, x=random_array(3))
    assert_same(call.evaluate(), call.args[0].evaluate() + random_array(3).value)
    wrong = rc.Module(spec, x=random_array(4))
    with pytest.raises(rc.ShapeError, match=r"SetSymbolicShape 'claim': axis 0 of 'x' \[4\] .* is 4, not 3"):
        wrong.evaluate()


def test_sizes_have_values() -> None:
    x = symbol("x", N, D)
    call = rc.Module(rc.ModuleSpec(x.sum().add(size_value(N * D)), [x]), x=random_array(2, 3, 4))
    assert_same(call.evaluate(), call.args[0].evaluate().sum((1, 2)) + 12)


def nest(levels: int) -> rc.Module:
    """Modules within modules, each of which adds 1; the sizes are known at the top alone."""
    p = symbol("p", N)
    expr: rc.Expr = p.scale(2.0)
    for _ in range(levels):
        expr = rc.Module(rc.ModuleSpec(expr, [p]), p=p.add(rc.Scalar(1.0)))
    return rc.Module(rc.ModuleSpec(expr, [p]), "top", p=rc.Array(torch.zeros(3, dtype=torch.float64)))


def test_nests_of_symbolic_modules_may_be_deep() -> None:
    conformed = conform_all_modules(nest(10_000))
    assert all(not node.free_sizes for node in postorder([conformed]))
    assert_same(nest(200).evaluate(), torch.full((3,), 400.0))


def test_a_concrete_expression_is_left_alone() -> None:
    call = rc.Module(rc.ModuleSpec(symbol("x", 3).sum(), [symbol("x", 3)]), x=random_array(3))
    assert conform_all_modules(call) is call
    assert bind_sizes(call, {}) is call


# ---- generated specs ---------------------------------------------------------------------------------------------


class Twins:
    """A random body built twice, of symbolic sizes and of the ints they stand for."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        names = symbolic_sizes("n d k m")
        self.ints = {name: self.random.choice([1, 2, 3, 4]) for name in names}
        self.parameters: list[tuple[rc.Symbol, rc.Symbol]] = []
        self.pool = [self.parameter(size) for size in names]
        self.pool += [self.parameter(*self.random.sample(names, 2)) for _ in range(2)]

    def parameter(self, *sizes: object) -> tuple[rc.Expr, rc.Expr]:
        name = f"p{len(self.parameters)}"
        pair = symbol(name, *sizes), symbol(name, *(self.ints[size] for size in sizes))
        self.parameters.append(pair)
        return pair

    def both(self, f: object, *pairs: tuple[rc.Expr, rc.Expr]) -> tuple[rc.Expr, rc.Expr]:
        return f(*(a for a, _ in pairs)), f(*(b for _, b in pairs))  # type: ignore[operator]

    def step(self) -> tuple[rc.Expr, rc.Expr] | None:
        pair = self.random.choice(self.pool)
        x = pair[0]
        axis = self.random.randrange(x.ndim) if x.ndim else None
        kind = self.random.choice(
            ["merge", "outer", "sum", "mean", "softmax", "concat", "slice", "last", "add", "call"]
        )
        match kind:
            case "add":
                other = self.random.choice([p for p in self.pool if p[0].shape == x.shape])
                return self.both(lambda a, b: a.add(b.scale(0.5)), pair, other)
            case "outer" if x.ndim < 3:
                other = self.random.choice([p for p in self.pool if p[0].ndim == 1])
                axes = tuple(range(x.ndim))
                return self.both(lambda a, b: rc.Einsum((a, axes), (b, (9,)), out_axes=(*axes, 9)), pair, other)
            case "merge" if x.ndim >= 2:
                letters = [chr(97 + i) for i in range(x.ndim)]
                left = " ".join(letters)
                right = " ".join([*letters[2:], f"({letters[1]} {letters[0]})"])
                return self.both(lambda a: rc.Rearrange(a, f"{left} -> {right}"), pair)
            case "sum" if axis is not None and x.ndim > 1:
                return self.both(lambda a: a.sum(axis=axis), pair)
            case "mean" if axis is not None:
                return self.both(lambda a: a.mean(axis=axis), pair)
            case "softmax" if axis is not None:
                return self.both(rc.softmax, pair)
            case "concat" if axis is not None:
                return self.both(lambda a: rc.Concat(a, a, axis=axis), pair)
            case "slice" if axis is not None:
                entry = self.random.choice([slice(1, None), slice(None, -1), -1, 0])
                idx = [slice(None)] * x.ndim
                idx[axis] = entry  # type: ignore[call-overload]
                return self.both(lambda a: a.index(idx), pair)
            case "last" if x.ndim:
                return self.both(lambda a: rc.GeneralFunction(a, spec=FUNCTIONS["last_dim_size"]()), pair)
            case "call" if x.ndim:
                return self.call(pair)
        return None

    def call(self, pair: tuple[rc.Expr, rc.Expr]) -> tuple[rc.Expr, rc.Expr]:
        """A module whose sizes have the same names as those outside, and mean others."""
        names = self.random.sample(symbolic_sizes("n d k m"), pair[0].ndim)
        bodies: list[rc.Expr] = []
        for arg, sizes in zip(pair, (names, pair[1].shape), strict=True):
            q = symbol("q", *sizes)
            axes = tuple(range(arg.ndim))
            square = rc.Einsum((q, axes), (q, axes), out_axes=axes[:-1])
            bodies.append(rc.Module(rc.ModuleSpec(square.add(q.mean()), [q]), q=arg))
        return bodies[0], bodies[1]

    def run(self, steps: int) -> tuple[rc.Expr, rc.Expr] | None:
        """None where a slice does not fit an axis that turned out to be short."""
        for _ in range(steps):
            try:
                made = self.step()
            except rc.ShapeError as error:
                if "out of range" in error.problem or "does not fit axis" in error.problem:
                    return None
                raise
            if made is not None and made[0].ndim <= 3:
                self.pool.append(made)
        totals = [self.both(lambda a: a.mean(), pair) for pair in self.pool[6:][-4:]]
        return self.both(lambda a, *others: a.add(*others), self.pool[-1], *totals)


@given(st.integers(0, 10**6))
def test_symbolic_specs_equal_the_same_thing_built_concretely(seed: int) -> None:
    twins = Twins(seed)
    made = twins.run(8)
    if made is None:
        return
    symbolic, concrete = made
    batches = [twins.random.choice([(), (), (2,), (3, 2)]) for _ in twins.parameters]
    values = {
        str(c.name): random_array(*batch, *c.shape, seed=i)
        for i, ((_, c), batch) in enumerate(zip(twins.parameters, batches, strict=True))
    }
    calls = (
        [
            rc.Module(
                rc.ModuleSpec(body, [pair[which] for pair in twins.parameters], allow_unused=True), "call", **values
            )
            for which, body in enumerate((symbolic, concrete))
        ]
        if compatible(batches)
        else []
    )
    assert bind_sizes(symbolic, {str(v): twins.ints[v] for v in symbolic.free_sizes}).shape == concrete.shape
    if not calls:
        return
    assert calls[0].shape == calls[1].shape
    expected = calls[1].evaluate()
    for expr in (calls[0], calls[0].substitute(), conform_all_modules(calls[0]), substitute_all_modules(calls[0])):
        assert not expr.free_sizes
        assert_same(expr.evaluate(), expected)


def compatible(batches: list[tuple[int, ...]]) -> bool:
    longest = max(batches, key=len)
    return all(batch == longest[len(longest) - len(batch) :] for batch in batches)


def test_enough_generated_specs_are_evaluated() -> None:
    assert sum(Twins(seed).run(8) is not None for seed in range(100)) >= 40
