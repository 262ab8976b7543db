"""Samplers as text: `FuncSampler(array='count', pool=50)`; `text_calls.py` reads them.

    ExactSampler()  UncondSampler(pool=5)  UncondTogetherSampler()
    FuncSampler(array='count')                      rows that agree in an array of the dataset
    FuncSampler(function='parity', few=3)           rows on which a function agrees: the one handed over as 'parity'
    FixedOtherSampler(dataset='web', digest='...')  rows of the dataset handed over with this content
    Near(width=2)                                   a user's own sampler: a frozen dataclass of plain values

Options that have their usual value are left out of the library's own.
"""

from __future__ import annotations

import dataclasses
import re
from types import CellType, FunctionType
from typing import Any

from scrub.graph import HypothesisError
from scrub.graph.text.values import flat, values_text
from scrub.hypothesis.samplers import (
    CondSampler,
    ExactSampler,
    FixedOtherSampler,
    FuncSampler,
    UncondSampler,
    UncondTogetherSampler,
)

BUILT_IN: dict[str, type[CondSampler]] = {
    kind.__name__: kind for kind in (ExactSampler, UncondSampler, UncondTogetherSampler, FixedOtherSampler, FuncSampler)
}
_ADDRESS = re.compile(r" at 0x[0-9A-Fa-f]+>")


def sampler_text(sampler: CondSampler) -> str:
    """A sampler as text.

    Raises:
        HypothesisError: it holds what text cannot.

    >>> sampler_text(FuncSampler("count", pool=50))
    "FuncSampler(array='count', pool=50)"
    """
    kind = type(sampler)
    if isinstance(sampler, FuncSampler) and kind is FuncSampler:
        options = _func_options(sampler)
    elif isinstance(sampler, FixedOtherSampler) and kind is FixedOtherSampler:
        named = {} if sampler.dataset.name is None else {"dataset": sampler.dataset.name}
        options = {**named, "digest": sampler.dataset.digest}
    elif isinstance(sampler, UncondSampler) and kind is UncondSampler:
        options = {} if sampler.pool is None else {"pool": sampler.pool}
    else:
        options = _fields(sampler)
    written = [f"{key}={values_text((value,), exact=True)}" for key, value in options.items()]
    return f"{kind.__name__}({', '.join(written)})"


def _func_options(sampler: FuncSampler) -> dict[str, Any]:
    options: dict[str, Any] = {}
    if isinstance(sampler.func, str):
        options["array"] = sampler.func
        if sampler.name != sampler.func:
            options["name"] = sampler.name
    else:
        if sampler.name == repr(sampler.func) and _ADDRESS.search(repr(sampler.func)):
            raise HypothesisError(
                f"the function of {sampler!r} has no name of its own",
                found=sampler.func,
                hint="FuncSampler(function, name='...') gives it one, by which it is found again",
            )
        options["function"] = sampler.name
    if sampler.pool is not None:
        options["pool"] = sampler.pool
    if sampler.few != FuncSampler("").few:
        options["few"] = sampler.few
    return options


def _fields(sampler: CondSampler) -> dict[str, Any]:
    kind = type(sampler)
    if BUILT_IN.get(kind.__name__, kind) is not kind:
        raise HypothesisError(
            f"{sampler!r} is of a class {kind.__name__!r}, which another sampler is called",
            found=kind,
            hint="give your class a name of its own",
        )
    if not dataclasses.is_dataclass(sampler) or not kind.__dataclass_params__.frozen:  # pyright: ignore
        raise HypothesisError(
            f"{sampler!r} cannot be written as text",
            expected="a frozen dataclass",
            found=kind,
            hint="@dataclass(frozen=True) class ...(CondSampler), whose fields are numbers, strings, tuples of them",
        )
    fields = {field.name: getattr(sampler, field.name) for field in dataclasses.fields(sampler) if field.init}
    odd = [name for name, value in fields.items() if not is_plain(value)]
    if odd:
        raise HypothesisError(
            f"field {odd[0]!r} of {sampler!r} cannot be written as text",
            expected="numbers, strings, True, False, None, or tuples of them",
            found=fields[odd[0]],
            hint="keep in the sampler what says how to make the rest, or draw by a FuncSampler, whose function has a "
            "name",
        )
    return fields


def is_plain(value: object) -> bool:
    return all(item is None or type(item) in (bool, int, float, str) for item in flat((value,)))


def is_same_function(one: object, other: object) -> bool:
    """Whether two functions are one, or were made by running the same `def` or `lambda` with equal variables."""
    if one is other:
        return True
    if not isinstance(one, FunctionType) or not isinstance(other, FunctionType):
        return not isinstance(one, FunctionType) and not isinstance(other, FunctionType) and _is_equal(one, other)
    if one.__code__ != other.__code__ or one.__globals__ is not other.__globals__:
        return False
    mine, theirs = _held(one), _held(other)
    return len(mine) == len(theirs) and all(_is_equal(a, b) for a, b in zip(mine, theirs, strict=True))


def _held(function: FunctionType) -> list[object]:
    """The values that a function carries with it."""
    cells: tuple[CellType, ...] = function.__closure__ or ()
    keywords: dict[str, object] = function.__kwdefaults__ or {}
    return [*(cell.cell_contents for cell in cells), *(function.__defaults__ or ()), *sorted(keywords.items())]


def _is_equal(one: object, other: object) -> bool:
    """Equal for sure: values whose comparison gives something else than True or False must be identical."""
    return one is other or (type(one) is type(other) and (one == other) is True)
