"""A model of three digits that can be scrubbed exactly: small enough to enumerate, rich enough to be got wrong.

    A = s(x0 + 0.1 x1 - 0.05 x2 - 3)     B = s(-0.01 x0 + x1 + 0.2 x2 - 3)     C = x0 + x1 + x2
    D = A + B + 0.1 C                    loss = (D - y)^2                      y = [x0 > 3 or x1 > 3]

with s the logistic function and every triple of digits once in the data.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch

from scrub.graph import Add, Expr, Scalar, Symbol, elementwise
from scrub.hypothesis import (
    CondSampler,
    Correspondence,
    Dataset,
    ExactSampler,
    FuncSampler,
    Hypothesis,
    InterpNode,
    UncondSampler,
    corr_root_matcher,
)
from scrub.rewrite import IterativeMatcher

_EXACT = ExactSampler()


def toy_expression() -> Expr:
    """The loss for one datum; its inputs are x0, x1, x2 and the label y.

    >>> toy_expression().print(max_depth=3)
    'loss' [] Einsum ,->
      'error' [] Add
        'D' [] Add ...
        y * -1.0 [] Einsum ,-> ...
      'error'
    """
    x0, x1, x2, y = (Symbol.new_from_name((), name) for name in ("x0", "x1", "x2", "y"))
    a = elementwise("sigmoid", Add(x0, x1.scale(0.1), x2.scale(-0.05), Scalar(-3.0), name="A.pre"), name="A")
    b = elementwise("sigmoid", Add(x0.scale(-0.01), x1, x2.scale(0.2), Scalar(-3.0), name="B.pre"), name="B")
    c = Add(x0, x1, x2, name="C")
    error = Add(Add(a, b, c.scale(0.1), name="D"), y.scale(-1.0), name="error")
    return error.mul(error, name="loss")


def toy_data() -> Dataset:
    """All 1,000 triples of digits with their labels, float64.

    >>> toy_data(), float(toy_data()["y"].mean())
    (Dataset 'toy' of 1000 rows: x0 [] float64 (input), ... y [] float64 (input), 0.84)
    """
    x0, x1, x2 = torch.cartesian_prod(*[torch.arange(10.0, dtype=torch.float64)] * 3).unbind(1)
    arrays = {"x0": x0, "x1": x1, "x2": x2}
    label = _either_is_large(Dataset(arrays)).to(torch.float64)
    return Dataset({**arrays, "y": label}, name="toy")


def toy_hypotheses() -> dict[str, Hypothesis]:
    """Eight hypotheses by name, from nothing scrubbed to wrong.

    Inputs that a hypothesis does not name read the other draw of the node that they are below. The label is part of the
    loss: it reads the datum of the output, except where labels are independent.

    - "unscrubbed": everything reads the reference.
    - "labels independent": D reads the reference, the label another datum.
    - "full": the output depends on whether D's "or" agrees with the label, D on x0 > 3 or x1 > 3, A on x0 > 3 and B
      on x1 > 3; in A, x0 reads A's datum and x1 and x2 another; in B, x1 reads B's and x0 and x2 another; C reads D's
      other datum.
    - "full, with and": the same with x0 > 3 and x1 > 3 in place of "or", in the output and in D.
    - "x0 and x1": both matter everywhere, x2 nowhere; nothing is said about A, B and D.
    - "A, x0 random": A must be the reference's, but its x0 may be anything, and nothing else matters.
    - "A, x0 exact": the same with x0 that of the reference.
    - "exact flow": the structure of "full", but every datum that it names is the reference's.

    >>> list(toy_hypotheses())[:3]
    ['unscrubbed', 'labels independent', 'full']
    """
    hypotheses = [
        _of_output("unscrubbed", {}),
        _of_output("labels independent", {"D": "D"}),
        _full("full", "x0 > 3 or x1 > 3", _either_is_large),
        _full("full, with and", "x0 > 3 and x1 > 3", _both_are_large),
        _of_output("x0 and x1", {"y": "y", "x0": "x0", "x1": "x1"}),
        _of_a("A, x0 random", UncondSampler()),
        _of_a("A, x0 exact", _EXACT),
        _structured("exact flow", output=_EXACT, d=_EXACT, parts={"A": _EXACT, "B": _EXACT}),
    ]
    return {hypothesis.name: hypothesis for hypothesis in hypotheses}


def _of_output(name: str, leaves: dict[str, str]) -> Hypothesis:
    """The output is exact, and so are these leaves, by what they claim."""
    root, corr = InterpNode(_EXACT, "output"), Correspondence()
    corr.add(root, corr_root_matcher)
    for leaf, claimed in leaves.items():
        corr.add(root.make_descendant(_EXACT, leaf), IterativeMatcher(claimed))
    return Hypothesis(corr, name)


def _of_a(name: str, x0: CondSampler) -> Hypothesis:
    """A is exact, and of its inputs x0 is said to be this."""
    hypothesis = _of_output(name, {"y": "y", "A": "A"})
    a = next(node for node in hypothesis.nodes if node.name == "A")
    hypothesis.correspondence.add(a.make_descendant(x0, "A.x0"), IterativeMatcher("A").chain("x0"))
    return hypothesis


def _full(name: str, condition: str, rule: Callable[[Dataset], torch.Tensor]) -> Hypothesis:
    """A and B say whether x0 and x1 are large, and D puts that together by a rule."""

    def agrees(data: Dataset) -> torch.Tensor:
        return rule(data) == data["y"].bool()

    parts = {"A": FuncSampler(_x0_is_large, "x0 > 3"), "B": FuncSampler(_x1_is_large, "x1 > 3")}
    output = FuncSampler(agrees, f"({condition}) agrees with y")
    return _structured(name, output=output, d=FuncSampler(rule, condition), parts=parts)


def _structured(name: str, *, output: CondSampler, d: CondSampler, parts: Mapping[str, CondSampler]) -> Hypothesis:
    """The output reads the label and D; D reads A and B; A reads x0, and B x1."""
    root, corr = InterpNode(output, "output"), Correspondence()
    corr.add(root, corr_root_matcher)
    corr.add(root.make_descendant(_EXACT, "y"), "y")
    node = root.make_descendant(d, "D")
    corr.add(node, "D")
    for part, read in zip(parts, ("x0", "x1"), strict=True):
        below = node.make_descendant(parts[part], part)
        corr.add(below, part)
        corr.add(below.make_descendant(_EXACT, f"{part}.{read}"), IterativeMatcher(part).chain(read))
    return Hypothesis(corr, name)


def _x0_is_large(data: Dataset) -> torch.Tensor:
    return data["x0"] > 3


def _x1_is_large(data: Dataset) -> torch.Tensor:
    return data["x1"] > 3


def _either_is_large(data: Dataset) -> torch.Tensor:
    return _x0_is_large(data) | _x1_is_large(data)


def _both_are_large(data: Dataset) -> torch.Tensor:
    return _x0_is_large(data) & _x1_is_large(data)
