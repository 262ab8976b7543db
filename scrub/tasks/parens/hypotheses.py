"""Hypotheses about how a classifier tells balanced parentheses, on the heads of any trained instance.

In all of them the root is exact, and what is not named reads the root's other draw.

    0a, 0b   root exact; root unconditioned
    1a       each straight into the final norm: the count heads {count}, the horizon head {horizon}
    1b       the same with {count and start} for the count heads
    1c       1b, and the averaging head's direct term {count and start}
    2-part   1b; below each count head its input at position 1 {count and start}
    2a       2-part; below each of these the averaging head's output at position 1 {p}, and the embeddings by every
             route not through the averaging head {start}
    2p       2a, of the averaging head's output only the projection on v {p}
    2b       2a, with phi(p) = v (2 p - 1) in place of the averaging head's output
    3a       1b; below the horizon head {no bad position} its input at each position {class}, and its mask {length}
    3b       3a, with the share computed as the averaging head weighs positions
    4        2b and 3b together

Source: the study of Redwood Research, "Causal scrubbing: results on a paren balance checker" (2022), whose claims
these are, about heads of an instance of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch

from scrub.graph import Expr, HypothesisError
from scrub.hypothesis import (
    CondSampler,
    Correspondence,
    Dataset,
    ExactSampler,
    Experiment,
    FuncSampler,
    HandedDown,
    Hypothesis,
    InterpNode,
    UncondSampler,
    Unimportant,
    accuracy,
    corr_root_matcher,
    cross_entropy,
)
from scrub.hypothesis.parts import replace_by, split_projection
from scrub.models import LoadedModel
from scrub.models.splits import Groups
from scrub.rewrite import IterativeMatcher, Regex, not_through
from scrub.tasks.parens import features
from scrub.tasks.parens.averaging import (
    SHARE,
    Head,
    averaging_weights,
    share_direction,
    share_times_direction,
    weighted_position_classes,
)
from scrub.tasks.parens.data import N_CTX, ParensData
from scrub.tasks.parens.model import MASK, TOKENS, head_input, head_mask, into_final_norm, parens_expression

HYPOTHESES = ("0a", "0b", "1a", "1b", "1c", "2-part", "2a", "2p", "2b", "3a", "3b", "4")
Mask = Literal["conditioned", "unconditioned"]
DecidedIn = Literal["integers", "float32"]


@dataclass(frozen=True)
class Roles:
    """Which heads do what, each as (layer, head).

    >>> from scrub.models import load_shipped
    >>> len(Roles.recorded(load_shipped("parens").info).count_heads)
    2
    """

    count_heads: tuple[Head, ...]
    horizon_head: Head
    averaging_head: Head

    def __post_init__(self) -> None:
        if self.averaging_head[0] != 0 or any(layer == 0 for layer, _ in self.count_heads):
            raise HypothesisError(
                "these hypotheses need an averaging head in layer 0, below the count heads",
                expected="averaging head (0, head), count heads in later layers",
                found=(self.averaging_head, self.count_heads),
            )
        if self.horizon_head in self.count_heads:
            raise HypothesisError(
                f"head {self.horizon_head} cannot be horizon head and count head", found=self.horizon_head
            )

    @classmethod
    def recorded(cls, info: Mapping[str, Any]) -> Roles:
        """Those that were measured when an instance was trained."""
        first, second = (tuple(head) for head in info["count_heads"])
        return cls((first, second), tuple(info["horizon_head"]), tuple(info["averaging_head"]))


def parens_dataset(data: ParensData, model: LoadedModel, roles: Roles) -> Dataset:
    """Rows with their features; `tokens`, `mask` and `signed_share` are the inputs of models.

    Of the model it takes the averaging head's weights of positions, on which classes of 3b and 4 depend.
    """
    tokens = data.tokens
    share = (2 * features.n_open(tokens) - features.length(tokens)).float() / features.length(tokens)
    weights = averaging_weights(model, roles.averaging_head)
    columns: dict[str, torch.Tensor] = {
        TOKENS: tokens,
        MASK: data.mask,
        SHARE: share.to(model.dtype),
        "label": data.label,
    }
    for feature in (features.count, features.start, features.count_and_start, features.horizon, features.length):
        columns[feature.__name__] = feature(tokens)
    columns["p"] = features.p(tokens)
    classes = {
        "position": features.position_classes(tokens),
        "weighted": weighted_position_classes(tokens, weights),
        "weighted_float32": weighted_position_classes(tokens, weights, decided_in="float32"),
    }
    for name, of_positions in classes.items():
        columns |= {_class_at(name, i): of_positions[:, i] for i in range(N_CTX)}
        columns[_no_bad(name)] = features.no_bad_class(of_positions)
    return Dataset(columns, inputs=[TOKENS, MASK, SHARE], name="parentheses")


def _class_at(classes: str, i: int) -> str:
    return f"{classes}_class_{i}"


def _no_bad(classes: str) -> str:
    return f"{classes}_no_bad"


def parens_experiment(
    which: str,
    model: LoadedModel,
    data: Dataset,
    roles: Roles,
    *,
    mask: Mask = "conditioned",
    decided_in: DecidedIn = "integers",
    unimportant: Unimportant = "node",
    handed_down: HandedDown = "drawn",
) -> Experiment:
    """One of `HYPOTHESES` on a model: loss in nats and accuracy.

    Args:
        which: its name.
        model: a classifier that reads position 0.
        data: see `parens_dataset`.
        roles: which heads the hypothesis is about.
        mask: whether the padding masks below a leaf read the leaf's datum, or are unimportant to its parent. In 3a, 3b
            and 4 the horizon head's own mask is a leaf, which goes if masks are unconditioned.
        decided_in: how shares are compared with 1/2 in 3b and 4, see `weighted_position_classes`.
        unimportant, handed_down: see `Hypothesis`.
    """
    if which not in HYPOTHESES:
        raise HypothesisError(f"there is no hypothesis {which!r}", expected=HYPOTHESES, found=which)
    build = _Build(which, roles, mask, decided_in)
    hypothesis = Hypothesis(build.correspondence(), name=which, unimportant=unimportant, handed_down=handed_down)
    expr = build.expression(model)
    inputs = [name for name in data.inputs if any(symbol.name == name for symbol in expr.free_symbols)]
    read = Dataset(data.arrays, inputs=inputs, name=data.name)
    return Experiment(expr, read, hypothesis, metrics={"loss": cross_entropy("label"), "accuracy": accuracy("label")})


class _Build:
    """The expression and the correspondence of one hypothesis."""

    def __init__(self, which: str, roles: Roles, mask: Mask, decided_in: DecidedIn) -> None:
        self.which, self.roles, self.mask = which, roles, mask
        self.by_position = which in ("3a", "3b", "4")
        self.by_route = which in ("2a", "2p", "2b", "4")
        self.at_position_1 = which == "2-part" or self.by_route
        rounded = "weighted_float32" if decided_in == "float32" else "weighted"
        self.classes = rounded if which in ("3b", "4") else "position"
        self.corr = Correspondence()
        self.averaging = f"a0.h{roles.averaging_head[1]}"

    def expression(self, model: LoadedModel) -> Expr:
        """The logits, split as the hypothesis needs."""
        logits = parens_expression(model, positions=self._positions())
        at_1 = f"{self.averaging}.p1"
        if self.which == "2p":
            return split_projection(logits, at_1, share_direction(model, self.roles.averaging_head))
        if self.which in ("2b", "4"):
            return replace_by(logits, at_1, share_times_direction(model, self.roles.averaging_head))
        return logits

    def _positions(self) -> dict[int, Groups]:
        positions: dict[int, Groups] = {}
        if self.at_position_1:
            last = max(layer for layer, _ in self.roles.count_heads)
            for layer in range(1, last + 1):
                positions[layer] = {"p1": 1, "rest": [0, *range(2, N_CTX)]}
        if self.by_position:
            positions[self.roles.horizon_head[0]] = {f"p{i}": i for i in range(N_CTX)}
        return positions

    def correspondence(self) -> Correspondence:
        """Nodes and places."""
        root = InterpNode(UncondSampler() if self.which == "0b" else ExactSampler(), "logits")
        self.corr.add(root, corr_root_matcher)
        if self.which in ("0a", "0b"):
            return self.corr
        for head in self.roles.count_heads:
            self._count_head(root, head)
        self._horizon_head(root)
        if self.which == "1c":
            layer, number = self.roles.averaging_head
            name = f"averaging head {layer}.{number}, directly"
            self._leaf(root, name, FuncSampler("count_and_start"), into_final_norm(layer, number))
        return self.corr

    def _count_head(self, root: InterpNode, head: Head) -> None:
        layer, number = head
        condition = FuncSampler("count" if self.which == "1a" else "count_and_start")
        name, place = f"count head {layer}.{number}", into_final_norm(layer, number)
        if not self.at_position_1:
            self._leaf(root, name, condition, place)
            return
        node = self._node(root, name, condition, place)
        name, place = f"{name} at position 1", place.chain(head_input(layer, "p1"))
        if not self.by_route:
            self._leaf(node, name, condition, place)
            return
        at_1 = self._node(node, name, condition, place)
        part = {"2a": "", "2p": ".proj"}.get(self.which, ".phi")
        of_output = place.chain(f"{self.averaging}.p1{part}")
        has_mask = self.which in ("2a", "2p")
        self._leaf(at_1, f"{name}: averaging head", FuncSampler("p"), of_output, has_mask=has_mask)
        around = not_through(Regex(rf"^{self.averaging}(.|$)")) & IterativeMatcher(TOKENS)
        self._leaf(at_1, f"{name}: embeddings", FuncSampler("start"), place.chain(around), has_mask=False)

    def _horizon_head(self, root: InterpNode) -> None:
        layer, number = self.roles.horizon_head
        name, place = f"horizon head {layer}.{number}", into_final_norm(layer, number)
        if not self.by_position:
            self._leaf(root, name, FuncSampler("horizon"), place)
            return
        node = self._node(root, name, FuncSampler(_no_bad(self.classes)), place)
        for i in range(N_CTX):
            read, condition = place.chain(head_input(layer, f"p{i}")), FuncSampler(_class_at(self.classes, i))
            self._leaf(node, f"{name} at position {i}", condition, read, has_mask=layer > 0)
        if self.mask == "conditioned":
            self._leaf(node, f"{name}: mask", FuncSampler("length"), place.chain(head_mask()))

    def _node(self, parent: InterpNode, name: str, condition: CondSampler, place: IterativeMatcher) -> InterpNode:
        node = parent.make_descendant(condition, name)
        self.corr.add(node, place)
        return node

    def _leaf(
        self,
        parent: InterpNode,
        name: str,
        condition: CondSampler,
        place: IterativeMatcher,
        *,
        has_mask: bool = True,
    ) -> None:
        """A leaf; if masks are unconditioned, it is about the tokens below the place only."""
        self._node(parent, name, condition, place.chain(TOKENS) if has_mask and self.mask == "unconditioned" else place)
