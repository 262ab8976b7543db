"""Orders within a memory limit: closed forms, a simulation, and the least memory that any recomputation needs."""

import itertools
import random
from collections import Counter
from heapq import heappop, heappush

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scrub.compiler.memory import rematerialise
from scrub.compiler.schedule import order, peak, postorder
from scrub.compiler.steps import Affine, Step, flops, runs, verify
from scrub.graph import MemoryLimitError
from tests.compiler.test_steps import ONE, chain, dags, needed, random_dag, simulate
from tests.steps import num_steps

Dag = tuple[list[Step], list[Step]]


def there_and_back(length: int) -> list[Step]:
    """A chain and a second one that reads its values backwards, as a gradient does: each value 1 byte, 1 operation."""
    steps = chain(length)
    back = Step("turn", steps[-1:] and (steps[-1],), bytes=Affine(1), flops=Affine(1))
    there = list(steps)
    steps.append(back)
    for value in reversed(there[:-1]):
        steps.append(Step(f"back{value.label}", (steps[-1], value), bytes=Affine(1), flops=Affine(1)))
    return steps


def least_memory(outputs: list[Step]) -> int:
    """What any program needs that may drop and compute again: best-first search over the sets of kept values."""
    steps = needed(outputs)
    held = frozenset(step for step in steps if step.is_held)

    def in_use(kept: frozenset[Step]) -> int:
        shared = set(kept)
        stack = list(kept)
        while stack:
            step = stack.pop()
            if step.is_view:
                stack.extend(arg for arg in step.args if arg not in shared)
                shared.update(step.args)
        return sum(step.bytes.at(1) for step in shared | held)

    queue = [(in_use(held), 0, held)]
    count = itertools.count(1)
    seen: set[frozenset[Step]] = set()
    while True:
        worst, _, kept = heappop(queue)
        if kept in seen:
            continue
        seen.add(kept)
        if kept.issuperset(outputs):
            return worst
        for step in steps - held:
            if step in kept:
                heappush(queue, (worst, next(count), kept - {step}))
            elif kept.issuperset(step.args):
                after = kept | {step}
                heappush(queue, (max(worst, in_use(after) + step.scratch.at(1)), next(count), after))


def check(found: list[Step], steps: list[Step], outputs: list[Step], n: int, limit: int) -> None:
    assert verify(runs(found, outputs), outputs) == []
    assert set(found) <= set(steps)
    assert max((during for during, _ in simulate(found, outputs, n)), default=0) <= limit


def test_an_order_that_fits_is_kept() -> None:
    steps = chain(5, size=Affine(0, 3))
    assert rematerialise(steps, steps[-1:], 2, limit=12) == steps
    with pytest.raises(MemoryLimitError):
        rematerialise(steps, steps[-1:], 2, limit=11)


def test_what_is_cheap_is_computed_again_and_what_is_dear_is_kept() -> None:
    cheap, dear = (Step(name, bytes=Affine(8), flops=Affine(work)) for name, work in (("cheap", 1), ("dear", 1000)))
    used = Step("used", (cheap, dear), bytes=Affine(1))
    large = Step("large", (used,), bytes=Affine(16))
    reduced = Step("reduced", (large,), bytes=Affine(1))
    total = Step("total", (reduced, cheap, dear), bytes=Affine(1))
    steps = [cheap, dear, used, large, reduced, total]
    assert peak(steps, [total], 1) == 33
    found = rematerialise(steps, [total], 1, limit=25)
    assert [step.label for step in found] == ["cheap", "dear", "used", "large", "reduced", "cheap", "total"]
    assert flops(found, 1) - flops(steps, 1) == 1
    check(found, steps, [total], 1, limit=25)


def test_what_is_dear_because_its_args_are_gone_is_kept() -> None:
    """Both are one operation, but the one is made of what is long gone."""
    first = Step("first", bytes=Affine(8), flops=Affine(1000))
    deep = Step("deep", (first,), bytes=Affine(8), flops=Affine(1))
    flat = Step("flat", bytes=Affine(8), flops=Affine(1))
    large = Step("large", bytes=Affine(20))
    total = Step("total", (Step("reduced", (large,), bytes=Affine(1)), flat, deep), bytes=Affine(1))
    steps = [first, deep, flat, large, total.args[0], total]
    found = rematerialise(steps, [total], 1, limit=29)
    assert Counter(step.label for step in found)["first"] == 1
    assert flops(found, 1) == flops(steps, 1)  # the first run of "flat" was for nothing, and is left out
    check(found, steps, [total], 1, limit=29)


def test_a_value_goes_with_all_views_of_it() -> None:
    base = Step("base", bytes=Affine(8), flops=Affine(1))
    views = [Step(f"view{i}", (base,), is_view=True) for i in range(2)]
    early = Step("early", (views[0],), bytes=Affine(1))
    large = Step("large", (early,), bytes=Affine(16))
    total = Step("total", (Step("reduced", (large,), bytes=Affine(1)), *views), bytes=Affine(1))
    steps = [base, *views, early, large, total.args[0], total]
    found = rematerialise(steps, [total], 1, limit=18)
    assert [step.label for step in found].count("base") == 2
    check(found, steps, [total], 1, limit=18)


