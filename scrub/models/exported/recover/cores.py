"""Attention that is spread over modules: one that combines values, and another that has the linear layer for them."""

from __future__ import annotations

from scrub.graph import Einsum, Expr, Module, Rearrange
from scrub.models.exported.recover import cases
from scrub.models.exported.recover.naming import qualified
from scrub.models.exported.recover.pattern import Core, find_core
from scrub.models.exported.recover.rules import recovers
from scrub.rewrite import NoMatch, substitute


@recovers(cases=cases.attention_in_parts)
def open_attention(module: Module) -> Expr | NoMatch:
    """A call whose result is heads put side by side, or that is given them, is inlined: so these meet their weight.

        output(self(x), ...) -> (b h s e -> b s (h e))(softmax(...) v) W + ...

    Names in the module get its own in front.

    >>> from scrub.rewrite.testing import Maker
    >>> call = cases.attention_in_parts(Maker("an example"))
    >>> isinstance(open_attention(call), Module)
    False
    """
    if is_merged_core(module.body) or any(map(is_merged_core, module.args)):
        return substitute(module.with_children((qualified(module.body, module.name), *module.args)))
    return NoMatch("neither its result nor what it is given are heads of attention side by side")


def is_merged_core(expr: Expr) -> bool:
    """Whether it is the result of attention, with heads and their axes merged."""
    if not isinstance(expr, Rearrange) or all(len(group) < 2 for group in expr.right):
        return False
    (child,) = expr.children
    return isinstance(child, Einsum) and isinstance(find_core(child), Core)
