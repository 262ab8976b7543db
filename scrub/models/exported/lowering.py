"""From a traced graph to expressions: each node by its registered lowering, each call of a submodule as a `Module`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.fx import Node

from scrub.graph import (
    Array,
    CheckpointError,
    Concat,
    Conv,
    Einsum,
    Expr,
    GeneralFunction,
    Module,
    ModuleArgSpec,
    Scalar,
    ScrubError,
    Symbol,
    cast_to,
)
from scrub.graph.add import Add
from scrub.graph.functions.cast import Cast
from scrub.graph.rules import uuid_from_name
from scrub.models.exported.call import Call, Operand
from scrub.models.exported.folding import Folded
from scrub.models.exported.regions import Key, Region, Regions, stack_of
from scrub.models.exported.registry import ATEN, operator_name
from scrub.models.exported.tracing import RETURNED, Traced, is_getitem

Value = Operand | tuple[Operand | None, ...]


class Lowering:
    """Lowers one traced graph. `run` gives its outputs."""

    def __init__(
        self, traced: Traced, folded: Folded, regions: Regions, aliases: Mapping[str, Mapping[str, str]]
    ) -> None:
        self._traced = traced
        self._folded = folded
        self._regions = regions
        self._aliases = aliases
        self._known: dict[Node, Operand] = {}
        self._bodies: dict[Region, dict[Node, Expr]] = {}
        self._parameters: dict[Region, dict[Symbol, Node]] = {}

    def run(self, tensors: Mapping[str, torch.Tensor], inputs: Mapping[str, Symbol]) -> dict[str, Expr]:
        """The outputs, with these weights by qualified name and these symbols for the inputs."""
        root = self._regions.innermost_first[-1]
        for region in self._regions.innermost_first[:-1]:
            env = self._parameters_of(region)
            self._lower_items(region, env)
            self._bodies[region] = {node: _single(env[node]).expr for node in region.outputs}
        env: dict[Node, Value] = {}
        for node, name in self._traced.weights.items():
            env[node] = Operand(Array(tensors[name], name), tensors[name].dtype)
        for node, name in self._traced.inputs.items():
            env[node] = Operand(inputs[name], node.meta["val"].dtype)
        self._lower_items(root, env)
        return {name: self._output(node, env) for name, node in self._traced.outputs.items()}

    def _output(self, node: Node, env: Mapping[Node, Value]) -> Expr:
        return _single(env[node] if node in env else self._operand_of_known(node)).expr

    def _lower_items(self, region: Region, env: dict[Node, Value]) -> None:
        counts: Counter[tuple[Key, str]] = Counter()
        for item in region.items:
            if isinstance(item, Region):
                self._call(region, item, env)
            elif is_getitem(item):
                source, position = item.args
                picked = env[source][position]  # type: ignore[index]
                if picked is None:
                    raise CheckpointError(
                        f"result {position} of {operator_name(source.target)} is used, which is not supported",  # type: ignore[union-attr]
                        expected="an operator whose other results are not used",
                        found=str(source),
                    )
                env[item] = picked  # type: ignore[assignment]
            else:
                env[item] = self._lower(item, env, _name_of(item, region, counts))

    def _parameters_of(self, region: Region) -> dict[Node, Value]:
        """A symbol for each value that comes in from outside."""
        env: dict[Node, Value] = {}
        symbols: dict[Symbol, Node] = {}
        given = self._regions.names.get(region.key, {})
        taken: Counter[str] = Counter()
        aliases = self._aliases.get(region.path, {})
        for node in (*region.inputs, *region.weights):
            if node in region.weights:
                qualified = self._traced.weights[node]
                name = aliases.get(qualified, qualified)
            else:
                name = given.get(node, "input")
            taken[name] += 1
            name = name if taken[name] == 1 else f"{name}_{taken[name] - 1}"
            value = node.meta["val"]
            shape = tuple(value.shape)
            uuid = uuid_from_name(f"{region.kind} {region.level} {name} {shape}")
            symbol = Symbol(shape, uuid, name)
            symbols[symbol] = node
            env[node] = Operand(symbol, value.dtype)
        self._parameters[region] = symbols
        return env

    def _call(self, caller: Region, called: Region, env: dict[Node, Value]) -> None:
        """The values that a region gives, as calls of their bodies on what stands for its parameters here."""
        parameters = self._parameters[called]
        returned = self._regions.names.get((*called.key, RETURNED), {})
        first = next((node for node in called.outputs if returned.get(node, "0") in ("", "0")), None)
        path = _relative(called.path, caller.path)
        for position, (node, body) in enumerate(self._bodies[called].items()):
            if len(called.outputs) == 1 or node is first:
                name = path
            else:
                name = f"{path}.{returned.get(node, f'result{position}')}"
            free = set(body.free_symbols)
            used = [symbol for symbol in parameters if symbol in free]
            args = [self._given(parameters[symbol], env).expr for symbol in used]
            if isinstance(body, Symbol):
                value = args[0]
            elif not used:
                value = body
            else:
                value = Module.make((body, *args), tuple(ModuleArgSpec(symbol) for symbol in used), name)
            env[node] = Operand(value, node.meta["val"].dtype)

    def _lower(self, node: Node, env: Mapping[Node, Value], name: str) -> Value:
        results = node.meta["val"]
        is_single = isinstance(results, torch.Tensor)
        tensors: list[torch.Tensor] = [results] if is_single else list(results)
        call = Call(
            operator_name(node.target),
            name,
            tuple(tuple(t.shape) for t in tensors),
            tuple(t.dtype for t in tensors),
        )
        operands: list[Operand] = []

        def value_of(arg: Node) -> Any:
            value = self._given(arg, env)
            operands.extend([value] if isinstance(value, Operand) else [v for v in value if v is not None])
            return value

        args = [_mapped(arg, value_of) for arg in node.args]
        kwargs = {key: _mapped(arg, value_of) for key, arg in node.kwargs.items()}
        try:
            made = ATEN[call.operator](call, *args, **kwargs)
        except ScrubError:
            raise
        except TypeError as error:
            raise CheckpointError(
                f"the lowering of {call.operator} does not take the arguments of {node.format_node()}: {error}",
                found=(node.args, node.kwargs),
                hint="it takes a Call and then the arguments of the operator's schema",
            ) from error
        exprs: Sequence[Expr | None] = made if isinstance(made, tuple) else (made,)
        given = {id(operand.expr) for operand in operands if operand.constant is None}
        finished = [
            None if expr is None else _finished(call, expr, i, operands, is_new=id(expr) not in given)
            for i, expr in enumerate(exprs)
        ]
        return _single(finished[0]) if is_single else tuple(finished)

    def _given(self, node: Node, env: Mapping[Node, Value]) -> Any:
        if node in env:
            return env[node]
        return self._operand_of_known(node)

    def _operand_of_known(self, node: Node) -> Any:
        value = self._folded.known[node]
        if not isinstance(value, torch.Tensor):
            return value
        if node not in self._known:
            self._known[node] = Operand(None, value.dtype, value, self._regions.known.get(node))
        return self._known[node]


def _finished(call: Call, expr: Expr, position: int, operands: Sequence[Operand], *, is_new: bool) -> Operand:
    """A result under its name, in the dtype that torch says, checked against the shape that torch says."""
    shape, dtype = call.shapes[position], call.dtypes[position]
    if expr.shape != shape:
        raise CheckpointError(
            f"the lowering of {call.operator} gave {expr!r} for result {position}",
            nodes=[expr],
            expected=shape,
            found=expr.shape,
            hint="call.shapes says what each result must be",
        )
    if is_new and expr.name is None and isinstance(expr, _COMPUTING) and not _is_cast(expr):
        expr = expr.rename(call.name if position == 0 else call.named(str(position)))
    is_open = expr.dtype is None and not any(o.constant is None and o.dtype == dtype for o in operands)
    if (is_open or expr.dtype not in (None, dtype)) and not isinstance(expr, Scalar):
        expr = cast_to(expr, dtype)
    return Operand(expr, dtype)


_COMPUTING = (Add, Einsum, GeneralFunction, Conv, Concat)
"""Nodes that get names. `Rearrange` and `Index` only move values; without names equal ones are one."""


def _is_cast(expr: Expr) -> bool:
    return isinstance(expr, GeneralFunction) and isinstance(expr.spec, Cast)


def _mapped(arg: Any, value_of: Any) -> Any:
    if isinstance(arg, Node):
        return value_of(arg)
    if isinstance(arg, list | tuple):
        return [_mapped(part, value_of) for part in arg]  # pyright: ignore[reportUnknownVariableType]
    return arg


def _single(value: Any) -> Operand:
    assert isinstance(value, Operand)
    return value


def _name_of(node: Node, region: Region, counts: Counter[tuple[Key, str]]) -> str:
    """The operator's name, numbered within the submodule, and after the submodule's where that is no region itself."""
    stack = stack_of(node)
    key = tuple(call[0] for call in stack)
    path = stack[-1][1] if stack else ""
    operation = operator_name(node.target).split(".")[1].strip("_")
    counts[key, operation] += 1
    number = counts[key, operation]
    inner = path[len(region.path) :].removeprefix(".") if path.startswith(region.path) else path
    return ".".join(part for part in (inner, operation if number == 1 else f"{operation}_{number - 1}") if part)


def _relative(path: str, caller: str) -> str:
    """A submodule's name in the body of its caller: in numbered layers relative to it, since these share their body."""
    is_numbered = any(part.isdigit() for part in caller.split("."))
    if is_numbered and path.startswith(f"{caller}."):
        return path[len(caller) + 1 :]
    return path
