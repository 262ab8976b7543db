"""What every registered method must do."""

import pytest
import torch

from scrub.discovery.attribution import METHODS, attribute
from scrub.discovery.metrics import as_metric
from scrub.discovery.scores import Scores
from scrub.graph import DiscoveryError
from tests.discovery.attribution.models import machine, padded_task, task

EVERY = sorted(METHODS)


def close(found: Scores, expected: Scores) -> None:
    torch.testing.assert_close(found.values, expected.values, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(found.absolute, expected.absolute, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(found.errors, expected.errors, rtol=1e-6, atol=1e-9, equal_nan=True)


@pytest.mark.parametrize("name", EVERY)
def test_batches_make_no_difference(name: str):
    model, batch = machine(), padded_task("right", (3, 4, 4))
    whole = attribute(model, batch, name, steps=2)
    for size in (1, 2):
        close(attribute(model, batch, name, steps=2, batch_size=size), whole)
    close(attribute(model, batch[[2, 0, 1]], name, steps=2), whole)


@pytest.mark.parametrize("name", EVERY)
def test_means_and_errors(name: str):
    """Of the scores of single examples, by hand."""
    model, batch = machine(), task(3, 3)
    each = torch.stack([attribute(model, batch[i], name, steps=2).values for i in range(3)])
    found = attribute(model, batch, name, steps=2)
    torch.testing.assert_close(found.values, each.mean(0), rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(found.absolute, each.abs().mean(0), rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(found.errors, each.std(0) / 3**0.5, rtol=1e-6, atol=1e-9)
    assert found.n_examples == 3


@pytest.mark.parametrize("level", ["edge", "node", "neuron"])
@pytest.mark.parametrize("name", sorted(set(METHODS) - {"exact"}))
def test_positions_sum_to_the_whole(name: str, level: str):
    model, batch = machine("qwen2"), task(2, 3)
    found = attribute(model, batch, name, level=level, steps=2, per_position=True)
    assert found.values.shape[-1] == 3
    whole = attribute(model, batch, name, level=level, steps=2)
    torch.testing.assert_close(found.summed().values, whole.values, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", sorted(set(METHODS) - {"exact"}))
def test_neurons_sum_to_nodes(name: str):
    model, batch = machine("qwen2"), task(2, 3)
    neurons, nodes = (attribute(model, batch, name, level=level, steps=2) for level in ("neuron", "node"))
    torch.testing.assert_close(neurons.nodes().values, nodes.values, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ["EAP", "EAP-IG-inputs", "clean-corrupted", "EAP-IG-activations"])
def test_edges_sum_to_nodes(name: str):
    """Gradients at one run, or a set of runs, for all that reads a writer."""
    model, batch = machine("qwen2"), task(2, 3)
    edges, nodes = (attribute(model, batch, name, level=level, steps=2) for level in ("edge", "node"))
    torch.testing.assert_close(edges.nodes().values, nodes.values, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("ablation", ["zero", "mean", "mean-positional", "resample", "counterfactual"])
@pytest.mark.parametrize("name", EVERY)
def test_ablations(name: str, ablation: str):
    """Every ablation gives finite scores, or a reason."""
    model, batch = machine(), task(3, 3)
    if ablation in METHODS[name].not_with:
        with pytest.raises(DiscoveryError, match=f"{name} cannot be had with {ablation} ablation: it takes gradients"):
            attribute(model, batch, name, ablation=ablation)
        return
    found = attribute(model, batch, name, ablation=ablation, steps=2)
    assert found.ablation == ablation
    assert found.values.abs().max() > 1e-4


@pytest.mark.parametrize("name", EVERY)
def test_metrics(name: str):
    """One that compares with the model's own logits, one of a user; one without gradient where none is taken."""
    model, batch = machine(), task(2, 3)
    kl = attribute(model, batch, name, metric="kl_divergence", steps=2)
    assert not kl.larger_is_better
    assert kl.metric == "kl_divergence"
    own = as_metric(lambda logits, _: logits[:, 0, 5], name="fifth", larger_is_better=True)
    both = as_metric(lambda logits, _: 2 * logits[:, 0, 5], name="double", larger_is_better=True)
    found, double = (attribute(model, batch, name, metric=given, steps=2) for given in (own, both))
    torch.testing.assert_close(double.values, 2 * found.values, rtol=1e-9, atol=1e-12)
    if METHODS[name].needs_gradient:
        with pytest.raises(DiscoveryError, match=r"takes gradients, and metric 'accuracy' has none"):
            attribute(model, batch, name, metric="accuracy")
    else:
        assert attribute(model, batch, name, metric="accuracy").values.isfinite().all()
