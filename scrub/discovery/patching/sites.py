"""The activations that can be patched, and where they are in a model's parts."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Literal

import torch

from scrub.discovery.derive.parts import Part
from scrub.discovery.machine import Machine, Run
from scrub.discovery.machine.parts import PartFunctions
from scrub.graph import DiscoveryError, Expr

Where = Literal["state", "total", "writes", "inside"]


@dataclass(frozen=True)
class Site:
    """A kind of activation.

    Attributes:
        name: "resid_pre", "z", ...
        where: a state of the stream, all that a part adds to it, what each head adds, or a node inside a part.
        of: whose: "a" attention, "m" the MLP; of states, the part that reads it, "end" for what follows the layer.
        node: the name of the node inside the part.
        axes: of the activation of one example: [head, position, ...] as far as it has them.
        what: in words.
    """

    name: str
    where: Where
    of: Literal["a", "m", "end"]
    node: str
    axes: tuple[str, ...]
    what: str


_HEAD = ("head", "position", "neuron")
_STREAM = ("position",)
SITES: dict[str, Site] = {
    site.name: site
    for site in (
        Site("resid_pre", "state", "a", "", _STREAM, "the residual stream that attention reads"),
        Site("resid_mid", "state", "m", "", _STREAM, "the residual stream between attention and MLP"),
        Site("resid_post", "state", "end", "", _STREAM, "the residual stream after the layer"),
        Site("attn_out", "total", "a", "", _STREAM, "what attention adds to the stream"),
        Site("mlp_out", "total", "m", "", _STREAM, "what the MLP adds to the stream"),
        Site("head_out", "writes", "a", "", ("head", "position"), "what each head adds to the stream"),
        Site("z", "inside", "a", "a.comb_v", _HEAD, "each head's mix of values, before W_O"),
        Site("q", "inside", "a", "a.q", _HEAD, "queries, before rotation"),
        Site("k", "inside", "a", "a.k", _HEAD, "keys, before rotation"),
        Site("v", "inside", "a", "a.v", _HEAD, "values"),
        Site("rot_q", "inside", "a", "a.rot_q", _HEAD, "queries after rotation, of rotary models"),
        Site("rot_k", "inside", "a", "a.rot_k", _HEAD, "keys after rotation, of rotary models"),
        Site("scores", "inside", "a", "a.masked_scores", ("head", "query", "key"), "scores before the softmax"),
        Site("pattern", "inside", "a", "a.attn_probs", ("head", "query", "key"), "attention probabilities"),
        Site("mlp_pre", "inside", "m", "m.pre", ("position", "neuron"), "hidden units of the MLP before activation"),
        Site("mlp_post", "inside", "m", "m.post", ("position", "neuron"), "hidden units of the MLP"),
    )
}
"""Name -> site. `head_out` is the component graph's node; patching it equals patching `z` unless a norm follows."""


def find_site(name: str) -> Site:
    """The site of that name.

    Raises:
        DiscoveryError: there is none.

    >>> find_site("pattern").axes
    ('head', 'query', 'key')
    """
    if name not in SITES:
        close = difflib.get_close_matches(name, SITES, n=1)
        raise DiscoveryError(
            f"there is no kind of activation {name!r}",
            expected=tuple(SITES),
            found=name,
            hint=f"did you mean {close[0]!r}?" if close else f"there are {', '.join(SITES)}",
        )
    return SITES[name]


@dataclass(frozen=True)
class Place:
    """A site in one layer.

    Attributes:
        site: the kind of activation.
        layer: number of the layer.
        part: the part that has it, or reads the state.
        state: the state of the stream, of sites that are one.
    """

    site: Site
    layer: int
    part: Part
    state: Expr | None = None


def places_of(machine: Machine, site: Site) -> list[Place]:
    """The site in each layer that has it.

    Raises:
        DiscoveryError: no layer has it.
    """
    parts = _by_layer(machine)
    found: list[Place] = []
    for layer, of in parts.items():
        place = _state(machine, site, layer, of, parts) if site.where == "state" else _inside(site, layer, of)
        if place is not None:
            found.append(place)
    if not found:
        raise DiscoveryError(
            f"no layer has {site.name}: {site.what}",
            expected=f"a part of the model with {site.node or site.name}",
            found=machine.order,
            hint="rot_q and rot_k are of rotary models, mlp_post of plain MLPs"
            if site.where == "inside"
            else "parallel blocks have no resid_mid, attention-only models no MLP",
        )
    return found


def _by_layer(machine: Machine) -> dict[int, dict[str, Part]]:
    """Layer -> "a" and "m" -> part."""
    found: dict[int, dict[str, Part]] = {}
    for part in machine.anatomy.parts:
        label = {"heads": "a", "mlp": "m"}.get(part.kind)
        if label is not None and part.layer is not None:
            found.setdefault(part.layer, {})[label] = part
    return dict(sorted(found.items()))


def _inside(site: Site, layer: int, of: dict[str, Part]) -> Place | None:
    part = of.get(site.of)
    if part is None:
        return None
    if site.where == "inside" and site.node not in PartFunctions(part, frozenset()).nodes:
        return None
    return Place(site, layer, part)


def _state(
    machine: Machine, site: Site, layer: int, of: dict[str, Part], parts: dict[int, dict[str, Part]]
) -> Place | None:
    if site.of == "end":
        after = [parts[n] for n in parts if n > layer]
        reader = next(iter(after[0].values())) if after else machine.readout
    elif site.of not in of:
        return None
    else:
        reader = of[site.of]
    if len(reader.states) != 1:
        raise DiscoveryError(
            f"{reader.name} reads {len(reader.states)} states of the stream, so layer {layer} has no one {site.name}",
            nodes=[reader.name],
            expected=1,
            found=len(reader.states),
        )
    state = reader.states[0]
    if site.of == "m" and "a" in of and state in of["a"].states:  # a parallel block: nothing is between
        return None
    return Place(site, layer, reader, state)


def read_site(machine: Machine, place: Place, run: Run) -> torch.Tensor:
    """The activation in a run that kept what is needed: [n, heads, *shape], [n, 1, *stream] of the stream.

    Args:
        machine: the model.
        place: which activation.
        run: with totals; of `head_out`, with writes.
    """
    site, part = place.site, place.part
    if site.where == "state":
        assert place.state is not None
        return machine.state(place.state, run)[:, None]
    if site.where == "total":
        return run.totals[part.name][:, None]
    if site.where == "writes":
        return run.writes[part.name]
    functions = machine.functions(run.given)[part.name]
    entries = functions.entered_by_all(machine.read(part, run), run.given)
    return functions.activations([site.node], entries, run.given)[site.node]
