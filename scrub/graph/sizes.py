"""Sizes of axes: an int, or a sympy expression in size variables such as `seq` and `d_model`.

A symbolic size stands for a non-negative integer that is not known yet. 0 and 1 are sizes like others, so nothing here
concludes that a size variable is not 0 or not 1; the one exception is a quotient, which stands only for sizes whose
denominator is not 0, and `n * d / n` is `d`.

Symbolic sizes are kept in one form (expanded, quotients in lowest terms), so that sizes are equal when `==` says so.
sympy is imported when the first symbolic size is made; ints never come near it.
"""

from __future__ import annotations

import ast
import keyword
import math
import operator
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, cast

from scrub.graph.errors import ShapeError

# A type checker sees `Any` where a size may be a `sympy.Expr`: sympy declares no types, and code about tensors that
# exist need not narrow every size to an int.
Size = int | Any
Shape = tuple[Size, ...]

_MAX_EXPONENT = 8
_MAX_TEXT = 1000


def symbolic_sizes(names: str) -> tuple[Any, ...]:
    """Size variables (`sympy.Symbol`s), one for each name; the same name is the same variable everywhere.

    Args:
        names: separated by spaces or commas.

    Raises:
        ShapeError: a name is not a Python identifier.

    >>> seq, d_model = symbolic_sizes("seq d_model")
    >>> seq * (d_model + 1)
    seq*(d_model + 1)
    """
    return tuple(size_variable(name) for name in names.replace(",", " ").split())


def size_variable(name: str) -> Any:
    """The size variable of that name: a sympy symbol that is an integer and not negative."""
    if not name.isidentifier() or keyword.iskeyword(name):
        raise ShapeError(f"{name!r} cannot name a size", found=name, hint="use letters, digits and underscores")
    return _variable(name)


@lru_cache(maxsize=4096)
def _variable(name: str) -> Any:
    import sympy

    return sympy.Symbol(name, integer=True, nonnegative=True)


def is_symbolic(value: object) -> bool:
    """Whether a value is a sympy expression.

    >>> is_symbolic(3), is_symbolic(*symbolic_sizes("n"))
    (False, True)
    """
    if type(value) is int:
        return False
    sympy = sys.modules.get("sympy")
    return sympy is not None and isinstance(value, sympy.Expr)


def is_concrete(shape: Iterable[Size]) -> bool:
    """Whether all sizes are ints."""
    return all(type(size) is int for size in shape)


def as_shape(shape: Sequence[Size]) -> Shape:
    """A tuple of sizes: non-negative ints, and symbolic sizes in their one form.

    Raises:
        ShapeError: a size is negative or no integer, or is no sum, product or quotient of sizes.

    >>> n, d = symbolic_sizes("n d")
    >>> as_shape((2, n * (d + 1), n * d / n))
    (2, d*n + n, d)
    """
    sizes = tuple(shape)
    for size in sizes:
        if type(size) is not int or size < 0:
            break
    else:
        return sizes
    sizes = tuple(as_size(size) for size in sizes)
    if any(type(size) is int and size < 0 for size in sizes):
        raise ShapeError(f"sizes cannot be negative: {sizes}", found=sizes)
    return sizes


def as_size(size: Any) -> Size:
    """One size; see `as_shape`."""
    if is_symbolic(size):
        return _canonical(size)
    try:
        return operator.index(size)
    except TypeError:
        raise ShapeError(
            f"{size!r} is not a size", expected="an int or a sympy expression", found=size, hint="sizes are integers"
        ) from None


def product(sizes: Iterable[Size]) -> Size:
    """Number of elements of a shape.

    >>> product((2, 3)), product(symbolic_sizes("n d"))
    (6, d*n)
    """
    result = math.prod(sizes)
    return result if type(result) is int else as_size(result)


def total(sizes: Iterable[Size]) -> Size:
    """Sum of sizes.

    >>> total((2, 3)), total((1, *symbolic_sizes("n")))
    (5, n + 1)
    """
    result = sum(sizes)
    return result if type(result) is int else as_size(result)


def quotient(size: Size, divisor: Size) -> Size:
    """`size / divisor`, rounded down where it is surely no integer.

    >>> d_model, n_heads = symbolic_sizes("d_model n_heads")
    >>> quotient(d_model, n_heads), quotient(3 * n_heads, n_heads), quotient(7, 2)
    (d_model/n_heads, 3, 3)
    """
    if type(size) is int and type(divisor) is int:
        return size // divisor
    import sympy

    exact = _expand(sympy.sympify(size) / divisor)
    return as_size(sympy.floor(exact) if exact.is_integer is False else exact)


def is_surely_less(a: Size, b: Size) -> bool:
    """Whether `a < b` whatever the size variables are; False where that depends on them.

    >>> (n,) = symbolic_sizes("n")
    >>> is_surely_less(n, n + 1), is_surely_less(n, 5)
    (True, False)
    """
    if type(a) is int and type(b) is int:
        return a < b
    return bool(_expand(b - a).is_positive)


@lru_cache(maxsize=65536)
def _canonical(size: Any) -> Size:
    result = _expand(_normalised(size))
    if result.is_Integer:
        result = int(result)
        if result >= 0:
            return result
    if isinstance(result, int) or result.is_negative:
        raise ShapeError(f"sizes cannot be negative: {result}", found=size)
    if result.is_integer is False:
        raise ShapeError(f"{result} is not an integer, so it is no size", expected="an integer", found=size)
    return result


