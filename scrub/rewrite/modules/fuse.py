"""A call of a function that is itself a call, as one call."""

from __future__ import annotations

from scrub.graph import BatchError, Expr, Module, Symbol, rebuild_batched
from scrub.graph.rules import uuid_from_name
from scrub.rewrite.matcher import Matcher, MatcherIn
from scrub.rewrite.modules.cases import call_of_call
from scrub.rewrite.modules.parameters import (
    Parameter,
    along_own_batch,
    bind_apart,
    call_of,
    parameters_of,
    with_symbol,
)
from scrub.rewrite.rule import NoMatch, rewrite


@rewrite(keeps="value", cases=call_of_call)
def fuse(module: Module, *, dissolve: MatcherIn = True) -> Expr | NoMatch:
    """A module whose body is a module becomes one module with the parameters of both.

        (s -> (t -> body)(f(s)))(x)  ->  ((t, s) -> body)(f(x), x)

    Parameters of the outer one that the inner body does not use go, unless their batch axes shape the result. Where
    two have the same name, the outer one's gets a number behind it.

    Args:
        module: the outer module.
        dissolve: which inner modules may be taken apart; all if not given.

    >>> from scrub.graph import Add, Scalar
    >>> s, t = Symbol.new_from_name((), "s"), Symbol.new_from_name((), "t")
    >>> inner = Module.from_bindings(Add(s, t, name="s + t"), {t: Add(s, s, name="twice")})
    >>> fuse(Module.from_bindings(inner, {s: Scalar(1.0, name="x")}, "call")).print()
    'call' [] Module
      's + t' [] Add
        's' [] Symbol ...
        't' [] Symbol ...
      'twice' [] Add ! 't'
        'x' [] Scalar 1.0
        'x'
      'x' ! 's'
    """
    inner = module.body
    if not isinstance(inner, Module):
        return NoMatch("its body is not a module")
    if not Matcher(dissolve)(inner):
        return NoMatch(f"its body {inner!r} may not be taken apart")
    bound = module.bindings
    try:
        args = [bind_apart(arg, bound) for arg in inner.args]
        moved = rebuild_batched(inner, (inner.body, *args)).cast(Module)
    except BatchError as error:
        return NoMatch(f"the arguments of {inner!r} cannot take the batch axes: {error.problem}")
    gained = moved.ndim - inner.ndim
    own_batch = moved.shape[gained : gained + inner.num_batch]

    def entering(spec_and_arg: Parameter) -> Parameter:
        spec, arg = spec_and_arg
        return spec, along_own_batch(arg, arg.ndim - spec.symbol.ndim, own_batch)

    outer = [parameter for parameter in parameters_of(module) if parameter[0].symbol not in inner.bindings]
    seen = [entering(parameter) for parameter in outer if parameter[0].symbol in inner.body.free_symbols]
    fused = call_of(inner.body, [*parameters_of(moved), *seen], module.name)
    if fused.ndim < module.ndim:  # an argument that is not used any more brought the batch axes in front
        widest = max(parameters_of(module), key=lambda parameter: parameter[1].ndim - parameter[0].symbol.ndim)
        spec, arg = entering(widest)
        unused = Symbol(spec.symbol.shape, uuid_from_name(f"unused {spec.symbol.digest}"), spec.symbol.name)
        batch = (with_symbol(spec, unused), arg)
        fused = call_of(inner.body, [*parameters_of(moved), *seen, batch], module.name)
    return fused
