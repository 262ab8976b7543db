"""What structure an expression has: linear layers, attentions, norms and residual sums, by module."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Literal

from scrub.graph import Add, Einsum, Expr, GeneralFunction, Module
from scrub.graph.functions.gen_index import GenIndex
from scrub.models.exported.dissolve import outside_bodies
from scrub.models.exported.recover.heads import HEADS
from scrub.models.exported.recover.norms import is_norm
from scrub.models.exported.recover.pattern import COMBINED
from scrub.models.exported.recover.residual import is_residual
from scrub.models.exported.recover.views import is_linear

Kind = Literal["linear_layer", "attention", "norm", "residual_add"]


@dataclass(frozen=True)
class Found:
    """One part of a model that was recognised.

    Attributes:
        kind: what it is.
        path: of the module it is in, "" for the whole.
        name: of its node, or None.
    """

    kind: Kind
    path: str
    name: str | None


@dataclass(frozen=True)
class StructureReport:
    """What was found in an expression, each part once for every module call it is in.

    Attributes:
        found: all parts, in the order of evaluation.
    """

    found: tuple[Found, ...]

    @property
    def linear_layers(self) -> int:
        """Products with a weight."""
        return self._count("linear_layer")

    @property
    def attentions(self) -> int:
        """Calls of attention heads; and attention without such a call."""
        return self._count("attention")

    @property
    def norms(self) -> int:
        """Calls of norms."""
        return self._count("norm")

    @property
    def residual_adds(self) -> int:
        """Sums of at least two activations, one of which a layer made."""
        return self._count("residual_add")

    def by_path(self) -> dict[str, Counter[Kind]]:
        """Counts of each kind, by the path of the module they are in."""
        counts: dict[str, Counter[Kind]] = {}
        for each in self.found:
            counts.setdefault(each.path, Counter())[each.kind] += 1
        return counts

    def _count(self, kind: Kind) -> int:
        return sum(each.kind == kind for each in self.found)

    def __str__(self) -> str:
        lines = [
            f"{self.linear_layers} linear layers, {self.attentions} attentions, {self.norms} norms, "
            f"{self.residual_adds} residual sums"
        ]
        for path, counts in self.by_path().items():
            lines.append(f"  {path or '(whole)'}: " + ", ".join(f"{n} {kind}" for kind, n in counts.items()))
        return "\n".join(lines)


def structure_of(expr: Expr) -> StructureReport:
    """What of linear layers, attention, norms and residual sums an expression shows; see `recover_structure`.

    >>> from scrub.graph import Symbol
    >>> x, w = Symbol.new_from_name((5, 8), "x"), Symbol.new_from_name((8, 8), "w")
    >>> print(structure_of(Add(x, Einsum.from_string("s d, e d -> s e", x, w), name="resid")))
    1 linear layers, 0 attentions, 0 norms, 1 residual sums
      (whole): 1 linear_layer, 1 residual_add
    """
    found: list[Found] = []
    stack: list[tuple[Expr, str, bool]] = [(expr, "", False)]
    while stack:
        root, path, is_head = stack.pop()
        calls: list[tuple[Expr, str, bool]] = []
        for node in outside_bodies(root):
            kind = _kind(node)
            if kind is not None and not (is_head and kind in ("attention", "residual_add")):
                found.append(Found(kind, path, node.name))
            if isinstance(node, Module) and not is_norm(node):
                calls.append(
                    (node.body, path, True) if node.name == HEADS else (node.body, _join(path, node.name), False)
                )
        stack.extend(reversed(calls))
    return StructureReport(tuple(found))


def _join(path: str, name: str | None) -> str:
    """The path of a call: its name is relative to that of the module it is in, or has that in it already."""
    if name is None or not path or name.startswith(f"{path}."):
        return name or path
    return f"{path}.{name}"


def _kind(node: Expr) -> Kind | None:
    if isinstance(node, Module):
        return "attention" if node.name == HEADS else "norm" if is_norm(node) else None
    if isinstance(node, Einsum):
        return "attention" if node.name == COMBINED else "linear_layer" if is_linear(node) else None
    is_stream = (
        isinstance(node, Add)
        and is_residual(node)
        and any(map(_is_written, node.children))
        and not any(_is_factor(other, term) for term in node.children for other in node.children)
    )
    return "residual_add" if is_stream else None


def _is_factor(factor: Expr, term: Expr) -> bool:
    """Whether a term is a multiple of another, entry by entry: that is a polynomial, and no sum of what was written."""
    return (
        isinstance(term, Einsum)
        and factor in term.children
        and len(set(term.out_axes)) == len({axis for axes in term.in_axes for axis in axes})
    )


def _is_written(term: Expr) -> bool:
    """Whether a layer made it: a product with a weight, with a bias or without, heads summed, or a call."""
    if isinstance(term, Add):
        return any(isinstance(part, Einsum) for part in term.children)
    if isinstance(term, GeneralFunction):
        return isinstance(term.spec, GenIndex)
    is_sum_of_heads = isinstance(term, Einsum) and any(child.name == HEADS for child in term.children)
    return isinstance(term, Module) or is_sum_of_heads or (isinstance(term, Einsum) and is_linear(term))
