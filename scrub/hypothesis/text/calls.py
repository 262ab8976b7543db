"""Samplers read from text: the calls that a text writes, and the samplers that are made of what was handed over.

Nothing of a text is evaluated; `text_samplers.py` says what it looks like.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, cast

from scrub.graph import HypothesisError, ScrubError
from scrub.graph.text.names import QUOTED
from scrub.graph.text.values import parse_values
from scrub.hypothesis.dataset import Dataset
from scrub.hypothesis.samplers import (
    CondSampler,
    ExactSampler,
    FixedOtherSampler,
    FuncSampler,
    UncondSampler,
    UncondTogetherSampler,
)
from scrub.hypothesis.text.samplers import BUILT_IN, is_plain

_OPTIONS: dict[type[CondSampler], tuple[str, ...]] = {
    ExactSampler: (),
    UncondSampler: ("pool",),
    UncondTogetherSampler: (),
    FixedOtherSampler: ("dataset", "digest"),
    FuncSampler: ("array", "function", "name", "pool", "few"),
}
_NAME = re.compile(r"\s*([^\W\d]\w*)\s*\(")
_OPTION = re.compile(r"\s*([^\W\d]\w*)\s*=\s*(.*)", re.DOTALL)
_TOKEN = re.compile(rf"{QUOTED}|[(),]|[^(),'\"]+")


class Call(NamedTuple):
    """A sampler as it is written: the name of its class and its options."""

    name: str
    options: dict[str, Any]


def read_call(text: str, start: int) -> tuple[Call, int]:
    """A sampler at a position of a text, and the position behind it. Raises `ValueError`.

    >>> read_call("x: UncondSampler(pool=3) <- a", 3)
    (Call(name='UncondSampler', options={'pool': 3}), 24)
    """
    head = _NAME.match(text, start)
    if head is None:
        raise ValueError(f"expected a sampler, such as ExactSampler(), found {text[start:][:40].strip()!r}")
    parts, end = _split(text, head.end())
    return Call(head[1], read_options(parts)), end


def split_options(text: str) -> list[str]:
    """The parts of `a=1, b=(2, 3)`. Raises `ValueError`."""
    parts, end = _split(text + ")", 0)
    if end != len(text) + 1:
        raise ValueError(f"a parenthesis too many in {text!r}")
    return parts


def _split(text: str, start: int) -> tuple[list[str], int]:
    """What stands between commas from `start` to the parenthesis that closes, and the position behind that."""
    parts: list[str] = []
    depth, position, begin = 0, start, start
    while position < len(text):
        token = _TOKEN.match(text, position)
        if token is None:
            raise ValueError(f"a quote is not closed: {text[position : position + 40]!r}")
        position = token.end()
        if token[0] == "(":
            depth += 1
        elif token[0] == ")" and depth:
            depth -= 1
        elif token[0] in (",", ")") and not depth:
            parts.append(text[begin : token.start()])
            begin = position
            if token[0] == ")":
                return ([] if len(parts) == 1 and not parts[0].strip() else parts), position
    raise ValueError("a parenthesis is not closed")


def read_options(parts: Iterable[str]) -> dict[str, Any]:
    """Options with plain values. Raises `ValueError`."""
    options: dict[str, Any] = {}
    for part in parts:
        match = _OPTION.fullmatch(part)
        if match is None:
            raise ValueError(
                f"expected option=value, found {part.strip()!r}; an array is FuncSampler(array='...'), a function "
                "FuncSampler(function='...')"
            )
        try:
            values = parse_values(match[2], _no_tensor)
        except (ValueError, TypeError, ScrubError) as error:
            raise ValueError(f"the value of {match[1]}: {getattr(error, 'problem', error)}") from error
        if len(values) != 1 or not is_plain(values[0]):
            raise ValueError(f"{match[1]}={match[2].strip()} is no number, string, True, False, None, or tuple of them")
        if match[1] in options:
            raise ValueError(f"the option {match[1]!r} is given twice")
        options[match[1]] = values[0]
    return options


def _no_tensor(digest: str, shape: object, dtype: object) -> Any:
    raise ValueError("it is a tensor")


class SamplerReader:
    """Makes samplers from what was handed over.

    Args:
        functions, datasets: by the names that texts use.
        samplers: classes of users' own.
    """

    def __init__(
        self,
        functions: Mapping[str, Callable[[Dataset], Any]],
        datasets: Mapping[str, Dataset],
        samplers: Iterable[type[CondSampler]],
    ) -> None:
        self.functions, self.datasets = dict(functions), dict(datasets)
        for name, function in self.functions.items():
            if not callable(function):
                raise HypothesisError(f"functions={{{name!r}: ...}} is no function", found=function)
        for name, dataset in self.datasets.items():
            if not isinstance(dataset, Dataset):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise HypothesisError(f"datasets={{{name!r}: ...}} is no Dataset", found=dataset)
        self.by_digest = {dataset.digest: dataset for dataset in self.datasets.values()}
        self.classes = dict(BUILT_IN)
        for kind in samplers:
            if not (isinstance(kind, type) and issubclass(kind, CondSampler) and dataclasses.is_dataclass(kind)):  # pyright: ignore
                raise HypothesisError(
                    f"{kind!r} is no class of samplers that a text can name",
                    expected="a frozen dataclass that is a CondSampler",
                    found=kind,
                    hint="samplers= takes classes, not their instances",
                )
            if self.classes.setdefault(kind.__name__, kind) is not kind:
                raise HypothesisError(f"two classes of samplers are called {kind.__name__!r}", found=kind)

    def missing(self, call: Call) -> str | None:
        """What would have to be handed over to make this sampler, as it is said in an error."""
        if call.name not in self.classes:
            return f"the class {call.name}{_close(call.name, self.classes)}"
        kind, function = self.classes[call.name], call.options.get("function")
        if kind is FuncSampler and isinstance(function, str) and function not in self.functions:
            return f"the function {function!r}{_close(function, self.functions)}"
        if kind is FixedOtherSampler:
            name, digest = call.options.get("dataset"), call.options.get("digest")
            if digest is not None and digest not in self.by_digest:
                changed = f"; the one handed over as {name!r} has other content" if name in self.datasets else ""
                called = "the dataset" if name is None else f"the dataset {name!r}"
                return f"{called} of digest {digest!r}{changed}"
            if digest is None and name is not None and name not in self.datasets:
                return f"the dataset {name!r}{_close(str(name), self.datasets)}"
        return None

    def make(self, call: Call) -> CondSampler:
        """The sampler. Raises `ValueError`."""
        kind, options = self.classes[call.name], call.options
        own = tuple([field.name for field in dataclasses.fields(cast(Any, kind)) if field.init])
        fields = _OPTIONS.get(kind, own)
        odd = [key for key in options if key not in fields]
        if odd:
            known = ", ".join(fields) or "it has none"
            raise ValueError(f"{call.name} has no option {odd[0]!r}; options: {known}")
        try:
            if kind is FuncSampler:
                return self._func_sampler(options)
            if kind is FixedOtherSampler:
                return self._fixed(options)
            return kind(**options)
        except (ScrubError, TypeError, ValueError) as error:
            raise ValueError(f"{call.name}: {getattr(error, 'problem', error)}") from error

    def _func_sampler(self, options: Mapping[str, Any]) -> FuncSampler:
        rest = {key: value for key, value in options.items() if key not in ("array", "function")}
        for key, kind in (("name", str), ("few", int)):
            if key in rest and type(rest[key]) is not kind:
                raise ValueError(f"expected {key}= and a {kind.__name__}, found {rest[key]!r}")
        match options.get("array"), options.get("function"):
            case str() as array, None:
                return FuncSampler(array, **rest)
            case None, str() as name if "name" not in rest:
                return FuncSampler(self.functions[name], **rest, name=name)
            case _:
                raise ValueError("expected array='...', with or without name=, or function='...'")

    def _fixed(self, options: Mapping[str, Any]) -> FixedOtherSampler:
        if "digest" in options:
            return FixedOtherSampler(self.by_digest[options["digest"]])
        if "dataset" not in options:
            raise ValueError("expected dataset='...', digest='...' or both")
        return FixedOtherSampler(self.datasets[options["dataset"]])


def _close(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" (similar: {near[0]!r})" if near else ""
