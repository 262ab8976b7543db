"""`simplify`: rules applied until none applies any more.

Every simplifying rule makes the weight of what it rewrites smaller (`scrub.rewrite.rules.weight`), so any mixture of
them comes to an end. The normal form of a node is found from those of its children and kept, so cost follows distinct
nodes (those of the result and of the steps to it), not paths.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from scrub.graph import DiscreteVar, Expr, RewriteError, postorder
from scrub.rewrite.iterative import IterativeMatcher, IterativeMatcherIn
from scrub.rewrite.matcher import Matcher, MatcherIn
from scrub.rewrite.names import is_unnamed, lost_name, names_to_keep
from scrub.rewrite.rule import REWRITES, NoMatch, Options, Rule
from scrub.rewrite.rules import weight  # importing the package registers the rules
from scrub.rewrite.states import State, next_for
from scrub.rewrite.trace import Path, Trace

RuleIn = Rule[...] | tuple[Rule[...], Options]
Chosen = tuple[Rule[...], Options, bool]
"""A rule, its options, and whether to apply it only where it makes the expression lighter."""

Position = tuple[Expr, State | None]

MAX_CHILDREN = 500
"""No rule is applied where its result would have more children than this and than before: flattening sums that are
shared would else write out every path through them."""


def simplify(
    expr: Expr,
    rules: Iterable[RuleIn] | None = None,
    *,
    keep_names: MatcherIn = True,
    traversal: IterativeMatcherIn = True,
    max_steps: int | None = None,
    trace: Trace | None = None,
) -> Expr:
    """The expression after applying rules, children before parents, until none applies.

    Which of several normal forms comes out depends on the order of the rules, but the same expression and rules always
    give the same one, and simplifying it again gives the same object. Nothing is done to what a random variable's group
    is made of, since that would make it another group. No rule is applied where its result would have more than
    `MAX_CHILDREN` children, and more than before.

    Args:
        expr: what to simplify.
        rules: rules, or pairs (rule, options), tried in this order; if not given, all registered ones that simplify,
            and, where they make the expression lighter, those that do at times.
        keep_names: which named nodes must still be there, under their names, in the result: all if not given. A rule
            does not apply where what it makes of a node lacks such a name, be it of what adds nothing to the value (of
            x in 0 * x), or found elsewhere in the expression too. False keeps none but the root's.
        traversal: where to apply rules. What a rule makes is looked at as if it had been in the place of what it
            replaced.
        max_steps: most applications of rules before it is taken to go on forever; if not given, 1000 and 50 for each
            node where `rules` has some that do not simplify, else unlimited.
        trace: where to write down the steps; only where everything is simplified.

    Raises:
        RewriteError: rules that do not simplify go round in a circle, or on and on; the error names them.

    >>> from scrub.graph import Add, Scalar
    >>> a, b, c = (Scalar(1.0, (2,), name=name) for name in "abc")
    >>> simplify(Add(Add(Add(a, b), c), Add(a, name="kept"), name="s")).print()
    's' [2] Add
      'a' [2] Scalar 1.0
      'b' [2] Scalar 1.0
      'c' [2] Scalar 1.0
      'kept' [2] Add
        'a'
    """
    wanted = default_rules() if rules is None else rules
    chosen: list[Chosen] = [
        (each, {}, rules is None) if isinstance(each, Rule) else (*each, rules is None) for each in wanted
    ]
    only_simplifying = all(rule.is_simplifying or is_guarded for rule, _, is_guarded in chosen)
    if max_steps is None and not only_simplifying:
        max_steps = 1000 + 50 * sum(1 for _ in postorder([expr]))
    if trace is not None and traversal is not True:
        raise RewriteError(
            "simplify: steps taken at some of the places of a node cannot be written down",
            found=traversal,
            hint="leave out trace=, or traversal=",
        )
    keep = None if keep_names is False else names_to_keep(keep_names)
    dissolve = Matcher(True) if keep is None else Matcher(is_unnamed) if keep_names is True else ~keep
    work = _Simplification([_with_dissolve(each, dissolve) for each in chosen], keep, max_steps, trace)
    return work.run(expr, IterativeMatcher(traversal).state)


def default_rules() -> list[Rule[...]]:
    """The registered rules that simplify, always or at times, and need no options, in order of registration."""
    candidates = (rule for rule in REWRITES.values() if rule.is_simplifying or rule.is_simplifying_at_times)
    return [rule for rule in candidates if not rule.required]


def _with_dissolve(chosen: Chosen, dissolve: Matcher) -> Chosen:
    rule, options, is_guarded = chosen
    missing = [name for name in rule.required if name not in options]
    if missing:
        raise RewriteError(
            f"simplify: rule {rule.name} needs the option {missing[0]!r}",
            expected=missing,
            hint=f"give it as a pair: ({rule.name}, {{{missing[0]!r}: ...}})",
        )
    if rule.can_dissolve and "dissolve" not in options:
        options = {**options, "dissolve": dissolve}
    return rule, options, is_guarded


class _Simplification:
    """Normal forms by position: a node, and the state of the traversal there."""

    def __init__(
        self,
        rules: Sequence[Chosen],
        keep: Matcher | None,
        max_steps: int | None,
        trace: Trace | None,
    ) -> None:
        self.rules = rules
        self.keep = keep
        self.max_steps = max_steps
        self.trace = trace
        self.normal: dict[Position, Expr] = {}
        self.becomes: dict[Position, Expr] = {}  # the next expression at this place, in the same state
        self.made_by: dict[Position, str] = {}  # the rule that made it from the position before
        self.fired: list[str] = []
        self.weights: dict[Expr, int] = {}
        self._by_type: dict[type[Expr], list[Chosen]] = {}

    def run(self, expr: Expr, state: State) -> Expr:
        """The normal form."""
        start: Position = (expr, state)
        stack: list[tuple[Position, Path]] = [(start, None)]
        begun: set[Position] = set()
        while stack:
            position, path = stack[-1]
            if position in self.normal:
                stack.pop()
                continue
            waiting = self._advance(position, path)
            if not waiting:
                begun.discard(position)
                continue
            begun.add(position)
            for below, _ in waiting:
                if below in begun:
                    raise self._going_round(below, [*(at for at, _ in stack), below])
            stack.extend(reversed(waiting))
        return self.normal[start]

    def _advance(self, position: Position, path: Path) -> list[tuple[Position, Path]]:
        """One step towards the normal form: what has to be brought into normal form first, or nothing."""
        node, state = position
        if state is None:
            self.normal[position] = node
            return []
        if position in self.becomes:
            target = (self.becomes[position], state)
            if target not in self.normal:
                return [(target, path)]
            self.normal[position] = self.normal[target]
            return []
        is_found, following = state.step(node)
        below = [(child, next_for(following, i)) for i, child in enumerate(node.children)]
        if isinstance(node, DiscreteVar):
            below[1] = (below[1][0], None)
        if any(p not in self.normal for p in below):
            return [(p, (path, i)) for i, p in enumerate(below) if p not in self.normal]
        rebuilt = node.with_children([self.normal[p] for p in below])
        result = self._apply(rebuilt, path) if is_found else None
        if result is not None:
            self.becomes[position] = result
            target = (result, state)
            self.made_by[target] = self.fired[-1]
            return [(target, path)]
        self.normal[position] = rebuilt
        if is_found:
            self.normal[rebuilt, state] = rebuilt
        return []

    def _apply(self, node: Expr, path: Path) -> Expr | None:
        """What the first rule that applies makes of the node."""
        for rule, options, is_guarded in self._rules_of(type(node)):
            result = rule.attempt(node, **options)
            if isinstance(result, NoMatch) or len(result.children) > max(MAX_CHILDREN, len(node.children)):
                continue
            if self.keep is not None and lost_name(node, result, self.keep, self.weights) is not None:
                continue
            is_lighter = weight(result, self.weights) < weight(node, self.weights)
            if is_guarded and not rule.is_simplifying and not is_lighter:
                continue
            if rule.is_simplifying and not is_lighter:
                raise RewriteError(
                    f"simplify: {rule.name} says that it simplifies, but made {node!r} no lighter",
                    nodes=[node, result],
                    expected=f"less than {weight(node)}",
                    found=weight(result),
                    hint="a rule registered with simplifies=True must make the weight smaller every time",
                )
            self.fired.append(rule.name)
            if self.trace is not None:
                self.trace.record(rule, options, before=node, after=result, path=path)
            if self.max_steps is not None and len(self.fired) > self.max_steps:
                raise self._going_on()
            return result
        return None

    def _rules_of(self, kind: type[Expr]) -> list[Chosen]:
        if kind not in self._by_type:
            self._by_type[kind] = [chosen for chosen in self.rules if chosen[0].applies_to(kind)]
        return self._by_type[kind]

    def _going_round(self, again: Position, stack: list[Position]) -> RewriteError:
        circle = stack[stack.index(again) + 1 :]
        names = list(dict.fromkeys(self.made_by[at] for at in circle if at in self.made_by))
        return RewriteError(
            f"simplify: {' and '.join(names)} go round in a circle: they come back to {again[0]!r}",
            nodes=list(dict.fromkeys(at[0] for at in circle))[:10],
            found=names,
            hint="leave one of them out, or apply it by itself with rule.everywhere(expr, matcher)",
        )

    def _going_on(self) -> RewriteError:
        most = [name for name, _ in Counter(self.fired[-100:]).most_common(5)]
        return RewriteError(
            f"simplify: no end after {self.max_steps} steps; the last were of {' and '.join(most)}",
            expected=self.max_steps,
            found=most,
            hint="leave one of them out, or allow more with max_steps=",
        )
