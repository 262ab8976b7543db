"""Solving for size variables: what sizes a module's parameters have in a call.

Each parameter axis with a symbolic size gives one equation, the size = the argument's. Equations with one unknown are
solved, size variables that stand alone first, until nothing is unknown. Arguments may have symbolic sizes too; a
variable of the parameters is then another one than the variable of the same name outside.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from scrub.graph.errors import ModuleBindingError, ShapeError
from scrub.graph.expr import Expr
from scrub.graph.sizes import (
    Shape,
    Size,
    as_size,
    is_symbolic,
    mismatch_hint,
    replace_in_size,
    variables_of,
)


@dataclass(frozen=True)
class Equation:
    """One axis of a parameter and of its argument.

    Attributes:
        symbol, arg: the parameter and the argument.
        axis: counted from the end.
    """

    symbol: Expr
    arg: Expr
    axis: int

    @property
    def size(self) -> Size:
        """The parameter's size."""
        return self.symbol.shape[self.axis]

    @property
    def found(self) -> Size:
        """The argument's."""
        return self.arg.shape[self.axis]


def decidable(shapes: Sequence[Shape], rigid: Collection[Any]) -> tuple[Any, ...]:
    """The size variables that arguments of these shapes decide, except rigid ones, in the order they are decided.

    >>> from scrub.graph.sizes import symbolic_sizes
    >>> n, d, k, m = symbolic_sizes("n d k m")
    >>> decidable([(n * d,), (d, m), (k * m * n + 1, n - 2)], {m})
    (d, n, k)
    """
    known: dict[Any, None] = {}
    sizes: list[Any] = [size for shape in shapes for size in shape if is_symbolic(size)]
    pending = sorted(sizes, key=lambda size: not size.is_Symbol)
    while True:
        before = len(known)
        for size in pending:
            unknown = [v for v in variables_of([size]) if v not in known and v not in rigid]
            if len(unknown) == 1 and not _is_inside_floor(size, unknown[0]):
                known[unknown[0]] = None
        if len(known) == before:
            return tuple(known)


def solve_sizes(what: str, pairs: Sequence[tuple[Expr, Expr]], variables: Collection[Any]) -> dict[Any, Size]:
    """Values of the size variables.

    Args:
        what: the call, for errors.
        pairs: parameters and arguments, with as many axes or more in front.
        variables: what to solve for; other variables are the same in parameters and arguments.

    Raises:
        ModuleBindingError: an equation has no solution in sizes, or contradicts another.

    >>> from scrub.graph import Scalar, Symbol
    >>> from scrub.graph.sizes import symbolic_sizes
    >>> n, d = symbolic_sizes("n d")
    >>> solve_sizes("call", [(Symbol.new_from_name((n * d, n), "w"), Scalar(1.0, (12, d + 0)))], [n, d])[n]
    d
    """
    known: dict[Any, Size] = {}
    source: dict[Any, Equation] = {}
    equations = [Equation(symbol, arg, axis) for symbol, arg in pairs for axis in range(-symbol.ndim, 0)]
    pending = sorted(equations, key=lambda e: e.size not in variables)
    while pending:
        waiting: list[Equation] = []
        for equation in pending:
            unknown = [v for v in variables_of([equation.size]) if v in variables and v not in known]
            if not unknown:
                _check(what, equation, known, source)
            elif len(unknown) > 1:
                waiting.append(equation)
            else:
                value = _solve_one(what, equation, unknown[0], known, source)
                if value is None:
                    waiting.append(equation)
                else:
                    known[unknown[0]], source[unknown[0]] = value, equation
        if len(waiting) == len(pending):
            raise _undecided(what, waiting, [v for v in variables if v not in known])
        pending = waiting
    return known


def _check(what: str, equation: Equation, known: Mapping[Any, Size], source: Mapping[Any, Equation]) -> None:
    try:
        size = replace_in_size(equation.size, known)
    except ShapeError:
        raise _contradiction(what, equation, equation.size, known, source) from None
    if size != equation.found:
        raise _contradiction(what, equation, size, known, source)


def _solve_one(
    what: str, equation: Equation, variable: Any, known: Mapping[Any, Size], source: Mapping[Any, Equation]
) -> Size | None:
    """The variable's value; None where this equation does not decide it."""
    import sympy

    functions: Any = sympy  # it declares no types
    size: Any = equation.size
    if size == variable:
        return equation.found
    if _is_inside_floor(equation.size, variable):
        return None
    unknown = sympy.Dummy("unknown")
    values: dict[Any, Any] = {v: sympy.sympify(value) for v, value in known.items()} | {variable: unknown}
    difference = functions.together(size.xreplace(values) - equation.found)
    polynomial = functions.Poly(functions.fraction(difference)[0], unknown)
    if polynomial.is_zero:
        return None
    solutions: set[Any] = set()
    for root in functions.roots(polynomial):
        try:
            solution = as_size(root)
        except ShapeError:  # negative, or no whole number
            continue
        if type(solution) is int or not cast("Any", solution).is_nonpositive:  # -m is none where m is a size
            solutions.add(solution)
    if len(solutions) != 1:
        raise _contradiction(what, equation, size, known, source)
    return solutions.pop()


def _is_inside_floor(size: Any, variable: Any) -> bool:
    import sympy

    return any(variable in part.free_symbols for part in size.atoms(sympy.floor))


def _contradiction(
    what: str, equation: Equation, size: Size, known: Mapping[Any, Size], source: Mapping[Any, Equation]
) -> ModuleBindingError:
    symbol, arg, axis = equation.symbol, equation.arg, equation.axis
    used = [v for v in variables_of([equation.size]) if v in known]
    problem = f"{what}: axis {axis} of parameter {symbol.name!r} is {equation.size}, {arg!r} has {equation.found} there"
    for variable in used:
        decided = source[variable]
        problem += f"; {variable} is {known[variable]} in axis {decided.axis} of argument {decided.symbol.name!r}"
    return ModuleBindingError(
        problem,
        nodes=[symbol, arg, *(source[v].arg for v in used)],
        axis=axis,
        expected=size,
        found=equation.found,
        hint=mismatch_hint([equation.found], "sizes of one name must agree in all arguments, and be whole numbers"),
    )


def _undecided(what: str, waiting: Sequence[Equation], unknown: Sequence[Any]) -> ModuleBindingError:
    first = waiting[0]
    return ModuleBindingError(
        f"{what}: the arguments do not decide the size {unknown[0]}",
        nodes=[node for equation in waiting for node in (equation.symbol, equation.arg)],
        axis=first.axis,
        expected=first.size,
        found=first.found,
        hint=f"give the module a parameter with an axis of size {unknown[0]}",
    )