def test_held_values_stay_and_outputs_may_be_computed_again() -> None:
    weight = Step("weight", bytes=Affine(5), is_held=True)
    early = Step("early", (weight,), bytes=Affine(8), flops=Affine(1))
    small = Step("small", (early,), bytes=Affine(1))
    large = Step("large", (small, weight), bytes=Affine(20))
    reduced = Step("reduced", (large,), bytes=Affine(1))
    steps = [weight, early, small, large, reduced]
    found = rematerialise(steps, [early, reduced], 1, limit=26)
    assert Counter(found) == Counter([*steps, early])
    check(found, steps, [early, reduced], 1, limit=26)


@pytest.mark.parametrize(("slots", "forwards"), [(50, 0.6), (30, 0.8), (20, 1.0), (12, 2.0), (4, 10.0)])
def test_a_gradient_needs_about_the_square_root_of_memory_for_one_more_forward(slots: int, forwards: float) -> None:
    """Chen et al. 2016, "Training deep nets with sublinear memory cost": 2 sqrt(n) values, once more forward."""
    steps = there_and_back(100)
    assert peak(steps, steps[-1:], 1) == 101
    found = rematerialise(steps, steps[-1:], 1, limit=slots, max_growth=20)
    check(found, steps, steps[-1:], 1, limit=slots)
    # what is dropped must be computed again: all but as many values as there is room for
    assert 100 - slots <= flops(found, 1) - flops(steps, 1) <= forwards * 100


def test_a_deep_chain_is_computed_again_from_its_beginning() -> None:
    deep = chain(10_000)
    used = Step("used", (deep[-1],))
    large = Step("large", bytes=Affine(9))
    total = Step("total", (Step("reduced", (large,), bytes=Affine(1)), deep[-1]), bytes=Affine(1))
    steps = [*deep, used, large, total.args[0], total]
    found = rematerialise(steps, [used, total], 1, limit=10)
    assert peak(found, [used, total], 1) <= 10
    assert flops(found, 1) - flops(steps, 1) == 10_000


def test_of_two_values_the_one_that_makes_enough_room_is_dropped() -> None:
    small, big = Step("small", bytes=Affine(2), flops=Affine(5)), Step("big", bytes=Affine(8), flops=Affine(5))
    used = Step("used", (small, big))
    large = Step("large", (used,), bytes=Affine(8))
    total = Step("total", (Step("late", (Step("reduced", (large,)), big)), small))
    steps = [small, big, used, large, total.args[0].args[0], total.args[0], total]
    found = rematerialise(steps, [total], 1, limit=10)
    assert Counter(found) == Counter([*steps, big])


def test_results_are_not_computed_again_to_keep_what_is_cheap() -> None:
    """Each of 50 variants reads a value of the clean run, and another one later: 1 operation for each of these."""
    clean = [Step(f"clean{i}", bytes=Affine(4), flops=Affine(1)) for i in range(50)]
    losses: list[Step] = []
    for layer, later in zip(clean, [*clean[10:], *clean[:10]], strict=True):
        large = Step("large", (layer, later), bytes=Affine(40), flops=Affine(1000))
        losses.append(Step("loss", (large,), bytes=Affine(1)))
    steps = postorder(losses)
    highest = peak(steps, losses, 1)
    for limit in range(highest - 1, 50 + 40 + 8, -8):
        found = rematerialise(steps, losses, 1, limit)
        check(found, steps, losses, 1, limit)
        assert 0 < flops(found, 1) - flops(steps, 1) <= 50


def sweep(num_layers: int, num_heads: int) -> list[Step]:
    """Losses of a layered model, and of it with one head replaced, for each of them; the widest steps are the last."""

    def step(label: str, args: tuple[Step, ...], size: int) -> Step:
        return Step(label, args, Affine(size), flops=Affine(10))

    def heads_of(resid: Step) -> list[Step]:
        qkv = step("qkv", (resid,), 24)
        values = [Step("value", (qkv,), is_view=True) for _ in range(num_heads)]
        return [step("head", (step("pattern", (value,), 16), value), 8) for value in values]

    def after(resid: Step, heads: list[Step]) -> Step:
        for head in heads:
            resid = step("sum", (resid, head), 8)
        return step("resid", (resid, step("mlp", (step("hidden", (resid,), 32),), 8)), 8)

    def loss(resid: Step) -> Step:
        return step("loss", (step("logits", (resid,), 160),), 1)

    resids = [step("embed", (), 8)]
    clean: list[list[Step]] = []
    for _ in range(num_layers):
        clean.append(heads_of(resids[-1]))
        resids.append(after(resids[-1], clean[-1]))
    losses = [loss(resids[-1])]
    for layer, head in itertools.product(range(num_layers), range(num_heads)):
        resid = after(resids[layer], [*clean[layer][:head], step("patch", (), 8), *clean[layer][head + 1 :]])
        for _ in range(layer + 1, num_layers):
            resid = after(resid, heads_of(resid))
        losses.append(loss(resid))
    return losses


