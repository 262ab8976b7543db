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
    DatasetError,
    DeviceError,
    DiscoveryError,
    DtypeError,
    EstimateError,
    FileError,
    FrozenError,
    FunctionError,
    HeadSplitError,
    HypothesisError,
    MatchError,
    MemoryLimitError,
    ModuleBindingError,
    NonFiniteError,
    ParseError,
    RandomVariableError,
    RewriteError,
    SampleSpecError,
    ScrubError,
    ShapeError,
    SplitError,
    TaskError,
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
    "ELEMENTWISE",
    "FUNCTIONS",
    "NODES",
    "Add",
    "Array",
    "AxisUse",
    "BatchError",
    "Change",
    "CheckpointError",
    "Concat",
    "ConstructionError",
    "Conv",
    "Cost",
    "CostRow",
    "Cumulant",
    "DatasetError",
    "DeviceError",
    "Diff",
    "DiscreteVar",
    "DtypeError",
    "Einsum",
    "EstimateError",
    "Expr",
    "FileError",
    "FrozenError",
    "FrozenTensor",
    "Function",
    "FunctionError",
    "FunctionShape",
    "GeneralFunction",
    "HeadSplitError",
    "DiscoveryError",
    "HypothesisError",
    "TaskError",
    "I",
    "Index",
    "MatchError",
    "MemoryLimitError",
    "Module",
    "ModuleArgSpec",
    "ModuleBindingError",
    "ModuleSpec",
    "NonFiniteError",
    "ParseError",
    "Parser",
    "RandomVariableError",
    "Rearrange",
    "RewriteError",
    "S",
    "SampleSpecError",
    "Scalar",
    "Scatter",
    "ScrubError",
    "SetSymbolicShape",
    "Shape",
    "ShapeError",
    "SplitError",
    "Size",
    "StoredCumulantVar",
    "Symbol",
    "Tag",
    "Total",
    "UnboundSymbolError",
    "UndefinedRatioError",
    "cast",
    "cast_to",
    "common_batch",
    "cost",
    "diff",
    "display_name",
    "elementwise",
    "function",
    "is_concrete",
    "is_symbolic",
    "load",
    "load_many",
    "log_softmax",
    "node",
    "parse_size",
    "postorder",
    "provide",
    "rebuild",
    "rebuild_batched",
    "reciprocal_of_size",
    "register_elementwise",
    "save",
    "size_text",
    "size_value",
    "softmax",
    "symbolic_sizes",
    "tensor_digest",
    "to_text",
    "tree_lines",
    "uniform",
]
