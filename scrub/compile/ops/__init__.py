"""The operations of the compiler's intermediate form."""

from scrub.compile.ops.apply import Apply, ApplyEach, NodeCall
from scrub.compile.ops.arithmetic import Contract, OnDiagonal, Sum
from scrub.compile.ops.batch_axes import Run, Sibling, Stacked, ToBatch, ToCore
from scrub.compile.ops.gather import Gather
from scrub.compile.ops.leaves import Constant, Fill, Input
from scrub.compile.ops.moving import Joined, Picked, Rearranged

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
