"""`Module`: a function call, and `ModuleSpec`: the function. A body with symbols as parameters, and what is bound."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch

from scrub.graph.add import Add
from scrub.graph.array import Array
from scrub.graph.batching import common_batch
from scrub.graph.errors import BatchError, ModuleBindingError
from scrub.graph.expr import AxisMap, AxisUse, Expr, Shape, union_of_symbols
from scrub.graph.rearrange import repeat_axes
from scrub.graph.registry import node
from scrub.graph.symbol import Symbol


@dataclass(frozen=True)
class ModuleArgSpec:
    """One parameter of a module.

    Attributes:
        symbol: what stands for it in the body.
        batchable: whether an argument may have more axes than the symbol.
        expandable: whether trailing sizes may differ where the symbol's are symbolic.

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
        for spec, arg in zip(params, args, strict=True):
            symbol: Symbol = spec.symbol
            rank = arg.ndim - symbol.ndim
            if rank < 0 or arg.shape[rank:] != symbol.shape:
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
                    hint="trailing sizes must agree; axes in front of them are batch axes",
                )
            if rank and not spec.batchable:
                raise BatchError(
                    f"Module {name!r}: parameter {symbol.name!r} takes no batch axes",
                    nodes=[symbol, arg],
                    expected=symbol.shape,
                    found=arg.shape,
                )
        ranks = [arg.ndim - spec.symbol.ndim for spec, arg in zip(params, args, strict=True)]
        return common_batch(f"Module {name!r}", args, ranks) + body.shape, body.dtype

    @classmethod
    def infer_free_symbols(cls, children: tuple[Expr, ...], params: tuple[Any, ...]) -> tuple[Symbol, ...]:
        bound = {spec.symbol for spec in params}
        own = tuple(symbol for symbol in children[0].free_symbols if symbol not in bound)
        return union_of_symbols([own, *(child.free_symbols for child in children[1:])])

    @property
    def num_batch(self) -> int:
        """Number of batch axes that the arguments bring."""
        return self.ndim - self.body.ndim

    def axis_map(self) -> AxisMap:
        args = tuple(
            tuple(self.num_batch - rank + i if i < rank else AxisUse.FIXED for i in range(arg.ndim))
            for arg, rank in zip(self.args, self._ranks(), strict=True)
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
