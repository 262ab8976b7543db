"""What a result says about how it came about: enough to repeat it, and to notice that something is no longer the same.

All of it is plain data, as JSON holds it.
"""

from __future__ import annotations

import importlib.metadata
import platform
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import torch

from scrub.graph import ScrubError, tensor_digest
from scrub.hypothesis.hypothesis import Hypothesis
from scrub.hypothesis.samplers import FuncSampler
from scrub.hypothesis.slots import REFERENCE
from scrub.hypothesis.text.text_form import hypothesis_text

if TYPE_CHECKING:
    from scrub.hypothesis.experiment import Experiment

_PACKAGE = "scrub-interp"
_NUM_FIRST = 64
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
NOT_COMPARED = ("n", "versions", "device", "text_problem")
"""What may change between two parts of a run."""


def info_of(
    experiment: Experiment, *, n: int, seed: int, reference_seed: int, supplied: Mapping[str, torch.Tensor]
) -> dict[str, Any]:
    """Everything that decides the numbers of a run.

    model, dataset, references: digests of their contents.
    inputs: names of those arrays that the model reads.
    hypothesis: its text, if it has one; else how it prints, and then `text_problem` says why.
    unimportant, handed_down: its choices.
    conditions: digest of the value that each condition has on each row, so that a changed function is noticed.
    first_draws: digest of what the first references and their draws come to, for samplers of users' own.
    metrics: their names, in order.
    seed, reference_seed, supplied: of all draws, of the references, and digests of rows that were given instead.
    dtype, device, versions: what computed it.
    """
    hypothesis, source = experiment.hypothesis, experiment.source
    text, problem = hypothesis_as_text(hypothesis)
    info: dict[str, Any] = {
        "model": experiment.model.digest,
        "dataset": experiment.dataset.digest,
        "inputs": list(experiment.dataset.inputs),
        "references": source.references.digest,
        "name": hypothesis.name,
        "hypothesis": text,
        "unimportant": hypothesis.unimportant,
        "handed_down": hypothesis.handed_down,
        "conditions": _conditions(experiment),
        "first_draws": _first_draws(experiment, n, seed, reference_seed, supplied),
        "metrics": list(experiment.metrics),
        "seed": seed,
        "reference_seed": reference_seed,
        "supplied": {label: tensor_digest(rows) for label, rows in sorted(supplied.items())},
        "dtype": str(experiment.model.dtype).removeprefix("torch."),
        "device": str(experiment.model.device or "cpu"),
        "versions": {"scrub": _version(), "torch": str(torch.__version__), "python": platform.python_version()},
    }
    if problem is not None:
        info["text_problem"] = problem
    return info


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What two runs differ in that decides their numbers, one line each."""
    lines: list[str] = []
    for key in dict.fromkeys([*before, *now]):
        old, new = before.get(key), now.get(key)
        if key in NOT_COMPARED or old == new:
            continue
        if isinstance(old, dict) and isinstance(new, dict):
            a, b = cast("dict[str, object]", old), cast("dict[str, object]", new)
            changed = [part for part in dict.fromkeys([*a, *b]) if a.get(part) != b.get(part)]
            lines.append(f"{key}: {', '.join(changed)}")
        else:
            lines.append(f"{key}: {_short(cast(object, old))} before, {_short(cast(object, new))} now")
    return lines


def hypothesis_as_text(hypothesis: Hypothesis) -> tuple[str, str | None]:
    """The text of a hypothesis, or how it prints and why it has no text."""
    try:
        return hypothesis_text(hypothesis), None
    except ScrubError as error:
        return _printed(hypothesis), error.problem


def _printed(hypothesis: Hypothesis) -> str:
    """Without the addresses of functions, which differ in every process."""
    return _ADDRESS.sub("", f"{hypothesis.root!r}\n{hypothesis.correspondence!r}")


def _conditions(experiment: Experiment) -> dict[str, str]:
    result: dict[str, str] = {}
    for slot in experiment.slots:
        sampler = experiment.scrubbed.slots.draws[slot].sampler
        if isinstance(sampler, FuncSampler):
            classes = sampler.classes(experiment.source)
            result[slot.label] = f"{tensor_digest(classes.of_row)} {tensor_digest(classes.values)}"
    return result


def _first_draws(
    experiment: Experiment, n: int, seed: int, reference_seed: int, supplied: Mapping[str, torch.Tensor]
) -> str | None:
    """Of the first 64 references, however many there will be; nothing if one of them has no draw."""
    stop = min(n, _NUM_FIRST) if supplied else _NUM_FIRST
    given = supplied.get(REFERENCE.label)
    references = experiment.references(0, stop, seed=reference_seed) if given is None else given[:stop]
    try:
        rows = experiment.draw(references, seed=seed, supplied=supplied)
    except ScrubError:
        return None  # the run may never come to it
    return tensor_digest(torch.stack(list(rows.values())))


def _version() -> str:
    try:
        return importlib.metadata.version(_PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
