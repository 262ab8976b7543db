"""Log-probabilities of labels against torch; and what only looks like them, against the oracle."""

from __future__ import annotations

import random as chance_module
from collections.abc import Iterator
from unittest import mock

import pytest
import torch
import torch.nn.functional as F

import scrub as rc
from scrub.compiler import compile as compile_expressions
from scrub.compiler.ops import cross_entropy as kernels
from scrub.compiler.ops.cross_entropy import LinearLogProbability, LogProbability, linear_log_probability
from scrub.graph import Expr, ShapeError
from tests.compiler.cases import check_case, make_case
from tests.compiler.passes.lowered import Lowered, array, random, symbol

PASSES = (("cross_entropy",), ("simplify", "cross_entropy"), ("simplify", "cross_entropy", "contractions", "linear"))


@pytest.fixture(params=["one tile", "many tiles"])
def tiles(request: pytest.FixtureRequest) -> Iterator[None]:
    """Once as it is, once with tiles of 2 rows and 3 words, which do not divide what there is."""
    if request.param == "one tile":
        yield
        return
    with mock.patch.multiple(kernels, ROWS=2, COLUMNS=3, TILE_BYTES=100):
        yield


def unembedding(x: Expr, w: Expr, b: Expr | None = None) -> Expr:
    logits: Expr = rc.Einsum.from_string("s d, d v -> s v", x, w)
    return logits if b is None else rc.Add(logits, b)


@pytest.mark.usefixtures("tiles")
@pytest.mark.parametrize("passes", PASSES, ids="+".join)
def test_logits_that_are_there_and_logits_that_never_are(passes: tuple[str, ...]) -> None:
    x, labels, w, b = symbol("x", 5, 4), symbol("labels", 5), array(4, 11), array(11, seed=1)
    bound = {x: random(5, 4, seed=2), labels: torch.tensor([0, 10, 3, 3, 7])}
    for bias, factor in ((None, 1.0), (b, 1.0), (None, -0.5), (b, 2.0)):
        logits = unembedding(x, w, bias)
        logits = logits if factor == 1.0 else logits.scale(factor)
        loss = rc.negative_log_likelihood(logits, labels)
        tensor = factor * (bound[x] @ w.value + (0.0 if bias is None else b.value))
        want = F.cross_entropy(tensor, bound[labels], reduction="none")
        low = Lowered(loss, passes, dtypes={labels: torch.int64})
        assert low.count(LogProbability) + low.count(LinearLogProbability) == 1
        assert low.count(LinearLogProbability) == (factor == 1.0 or (bias is None and len(passes) > 1))
        torch.testing.assert_close(low.run(bound)[0], want, rtol=1e-10, atol=1e-10)
        low = Lowered([loss, logits], passes, dtypes={labels: torch.int64})
        assert (low.count(LogProbability), low.count(LinearLogProbability)) == (1, 0)
        torch.testing.assert_close(low.run(bound)[0], want, rtol=1e-10, atol=1e-10)


@pytest.mark.usefixtures("tiles")
def test_next_tokens_of_drawn_sequences() -> None:
    """Rows are picked and become batch axes on the way from the logits to the gather."""
    tokens, table, w = symbol("tokens", 6), array(9, 4), array(4, 9, seed=1)
    x = rc.GeneralFunction.gen_index(table, tokens, index_dim=0)
    loss = rc.negative_log_likelihood(unembedding(x, w).index(rc.I[:-1]), tokens.index(rc.I[1:])).mean()
    drawn = torch.randint(0, 9, (4, 6), generator=torch.Generator().manual_seed(0))
    for passes in PASSES:
        low = Lowered(loss, passes, drawn=[tokens], dtypes={tokens: torch.int64})
        assert low.count(LinearLogProbability) == 1
        logits = table.value[drawn] @ w.value
        want = F.cross_entropy(logits[:, :-1].transpose(1, 2), drawn[:, 1:], reduction="none").mean(1)
        torch.testing.assert_close(low.run({tokens: drawn})[0], want, rtol=1e-10, atol=1e-10)