def _normalised(size: Any) -> Any:
    """The same with our variables in place of a user's symbols of other assumptions, after checking what it is."""
    import sympy

    allowed = (sympy.Symbol, sympy.Rational, sympy.Add, sympy.Mul, sympy.Pow, sympy.floor)
    for part in sympy.preorder_traversal(size):
        if not isinstance(part, allowed) or (isinstance(part, sympy.Pow) and not part.exp.is_Integer):
            raise ShapeError(
                f"{size} is not a size",
                expected="sums, products and quotients of integers and size variables",
                found=size,
                hint=f"{part} cannot be part of one",
            )
    return size.xreplace({symbol: size_variable(symbol.name) for symbol in size.free_symbols})


def _expand(size: Any) -> Any:
    import sympy

    functions: Any = sympy  # it declares no types
    expanded = functions.expand(size)
    if expanded.has(functions.floor):
        expanded = functions.expand(expanded.replace(functions.floor, _floor))
    return expanded if expanded.is_polynomial() else functions.cancel(expanded)


def _floor(inside: Any) -> Any:
    """`floor(inside)` with all that is surely an integer taken out: floor(3*n/2 + 2) is n + 2 + floor(n/2)."""
    import sympy

    functions: Any = sympy
    whole, rest = functions.Integer(0), functions.Integer(0)
    for term in functions.Add.make_args(_expand(inside)):
        factor, of = term.as_coeff_Mul()
        integer_part = functions.floor(factor) if of.is_integer else functions.Integer(0)
        whole += integer_part * of
        rest += (factor - integer_part) * of
    return whole + functions.floor(rest)


def variables_of(sizes: Iterable[Size]) -> tuple[Any, ...]:
    """Size variables in sizes, in order of first use, those of one size by name."""
    found: dict[Any, None] = {}
    for size in sizes:
        if type(size) is not int:
            found.update(dict.fromkeys(sorted(cast("Any", size).free_symbols, key=str)))
    return tuple(found)


def replace_in_size(size: Size, values: Mapping[Any, Size]) -> Size:
    """A size with its variables replaced, all at once.

    >>> n, d = symbolic_sizes("n d")
    >>> replace_in_size(n * d + 1, {n: d, d: 2})
    2*d + 1
    """
    if type(size) is int:
        return size
    import sympy

    symbolic = cast("Any", size)
    present = {variable: sympy.sympify(values[variable]) for variable in symbolic.free_symbols if variable in values}
    return as_size(symbolic.xreplace(present)) if present else size


def map_sizes(value: Any, transform: Callable[[Size], Size]) -> Any:
    """A parameter of a node with every symbolic size in it transformed; the same object if it holds none."""
    if type(value) is tuple:
        items = cast("tuple[Any, ...]", value)
        mapped = tuple(map_sizes(item, transform) for item in items)
        return items if all(a is b for a, b in zip(mapped, items, strict=True)) else mapped
    return transform(value) if is_symbolic(value) else value


def symbolic_sizes_in(value: Any) -> list[Any]:
    """The symbolic sizes in a parameter of a node."""
    found: list[Any] = []
    if type(value) is tuple:
        for item in cast("tuple[Any, ...]", value):
            if item is not None and type(item) is not int:
                found += symbolic_sizes_in(item)
    elif is_symbolic(value):
        found.append(value)
    return found


def mismatch_hint(sizes: Iterable[Size], default: str) -> str:
    """The hint of an error about sizes that should be equal: for symbolic ones, how to say that they are."""
    if is_concrete(sizes):
        return default
    return "if they are meant to be equal, say so with rc.SetSymbolicShape(expr, shape), or bind the sizes first"


def size_text(size: Size) -> str:
    """A size as text that `parse_size` reads back; the same in every process.

    >>> n, d = symbolic_sizes("n d")
    >>> [size_text(size) for size in as_shape((3, n * (d + 1), d / n))]
    ['3', 'd*n + n', 'd/n']
    """
    return str(size)


def parse_size(text: str) -> Size:
    """The size that a text stands for. Nothing in it is executed.

    Args:
        text: integers and names with `+ - * / // **`, parentheses and `floor(...)`.

    Raises:
        ShapeError: it is anything else.

    >>> parse_size("seq*(d_head + 1)"), parse_size("12")
    (d_head*seq + seq, 12)
    """
    stripped = text.strip()
    if stripped.isascii() and stripped.isdigit():
        return int(stripped)
    try:
        if len(text) > _MAX_TEXT:
            raise ValueError(f"longer than {_MAX_TEXT} characters")
        return as_size(_value_of(ast.parse(stripped, mode="eval").body))
    except (ShapeError, SyntaxError, ValueError, RecursionError, MemoryError) as error:
        reason = error.problem if isinstance(error, ShapeError) else error
        raise ShapeError(
            f"{text[:80]!r} is not a size: {reason}", found=text, hint="for example 12, seq, n_heads*d_head, seq - 1"
        ) from error


_OPERATORS: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
}


def _value_of(part: ast.expr) -> Any:
    import sympy

    match part:
        case ast.Constant(value=value) if type(value) is int:
            return sympy.Integer(value)
        case ast.Name(id=name):
            return size_variable(name)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value_of(operand)
        case ast.BinOp(left=left, op=ast.Pow(), right=ast.Constant(value=exponent)) if type(exponent) is int:
            if exponent > _MAX_EXPONENT:
                raise ValueError(f"exponents go up to {_MAX_EXPONENT}")
            return _value_of(left) ** exponent
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            return _OPERATORS[type(op)](_value_of(left), _value_of(right))
        case ast.Call(func=ast.Name(id="floor"), args=[argument], keywords=[]):
            return sympy.floor(_value_of(argument))
        case _:
            raise ValueError(f"{ast.unparse(part)[:40]!r} cannot be part of one")
