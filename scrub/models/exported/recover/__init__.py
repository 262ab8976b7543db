"""Structure recovered from exported models: heads, attention, norms and residual sums (docs: `recover_structure`)."""

from scrub.models.exported.recover.axes import (
    lift_merge,
    pair_ones,
    scale_operands,
    scale_product,
    split_into_weights,
    turn_product,
    turn_terms,
    unmerge_operands,
)
from scrub.models.exported.recover.cores import name_attention, open_attention
from scrub.models.exported.recover.heads import call_heads
from scrub.models.exported.recover.layers import open_linear, separate_fused
from scrub.models.exported.recover.norms import call_norm, recover_norms
from scrub.models.exported.recover.report import Found, StructureReport, structure_of
from scrub.models.exported.recover.residual import flatten_residual, open_block
from scrub.models.exported.recover.rules import RECOVERY
from scrub.models.exported.recover.structure import recover_structure

__all__ = [
    "RECOVERY",
    "Found",
    "StructureReport",
    "call_heads",
    "call_norm",
    "flatten_residual",
    "lift_merge",
    "name_attention",
    "open_attention",
    "open_block",
    "open_linear",
    "pair_ones",
    "recover_norms",
    "recover_structure",
    "scale_operands",
    "scale_product",
    "separate_fused",
    "split_into_weights",
    "structure_of",
    "turn_product",
    "turn_terms",
    "unmerge_operands",
]
