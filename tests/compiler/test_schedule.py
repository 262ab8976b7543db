"""Orders and their memory: closed forms, a simulation, and the exhaustive optimum of small graphs."""

import itertools
import random
from heapq import heappop, heappush
from math import prod

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scrub.compiler.schedule import largest_n, order, peak, peak_step, postorder, profile
from scrub.compiler.steps import Affine, Step, runs, verify
from tests.compiler.test_steps import chain, dags, needed, random_dag, simulate, with_repetitions
from tests.steps import num_steps

Dag = tuple[list[Step], list[Step]]


def lowest_peak(outputs: list[Step], n: int) -> int:
    """The lowest peak of any order of the steps, each run once: best-first search over the sets of steps that have run.

    What is in use after a set of steps does not depend on their order, so one order of each set is simulated.
    """
    steps = needed(outputs)
    queue: list[tuple[int, int, tuple[Step, ...]]] = [(0, 0, ())]
    count = itertools.count(1)
    seen: set[frozenset[Step]] = set()
    while True:
        worst, _, done = heappop(queue)
        if frozenset(done) in seen:
            continue
        seen.add(frozenset(done))
        if len(done) == len(steps):
            return worst
        for step in steps - set(done):
            if all(arg in done for arg in step.args):
                now = (*done, step)
                rest = postorder(outputs)
                whole = [*now, *(later for later in rest if later not in now)]
                used = simulate(whole, outputs, n)[len(done)][0]
                heappush(queue, (max(worst, used), next(count), now))


@given(dags(), st.integers(0, 5), st.randoms(use_true_random=False))
def test_the_profile_is_that_of_the_simulation(dag: Dag, n: int, chance: random.Random) -> None:
    steps, outputs = dag
    found = with_repetitions(chance, steps)
    expected = simulate(found, outputs, n)
    assert profile(found, outputs, n) == expected
    assert peak(found, outputs, n) == max(during for during, _ in expected)
    at = peak_step(found, outputs, n)
    assert at is found[[during for during, _ in expected].index(peak(found, outputs, n))]


@given(dags(), st.integers(0, 400))
def test_the_largest_number_of_draws_fits_and_one_more_does_not(dag: Dag, limit: int) -> None:
    steps, outputs = dag
    fitting = largest_n(steps, outputs, limit)
    peaks = [max(during for during, _ in simulate(steps, outputs, n)) for n in range(1, 402)]
    if fitting is None:
        assert peaks[0] > limit
    elif peaks[-1] == peaks[0] <= limit:
        assert fitting > 10**18
    else:
        assert peaks[fitting - 1] <= limit < peaks[fitting]


def test_nothing_takes_nothing() -> None:
    assert order([]) == profile([], [], 3) == []
    assert peak([], [], 3) == 0
    assert peak_step([], [], 3) is None


def test_a_chain_holds_two_values_at_a_time() -> None:
    steps = chain(10_000, size=Affine(1, 2))
    assert order(steps[-1:]) == steps
    assert peak(steps, steps[-1:], 10) == 42
    assert largest_n(steps, steps[-1:], 42) == 10
    assert largest_n(steps, steps[-1:], 41) == 9


@pytest.mark.parametrize("depth", [1, 2, 3, 8])
def test_a_binary_tree_holds_one_value_for_each_level(depth: int) -> None:
    """Two args and the result at the bottom, and one finished value for each level above (Sethi and Ullman 1970)."""

    def tree(levels: int) -> Step:
        row = [Step("leaf", bytes=Affine(1)) for _ in range(2**levels)]
        while len(row) > 1:
            row = [Step("node", pair, bytes=Affine(1)) for pair in zip(row[::2], row[1::2], strict=True)]
        return row[0]

    root = tree(depth)
    assert peak(order([root]), [root], 1) == depth + 2


def test_what_leaves_little_behind_goes_first_even_if_another_needs_more() -> None:
    """The one needs 10 and leaves 9, the other needs 9 and leaves 1: 1 + 10 is less than 9 + 9."""
    keeps = Step("keeps", bytes=Affine(9), scratch=Affine(1))
    shrinks = Step("shrinks", bytes=Affine(1), scratch=Affine(8))
    total = Step("total", (keeps, shrinks))
    assert order([total]) == [shrinks, keeps, total]
    assert peak(order([total]), [total], 1) == 11
    assert peak([keeps, shrinks, total], [total], 1) == 18


def test_a_diamond() -> None:
    top = Step("top", bytes=Affine(4))
    large, small = Step("large", (top,), bytes=Affine(6)), Step("small", (top,), bytes=Affine(1))
    bottom = Step("bottom", (large, small), bytes=Affine(2))
    assert peak(order([bottom]), [bottom], 1) == 4 + 6 + 1
    large = Step("large", (top,), bytes=Affine(6), scratch=Affine(3))
    bottom = Step("bottom", (small, Step("shrunk", (large,), bytes=Affine(1))), bytes=Affine(2))
    assert peak(postorder([bottom]), [bottom], 1) == 4 + 1 + 6 + 3
    assert peak(order([bottom]), [bottom], 1) == 4 + 6 + 3


