"""Trying a registered function: does it compute what its rules declare?

`check_function` draws many shapes and arguments and compares what the function declares (`infer_shape`, `infer_dtype`)
with what it computes. It collects all mismatches, keeps the smallest shapes that show each kind, and raises once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from scrub.graph.errors import ConstructionError, FunctionError, ScrubError
from scrub.graph.expr import Shape
from scrub.graph.functions.base import ELEMENTWISE, FUNCTIONS, Function, FunctionShape, function_name
from scrub.graph.functions.elementwise import Elementwise
from scrub.graph.sizes import product
from scrub.graph.testing.shapes import Shapes, candidate_shapes, size_order
from scrub.graph.testing.values import Drawer, Values, is_same, loop, other_layout

FLOATING = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
DTYPES = (*FLOATING, torch.int64, torch.int32, torch.uint8, torch.bool)
BATCHES: tuple[Shape, ...] = ((3,), (2, 3), (1,), (0,))
_MOST_TRIED = 24  # shapes on which the checks that need many evaluations are done


@dataclass(frozen=True)
class Mismatch:
    """One way in which a function does not do what it declares.

    Attributes:
        label: the function with its parameters.
        kind: what is broken: "shape", "dtype", "batching", "opaque axes", "refusal", "argument written to", ...
        problem: what was declared and what was found.
        shapes, dtypes: the smallest arguments that showed it.
        count: how many arguments showed it.
    """

    label: str
    kind: str
    problem: str
    shapes: Shapes
    dtypes: tuple[torch.dtype | None, ...]
    count: int = 1

    def __str__(self) -> str:
        arguments = ", ".join(
            f"{list(shape)}{'' if dtype is None else ' ' + str(dtype).removeprefix('torch.')}"
            for shape, dtype in zip(self.shapes, self.dtypes, strict=True)
        )
        more = f" ({self.count} cases)" if self.count > 1 else ""
        return f"{self.kind}: {self.label} of {arguments or 'nothing'}: {self.problem}{more}"


@dataclass
class FunctionReport:
    """What trying a function showed.

    Attributes:
        num_shapes, num_refused: shapes tried, and those among them that `infer_shape` refused.
        num_computed: evaluations compared with what was declared.
        accepted: dtypes that were accepted and computed, for all arguments at once.
        mismatches: by function and kind; the smallest shapes of each.
    """

    num_shapes: int = 0
    num_refused: int = 0
    num_computed: int = 0
    accepted: set[tuple[torch.dtype | None, ...]] = field(default_factory=set[tuple[torch.dtype | None, ...]])
    mismatches: dict[tuple[str, str], Mismatch] = field(default_factory=dict[tuple[str, str], Mismatch])

    def add(self, found: Mismatch) -> None:
        """Count a mismatch, keeping the smallest shapes of its kind."""
        key = (found.label, found.kind)
        known = self.mismatches.get(key)
        if known is None:
            self.mismatches[key] = found
            return
        kept = min(known, found, key=lambda m: size_order(m.shapes))
        self.mismatches[key] = dataclasses.replace(kept, count=known.count + 1)


def check_function(
    function: Function | type[Function] | str,
    *,
    arguments: Sequence[Sequence[torch.Tensor]] | None = None,
    num_changes: int = 60,
    seed: int = 0,
) -> FunctionReport:
    """Try a function on many shapes, dtypes and values.

    Tried are: the declared shape and dtype, also of empty axes and axes of size 1; that what is refused is refused by
    an error of the right type; that batch axes of the batchable arguments give what a loop over them gives; that the
    axes in front of the opaque ones are carried over one to one; that arguments are not written to, and that neither
    a second call, nor another order in memory, nor `meta` tensors (where torch can) give something else. Values are
    drawn from the range of the example arguments.

    Args:
        function: a `Function` with its parameters, a class (its `examples` are tried), or a registered name.
        arguments: accepted example arguments, for a function with parameters; else those of its class.
        num_changes: how many shapes to make by random changes of the examples', besides all small ones.
        seed: of what is drawn.

    Raises:
        FunctionError: lists all mismatches, each with the smallest arguments that show it.

    >>> check_function("tanh").num_computed > 100
    True
    """
    report = FunctionReport()
    for spec, examples in _specs(function, arguments):
        _Trial(spec, examples, report, seed=seed, num_changes=num_changes).run()
    if report.mismatches:
        lines = "".join(f"\n    {mismatch}" for mismatch in report.mismatches.values())
        raise FunctionError(
            f"{function if isinstance(function, str) else _name(function)} does not do what it declares:{lines}",
            expected=0,
            found=tuple(report.mismatches.values()),
            hint="either the rule (infer_shape, infer_dtype) or compute is wrong; each line shows the smallest case",
        )
    return report


def _specs(
    function: Function | type[Function] | str, arguments: Sequence[Sequence[torch.Tensor]] | None
) -> list[tuple[Function, list[Values]]]:
    """The functions to try, each with arguments that it accepts."""
    if isinstance(function, str):
        if function in ELEMENTWISE:
            function = Elementwise(function)
        elif function in FUNCTIONS:
            function = FUNCTIONS[function]
        else:
            known = sorted([*FUNCTIONS, *ELEMENTWISE])
            raise ConstructionError(f"no function is named {function!r}", expected=known, found=function)
    if arguments is not None:
        if not isinstance(function, Function):
            raise ConstructionError(
                f"arguments were given for the class {function.__name__}",
                found=function,
                hint="give a function with its parameters, such as Softmax(), or no arguments",
            )
        return [(function, [tuple(values) for values in arguments])]
    kind = type(function) if isinstance(function, Function) else function
    grouped: dict[Function, list[Values]] = {}
    for spec, values in kind.examples():
        grouped.setdefault(spec, []).append(values)
    if not isinstance(function, Function):
        return list(grouped.items())
    fitting = grouped.get(function) or [v for values in grouped.values() for v in values if _accepts(function, v)]
    if not fitting:
        raise ConstructionError(
            f"{function.label} accepts none of the example arguments of its class",
            found=function,
            hint="check_function(..., arguments=[(x, y), ...]) gives it some",
        )
    return [(function, fitting)]


def _accepts(spec: Function, values: Values) -> bool:
    try:
        spec.infer_shape([tuple(value.shape) for value in values])
    except ValueError:
        return False
    return True


def _name(function: Function | type[Function]) -> str:
    return function.label if isinstance(function, Function) else function_name(function)


class _Trial:
    """The checks of one function with its parameters."""

    def __init__(
        self, spec: Function, examples: list[Values], report: FunctionReport, *, seed: int, num_changes: int
    ) -> None:
        self.spec = spec
        self.examples = examples
        self.report = report
        self.drawer = Drawer(examples, seed=seed)
        known = [tuple(tuple(value.shape) for value in values) for values in examples]
        self.known = known
        self.candidates = candidate_shapes(known, seed=seed, num_changes=num_changes)

    def run(self) -> None:
        self.check_declaration()
        accepted = [(shapes, d) for shapes in self.candidates if (d := self.declared_shape(shapes)) is not None]
        self.report.num_shapes += len(self.candidates)
        self.report.num_refused += len(self.candidates) - len(accepted)
        for arguments in self.known:
            self.check_other_arity(arguments)
        before = self.report.num_computed
        for shapes, declared in accepted:
            self.check_values(shapes, declared)
        if self.report.num_computed == before:
            self.mismatch("examples", self.known[0], "no arguments in the range of the examples could be computed")
        step = max(1, len(accepted) // _MOST_TRIED)
        for shapes, declared in [*((s, d) for s, d in accepted if s in self.known), *accepted[::step]]:
            self.check_batching(shapes, declared)
            self.check_opaque_axes(shapes, declared)
            self.check_meta(shapes, declared)
        for shapes in dict.fromkeys([*self.known, *(s for s, _ in accepted[:: max(1, len(accepted) // 4)])]):
            self.check_dtypes(shapes)

    def mismatch(
        self, kind: str, shapes: Sequence[Shape], problem: str, dtypes: Sequence[torch.dtype | None] | None = None
    ) -> None:
        kept = tuple(dtypes) if dtypes is not None else (None,) * len(shapes)
        self.report.add(Mismatch(self.spec.label, kind, problem, tuple(shapes), kept))

    # ---- what it declares ---------------------------------------------------------------------------------------

    def check_declaration(self) -> None:
        spec = self.spec
        if not isinstance(spec.label, str) or not spec.label or "\n" in spec.label:  # pyright: ignore[reportUnnecessaryIsInstance]
            self.mismatch("declaration", (), f"the label is {spec.label!r}, not one line of text")
        try:
            again = type(spec)(*(getattr(spec, f.name) for f in dataclasses.fields(spec)))
            if again != spec or hash(again) != hash(spec) or repr(again) != repr(spec):
                self.mismatch("declaration", (), "made again of its fields, it is not equal")
        except TypeError as error:
            self.mismatch("declaration", (), f"it cannot be made again of its fields in order, nor loaded: {error}")

    def declared_shape(self, shapes: Shapes) -> FunctionShape | None:
        """What is declared for these shapes, or None where they are refused, or the declaration makes no sense."""
        try:
            declared = self.spec.infer_shape(list(shapes))
        except ValueError:
            return None
        except Exception as error:
            self.mismatch("refusal", shapes, f"infer_shape raises {_text(error)}, not a ValueError")
            return None
        problem = _declaration_problem(shapes, declared)
        if problem is not None:
            self.mismatch("declaration", shapes, problem)
            return None
        return declared

    def check_other_arity(self, shapes: Shapes) -> None:
        """One argument more or fewer is refused, or computed as declared."""
        for other in (shapes[:-1], (*shapes, *shapes[-1:])):
            declared = self.declared_shape(other) if len(other) != len(shapes) else None
            if declared is not None:
                self.check_values(other, declared)

    # ---- what it computes ---------------------------------------------------------------------------------------

    def arguments(self, shapes: Shapes) -> Values:
        """Values in the dtypes of the examples, floating ones in float64 if that is accepted."""
        first = self.examples[0]
        own = [first[min(i, len(first) - 1)].dtype for i in range(len(shapes))]
        double = [torch.float64 if dtype.is_floating_point else dtype for dtype in own]
        try:
            self.spec.infer_dtype(double)
        except Exception:  # other checks report it
            return self.drawer.draw(shapes, own)
        return self.drawer.draw(shapes, double)

    def computed(self, kind: str, values: Values) -> torch.Tensor | None:
        """The result; None where the values are refused, or computing fails, which is a mismatch of that kind."""
        shapes, dtypes = _facts(values)
        try:
            result = self.spec.compute(*values)
        except ScrubError:
            return None
        except Exception as error:
            self.mismatch(kind, shapes, f"is accepted, but compute raises {_text(error)}", dtypes)
            return None
        if not isinstance(result, torch.Tensor):  # pyright: ignore[reportUnnecessaryIsInstance]
            self.mismatch(kind, shapes, f"computes {result!r}, not a tensor", dtypes)
            return None
        self.report.num_computed += 1
        return result

    def check_values(self, shapes: Shapes, declared: FunctionShape) -> None:
        values = self.arguments(shapes)
        _, dtypes = _facts(values)
        before = [(value.clone(), value._version) for value in values]
        result = self.computed("shape", values)
        if any(
            value._version != version or not torch.equal(value, copy)
            for value, (copy, version) in zip(values, before, strict=True)
        ):
            self.mismatch("argument written to", shapes, "compute changes an argument in place", dtypes)
            values = tuple(copy for copy, _ in before)
        if result is None:
            return
        result = result.clone()
        if tuple(result.shape) != declared.shape:
            found = f"declares {list(declared.shape)}, computes {list(result.shape)}"
            self.mismatch("shape", shapes, found, dtypes)
            return
        again = self.computed("shape", tuple(value.clone() for value in values))
        if again is not None and not is_same(again, result):
            self.mismatch("not deterministic", shapes, "a second call with the same values differs", dtypes)
            return
        turned = self.computed("memory layout", tuple(other_layout(value) for value in values))
        if turned is not None and not is_same(turned, result):
            self.mismatch("memory layout", shapes, "values that are not contiguous give another result", dtypes)

    def check_batching(self, shapes: Shapes, declared: FunctionShape) -> None:
        if not any(declared.is_batchable):
            return
        for batch in BATCHES:
            wide = tuple(
                (*batch, *shape) if can else shape for shape, can in zip(shapes, declared.is_batchable, strict=True)
            )
            try:
                found = self.spec.infer_shape(list(wide))
            except Exception as error:
                self.mismatch("batching", shapes, f"declared batchable, but with {list(batch)} in front {_text(error)}")
                continue
            expected = dataclasses.replace(declared, shape=(*batch, *declared.shape))
            if found != expected:
                self.mismatch("batching", shapes, f"with {list(batch)} in front it declares {found}, not {expected}")
                continue
            self._check_batched_values(shapes, wide, declared, batch)

    def _check_batched_values(self, shapes: Shapes, wide: Shapes, declared: FunctionShape, batch: Shape) -> None:
        values = self.arguments(wide)
        _, dtypes = _facts(values)
        result = self.computed("batching", values)
        if result is None:
            return
        if tuple(result.shape) != (*batch, *declared.shape):
            self.mismatch("batching", shapes, f"with {list(batch)} in front it computes {list(result.shape)}", dtypes)
        elif product(batch):
            try:
                expected = loop(self.spec.compute, values, declared.is_batchable, batch)
            except Exception:  # a single entry fails: reported for its own shapes
                return
            if not is_same(result, expected):
                self.mismatch("batching", shapes, f"{list(batch)} in front gives something else than a loop", dtypes)

    def check_opaque_axes(self, shapes: Shapes, declared: FunctionShape) -> None:
        """One position of a free axis of the result needs only that position of the axes that are carried to it."""
        num_free = len(declared.shape) - declared.num_opaque
        if not num_free:
            return
        values = self.arguments(shapes)
        _, dtypes = _facts(values)
        result = self.computed("shape", values)
        if result is None or tuple(result.shape) != declared.shape:
            return
        for axis in range(num_free):
            at = [
                axis - (num_free - (len(s) - own)) for s, own in zip(shapes, declared.own_ndims, strict=True)
            ]  # where that axis is in each argument; negative where it is not there
            wrong = [i for i, k in enumerate(at) if k >= 0 and shapes[i][k] != declared.shape[axis]]
            if wrong or all(k < 0 for k in at):
                what = f"argument {wrong[0]} does" if wrong else "no argument does"
                self.mismatch("opaque axes", shapes, f"axis {axis} is said to be carried over; {what} not carry it")
                continue
            for position in range(min(declared.shape[axis], 2)):
                cut = tuple(v.narrow(k, position, 1) if k >= 0 else v for v, k in zip(values, at, strict=True))
                part = self.computed("opaque axes", cut)
                if part is not None and not is_same(part, result.narrow(axis, position, 1)):
                    problem = (
                        f"axis {axis} is said to be carried over one to one, but position {position} alone differs"
                    )
                    self.mismatch("opaque axes", shapes, problem, dtypes)

    def check_meta(self, shapes: Shapes, declared: FunctionShape) -> None:
        values = self.arguments(shapes)
        _, dtypes = _facts(values)
        try:
            result = self.spec.compute(*(value.to("meta") for value in values))
            dtype = self.spec.infer_dtype(list(dtypes))
        except Exception:  # what looks at values cannot do without them
            return
        if tuple(result.shape) != declared.shape or (dtype is not None and result.dtype != dtype):
            found = f"{list(result.shape)} {result.dtype}"
            self.mismatch("meta tensors", shapes, f"declares {list(declared.shape)} {dtype}, computes {found}", dtypes)

    def check_dtypes(self, shapes: Shapes) -> None:
        """Each dtype for all floating arguments, and for each argument alone; and no dtype, which scalars have."""
        base = [value.dtype for value in self.arguments(shapes)]
        tried: dict[tuple[torch.dtype | None, ...], None] = {}
        for dtype in (*DTYPES, None):
            tried[tuple(dtype if own.is_floating_point else own for own in base)] = None
            tried[(dtype,) * len(base)] = None
            for i in range(len(base)):
                tried[(*base[:i], dtype, *base[i + 1 :])] = None
        for dtypes in tried:
            self._check_dtype(shapes, dtypes)

    def _check_dtype(self, shapes: Shapes, dtypes: tuple[torch.dtype | None, ...]) -> None:
        try:
            declared = self.spec.infer_dtype(list(dtypes))
        except (ValueError, ScrubError):
            return
        except Exception as error:
            self.mismatch("refusal", shapes, f"infer_dtype raises {_text(error)}, not a ValueError", dtypes)
            return
        actual = [torch.float64 if dtype is None else dtype for dtype in dtypes]  # scalars are computed in float64
        result = self.computed("dtype", self.drawer.draw(shapes, actual))
        if result is None:
            return
        if result.dtype != (torch.float64 if declared is None else declared):
            problem = f"declares {declared or 'that of its neighbours, so float64'}, computes {result.dtype}"
            self.mismatch("dtype", shapes, problem, dtypes)
        else:
            self.report.accepted.add(dtypes)


def _declaration_problem(shapes: Shapes, declared: object) -> str | None:
    """What makes no sense in what is declared, if something does."""
    if not isinstance(declared, FunctionShape):
        return f"infer_shape gives {declared!r}, not a FunctionShape"
    if not isinstance(declared.shape, tuple) or not all(  # pyright: ignore[reportUnnecessaryIsInstance]
        type(size) is int and size >= 0 for size in declared.shape
    ):
        return f"the declared shape {declared.shape!r} is not a tuple of sizes"
    if not len(declared.is_batchable) == len(declared.own_ndims) == len(shapes):
        return (
            f"{len(shapes)} arguments are accepted, but is_batchable is for {len(declared.is_batchable)}, "
            f"own_ndims for {len(declared.own_ndims)}"
        )
    if not 0 <= declared.num_opaque <= len(declared.shape):
        return f"num_opaque is {declared.num_opaque}, the result has {len(declared.shape)} axes"
    num_free = len(declared.shape) - declared.num_opaque
    for i, (shape, own) in enumerate(zip(shapes, declared.own_ndims, strict=True)):
        if not 0 <= own <= len(shape):
            return f"own_ndims of argument {i} is {own}, it has {len(shape)} axes"
        if len(shape) - own > num_free:
            return (
                f"{len(shape) - own} axes of argument {i} are said to be carried over, but only {num_free} axes of "
                "the result are not opaque"
            )
    return None


def _facts(values: Values) -> tuple[Shapes, tuple[torch.dtype, ...]]:
    return tuple(tuple(value.shape) for value in values), tuple(value.dtype for value in values)


def _text(error: Exception) -> str:
    """The error on one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"
