"""A sum, regrouped."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from scrub.graph import Add, Expr
from scrub.rewrite.matcher import Matcher, MatcherIn
from scrub.rewrite.rule import NoMatch, Options, rewrite
from scrub.rewrite.rules.nesting.spec import Nest, Part, random_specs, resolve
from scrub.rewrite.rules.products.composition import num_parts
from scrub.rewrite.rules.sums.cases import part, random_sum, some_dtype
from scrub.rewrite.rules.sums.terms import computes_in

if TYPE_CHECKING:
    from scrub.rewrite.testing.maker import Maker

MAX_PARTS = 1_000_000


def _cases(maker: Maker) -> Expr:
    shape, dtype = maker.shape(), some_dtype(maker)
    inner = [random_sum(maker, part(maker, maker.some(shape), dtype), shape=shape, dtypes=[dtype]) for _ in range(2)]
    return random_sum(maker, *inner, part(maker, shape, dtype), shape=shape)


def _choices(add: Add) -> Iterator[Options]:
    opens = _opens(add, Matcher(True))
    if num_parts(add, opens) <= 30:
        for spec in random_specs(add.digest, flat_terms(add, opens)[0]):
            yield {"spec": spec}


@rewrite(keeps="value", cases=_cases, choices=_choices)
def nest_sum(add: Add, spec: Sequence[Part], *, dissolve: MatcherIn = True) -> Expr | NoMatch:
    """The terms of a sum, and of the sums among them, in groups as a spec says (`rules.nesting.spec`).

        a + (b + c) + d  ->  (a + b) + (c + d)        with spec [[0, 1], REST], or [["a", "b"], ["c", "d"]]

    Terms are counted after taking the sums below apart. A group of just the terms that were one of those sums has its
    name, unless the spec gives another.

    Args:
        add: the sum.
        spec: what belongs together; each term exactly once.
        dissolve: which of the sums below to take apart first; the others count as one term.

    >>> from scrub.graph import Scalar
    >>> from scrub.rewrite.rules.nesting.spec import REST, Group
    >>> a, b, c, d = (Scalar(float(i), name=name) for i, name in enumerate("abcd"))
    >>> nest_sum(Add(a, Add(b, c, name="bc"), d, name="s"), [Group("a", "d", name="ad"), [REST]]).print()
    's' [] Add
      'ad' [] Add
        'a' [] Scalar 0.0
        'd' [] Scalar 3.0
      'bc' [] Add
        'b' [] Scalar 1.0
        'c' [] Scalar 2.0
    """
    opens = _opens(add, Matcher(dissolve))
    count = num_parts(add, opens)
    if count > MAX_PARTS:
        return NoMatch(f"taken apart, it has {count} terms")
    terms, names = flat_terms(add, opens)
    nests = resolve(spec, terms)
    if isinstance(nests, NoMatch):
        return nests
    made: dict[Nest, Add] = {}
    for nest in reversed(nests):
        parts = [made[p] if isinstance(p, Nest) else terms[p] for p in nest.parts if isinstance(p, int | Nest)]
        if nest.group.axes is not None:
            return NoMatch(f"{nest.group!r} permutes axes, which groups of a sum do not")
        existing = names.get((nest.start, nest.stop)) if nest.is_range and nest is not nests[0] else None
        made[nest] = Add(*parts, name=existing if nest.group.name is None else nest.group.name)
        if len(parts) > 1 and not computes_in(made[nest], add):
            return NoMatch(f"{nest.group!r} would be added in {made[nest].dtype}, the sum is in {add.dtype}")
    return made[nests[0]]


def _opens(add: Add, may: Matcher) -> Callable[[Expr], bool]:
    return lambda node: isinstance(node, Add) and may(node) and computes_in(node, add)


def flat_terms(add: Add, opens: Callable[[Expr], bool]) -> tuple[list[Expr], dict[tuple[int, int], str]]:
    """All terms, and the names of the sums taken apart, by which terms (start, stop) were theirs."""
    terms: list[Expr] = []
    names: dict[tuple[int, int], str] = {}
    stack: list[Expr | tuple[int, str]] = list(reversed(add.children))
    while stack:
        node = stack.pop()
        if isinstance(node, tuple):  # all terms of an inner sum are done
            names[node[0], len(terms)] = node[1]
        elif opens(node):
            if node.name is not None:
                stack.append((len(terms), node.name))
            stack.extend(reversed(node.children))
        else:
            terms.append(node)
    return terms, names
