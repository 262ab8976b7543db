"""Keeping the largest entries of an axis, against sorting."""

import pytest
import torch

import scrub as rc
from scrub.graph.functions.top_k import KeepTopK


def kept(x: rc.Expr, k: int) -> rc.Expr:
    return rc.GeneralFunction(x, spec=KeepTopK(k), name="kept")


@pytest.mark.parametrize("k", [1, 2, 5])
def test_it_keeps_what_sorts_first(k: int) -> None:
    x = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(0))
    smallest_kept = x.sort(-1, descending=True).values[..., k - 1 : k]
    wanted = torch.where(x >= smallest_kept, x, torch.zeros(()))
    assert torch.equal(kept(rc.Array(x), k).evaluate(), wanted)
    assert torch.equal(rc.compile([kept(rc.Array(x), k)]).run()[0], wanted)


def test_of_equal_entries_it_keeps_as_many_as_it_should() -> None:
    x = torch.tensor([[1.0, 1.0, 1.0, 0.5], [2.0, 3.0, 2.0, 2.0]])
    out = kept(rc.Array(x), 2).evaluate()
    assert (out != 0).sum(-1).tolist() == [2, 2]
    assert out.sum(-1).tolist() == [2.0, 5.0]


def test_negative_entries_are_kept_where_they_are_the_largest() -> None:
    assert kept(rc.Array(torch.tensor([-3.0, -1.0, -2.0])), 2).evaluate().tolist() == [0, -1, -2]


def test_there_must_be_enough_entries() -> None:
    x = rc.Array(torch.ones(2, 3), "x")
    with pytest.raises(rc.ShapeError, match=r"'kept': .*4 largest of 3 entries"):
        kept(x, 4)
    with pytest.raises(rc.ShapeError, match="needs at least one axis"):
        kept(rc.Scalar(1.0), 1)
    with pytest.raises(rc.ConstructionError, match="k=0"):
        KeepTopK(0)
    with pytest.raises(rc.DtypeError, match="keep_top_k"):
        kept(rc.Array(torch.ones(3, dtype=torch.int64)), 1)
