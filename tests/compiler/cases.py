"""What compiled programs are judged by: expressions with inputs to run them on, and the values they must have.

The values come from the oracle of the rewrites (`value_of`), which enumerates all joint outcomes in plain loops and
shares nothing with the compiler. Some leaves of the compiled expressions are made symbols, bound to what they were: the
value stays, the program cannot know it any more.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import random
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from unittest import mock

import torch

import scrub as rc
from scrub.compiler import compile as compile_expressions
from scrub.compiler.passes import ALL_PASSES, PASSES
from scrub.graph import Expr, ScrubError, postorder
from scrub.rewrite.testing import value_of
from scrub.rewrite.testing.maker import Maker
from scrub.rewrite.testing.oracle import groups_of
from tests.compiler.patterns import PATTERNS, variants
from tests.strategies import Builder

Compiler = Callable[..., Any]
MAX_OUTCOMES = 100


@dataclass(frozen=True)
class Case:
    """Expressions, what to bind, and their values.

    Attributes:
        name: to find it again.
        exprs: what is compiled.
        batched: symbols that are bound draw by draw.
        bindings: the tensor of each symbol, the rows of each group.
        expected: values of all expressions, [n, *shape].
        dtypes: theirs.
    """

    name: str
    exprs: tuple[Expr, ...]
    batched: frozenset[rc.Symbol]
    bindings: Mapping[Expr, torch.Tensor]
    expected: tuple[torch.Tensor, ...]
    dtypes: tuple[torch.dtype, ...]


def check_case(case: Case, passes: Collection[str], compiler: Compiler = compile_expressions) -> None:
    """Raise unless the program has the values, shapes and dtypes that the case expects."""
    try:
        program = compiler(case.exprs, batched=case.batched, passes=passes)
        bound = {key: case.bindings[key] for key in (*program.symbols, *program.groups)}
        program.run({key: _disturbed(tensor) for key, tensor in bound.items()})  # nothing of it may stay
        found = program.run(bound)
        assert len(found) == len(case.exprs)
        for expr, got, want, dtype in zip(case.exprs, found, case.expected, case.dtypes, strict=True):
            _check_output(expr, got, want, dtype, may_be_drawn=depends_on_draws(expr, case.batched))
    except Exception as error:
        error.add_note(f"{case.name}, passes {', '.join(passes) or 'none'}")
        raise


def _disturbed(tensor: torch.Tensor) -> torch.Tensor:
    """Other values, positions that are there among them."""
    return tensor * 0.5 if tensor.is_floating_point() else tensor.flip(0) if tensor.ndim else tensor


def _check_output(expr: Expr, got: torch.Tensor, want: torch.Tensor, dtype: torch.dtype, *, may_be_drawn: bool) -> None:
    assert got.dtype == dtype, f"{expr!r} is {got.dtype}, not {dtype}"
    assert got.ndim - expr.ndim in ((0, 1) if may_be_drawn else (0,)), f"{expr!r} is {list(got.shape)}"
    value = got.to(torch.float64) if got.is_floating_point() else got
    full = value if got.ndim > expr.ndim else value.expand(want.shape)
    torch.testing.assert_close(full, want, rtol=1e-9, atol=1e-9, equal_nan=True, msg=lambda text: f"{expr!r}:\n{text}")


def depends_on_draws(expr: Expr, batched: Collection[rc.Symbol]) -> bool:
    """Whether there is anything in it that is drawn."""
    return any(isinstance(node, rc.DiscreteVar) or node in batched for node in postorder([expr]))


def make_case(name: str, exprs: Sequence[Expr], *, seed: str | int) -> Case | None:
    """A case of expressions that may be random but have no free symbols; None if they have too many outcomes."""
    if any(isinstance(node, rc.Cumulant) for node in postorder(exprs)):
        return None
    chance = random.Random(f"case {seed}")
    groups = groups_of(exprs)
    sizes = [int(group.shape[0]) for group in groups]
    outcomes = list(itertools.product(*map(range, sizes)))
    if len(outcomes) > MAX_OUTCOMES:
        return None
    count = chance.choice([1, len(outcomes), len(outcomes) + 3])
    drawn = torch.tensor([chance.randrange(len(outcomes)) for _ in range(count)])
    if count == len(outcomes):
        drawn = torch.randperm(count, generator=torch.Generator().manual_seed(chance.randrange(2**31)))
    values = [value_of(expr, groups=groups).reshape(len(outcomes), *expr.shape) for expr in exprs]
    rows = {group: torch.tensor([outcomes[i][at] for i in drawn.tolist()]) for at, group in enumerate(groups)}
    made, batched, bindings = _with_symbols(tuple(exprs), groups, rows, chance)
    dtypes = tuple(expr.dtype or torch.float64 for expr in exprs)
    return Case(name, made, batched, {**bindings, **rows}, tuple(value[drawn] for value in values), dtypes)


def _with_symbols(
    exprs: tuple[Expr, ...], groups: Sequence[Expr], rows: Mapping[Expr, torch.Tensor], chance: random.Random
) -> tuple[tuple[Expr, ...], frozenset[rc.Symbol], dict[Expr, torch.Tensor]]:
    """The expressions with some arrays and random variables in the hands of whoever runs them."""
    ours = set(postorder(groups))
    bindings: dict[Expr, torch.Tensor] = {}
    batched: set[rc.Symbol] = set()
    leaves = [node for node in postorder(exprs) if isinstance(node, rc.Array | rc.DiscreteVar) and node not in ours]
    for number, leaf in enumerate(chance.sample(leaves, min(len(leaves), chance.choice([0, 0, 1, 2, 4])))):
        symbol = rc.Symbol.new_from_name(leaf.shape, f"s{number}")
        if isinstance(leaf, rc.DiscreteVar):
            table = leaf.values
            if not isinstance(table, rc.Array):
                continue
            value = table.value[rows[leaf.probs_and_group]]
        else:
            value = leaf.cast(rc.Array).value
        try:
            exprs = tuple(expr.update(leaf, lambda _, s=symbol: s, assert_any_found=False) for expr in exprs)
        except ScrubError:  # where a dtype has to be known
            continue
        bindings[symbol] = value
        if isinstance(leaf, rc.DiscreteVar):
            batched.add(symbol)
    free = {symbol for expr in exprs for symbol in expr.free_symbols}  # one may have gone with what held it
    return exprs, frozenset(batched & free), bindings


@functools.cache
def corpus() -> tuple[Case, ...]:
    """Two cases that hold all patterns, for what is tried often."""
    makers = [Maker("corpus 0"), Maker("corpus 1")]
    found = [
        make_case(f"corpus {i}", [*(make(maker) for make in PATTERNS.values()), *variants(maker)], seed=f"corpus {i}")
        for i, maker in enumerate(makers)
    ]
    assert None not in found
    return tuple(case for case in found if case is not None)


@functools.cache
def pattern_cases(count: int) -> list[Case]:
    """`count` cases of each pattern and of variants."""
    makes: dict[str, Callable[[Maker], Sequence[Expr]]] = {"variants": variants}
    makes |= {name: lambda maker, make=make: [make(maker)] for name, make in PATTERNS.items()}
    made = (
        make_case(f"{name} {i}", make(Maker(f"{name} {i}")), seed=f"{name} {i}")
        for i in range(count)
        for name, make in makes.items()
    )
    return [case for case in made if case is not None]


@functools.cache
def generated(seed: int) -> Case | None:
    """A random case: of one kind of expression or another, one output or several, some of them odd."""
    chance = random.Random(f"kind {seed}")
    maker = Maker(f"compile {seed}")
    kind = chance.choice(
        ["random", "random", "plain", "strategy", "pattern", "pattern", "pattern", "several", "variants"]
    )
    try:
        if kind == "random":
            exprs = [maker.random_expr(maker.shape())]
        elif kind == "plain":
            exprs = [maker.expr(maker.shape(), 5)]
        elif kind == "strategy":
            exprs = [Builder(chance.randrange(2**31), 9, True).expression([], 0)]
        elif kind == "pattern":
            pattern = chance.choice(list(PATTERNS))
            kind = f"pattern {pattern}"
            exprs = [PATTERNS[pattern](maker)]
        elif kind == "variants":
            exprs = variants(maker)
        else:
            exprs = [make(maker.shape(), 2) for make in (maker.random_expr, maker.expr, maker.random_expr)]
    except ScrubError:  # the maker builds at random, and checks by building
        return None
    if chance.random() < 0.5:
        exprs = odd_outputs(exprs, chance)
    return make_case(f"seed {seed} ({kind})", exprs, seed=seed)


def odd_outputs(exprs: Sequence[Expr], chance: random.Random) -> list[Expr]:
    """The expressions with some of what is in them beside them: leaves, nodes in the middle, one of them twice."""
    inside = [
        node
        for node in postorder(exprs)
        if not node.free_symbols and not node.free_sizes and not isinstance(node, rc.Cumulant)
    ]
    groups = set(postorder(groups_of(exprs)))
    inside = [node for node in inside if node not in groups]
    more = chance.sample(inside, min(len(inside), chance.choice([1, 2, 3])))
    result = [*exprs, *more, chance.choice([*exprs, *more])]
    chance.shuffle(result)
    return result


def cases(start: int, count: int) -> list[Case]:
    """`count` generated cases."""
    found = (generated(seed) for seed in itertools.count(start))
    return list(itertools.islice((case for case in found if case is not None), count))


def subsets(*, up_to: int | None = None) -> list[tuple[str, ...]]:
    """All sets of passes; those of at most `up_to` and what is left without them, if it is given."""
    names = tuple(ALL_PASSES)
    if up_to is None:
        counts: Collection[int] = range(len(names) + 1)
    else:
        counts = sorted({n for i in range(up_to + 1) for n in (i, len(names) - i) if 0 <= n <= len(names)})
    return [chosen for n in counts for chosen in itertools.combinations(names, n)]


def some_passes(seed: str | int) -> tuple[str, ...]:
    """A random set of passes."""
    chance = random.Random(f"passes {seed}")
    return tuple(name for name in ALL_PASSES if chance.random() < 0.5)


@contextlib.contextmanager
def watched() -> Iterator[Counter[str]]:
    """Counts how often each pass changes anything, and checks that it keeps axes, shape and dtype of every output."""
    fired: Counter[str] = Counter()

    def watch(name: str, run: Callable[..., list[Any]]) -> Callable[..., list[Any]]:
        def checked(graph: Any, outputs: Sequence[Any], *args: Any, **kwargs: Any) -> list[Any]:
            before = list(outputs)
            after = run(graph, before, *args, **kwargs)
            fired[name] += list(after) != list(outputs)
            assert len(after) == len(outputs), name
            for old, new in zip(outputs, after, strict=True):
                assert (new.axes, new.shape, new.dtype) == (old.axes, old.shape, old.dtype), f"{name}: {old} -> {new}"
            return after

        return checked

    with mock.patch.dict(PASSES, {name: watch(name, run) for name, run in PASSES.items()}):
        yield fired