def near_miss(chance: chance_module.Random, x: Expr, w: Expr, labels: Expr) -> Expr:
    """Log-probabilities of three rows and words, with things changed at random."""
    pattern = chance.choice(
        ["s d, d v -> s v"] * 3 + ["s d, v d -> s v", "s d, d v -> v s", "s d, s v -> d v", "s d, d v -> s d"]
    )
    logits: Expr = rc.Einsum.from_string(pattern, x, w) if chance.random() < 0.7 else x
    if chance.random() < 0.3:
        logits = logits.add(chance.choice([array(3), array(3, 1), array(3, 3)]))
    if chance.random() < 0.3:
        logits = chance.choice([
            logits.index([[2, 0, 0]]),
            logits.index(rc.I[:, [2, 0, 1]]),
            rc.Rearrange(logits, "a b -> b a"),
            logits.scale(-2.0),
        ])  # fmt: skip
    scores = chance.choice([rc.log_softmax] * 5 + [rc.softmax])(logits)
    kind = chance.choice(["gather", "gather", "gather", "module", "module", "all labels", "table", "first axis"])
    if kind == "module":
        return rc.negative_log_likelihood(logits, labels)
    if kind == "gather":
        picked: Expr = rc.GeneralFunction.gen_index(scores, labels, index_dim=0, batch_x=True)
    elif kind == "all labels":
        picked = rc.GeneralFunction.gen_index(scores, labels, index_dim=-1, batch_x=True, batch_index=False)
    elif kind == "table":
        picked = rc.GeneralFunction.gen_index(scores, labels, index_dim=1)
    else:
        picked = rc.GeneralFunction.gen_index(
            rc.Rearrange(scores, "a b -> 1 a b"), labels.index([[0]]), index_dim=1, batch_x=True
        )
    return rc.Add(picked, scores) if picked.ndim < 3 and chance.random() < 0.15 else picked


def test_near_misses_have_the_value_of_the_oracle() -> None:
    hits = [0, 0]
    for seed in range(200):
        chance = chance_module.Random(seed)
        x: Expr = rc.DiscreteVar(array(2, 3, 3, seed=seed)) if chance.random() < 0.6 else array(3, 3, seed=seed)
        w: Expr = rc.DiscreteVar(array(2, 3, 3, seed=seed + 1)) if chance.random() < 0.1 else array(3, 3, seed=seed + 1)
        rows = torch.tensor([[chance.randrange(3) for _ in range(3)] for _ in range(2)])
        labels: Expr = rc.DiscreteVar(rc.Array(rows)) if chance.random() < 0.3 else rc.Array(rows[0])
        expr = near_miss(chance, x, w, labels)
        case = make_case(f"near miss {seed}", [expr], seed=seed)
        assert case is not None
        with (
            mock.patch.object(LogProbability, "emit", autospec=True, side_effect=LogProbability.emit) as alone,
            mock.patch.object(
                LinearLogProbability, "emit", autospec=True, side_effect=LinearLogProbability.emit
            ) as fused,
        ):
            check_case(case, PASSES[seed % len(PASSES)])
        hits = [hits[0] + alone.called, hits[1] + fused.called]
    assert 10 <= hits[0] <= 100, hits
    assert 10 <= hits[1] <= 100, hits


def test_labels_that_are_drawn_where_logits_are_not() -> None:
    """All log-probabilities are needed then, once."""
    labels = symbol("labels", 5)
    loss = rc.negative_log_likelihood(array(5, 7), labels)
    assert Lowered(loss, PASSES[0], drawn=[labels], dtypes={labels: torch.int64}).count(LogProbability) == 0


