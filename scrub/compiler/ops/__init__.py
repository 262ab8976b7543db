"""The operations of the compiler's intermediate form."""

from scrub.compiler.ops.apply import Apply, ApplyEach, NodeCall
from scrub.compiler.ops.arithmetic import Contract, OnDiagonal, Sum
from scrub.compiler.ops.batch_axes import Run, Sibling, Stacked, ToBatch, ToCore
from scrub.compiler.ops.gather import Gather
from scrub.compiler.ops.leaves import Constant, Fill, Input
from scrub.compiler.ops.moving import Joined, Picked, Rearranged

__all__ = [
    "Apply",
    "ApplyEach",
    "Constant",
    "Contract",
    "Fill",
    "Gather",
    "Input",
    "Joined",
    "NodeCall",
    "OnDiagonal",
    "Picked",
    "Rearranged",
    "Run",
    "Sibling",
    "Stacked",
    "Sum",
    "ToBatch",
    "ToCore",
]
