"""`recover_structure`: all rules that recover structure, to a fixed point."""

from __future__ import annotations

from scrub.graph import Expr
from scrub.models.exported.recover.cores import name_attention
from scrub.models.exported.recover.heads import call_heads
from scrub.models.exported.recover.normal import OUTSIDE_RECOVERED, normal_form
from scrub.models.exported.recover.norms import recover_norms
from scrub.models.exported.recover.residual import flatten_residual, open_block
from scrub.rewrite import simplify


def recover_structure(expr: Expr, *, dissolve_blocks: bool = False) -> Expr:
    """The same function, with the structure of a transformer: heads, norms and residual sums are there to be found.

    - Linear layers are einsums under the names of their modules. Heads are axes of their own, of views of the weights;
      a fused projection is one einsum for each part.
    - Attention is a sum over calls of a head, `a.head.on_inp`, as in lowered models, so that `split_heads` applies.
    - Norms are calls with the parameters `ln.input`, `ln.w` and `ln.b`.
    - What a reader of the residual stream reads is one sum.

    A body that several calls share is rewritten once. What is not recognised stays as it is.

    Args:
        expr: what `from_torch` gives, or anything of the same form.
        dissolve_blocks: inline the calls of residual blocks, so that what a reader reads is one sum of what all blocks
            before it wrote. Names in a block are then prefixed by its own.

    >>> from scrub.graph import Add, Einsum, Rearrange, Symbol
    >>> x, w = Symbol.new_from_name((5, 8), "x"), Symbol.new_from_name((6, 8), "w")
    >>> heads = Rearrange(Einsum.from_string("s d, f d -> s f", x, w, name="q_proj"), "s (h e) -> h s e", h=2)
    >>> recover_structure(heads)
    'q_proj' [2, 5, 3] Einsum ab,cdb->cad
    """
    seen: set[Expr] = set()
    while expr not in seen:
        seen.add(expr)
        expr = recover_norms(normal_form(expr))
        if dissolve_blocks:
            expr = open_block.everywhere(expr)
        expr = simplify(call_heads.everywhere(expr), [flatten_residual], keep_names=False, traversal=OUTSIDE_RECOVERED)
    return name_attention(expr)
