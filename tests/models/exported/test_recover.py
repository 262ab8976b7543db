"""Recovering structure from expressions in the form that exporting gives, written by hand; values against torch."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field, fields

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import scrub as rc
from scrub.graph import Add, Array, Concat, Einsum, Expr, GeneralFunction, I, Index, Module, Rearrange, Scalar, Symbol
from scrub.graph.functions.where import Where
from scrub.models import split_heads
from scrub.models.exported.recover import RECOVERY, recover_norms, recover_structure, separate_fused, structure_of
from scrub.models.exported.recover.views import viewed_leaf
from scrub.rewrite.compare import shape_problem, value_problem
from scrub.rewrite.testing import Maker, check_rule, groups_of, value_of

TOLERANCE = 1e-10
D_MODEL = 6


@pytest.mark.parametrize("name", sorted(RECOVERY))
def test_every_rule_fires_and_keeps_values(name: str) -> None:
    report = check_rule(RECOVERY[name], num_cases=80)
    assert report.num_fired >= 55, report


@dataclass(frozen=True)
class Form:
    """One way in which an attention layer may be written, and its sizes."""

    batch: int = field(default=2, metadata={"choices": (1, 2, 3)})
    seq: int = field(default=4, metadata={"choices": (2, 4)})
    groups: int = field(default=2, metadata={"choices": (2, 3)})
    per_group: int = field(default=1, metadata={"choices": (1, 1, 2)})
    d_head: int = field(default=2, metadata={"choices": (2, 4)})
    has_bias: bool = field(default=True, metadata={"choices": (False, True)})
    is_out_first: bool = field(default=True, metadata={"choices": (False, True)})
    is_flat: bool = field(default=False, metadata={"choices": (False, True)})  # batch and position merged for layers
    is_bmm: bool = field(default=False, metadata={"choices": (False, True)})  # batch and heads merged for products
    is_fused: bool = field(default=False, metadata={"choices": (False, True)})
    scaled: str = field(default="scores", metadata={"choices": ("scores", "q", "none")})
    mask: str = field(default="add", metadata={"choices": ("none", "add", "where", "bias per head")})
    is_rotary: bool = field(default=False, metadata={"choices": (False, False, True)})

    @property
    def n_heads(self) -> int:
        return self.groups * self.per_group


forms = st.builds(Form, **{each.name: st.sampled_from(each.metadata["choices"]) for each in fields(Form)})


class Layer:
    """An attention layer in that form: as an expression of the symbol `x`, and computed by torch."""

    def __init__(self, form: Form) -> None:
        self.form = form
        self.generator = torch.Generator().manual_seed(hash(form) % 2**31)
        self.x = self.random(form.batch, form.seq, D_MODEL)
        self.symbol = Symbol.new_from_name(self.x.shape, "hidden_states")
        n_kv, e = form.groups * form.d_head, form.d_head
        self.sizes = {"q": form.n_heads * e, "k": n_kv, "v": n_kv}
        self.weights = {part: self.random(size, D_MODEL) for part, size in self.sizes.items()}
        self.biases = {part: self.random(size) for part, size in self.sizes.items()}
        self.w_out, self.b_out = self.random(D_MODEL, form.n_heads * e), self.random(D_MODEL)
        self.cos, self.sin = self.random(form.seq, e), self.random(form.seq, e)
        self.mask = torch.ones(form.seq, form.seq, dtype=torch.bool).tril()
        self.per_head = self.random(form.n_heads, form.seq, form.seq)
        self.scale = {"none": 1.0}.get(form.scaled, 1 / math.sqrt(e))

    def random(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.generator, dtype=torch.float64)

    def value(self, expr: Expr) -> Tensor:
        return Module.from_bindings(expr, {self.symbol: Array(self.x)}).evaluate()

    # ---- torch ----------------------------------------------------------------------------------------------------

    def expected(self) -> Tensor:
        f = self.form
        bias = self.biases if f.has_bias else dict.fromkeys("qkv")
        heads = {}
        for part, weight in self.weights.items():
            made = F.linear(self.x, weight, bias[part])
            heads[part] = made.unflatten(-1, (-1, f.d_head)).transpose(1, 2)
        if f.is_rotary:
            for part in "qk":
                first, second = heads[part].chunk(2, -1)
                heads[part] = heads[part] * self.cos + torch.cat([-second, first], -1) * self.sin
        k, v = (heads[part].repeat_interleave(f.per_group, 1) for part in "kv")
        scores = heads["q"] @ k.transpose(-1, -2) * self.scale
        if f.mask == "bias per head":
            scores = scores + self.per_head
        elif f.mask != "none":
            scores = scores.masked_fill(~self.mask, -1e9)
        merged = (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)
        return F.linear(merged, self.w_out, self.b_out if f.has_bias else None)

    # ---- the expression ---------------------------------------------------------------------------------------------

    def expression(self) -> Expr:
        f = self.form
        q, k, v = self._fused() if f.is_fused else (self._projection(part) for part in "qkv")
        q, k, v = (Rearrange(each, "b s (h e) -> b h s e", e=f.d_head) for each in (q, k, v))
        if f.is_rotary:
            q, k = self._rotated(q), self._rotated(k)
        if f.per_group > 1:
            k, v = (
                Rearrange(Rearrange(each, "b g s e -> b g r s e", r=f.per_group), "b g r s e -> b (g r) s e")
                for each in (k, v)
            )
        if f.scaled == "q":
            q = q.scale(self.scale)
        scores = self._product("qe,ke->qk", q, k)
        if f.scaled == "scores":
            scores = scores.scale(self.scale)
        probs = rc.softmax(self._masked(scores))
        combined = self._product("qk,ke->qe", probs, v)
        turned = Rearrange(combined, "b h s e -> b s h e")
        merged = Rearrange(turned, "b s h e -> b s (h e)")
        return self._linear(merged, self.w_out, self.b_out, "o_proj")

    def _projection(self, part: str) -> Expr:
        return self._linear(self.symbol, self.weights[part], self.biases[part], f"{part}_proj")

    def _fused(self) -> list[Expr]:
        weight, bias = (torch.cat(list(each.values())) for each in (self.weights, self.biases))
        whole = self._linear(self.symbol, weight, bias, "qkv")
        ends = itertools.accumulate(self.sizes.values(), initial=0)
        return [whole.index(I[:, :, start:stop]) for start, stop in itertools.pairwise(ends)]

    def _linear(self, x: Expr, weight: Tensor, bias: Tensor, name: str) -> Expr:
        f = self.form
        b, s, _ = x.shape
        w = Array(weight if f.is_out_first else weight.T.contiguous(), f"{name}.weight")
        spec = "o i" if f.is_out_first else "i o"
        if f.is_flat:
            flat = Rearrange(x, "b s i -> (b s) i")
            made: Expr = Einsum.from_string(f"n i, {spec} -> n o", flat, w, name=f"{name}.product")
        else:
            made = Einsum.from_string(f"b s i, {spec} -> b s o", x, w, name=f"{name}.product")
        if f.has_bias:
            made = Add(made, Array(bias, f"{name}.bias"), name=name)
        return Rearrange(made, "(b s) o -> b s o", b=b, s=s) if f.is_flat else made

    def _product(self, spec: str, x: Expr, y: Expr) -> Expr:
        if not self.form.is_bmm:
            ins, out = spec.split("->")
            batched = [" ".join(f"bh{part}") for part in (*ins.split(","), out)]
            return Einsum.from_string(f"{batched[0]}, {batched[1]} -> {batched[2]}", x, y)
        ins, out = spec.split("->")
        flat = [Rearrange(each, "b h i j -> (b h) i j") for each in (x, y)]
        batched = [" ".join(f"n{part}") for part in (*ins.split(","), out)]
        made = Einsum.from_string(f"{batched[0]}, {batched[1]} -> {batched[2]}", *flat)
        return Rearrange(made, "(b h) i j -> b h i j", b=self.form.batch)

    def _rotated(self, x: Expr) -> Expr:
        half = self.form.d_head // 2
        turned = Concat(x.index(I[:, :, :, half:]).scale(-1.0), x.index(I[:, :, :, :half]), axis=3)
        tables = Array(self.cos, "cos"), Array(self.sin, "sin")
        return Add(*(Einsum.from_string("bhse,se->bhse", y, t) for y, t in zip((x, turned), tables, strict=True)))

    def _masked(self, scores: Expr) -> Expr:
        f = self.form
        if f.mask == "none":
            return scores
        if f.mask == "bias per head":
            return Add(scores, Array(self.per_head, "bias"))
        if f.mask == "add":
            additive = torch.zeros(self.mask.shape, dtype=torch.float64).masked_fill(~self.mask, -1e9)
            return Add(scores, Array(additive[None, None].expand(f.batch, 1, -1, -1), "mask"))
        allowed = Rearrange(Array(self.mask, "mask"), "q k -> b h q k", b=f.batch, h=f.n_heads)
        return GeneralFunction(allowed, scores, Scalar(-1e9, scores.shape), spec=Where())


@given(forms)
def test_every_form_of_attention_is_found(form: Form) -> None:
    layer = Layer(form)
    expr = layer.expression()
    expected = layer.expected()
    assert_close(layer.value(expr), expected)
    recovered = recover_structure(expr)
    assert_close(layer.value(recovered), expected)
    report = structure_of(recovered)
    assert (report.linear_layers, report.attentions) == (4, 1), form
    heads = recovered.get_unique("a.head.on_inp").cast(Module)
    query_axes = (form.per_group, form.groups) if form.per_group > 1 else (form.n_heads,)
    batch = () if form.batch == 1 and form.is_flat else (form.batch,)  # merged with one, an axis stays as it is
    assert heads.shape == (*query_axes, *batch, form.seq, D_MODEL)
    bound = {symbol.name: arg for symbol, arg in heads.bindings.items()}
    assert bound["a.w.q_h"].shape == (*query_axes, D_MODEL, form.d_head)
    assert bound["a.w.k_h"].shape == bound["a.w.v_h"].shape == (form.groups, D_MODEL, form.d_head)
    assert bound["a.w.o_h"].shape == (*query_axes, form.d_head, D_MODEL)
    assert all(viewed_leaf(bound[f"a.{part}.input"]) is layer.symbol for part in "qkv")
    assert ("a.b.q_h" in bound, "a.b.k_h" in bound, "a.b.v_h" in bound) == (form.has_bias,) * 3
    assert {"a.q", "a.k", "a.v", "a.scores", "a.attn_probs", "a.comb_v", "a.head"} <= {
        node.name for node in heads.body.get(lambda node: node.name is not None)
    }
    assert recover_structure(recovered) is recovered


@settings(max_examples=25)
@given(forms)
def test_heads_split_and_add_up(form: Form) -> None:
    layer = Layer(form)
    recovered = recover_structure(layer.expression())
    summed = recovered.get_unique(lambda node: any(child.name == "a.head.on_inp" for child in node.children))
    split = split_heads(summed, [(head, f"h{head}") for head in range(form.n_heads)], layer="a0")
    whole = recovered.update(summed, lambda _: split)
    assert_close(layer.value(whole), layer.expected())
    without = [Array(torch.zeros(tuple(summed.shape), dtype=torch.float64)) if head else child
               for head, child in enumerate(split.children)]  # fmt: skip
    only_first = layer.value(recovered.update(summed, lambda _: Add(*without)))
    layer.w_out = layer.w_out.clone()
    layer.w_out[:, form.d_head :] = 0
    assert_close(only_first, layer.expected())


def test_one_set_of_keys_and_values_for_all_heads() -> None:
    layer = Layer(Form(groups=1, per_group=3, batch=2, is_rotary=True))
    recovered = recover_structure(layer.expression())
    assert_close(layer.value(recovered), layer.expected())
    bound = {symbol.name: arg for symbol, arg in recovered.get_unique("a.head.on_inp").cast(Module).bindings.items()}
    assert bound["a.w.q_h"].shape == (3, D_MODEL, 2)
    assert bound["a.w.k_h"].shape == bound["a.w.v_h"].shape == (D_MODEL, 2)
    assert bound["a.b.k_h"].shape == (2,)


def test_parts_of_a_fused_projection_are_layers_of_their_own() -> None:
    layer = Layer(Form(is_fused=True, is_flat=False))
    apart = separate_fused(layer.expression())
    slices = [view for view in apart.get(Index) if view.children[0].name == "qkv.weight"]
    assert [view.shape for view in slices] == [(4, D_MODEL)] * 3
    assert_close(layer.value(apart), layer.expected())


def test_two_halves_of_a_layer_are_not_taken_for_two_layers() -> None:
    x, w = Symbol.new_from_name((3, 4), "x"), Array(torch.ones(6, 4), "w")
    whole = Einsum.from_string("s d, f d -> s f", x, w)
    halves = Concat(whole.index(I[:, 3:]), whole.index(I[:, :3]), axis=1)
    assert separate_fused(halves) is halves


def test_parts_that_overlap_are_not_taken_for_layers() -> None:
    x, w = Symbol.new_from_name((3, 4), "x"), Array(torch.ones(6, 4), "w")
    whole = Einsum.from_string("s d, f d -> s f", x, w)
    overlapping = Add(*(whole.index(I[:, i : i + 2]) for i in range(3)))
    assert separate_fused(overlapping) is overlapping


def test_two_layers_in_a_row_are_no_layer() -> None:
    x, w = Symbol.new_from_name((3, 4), "x"), Array(torch.ones(4, 4), "w")
    twice = Einsum.from_string("s d, f d -> s f", Einsum.from_string("s d, f d -> s f", x, w), w)
    call = Module(rc.ModuleSpec(twice, [x]), "mlp", x=Symbol.new_from_name((3, 4), "y"))
    assert recover_structure(call) is call


@pytest.mark.parametrize("place", ["before heads are apart", "on heads"])
def test_queries_that_a_head_cannot_compute_alone(place: str) -> None:
    """An unknown function of all heads together: nothing is split, and the value stays."""
    layer = Layer(Form(has_bias=False))
    queries = layer.expression().get_unique("q_proj.product")
    x = Symbol.new_from_name(queries.shape, "x")
    heads = Rearrange(x, "b s (h e) -> b s h e", e=2)
    if place == "on heads":
        of_all = Rearrange(rc.softmax(Rearrange(heads, "b s h e -> b s e h")), "b s e h -> b s (h e)")
    else:
        of_all = rc.softmax(x)
    call = Module(rc.ModuleSpec(of_all, [x]), "q_norm", x=queries)
    expr = layer.expression().update("q_proj.product", lambda _: call)
    recovered = recover_structure(expr)
    assert_close(layer.value(recovered), layer.value(expr))
    assert structure_of(recovered).attentions == 1
    assert not recovered.get("a.head.on_inp")


def test_norms_of_heads_in_a_module_of_their_own() -> None:
    """A norm over each head's axes, written for all heads: the head's own call of it."""
    layer = Layer(Form(groups=2, per_group=2))
    shape = (2, 4, 4, 2)
    x = Symbol.new_from_name(shape, "x")
    spec = rc.ModuleSpec(_norm(x, "rms", None, None, keeps_ones=True), [x])

    def normed(node: Expr) -> Expr:
        heads = Rearrange(node, "b s (h e) -> b s h e", e=2)
        return Rearrange(Module(spec, "q_norm", x=heads), "b s h e -> b s (h e)")

    expr = layer.expression().update("q_proj", normed)
    recovered = recover_structure(expr)
    assert_close(layer.value(recovered), layer.value(expr))
    heads = recovered.get_unique("a.head.on_inp").cast(Module)
    assert [symbol.name for symbol in heads.body.get_unique("a.q").cast(Module).bindings] == ["ln.input"]


def test_what_is_no_attention_stays_apart() -> None:
    layer = Layer(Form(mask="none"))
    no_softmax = layer.expression().update(
        lambda node: isinstance(node, GeneralFunction), lambda node: rc.elementwise("tanh", *node.children)
    )
    recovered = recover_structure(no_softmax)
    assert structure_of(recovered).attentions == 0
    assert_close(layer.value(recovered), layer.value(no_softmax))


def test_attention_without_a_layer_over_its_heads_has_names_all_the_same() -> None:
    layer = Layer(Form(mask="add"))
    merged = layer.expression().get_unique("o_proj.product").children[0]
    recovered = recover_structure(merged)
    assert_close(layer.value(recovered), layer.value(merged))
    assert structure_of(recovered).attentions == 1
    for name in ("a.scores", "a.masked_scores", "a.attn_probs", "a.comb_v"):
        assert recovered.get_unique(name).name == name


@pytest.mark.parametrize("seed", range(4))
def test_any_expression_keeps_its_value(seed: int) -> None:
    changed = 0
    for number in range(60):
        maker = Maker(f"{seed} {number}")
        expr = maker.random_expr(maker.shape(), 4) if number % 3 == 0 else maker.expr(maker.shape(), 5)
        recovered = recover_structure(expr, dissolve_blocks=seed % 2 == 0)
        groups = groups_of([expr, recovered])
        assert shape_problem(expr, recovered) is None
        old, new = value_of(expr, groups=groups), value_of(recovered, groups=groups)
        assert value_problem(old, new, rtol=TOLERANCE, atol=TOLERANCE) is None
        changed += recovered is not expr
    assert changed > 10


# ---- norms --------------------------------------------------------------------------------------------------------


@given(
    shape=st.sampled_from([(3,), (2, 3), (1, 3, 4), (2, 1, 5), (1, 1, 4)]),
    kind=st.sampled_from(["layer", "rms"]),
    has_weight=st.booleans(),
    has_bias=st.booleans(),
    keeps_ones=st.booleans(),
)
def test_norms_are_found(shape: tuple[int, ...], kind: str, has_weight: bool, has_bias: bool, keeps_ones: bool) -> None:
    generator = torch.Generator().manual_seed(len(shape))
    x = torch.randn(shape, generator=generator, dtype=torch.float64)
    weight, bias = (torch.randn(shape[-1:], generator=generator, dtype=torch.float64) for _ in range(2))
    symbol = Symbol.new_from_name(shape, "x")
    has_bias = has_bias and kind == "layer"
    expr = _norm(symbol, kind, weight if has_weight else None, bias if has_bias else None, keeps_ones=keeps_ones)
    if kind == "layer":
        expected = F.layer_norm(x, shape[-1:], weight if has_weight else None, bias if has_bias else None, eps=1e-3)
    else:
        expected = F.rms_norm(x, shape[-1:], weight if has_weight else None, eps=1e-3)
    recovered = recover_norms(expr).cast(Module)
    assert_close(Module.from_bindings(recovered, {symbol: Array(x)}).evaluate(), expected)
    names = ["ln.input"] + ["ln.w"] * has_weight + ["ln.b"] * has_bias
    assert [parameter.name for parameter in recovered.bindings] == names
    assert recovered.bindings[Symbol.new_from_name(shape[-1:], "ln.input")] is symbol
    assert structure_of(recovered).norms == 1


def _norm(x: Expr, kind: str, weight: Tensor | None, bias: Tensor | None, *, keeps_ones: bool) -> Expr:
    rows = "abc"[: x.ndim - 1]
    per_feature = Scalar(1.0 / x.shape[-1])
    spaced = " ".join(rows)
    if kind == "layer":
        mean = Einsum.from_string(f"{rows}d,->{rows}", x, per_feature)
        x = Add(x, Rearrange(mean, f"{spaced} -> {spaced} 1").scale(-1.0))
    var: Expr = Einsum.from_string(f"{rows}d,{rows}d,->{rows}", x, x, per_feature)
    if keeps_ones:
        var = Rearrange(var, f"{spaced} -> {spaced} 1")
    root: Expr = rc.elementwise("rsqrt", Add(var, Scalar(1e-3)))
    if keeps_ones:
        root = Rearrange(root, f"{spaced} 1 -> {spaced}")
    out: Expr = Einsum.from_string(f"{rows}d,{rows}->{rows}d", x, root)
    if weight is not None:
        out = Einsum.from_string(f"d,{rows}d->{rows}d", Array(weight, "weight"), out)
    return out if bias is None else Add(out, Array(bias, "bias"))


@pytest.mark.parametrize("what", ["another axis", "another number", "another square", "no small number"])
def test_what_is_no_norm_is_not_called_one(what: str) -> None:
    x, y = Symbol.new_from_name((3, 3), "x"), Symbol.new_from_name((3, 3), "y")
    number = Scalar(1 / 2 if what == "another number" else 1 / 3)
    axes = "ij,ij,->j" if what == "another axis" else "ij,ij,->i"
    squared = y if what == "another square" else x
    var = Einsum.from_string(axes, squared, squared, number)
    inside = var if what == "no small number" else Add(var, Scalar(1e-5))
    product = Einsum.from_string("ij,i->ij", x, rc.elementwise("rsqrt", inside))
    assert structure_of(recover_norms(product)).norms == 0


# ---- the residual stream --------------------------------------------------------------------------------------------


@given(depth=st.integers(1, 4), seed=st.integers(0, 10))
def test_every_reader_reads_one_sum(depth: int, seed: int) -> None:
    """Blocks of a shared body, dissolved: reader number n reads the embeddings and what n layers wrote."""
    generator = torch.Generator().manual_seed(seed)
    shape = (2, 3, D_MODEL)
    weights = [torch.randn(D_MODEL, D_MODEL, generator=generator, dtype=torch.float64) for _ in range(depth)]
    bias = torch.randn(D_MODEL, generator=generator, dtype=torch.float64)
    x, w = Symbol.new_from_name(shape, "hidden_states"), Symbol.new_from_name((D_MODEL, D_MODEL), "w")
    written = Add(Einsum.from_string("b s d, e d -> b s e", rc.elementwise("tanh", x, name="act"), w), Array(bias))
    body = Add(x, written.rename("mlp"), name="add")
    stream: Expr = Symbol.new_from_name(shape, "embeds")
    embeds = stream
    for i, weight in enumerate(weights):
        spec = rc.ModuleSpec(body, [x, w])
        stream = Module(spec, f"h.{i}", hidden_states=stream, w=Array(weight, f"h.{i}.w"))
    value = torch.randn(shape, generator=generator, dtype=torch.float64)
    recovered = recover_structure(stream, dissolve_blocks=True)
    expected = value
    for weight in weights:
        expected = expected + F.linear(expected.tanh(), weight, bias)
    assert_close(Module.from_bindings(recovered, {embeds: Array(value)}).evaluate(), expected)
    assert [term.name for term in recovered.children] == ["embeds", *(f"h.{i}.mlp" for i in range(depth))]
    for i in range(1, depth):
        (read,) = recovered.get_unique(f"h.{i}.act").children
        assert [term.name for term in read.children] == ["embeds", *(f"h.{j}.mlp" for j in range(i))]
    assert structure_of(recovered).residual_adds == depth


def test_a_layer_keeps_its_bias_where_activations_are_vectors() -> None:
    x, w = Symbol.new_from_name((4,), "x"), Array(torch.ones(4, 4), "w")
    layer = Add(Einsum.from_string("d, e d -> e", x, w), Array(torch.ones(4), "bias"), name="mlp")
    stream = Add(Add(x, Symbol.new_from_name((4,), "y")), layer, name="resid")
    assert [term.name for term in recover_structure(stream).children] == ["x", "y", "mlp"]


def test_the_norm_of_a_multiple() -> None:
    x = Symbol.new_from_name((3, 4), "x")
    norm = recover_structure(
        _norm(rc.elementwise("tanh", x).scale(3.0, name="scaled"), "rms", None, None, keeps_ones=True)
    )
    assert structure_of(norm).norms == 1
    assert [arg.name for arg in norm.cast(Module).args] == ["scaled"]


def test_a_shared_body_is_rewritten_once() -> None:
    layer = Layer(Form())
    spec = rc.ModuleSpec(layer.expression(), [layer.symbol])
    first = Module(spec, "h.0", hidden_states=Array(layer.x))
    recovered = recover_structure(Module(spec, "h.1", hidden_states=first))
    calls = recovered.get({"h.0", "h.1"})
    assert len({call.cast(Module).body for call in calls}) == 1
    assert structure_of(recovered).by_path() == {f"h.{i}": {"attention": 1, "linear_layer": 4} for i in range(2)}
    layer_of_layer = layer.expected()
    layer.x = layer_of_layer
    assert_close(recovered.evaluate(), layer.expected())


def assert_close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=TOLERANCE, atol=TOLERANCE)
