"""Rules of `simplify` that start at a `Contract`."""

from __future__ import annotations

from scrub.compiler.ops import Contract, Fill, Rearranged, ToBatch, ToCore
from scrub.compiler.passes.simplifying import Found, Rule, Simplifying, is_floating, is_floating_together
from scrub.compiler.values import Axis, Value


def only_axes_there_are(s: Simplifying, op: Contract, args: tuple[Value, ...]) -> Found:
    """A sum over a batch axis of size 1 that is none any more, see `batch_axes.batch_axis_of_one`."""
    if all(any(axis in arg.axes for arg in args) for axis in op.reduced):
        return None
    there = tuple(axis for axis in op.reduced if any(axis in arg.axes for arg in args))
    return Contract(op.ins, op.out, op.scale, there), args


def factors_out(s: Simplifying, op: Contract, args: tuple[Value, ...]) -> Found:
    """einsum(3 a, b) -> 3 einsum(a, b)"""
    if not any(arg in s.scaled for arg in args) or not is_floating_together(args):
        return None
    scale, bare = op.scale, list(args)
    for i, arg in enumerate(args):
        if arg in s.scaled:
            factor, bare[i] = s.scaled[arg]
            scale *= factor
    return Contract(op.ins, op.out, scale, op.reduced), tuple(bare)


def one_factor(s: Simplifying, op: Contract, args: tuple[Value, ...]) -> Found:
    """A product of one argument with no sum: nothing, a permutation, or a number times something."""
    if len(args) != 1 or op.reduced or len(set(op.ins[0])) < len(op.ins[0]) or len(op.out) < len(op.ins[0]):
        return None
    arg = args[0]
    if op.ins[0] != op.out:
        number = {letter: i for i, letter in enumerate(op.ins[0])}
        left = tuple((i,) for i in range(len(op.out)))
        permuted = Rearranged(left, tuple((number[letter],) for letter in op.out), arg.shape)
        return permuted, (s.build(Contract((op.ins[0],), op.ins[0], op.scale), args),)
    if op.scale == 1.0:
        return arg
    inner = arg.op
    if isinstance(inner, Fill):
        return Fill(inner.number * op.scale, inner.shape), ()
    if isinstance(inner, Contract) and s.is_used_once(arg) and is_floating(arg):
        return Contract(inner.ins, inner.out, inner.scale * op.scale, inner.reduced), arg.args
    return None


def without_moves(s: Simplifying, op: Contract, args: tuple[Value, ...]) -> Found:
    """einsum('a b, b', transposed(x), y) -> einsum('b a, b', x, y); the same for axes that are repeated."""
    for i, arg in enumerate(args):
        if isinstance(arg.op, Rearranged):
            others = {letter for j, letters in enumerate(op.ins) if j != i for letter in letters}
            letters = _letters_before(arg.op, op.ins[i], others, op.out)
            if letters is not None:
                ins = (*op.ins[:i], letters, *op.ins[i + 1 :])
                return Contract(ins, op.out, op.scale, op.reduced), (*args[:i], arg.args[0], *args[i + 1 :])
    return None


def _letters_before(
    move: Rearranged, letters: tuple[int, ...], others: set[int], out: tuple[int, ...]
) -> tuple[int, ...] | None:
    """Letters of what was moved, if nothing is split or merged and an axis that is new has its size elsewhere."""
    if any(len(group) != 1 for group in move.left) or any(len(group) > 1 for group in move.right):
        return None
    on_left = {group[0] for group in move.left}
    letter_of: dict[int, int] = {}
    new: list[tuple[int, int]] = []
    for group, letter in zip(move.right, letters, strict=True):
        if group and group[0] in on_left:
            letter_of[group[0]] = letter
        else:
            new.append((letter, move.sizes[group[0]] if group else 1))
    known = others | set(letter_of.values())
    if any(letter not in known and (letter in out or size != 1) for letter, size in new):
        return None
    if len({letter for letter, _ in new} - known) < sum(letter not in known for letter, _ in new):
        return None  # a diagonal of two new axes
    return tuple(letter_of[group[0]] for group in move.left)


