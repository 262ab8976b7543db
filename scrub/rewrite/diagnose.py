"""Why a matcher finds nothing. Causes are tried out: one is named if the matcher without it finds something."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice, pairwise
from typing import Any

from scrub.graph import Expr, Module, Symbol, display_name, postorder
from scrub.rewrite import relax
from scrub.rewrite.compound import AnyOf
from scrub.rewrite.matcher import Matcher, Regex
from scrub.rewrite.near_miss import near_misses
from scrub.rewrite.path_matcher import IterativeMatcher
from scrub.rewrite.places import Parents, Places, path_to, visit
from scrub.rewrite.relax import Relaxation
from scrub.rewrite.selection import ArgumentOf, ChildrenAt
from scrub.rewrite.states import Nodes, Select, State

Path = tuple[Expr, ...]
_SEE_THROUGH = "see_through=True"
_MAX_DISPLAYED = 500  # a derived name takes a walk over what is below


@dataclass(frozen=True)
class Cause:
    """One reason why nothing is found.

    Attributes:
        kind: "name", "condition", "see_through", "order", "elsewhere", "several", "child", "argument", or the limit:
            "term_early_at", "end_depth", "start_depth", "term_if_matches", "not_through", "directly_below",
            "filter_module_spec", "must_be_sub", "all".
        text: the reason, a sentence.
        fix: what finds something, or None.
        would_find: how many nodes the fix finds.
    """

    kind: str
    text: str
    fix: str | None = None
    would_find: int = 0


class Search:
    """Matchers tried on one expression, each once."""

    def __init__(self, expr: Expr, *, see_through: bool) -> None:
        self.expr = expr
        self.see_through = see_through
        self.free = frozenset(expr.free_symbols)
        self._found: dict[tuple[State, bool], Path] = {}

    @cached_property
    def nodes(self) -> Path:
        """Every node."""
        return tuple(postorder([self.expr]))

    @cached_property
    def names(self) -> frozenset[str]:
        """Every given name."""
        return frozenset(node.name for node in self.nodes if node.name is not None)

    def found(self, state: State | None, see_through: bool | None = None) -> Path:
        """What a matcher that starts in this state finds."""
        mode = self.see_through if see_through is None else see_through
        if state is None:
            return ()
        if (state, mode) not in self._found:
            places = Places(see_through=mode)
            hits = dict.fromkeys(at for (at, _), is_found in visit(places, self.expr, state) if is_found)
            self._found[state, mode] = tuple(dict.fromkeys(places.node(places.resolve(at)) for at in hits))
        return self._found[state, mode]

    def count(self, state: State | None, see_through: bool | None = None) -> int:
        """How many nodes it finds."""
        return len(self.found(state, see_through))

    def path(self, state: State, see_through: bool | None = None) -> Path:
        """The path on which it first finds something, () if it finds nothing."""
        places = Places(see_through=self.see_through if see_through is None else see_through)
        parents: Parents = {}
        for position, is_found in visit(places, self.expr, state, parents=parents):
            if is_found:
                return path_to(places, position, parents)
        return ()

    def num_matching(self, state: State) -> int | None:
        """How many nodes, wherever they are, meet a condition of a matcher; None if it has no conditions."""
        conditions = [condition for condition, _ in relax.conditions_of(state)]
        if not conditions:
            return None
        test = Matcher(*conditions).test
        return sum(test(node) for node in self.nodes)


def causes_of(state: State, search: Search) -> Iterator[Cause]:
    """Why a matcher finds nothing, likeliest cause first."""
    if isinstance(state, AnyOf):
        for part in state.parts():
            for cause in list(causes_of(part, search))[:1]:
                yield Cause(cause.kind, f"{part.argument_text()}: {cause.text}", cause.fix, cause.would_find)
        return
    before: State | None = None
    link = prefix = state
    for part, beginning in relax.prefixes(state):
        link, prefix = part, beginning
        if not search.count(prefix):
            break
        before = prefix
    yield from _Diagnosis(search, state, link, prefix, before).causes()


class _Diagnosis:
    """A chain that finds something up to one of its links, and nothing with that link."""

    def __init__(self, search: Search, whole: State, link: State, prefix: State, before: State | None) -> None:
        self.search = search
        self.whole = whole
        self.link = link
        self.prefix = prefix
        self.before = before

    def causes(self) -> list[Cause]:
        stages = (self._unmatched, self._child, self._limits, self._see_through, self._order, self._several)
        for stage in stages:
            causes = list(stage())
            if causes:
                return causes
        return [self._elsewhere()]

    # ---- conditions that no node meets ------------------------------------------------------------------------

    def _unmatched(self) -> Iterator[Cause]:
        conditions = [condition for condition, _ in relax.conditions_of(self.link)]
        tests = [(condition, Matcher(condition).test) for condition in dict.fromkeys(conditions)]
        missing = [c for c, test in tests if not any(test(node) for node in self.search.nodes)]
        if len(missing) < len(tests) or not tests:
            # some of them are met, so that something else keeps these from being found
            if isinstance(self.link, Nodes) and not any(map(self.link.matcher.test, self.search.nodes)):
                yield Cause("all", f"no node meets all conditions of {self.link.argument_text()} at once")
            return
        for condition in missing:
            if isinstance(condition, str):
                yield self._no_such_name(condition)
            else:
                yield Cause("condition", *self._no_such_node(condition))

    def _no_such_name(self, wanted: str) -> Cause:
        """Of similar names, those come first with which the matcher finds something."""
        similar = near_misses(wanted, sorted(self.search.names))
        hits = {name: self._with(wanted, name) for name in similar}
        best = next((name for name in similar if hits[name][0]), None)
        text = f"no node is named {wanted!r}"
        if similar:
            text += f"; similar: {', '.join(map(repr, similar))}"
        shown = None if similar[:1] and hits[similar[0]][0] else self._shown_as(wanted)
        if shown is not None:
            text = f"no node is named {wanted!r}; {shown!r} is unnamed and only displays so"
            return Cause("name", text, "match it by type, predicate or position, or give it a name", 1)
        if best is None:
            return Cause("name", text)
        count, mode = hits[best]
        return Cause("name", text, f"{best!r} instead of {wanted!r}{mode} finds {_nodes(count)}", count)

    def _shown_as(self, wanted: str) -> Expr | None:
        """An unnamed node that displays as what was asked for."""
        unnamed = (node for node in self.search.nodes if node.name is None and node.children)
        return next((node for node in islice(unnamed, _MAX_DISPLAYED) if display_name(node) == wanted), None)

    def _with(self, wanted: Any, other: Any) -> tuple[int, str]:
        """How many nodes are found with another condition in place of one, and what that takes besides."""
        for mode, text in ((self.search.see_through, ""), (True, f" and {_SEE_THROUGH}")):
            for state in (self.whole, self.prefix):
                for condition, replace in relax.conditions_of(state):
                    if type(condition) is type(wanted) and condition == wanted:
                        count = self.search.count(replace(other), mode)
                        if count:
                            return count, text
        return 0, ""

    def _no_such_node(self, condition: Any) -> tuple[str, str | None]:
        if isinstance(condition, type):
            return f"there is no {condition.__name__} in it", None
        if isinstance(condition, Regex):
            usual = Regex(condition.pattern.replace("\\.", "\0").replace(".", "\\.").replace("\0", "."))
            count = sum(usual.matches(node.name) for node in self.search.nodes)
            if count and usual != condition:
                text = f"no name has a match of {condition!r}, where '.' is a literal dot"
                return text, f"{usual!r}, where '\\.' is any character, matches {_nodes(count)}"
            return f"no name has a match of {condition!r}", None
        if isinstance(condition, Expr):
            if condition.name in self.search.names:
                text = f"{condition!r} is not part of it, but another node named {condition.name!r} is"
                return text, f"match the name, {condition.name!r}, or take the node from this expression"
            return f"{condition!r} is not part of it", None
        return f"no node satisfies {Matcher(condition).argument_text()}", None

    # ---- children and arguments that are not there ------------------------------------------------------------

    def _child(self) -> Iterator[Cause]:
        if not isinstance(self.link, Select):
            return
        chosen = self.link.key[0]
        starts = self.search.found(self.before) if self.before is not None else (self.search.expr,)
        modules = [node for node in starts if isinstance(node, Module)]
        shown = _names(starts)
        if isinstance(chosen, ChildrenAt):
            most = max(len(node.children) for node in starts)
            if all(index >= most for index in chosen.chosen):
                yield Cause("child", f"{shown} has {most or 'no'} children: the last index is {most - 1}")
        elif not modules:
            yield Cause("argument", f"{shown} is no Module and so has no body or parameters")
        elif isinstance(chosen, ArgumentOf) and not any(chosen(module) for module in modules):
            parameters = list(dict.fromkeys(str(s.name) for module in modules for s in module.bindings))
            similar = near_misses(str(getattr(chosen.symbol, "name", chosen.symbol)), parameters)
            text = f"{_names(modules)} has no parameter {chosen.symbol!r}; its parameters: {', '.join(parameters[:8])}"
            yield Cause("argument", text, f"module_arg_matcher({similar[0]!r})" if similar else None)
        if self.search.see_through and self.search.count(self.prefix, False):
            yield Cause("argument", f"the body of {shown} does not use it, so that seen through it is not there")

    # ---- limits -----------------------------------------------------------------------------------------------

    def _limits(self) -> list[Cause]:
        return self._limits_in(self.search.see_through, "")

    def _limits_in(self, mode: bool, also: str) -> list[Cause]:
        """Limits without which the whole matcher finds something; failing that, without which it gets further."""
        for state in (self.whole, self.prefix):
            causes: list[Cause] = []
            for relaxation in relax.relaxations(state):
                loose = relaxation.make(relaxation.loosest)
                count = self.search.count(loose, mode)
                if count:
                    text, fix = self._limit(relaxation, loose, count, mode)
                    causes.append(Cause(relaxation.kind, text, fix + also, count))
            precise = [cause for cause in causes if cause.kind != "all"]
            if causes:
                return precise or causes
        return []

    def _limit(self, relaxation: Relaxation, loose: State, count: int, mode: bool) -> tuple[str, str]:
        """Text and fix for a limit without which something is found."""
        kind, limit = relaxation.kind, relaxation.text
        path = self.search.path(loose, mode)
        without = f"without it, {_name(path[-1])} is found" + ("" if count == 1 else f", {_nodes(count)} in all")
        if kind == "end_depth":
            least = self._least_end(relaxation, mode)
            at = f"{_name(self.search.path(relaxation.make(least), mode)[-1])} is at depth {least - 1}"
            found = _nodes(self.search.count(relaxation.make(least), mode))
            return f"{limit} ends paths too early: {at}, and end_depth is exclusive", f"end_depth={least} finds {found}"
        if kind == "start_depth":
            start = self._last_start(relaxation, mode)
            at = f"{_name(self.search.path(relaxation.make(start), mode)[-1])} is at depth {start}"
            return f"{limit} starts too deep: {at}", f"start_depth={start} finds {_nodes(count)}"
        if kind in ("term_early_at", "not_through"):
            return self._ended(relaxation, path, without, mode)
        if kind == "directly_below":
            parents = dict.fromkeys(_name(path[-2]) for path in self._paths(loose, mode) if len(path) > 1)
            return f"{limit} does not hold: what is above {_name(path[-1])} is {' or '.join([*parents][:4])}", without
        if kind == "filter_module_spec":
            inside = [a for a, b in pairwise(path) if isinstance(a, Module) and b is a.body]
            return f"{limit} keeps out of bodies: {_name(path[-1])} stands in that of {_names(inside)}", without
        if kind == "must_be_sub":
            return f"{limit} starts below the node: {_name(path[-1])} is that node itself", without
        if kind == "all":
            return f"nothing is found by all of them at once: {limit} is the one in the way", without
        return f"{limit} ends paths before", without

    def _ended(self, relaxation: Relaxation, path: Path, without: str, mode: bool) -> tuple[str, str]:
        """By nodes that `term_early_at` or `not_through` matches."""
        limit = relaxation.text
        ends = [node for node in path[:-1] if _matcher_that_ends(relaxation.value)(node)]
        at = f" at {_names(ends[:2])}" if ends else ""
        starts = self.search.found(self.before, mode)
        passes = self.before is not None and any(node in starts for node in ends)
        which = ", which the chain itself passes" if passes else ""
        inside = relax.moved_inside(self.whole)
        if inside is not None and self.search.count(inside, mode):
            fix = f"limit the last link only: {_text(inside)}"
            return f"{limit} around the whole chain ends paths{at}{which}", fix
        below = relax.starting_below(self.whole)
        if passes and below is not None and self.search.count(below, mode):
            return f"{limit} ends paths{at}{which}", f"start below it: {_text(below)}"
        return f"{limit} ends paths{at}{which}", without

    def _paths(self, state: State, mode: bool) -> Iterator[Path]:
        places = Places(see_through=mode)
        parents: Parents = {}
        for position, is_found in visit(places, self.search.expr, state, parents=parents):
            if is_found:
                yield path_to(places, position, parents)

    def _least_end(self, relaxation: Relaxation, mode: bool) -> int:
        low, high = relaxation.value, relaxation.value + 1
        while not self.search.count(relaxation.make(high), mode):
            low, high = high, 2 * high
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self.search.count(relaxation.make(middle), mode) else (middle, high)
        return high

    def _last_start(self, relaxation: Relaxation, mode: bool) -> int:
        low, high = 0, relaxation.value
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self.search.count(relaxation.make(middle), mode) else (low, middle)
        return low

    # ---- what is elsewhere ------------------------------------------------------------------------------------

    def _see_through(self) -> Iterator[Cause]:
        count = 0 if self.search.see_through else self.search.count(self.prefix, True)
        if not count:
            return
        fix = f"{_SEE_THROUGH} finds {_nodes(self.search.count(self.whole, True) or count)}"
        yield Cause("see_through", self._crossing(self.prefix), fix, count)

    def _crossing(self, state: State) -> str:
        """At which parameter paths end that go on where modules are seen through."""
        path = self.search.path(state, True)
        starts = set(self.search.found(self.before)) if self.before is not None else set[Expr]()
        last = max((i for i, node in enumerate(path) if node in starts), default=0)
        symbols = [(i, node) for i, node in enumerate(path[:-1]) if isinstance(node, Symbol) and i >= last]
        if not symbols:
            return f"{_name(path[-1])} is reached only through the parameters of modules"
        at, symbol = symbols[0]
        binder = [node for node in path[:at] if isinstance(node, Module) and symbol in node.bindings]
        module = f" of {_name(binder[-1])}" if binder else ""
        return f"paths end at parameter {_name(symbol)}{module}, and {_name(path[-1])} lies beyond it"

    def _order(self) -> Iterator[Cause]:
        for mode, also in ((self.search.see_through, ""), (True, f", {_SEE_THROUGH}")):
            for state in relax.reordered(self.prefix):
                count = self.search.count(state, mode)
                if count:
                    above = f"{self.link.argument_text()} lies above {self._last_text()} on the paths, not below it"
                    yield Cause("order", above, f"{_text(state)}{also} finds {_nodes(count)}", count)
                    return

    def _several(self) -> Iterator[Cause]:
        """What only two changes at once, or the removal of every limit, would find."""
        if not self.search.see_through:
            causes = self._limits_in(True, f", with {_SEE_THROUGH}")
            for cause in causes:
                text = f"{cause.text}; besides, modules are not seen through"
                yield Cause(cause.kind, text, cause.fix, cause.would_find)
            if causes:
                return
        stripped = relax.without_limits(self.prefix)
        for mode, also in ((self.search.see_through, ""), (True, f", with {_SEE_THROUGH}")):
            count = self.search.count(stripped, mode)
            if count:
                limits = [r.text for r in relax.relaxations(self.prefix) if r.kind != "all"]
                if limits:
                    text = f"each of these limits keeps it out: {', '.join(dict.fromkeys(limits))}"
                    yield Cause("several", text, f"without them{also}, {_nodes(count)} would be found", count)
                return

    def _elsewhere(self) -> Cause:
        link = self.link.argument_text()
        conditions = [condition for condition, _ in relax.conditions_of(self.link)]
        path = self.search.path(Nodes(Matcher(*conditions)), False)
        if not path:
            return Cause("elsewhere", f"{link} finds nothing on the paths that are searched")
        where = "at or below " + self._last_text() if self.before is not None else "on the paths that are searched"
        return Cause("elsewhere", f"{link} is not {where}, only on other paths: {_shown(path)}")

    def _last_text(self) -> str:
        assert self.before is not None
        links = list(relax.prefixes(self.before))
        return links[-1][0].argument_text()


def _matcher_that_ends(value: Matcher | State) -> Matcher:
    """Of `term_early_at` or `not_through`; of a blocker that is about paths, none."""
    if isinstance(value, Matcher):
        return value
    blocker = value.parts()[0]
    return blocker.matcher if isinstance(blocker, Nodes) else Matcher(False)


def _text(state: State) -> str:
    return repr(IterativeMatcher.from_state(state))


def _name(node: Expr) -> str:
    return repr(node.name) if node.name is not None else repr(node)


def _names(nodes: Path | list[Any]) -> str:
    shown = list(dict.fromkeys(map(_name, nodes)))
    return ", ".join(shown[:3]) + (f" and {len(shown) - 3} more" if len(shown) > 3 else "")


def _nodes(count: int) -> str:
    return f"{count} node" if count == 1 else f"{count} nodes"


def _shown(path: Path) -> str:
    """The named nodes of a path, the middle of a long one left out."""
    names = [node.name for node in path if node.name is not None] or [repr(path[-1])]
    return " > ".join(names if len(names) <= 6 else [*names[:2], "...", *names[-3:]])
