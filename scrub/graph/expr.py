"""`Expr`: an immutable, interned node together with everything below it.

A node is its type, name, parameters and children. Building the same node twice gives the same object, so `==` is `is`
and a set of nodes is a set of distinct subexpressions. A node type declares, in a file of its own:

- how user arguments become `children` and `params` (its `__new__`),
- `infer`: shape and dtype from these, raising where they do not fit,
- `axis_map`: what each axis of each child becomes, from which size changes and pushing of indices follow,
- `batched`: itself on children that gained leading axes (SPEC 3),
- `compute`: its value from its children's values,
- `examples`: instances from which the conformance suite generates its tests.

Everything else (identity, flags, printing, files, matching, rebuilding) is derived from these.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, Self, TypeVar

import torch
import xxhash

from scrub.graph.axis_names import AxisNames, carried_names
from scrub.graph.errors import ConstructionError, DeviceError, FrozenError
from scrub.graph.fluent import Fluent
from scrub.graph.sizes import Shape, Size, map_sizes, product, symbolic_sizes_in, variables_of

if TYPE_CHECKING:
    from scrub.graph.symbol import Symbol

E = TypeVar("E", bound="Expr")
T = TypeVar("T")

RANDOM = 1  # depends on a random variable
RANDOM_OUTSIDE_CUMULANT = 2  # on one that no cumulant takes the expectation of
UNSAMPLEABLE = 4  # holds a random variable that no sample spec can draw
RESIZES = 64  # holds a module whose body is written for other sizes than those it is called with


class AxisUse(Enum):
    """What becomes of a child's axis that is not carried over to an output axis value by value."""

    REDUCED = "summed away; any size"
    MIXED = "values along it are mixed; any size"
    FIXED = "cut or addressed; its size cannot change"


AxisMap = tuple[tuple[int | AxisUse, ...], ...]
"""For each child, for each of its axes: the output axis it becomes, value by value, or an `AxisUse`."""


