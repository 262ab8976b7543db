"""Splits of any activation: by position, subspace, neuron and component. Each is an equality rewrite for `update`."""

from scrub.models.splits.axes import split_axis, split_positions
from scrub.models.splits.contraction import split_contraction
from scrub.models.splits.neurons import split_neurons
from scrub.models.splits.partition import Group, Groups, partition
from scrub.models.splits.residual import components_per_reader, flatten_residual
from scrub.models.splits.subspaces import split_subspace

__all__ = [
    "Group",
    "Groups",
    "components_per_reader",
    "flatten_residual",
    "partition",
    "split_axis",
    "split_contraction",
    "split_neurons",
    "split_positions",
    "split_subspace",
]
