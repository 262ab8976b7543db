"""Path helpers: which routes from a reader down to a writer a node of a hypothesis is about, without depth windows.

A place of a hypothesis is a path. These say which paths in the words of the field: straight into a reader, by any
route, not through a head; the input of a head at a position; its mask. They are plain matchers and chain like any.
They go by the names of lowered transformers (docs/models.md), split by head, flat or not.
"""

from __future__ import annotations

from collections.abc import Set
from typing import Any, Literal, cast

from scrub.graph import Add, Concat, ConstructionError, Index
from scrub.rewrite import IterativeMatcher, Matcher, Regex, restrict
from scrub.rewrite import not_through as not_passing
from scrub.rewrite.iterative import IterativeMatcherIn

Part = Literal["q", "k", "v", "all"]
"""Which of a head's inputs."""

_PARTS: tuple[Part, ...] = ("q", "k", "v")
_OF_PARTS = {part: frozenset({f"a.{part}.input", f"a.{part}.recip_rms"}) for part in _PARTS}
"""Parameters of a head's module that lead to the stream. OLMo 2 norms the queries of all heads together."""
# In a `Regex`, `.` is a dot and `\.` any character.
_STREAM = Regex(r"^([am][0-9]+.norm|b[0-9]+(.mid(_norm)?)?)$|.resid(.|$)")
"""What norms read, and what parameters stand for where modules have been substituted: the stream, a layer's norm."""
_INPUTS = Matcher(frozenset[str]().union(*_OF_PARTS.values()), {"m.input"}, _STREAM)
"""Where readers take in the stream. Not `ln.input`: queries and keys may have norms too, inside a head."""
# Norms are no components: they are part of what reads, or belong to what was written, or to the stream (BERT).
_OF_LAYER = r"([0-9]+(?!\.*.(norm|out_norm|p_bias|input|resid)(.|$))(.\.*)?)?$"
_ATTENTION, _MLP = Regex(f"^a{_OF_LAYER}"), Regex(f"^m{_OF_LAYER}")
_MASK = Regex("^a.mask(.|$)")
_HERE = restrict(True, end_depth=1)


def straight(writer: IterativeMatcherIn, *, into: IterativeMatcherIn | None = None) -> IterativeMatcher:
    """What a component writes to the residual stream as a reader reads it: through no attention or MLP in between.

    What the path may pass: sums, the biases and norms behind a layer, norms on the stream (BERT), the reader's own
    norm, positions that are picked. What is found is the topmost place on a path.

    Args:
        writer: a head "a0.h1", a group "a0.prev", an MLP "m0", the embeddings "t.input", or any matcher.
        into: the reader: "final.norm", a head, an MLP, or a matcher such as `input_of("a1.h0", "v")`. If not given,
            what this is chained to.

    >>> from scrub.models import configure_transformer, load_shipped
    >>> bind_w = load_shipped("attn_only_2l").lower(seq_len=4)["t.bind_w"]
    >>> split = configure_transformer(bind_w, split_by_head_config="full", use_pull_up_head_split=True)
    >>> every, few = IterativeMatcher("final.norm").chain("a0.h3"), straight("a0.h3", into="final.norm")
    >>> split.count_paths(every, see_through=True) > 8 * split.count_paths(few, see_through=True)
    True
    """
    return _below(into, _topmost(writer, below=_components(writer)))


def by_any_route(
    writer: IterativeMatcherIn,
    *,
    into: IterativeMatcherIn | None = None,
    not_through: IterativeMatcherIn | None = None,
) -> IterativeMatcher:
    """A component as a reader reads it by whatever route: the topmost place on each path.

    Args:
        writer, into: as for `straight`.
        not_through: what no route may pass below the reader: "a0.h0", {"a0.h0", "m0"}, or any matcher.

    >>> embeds = by_any_route("t.input", into=input_of("a2.h0"), not_through="a0.h0")
    """
    found = restrict(writer, term_if_matches=True)
    return _below(into, found if not_through is None else not_passing(not_through) & found)


def input_of(reader: IterativeMatcherIn | None = None, part: Part = "all") -> IterativeMatcher:
    """What a reader takes in of the residual stream, not what readers further below take in.

    What is found is a parameter of the reader's module, which is one place with what is bound to it, so walks have to
    see through modules, as hypotheses do. Where modules have been substituted, it is the norm before the reader, or the
    stream if there is none; which of queries, keys and values reads it is not told apart there.

    Args:
        reader: a head or group of heads, an MLP or "final.norm"; if not given, what this is chained to.
        part: of a head "q", "k" or "v", what it makes queries, keys or values of.

    >>> value_tokens = input_of("a1.h0", "v").chain("tokens")
    """
    own = _INPUTS if part == "all" else _OF_PARTS[part]
    return _below(reader, restrict(own, term_early_at=_INPUTS))


def at_position(position: int) -> IterativeMatcher:
    """The part at a position of what this is chained to: below it the topmost node named `{...}.p{position}`.

    There is one where something was split by position (`split_input_by_position`, `split_positions`). Parts of what
    components further below read or write are not found.

    Args:
        position: counted from 0; parts are named so.

    >>> first = input_of("a2.h0").chain(at_position(1))
    """
    if position < 0:
        raise ConstructionError(
            f"at_position: {position} is no name of a part", expected="0 or more", found=position, hint="seq_len - 1"
        )
    return _below(None, _topmost(Regex(f".p{position}$"), below=_components(())))


def mask_of(head: IterativeMatcherIn | None = None, *, named: str | None = None) -> IterativeMatcher:
    """The attention mask that a head reads itself, with the padding in it; not those of heads further below.

    Args:
        head: a head or group of heads; if not given, what this is chained to.
        named: name of the leaf that is the mask, to find this instead of the parameter `a.mask` of the head's module;
            where modules have been substituted there is no parameter.

    >>> padding = mask_of("a1.h0")
    """
    return _below(head, restrict(_MASK if named is None else named, term_early_at=_INPUTS))


def _below(start: IterativeMatcherIn | None, found: IterativeMatcher) -> IterativeMatcher:
    """What is found strictly below what `start` finds, or below what the result is chained to."""
    return (_HERE if start is None else IterativeMatcher(start)).chain(found, must_be_sub=True)


def _topmost(writer: IterativeMatcherIn, *, below: Matcher) -> IterativeMatcher:
    return restrict(restrict(writer, term_early_at=below), term_if_matches=True)


def _components(writer: IterativeMatcherIn) -> Matcher:
    """Attention and MLPs, which a straight path does not pass.

    A sum `a0` of heads, or what a split makes of a head, is what was written and no other component; an MLP may be a
    sum by itself (of experts), so of MLPs that is so only if the writer has a name within it: "m0.facts".
    """
    given: list[Any] = (
        [writer] if isinstance(writer, str) else list(cast(Any, writer)) if isinstance(writer, Set) else []
    )
    parts = [name.split(".") for name in given if isinstance(name, str)]
    of_writer = {".".join(part[:n]) for part in parts for n in range(1, len(part))}
    attention = Matcher(_ATTENTION) & ~Matcher(Add, Concat, Index)
    return (attention | Matcher(_MLP)) & ~Matcher(of_writer)
