"""From a module to a flat graph of ATen operators, by `torch.export`, with notes on which values are whose arguments.

While the module is traced, hooks on its submodules put *marks* into the graph: calls of an operator of our own that
returns nothing. A mark says that a value was passed to a submodule under a name, or returned by it. So the expression
can call its parameters what the code of the model calls them.
"""

from __future__ import annotations

import inspect
import operator
import warnings
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

import torch
from torch.fx import Node
from torch.fx.node import has_side_effect
from torch.utils import _pytree as pytree

from scrub.graph import CheckpointError
from scrub.models.exported.registry import KEPT

RETURNED = ">"
"""What the name of a mark begins with where the value was returned."""


@dataclass(frozen=True)
class Traced:
    """A module as a graph.

    Attributes:
        nodes: in the order of execution.
        weights: placeholder -> qualified name, for what the state dict holds.
        known: placeholder -> value, for all other tensors and numbers that the module holds or was given.
        inputs: placeholder -> name, for the tensors that are its arguments.
        outputs: name -> node, for the results that are tensors.
        marks: (node, path of the submodule, name); see above.
    """

    nodes: list[Node]
    weights: dict[Node, str]
    known: dict[Node, Any]
    inputs: dict[Node, str]
    outputs: dict[str, Node]
    marks: list[Node]


