"""Where NaN and infinity come from: the first step that made them out of finite numbers.

Results are looked at as they are. Only if one is not finite, the program is run again under an interpreter that notes
for every step whether its result holds NaN or infinity. From the bad result, the search goes back through what is not
finite, and the first of these steps in the order of the program is the one to name that

- reads finite numbers only, or is itself an input or a constant that holds NaN;
- failing these, makes NaN of infinity that was there from the start.

Infinity that an input or a constant brings, such as a mask's, and that is only handed on is no fault.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import fx

from scrub.compiler.emit import emit
from scrub.compiler.values import Value
from scrub.graph import Expr, NonFiniteError, postorder


class Flags(NamedTuple):
    """Whether a tensor holds NaN, and infinity."""

    nan: bool
    inf: bool

    @classmethod
    def of(cls, tensor: object) -> Flags:
        """Those of a tensor; nothing else holds any."""
        if not isinstance(tensor, torch.Tensor) or is_finite(tensor):
            return cls(False, False)
        return cls(bool(tensor.isnan().any()), bool(tensor.isinf().any()))


def is_finite(tensor: torch.Tensor) -> bool:
    """Whether a tensor holds neither NaN nor infinity."""
    if not tensor.is_floating_point() or not tensor.numel():
        return True
    low, high = torch.aminmax(tensor)  # of NaN and anything it is NaN
    return math.isfinite(float(low)) and math.isfinite(float(high))


def check_results(
    results: Sequence[torch.Tensor],
    exprs: Sequence[Expr],
    outputs: Sequence[Value],
    inputs: Mapping[Value, Expr],
    tensors: Sequence[torch.Tensor],
) -> None:
    """Raise a `NonFiniteError` that names where the first result that is not finite went wrong.

    Args:
        results: the values of the outputs.
        exprs: what they are the values of.
        outputs: values of a program.
        inputs: those of the program, with what is bound to them.
        tensors: what is bound.
    """
    for expr, output, result in zip(exprs, outputs, results, strict=True):
        if is_finite(result):
            continue
        search = _Search(emit([output], list(inputs)), list(inputs.values()))
        start: int | None = None
        culprit = None
        if output.is_drawn:
            start = int((~result.isfinite()).reshape(len(result), -1).any(1).nonzero()[0])
            culprit = search.run(_one_draw(start, list(inputs), tensors))
        if culprit is None:
            start, culprit = None, search.run(tensors)
        if culprit is not None:
            raise search.error(culprit, expr, exprs, draw=start)
        if bool(result.isnan().any()):
            raise NonFiniteError(f"{expr!r} holds NaN, which was not there when it was computed again", nodes=[expr])


def check_gradients(gradients: Mapping[Expr, torch.Tensor], objective: Expr) -> None:
    """Raise a `NonFiniteError` if a gradient of something finite is not."""
    bad = [node for node, gradient in gradients.items() if not is_finite(gradient)]
    if bad:
        raise NonFiniteError(
            f"the gradient of {objective!r} with respect to {bad[0]!r} is not finite: {_tally(gradients[bad[0]])}",
            nodes=bad[:10],
            expected="finite gradients",
            found=bad,
            hint="where its value is finite, a function on the way has no finite slope there, as sqrt has none at 0",
        )


def _one_draw(at: int, inputs: Sequence[Value], tensors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    return [t[at : at + 1] if value.is_drawn else t for t, value in zip(tensors, inputs, strict=True)]


class _Noting(fx.Interpreter):
    """Runs a module; calls `note` with each node, its arguments and its result."""

    def __init__(self, module: fx.GraphModule, note: Callable[[fx.Node, tuple[Any, ...], object], None]) -> None:
        super().__init__(module)
        self._note = note

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        self._note(n, tuple(self.env[arg] for arg in n.all_input_nodes), result)
        return result


class _Culprit(NamedTuple):
    node: fx.Node
    args: tuple[Any, ...]
    result: torch.Tensor


class _Search:
    """Looks for where the output of a module went wrong.

    Args:
        module: computes one output.
        inputs: what is bound to its placeholders.
    """

    def __init__(self, module: fx.GraphModule, inputs: Sequence[Expr]) -> None:
        self.module = module
        self.order = list(module.graph.nodes)
        placeholders = [node for node in self.order if node.op == "placeholder"]
        self.bound = dict(zip(placeholders, inputs, strict=True))
        self.value_of: dict[fx.Node, Value] = {}
        following: Value | None = None
        for node in reversed(self.order):  # what an operation writes on the way comes before its result
            following = node.meta.get("value", following)
            if following is not None and node.op != "placeholder":
                self.value_of[node] = following

    @torch.no_grad()
    def run(self, tensors: Sequence[torch.Tensor]) -> _Culprit | None:
        """The step at fault, with what it read and made."""
        flags: dict[fx.Node, Flags] = {}

        def note(node: fx.Node, args: tuple[Any, ...], result: object) -> None:
            flags[node] = Flags.of(result)

        _Noting(self.module, note).run(*tensors)
        at_fault = self._first_at_fault(flags)
        found: list[_Culprit] = []

        def keep(node: fx.Node, args: tuple[Any, ...], result: Any) -> None:
            if node is at_fault:
                found.append(_Culprit(node, args, result))

        if at_fault is not None:
            _Noting(self.module, keep).run(*tensors)
        return found[0] if found else None

    def _first_at_fault(self, flags: Mapping[fx.Node, Flags]) -> fx.Node | None:
        end = self.order[-1]
        reached: set[fx.Node] = set()
        waiting = [node for node in end.all_input_nodes if any(flags[node])]
        while waiting:
            node = waiting.pop()
            if node not in reached:
                reached.add(node)
                waiting.extend(arg for arg in node.all_input_nodes if any(flags[arg]))
        sources = [node for node in self.order if node in reached and self._is_source(node, flags)]
        if not sources:  # only infinity was there from the start
            sources = [
                node
                for node in self.order
                if node in reached and flags[node].nan and not any(flags[arg].nan for arg in node.all_input_nodes)
            ]
        return sources[0] if sources else None

    def _is_source(self, node: fx.Node, flags: Mapping[fx.Node, Flags]) -> bool:
        if node.op in ("placeholder", "get_attr"):
            return flags[node].nan
        return not any(any(flags[arg]) for arg in node.all_input_nodes)

    def error(self, culprit: _Culprit, expr: Expr, exprs: Sequence[Expr], *, draw: int | None) -> NonFiniteError:
        """What to raise.

        Args:
            culprit: what `run` found.
            expr: whose value is not finite.
            exprs: where to look for the node.
            draw: the draw that was run, if it was one.
        """
        node, args, result = culprit
        name = self._name(node)
        value = self.value_of.get(node)
        is_drawn = node in self.bound or (value is not None and value.is_drawn)
        is_one_draw = draw is not None and is_drawn and result.shape[:1] == (1,)
        tally = _tally(result) if not is_one_draw else f"{_tally(result[0])}, in draw {draw}"
        lines = [f"{expr!r} is not finite: {self._shown(node)} is the first to hold {tally}"]
        for arg, tensor in zip(node.all_input_nodes, args, strict=True):
            if isinstance(tensor, torch.Tensor) and tensor.numel():
                lines.append(f"    it reads {self._shown(arg)}: {_range(tensor)}")
        bound = self.bound.get(node)
        named = [n for n in postorder(exprs) if n.name is not None and n.name == name]
        return NonFiniteError(
            "\n".join(lines),
            nodes=[bound] if bound is not None else named[:4],
            expected="finite numbers",
            found=int((~result.isfinite()).sum()),
            hint="it is bound to a value that is not finite" if bound is not None else None,
        )

    def _name(self, node: fx.Node) -> str | None:
        if node in self.bound:
            return self.bound[node].name
        return self.value_of[node].name if node in self.value_of else None

    def _shown(self, node: fx.Node) -> str:
        """The name of a node and its operation; an unnamed one is told by what reads it."""
        if node in self.bound:
            return f"the input {self._name(node)!r}"
        label = self.value_of[node].op.label if node in self.value_of else str(node)
        name = self._name(node)
        if name is not None:
            return f"{name!r} ({label})"
        readers = dict.fromkeys(node.users)
        for reader in self.order[self.order.index(node) :]:
            if reader in readers:
                if self._name(reader) is not None:
                    return f"an unnamed step ({label}) on the way to {self._name(reader)!r}"
                readers |= reader.users
        return f"an unnamed step ({label})"


def _tally(tensor: torch.Tensor) -> str:
    """What is not finite, how often, and where first."""
    bad = ~tensor.isfinite()
    kind = "NaN" if bool(tensor.isnan().any()) else "infinity"
    if not tensor.ndim:
        return kind
    first = tuple(int(i) for i in bad.nonzero()[0])
    return f"{kind}: {int(bad.sum())} of {tensor.numel()} in {list(tensor.shape)}, the first at {first}"


def _range(tensor: torch.Tensor) -> str:
    low, high = torch.aminmax(tensor.to(torch.float64))
    return f"{float(low):.6g} to {float(high):.6g}"
