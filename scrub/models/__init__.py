"""Where expressions come from: transformer modules, lowering, splitting by head, models that ship with the package."""

from scrub.models.config import TransformerConfig
from scrub.models.configure import To, check_equal, configure_transformer
from scrub.models.heads import head_input, split_heads, split_keys
from scrub.models.lower import bind_tokens, lower_transformer
from scrub.models.modules import negative_log_likelihood
from scrub.models.shipped import ShippedModel, load_shipped
from scrub.models.stdlib_text import documents, held_out_sequences

__all__ = [
    "ShippedModel",
    "To",
    "TransformerConfig",
    "bind_tokens",
    "check_equal",
    "configure_transformer",
    "documents",
    "head_input",
    "held_out_sequences",
    "load_shipped",
    "lower_transformer",
    "negative_log_likelihood",
    "split_heads",
    "split_keys",
]
