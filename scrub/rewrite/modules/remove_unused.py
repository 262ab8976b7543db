"""Parameters that nobody uses."""

from __future__ import annotations

from scrub.graph import Expr, Module
from scrub.graph.rearrange import repeat_axes
from scrub.rewrite.modules.cases import call_with_unused
from scrub.rewrite.modules.parameters import parameters_of
from scrub.rewrite.rule import NoMatch, rewrite


@rewrite(keeps="value", cases=call_with_unused)
def remove_unused_inputs(module: Module) -> Expr | NoMatch:
    """Parameters that the body does not use are dropped, and the module with its last one.

        ((s, t) -> s * s)(x, y)  ->  (s -> s * s)(x)

    The batch axes of an argument shape the result also where it is not used (SPEC 4.2): where only dropped ones have
    an axis, what is left is repeated along it.

    >>> from scrub.graph import Scalar, Symbol
    >>> s, t = Symbol.new_from_name((), "s"), Symbol.new_from_name((), "t")
    >>> call = Module.from_bindings(s.mul(s, name="square"), {s: Scalar(2.0, name="x"), t: Scalar(1.0, (5,))}, "call")
    >>> remove_unused_inputs(call).print()
    'call' [5] Rearrange ...
      call(square, x) [] Module
        'square' [] Einsum ,->
          's' [] Symbol ...
          's'
        'x' [] Scalar 2.0 ! 's'
    """
    used = [parameter for parameter in parameters_of(module) if parameter[0].symbol in module.body.free_symbols]
    if len(used) == len(module.args):
        return NoMatch("the body uses every parameter")
    result = module.body
    if used:
        result = Module.make((module.body, *(arg for _, arg in used)), tuple(spec for spec, _ in used), None)
    return repeat_axes(result, module.shape[: module.ndim - result.ndim])
