"""Which head of a parentheses classifier does what, by measurement.

    python -m zoo.parens_roles          prints the scores of the model that ships

**Direct effect.** Of a head on a kind of failure: how much the logit difference (balanced minus not) of sequences that
fail in that way rises when what the head writes at position 0 is replaced, for the final norm alone, by its mean over
balanced sequences. Failures are "count" (no equal number, nothing wrong with the horizon), and "horizon" (the other way
round). The count heads are the two with the largest effect on count failures, the horizon head is the one of the others
with the largest effect on horizon failures.

**Averaging.** Of a layer-0 head, at position i of a sequence: the total-variation distance between its attention,
renormalised over parentheses, and the uniform average of the parentheses from i on. The averaging head is the one with
the smallest mean distance. Also measured is the distance to the nearest average that has one weight before i and
another from i on.

**Fit.** Loss recovered by the three heads' direct terms when each is taken from another sequence of its own class
(count and start; horizon), and all else that the final norm reads from one unrelated sequence: how the instance that
ships is chosen among those that are accurate enough.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor
from torch.nn import functional

from scrub.tasks.parens import features
from scrub.tasks.parens.data import OPEN, ParensData, parens_data
from zoo.parens_model import ParensConfig, ParensTransformer, Trace
from zoo.parens_training import TEST_SEED

Head = tuple[int, int]
N_ROWS = 6_000
FOLDER = Path("scrub/models/shipped/parens")


@dataclass(frozen=True)
class Roles:
    """Which heads do what, with the scores that say so.

    Attributes:
        count_heads, horizon_head, averaging_head: (layer, head).
        count_effect, horizon_effect: direct effect of every head [layer][head], in nats of logit difference.
        attention_to_1: mean attention of every head from position 0 to position 1.
        attention_from_i_on: of layer-0 heads, mean over positions i of the attention that parentheses from i on get,
            of the attention that all parentheses get.
        averaging_distance, two_weights_distance: of layer-0 heads, see above.
        fit: loss recovered, see above.
    """

    count_heads: tuple[Head, Head]
    horizon_head: Head
    averaging_head: Head
    count_effect: list[list[float]]
    horizon_effect: list[list[float]]
    attention_to_1: list[list[float]]
    attention_from_i_on: list[float]
    averaging_distance: list[float]
    two_weights_distance: list[float]
    fit: float


@torch.no_grad()
def find_roles(model: ParensTransformer, data: ParensData, *, seed: int = 0) -> Roles:
    """Measure every head on `data`, and name the roles by the rules above."""
    trace = Trace()
    model(data.tokens, data.mask, trace=trace)
    is_count, is_horizon = features.count(data.tokens) == 1, features.horizon(data.tokens) == 1
    count_effect = _direct_effects(model, trace, data, ~is_count & is_horizon)
    horizon_effect = _direct_effects(model, trace, data, is_count & ~is_horizon)
    by_count = _ranked(count_effect)
    count_heads = (min(by_count[:2]), max(by_count[:2]))
    horizon_head = next(head for head in _ranked(horizon_effect) if head not in count_heads)
    from_i_on, distance, two_weights = _averaging(trace.patterns[0], data.tokens)
    return Roles(
        count_heads=count_heads,
        horizon_head=horizon_head,
        averaging_head=(0, int(torch.tensor(distance).argmin())),
        count_effect=count_effect,
        horizon_effect=horizon_effect,
        attention_to_1=[_rounded(pattern[:, :, 0, 1].mean(0)) for pattern in trace.patterns],
        attention_from_i_on=from_i_on,
        averaging_distance=distance,
        two_weights_distance=two_weights,
        fit=round(_fit(model, trace, data, (*count_heads, horizon_head), seed=seed), 4),
    )


def role_data() -> ParensData:
    """Test rows on which roles are measured."""
    return parens_data(N_ROWS, TEST_SEED, split="test")


def load_parens(folder: Path = FOLDER) -> ParensTransformer:
    """The instance in a folder, as the torch module."""
    model = ParensTransformer(ParensConfig())
    model.load_state_dict(safetensors.torch.load_file(folder / "model.safetensors"))
    return model.requires_grad_(False)


def _direct_effects(model: ParensTransformer, trace: Trace, data: ParensData, rows: Tensor) -> list[list[float]]:
    """Of every head [layer][head], on these rows."""
    first = torch.stack(trace.terms).sum(0)[rows]
    before = _logit_difference(model, first)
    effects: list[list[float]] = []
    for layer in range(model.config.n_layers):
        effects.append([])
        for head in range(model.config.n_heads):
            term = trace.terms[_term(model, (layer, head))]
            instead = term[data.label == 1].mean(0)
            change = _logit_difference(model, first - term[rows] + instead) - before
            effects[-1].append(round(float(change.mean()), 3))
    return effects


def _averaging(pattern: Tensor, tokens: Tensor) -> list[list[float]]:
    """Of every head, means over positions i that are parentheses: share of attention from i on, the two distances."""
    is_paren = tokens >= OPEN
    key = is_paren[:, None, None, :]
    attention = pattern * key
    attention = attention / attention.sum(-1, keepdim=True)
    n = tokens.shape[1]
    later = (torch.arange(n) >= torch.arange(n)[:, None]) & key
    parts = [part / part.sum(-1, keepdim=True).clamp(min=1) for part in (later, ~later & key)]
    from_i_on = (attention * later).sum(-1, keepdim=True)
    two_weights = from_i_on * parts[0] + (1 - from_i_on) * parts[1]
    distances = [(attention - average).abs().sum(-1) / 2 for average in (parts[0], two_weights)]
    chosen = is_paren[:, None, :].expand_as(distances[0])
    values = (from_i_on.squeeze(-1), *distances)
    return [_rounded(torch.stack([x[:, h][chosen[:, h]].mean() for h in range(pattern.shape[1])])) for x in values]


def _fit(
    model: ParensTransformer, trace: Trace, data: ParensData, heads: tuple[Head, Head, Head], *, seed: int
) -> float:
    """Loss recovered by the direct terms of two count heads and the horizon head; the baseline permutes labels."""
    generator = torch.Generator().manual_seed(seed)
    first = torch.stack(trace.terms).sum(0)
    other = torch.randperm(len(data), generator=generator)
    mixed = first[other]
    classes = (*[features.count_and_start(data.tokens)] * 2, features.horizon(data.tokens))
    for head, feature in zip(heads, classes, strict=True):
        term = trace.terms[_term(model, head)]
        mixed = mixed - term[other] + term[_within_class(feature, generator)]
    labels = data.label
    original, scrubbed = (functional.cross_entropy(model.read_out(x), labels) for x in (first, mixed))
    baseline = functional.cross_entropy(model.read_out(first[other]), labels)
    return float((baseline - scrubbed) / (baseline - original))


def _within_class(feature: Tensor, generator: torch.Generator) -> Tensor:
    """For each row a row of the same class, 0 or 1, drawn uniformly."""
    drawn = torch.empty(len(feature), dtype=torch.int64)
    for is_member in (feature == 0, feature == 1):
        rows = is_member.nonzero()[:, 0]
        drawn[rows] = rows[torch.randint(len(rows), (len(rows),), generator=generator)]
    return drawn


def _term(model: ParensTransformer, head: Head) -> int:
    return model.term_names().index(f"{head[0]}.{head[1]}")


def _logit_difference(model: ParensTransformer, first: Tensor) -> Tensor:
    logits = model.read_out(first)
    return logits[:, 1] - logits[:, 0]


def _ranked(effects: list[list[float]]) -> list[Head]:
    """Heads, largest effect first."""
    heads = [(layer, head) for layer, row in enumerate(effects) for head in range(len(row))]
    return sorted(heads, key=lambda at: -effects[at[0]][at[1]])


def _rounded(values: Tensor) -> list[float]:
    return [round(float(value), 4) for value in values]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=FOLDER)
    options = parser.parse_args(arguments)
    roles = find_roles(load_parens(options.folder), role_data())
    for name, value in asdict(roles).items():
        print(f"{name:20} {json.dumps(value)}")


if __name__ == "__main__":
    main()