def test_labels_out_of_range_are_an_error() -> None:
    labels, x = symbol("labels", 2), symbol("x", 2, 3)
    for logits in (x, unembedding(x, array(3, 4))):
        program = compile_expressions(rc.negative_log_likelihood(logits, labels), passes=PASSES[0])
        for bad in (-100, -1, int(logits.shape[1])):
            with pytest.raises(ShapeError, match="out of range"):
                program.run({x: random(2, 3), labels: torch.tensor([0, bad])})


@pytest.mark.usefixtures("tiles")
@pytest.mark.parametrize(("n", "rows", "words"), [(0, 2, 3), (2, 0, 3), (1, 1, 1), (3, 5, 7)])
def test_sizes_of_one_and_zero(n: int, rows: int, words: int) -> None:
    labels, x, w = symbol("labels", rows), symbol("x", rows, 4), array(4, words)
    drawn = {x: random(n, rows, 4), labels: torch.randint(0, words, (n, rows))}
    want = F.cross_entropy((drawn[x] @ w.value).reshape(n * rows, words), drawn[labels].flatten(), reduction="none")
    for logits in (unembedding(x, w), rc.elementwise("abs", unembedding(x, w)).scale(1.0)):
        loss = rc.negative_log_likelihood(unembedding(x, w), labels)
        program = compile_expressions([loss, logits], batched=[x, labels], passes=("cross_entropy",))
        torch.testing.assert_close(program.run(drawn)[0], want.view(n, rows))


@pytest.mark.usefixtures("tiles")
def test_words_that_cannot_be() -> None:
    """A whole tile of them, and a label among them."""
    bias = torch.zeros(7, dtype=torch.float64)
    bias[:4] = -torch.inf
    x, w, labels = random(3, 4), random(4, 7, seed=1), torch.tensor([5, 0, 6])
    want = -F.cross_entropy(x @ w + bias, labels, reduction="none")
    assert want.isinf().tolist() == [False, True, False]
    torch.testing.assert_close(linear_log_probability(1.0, x, labels, w, bias), want)
    torch.testing.assert_close(kernels.log_probability(x @ w + bias, labels), want)


@pytest.mark.usefixtures("tiles")
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 4e-2), (torch.float16, 5e-3)])
def test_lower_precision(dtype: torch.dtype, tolerance: float) -> None:
    labels, x, w = symbol("labels", 9), symbol("x", 9, 16), array(16, 40, dtype=dtype)
    low = Lowered(
        rc.negative_log_likelihood(unembedding(x, w), labels),
        ("cross_entropy",),
        dtypes={x: dtype, labels: torch.int64},
    )
    assert low.count(LinearLogProbability) == 1
    bound = {x: random(9, 16, seed=3, dtype=dtype), labels: torch.arange(9)}
    (found,) = low.run(bound)
    assert found.dtype == dtype
    want = F.cross_entropy(bound[x].double() @ w.value.double(), bound[labels], reduction="none")
    torch.testing.assert_close(found.double(), want, rtol=tolerance, atol=tolerance)


@pytest.mark.usefixtures("tiles")
@pytest.mark.parametrize("has_bias", [True, False])
def test_gradients(has_bias: bool) -> None:
    """Of the input, of weights and biases, and of logits that are there."""
    labels = torch.tensor([0, 6, 3, 3, 2])
    x, w = random(5, 4).requires_grad_(), random(4, 7, seed=1).requires_grad_()
    b = random(7, seed=2).requires_grad_() if has_bias else None

    def fused(*given: torch.Tensor) -> torch.Tensor:
        first, weight, *bias = given
        return linear_log_probability(1.7, first, labels, weight, *bias)

    assert torch.autograd.gradcheck(fused, (x, w, b) if b is not None else (x, w))
    fixed = [w.detach()] if b is None else [w.detach(), b.detach()]  # then the gradient is computed on the way
    assert torch.autograd.gradcheck(lambda given: fused(given, *fixed), x)
    logits = random(5, 7, seed=3).requires_grad_()
    assert torch.autograd.gradcheck(lambda given: kernels.log_probability(given, labels), logits)
