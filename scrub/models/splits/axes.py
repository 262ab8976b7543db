"""Splitting an activation along an axis, into named parts: by position, for example.

x  ->  [x[0:2], x[2:4], ...]
"""

from __future__ import annotations

from collections.abc import Callable

from scrub.graph import Concat, Expr, Index
from scrub.graph.errors import SplitError
from scrub.models.splits.partition import Groups, every_position, partition
from scrub.rewrite.iterative import IterativeMatcherIn
from scrub.rewrite.rules import push_index_down, split_to_concat

Axis = int | str
"""An axis of a node: by number, negative ones from the end, or by name."""


def split_positions(groups: Groups, *, axis: Axis = -2, push: IterativeMatcherIn = False) -> Callable[[Expr], Expr]:
    """A transform for `update`: an activation [.., seq, d] as a concat of named groups of its positions.

        x  ->  [x.subject, x.verb, x.rest]

    A part of `x` is named `x.{label}`, so that what a reader takes from one position can be addressed:
    `IterativeMatcher("x.subject")`. Where the groups are not in order, the concat is put in order by an index.

    Args:
        groups: label -> positions, or pairs (positions, label), which partition the axis; "full" for `p0`, `p1`, ...
        axis: which holds the positions: the one before the last if not given. Give a negative number, or a name, where
            the node may have batch axes in front.
        push: which nodes an index by a group may pass on its way down, where it can: True for as far as it goes, so
            that each part is computed by itself. See `push_index_down`, whose `traversal` this is; nodes that it
            passes are named `{name}.{label}`.

    Raises:
        SplitError: the node has no such axis, or the groups do not partition it.

    >>> import torch
    >>> from scrub.graph import Array, elementwise
    >>> resid = elementwise("tanh", Array(torch.zeros(5, 8), "x"), name="resid")
    >>> split_positions({"bos": 0, "subject": slice(1, 3), "rest": [3, 4]})(resid).print(max_depth=1)
    'resid' [5, 8] Concat axis=0
      'resid.bos' [1, 8] Index [0:1, :] ...
      'resid.subject' [2, 8] Index [1:3, :] ...
      'resid.rest' [2, 8] Index [3:5, :] ...
    """
    return _splitter("split_positions", groups, axis, "position", push)


def split_axis(
    groups: Groups, *, axis: Axis, noun: str = "position", push: IterativeMatcherIn = False
) -> Callable[[Expr], Expr]:
    """A transform for `update`: a node as a concat of named groups along any of its axes.

    Args:
        groups: as for `split_positions`; "full" gives names of the first letter of `noun` and the position.
        axis: by number or name.
        noun: what lies along the axis, for errors and names: "head", "neuron".
        push: as for `split_positions`.

    Raises:
        SplitError: the node has no such axis, or the groups do not partition it.

    >>> import torch
    >>> from scrub.graph import Array
    >>> x = Array(torch.zeros(5, 3), "x", axis_names=("pos", "head"))
    >>> [part.name for part in split_axis("full", axis="head", noun="head")(x).children]
    ['x.h0', 'x.h1', 'x.h2']
    """
    return _splitter("split_axis", groups, axis, noun, push)


def axis_number(what: str, expr: Expr, axis: object) -> int:
    """An axis of a node, counted from 0.

    Raises:
        SplitError: the node has no such axis, or several of that name.

    >>> from scrub.graph import Scalar
    >>> axis_number("split", Scalar(1.0, (2, 3), axis_names=("pos", None)), "pos")
    0
    """
    if isinstance(axis, str):
        found = [i for i, name in enumerate(expr.axis_names) if name == axis]
        if len(found) == 1:
            return found[0]
        names = [name for name in expr.axis_names if name is not None]
        problem = f"{'no axis is' if not found else f'axes {found} are all'} named {axis!r}"
        hint = f"its axes are named {names}" if names else "its axes have no names; give the axis by number"
    elif isinstance(axis, int) and not isinstance(axis, bool):
        if -expr.ndim <= axis < expr.ndim:
            return axis % expr.ndim
        problem = f"there is no axis {axis}"
        hint = f"it has {expr.ndim} axes: {-expr.ndim} to {expr.ndim - 1}" if expr.ndim else "it has no axes"
    else:
        problem, hint = f"{axis!r} is no axis", "give its number or its name"
    raise SplitError(
        f"{what} of {label_of(expr)}: {problem}", nodes=[expr], axis=axis, expected=expr.shape, found=axis, hint=hint
    )


def label_of(expr: Expr) -> str:
    """What errors call a node."""
    return repr(expr.name) if expr.name is not None else repr(expr)


def pushed(index: Index, traversal: IterativeMatcherIn, label: str) -> Expr:
    """An index by a group, pushed down as far as the traversal allows; as it is where it would lose its name.

    >>> import torch
    >>> from scrub.graph import Array, I, elementwise
    >>> post = elementwise("relu", Array(torch.zeros(5, 8), "x"), name="post")
    >>> pushed(Index(post, I[:, 0:3], name="post.a"), True, "a").print()
    'post.a' [5, 3] GeneralFunction relu
      x[:, 0:3] [5, 3] Index [:, 0:3]
        'x' [5, 8] Array ...
    """
    result = push_index_down.attempt(index, traversal=traversal, suffix=f".{label}")
    return result if isinstance(result, Expr) and result.name == index.name else index


def _splitter(what: str, groups: Groups, axis: Axis, noun: str, push: IterativeMatcherIn) -> Callable[[Expr], Expr]:
    def transform(expr: Expr) -> Expr:
        at = axis_number(what, expr, axis)
        chosen = every_position(expr.shape[at], noun[0]) if groups == "full" else groups
        where = f"{what} of {label_of(expr)}, axis {axis!r}"
        found = partition(chosen, expr.shape[at], where=where, noun=noun, nodes=[expr])
        whole = split_to_concat(expr, axis=at, parts=[(group.entry, group.label) for group in found])
        joined = whole if isinstance(whole, Concat) else whole.children[0]
        parts = [
            pushed(part.cast(Index), push, group.label) for part, group in zip(joined.children, found, strict=True)
        ]
        again = joined.with_children(parts)
        return again if whole is joined else whole.with_children([again])

    return transform
