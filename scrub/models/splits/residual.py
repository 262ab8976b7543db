"""The residual stream, as each reader sees it: one sum of all that was written to it.

((embed + a0) + m0) + a1   ->   embed + a0 + m0 + a1
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from scrub.graph import Add, Expr, Module, Symbol, postorder
from scrub.graph.errors import SplitError
from scrub.models.splits.axes import label_of
from scrub.rewrite.iterative import IterativeMatcherIn
from scrub.rewrite.matcher import Matcher, MatcherIn
from scrub.rewrite.rules.concatenation.parts import part_name
from scrub.rewrite.rules.sums.terms import computes_in

_MAX_TERMS = 100_000


def flatten_residual(*, keep: MatcherIn = False, gather_biases: bool = False) -> Callable[[Expr], Expr]:
    """A transform for `update`: nested sums of one shape as one sum, in order, through names.

        (a + b) + (c + d)  ->  a + b + c + d

    A rule of one level is `rules.flatten_sum`. Sums are opened where they have the shape of the whole; a bias in one,
    which is broadcast, becomes a term of the whole.

    Args:
        keep: sums not to open: {"a0", "m0"} to keep what a layer writes as one term.
        gather_biases: put terms that are broadcast together as one, the last: `{node}.biases`.

    Raises:
        SplitError: the node is no sum, or the sums share parts in such a way that there are more than 100,000 terms.

    >>> from scrub.graph import Scalar
    >>> a, b, c = (Scalar(1.0, (4, 2), name) for name in "abc")
    >>> stream = Add(Add(Add(a, b, name="b0"), c, name="b1"), Scalar(1.0, (2,), "bias"), name="b2")
    >>> [term.name for term in flatten_residual()(stream).children]
    ['a', 'b', 'c', 'bias']
    >>> [term.name for term in flatten_residual(keep="b0", gather_biases=True)(stream).children]
    ['b0', 'c', 'b2.biases']
    """

    def transform(expr: Expr) -> Expr:
        if not isinstance(expr, Add):
            raise SplitError(
                f"flatten_residual: {label_of(expr)} is a {type(expr).__name__}, not an Add",
                nodes=[expr],
                expected=Add,
                found=type(expr),
                hint="components_per_reader takes what a reader reads, whatever it is",
            )
        return Add(*_terms(expr, expr.name, keep=keep, gather_biases=gather_biases), name=expr.name)

    return transform


def components_per_reader(
    expr: Expr,
    readers: IterativeMatcherIn,
    *,
    input_name: str | None = None,
    keep: MatcherIn = False,
    gather_biases: bool = False,
) -> Expr:
    """For every call that reads the residual stream, what it reads as one sum of components, `{reader}.resid`.

    So the edge from a component to a reader is a path: `IterativeMatcher("a1.norm").chain("a1.norm.resid")` and from
    there to a child, such as `a0.h3`. A reader whose input is no sum gets a sum of one term. What lies beyond a
    parameter of a call around the reader is out of sight: dissolve the blocks first (`configure_transformer`).

    Args:
        expr: the model.
        readers: finds the calls, such as `Regex(r"^(a\\d+|m\\d+|final).norm$")`.
        input_name: the parameter that takes the residual stream; the only one whose name ends with ".input" if not
            given.
        keep: sums not to open, as for `flatten_residual`.
        gather_biases: put terms that are broadcast together as one, the last: `{reader}.resid.biases`.

    Raises:
        SplitError: what the matcher finds is no call, or has no such parameter.
        MatchError: the matcher finds nothing.

    >>> from scrub.graph import ModuleSpec, Scalar, softmax
    >>> x = Symbol.new_from_name((4, 2), "ln.input")
    >>> norm = ModuleSpec(softmax(x, name="ln.out"), [x])
    >>> embed, a0, a1 = (Scalar(1.0, (4, 2), name) for name in ("embed", "a0", "a1"))
    >>> final = Module(norm, "final.norm", **{"ln.input": Add(Add(embed, a0, name="b0"), a1, name="b1")})
    >>> components_per_reader(final, "final.norm").print()
    'final.norm' [4, 2] Module
      'ln.out' [4, 2] GeneralFunction softmax
        'ln.input' [4, 2] Symbol ...
      'final.norm.resid' [4, 2] Add ! 'ln.input'
        'embed' [4, 2] Scalar 1.0
        'a0' [4, 2] Scalar 1.0
        'a1' [4, 2] Scalar 1.0
    """

    def transform(node: Expr) -> Expr:
        call, symbol = _reader(node, input_name)
        name = part_name(call, "resid")
        read = call.bindings[symbol]
        summed = Add(*_terms(read, name, keep=keep, gather_biases=gather_biases), name=name)
        args = [summed if own is symbol else arg for own, arg in call.bindings.items()]
        return call.with_children((call.body, *args))

    return expr.update(readers, transform)


def _reader(node: Expr, input_name: str | None) -> tuple[Module, Symbol]:
    """The call, and its parameter for the residual stream."""
    if not isinstance(node, Module):
        raise SplitError(
            f"components_per_reader: {label_of(node)} is a {type(node).__name__}, not a call",
            nodes=[node],
            expected=Module,
            found=type(node),
            hint="readers are calls with the residual stream as an argument, such as norms",
        )
    names = [symbol.name for symbol in node.bindings]
    if input_name is None:
        found = [symbol for symbol in node.bindings if (symbol.name or "").endswith(".input")]
        wanted = "one parameter whose name ends with '.input'"
    else:
        found = [symbol for symbol in node.bindings if symbol.name == input_name]
        wanted = f"one parameter {input_name!r}"
    if len(found) != 1:
        raise SplitError(
            f"components_per_reader: {label_of(node)} has {len(found)} parameters that fit, wanted is {wanted}",
            nodes=[node],
            expected=wanted,
            found=names,
            hint=f"input_name= is one of {names}",
        )
    return node, found[0]


def _terms(expr: Expr, name: str | None, *, keep: MatcherIn, gather_biases: bool) -> list[Expr]:
    """What a nested sum adds up, left to right; itself if it is none."""
    kept = Matcher(keep)

    def opened(node: Expr) -> tuple[Expr, ...]:
        is_open = isinstance(node, Add) and node.children and node.shape == expr.shape and computes_in(node, expr)
        return node.children if is_open and (node is expr or not kept(node)) else ()

    _check_count(expr, opened)
    terms: list[Expr] = []
    stack = [expr]
    while stack:
        node = stack.pop()
        below = opened(node)
        stack.extend(reversed(below))
        if not below:
            terms.append(node)
    biases = [term for term in terms if term.shape != expr.shape] if gather_biases else []
    if not biases:
        return terms
    label = "biases" if name is None else f"{name}.biases"
    return [term for term in terms if term.shape == expr.shape] + [Add(*biases, name=label)]


def _check_count(expr: Expr, opened: Callable[[Expr], Sequence[Expr]]) -> None:
    """Raise where shared sums, written out for each path, are too many terms."""
    count: dict[Expr, int] = {}
    for node in postorder([expr], descend=lambda node: bool(opened(node))):
        count[node] = sum(count[child] for child in opened(node)) or 1
    if count[expr] > _MAX_TERMS:
        raise SplitError(
            f"{label_of(expr)} is a sum of {count[expr]} terms when written out, as its parts are shared",
            nodes=[expr],
            expected=_MAX_TERMS,
            found=count[expr],
            hint="keep= says which sums not to open",
        )
