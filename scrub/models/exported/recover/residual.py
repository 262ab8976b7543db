"""Residual sums: one sum of everything that was written, for each reader; and blocks dissolved, so that it shows."""

from __future__ import annotations

from scrub.graph import Add, Einsum, Expr, Module, Symbol
from scrub.models.exported.recover import cases
from scrub.models.exported.recover.naming import qualified
from scrub.models.exported.recover.rules import recovers
from scrub.models.exported.recover.views import is_view
from scrub.rewrite import NoMatch, substitute


@recovers(cases=cases.residual)
def flatten_residual(add: Add) -> Expr | NoMatch:
    """A sum of sums of activations becomes one sum, as deep as they go. What a layer adds its bias to stays one term.

        ((embeds + attn) + mlp_bias + mlp)  ->  embeds + attn + mlp

    >>> x, y, z = (Symbol.new_from_name((5, 8), name) for name in "xyz")
    >>> [term.name for term in flatten_residual(Add(Add(x, y), z, name="resid")).children]
    ['x', 'y', 'z']
    """
    if not is_residual(add):
        return NoMatch("it adds no activations")
    terms: list[Expr] = []
    stack = list(reversed(add.children))
    while stack:
        term = stack.pop()
        if isinstance(term, Add) and term.shape == add.shape and is_residual(term):
            stack.extend(reversed(term.children))
        else:
            terms.append(term)
    return Add(*terms) if len(terms) > len(add.children) else NoMatch("no term is a sum of activations")


@recovers(cases=cases.block)
def open_block(block: Module) -> Expr | NoMatch:
    """The call of a residual block, which adds to one of its inputs, is inlined. Names in it get that of the block.

        (x -> x + attn(x))("h.0", r)  ->  r + h.0.attn(r)

    >>> from scrub.graph import ModuleSpec, elementwise
    >>> x = Symbol.new_from_name((5, 8), "x")
    >>> spec = ModuleSpec(Add(x, elementwise("tanh", x, name="mlp")), [x])
    >>> open_block(Module(spec, "h.0", x=Symbol.new_from_name((5, 8), "r"))).children
    ('r' [5, 8] Symbol ..., 'h.0.mlp' [5, 8] GeneralFunction tanh)
    """
    body = block.body
    if not isinstance(body, Add) or not is_residual(body):
        return NoMatch("it is no sum of activations")
    if not any(isinstance(term, Symbol) and term in block.bindings for term in _terms(body)):
        return NoMatch("it does not add to an input")
    return substitute(block.with_children((qualified(body, block.name), *block.args)))


def is_residual(add: Add) -> bool:
    """Whether at least two terms are as large as the sum, and none is the bias of a layer."""
    whole = [term for term in add.children if term.shape == add.shape]
    return add.ndim > 0 and len(whole) > 1 and not _is_layer(add)


def _is_layer(add: Add) -> bool:
    """Whether it is a product with a weight, plus a bias."""
    products = [t for t in add.children if isinstance(t, Einsum) and any(map(is_view, t.children))]
    return len(products) == 1 and len(add.children) == 2 and any(is_view(t) and t.ndim < 2 for t in add.children)


def _terms(add: Add) -> list[Expr]:
    terms: list[Expr] = []
    stack: list[Expr] = [add]
    while stack:
        term = stack.pop()
        if isinstance(term, Add) and is_residual(term):
            stack.extend(term.children)
        else:
            terms.append(term)
    return terms
