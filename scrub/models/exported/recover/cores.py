"""Attention that no call of heads was made of: spread over modules, or without a linear layer for what it combines."""

from __future__ import annotations

from scrub.graph import Einsum, Expr, Module, Rearrange, postorder, rebuild
from scrub.models.exported.recover import cases
from scrub.models.exported.recover.naming import qualified
from scrub.models.exported.recover.pattern import COMBINED, Core, find_core, names_of_parts
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


def name_attention(expr: Expr) -> Expr:
    """Names for the parts of every attention, those that they have within a head: `a.scores`, `a.attn_probs`, ...

    Where something is left of it after `call_heads`: there is one head only, or no linear layer that sums over heads.

    >>> from scrub.graph import Symbol, softmax
    >>> q, k, v = (Symbol.new_from_name((5, 4), name) for name in "qkv")
    >>> scores = Einsum.from_string("q e, k e -> q k", q, k)
    >>> name_attention(Einsum.from_string("q k, k e -> q e", softmax(scores), v)).print(max_depth=3)
    'a.comb_v' [5, 4] Einsum ab,bc->ac
      'a.attn_probs' [5, 5] GeneralFunction softmax
        'a.scores' [5, 5] Einsum ab,cb->ac
          'q' [5, 4] Symbol ...
          'k' [5, 4] Symbol ...
      'v' [5, 4] Symbol ...
    """
    names: dict[Expr, str] = {}
    for node in postorder([expr]):
        core = find_core(node) if isinstance(node, Einsum) and node.name != COMBINED else None
        if isinstance(core, Core):
            names |= names_of_parts(core)
    if not names:
        return expr
    return rebuild([expr], lambda node, new: node.with_children(new).rename(names.get(node, node.name)))[expr]
