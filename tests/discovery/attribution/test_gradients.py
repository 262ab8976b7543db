"""Methods by gradients: first order, completeness, linear models, and plain autograd through the patched program."""

from functools import lru_cache

import pytest
import torch

from scrub.discovery.attribution import METHODS, attribute
from scrub.discovery.machine import Given, Machine, PatchedRun, Replacement, writes_of
from scrub.discovery.scores import Scores
from scrub.tasks.task import Task
from tests.discovery.attribution.models import (
    FAMILIES,
    difference,
    effects_of_edges,
    linear_machine,
    machine,
    padded_task,
    patched,
    replacement,
    task,
)


def mask_gradient(model: Machine, batch: Task, keep: torch.Tensor, given: Given | None = None) -> torch.Tensor:
    """Minus dM / dkeep for each edge, by autograd through the patched program, mean over examples."""
    given = given or model.source.given(batch.tokens, batch.mask)
    keep = keep.clone().requires_grad_()
    with torch.enable_grad():
        run = PatchedRun(model, given, keep, replacement(model, batch))
        value = difference(run.logits(batch.positions), batch).mean()
    return -torch.autograd.grad(value, keep)[0]


def ones(model: Machine) -> torch.Tensor:
    return torch.ones(model.graph.exists.shape, dtype=torch.float64)