def by_batch_axis(s: Simplifying, op: Contract, args: tuple[Value, ...]) -> Found:
    """A core axis that was made of a batch axis is that batch axis again, if it is summed over or stays in front."""
    for arg, letters in zip(args, op.ins, strict=True):
        if isinstance(arg.op, ToCore) and arg.op.axis in arg.args[0].axes:
            axis, letter = arg.op.axis, letters[0]
            if letter in op.out[1:]:
                continue
            moved = [_on_batch_axis(s, a, own, letter, axis) for a, own in zip(args, op.ins, strict=True)]
            bare = tuple(value for value in moved if value is not None)
            if len(bare) < len(args):
                continue
            ins = tuple(tuple(other for other in own if other != letter) for own in op.ins)
            if letter in op.out:
                return ToCore(axis), (s.build(Contract(ins, op.out[1:], op.scale, op.reduced), bare),)
            reduced = tuple(sorted((*op.reduced, axis), key=lambda a: a.order))
            return Contract(ins, op.out, op.scale, reduced), bare
    return None


def _on_batch_axis(s: Simplifying, arg: Value, letters: tuple[int, ...], letter: int, axis: Axis) -> Value | None:
    """The argument with the core axis `letter` as the batch axis; None if it has that for something else."""
    if letters.count(letter) > 1:
        return None
    if letter not in letters:
        return None if _has_order(arg, axis) else arg
    if letters[0] == letter and isinstance(arg.op, ToCore) and arg.op.axis == axis:
        rest = [other for other in arg.args[0].axes if other != axis]
        return None if any(other.order == axis.order for other in rest) else arg.args[0]
    if _has_order(arg, axis):
        return None
    at = letters.index(letter)
    if at:
        left = tuple((i,) for i in range(len(letters)))
        arg = s.build(Rearranged(left, (left[at], *left[:at], *left[at + 1 :]), arg.shape), (arg,))
    return s.build(ToBatch(axis), (arg,))


def _has_order(arg: Value, axis: Axis) -> bool:
    return any(other.order == axis.order for other in arg.axes)


def numbers_out(s: Simplifying, op: Contract, args: tuple[Value, ...]) -> Found:
    """One number in all places is a factor, if other arguments have all its axes."""
    if len(args) < 2 or not any(isinstance(arg.op, Fill) for arg in args) or not _has_floating(args):
        return None
    for i, arg in enumerate(args):
        others = {letter for j, letters in enumerate(op.ins) if j != i for letter in letters}
        if isinstance(arg.op, Fill) and others.issuperset(op.ins[i]):
            scaled = Contract((*op.ins[:i], *op.ins[i + 1 :]), op.out, op.scale * arg.op.number, op.reduced)
            return scaled, (*args[:i], *args[i + 1 :])
    return None


def letters_in_order(s: Simplifying, op: Contract, args: tuple[Value, ...]) -> Found:
    """Letters numbered in order of appearance, so that equal contractions meet."""
    appeared = dict.fromkeys(letter for letters in op.ins for letter in letters)
    if all(letter == i for i, letter in enumerate(appeared)):
        return None
    number = {letter: i for i, letter in enumerate(appeared)}
    ins = tuple(tuple(number[letter] for letter in letters) for letters in op.ins)
    return Contract(ins, tuple(number[letter] for letter in op.out), op.scale, op.reduced), args


def _has_floating(args: tuple[Value, ...]) -> bool:
    return any(arg.dtype is not None and arg.dtype.is_floating_point for arg in args)


CONTRACT_RULES: tuple[Rule, ...] = (
    only_axes_there_are,
    factors_out,
    numbers_out,
    without_moves,
    by_batch_axis,
    one_factor,
    letters_in_order,
)
