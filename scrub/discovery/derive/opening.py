"""Calls of an exported model opened, as far as its residual stream and the embeddings of its tokens are in them."""

from __future__ import annotations

from collections.abc import Mapping

from scrub.discovery.derive.stream import skip_sums
from scrub.discovery.derive.walks import depending, opened, outside_bodies, reads, with_reads
from scrub.graph import Expr, GeneralFunction, Module, Symbol
from scrub.graph.functions.gen_index import GenIndex
from scrub.models.exported.recover.naming import qualified
from scrub.rewrite import substitute


def lookups(root: Expr, tokens: Symbol) -> list[GeneralFunction]:
    """The nodes that look up embeddings of tokens, in order of computation; none of them inside of calls."""
    raw = _raw(root, tokens)
    return [node for node in outside_bodies([root]) if isinstance(node, GeneralFunction) and _looks_up(node, raw)]


def opened_calls(root: Expr, tokens: Symbol) -> Expr:
    """The expression with every call inlined that reads tokens, or whose body has residual sums in it.

    What comes out of a call is called after it: "attn" of "h.1" becomes "h.1.attn", and so for every layer, though
    layers share one body.
    """
    known: dict[tuple[Expr, frozenset[Expr]], bool] = {}
    while True:
        raw, live = _raw(root, tokens), depending(root, {tokens})
        results: dict[Expr, Expr] = {}
        for node in outside_bodies([root]):
            new = with_reads(node, [results[child] for child in reads(node)])
            is_opened = isinstance(node, Module) and _hides(node, raw, live, known)
            results[node] = _inlined(new.cast(Module)) if is_opened else new
        if results[root] is root:
            return root
        root = results[root]


def _hides(call: Module, raw: set[Expr], live: set[Expr], known: dict[tuple[Expr, frozenset[Expr]], bool]) -> bool:
    """Whether a call reads tokens, or has residual sums in its body or, of its own shape, in calls of that.

    Args:
        call: the call.
        raw, live: what reads tokens directly, and at all.
        known: answers about bodies, which layers share.
    """
    if any(arg in raw for arg in call.args):
        return True
    given = {symbol: arg for symbol, arg in call.bindings.items() if arg in live}
    key = (call.body, frozenset(given))
    if key not in known:
        computed_from = _computed_from(given)
        within = opened(call.body, lambda _: True, list(given))
        sums = skip_sums(call.body, given, computed_from)
        known[key] = bool(sums) or any(node.shape == call.shape for node in skip_sums(within, given, computed_from))
    return known[key]


def _computed_from(given: Mapping[Symbol, Expr]) -> dict[Expr, list[Expr]]:
    """Parameter of a call -> those whose arguments are computed from its argument."""
    below = {symbol: set(outside_bodies([arg])) for symbol, arg in given.items()}
    return {
        symbol: [other for other, nodes in below.items() if given[other] is not arg and arg in nodes]
        for symbol, arg in given.items()
    }


def _inlined(call: Module) -> Expr:
    """The body with the call's name in its names; what is the call itself keeps that name."""
    body = qualified(call.body, call.name)
    inlined = substitute(call.with_children((body, *call.args)))
    return inlined.rename(body.name) if isinstance(body, Module) else inlined


def _raw(root: Expr, tokens: Symbol) -> set[Expr]:
    """The nodes that read tokens other than through embeddings."""
    raw: set[Expr] = set()
    for node in outside_bodies([root]):
        reads_raw = any(child in raw for child in reads(node))
        if node is tokens or (reads_raw and not _looks_up(node, raw)):
            raw.add(node)
    return raw


def _looks_up(node: Expr, raw: set[Expr]) -> bool:
    if not isinstance(node, GeneralFunction) or not isinstance(node.spec, GenIndex):
        return False
    table, index = node.children
    return index in raw and table not in raw
