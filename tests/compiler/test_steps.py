"""Liveness and memory of orders, against a simulation that works out everything anew at each step."""

import random
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scrub.compiler.steps import Affine, Run, Step, flops, last_uses, runs, verify
from tests.steps import num_steps

# ---- what the tests of planning share ----------------------------------------------------------------------------

ONE = Affine(1)


@st.composite
def dags(draw: st.DrawFn, max_steps: int = 12) -> tuple[list[Step], list[Step]]:
    """Steps, args first, and outputs: with views, held steps, args given twice, outputs that others read."""
    chance = random.Random(draw(st.integers(0, 2**32)))
    return random_dag(chance, draw(st.integers(1, max_steps)))


def random_dag(chance: random.Random, num: int) -> tuple[list[Step], list[Step]]:
    steps: list[Step] = []
    for i in range(num):
        args = tuple(chance.choices(steps, k=chance.choice([0, 1, 1, 2, 2, 3]))) if steps else ()
        is_view = bool(args) and chance.random() < 0.2
        size = Affine() if is_view else Affine(chance.randint(0, 9), chance.randint(0, 9))
        scratch = Affine(chance.choice([0, 0, 0, 8]), chance.choice([0, 0, 0, 8]))
        is_held = not args and chance.random() < 0.4
        work = Affine(chance.randint(0, 20), chance.randint(0, 20))
        steps.append(Step(f"s{i}", args, size, scratch, work, is_view, is_held))
    read = {arg for step in steps for arg in step.args}
    outputs = [step for step in steps if step not in read or chance.random() < 0.1]
    chance.shuffle(outputs)
    return steps, outputs


def needed(outputs: Iterable[Step]) -> set[Step]:
    """All steps below outputs."""
    found: set[Step] = set()
    stack = list(outputs)
    while stack:
        step = stack.pop()
        if step not in found:
            found.add(step)
            stack.extend(step.args)
    return found


def read_later(order: Sequence[Step], outputs: Iterable[Step], position: int) -> set[Step]:
    """By definition: the steps whose values are read after a position, before they are computed again."""
    read: set[Step] = set()
    again: set[Step] = set()
    for step in order[position + 1 :]:
        read.update(arg for arg in step.args if arg not in again)
        again.add(step)
    return read | {output for output in outputs if output not in again}


class _Value(NamedTuple):
    """One occurrence of a step, and the occurrences whose memory it shares."""

    step: Step
    shares: tuple["_Value", ...]


def simulate(order: Sequence[Step], outputs: Sequence[Step], n: int) -> list[tuple[int, int]]:
    """Bytes in use during and after each position, by looking at what can be reached from the values that are kept."""
    held = sum(step.bytes.at(n) for step in set(order) if step.is_held)

    def in_use(kept: Iterable[_Value]) -> int:
        reached: dict[int, Step] = {}
        stack = list(kept)
        while stack:
            value = stack.pop()
            reached[id(value)] = value.step
            stack.extend(value.shares)
        return held + sum(step.bytes.at(n) for step in reached.values() if not step.is_held)

    kept: dict[Step, _Value] = {}
    usages: list[tuple[int, int]] = []
    for position, step in enumerate(order):
        kept[step] = _Value(step, tuple(kept[arg] for arg in step.args) if step.is_view else ())
        during = in_use(kept.values()) + step.scratch.at(n)
        later = read_later(order, outputs, position)
        kept = {step: value for step, value in kept.items() if step in later or step.is_held}
        usages.append((during, in_use(kept.values())))
    return usages


def with_repetitions(chance: random.Random, steps: Sequence[Step]) -> list[Step]:
    """The steps, and some of them again later on."""
    order: list[Step] = []
    for step in steps:
        order.append(step)
        order += [again for again in chance.choices(order, k=chance.randint(0, 2)) if not again.is_held]
    return order


def chain(length: int, *, is_view: bool = False, size: Affine = ONE, work: Affine = ONE) -> list[Step]:
    """Steps that read one another."""
    steps = [Step("0", (), size, flops=work)]
    for i in range(1, length):
        steps.append(Step(str(i), (steps[-1],), size, flops=work, is_view=is_view))
    return steps


# ---- tests -------------------------------------------------------------------------------------------------------


