"""`Module`: a function call, and `ModuleSpec`: the function. A body with symbols as parameters, and what is bound."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch

from scrub.graph.add import Add
from scrub.graph.array import Array
from scrub.graph.batching import common_batch
from scrub.graph.errors import BatchError, ModuleBindingError, ShapeError
from scrub.graph.expr import RESIZES, AxisMap, AxisUse, Expr, union_in_order
from scrub.graph.rearrange import repeat_axes
from scrub.graph.registry import node
from scrub.graph.size_solving import decidable, solve_sizes
from scrub.graph.sizes import Shape, Size, is_symbolic, mismatch_hint, replace_in_size
from scrub.graph.symbol import Symbol


@dataclass(frozen=True)
class ModuleArgSpec:
    """One parameter of a module.

    Attributes:
        symbol: what stands for it in the body.
        batchable: whether an argument may have more axes than the symbol.
        expandable: whether trailing sizes may differ where the symbol's are symbolic. If not, its size variables are
            the same inside the body and outside.

    >>> ModuleArgSpec(Symbol.new_from_name((2,), "x"), batchable=False).symbol.name
    'x'
    """

    symbol: Symbol
    batchable: bool = True
    expandable: bool = True

    def __repr__(self) -> str:  # part of the digest of modules
        return f"arg({self.symbol.digest},{self.batchable},{self.expandable})"


@dataclass(frozen=True)
class ModuleSpec:
    """A function: `expr` is the body, `arg_specs` the parameters in order.

    Raises:
        ModuleBindingError: two parameters have the same name, or the body does not use one
            (pass `allow_unused=True` where that is meant).

    >>> x = Symbol.new_from_name((2,), "x")
    >>> ModuleSpec(Add(x, x, name="double"), [ModuleArgSpec(x)]).symbols
    ('x' [2] Symbol ...,)
    """

    expr: Expr
    arg_specs: tuple[ModuleArgSpec, ...]

    def __init__(self, expr: Expr, arg_specs: Sequence[ModuleArgSpec | Symbol], *, allow_unused: bool = False) -> None:
        specs = tuple(spec if isinstance(spec, ModuleArgSpec) else ModuleArgSpec(spec) for spec in arg_specs)
        object.__setattr__(self, "expr", expr)
        object.__setattr__(self, "arg_specs", specs)
        names = [spec.symbol.name for spec in specs]
        repeated = next((name for name in names if names.count(name) > 1), None)
        if repeated is not None or None in names:
            problem = f"two parameters are named {repeated!r}" if repeated is not None else "a parameter has no name"
            raise ModuleBindingError(f"ModuleSpec: {problem}", nodes=[s.symbol for s in specs], found=repeated)
        unused = [spec.symbol for spec in specs if spec.symbol not in expr.free_symbols]
        if unused and not allow_unused:
            raise ModuleBindingError(
                f"ModuleSpec: the body does not use parameter {unused[0].name!r}",
                nodes=[expr, *unused],
                hint="ModuleSpec(..., allow_unused=True) where that is meant",
            )

    @property
    def symbols(self) -> tuple[Symbol, ...]:
        """The parameters' symbols."""
        return tuple(spec.symbol for spec in self.arg_specs)


