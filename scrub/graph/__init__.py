"""What expressions are: nodes, shapes, identity, text form, files."""

from scrub.graph.add import Add
from scrub.graph.array import Array
from scrub.graph.batching import common_batch, rebuild_batched
from scrub.graph.concat import Concat
from scrub.graph.conv import Conv
from scrub.graph.cost import Cost, CostRow, Total, cost
from scrub.graph.cumulant import Cumulant
from scrub.graph.diff import Change, Diff, diff
from scrub.graph.discrete_var import DiscreteVar, uniform
from scrub.graph.einsum import Einsum
from scrub.graph.errors import (
    BatchError,
    CheckpointError,
    ConstructionError,
    DeviceError,
    DtypeError,
    EstimateError,
    FileError,
    FrozenError,
    FunctionError,
    HeadSplitError,
    MatchError,
    ModuleBindingError,
    ParseError,
    RandomVariableError,
    RewriteError,
    SampleSpecError,
    ScrubError,
    ShapeError,
    UnboundSymbolError,
    UndefinedRatioError,
)
from scrub.graph.expr import AxisUse, Expr, Shape
from scrub.graph.files import load, load_many, save
from scrub.graph.fluent import provide
from scrub.graph.frozen_tensor import FrozenTensor, tensor_digest
from scrub.graph.functions import ELEMENTWISE, FUNCTIONS, Function, FunctionShape, function
from scrub.graph.general_function import GeneralFunction, elementwise, log_softmax, register_elementwise, softmax
from scrub.graph.index import I, Index, S
from scrub.graph.module import Module, ModuleArgSpec, ModuleSpec
from scrub.graph.parser import Parser
from scrub.graph.rearrange import Rearrange
from scrub.graph.registry import NODES, node
from scrub.graph.scalar import Scalar
from scrub.graph.scatter import Scatter
from scrub.graph.set_symbolic_shape import SetSymbolicShape
from scrub.graph.size_values import reciprocal_of_size, size_value
from scrub.graph.sizes import Size, is_concrete, is_symbolic, parse_size, size_text, symbolic_sizes
from scrub.graph.stored_cumulant_var import StoredCumulantVar
from scrub.graph.sugar import cast, cast_to
from scrub.graph.symbol import Symbol
from scrub.graph.tag import Tag
from scrub.graph.text import display_name, to_text, tree_lines
from scrub.graph.walk import postorder, rebuild

__all__ = [
    "Add",
    "Array",
    "AxisUse",
    "BatchError",
    "cast",
    "cast_to",
    "Change",
    "CheckpointError",
    "common_batch",
    "Concat",
    "ConstructionError",
    "Conv",
    "Cost",
    "cost",
    "CostRow",
    "Cumulant",
    "DeviceError",
    "Diff",
    "diff",
    "DiscreteVar",
    "display_name",
    "DtypeError",
    "Einsum",
    "elementwise",
    "ELEMENTWISE",
    "EstimateError",
    "Expr",
    "FileError",
    "FrozenError",
    "FrozenTensor",
    "Function",
    "function",
    "FUNCTIONS",
    "FunctionError",
    "FunctionShape",
    "GeneralFunction",
    "HeadSplitError",
    "I",
    "Index",
    "is_concrete",
    "is_symbolic",
    "load",
    "load_many",
    "log_softmax",
    "MatchError",
    "Module",
    "ModuleArgSpec",
    "ModuleBindingError",
    "ModuleSpec",
    "node",
    "NODES",
    "parse_size",
    "ParseError",
    "Parser",
    "postorder",
    "provide",
    "RandomVariableError",
    "Rearrange",
    "rebuild",
    "rebuild_batched",
    "reciprocal_of_size",
    "register_elementwise",
    "RewriteError",
    "S",
    "SampleSpecError",
    "save",
    "Scalar",
    "Scatter",
    "ScrubError",
    "SetSymbolicShape",
    "Shape",
    "ShapeError",
    "Size",
    "size_text",
    "size_value",
    "softmax",
    "StoredCumulantVar",
    "Symbol",
    "symbolic_sizes",
    "Tag",
    "tensor_digest",
    "to_text",
    "Total",
    "tree_lines",
    "UnboundSymbolError",
    "UndefinedRatioError",
    "uniform",
]