def test_quantities_are_affine_in_the_number_of_draws() -> None:
    total = Affine(3, 5) + Affine(7) + Affine(per_draw=2)
    assert [total.at(n) for n in (0, 1, 10)] == [10, 17, 80]


def test_steps_are_equal_to_themselves_alone_and_print_as_one_line() -> None:
    assert Step("x") != Step("x")
    ladder = Step("x", bytes=Affine(8, 4))
    for _ in range(60):
        ladder = Step("twice", (ladder, ladder), bytes=Affine(8, 4))
    assert repr(ladder) == "'twice' step of 8 + 4 n bytes"
    assert repr(Step("w", is_held=True)) == "'w' held of 0 + 0 n bytes"


@given(dags(), st.randoms(use_true_random=False))
def test_what_is_dropped_is_what_nobody_reads_later(dag: tuple[list[Step], list[Step]], chance: random.Random) -> None:
    steps, outputs = dag
    order = with_repetitions(chance, steps)
    program = runs(order, outputs)
    assert [run.step for run in program] == order
    kept: set[Step] = set()
    for position, run in enumerate(program):
        kept.add(run.step)
        later = read_later(order, outputs, position)
        assert set(run.drops) == {step for step in kept if step not in later and not step.is_held}
        kept -= set(run.drops)
    assert verify(program, outputs) == []


@given(dags())
def test_a_program_that_lacks_a_step_is_not_verified(dag: tuple[list[Step], list[Step]]) -> None:
    steps, outputs = dag
    order = [step for step in steps if step in needed(outputs)]
    program = runs(order, outputs)
    for left_out in range(len(program)):
        assert verify(program[:left_out] + program[left_out + 1 :], outputs) != []
    for position, run in enumerate(program[:-1]):
        for dropped in read_later(order, outputs, position) & {run.step, *run.step.args}:
            wrong = [*program[:position], Run(run.step, (*run.drops, dropped)), *program[position + 1 :]]
            assert verify(wrong, outputs) != []


def test_verify_says_everything_that_is_wrong() -> None:
    a, w = Step("a"), Step("w", is_held=True)
    b = Step("b", (a, w))
    assert verify([Run(a, (b,)), Run(b, (a,))], [a, b]) == [
        "'b' is dropped after 'a', but is not there or is held",
        "'b' reads 'w', which is not there",
        "output 'a' is not there at the end",
    ]
    assert verify([Run(w), Run(a), Run(b, (w,))], [b]) == ["'w' is dropped after 'b', but is not there or is held"]


def test_memory_lives_as_long_as_the_last_view_of_it() -> None:
    steps = [Step("x", bytes=Affine(4)), Step("y", bytes=Affine(4))]
    either = Step("either", tuple(steps), is_view=True)
    turned = Step("turned", (either,), is_view=True)
    other = Step("other", bytes=Affine(1))
    total = Step("total", (turned,), bytes=Affine(1))
    order = [*steps, either, turned, other, total]
    assert last_uses(order, [total]) == [5, 5, 5, 5, 4, 6]
    assert last_uses(order, [turned]) == [6, 6, 6, 6, 4, 5]
    assert [run.drops for run in runs(order, [total])][2:4] == [(steps[0], steps[1]), (either,)]


def test_each_occurrence_lives_on_its_own() -> None:
    x = Step("x", bytes=Affine(4))
    view = Step("view", (x,), is_view=True)
    y = Step("y", (x,), bytes=Affine(1))
    total = Step("total", (view, y), bytes=Affine(1))
    # the view shares the memory of the first x, to the end; the second x goes once y has read it
    assert last_uses([x, view, x, y, total], [total]) == [4, 4, 3, 4, 5]


def test_operations_count_what_is_computed_again() -> None:
    a = Step("a", flops=Affine(2, 3))
    b = Step("b", (a,), flops=Affine(1))
    assert flops([a, b, a], n=10) == 2 * (2 + 30) + 1


@pytest.mark.parametrize("is_view", [False, True])
def test_liveness_takes_linear_time(is_view: bool) -> None:
    def work(length: int) -> int:
        steps = chain(length, is_view=is_view)
        return num_steps(lambda: runs(steps, steps[-1:])) + num_steps(lambda: last_uses(steps, steps[-1:]))

    assert work(10_000) < 10.5 * work(1_000)
