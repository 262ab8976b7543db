"""Making module calls, and asking what an expression leaves unbound."""

from __future__ import annotations

from scrub.graph import Expr, Module, ModuleBindingError, Symbol


def get_free_symbols(expr: Expr) -> tuple[Symbol, ...]:
    """Symbols that nothing in the expression binds, in order of first visit.

    >>> x = Symbol.new_from_name((2,), "x")
    >>> [symbol.name for symbol in get_free_symbols(x.add(x))]
    ['x']
    """
    return expr.free_symbols


def module_new_bind(expr: Expr, *bindings: tuple[str | Symbol, Expr], name: str | None = None) -> Module:
    """A module with `expr` as body and some of its free symbols bound, each given itself or by name.

    >>> from scrub.graph import Scalar
    >>> x = Symbol.new_from_name((2,), "x")
    >>> module_new_bind(x.add(x), ("x", Scalar(1.0, (2,))), name="call").free_symbols
    ()
    """
    bound: dict[Symbol, Expr] = {}
    for key, value in bindings:
        matching = [s for s in expr.free_symbols if key in (s, s.name)]
        if len(matching) != 1:
            names = [s.name for s in expr.free_symbols]
            problem = "has no free symbol" if not matching else f"has {len(matching)} free symbols"
            raise ModuleBindingError(
                f"module_new_bind: {expr!r} {problem} {key!r}",
                nodes=[expr, *matching],
                expected=names,
                found=key,
                hint=f"its free symbols are {names}",
            )
        if matching[0] in bound:
            raise ModuleBindingError(f"module_new_bind: {key!r} is bound twice", nodes=[expr], found=key)
        bound[matching[0]] = value
    return Module.from_bindings(expr, bound, name)
