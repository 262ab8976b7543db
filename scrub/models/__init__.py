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
from scrub.models.families import FAMILIES, Family, Source, register
from scrub.models.heads import head_input, split_heads, split_keys
from scrub.models.loaded import LoadedModel
from scrub.models.loading import load
from scrub.models.losses import negative_log_likelihood
from scrub.models.lower import lower_transformer, weight_symbols
from scrub.models.shipped import ShippedModel, load_shipped
from scrub.models.stdlib_text import documents, held_out_sequences
from scrub.models.transformer_lens import from_transformer_lens

__all__ = [
    "FAMILIES",
    "Architecture",
    "Attention",
    "Embedding",
    "Experts",
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
    "To",
    "Transform",
    "check_equal",
    "configure_transformer",
    "documents",
    "from_transformer_lens",
    "head_input",
    "held_out_sequences",
    "load",
    "load_shipped",
    "lower_transformer",
    "negative_log_likelihood",
    "register",
    "split_heads",
    "split_keys",
    "weight_symbols",
]
