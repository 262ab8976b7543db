"""A model as a machine of parts: runs from any part on, with any part's writes replaced."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch

from scrub.compiler import TorchFunction
from scrub.discovery.components import ComponentGraph
from scrub.discovery.derive.model import Anatomy, take_apart
from scrub.discovery.derive.parts import Part
from scrub.discovery.machine.naming import named_graph
from scrub.discovery.machine.parts import PartFunctions
from scrub.discovery.machine.source import ExpressionSource, Given, LoadedSource, Source, input_terms
from scrub.graph import Add, Expr, Symbol
from scrub.models import LoadedModel, configure_transformer
from scrub.rewrite import bind, substitute
from scrub.rewrite.matcher import MatcherIn


@dataclass(frozen=True)
class StatePlan:
    """How a state of the stream is added up.

    Attributes:
        base: an earlier state that it continues, or None.
        parts: names of the parts whose writes are added to it.
        constants: terms that no input reaches, which are added to it.
    """

    base: Expr | None
    parts: tuple[str, ...]
    constants: tuple[Expr, ...]


@dataclass
class Run:
    """What a run computed.

    Attributes:
        given: what the model was given.
        states: the value of each state of the stream, [n, *stream].
        totals: name of a part -> all that it added to the stream, [n, *stream].
        writes: name of a part -> what each of its writers wrote, [n, heads, *stream], where that was kept.
        rests: name of a part -> what it added besides.
        constants: the values of terms that no input reaches, once they were asked for.
    """

    given: Given
    states: dict[Expr, torch.Tensor] = field(default_factory=dict[Expr, torch.Tensor])
    totals: dict[str, torch.Tensor] = field(default_factory=dict[str, torch.Tensor])
    writes: dict[str, torch.Tensor] = field(default_factory=dict[str, torch.Tensor])
    rests: dict[str, torch.Tensor | None] = field(default_factory=dict[str, torch.Tensor | None])

    constants: dict[Expr, torch.Tensor] | None = None

    def take(self, other: Run, names: Sequence[str]) -> None:
        """Take over what another run computed of some parts."""
        self.totals.update({name: other.totals[name] for name in names})
        self.writes.update({name: other.writes[name] for name in names if name in other.writes})
        self.rests.update({name: other.rests[name] for name in names if name in other.rests})


class Machine:
    """A model taken apart, ready to run.

    Args:
        anatomy: its parts.
        source: makes what it is given from tokens.
        model: what it was made of, if it was a loaded model.
        graph: its component graph, with other names and sizes; that of the anatomy if None.
    """

    def __init__(
        self,
        anatomy: Anatomy,
        source: Source,
        *,
        model: LoadedModel | None = None,
        graph: ComponentGraph | None = None,
    ) -> None:
        self.anatomy = anatomy
        self.source = source
        self.model = model
        self.parts: dict[str, Part] = {part.name: part for part in anatomy.parts}
        self.order = tuple(self.parts)
        self._functions: dict[frozenset[Symbol], dict[str, PartFunctions]] = {}
        self.graph = anatomy.graph if graph is None else graph
        self._constants: dict[frozenset[Symbol], TorchFunction] = {}

    @property
    def readout(self) -> Part:
        """The part that makes the logits."""
        return self.anatomy.parts[-1]

    @cached_property
    def plans(self) -> dict[Expr, StatePlan]:
        """How each state is added up, those first that need no other."""
        by_term = self.anatomy.by_term
        position = {name: i for i, name in enumerate(self.order)}
        terms_of = self.anatomy.stream.states
        last = {
            state: max((position[by_term[t]] for t in ts if t in by_term), default=-1) for state, ts in terms_of.items()
        }
        plans: dict[Expr, StatePlan] = {}
        for state in sorted(terms_of, key=lambda s: (last[s], len(terms_of[s]))):
            terms = list(terms_of[state])
            below = [s for s in plans if set(terms_of[s]) <= set(terms) and len(terms_of[s]) > 1]
            base = max(below, key=lambda s: len(terms_of[s]), default=None)
            left = list(terms)
            for term in terms_of[base] if base is not None else ():
                left.remove(term)
            parts = tuple(by_term[term] for term in left if term in by_term)
            plans[state] = StatePlan(base, parts, tuple(term for term in left if term not in by_term))
        return plans

    @cached_property
    def is_local(self) -> bool:
        """Whether logits at a position depend on the stream at that position alone; found out by trying."""
        return _is_local(self)

    def functions(self, given: Given) -> dict[str, PartFunctions]:
        """The parts as functions, for inputs of this kind."""
        if given.batched not in self._functions:
            self._functions[given.batched] = {
                name: PartFunctions(part, given.batched) for name, part in self.parts.items()
            }
        return self._functions[given.batched]

    def constants(self, run: Run) -> dict[Expr, torch.Tensor]:
        """The values of terms of the stream that no input reaches; kept in `run.constants`."""
        if run.constants is None:
            given = run.given
            exprs = [*self.anatomy.stream.constants, *self._constant_rests]
            args = list(dict.fromkeys(s for expr in exprs for s in expr.free_symbols))
            if given.batched not in self._constants:
                batched = [s for s in args if s in given.batched]
                self._constants[given.batched] = TorchFunction(exprs, args, batched=batched)
            found = self._constants[given.batched](*(given.tensors[s] for s in args))
            run.constants = dict(zip(exprs, found, strict=True))
        return run.constants

    @cached_property
    def _constant_rests(self) -> list[Expr]:
        return [
            p.rest
            for p in self.anatomy.parts
            if p.rest is not None and not set(p.rest.free_symbols) & set(p.symbols.values())
        ]

    def state(self, state: Expr, run: Run, totals: Mapping[str, torch.Tensor] | None = None) -> torch.Tensor:
        """The value of a state, [n, *stream], of what the parts before it added; kept in `run.states`.

        Args:
            state: a state of the stream.
            run: what is known; states that this one continues are added up as needed.
            totals: what parts add, where it is not `run.totals`.
        """
        known = run.totals if totals is None else totals
        waiting = [state]
        while waiting:
            at = waiting[-1]
            plan = self.plans[at]
            if at in run.states:
                waiting.pop()
            elif plan.base is not None and plan.base not in run.states:
                waiting.append(plan.base)
            else:
                terms = [] if plan.base is None else [run.states[plan.base]]
                terms += [known[name] for name in plan.parts]
                terms += [self.constants(run)[term] for term in plan.constants]
                run.states[at] = _sum(terms)
                waiting.pop()
        return run.states[state]

    def read(self, part: Part, run: Run) -> list[torch.Tensor]:
        """What a part reads of the stream, each [n, *stream]."""
        return [self.state(state, run) for state in part.states]

    def run(
        self,
        given: Given,
        *,
        keep_writes: bool = False,
        replaced: Mapping[str, torch.Tensor] | None = None,
        start: str | None = None,
        base: Run | None = None,
    ) -> Run:
        """Run all parts but the logits.

        Args:
            given: what the model is given.
            keep_writes: whether to keep what each writer writes, [n, heads, *stream] for each part.
            replaced: name of a part -> what it adds to the stream instead of what it computes, [n, *stream].
            start, base: the part to start with, and a run whose results hold up to it.
        """
        run = Run(given)
        first = 0 if start is None or base is None else self.order.index(start)
        if base is not None:
            run.take(base, self.order[:first])
        functions = self.functions(given)
        for name in self.order[first:-1]:
            if replaced is not None and name in replaced:
                run.totals[name] = replaced[name]
                continue
            states = self.read(self.parts[name], run)
            if keep_writes:
                run.writes[name], run.rests[name] = functions[name].write(states, given)
                run.totals[name] = self.total(run.writes[name], run.rests[name])
            else:
                run.totals[name] = functions[name].total(states, given)
        return run

    @staticmethod
    def total(writes: torch.Tensor, rest: torch.Tensor | None) -> torch.Tensor:
        """All that a part adds: what its writers write, and the rest."""
        summed = writes[:, 0] if writes.shape[1] == 1 else writes.sum(1)
        return summed if rest is None else summed + rest

    def logits(
        self, states: Sequence[torch.Tensor], given: Given, positions: torch.Tensor | None = None
    ) -> torch.Tensor:
        """The logits at some positions of each example.

        Args:
            states: what the last part reads, [n, *stream] each.
            given: what the model is given.
            positions: int64 [n, k]; None for all. Where it is -1, what comes out means nothing.

        Returns:
            [n, k, n_logits]; [n, *shape] as the model has it without positions.
        """
        function = self.functions(given)[self.readout.name]
        if positions is None:
            return function.total(states, given)
        if self.is_local:
            found = function.total([at_positions(state, positions) for state in states], given)
        else:
            found = at_positions(function.total(states, given), positions)
        return found.flatten(1, -2) if found.ndim > 3 else found  # exported models have axes of size 1 in front


def at_positions(value: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """[n, ..., seq, d] at positions [n, k] of the axis before the last: [n, ..., k, d]."""
    index = positions.clamp(min=0).reshape(len(value), *[1] * (value.ndim - 3), positions.shape[1], 1)
    return value.gather(-2, index.expand(*value.shape[:-2], positions.shape[1], value.shape[-1]))


def _sum(terms: Sequence[torch.Tensor]) -> torch.Tensor:
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total


def _is_local(machine: Machine) -> bool:
    part = machine.readout
    if part.free or len(part.states) != 1:
        return False
    state = part.states[0]
    if not state.free_sizes:  # made for one length
        return False
    return _acts_by_position(machine, part)


def _acts_by_position(machine: Machine, part: Part) -> bool:
    model = machine.model
    generator = torch.Generator().manual_seed(0)
    dtype = model.dtype if model is not None else torch.float32
    width = int(part.states[0].shape[-1])
    x = torch.randn(1, 3, width, generator=generator).to(dtype)
    if model is not None:
        x = x.to(model.device)
    functions = PartFunctions(part, frozenset())
    given = Given({}, frozenset(), 1, x)
    whole, one = functions.total([x], given), functions.total([x[:, 1:2]], given)
    return whole.ndim == 3 and whole.shape[1] == 3 and torch.allclose(whole[:, 1:2], one, rtol=1e-4, atol=1e-4)


def machine_of(model: LoadedModel, *, split_qkv: bool = True, split_input: bool = False) -> Machine:
    """The machine of a loaded model, with its heads apart.

    Args:
        model: the model.
        split_qkv: whether the query, key and value inputs of a head are readers of their own, or it has one input.
        split_input: whether the embeddings of tokens and those of positions (and of token types) are writers of their
            own, "input.tokens", "input.positions" and "input.types".

    Raises:
        DiscoveryError: embeddings cannot be told apart, because they are normed together or there are no others.

    >>> from scrub.models import load_shipped
    >>> machine_of(load_shipped("attn_only_2l")).graph.n_edges
    257
    >>> machine_of(load_shipped("attn_only_2l"), split_qkv=False).graph.n_edges  # 8 heads + 8 x 9 + 17
    97
    """
    root = substitute(configure_transformer(model.lower()["t.bind_w"]))
    inputs = [symbol for symbol in root.free_symbols if symbol.name == "t.input"]
    if split_input:
        names = input_terms(model)
        inputs = [Symbol.new_with_random_uuid(inputs[0].shape, name) for name in names]
        (whole,) = [symbol for symbol in root.free_symbols if symbol.name == "t.input"]
        anatomy = take_apart(bind(root, {whole: Add(*inputs, name="t.input")}), inputs, split_qkv=split_qkv)
    else:
        anatomy = take_apart(root, inputs, split_qkv=split_qkv)
    source = LoadedSource(model, root, inputs if split_input else ())
    return Machine(anatomy, source, model=model, graph=named_graph(anatomy, model))


def machine_of_expression(expr: Expr, tokens: Symbol, *, sums: MatcherIn | None = None) -> Machine:
    """The machine of any expression that reads tokens through one symbol and has a residual stream.

    Args:
        expr: what is computed, such as `from_torch(...).output`.
        tokens: the symbol of the tokens.
        sums: a matcher of the residual sums, where these are not to be found by their skip connections.
    """
    source = ExpressionSource(expr, tokens)
    return Machine(take_apart(source.root, source.symbols, sums=sums), source)


def as_machine(model: Machine | LoadedModel) -> Machine:
    """The machine itself, or that of a loaded model."""
    return model if isinstance(model, Machine) else machine_of(model)