@given(st.integers(0, 2**32))
def test_for_trees_no_depth_first_order_is_better(seed: int) -> None:
    chance = random.Random(seed)
    roots = [Step(f"leaf{i}", bytes=Affine(chance.randint(0, 9))) for i in range(chance.randint(1, 6))]
    steps = list(roots)
    while len(roots) > 1:
        args = tuple(roots.pop(chance.randrange(len(roots))) for _ in range(min(len(roots), chance.randint(1, 3))))
        scratch = Affine(chance.choice([0, 0, 8]))
        roots.append(Step(f"node{len(steps)}", args, Affine(chance.randint(0, 9)), scratch))
        steps.append(roots[-1])
    orders = itertools.product(*(itertools.permutations(range(len(step.args))) for step in steps))
    if prod(len(step.args) for step in steps if step.args) > 64:
        return
    best = min(peak(_depth_first(roots[0], dict(zip(steps, ranks, strict=True))), roots, 1) for ranks in orders)
    assert peak(order(roots), roots, 1) <= best


def _depth_first(step: Step, ranks: dict[Step, tuple[int, ...]]) -> list[Step]:
    below = [_depth_first(step.args[i], ranks) for i in ranks[step]]
    return [*itertools.chain.from_iterable(below), step]


@given(dags(), st.integers(0, 3))
def test_an_order_is_complete_and_never_worse_than_that_of_first_visit(dag: Dag, n: int) -> None:
    _, outputs = dag
    found = order(outputs, n=n)
    assert len(found) == len(set(found))
    assert set(found) == needed(outputs)
    assert verify(runs(found, outputs), outputs) == []
    assert order(outputs, n=n) == found
    assert peak(found, outputs, n) <= max(during for during, _ in simulate(postorder(outputs), outputs, n))


def test_orders_of_small_graphs_are_mostly_the_best() -> None:
    chance = random.Random(0)
    ratios: list[float] = []
    for _ in range(100):
        _, outputs = random_dag(chance, chance.randint(5, 9))
        found, best = peak(order(outputs), outputs, 1), lowest_peak(outputs, 1)
        assert found >= best
        ratios.append(found / best if best else 1.0)
    assert sum(ratio == 1 for ratio in ratios) >= 90
    assert sum(ratios) / len(ratios) < 1.02


def test_a_variant_is_finished_before_the_next_is_begun() -> None:
    shared = Step("shared", bytes=Affine(4))
    variants: list[Step] = []
    for _ in range(3):
        steps = [Step("patched", (shared,), bytes=Affine(4))]
        for _ in range(5):
            steps.append(Step("next", (steps[-1],), bytes=Affine(4)))
        variants.append(Step("loss", tuple(steps[-1:]), bytes=Affine(1)))
    found = order(variants)
    ends = sorted(found.index(loss) for loss in variants)
    assert ends == [7, 14, 21]
    assert peak(found, variants, 1) == 1 + 4 + 8  # the last variant is the last that reads what is shared


@pytest.mark.parametrize("seed", range(3))
def test_variants_go_in_the_order_of_what_they_share(seed: int) -> None:
    """Each replaces something after one more layer of the clean run: of that, two values are in use at a time."""
    clean = chain(100)
    variants = [Step(f"variant{i}", (layer,)) for i, layer in enumerate(clean)]
    random.Random(seed).shuffle(variants)
    assert peak(order(variants), variants, 1) == 2
    assert peak(postorder(variants), variants, 1) > 10


def test_what_frees_a_large_value_does_not_wait_for_its_own_variant() -> None:
    """Two outputs read little of a large value each, and need much afterwards."""
    large = Step("large", bytes=Affine(10))
    outputs: list[Step] = []
    for i in range(2):
        part = Step(f"part{i}", (Step(f"view{i}", (large,), is_view=True),), bytes=Affine(1))
        outputs.append(Step(f"output{i}", (part, Step(f"much{i}", (part,), bytes=Affine(20)))))
    assert peak(postorder(outputs), outputs, 1) == 31
    assert peak(order(outputs), outputs, 1) == 22


def test_reading_an_output_does_not_free_it() -> None:
    """As above, and an output that both read: what halves it must not run early, as that frees nothing."""
    large, kept = Step("large", bytes=Affine(10)), Step("kept", bytes=Affine(10))
    outputs = [kept]
    for i in range(2):
        part = Step(f"part{i}", (large, kept), bytes=Affine(1))
        outputs.append(Step(f"output{i}", (part, Step(f"much{i}", (part,), bytes=Affine(20)))))
    outputs.append(Step("half", (kept,), bytes=Affine(5)))
    assert peak(order(outputs), outputs, 1) == 10 + 1 + 1 + 20


def test_time_is_linear() -> None:
    def deep(length: int) -> list[Step]:
        return chain(length)[-1:]

    def ladder(length: int) -> list[Step]:
        step = Step("0", bytes=Affine(1))
        for _ in range(length):
            step = Step("twice", (step, Step("view", (step,), is_view=True)), bytes=Affine(1))
        return [step]

    def wide(length: int) -> list[Step]:
        shared = Step("shared", bytes=Affine(9))
        return [Step("total", tuple(Step("part", (shared,), bytes=Affine(1)) for _ in range(length)))]

    def variants(length: int) -> list[Step]:
        return [Step("variant", (step,)) for step in chain(length)][::-1]

    for build in (deep, ladder, wide, variants):
        costs = [num_steps(lambda build=build, length=length: order(build(length))) for length in (500, 5_000)]
        assert costs[1] < 10.5 * costs[0], build.__name__