def trace(module: torch.nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Traced:
    """The graph of a module in evaluation mode.

    Raises:
        CheckpointError: torch cannot export it, or it writes into its arguments or buffers.
    """
    args, kwargs = _told_apart(args, kwargs)
    with _evaluation_mode(module), _marking(module), warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # torch warns of its own deprecated calls
        try:
            program = torch.export.export(module, args, kwargs, strict=False)
            program = program.run_decompositions(_decompositions())
        except Exception as error:
            raise _export_failed(module, error) from error
    _check_writes_nothing(program)
    return _read(module, program)


def _told_apart(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments, with copies of tensors that are there twice: torch tells tensors by identity."""
    seen: set[int] = set()

    def fresh(value: Any) -> Any:
        if not isinstance(value, torch.Tensor) or id(value) not in seen:
            seen.add(id(value))
            return value
        return value.clone()

    return pytree.tree_map(fresh, (args, dict(kwargs)))


def tensors_of(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Everything that a module holds, by qualified name."""
    parameters: dict[str, torch.Tensor] = dict(module.named_parameters(remove_duplicate=False))
    return {**parameters, **dict(module.named_buffers(remove_duplicate=False))}


def submodules_of(module: torch.nn.Module) -> dict[str, torch.nn.Module]:
    """All submodules by qualified name, itself as "" included; one that has two names is there twice."""
    named: dict[str, torch.nn.Module] = {}
    for path, submodule in cast("Any", module.named_modules(remove_duplicate=False)):
        named[path] = submodule
    return named


def is_mark(node: Node) -> bool:
    """Whether a node of the graph is a mark."""
    return node.target is torch.ops.scrub.mark.default


def _decompositions() -> Any:
    table = torch.export.default_decompositions()
    for name in KEPT:
        library, function, overload = name.split(".")
        kept = getattr(getattr(getattr(torch.ops, library), function, None), overload, None)
        if kept is not None:
            table.pop(kept, None)
    return table


@contextmanager
def _evaluation_mode(module: torch.nn.Module) -> Generator[None]:
    training = {m: m.training for m in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for m, was in training.items():
            m.training = was


@contextmanager
def _marking(module: torch.nn.Module) -> Generator[None]:
    _define_mark()
    handles: list[Any] = []
    submodules = submodules_of(module)
    for path, submodule in submodules.items():
        if path and not isinstance(submodule, torch.jit.ScriptModule):
            handles.append(submodule.register_forward_pre_hook(_mark_arguments(path, submodule), with_kwargs=True))
            handles.append(submodule.register_forward_hook(_mark_results(path)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@lru_cache(maxsize=1)
def _define_mark() -> torch.library.Library:
    """The operator of which marks are calls."""
    library = torch.library.Library("scrub", "FRAGMENT")
    library.define("mark(Tensor x, str path, str name) -> ()")
    library.impl("mark", _nothing, "CompositeExplicitAutograd")
    torch.library.register_fake("scrub::mark", _nothing, lib=library)
    has_side_effect(torch.ops.scrub.mark.default)  # else it counts as dead code
    return library


def _nothing(x: torch.Tensor, path: str, name: str) -> None:
    """What a mark computes."""


def _mark_arguments(path: str, submodule: torch.nn.Module) -> Callable[..., None]:
    signature = inspect.signature(submodule.forward)

    def hook(_: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        try:
            given = signature.bind(*args, **kwargs).arguments
        except TypeError:  # the call itself will say what is wrong with them
            return
        for name, value in given.items():
            kind = signature.parameters[name].kind
            is_rest = kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
            for where, leaf in _leaves(value):
                _mark(leaf, path, ".".join(where if is_rest and where else (name, *where)))

    return hook


def _mark_results(path: str) -> Callable[..., None]:
    def hook(_: torch.nn.Module, args: tuple[Any, ...], result: Any) -> None:
        if isinstance(result, torch.Tensor):  # the only result needs no name
            return
        for where, leaf in _leaves(result):
            _mark(leaf, path, RETURNED + ".".join(where))

    return hook


def _mark(value: Any, path: str, name: str) -> None:
    if isinstance(value, torch.Tensor):
        torch.ops.scrub.mark.default(value, path, name)


def _leaves(value: Any) -> list[tuple[tuple[str, ...], Any]]:
    """What a nested argument holds, with keys and positions on the way there."""
    try:
        leaves, _ = pytree.tree_flatten_with_path(value)
    except Exception:  # a container that knows no keys
        return [((str(i),), leaf) for i, leaf in enumerate(pytree.tree_leaves(value))]
    return [(tuple(map(_key_text, where)), leaf) for where, leaf in leaves]


def _key_text(key: Any) -> str:
    for attribute in ("key", "idx", "name"):
        if hasattr(key, attribute):
            return str(getattr(key, attribute))
    return str(key)


def _read(module: torch.nn.Module, program: torch.export.ExportedProgram) -> Traced:
    """The parts of an exported program, with the tensors of the module itself."""
    kinds = torch.export.graph_signature.InputKind
    specs = {spec.arg.name: spec for spec in program.graph_signature.input_specs}
    tensors = tensors_of(module)
    weights: dict[Node, str] = {}
    known: dict[Node, Any] = {}
    inputs: dict[Node, str] = {}
    nodes = [node for node in program.graph.nodes if node.op not in ("placeholder", "output")]
    for node in program.graph.nodes:
        if node.op != "placeholder":
            continue
        spec = specs[node.name]
        if spec.kind == kinds.PARAMETER or (spec.kind == kinds.BUFFER and spec.persistent):
            weights[node] = str(spec.target)
        elif spec.kind == kinds.USER_INPUT:
            if isinstance(node.meta.get("val"), torch.Tensor):
                inputs[node] = node.name
            else:
                known[node] = getattr(spec.arg, "value", None)
        elif spec.kind == kinds.BUFFER:
            known[node] = tensors[str(spec.target)].detach()
        else:
            known[node] = program.constants[str(spec.target)]
    output = next(node for node in program.graph.nodes if node.op == "output")
    return Traced(
        [node for node in nodes if not is_mark(node)],
        weights,
        known,
        inputs,
        _named_outputs(program, output.args[0]),
        [node for node in nodes if is_mark(node)],
    )


def _named_outputs(program: torch.export.ExportedProgram, results: Any) -> dict[str, Node]:
    names: Sequence[str]
    try:
        tree = pytree.tree_unflatten(list(range(len(results))), program.call_spec.out_spec)  # type: ignore[arg-type]
        names = [".".join(where) for where, _ in _leaves(tree)]
    except Exception:  # a container that cannot be made of numbers
        names = [str(i) for i in range(len(results))]
    named = zip(names, results, strict=True)
    return {name or "output": node for name, node in named if isinstance(node, Node)}


def _check_writes_nothing(program: torch.export.ExportedProgram) -> None:
    signature = program.graph_signature
    written = {
        **dict(signature.buffers_to_mutate),
        **dict(signature.user_inputs_to_mutate),
        **dict(getattr(signature, "parameters_to_mutate", {})),
    }
    if written:
        raise CheckpointError(
            f"the module writes into {sorted(set(written.values()))}: an expression has no state to change",
            expected="a forward that changes none of its arguments and buffers",
            found=sorted(set(written.values())),
            hint="switch caches and running statistics off (use_cache=False), or return the new value instead",
        )


def _export_failed(module: torch.nn.Module, error: Exception) -> CheckpointError:
    text = str(error).strip() or type(error).__name__
    lines = [line for line in text.splitlines() if line.strip()]
    is_dynamic = "data-dependent" in text.lower() or "datadependent" in type(error).__name__.lower()
    return CheckpointError(
        f"torch.export does not take {type(module).__name__}: {type(error).__name__}: {lines[0]}",
        expected="a module without control flow or shapes that depend on values",
        found=text,
        hint="write the choice with torch.where, or the loop over a fixed number of steps"
        if is_dynamic
        else "try torch.export.export(module, example_inputs, strict=False) on its own; it must succeed first",
    )


def is_getitem(node: Node) -> bool:
    """Whether a node picks one of several results."""
    return node.target is operator.getitem