@node
class Module(Expr):
    """A call: `Module(spec, "name", a=x, b=y)` binds x to the parameter named "a" and y to "b".

    Axes of an argument beyond its symbol's rank are batch axes; the result is batch + the body's shape.

    >>> a = Symbol.new_with_random_uuid((2,), "a")
    >>> double = ModuleSpec(Add(a, a, name="a + a"), [ModuleArgSpec(a)])
    >>> Module(double, "twice", a=Array(torch.ones(3, 2))).shape
    (3, 2)
    """

    __slots__ = ()

    def __new__(cls, spec: ModuleSpec, name: str | None = None, **args: Expr) -> Self:
        names = [symbol.name for symbol in spec.symbols]
        missing = [n for n in names if n not in args]
        extra = [n for n in args if n not in names]
        if missing or extra:
            raise ModuleBindingError(
                f"Module {name!r}: " + (f"nothing is bound to {missing}" if missing else f"no parameter named {extra}"),
                nodes=[spec.expr],
                expected=names,
                found=list(args),
                hint=f"the parameters are {names}",
            )
        return cls.make((spec.expr, *(args[n or ""] for n in names)), spec.arg_specs, name)

    @classmethod
    def from_bindings(cls, expr: Expr, bindings: Mapping[Symbol, Expr], name: str | None = None) -> Self:
        """A call of the body `expr` with these symbols bound, used in it or not; symbols are told by identity."""
        return cls.make((expr, *bindings.values()), tuple(ModuleArgSpec(symbol) for symbol in bindings), name)

    @property
    def spec(self) -> ModuleSpec:
        """The function that is called."""
        return ModuleSpec(self.children[0], self.params, allow_unused=True)

    @property
    def body(self) -> Expr:
        """The function's body."""
        return self.children[0]

    @property
    def args(self) -> tuple[Expr, ...]:
        """What is bound, in the order of the parameters."""
        return self.children[1:]

    @property
    def bindings(self) -> dict[Symbol, Expr]:
        """Symbol -> what is bound to it, in the order of the parameters."""
        return {spec.symbol: arg for spec, arg in zip(self.params, self.args, strict=True)}

    @classmethod
    def infer(
        cls, children: tuple[Expr, ...], params: tuple[Any, ...], name: str | None
    ) -> tuple[Shape, torch.dtype | None]:
        body, *args = children
        is_resized = False
        for spec, arg in zip(params, args, strict=True):
            symbol: Symbol = spec.symbol
            rank = arg.ndim - symbol.ndim
            if rank >= 0 and symbol.free_sizes and arg.shape[rank:] != symbol.shape:
                is_resized = True
            elif rank < 0 or arg.shape[rank:] != symbol.shape:
                axis = next(
                    (i - symbol.ndim for i in range(symbol.ndim) if rank < 0 or arg.shape[rank + i] != symbol.shape[i]),
                    None,
                )
                raise ModuleBindingError(
                    f"Module {name!r}: {arg!r} does not fit parameter {symbol.name!r} of shape {symbol.shape}",
                    nodes=[symbol, arg],
                    axis=axis,
                    expected=symbol.shape,
                    found=arg.shape,
                    hint=mismatch_hint(arg.shape, "trailing sizes must agree; axes in front of them are batch axes"),
                )
            if rank and not spec.batchable:
                raise BatchError(
                    f"Module {name!r}: parameter {symbol.name!r} takes no batch axes",
                    nodes=[symbol, arg],
                    expected=symbol.shape,
                    found=arg.shape,
                )
        ranks = [arg.ndim - spec.symbol.ndim for spec, arg in zip(params, args, strict=True)]
        batch = common_batch(f"Module {name!r}", args, ranks)
        if not is_resized:
            return batch + body.shape, body.dtype
        sizes = _solve(name, children, params)
        try:
            return batch + tuple(replace_in_size(size, sizes) for size in body.shape), body.dtype
        except ShapeError as error:
            raise ModuleBindingError(
                f"Module {name!r}: the body's shape is {list(body.shape)}, but {error.problem}",
                nodes=children,
                expected=body.shape,
                found=sizes,
                hint="bind arguments of sizes that the body can be made for",
            ) from error

    @classmethod
    def infer_free_symbols(cls, children: tuple[Expr, ...], params: tuple[Any, ...]) -> tuple[Symbol, ...]:
        bound = {spec.symbol for spec in params}
        own = tuple(symbol for symbol in children[0].free_symbols if symbol not in bound)
        return union_in_order([own, *(child.free_symbols for child in children[1:])])

    @classmethod
    def infer_free_sizes(cls, children: tuple[Expr, ...], params: tuple[Any, ...]) -> tuple[tuple[Any, ...], int]:
        symbols: list[Symbol] = [spec.symbol for spec in params]
        inside = union_in_order([children[0].free_sizes, *(symbol.free_sizes for symbol in symbols)])
        bound = _bound_sizes(children[0], params)
        own = tuple(variable for variable in inside if variable not in bound)
        flag = RESIZES if _is_resized(children[1:], params) else 0
        return union_in_order([own, *(child.free_sizes for child in children[1:])]), flag

    @property
    def is_resized(self) -> bool:
        """Whether the body is written for other sizes than it is called with."""
        return _is_resized(self.args, self.params)

    @property
    def bound_sizes(self) -> tuple[Any, ...]:
        """Size variables of the body that the arguments decide.

        These are the ones that the parameters' sizes determine, except what is also a size of a free symbol of the
        body that this module does not bind: such a symbol is the same inside and outside, and so are its sizes.
        """
        return _bound_sizes(self.body, self.params)

    def solved_sizes(self) -> dict[Any, Size]:
        """What the arguments make of each of `bound_sizes`.

        >>> from scrub.graph.sizes import symbolic_sizes
        >>> (n,) = symbolic_sizes("n")
        >>> x = Symbol.new_from_name((n,), "x")
        >>> Module(ModuleSpec(Add(x, x), [x]), x=Array(torch.ones(3))).solved_sizes()
        {n: 3}
        """
        return _solve(self.name, self.children, self.params)

    def resized(self, children: tuple[Expr, ...], transform: Callable[[Size], Size]) -> Expr:
        """The module with its parameters resized too: for when the body among the new children is."""
        specs = tuple(
            ModuleArgSpec(spec.symbol.resized((), transform).cast(Symbol), spec.batchable, spec.expandable)
            for spec in self.params
        )
        return Module.make(children, specs, self.name)

    @property
    def num_batch(self) -> int:
        """Number of batch axes that the arguments bring."""
        return self.ndim - self.body.ndim

    def axis_map(self) -> AxisMap:
        args = tuple(
            (*range(self.num_batch - rank, self.num_batch), *map(_use, spec.symbol.shape))
            for spec, rank in zip(self.params, self._ranks(), strict=True)
        )
        return (tuple(self.num_batch + i for i in range(self.body.ndim)), *args)

    def _ranks(self) -> tuple[int, ...]:
        return tuple(arg.ndim - spec.symbol.ndim for spec, arg in zip(self.params, self.args, strict=True))

    def batched(self, children: tuple[Expr, ...], ranks: tuple[int, ...], batch: Shape) -> Expr:
        if ranks[0]:
            raise BatchError(
                f"Module {self.name!r}: its body gained batch axes",
                nodes=[self, children[0]],
                found=children[0].shape,
                hint="substitute the module first",
            )
        own_axes = zip(children[1:], ranks[1:], self._ranks(), strict=True)  # of the new children: sizes may change
        own_batch = max((child.shape[gained : gained + own] for child, gained, own in own_axes), key=len, default=())
        args = [  # an argument that gains axes must show the batch axes it had not, or the two would be confused
            repeat_axes(child, own_batch[: self.num_batch - own], at=gained) if gained else child
            for child, gained, own in zip(children[1:], ranks[1:], self._ranks(), strict=True)
        ]
        return self.with_children((children[0], *args))

    def derived_name(self, names: Sequence[str]) -> str:
        return f"call({', '.join(names)})"

    @classmethod
    def examples(cls) -> Iterator[Expr]:
        a, b = Symbol.new_from_name((2,), "a"), Symbol.new_from_name((2,), "b")
        spec = ModuleSpec(Add(a, b, name="a + b"), [a, b])
        x, y = Array(torch.ones(3, 2), "x"), Array(torch.arange(2.0), "y")
        yield cls(spec, "call", a=x, b=y)
        yield cls(ModuleSpec(b, [a, b], allow_unused=True), "ignores a", a=x, b=y)


