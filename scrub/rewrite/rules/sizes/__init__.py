"""Rules of claims about sizes."""

from scrub.rewrite.rules.sizes.drop_settled_shape import drop_settled_shape

__all__ = ["drop_settled_shape"]
