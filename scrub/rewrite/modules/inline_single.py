"""Functions that are called once, inlined."""

from __future__ import annotations

from collections import Counter

from scrub.graph import Expr, Module, postorder
from scrub.rewrite.inlining import inline
from scrub.rewrite.matcher import Matcher, MatcherIn
from scrub.rewrite.modules.parameters import substitute_apart


def inline_single_callsite(expr: Expr, *, dissolve: MatcherIn = True) -> Expr:
    """Every module inlined whose spec no other module in the expression calls.

    Calls of one spec are counted as distinct modules, wherever they are: a call inside a body that is itself called
    many times counts once. What is called several times stays a call, unless it must be inlined with a module around
    it whose argument brings batch axes into its body.

    Args:
        expr: what to rewrite, as a whole.
        dissolve: which of these modules may be inlined; all if not given.

    >>> from scrub.graph import Add, ModuleSpec, Scalar, Symbol
    >>> s = Symbol.new_from_name((), "s")
    >>> once, often = (ModuleSpec(Add(s, s, name=name), [s]) for name in ("once", "often"))
    >>> whole = Module(once, "a", s=Module(often, "b", s=Module(often, "c", s=Scalar(1.0))))
    >>> inline_single_callsite(whole).get(Module)
    ('b' [] Module, 'c' [] Module)
    """
    modules = [node for node in postorder([expr]) if isinstance(node, Module)]
    num_calls = Counter((module.body, module.params) for module in modules)
    may = Matcher(dissolve)
    chosen = {module for module in modules if num_calls[module.body, module.params] == 1 and may(module)}
    return inline(expr, chosen, substitute_apart)
