"""Families of Hugging Face models, one file each. Importing this package registers every file in it."""

import pkgutil
from importlib import import_module

from scrub.models.families.family import FAMILIES, Family, Head, Source, register

for _module in pkgutil.iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

__all__ = ["FAMILIES", "Family", "Head", "Source", "register"]
