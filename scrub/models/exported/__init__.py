"""The general route: any `torch.nn.Module` that `torch.export` takes, as an expression."""

from scrub.models.exported.call import Call, Operand
from scrub.models.exported.dissolve import dissolve
from scrub.models.exported.model import ExportedModel, from_torch
from scrub.models.exported.recover import StructureReport, recover_structure, structure_of
from scrub.models.exported.registry import ATEN, aten

__all__ = [
    "ATEN",
    "Call",
    "ExportedModel",
    "Operand",
    "StructureReport",
    "aten",
    "dissolve",
    "from_torch",
    "recover_structure",
    "structure_of",
]