@pytest.mark.parametrize("family", FAMILIES)
def test_eap_is_the_gradient_of_the_mask(family: str):
    model, batch = machine(family), task()
    expected = mask_gradient(model, batch, ones(model))
    torch.testing.assert_close(attribute(model, batch).values, expected, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("side", ["right", "left"])
def test_eap_with_padding(side: str):
    model, batch = machine(), padded_task(side)
    rows = [batch[i].trimmed() for i in range(len(batch))]
    expected = torch.stack([mask_gradient(model, row, ones(model)) for row in rows]).mean(0)
    torch.testing.assert_close(attribute(model, batch).values, expected, rtol=1e-9, atol=1e-12)


class _Nearly:
    """A source that gives, for counterfactuals, embeddings that are nearly those of the prompt."""

    def __init__(self, model: Machine, batch: Task, scale: float) -> None:
        assert batch.counterfactual is not None
        self.plain, self.other, self.scale = model.source, batch.counterfactual, scale
        self.tokens = batch.tokens

    def given(
        self, tokens: torch.Tensor, mask: torch.Tensor | None = None, *, embeds: torch.Tensor | None = None
    ) -> Given:
        if embeds is None:
            embeds = self.plain.given(tokens, mask).embeds.clone()
            clean = self.plain.given(self.tokens).embeds
            for i, j in (tokens[:, None] == self.other).all(-1).nonzero().tolist():
                embeds[i] = clean[j] + self.scale * (embeds[i] - clean[j])
        return self.plain.given(tokens, mask, embeds=embeds)


@lru_cache
def nearly_the_same(family: str, scale: float) -> tuple[Machine, Scores]:
    """A machine whose counterfactuals of `task(2, 4)` are near the prompts, and the exact effects."""
    plain = machine(family)
    model = Machine(plain.anatomy, _Nearly(plain, task(2, 4), scale), model=plain.model)
    return model, attribute(model, task(2, 4), "exact")


@pytest.mark.parametrize("name", sorted(set(METHODS) - {"exact", "EAP-IG-activations-all-groups"}))
@pytest.mark.parametrize("family", ["gpt2", pytest.param("gemma2", marks=pytest.mark.slow)])
def test_first_order(family: str, name: str):
    """With a counterfactual at a distance of 1e-3 the estimate is off by second order only: about 1e-3 of itself."""
    errors: list[float] = []
    for scale in (1e-3, 1e-4):
        model, exact = nearly_the_same(family, scale)
        found = attribute(model, task(2, 4), name)
        size = float(exact.values.abs().max())
        assert size > scale * 1e-3
        errors.append(float((found.values - exact.values).abs().max()) / size)
    assert errors[0] < 0.02
    assert errors[1] < errors[0] / 5


@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if method.is_exact_where_linear])
def test_linear_model(name: str):
    model, batch = linear_machine(), task()
    expected = effects_of_edges(model, batch)
    assert expected.abs().max() > 0.1
    torch.testing.assert_close(attribute(model, batch, name).values, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("level", ["edge", "node", "neuron"])
@pytest.mark.parametrize("name", sorted(METHODS))
def test_streams_with_axes_in_front(name: str, level: str):
    """As models exported with a batch axis of size 1 have them."""
    plain, model = linear_machine(), linear_machine(in_front=(1,))
    for per_position in (False, True):
        found, expected = (
            attribute(m, task(2), name, level=level, per_position=per_position, steps=2) for m in (model, plain)
        )
        torch.testing.assert_close(found.values, expected.values, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("rule", ["left", "right", "midpoint", "gauss-legendre"])
def test_completeness_over_inputs(rule: str):
    """What edges out of the input sum to comes close to M_corrupt - M, at the order of the rule."""
    model, batch = machine(), task()
    change = (patched(model, batch, 0 * ones(model)) - patched(model, batch, ones(model))).mean()
    errors = []
    for steps in (4, 16, 64):
        found = attribute(model, batch, "EAP-IG-inputs", steps=steps, rule=rule)
        errors.append(abs(float(found["input"] - change)))
    order = 1.9 if rule == "midpoint" else 0.9
    assert errors[2] < errors[0] / 16**order or errors[2] < 1e-10
    assert errors[2] < 0.05 * abs(float(change))


@pytest.mark.parametrize("ablation", ["zero", "mean", "counterfactual"])
def test_completeness_over_activations(ablation: str):
    """Node scores of a group sum to the effect of patching the group."""
    model, batch = machine("qwen2"), task()
    found = attribute(model, batch, "EAP-IG-activations", level="node", steps=24, rule="gauss-legendre",
                      ablation=ablation)  # fmt: skip
    given = model.source.given(batch.tokens)
    writes = writes_of(model, model.run(given, keep_writes=True))
    other = {
        "zero": torch.zeros_like(writes),
        "mean": writes.mean((0, 2), keepdim=True).expand(writes.shape),
        "counterfactual": replacement(model, batch).writes,
    }[ablation]
    clean = patched(model, batch, ones(model)).mean()
    for name, columns in model.anatomy.columns.items():
        if ablation == "zero" and name == "input":
            continue  # norms do not see how large their input is, down to 0, where the path ends in a jump
        keep = ones(model)
        keep[:, columns.start : columns.stop] = 0
        run = PatchedRun(model, given, keep, Replacement(other, ablation))
        effect = difference(run.logits(batch.positions), batch).mean() - clean
        estimate = found.values[columns.start : columns.stop].sum()
        torch.testing.assert_close(estimate, effect, rtol=1e-4, atol=1e-6, msg=name)


def interpolated(model: Machine, batch: Task, group: str, place: float) -> torch.Tensor:
    """EAP scores with a group's writers held, each at a place of its path, from autograd alone: [readers, writers].

    Every state that a reader reads gets a leaf of its own; a held group passes no gradient on.
    """
    given = model.source.given(batch.tokens)
    clean = writes_of(model, model.run(given, keep_writes=True))
    other = replacement(model, batch).writes
    scores = torch.zeros(model.graph.exists.shape, dtype=torch.float64)
    leaves: dict[tuple[str, str], torch.Tensor] = {}
    with torch.enable_grad():
        written: list[torch.Tensor] = []
        rests: list[torch.Tensor] = []
        for part in model.anatomy.parts:
            ports = []
            for port in part.ports:
                rows = model.anatomy.rows[part.name, port.label]
                exists = model.graph.exists[rows.start, : sum(w.shape[1] for w in written)].double()
                total = torch.einsum("nu...,u->n...", torch.cat(written, 1), exists) + sum(rests)
                leaf = torch.zeros(len(batch), len(rows), *total.shape[1:], dtype=torch.float64, requires_grad=True)
                leaves[part.name, port.label] = leaf
                ports.append(total[:, None] + leaf)
            if part is model.readout:
                logits = model.logits([port[:, 0] for port in ports], given, batch.positions)
                break
            functions = model.functions(given)[part.name]
            if part.states:
                writes, rest = functions.inner(functions.enter(ports, given), given)
            else:
                writes, rest = functions.write([], given)
            if part.name == group:
                columns = model.anatomy.columns[group]
                own, replaced = (value[:, columns.start : columns.stop] for value in (clean, other))
                writes = (replaced + place * (own - replaced)).detach()
            written.append(writes)
            rests += [] if rest is None else [rest]
        value = difference(logits, batch).mean()
        found = torch.autograd.grad(value, list(leaves.values()), materialize_grads=True)
    for (name, label), gradient in zip(leaves, found, strict=True):
        rows = model.anatomy.rows[name, label]
        scores[rows.start : rows.stop] = torch.einsum("nh...,nu...->hu", gradient, other - clean)
    return scores * model.graph.exists


@pytest.mark.parametrize("family", ["gpt2", "qwen2", "gptj"])
def test_activations_against_plain_autograd(family: str):
    model, batch, steps = machine(family), task(2, 4), 3
    own, every = torch.zeros(2, *model.graph.exists.shape, dtype=torch.float64)
    groups = model.anatomy.columns
    for group, columns in groups.items():
        scores = sum(interpolated(model, batch, group, k / steps) for k in range(1, steps + 1)) / steps
        own[:, columns.start : columns.stop] = scores[:, columns.start : columns.stop]
        every += scores / len(groups)
    found = attribute(model, batch, "EAP-IG-activations", steps=steps, rule="right")
    torch.testing.assert_close(found.values, own, rtol=1e-9, atol=1e-12)
    found = attribute(model, batch, "EAP-IG-activations-all-groups", steps=steps, rule="right")
    torch.testing.assert_close(found.values, every, rtol=1e-9, atol=1e-12)


def test_inputs_and_clean_corrupted_against_the_mask():
    """Gradients along the path, each by autograd through the mask of a run at that place."""
    model, batch = machine(), task()
    assert batch.counterfactual is not None
    clean, other = (model.source.given(tokens).embeds for tokens in (batch.tokens, batch.counterfactual))

    def gradient(place: float) -> torch.Tensor:
        """With z~ - z of the prompts: the replacement is what is written at the place, plus the difference."""
        given = model.source.given(batch.tokens, embeds=other + place * (clean - other))
        own = writes_of(model, model.run(given, keep_writes=True))
        difference_of = replacement(model, batch).writes - writes_of(
            model, model.run(model.source.given(batch.tokens), keep_writes=True)
        )
        keep = ones(model).requires_grad_()
        with torch.enable_grad():
            run = PatchedRun(model, given, keep, Replacement(own + difference_of, "moved"))
            value = difference(run.logits(batch.positions), batch).mean()
        return -torch.autograd.grad(value, keep)[0]

    found = attribute(model, batch, "EAP-IG-inputs", steps=3, rule="left")
    expected = (gradient(0) + gradient(1 / 3) + gradient(2 / 3)) / 3
    torch.testing.assert_close(found.values, expected, rtol=1e-9, atol=1e-12)
    found = attribute(model, batch, "clean-corrupted")
    torch.testing.assert_close(found.values, (gradient(0) + gradient(1)) / 2, rtol=1e-9, atol=1e-12)