def _use(size: Size) -> AxisUse:
    """What a parameter's axis is to the call: one of symbolic size may have any size."""
    return AxisUse.MIXED if is_symbolic(size) else AxisUse.FIXED


def _is_resized(args: Sequence[Expr], params: Sequence[ModuleArgSpec]) -> bool:
    return any(
        arg.shape[arg.ndim - spec.symbol.ndim :] != spec.symbol.shape for arg, spec in zip(args, params, strict=True)
    )


def _bound_sizes(body: Expr, params: Sequence[ModuleArgSpec]) -> tuple[Any, ...]:
    if not any(spec.symbol.free_sizes for spec in params):
        return ()
    bound = {spec.symbol for spec in params}
    rigid = {v for symbol in body.free_symbols if symbol not in bound for v in symbol.free_sizes}
    rigid |= {v for spec in params if not spec.expandable for v in spec.symbol.free_sizes}
    return decidable([spec.symbol.shape for spec in params], rigid)


def _solve(name: str | None, children: Sequence[Expr], params: Sequence[ModuleArgSpec]) -> dict[Any, Size]:
    pairs = [(spec.symbol, arg) for spec, arg in zip(params, children[1:], strict=True)]
    return solve_sizes(f"Module {name!r}", pairs, _bound_sizes(children[0], params))
