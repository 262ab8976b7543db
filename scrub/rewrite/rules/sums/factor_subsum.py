"""Terms that several sums of an expression have in common."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from scrub.graph import Add, DiscreteVar, Expr
from scrub.rewrite.rule import NoMatch, Options, rewrite
from scrub.rewrite.rules.sums.cases import array, maybe_name, part, some_dtype
from scrub.rewrite.rules.sums.terms import computes_in

if TYPE_CHECKING:
    from scrub.rewrite.testing.maker import Maker


def _cases(maker: Maker) -> Expr:
    """Several sums over few terms, next to each other or one below the other."""
    shape, dtype = maker.shape(), some_dtype(maker)
    terms: list[Expr] = [array(maker, shape, dtype), part(maker, shape, dtype)]
    other = dtype if maker.random.random() < 0.5 else some_dtype(maker)
    terms += [part(maker, maker.some(shape), other) for _ in range(maker.random.choice([1, 2, 3]))]
    result: Expr = terms[0]
    for _ in range(maker.random.choice([2, 3, 4])):
        chosen = [term for term in terms if maker.random.random() < 0.7]
        if maker.random.random() < 0.3:
            chosen += maker.random.choices(terms, k=2)
        result = Add(*chosen, maker.random.choice([result, *terms]), name=maybe_name(maker)).mul(result)
    return result


def _choices(expr: Expr) -> Iterator[Options]:
    yield {}
    sums = _sums(expr)
    if sums and len(sums[-1].children) > 1:
        yield {"terms": sums[-1].children[:2], "name": "shared"}


@rewrite(keeps="value", cases=_cases, choices=_choices)
def factor_common_subsum(expr: Expr, *, terms: Sequence[Expr] | None = None, name: str | None = None) -> Expr | NoMatch:
    """Terms that occur together in several sums below an expression are added up once.

        (a + b + c) * (a + b + d)  ->  (s + c) * (s + d)  with  s = a + b

    Unless `terms` says which, it is those that always occur together: two terms belong to one sub-sum if they occur in
    the same sums. This is repeated until no two do, so that a + b, a + b + c, a + b + c + d share each sum with the
    next. A sum that has no other terms is the sub-sum itself, under its name.

    Args:
        expr: the expression.
        terms: the terms of the sub-sum; all sums that have them share it.
        name: name of a sub-sum that is made.

    >>> from scrub.graph import Scalar
    >>> a, b, c, d = (Scalar(value, name=name) for value, name in zip((1.0, 2.0, 3.0, 4.0), "abcd"))
    >>> factor_common_subsum(Add(a, b, c).mul(Add(a, b, d)), name="shared").print()
    (shared + c) * (shared + d) [] Einsum ,->
      shared + c [] Add
        'shared' [] Add
          'a' [] Scalar 1.0
          'b' [] Scalar 2.0
        'c' [] Scalar 3.0
      shared + d [] Add
        'shared'
        'd' [] Scalar 4.0
    """
    if terms is not None:
        return _share_given(expr, terms, name)
    result = expr
    while replaced := _one_round(_sums(result), name):
        result = _replace(result, replaced)
    return NoMatch("no two terms occur together in two sums") if result is expr else result


def _share_given(expr: Expr, terms: Sequence[Expr], name: str | None) -> Expr | NoMatch:
    wanted = Counter(terms)
    shared = Add(*terms, name=name)
    if len(terms) < 2:
        return NoMatch("a sub-sum has two terms or more")
    users = [
        add
        for add in _sums(expr)
        if len(add.children) > len(terms) and wanted <= Counter(add.children) and computes_in(shared, add)
    ]
    if not users:
        return NoMatch("no sum has all of these terms and others")
    replaced: dict[Expr, Expr] = {}
    for add in users:
        left = wanted.copy()
        rest: list[Expr] = []
        for term in add.children:
            if left[term] > 0:
                left[term] -= 1
            else:
                rest.append(term)
        replaced[add] = Add(shared, *rest, name=add.name)
    return _replace(expr, replaced)


def _sums(expr: Expr) -> list[Add]:
    """All sums, but for those that make up groups of random variables: changed, they would be other groups."""
    found: dict[Expr, None] = {}
    stack = [expr]
    seen = {expr}
    while stack:
        node = stack.pop()
        if isinstance(node, Add):
            found[node] = None
        for child in reversed(_open_children(node)):
            if child not in seen:
                seen.add(child)
                stack.append(child)
    return [node for node in found if isinstance(node, Add)]


def _open_children(node: Expr) -> Sequence[Expr]:
    return node.children[:1] if isinstance(node, DiscreteVar) else node.children


def _one_round(sums: Sequence[Add], name: str | None) -> dict[Expr, Expr]:
    """What to replace each sum by, for all classes of terms that occur in the same sums."""
    places: dict[tuple[Expr, int], list[int]] = {}  # the k-th occurrence of a term -> the sums that have it
    for i, add in enumerate(sums):
        count: Counter[Expr] = Counter()
        for term in add.children:
            if computes_in(term, add):
                places.setdefault((term, count[term]), []).append(i)
                count[term] += 1
    classes: dict[tuple[int, ...], list[tuple[Expr, int]]] = {}
    for item, where in places.items():
        classes.setdefault(tuple(where), []).append(item)
    shared: dict[tuple[Expr, int], tuple[int, Add]] = {}
    for number, (where, items) in enumerate(classes.items()):
        if len(where) > 1 and len(items) > 1:
            whole = next((sums[i] for i in where if len(sums[i].children) == len(items)), None)
            made = Add(*(term for term, _ in items), name=name) if whole is None else whole
            if all(computes_in(made, sums[i]) for i in where):
                shared.update(dict.fromkeys(items, (number, made)))
    rewritten = {add: _with_shared(add, shared) for add in sums}
    return {add: new for add, new in rewritten.items() if new is not add}


def _with_shared(add: Add, shared: dict[tuple[Expr, int], tuple[int, Add]]) -> Expr:
    """The sum with the terms of each class, given by number, replaced by their sub-sum, at the first of them."""
    terms: list[Expr] = []
    count: Counter[Expr] = Counter()
    done: set[int] = set()
    for term in add.children:
        found = shared.get((term, count[term])) if computes_in(term, add) else None
        count[term] += 1
        if found is None:
            terms.append(term)
            continue
        number, subsum = found
        if subsum is add:
            return add
        if number not in done:
            done.add(number)
            terms.append(subsum)
    return Add(*terms, name=add.name)


def _replace(expr: Expr, replaced: dict[Expr, Expr]) -> Expr:
    """The expression with sums replaced, also below what replaces them."""
    results: dict[Expr, Expr] = {}
    stack = [expr]
    while stack:
        node = stack[-1]
        target = replaced.get(node, node)
        waiting = [child for child in _open_children(target) if child not in results]
        if node not in results and waiting:
            stack.extend(waiting)
            continue
        stack.pop()
        if node not in results:
            new = [results[child] for child in _open_children(target)]
            results[node] = target.with_children([*new, *target.children[len(new) :]])
    return results[expr]
