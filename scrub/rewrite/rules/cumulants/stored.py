"""Cumulants of a variable that is known by them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scrub.graph import Cumulant, Expr, Scalar, StoredCumulantVar, cast_to
from scrub.graph.rules import uuid_from_name
from scrub.rewrite.rule import NoMatch, rewrite
from scrub.rewrite.rules.cumulants.common import maybe_name

if TYPE_CHECKING:
    from scrub.rewrite.testing.maker import Maker


def _case(maker: Maker) -> Expr:
    shape = maker.shape(max_ndim=1, max_size=3)
    highest = maker.random.choice([1, 2, 3])
    known: dict[int, Expr] = {
        order: Scalar(0.0, shape * order) if maker.random.random() < 0.2 else maker.expr(shape * order, 1)
        for order in range(1, highest + 1)
    }
    variable = StoredCumulantVar(known, uuid_from_name(f"stored {maker.random.random()}"), maker.name("v"))
    return Cumulant(*[variable] * maker.random.randint(1, highest), name=maybe_name(maker))


@rewrite(keeps="value", cases=_case, simplifies=True)
def use_stored_cumulant(cumulant: Cumulant) -> Expr | NoMatch:
    """A cumulant all of whose arguments are one `StoredCumulantVar` is what the variable stores for that order.

    >>> import torch
    >>> from scrub.graph import Array
    >>> noise = StoredCumulantVar.new_mv(Array(torch.zeros(2)), Array(torch.eye(2), "covariance"), name="noise")
    >>> use_stored_cumulant(Cumulant(noise, noise))
    'covariance' [2, 2] Array ...
    """
    if not cumulant.children:
        return NoMatch("it has no arguments")
    variable = cumulant.children[0]
    if not isinstance(variable, StoredCumulantVar):
        return NoMatch(f"{variable!r} is no variable with stored cumulants")
    if any(child is not variable for child in cumulant.children):
        return NoMatch(f"not all arguments are {variable!r}")
    if cumulant.order not in variable.cumulants:
        return NoMatch(f"{variable!r} has no cumulant of order {cumulant.order}")
    stored = variable.cumulant(cumulant.order)
    if stored.dtype == cumulant.dtype or cumulant.dtype is None:
        return stored
    return cast_to(stored, cumulant.dtype)
