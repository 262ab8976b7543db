"""`from_torch`: any module that `torch.export` takes, as an expression."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

import scrub.models.exported.ops  # noqa: F401  # pyright: ignore[reportUnusedImport] - registers the operators
from scrub.graph import Array, CheckpointError, DtypeError, Expr, Module, Symbol
from scrub.models.exported.folding import fold
from scrub.models.exported.lowering import Lowering
from scrub.models.exported.regions import find_regions
from scrub.models.exported.tracing import Traced, submodules_of, tensors_of, trace


@dataclass(frozen=True)
class ExportedModel:
    """A module as expressions.

    Attributes:
        outputs: result -> expression, with the inputs as free symbols. Results are called by the keys of what the
            module returns ("logits"), by their positions, or "output" where it returns one tensor.
        inputs: argument -> symbol, of the shape of the example.
        dtypes: argument -> dtype of the example.
    """

    outputs: dict[str, Expr]
    inputs: dict[str, Symbol]
    dtypes: dict[str, torch.dtype]

    @property
    def output(self) -> Expr:
        """The only result.

        Raises:
            CheckpointError: there are several.
        """
        if len(self.outputs) != 1:
            raise CheckpointError(
                f"the module returns {len(self.outputs)} tensors",
                expected="one",
                found=list(self.outputs),
                hint=f"take one of model.outputs: {', '.join(map(repr, self.outputs))}",
            )
        return next(iter(self.outputs.values()))

    def call(self, **values: torch.Tensor | Expr) -> Expr:
        """The only result, with the inputs bound: `model.call(x=torch.ones(2, 3)).evaluate()`.

        Args:
            values: a tensor or an expression for each input, of its shape; axes in front are batch axes.

        Raises:
            CheckpointError: an input is missing, or there is none of that name.
            DtypeError: a value has another dtype than the example.
        """
        return self._bound({"output": self.output}, values)["output"]

    def call_all(self, **values: torch.Tensor | Expr) -> dict[str, Expr]:
        """Every result by its name, with the inputs bound; arguments and errors are those of `call`.

        >>> model = from_torch(torch.nn.Identity(), (torch.ones(2),))
        >>> model.call_all(input=torch.ones(2))
        {'output': 'output.call' [2] Module}
        """
        return self._bound(self.outputs, values)

    def _bound(self, outputs: Mapping[str, Expr], values: Mapping[str, torch.Tensor | Expr]) -> dict[str, Expr]:
        self._check(values)
        bound: dict[Symbol, Expr] = {
            self.inputs[name]: value if isinstance(value, Expr) else Array(value, name)
            for name, value in values.items()
        }
        return {
            name: Module.from_bindings(expr, {s: bound[s] for s in expr.free_symbols if s in bound}, f"{name}.call")
            for name, expr in outputs.items()
        }

    def _check(self, values: Mapping[str, torch.Tensor | Expr]) -> None:
        needed = [name for name, s in self.inputs.items() if any(s in e.free_symbols for e in self.outputs.values())]
        missing = [name for name in needed if name not in values]
        unknown = [name for name in values if name not in self.inputs]
        if missing or unknown:
            problem = f"nothing is given for {missing}" if missing else f"there is no input {unknown}"
            raise CheckpointError(
                f"calling the model: {problem}",
                expected=list(self.inputs),
                found=list(values),
                hint=f"the inputs are {', '.join(f'{name} {list(s.shape)}' for name, s in self.inputs.items())}",
            )
        for name, value in values.items():
            if value.dtype is not None and value.dtype != self.dtypes[name]:
                raise DtypeError(
                    f"calling the model: {name} is {value.dtype}, the example was {self.dtypes[name]}",
                    expected=self.dtypes[name],
                    found=value.dtype,
                    hint=f"convert it with .to({self.dtypes[name]})",
                )


def from_torch(
    module: torch.nn.Module,
    example_inputs: tuple[Any, ...] = (),
    *,
    example_kwargs: Mapping[str, Any] | None = None,
    hierarchy: bool | Callable[[str], bool] = True,
) -> ExportedModel:
    """Lower any module that `torch.export` takes, in evaluation mode and for inputs of the shapes of the examples.

    Weights are shared, not copied: each is an `Array` under its qualified name. What depends on no input and no
    weight, such as masks and positions, is computed now.

    Args:
        module: what to lower.
        example_inputs, example_kwargs: arguments of its forward. Tensors become inputs; all else is fixed.
        hierarchy: whether calls of submodules become `Module`s: all, none, or those whose qualified name
            ("layers.0.attn") the function accepts. Layers with equal bodies share one.

    Raises:
        CheckpointError: torch cannot export it, it changes its own state, or it uses operators that are not known;
            these are listed all at once.

    >>> linear = torch.nn.Linear(3, 2)
    >>> model = from_torch(linear, (torch.ones(4, 3),))
    >>> model.output
    'linear' [4, 2] Add
    >>> torch.allclose(model.call(input=torch.ones(4, 3)).evaluate(), linear(torch.ones(4, 3)))
    True
    """
    example_inputs = tuple(example_inputs)
    traced = trace(module, example_inputs, example_kwargs or {})
    folded = fold(traced)
    regions = find_regions(traced, folded, hierarchy if callable(hierarchy) else _all if hierarchy else _none)
    tensors = tensors_of(module)
    inputs = {name: Symbol.new_from_name(tuple(node.meta["val"].shape), name) for node, name in traced.inputs.items()}
    dtypes = {name: node.meta["val"].dtype for node, name in traced.inputs.items()}
    lowering = Lowering(traced, folded, regions, _aliases(module, traced))
    return ExportedModel(lowering.run(tensors, inputs), inputs, dtypes)


def _aliases(module: torch.nn.Module, traced: Traced) -> dict[str, dict[str, str]]:
    """For each submodule: qualified name of a weight, as the graph has it -> its name there, tied weights included."""
    tensors = tensors_of(module)
    qualified = {id(tensors[name]): name for name in traced.weights.values()}
    submodules = submodules_of(module)
    return {
        path: {qualified[id(tensor)]: name for name, tensor in tensors_of(submodule).items() if id(tensor) in qualified}
        for path, submodule in submodules.items()
    }


def _all(path: str) -> bool:
    return True


def _none(path: str) -> bool:
    return False
