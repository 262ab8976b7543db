"""What a family of models is: which configs it accepts, its architecture, and where its weights are.

A family is one file in this package that makes one `Family` and registers it; nothing else has to be edited.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import torch

from scrub.graph import CheckpointError
from scrub.models.architecture import Architecture, Layer
from scrub.models.families.config_reader import ConfigReader
from scrub.models.parts.block import has_last_bias

View = Callable[[torch.Tensor, Layer], torch.Tensor]
"""From a weight as it is stored to the one the expression has, without copying; the layer has the sizes."""


class Source(NamedTuple):
    """Where a weight of the expression comes from.

    Attributes:
        weight: name in the state dict of the Hugging Face model; `{l}` stands for the number of the layer.
        view: how it is seen; None: as it is.
    """

    weight: str
    view: View | None = None


@dataclass(frozen=True)
class Head:
    """What one class of a family has of its own: how it reads logits from the last residual stream.

    Attributes:
        sources, components: as those of `Family`, to which they are added.
    """

    sources: Mapping[str, Source]
    components: Mapping[str, str]


@dataclass(frozen=True)
class Family:
    """A family of models.

    Attributes:
        model_type: `config.model_type` of its configs.
        classes: names of the Hugging Face classes it stands for. The first is taken for a config that names none.
        architecture: from the config and the class to the sizes and options. It reads the config through a
            `ConfigReader`: a field that it does not read, and that is not known to leave the logits alone, must have
            its default.
        sources: expression name -> source, for all weights. Names of a layer's weights are without the number
            ("a.w.q"); sources that the architecture has no place for are not looked at.
        components: expression name -> name of the Hugging Face module whose output that is, `{l}` for the layer. Where
            it depends on the config what a module's output is, there may be several for one, see `components_of`.
        base_prefix: what precedes the weights of the model without its head; files may leave it out.
        ignored: endings of weights that are not used (masks and tables that old checkpoints hold).
        renamed: where files call weights otherwise than the module: regular expression -> what replaces it.
        harmless: fields of the config that change no logits of this family.
        heads: class -> what it has of its own, in families whose classes read logits in different ways.
        regrouped: from the weights of files to those of the module, where files cut them up in another way.
    """

    model_type: str
    classes: tuple[str, ...]
    architecture: Callable[[ConfigReader, str], Architecture]
    sources: Mapping[str, Source]
    components: Mapping[str, str]
    base_prefix: str = ""
    ignored: tuple[str, ...] = ()
    renamed: Mapping[str, str] = field(default_factory=dict[str, str])
    harmless: frozenset[str] = field(default_factory=frozenset[str])
    heads: Mapping[str, Head] = field(default_factory=dict[str, Head])
    regrouped: Callable[[Mapping[str, torch.Tensor]], dict[str, torch.Tensor]] | None = None

    def class_of(self, config: Any) -> str:
        """The Hugging Face class that a config names; the first of this family if it names none."""
        return next(iter(getattr(config, "architectures", None) or []), self.classes[0])

    def for_class(self, class_name: str) -> Family:
        """This family with the sources and components that one of its classes has of its own."""
        if class_name not in self.heads:
            return self
        head = self.heads[class_name]
        return replace(
            self, sources={**self.sources, **head.sources}, components={**self.components, **head.components}, heads={}
        )

    def components_of(self, architecture: Architecture) -> dict[str, str]:
        """The components of a model: of several for one module, the one that is its output here.

        Attention and the MLP are "a" and "m", or "a.p_bias" and "m.p_bias" where a bias is added to what they write;
        the unembedding is "t.logits", or "t.logits.lin" where logits are capped. Norms and projections that the model
        has not are left out.
        """
        first = architecture.layers[0]
        others = {
            "a" if "o" in first.attention.bias else "a.p_bias",
            "m" if has_last_bias(first) else "m.p_bias",
            "t.logits.lin" if architecture.readout.softcap is None else "t.logits",
        }
        left_out = {name for name in others if [*self.components.values()].count(self.components.get(name, "")) > 1}
        optional = {
            "a.norm": first.a_norm,
            "a.out_norm": first.a_out_norm,
            "b.mid_norm": first.mid_norm,
            "m.norm": first.m_norm,
            "m.out_norm": first.m_out_norm,
            "b.out_norm": first.out_norm,
            "final.norm": architecture.readout.norm,
            "t.projected_out": architecture.readout.d_embed,
        }
        left_out |= {name for name, part in optional.items() if part is None}
        return {name: module for name, module in self.components.items() if name not in left_out}

    def read(self, config: Any, class_name: str | None = None) -> tuple[Architecture, tuple[str, ...]]:
        """The architecture of a config, and notes on what in it has no effect here.

        Raises:
            CheckpointError: a class or a value of a field that is not supported.
        """
        name = class_name or self.class_of(config)
        if name not in self.classes:
            raise CheckpointError(
                f"{name} is not supported for {self.model_type}",
                expected=self.classes,
                found=name,
                hint="load one of these classes, or any module by scrub.models.from_torch(module, example_inputs)",
            )
        reader = ConfigReader(config, self.harmless)
        architecture = self.architecture(reader, name)
        reader.check_all_read()
        return architecture, reader.notes()


FAMILIES: dict[str, Family] = {}
"""The registered families, by `model_type`."""


def register(family: Family) -> Family:
    """Add a family to `FAMILIES`.

    Raises:
        CheckpointError: there is one with its `model_type`.
    """
    if FAMILIES.get(family.model_type, family) is not family:
        raise CheckpointError(f"a family {family.model_type!r} is registered already", found=family.model_type)
    FAMILIES[family.model_type] = family
    return family