def test_a_sweep_over_heads_in_less_memory_repeats_little() -> None:
    """What it takes is the logits, the losses, and of the clean run at least what the variant at hand reads."""
    losses = sweep(num_layers=4, num_heads=12)
    steps = order(losses)
    highest = peak(steps, losses, 1)
    least = 160 + 8 + 1 + len(losses)
    for part in (0.9, 0.6, 0.3):
        limit = least + int(part * (highest - least))
        found = rematerialise(steps, losses, 1, limit)
        assert peak(found, losses, 1) <= limit
        assert verify(runs(found, losses), losses) == []
        assert flops(found, 1) <= 1.2 * flops(steps, 1)


@given(dags(max_steps=16), st.integers(0, 3), st.floats(0, 1))
def test_no_program_exceeds_its_limit(dag: Dag, n: int, part: float) -> None:
    _, outputs = dag
    steps = order(outputs, n=n)
    limit = int(part * peak(steps, outputs, n))
    refusal = None
    try:
        found = rematerialise(steps, outputs, n, limit)
    except MemoryLimitError as error:
        refusal = error
    if refusal is not None:
        assert refusal.found == limit
        assert isinstance(refusal.expected, int)
        assert refusal.expected > limit
        limit = refusal.expected
        found = rematerialise(steps, outputs, n, limit)
    check(found, steps, outputs, n, limit)
    assert set(found) == set(steps)
    assert len(found) <= 8 * len(steps)
    assert max(Counter(step for step in found if step.is_held).values(), default=1) == 1


def test_small_graphs_are_mostly_planned_in_the_least_memory() -> None:
    chance = random.Random(0)
    ratios: list[float] = []
    while len(ratios) < 30:
        _, outputs = random_dag(chance, chance.randint(5, 9))
        steps, best = order(outputs), least_memory(outputs)
        if peak(steps, outputs, 1) == best:
            continue
        try:
            check(rematerialise(steps, outputs, 1, best), steps, outputs, 1, best)
            ratios.append(1)
        except MemoryLimitError as error:
            ratios.append(error.expected / best)
        with pytest.raises(MemoryLimitError):
            rematerialise(steps, outputs, 1, best - 1)
    assert sum(ratio == 1 for ratio in ratios) >= 22
    assert sum(ratios) / len(ratios) < 1.05


def test_the_error_says_what_needs_the_memory_and_which_limit_suffices() -> None:
    x, w = Step("x", bytes=Affine(100, 8)), Step("w", bytes=Affine(50), is_held=True)
    scores = Step("scores", (x, w), bytes=Affine(0, 64), scratch=Affine(10))
    total = Step("total", (scores,), bytes=Affine(0, 1))
    steps = [w, x, scores, total]
    with pytest.raises(MemoryLimitError) as caught:
        rematerialise(steps, [total], 10, limit=500)
    assert str(caught.value) == (
        "500 bytes are too few for 10 draws: step 'scores' needs 880 at once\n"
        "    'scores' step of 0 + 64 n bytes\n"
        "    'x' step of 100 + 8 n bytes\n"
        "    'w' held of 50 + 0 n bytes\n"
        "hint: 880 bytes suffice, or at most 4 draws at a time without recomputation"
    )
    assert (caught.value.expected, caught.value.found) == (880, 500)
    assert peak(steps, [total], 4) <= 500 < peak(steps, [total], 5)


def test_the_error_where_the_outputs_do_not_fit() -> None:
    outputs = [Step(f"output{i}", bytes=Affine(8)) for i in range(3)]
    with pytest.raises(MemoryLimitError, match="the end, where all outputs are there, needs 24 at once"):
        rematerialise(outputs, outputs, 1, limit=20)


def test_recomputation_is_bounded() -> None:
    """With four slots, each value would be computed anew from the first: 200 * 200 / 2 runs."""
    steps = there_and_back(200)
    with pytest.raises(MemoryLimitError, match=r"4 bytes are too few for 1 draws: no plan is found for step") as caught:
        rematerialise(steps, steps[-1:], 1, limit=4, max_growth=3)
    assert isinstance(caught.value.expected, int)
    found = rematerialise(steps, steps[-1:], 1, limit=caught.value.expected, max_growth=3)
    assert len(found) <= 3 * len(steps)
    assert len(rematerialise(steps, steps[-1:], 1, limit=4, max_growth=100)) > 3 * len(steps)


def test_time_is_linear() -> None:
    """Many values, half of which have to make room for one step and are computed again."""

    def work(length: int) -> float:
        early = [Step(f"early{i}", bytes=ONE, flops=Affine(i % 7)) for i in range(length)]
        used = [Step(f"used{value.label}", (value,)) for value in early]
        large = Step("large", tuple(used), bytes=Affine(length // 2))
        late = [Step(f"late{value.label}", (value, large)) for value in reversed(early)]
        order = [*itertools.chain(*zip(early, used, strict=True)), large, *late]
        found: list[Step] = []
        cost = num_steps(lambda: found.extend(rematerialise(order, late, 1, limit=length)))
        assert len(found) == len(order) + length // 2
        return cost

    assert work(3_000) < 10.5 * work(300)
