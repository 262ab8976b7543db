"""The parentheses classifier as an expression in which hypotheses can take hold of heads, positions and the mask.

See docs/parens.md for the names in it.
"""

from __future__ import annotations

from collections.abc import Mapping

from scrub.graph import CheckpointError, Expr, Symbol
from scrub.models import LoadedModel, configure_transformer
from scrub.models.splits import Groups, split_positions
from scrub.rewrite import IterativeMatcher, Matcher, Regex, directly_below, restrict, substitute_all_modules
from scrub.rewrite.rules import push_index_down

TOKENS, MASK = "tokens", "mask"
AT_0 = ".at0"
"""Ends the names of what is computed at position 0 alone."""
FINAL = f"final.norm.resid{AT_0}"
"""Name of the residual stream at position 0 that the final norm reads: a sum of all that was written to it."""
_HEAD_INPUT = Regex(r"^a\d+\.norm$")


def parens_expression(model: LoadedModel, *, positions: Mapping[int, Groups] | None = None) -> Expr:
    """The logits [2] of one sequence, of symbols "tokens" [42] int64 and "mask" [42].

    There are no modules left in it. What the final norm reads is computed at position 0 alone and is one sum with a
    term per head; heads read `a{layer}.norm`, at all positions, and the mask, each head on a path of its own.

    Args:
        model: a classifier that reads position 0, such as `load_shipped("parens")`; any size, any weights.
        positions: layer -> groups of positions into which what its heads read is split, as `split_positions` takes
            them. A group `p1` is a node `a{layer}.norm.p1`, and everything below it, down to what heads read, is
            computed at those positions alone: `a0.h0.p1` is what head 0.0 writes there.

    Raises:
        CheckpointError: the model reads more than position 0.

    >>> from scrub.models import load_shipped
    >>> logits = parens_expression(load_shipped("parens"), positions={2: {"p1": 1, "rest": [0, *range(2, 42)]}})
    >>> [term.name for term in logits.get_unique(FINAL).children][-5:]
    ['m1.b.out', 'a2.h0.at0', 'a2.h1.at0', 'm2.at0', 'm2.b.out']
    >>> [part.name for part in logits.get({"a2.norm.p1", "a2.norm.resid.p1", "a0.h0.p1"})]
    ['a2.norm.p1', 'a2.norm.resid.p1', 'a0.h0.p1']
    """
    a = model.architecture
    if not a.readout.reads_first or a.n_ctx is None:
        raise CheckpointError(
            "hypotheses on parentheses need a classifier that reads position 0",
            expected="reads_first, with a longest sequence",
            found=a.readout,
        )
    tokens, mask = (Symbol.new_from_name((a.n_ctx,), name) for name in (TOKENS, MASK))
    lowered = model.lower(seq_len=a.n_ctx)["t.bind_w"]
    split = configure_transformer(
        lowered, split_by_head_config="full", use_pull_up_head_split=True, use_flatten_res=True
    )
    logits = substitute_all_modules(model.call(tokens, attention_mask=mask, model=split, name="logits"))
    # Not below what heads read: a head reads it at position 0 for its query and everywhere for keys and values, and it
    # should be one node for all three.
    above = _above({_HEAD_INPUT})
    logits = logits.update("t.first", lambda first: push_index_down(first, traversal=above, suffix=AT_0))
    for layer, groups in (positions or {}).items():
        earlier: set[str | Regex] = {head_input(i) for i in range(layer)}
        logits = logits.update(f"a{layer}.norm", split_positions(groups, push=_above(earlier)))
    return logits


def into_final_norm(layer: int, head: int) -> IterativeMatcher:
    """A head's output at position 0, straight into the final norm.

    >>> from scrub.models import load_shipped
    >>> parens_expression(load_shipped("parens")).get(into_final_norm(2, 0))
    ('a2.h0.at0' [56] Einsum a,ab->b,)
    """
    return directly_below(FINAL) & IterativeMatcher(head_at_0(layer, head))


def head_at_0(layer: int, head: int) -> str:
    """Name of what a head writes at position 0.

    >>> head_at_0(2, 1)
    'a2.h1.at0'
    """
    return f"a{layer}.h{head}{AT_0}"


def head_input(layer: int, group: str | None = None) -> str:
    """Name of what the heads of a layer read, or of one of the groups that it is split into.

    >>> head_input(2), head_input(2, "p1")
    ('a2.norm', 'a2.norm.p1')
    """
    return f"a{layer}.norm" if group is None else f"a{layer}.norm.{group}"


def head_mask() -> IterativeMatcher:
    """The padding mask that a head reads itself, not those of heads further below: to be chained to a head.

    >>> from scrub.models import load_shipped
    >>> logits = parens_expression(load_shipped("parens"))
    >>> logits.get(into_final_norm(2, 0).chain(head_mask()))
    ('mask' [42] Symbol 4004ecc1,)
    """
    return restrict(MASK, term_early_at=_HEAD_INPUT)


def _above(nodes: set[str | Regex]) -> IterativeMatcher:
    """Everything above these nodes."""
    return restrict(~Matcher(nodes), term_early_at=nodes)