class Expr(Fluent):
    """Base of all nodes. Not constructed directly.

    Attributes:
        children: expressions this one is computed from.
        params: everything else that the node type needs, hashable.
        name: given name or None. Part of identity; matchers select by it.
        shape, dtype, device: of the value. Sizes are ints or sympy expressions (`scrub.graph.sizes`); `dtype` is None
            where the leaves do not decide it (scalars, symbols).
        digest: 128-bit hex digest of all of the above but the device, the same in every process.

    >>> import scrub as rc, torch
    >>> x = rc.Array(torch.ones(2), "x")
    >>> rc.Add(x, x) is rc.Add(x, x)
    True
    """

    __slots__ = (
        "__weakref__",
        "_axis_names",
        "_free_sizes",
        "_free_symbols",
        "children",
        "device",
        "digest",
        "dtype",
        "flags",
        "name",
        "params",
        "shape",
    )
    infix: ClassVar[bool] = False  # derived names of this node need parentheses inside another's
    axis_names_at: ClassVar[int | None] = None  # the parameter that holds names of its own axes, where there are any
    sizes_at: ClassVar[tuple[int, ...]] = ()  # which of its parameters may hold symbolic sizes

    children: tuple[Expr, ...]
    params: tuple[Any, ...]
    name: str | None
    shape: Shape
    dtype: torch.dtype | None
    device: torch.device | None
    digest: str
    flags: int
    _axis_names: AxisNames | None
    _free_sizes: tuple[Any, ...]
    _free_symbols: tuple[Symbol, ...]

    # ---- what each node type declares -------------------------------------------------------------------------

    @classmethod
    def infer(
        cls, children: tuple[Expr, ...], params: tuple[Any, ...], name: str | None
    ) -> tuple[Shape, torch.dtype | None]:
        """Shape and dtype, or an error that names what does not fit."""
        raise NotImplementedError(cls.__name__)

    def axis_map(self) -> AxisMap:
        """What each axis of each child becomes."""
        raise NotImplementedError(type(self).__name__)

    def name_map(self) -> AxisMap:
        """Which axes keep their names: those of `axis_map`, and more where an axis stays what it is though cut."""
        return self.axis_map()

    def infer_axis_names(self) -> AxisNames | None:
        """Names of the axes; asked for only where the node has parameters for them or a child has some."""
        at = self.axis_names_at
        return self.params[at] if at is not None and len(self.params) > at else carried_names(self)

    def batched(self, children: tuple[Expr, ...], ranks: tuple[int, ...], batch: Shape) -> Expr:
        """This node on children with `ranks[i]` more leading axes each, that form suffixes of `batch`."""
        raise NotImplementedError(type(self).__name__)

    def compute(self, *values: torch.Tensor) -> torch.Tensor:
        """The value, from the children's values."""
        raise NotImplementedError(type(self).__name__)

    def flops(self) -> int:
        """Arithmetic operations of `compute`, see `scrub.graph.cost`; none where it only moves values."""
        return 0

    @classmethod
    def examples(cls) -> Iterator[Expr]:
        """A few representative instances, explicitly computable where the type allows it."""
        raise NotImplementedError(cls.__name__)

    def derived_name(self, names: Sequence[str]) -> str:
        """What to display when the node has no name, given what its children display."""
        return f"{type(self).__name__.lower()}({', '.join(names)})"

    def param_text(self) -> str:
        """Parameters as shown behind the type in one line of text."""
        return ""

    @classmethod
    def infer_flags(cls, children: tuple[Expr, ...]) -> int:
        """Flags of the node from its children's; overridden by what creates or ends randomness."""
        flags = 0
        for child in children:
            flags |= child.flags
        return flags

    @classmethod
    def infer_free_symbols(cls, children: tuple[Expr, ...], params: tuple[Any, ...]) -> tuple[Symbol, ...]:
        """Free symbols of the node; overridden by what binds them."""
        return union_in_order([child.free_symbols for child in children])

    @classmethod
    def infer_free_sizes(cls, children: tuple[Expr, ...], params: tuple[Any, ...]) -> tuple[tuple[Any, ...], int]:
        """Free size variables of the node, and further flags; overridden by what binds size variables.

        Asked for only where a child has some, or `sizes_at` says that a parameter may.
        """
        parts = [child._free_sizes for child in children if child._free_sizes]
        for position in cls.sizes_at:
            symbolic = symbolic_sizes_in(params[position])
            if symbolic:
                parts.append(variables_of(symbolic))
        return (union_in_order(parts) if parts else ()), 0

    def resized(self, children: tuple[Expr, ...], transform: Callable[[Size], Size]) -> Expr:
        """This node on children of other sizes, with the symbolic sizes among its parameters transformed."""
        params = tuple(
            map_sizes(param, transform) if i in self.sizes_at else param for i, param in enumerate(self.params)
        )
        return self.make(children, params, self.name)

    @classmethod
    def own_device(cls, params: tuple[Any, ...]) -> torch.device | None:
        """Device of the tensor that the node itself holds, if it holds one."""
        return None

    # ---- identity ---------------------------------------------------------------------------------------------

    @classmethod
    def make(cls, children: tuple[Expr, ...], params: tuple[Any, ...], name: str | None) -> Self:
        """The node of these parts: the existing object if there is one, else a new one, checked."""
        device = _common_device(cls, children, params, name)
        hasher = xxhash.xxh3_128(f"{cls.__name__}|{name!r}|{params!r}|{len(children)}|".encode())
        for child in children:
            hasher.update(child.digest.encode())
        digest = hasher.hexdigest()
        key = (digest, device)
        existing = _POOL.get(key)
        if existing is not None:
            return existing  # type: ignore[return-value]
        if name is not None and not isinstance(name, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConstructionError(f"{cls.__name__}: a name is a str or None, not {name!r}")
        shape, dtype = cls.infer(children, params, name)
        flags = cls.infer_flags(children)
        free_sizes: tuple[Any, ...] = ()
        has_sizes = bool(cls.sizes_at)
        has_names = cls.axis_names_at is not None and len(params) > cls.axis_names_at
        for child in children:
            if child._free_sizes:
                has_sizes = True
            if child._axis_names:
                has_names = True
        if has_sizes:
            free_sizes, more_flags = cls.infer_free_sizes(children, params)
            flags |= more_flags
        node = object.__new__(cls)
        fill = object.__setattr__
        fill(node, "children", children)
        fill(node, "params", params)
        fill(node, "name", name)
        fill(node, "shape", shape)
        fill(node, "dtype", dtype)
        fill(node, "device", device)
        fill(node, "digest", digest)
        fill(node, "flags", flags)
        fill(node, "_free_sizes", free_sizes)
        fill(node, "_axis_names", None)
        fill(node, "_free_symbols", cls.infer_free_symbols(children, params))
        if has_names:
            fill(node, "_axis_names", node.infer_axis_names())
        with _POOL_LOCK:
            return _POOL.setdefault(key, node)  # type: ignore[return-value]

    def with_children(self, children: Sequence[Expr]) -> Expr:
        """The same node on other children; the same object if they are the same."""
        children = tuple(children)
        return self if children == self.children else self.make(children, self.params, self.name)

    def rename(self, name: str | None) -> Self:
        """The same node under another name."""
        return self if name == self.name else self.make(self.children, self.params, name)

    def __setattr__(self, attribute: str, value: object) -> NoReturn:
        raise FrozenError(
            f"expressions are immutable: cannot set {attribute!r}",
            nodes=[self],
            hint="every operation returns a new expression, for example rename(...) or update(...)",
        )

    def __delattr__(self, attribute: str) -> NoReturn:
        raise FrozenError(f"expressions are immutable: cannot delete {attribute!r}", nodes=[self])

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        from scrub.graph.files import from_bytes, to_bytes

        return from_bytes, (to_bytes(self),)

    # ---- flags and facts --------------------------------------------------------------------------------------

    @property
    def free_symbols(self) -> tuple[Symbol, ...]:
        """Symbols that nothing below binds, in order of first visit."""
        return self._free_symbols

    @property
    def axis_names(self) -> AxisNames:
        """Name or None for each axis; see `scrub.graph.axis_names`."""
        return self._axis_names or (None,) * len(self.shape)

    @property
    def free_sizes(self) -> tuple[Any, ...]:
        """Size variables that nothing below binds, in order of first visit."""
        return self._free_sizes

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def numel(self) -> Size:
        """Number of elements."""
        return product(self.shape)

    @property
    def is_constant(self) -> bool:
        """Whether no random variable is below, or all are under a `Cumulant`."""
        return not self.flags & RANDOM_OUTSIDE_CUMULANT

    @property
    def is_explicitly_computable(self) -> bool:
        """Whether it can be evaluated as it is: no unbound symbol, no open size, no random variable."""
        return not self.free_symbols and not self._free_sizes and not self.flags & RANDOM

    @property
    def can_be_sampled(self) -> bool:
        """Whether a sample spec can draw every random variable below."""
        return not self.flags & UNSAMPLEABLE

    def cast(self, kind: type[E]) -> E:
        """Itself, known to the type checker as a node of that type; an error if it is of another.

        >>> import scrub as rc
        >>> rc.Scalar(2.0).cast(rc.Scalar).value
        2.0
        """
        if not isinstance(self, kind):
            raise ConstructionError(
                f"expected a {kind.__name__}, found a {type(self).__name__}",
                nodes=[self],
                expected=kind,
                found=type(self),
            )
        return self

    def __repr__(self) -> str:
        from scrub.graph.text import one_line

        return one_line(self)


_POOL: weakref.WeakValueDictionary[tuple[str, torch.device | None], Expr] = weakref.WeakValueDictionary()
_POOL_LOCK = threading.RLock()


def existing(digest: str, device: torch.device | None) -> Expr | None:
    """The node of that digest on that device, if the process holds it."""
    return _POOL.get((digest, device))


def union_in_order(parts: Sequence[tuple[T, ...]]) -> tuple[T, ...]:
    """Ordered union, sharing a part's tuple when it already is the union."""
    largest: tuple[T, ...] = ()
    for part in parts:
        if part and part is not largest:
            largest = part if not largest else tuple(dict.fromkeys((*largest, *part)))
    return largest


def _common_device(
    cls: type[Expr], children: tuple[Expr, ...], params: tuple[Any, ...], name: str | None
) -> torch.device | None:
    device = cls.own_device(params)
    for child in children:
        if child.device is not None and child.device != device:
            if device is not None:
                raise DeviceError(
                    f"{cls.__name__} {name!r}: children lie on {device} and {child.device}",
                    nodes=children,
                    expected=device,
                    found=child.device,
                    hint="move one with rc.cast(expr, device=...)",
                )
            device = child.device
    return device
