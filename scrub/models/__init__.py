"""Where expressions come from: families of transformers, loading, splitting, models that ship with the package."""

from scrub.models.architecture import (
    Architecture,
    Attention,
    Embedding,
    Experts,
    Layer,
    Mlp,
    Norm,
    Patches,
    Readout,
    RotaryTable,
    Transform,
)
from scrub.models.configure import To, check_equal, configure_transformer
from scrub.models.exported import (
    ATEN,
    ExportedModel,
    StructureReport,
    aten,
    dissolve,
    from_torch,
    recover_structure,
    structure_of,
)
from scrub.models.families import FAMILIES, Family, Source, register
from scrub.models.folding import center_weights, fold_layer_norm, fold_value_biases
from scrub.models.heads import head_input, split_heads, split_keys
from scrub.models.loaded import LoadedModel
from scrub.models.loading import load
from scrub.models.losses import negative_log_likelihood
from scrub.models.lower import lower_transformer, weight_symbols
from scrub.models.shipped import ShippedModel, load_shipped
from scrub.models.splits import (
    components_per_reader,
    flatten_residual,
    split_axis,
    split_contraction,
    split_neurons,
    split_positions,
    split_subspace,
)
from scrub.models.stdlib_text import documents, held_out_sequences
from scrub.models.transformer_lens import from_transformer_lens

__all__ = [
    "ATEN",
    "FAMILIES",
    "Architecture",
    "Attention",
    "Embedding",
    "Experts",
    "ExportedModel",
    "Family",
    "Layer",
    "LoadedModel",
    "Mlp",
    "Norm",
    "Patches",
    "Readout",
    "RotaryTable",
    "ShippedModel",
    "Source",
    "StructureReport",
    "To",
    "Transform",
    "aten",
    "center_weights",
    "check_equal",
    "components_per_reader",
    "configure_transformer",
    "dissolve",
    "documents",
    "flatten_residual",
    "fold_layer_norm",
    "fold_value_biases",
    "from_torch",
    "from_transformer_lens",
    "head_input",
    "held_out_sequences",
    "load",
    "load_shipped",
    "lower_transformer",
    "negative_log_likelihood",
    "recover_structure",
    "register",
    "split_axis",
    "split_contraction",
    "split_heads",
    "split_keys",
    "split_neurons",
    "split_positions",
    "split_subspace",
    "structure_of",
    "weight_symbols",
]
