"""Indices pushed down as far as they go."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from scrub.graph import Array, Expr, Index
from scrub.rewrite.iterative import IterativeMatcher, IterativeMatcherIn, restrict
from scrub.rewrite.rule import NoMatch, rewrite
from scrub.rewrite.rules.indexing.descent import Passage, passage
from scrub.rewrite.rules.indexing.entries import Entries, indexed, is_whole
from scrub.rewrite.rules.indexing.push import any_index
from scrub.rewrite.rules.indexing.through_array import push_index_through_array
from scrub.rewrite.states import State, next_for

Work = tuple[Expr, Entries, State | None]
"""Entries to be passed down from above a node, and where the traversal is there."""


def _choices(index: Index) -> Iterator[dict[str, Any]]:
    yield {}
    yield {"fold": index.numel != 0, "suffix": " cut"}  # all empty arrays are one, whatever their name
    yield {"traversal": restrict(True, end_depth=2)}


@rewrite(keeps="value", cases=any_index, choices=_choices)
def push_index_down(
    index: Index, *, traversal: IterativeMatcherIn = True, fold: bool = False, suffix: str | None = None
) -> Expr | NoMatch:
    """An index is pushed below what it picks from, and on from there, as far as it goes.

    Entries that pass a node go down; those that cannot stay above it. Indices on the way are taken up.

    Args:
        index: the index.
        traversal: the nodes it may pass, matched from the one it picks from; a path ends at the first that is not
            found. `new_traversal(term_early_at=...)` says how far.
        fold: work out an index that comes to an array.
        suffix: what is appended to the names of the nodes it passes, which are not the same any more; without it
            they have none.

    >>> from scrub.graph import Add, I, Scalar, softmax
    >>> a, b = Scalar(1.0, (2, 3), name="a"), Scalar(2.0, (2, 3), name="b")
    >>> probs = softmax(Add(a, b, name="scores"), name="probs")
    >>> push_index_down(Index(probs, I[0, 0:2], name="i"), suffix="[0]").print()
    'i' [2] Index [0:2]
      'probs[0]' [3] GeneralFunction softmax
        'scores[0]' [3] Add
          'a' [3] Scalar 1.0
          'b' [3] Scalar 2.0
    """
    (top,) = index.children
    start: Work = (top, index.entries, IterativeMatcher(traversal).state)
    stopped = _step(start)
    if isinstance(stopped, NoMatch) and not (fold and isinstance(top, Array)):
        return stopped
    results: dict[Work, Expr] = {}
    stack: list[tuple[Work, Passage | None, list[Work]]] = [(start, None, [])]
    while stack:
        work, passing, below = stack.pop()
        node, entries, _ = work
        if work in results:
            continue
        if passing is not None:
            name = None if suffix is None or node.name is None else node.name + suffix
            made = passing.plan.build([results[child] for child in below], name)
            results[work] = indexed(made, passing.above)
            continue
        step = _step(work)
        if isinstance(step, NoMatch):
            at_rest = indexed(node, entries)
            is_folded = fold and isinstance(node, Array) and isinstance(at_rest, Index)
            folded = push_index_through_array.attempt(at_rest) if is_folded else at_rest
            results[work] = at_rest if isinstance(folded, NoMatch) else folded
        else:
            passing, below = step
            stack.append((work, passing, below))
            stack.extend((child, None, []) for child in reversed(below) if child not in results)
    return results[start]


def _step(work: Work) -> tuple[Passage, list[Work]] | NoMatch:
    """How it passes the node, and what is then to be done below; or why it stays above."""
    node, entries, state = work
    if is_whole(entries):
        return NoMatch("it takes all of every axis")
    found, following = (False, None) if state is None else state.step(node)
    if not found:
        return NoMatch(f"the traversal does not find {node!r}")
    passing = passage(node, entries, partial=True)
    if isinstance(passing, NoMatch):
        return passing
    return passing, [(node.children[i], picked, next_for(following, i)) for i, picked in passing.plan.below]
