"""What runs the modules that a program consists of: torch as it is, torch's compiler, or CUDA graphs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import torch
from torch import fx

from scrub.compiler.ops.probe import probed
from scrub.graph import ConstructionError, DeviceError

Backend = Literal["eager", "inductor", "cudagraphs"]
Run = Callable[..., tuple[torch.Tensor, ...]]


def check_backend(backend: str) -> None:
    """Raise an error unless there is such a backend, and it can run here."""
    if backend not in MAKERS:
        raise ConstructionError(
            f"compile: there is no backend {backend!r}, but {', '.join(MAKERS)}", expected=[*MAKERS], found=backend
        )
    if backend == "cudagraphs" and not torch.cuda.is_available():
        raise DeviceError(
            "compile: backend='cudagraphs' needs a CUDA device, and torch sees none",
            expected="cuda",
            found="cpu",
            hint="backend='inductor' compiles for the CPU",
        )


def made_ready(module: fx.GraphModule, backend: Backend) -> Run:
    """The module, run by a backend."""
    return MAKERS[backend](module)


def _compiled(module: fx.GraphModule) -> Run:
    """Compiled by inductor at the first call, for any number of draws."""
    calls = [node for node in module.graph.nodes if node.op == "call_function"]
    if not calls:
        return module
    probes = [node for node in calls if node.target is probed]
    if probes:  # within a graph that torch compiles, a probe would give wrong gradients
        apart = torch.compiler.disable(probed)
        for node in probes:
            node.target = apart
        module.recompile()
    return torch.compile(module, backend="inductor", dynamic=True)


class _Captured(NamedTuple):
    graph: Any
    inputs: list[torch.Tensor]
    outputs: tuple[torch.Tensor, ...]


class CudaGraphs:
    """A module captured as a CUDA graph for each number of draws, and replayed.

    Everything the module reads is copied to where the graph reads it, and its results are copied out, so that a later
    call does not change them.

    Args:
        module: what is captured at the first call with inputs of a shape.
    """

    def __init__(self, module: fx.GraphModule) -> None:
        self.module = module
        self._captured: dict[tuple[torch.Size, ...], _Captured] = {}

    def __call__(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        for tensor in tensors:
            if tensor.device.type != "cuda":
                raise DeviceError(
                    f"run: backend='cudagraphs' runs on CUDA alone, a tensor of shape {list(tensor.shape)} lies on "
                    f"{tensor.device}",
                    expected="cuda",
                    found=str(tensor.device),
                    hint="rc.cast(expr, device='cuda') moves the weights; bind tensors that lie there too",
                )
        if not tensors or not all(tensor.numel() for tensor in tensors):
            return self.module(*tensors)  # computed once, or nothing to compute
        shapes = tuple(tensor.shape for tensor in tensors)
        if shapes not in self._captured:
            self._captured[shapes] = self._capture(tensors)
        graph, inputs, outputs = self._captured[shapes]
        for held, tensor in zip(inputs, tensors, strict=True):
            held.copy_(tensor)
        graph.replay()
        return tuple(output.clone() for output in outputs)

    def _capture(self, tensors: tuple[torch.Tensor, ...]) -> _Captured:
        inputs = [tensor.clone() for tensor in tensors]
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):  # libraries set themselves up at their first call, which cannot be captured
            self.module(*inputs)
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            outputs = self.module(*inputs)
        return _Captured(graph, inputs, outputs)


MAKERS: Mapping[str, Callable[[fx.GraphModule], Run]] = {
    "eager": lambda module: module,
    "inductor": _compiled,
    "cudagraphs": CudaGraphs,
}
