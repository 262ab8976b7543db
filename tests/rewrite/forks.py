"""The rules once more, from source text of which some is replaced, next to the real ones and without touching them.

What a fork makes anew are the modules of rules; all others, such as those of nodes and of `Rule` itself, are shared.
"""

from __future__ import annotations

import builtins
import functools
import importlib
import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any
from unittest import mock

from scrub.rewrite.rule import Rule

PACKAGES = ("scrub.rewrite.rules", "scrub.rewrite.modules")


class Fork:
    """Modules of rules executed into objects that nobody else sees.

    Args:
        sources: module name -> its text, where that is not what is in its file.
    """

    def __init__(self, sources: Mapping[str, str]) -> None:
        self.rules: dict[str, Rule[...]] = {}
        self.modules: dict[str, ModuleType] = {}
        self.sources = sources
        with mock.patch("scrub.rewrite.rule.REWRITES", self.rules):
            for name in PACKAGES:
                self._load(name)

    def _load(self, name: str) -> ModuleType:
        if name not in self.modules:
            path, code = _compiled(name)
            if name in self.sources:
                code = compile(self.sources[name], path, "exec")
            module = ModuleType(name)
            module.__dict__["__file__"] = path
            module.__dict__["__builtins__"] = {**vars(builtins), "__import__": self._import}
            self.modules[name] = module
            exec(code, module.__dict__)
        return self.modules[name]

    def _import(self, name: str, *args: Any) -> Any:
        fromlist: Sequence[str] = args[2] if len(args) > 2 else ()
        is_forked = any(name == package or name.startswith(f"{package}.") for package in PACKAGES)
        return self._load(name) if is_forked and fromlist else builtins.__import__(name, *args)


def source_of(name: str) -> str:
    """The text of a module."""
    return Path(_compiled(name)[0]).read_text()


@functools.cache
def _compiled(name: str) -> tuple[str, CodeType]:
    spec = importlib.util.find_spec(name)
    assert spec is not None
    assert spec.origin is not None
    return spec.origin, compile(Path(spec.origin).read_text(), spec.origin, "exec")
