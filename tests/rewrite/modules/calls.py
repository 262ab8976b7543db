"""Small builders, and generated expressions with modules of all kinds, for the tests of module rewrites."""

from __future__ import annotations

import torch
from hypothesis import strategies as st

import scrub as rc
from scrub.rewrite.modules.cases import call_of_call, call_with_equal_arguments, call_with_unused, nested_calls
from scrub.rewrite.testing import Maker
from tests.strategies import expressions

CASES = [nested_calls, call_of_call, call_with_unused, call_with_equal_arguments]


def symbol(name: str, *shape: int) -> rc.Symbol:
    return rc.Symbol.new_from_name(shape, name)


def array(name: str, *shape: int) -> rc.Array:
    generator = torch.Generator().manual_seed(sum(map(ord, name)))
    return rc.Array(torch.randn(shape, generator=generator, dtype=torch.float64), name)


def bound(body: rc.Expr, name: str | None = None, **args: rc.Expr) -> rc.Module:
    """The body with its free symbols of these names bound."""
    return rc.module_new_bind(body, *args.items(), name=name)


@st.composite
def calls(draw: st.DrawFn) -> rc.Expr:
    """An expression without free symbols: of the suite's strategy, or of the cases that rules are tried on."""
    if draw(st.booleans()):
        return draw(expressions())
    return draw(st.sampled_from(CASES))(Maker(f"calls {draw(st.integers(0, 10**6))}"))


def modules_of(expr: rc.Expr) -> list[rc.Module]:
    return [node for node in rc.postorder([expr]) if isinstance(node, rc.Module)]


def names_of(expr: rc.Expr) -> list[str]:
    return sorted({node.name for node in rc.postorder([expr]) if node.name is not None})
