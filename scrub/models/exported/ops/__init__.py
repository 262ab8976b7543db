"""The operators that are known, one kind a file. Importing this package registers them."""

from scrub.models.exported.ops import (
    arithmetic,
    attention,
    casting,
    comparison,
    convolution,
    elementwise,
    indexing,
    matrices,
    normalization,
    pooling,
    reductions,
    resampling,
    scattering,
    shape,
)

__all__ = [
    "arithmetic",
    "attention",
    "casting",
    "comparison",
    "convolution",
    "elementwise",
    "indexing",
    "matrices",
    "normalization",
    "pooling",
    "reductions",
    "resampling",
    "scattering",
    "shape",
]
