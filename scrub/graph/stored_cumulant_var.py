"""`StoredCumulantVar`: a random variable of which only cumulants are known."""

from __future__ import annotations

import uuid as uuid_module
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self

import torch

from scrub.graph.array import Array
from scrub.graph.errors import BatchError, ConstructionError, RandomVariableError, ShapeError
from scrub.graph.expr import RANDOM, RANDOM_OUTSIDE_CUMULANT, UNSAMPLEABLE, AxisMap, AxisUse, Expr, Shape
from scrub.graph.registry import node
from scrub.graph.rules import common_dtype, uuid_from_name

HINT = (
    "a StoredCumulantVar is known by its cumulants alone: replace it by one that can be drawn or by a value, "
    "expr.update(variable, lambda _: ...)"
)


@node
class StoredCumulantVar(Expr):
    """A random variable known by its cumulants: mean, covariance, and so on up to some order.

    It can be used like any other, but no sample spec can draw it, so that it has a value only under a `Cumulant` of
    which a rewrite finds the value from the stored ones.

    Args:
        cumulants: order -> expression. Order 1, the mean, is required and has the variable's shape S; order k has
            shape S * k. Orders go from 1 to the highest one without a gap: a cumulant that is zero is stored as
            zeros, `Scalar(0.0, shape)`. Those above the highest stored order are unknown, not zero.
        uuid: what tells it from other variables of equal cumulants; the same uuid is the same variable.

    Raises:
        ConstructionError: an order is missing or not a positive int.
        ShapeError: a cumulant does not have the shape S * k.

    >>> noise = StoredCumulantVar.new_mv(Array(torch.zeros(2)), Array(torch.eye(2)), name="noise")
    >>> noise.shape, noise.can_be_sampled, noise.cumulant(2).shape
    ((2,), False, (2, 2))
    """

    __slots__ = ()

    def __new__(cls, cumulants: Mapping[int, Expr], uuid: str, name: str | None = None) -> Self:
        orders = sorted(cumulants)
        if orders != list(range(1, len(orders) + 1)) or not orders:
            missing = next(k for k in range(1, len(orders) + 2) if k not in cumulants)
            raise ConstructionError(
                f"StoredCumulantVar {name!r}: cumulants of orders {orders} are given, order {missing} is missing",
                nodes=cumulants.values(),
                expected=list(range(1, len(orders) + 1)),
                found=orders,
                hint="orders go from 1, the mean, without a gap; one that is zero is stored as Scalar(0.0, shape)",
            )
        return cls.make(tuple(cumulants[order] for order in orders), (uuid,), name)

    @classmethod
    def new_with_random_uuid(cls, cumulants: Mapping[int, Expr], name: str | None = None) -> Self:
        """A variable that is the same as no other."""
        return cls(cumulants, str(uuid_module.uuid4()), name)

    @classmethod
    def new_mv(
        cls,
        mean: Expr,
        variance: Expr,
        higher_cumulants: Mapping[int, Expr] | None = None,
        uuid: str | None = None,
        name: str | None = None,
    ) -> Self:
        """A variable of this mean, [S], and covariance, [S, S]; a new one unless a uuid is given."""
        higher = dict(higher_cumulants or {})
        twice = [order for order in (1, 2) if order in higher]
        if twice:
            raise ConstructionError(
                f"StoredCumulantVar {name!r}: order {twice[0]} is given as {('mean', 'variance')[twice[0] - 1]} and "
                "again in higher_cumulants",
                nodes=[mean, variance],
                expected="orders of 3 and more",
                found=list(higher),
                hint="higher_cumulants={3: ...}",
            )
        return cls({1: mean, 2: variance, **higher}, str(uuid_module.uuid4()) if uuid is None else uuid, name)

    @property
    def uuid(self) -> str:
        """The identity."""
        return self.params[0]

    @property
    def cumulants(self) -> dict[int, Expr]:
        """Order -> what is stored."""
        return dict(enumerate(self.children, start=1))

    def cumulant(self, order: int) -> Expr:
        """The joint cumulant of `order` copies of the variable, shape S * order.

        Raises:
            RandomVariableError: it is not stored.
        """
        if order not in self.cumulants:
            raise RandomVariableError(
                f"StoredCumulantVar {self.name!r}: its cumulant of order {order} is not known",
                nodes=[self],
                expected=f"an order from 1 to {len(self.children)}",
                found=order,
                hint="store it when the variable is made; Scalar(0.0, shape) says that it is zero",
            )
        return self.cumulants[order]

    @classmethod
    def infer(
        cls, children: tuple[Expr, ...], params: tuple[Any, ...], name: str | None
    ) -> tuple[Shape, torch.dtype | None]:
        what = f"StoredCumulantVar {name!r}"
        shape = children[0].shape
        for order, child in enumerate(children, start=1):
            if child.shape != shape * order:
                raise ShapeError(
                    f"{what}: the mean has shape {shape}, so the cumulant of order {order} has {shape * order}, "
                    f"not {child.shape}",
                    nodes=[children[0], child],
                    expected=shape * order,
                    found=child.shape,
                    hint="a covariance holds that of every pair of elements, [*shape, *shape], not the variances alone",
                )
        return shape, common_dtype(what, children)

    @classmethod
    def infer_flags(cls, children: tuple[Expr, ...]) -> int:
        return super().infer_flags(children) | RANDOM | RANDOM_OUTSIDE_CUMULANT | UNSAMPLEABLE

    def axis_map(self) -> AxisMap:
        return tuple((AxisUse.FIXED,) * child.ndim for child in self.children)

    def batched(self, children: tuple[Expr, ...], ranks: tuple[int, ...], batch: Shape) -> Expr:
        raise BatchError(
            f"StoredCumulantVar {self.name!r}: its cumulants take no batch axes",
            nodes=[self, *children],
            hint="batch the variable itself, not its cumulants",
        )

    def param_text(self) -> str:
        return self.uuid[:8]

    def derived_name(self, names: Sequence[str]) -> str:
        return f"random(mean {names[0]})"

    @classmethod
    def examples(cls) -> Iterator[Expr]:
        mean = Array(torch.tensor([1.0, -1.0]), "mean")
        covariance = Array(torch.tensor([[2.0, 0.5], [0.5, 1.0]]), "covariance")
        yield cls.new_mv(mean, covariance, uuid=uuid_from_name("noise"), name="noise")
        yield cls({1: Array(torch.tensor(3.0))}, uuid_from_name("only the mean"))
