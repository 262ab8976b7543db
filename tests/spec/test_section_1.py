"""Section 1 of the specification, sentence by sentence: identity, names, flags."""

from __future__ import annotations

import copy
import itertools
import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import xxhash

import scrub as rc
import scrub.rewrite.rules  # noqa: F401 - registers them
from scrub.graph import NODES, FrozenTensor, StoredCumulantVar, tensor_digest
from scrub.rewrite import REWRITES, NoMatch, Rule
from scrub.rewrite.testing import Maker

T = torch.tensor([1.0, 2.0])
A, B, C = (rc.Array(T + i, name) for i, name in enumerate("abc"))


def test_1_1_equality_is_structural_and_includes_names() -> None:
    """SPEC 1.1: the inequalities and equalities it lists."""
    assert rc.Add(A, B, name="s") != rc.Add(A, B, name="t")
    assert rc.Add(A, B) != rc.Add(B, A)
    assert rc.Array(T, "u") != rc.Array(T, "v")
    assert rc.Array(T, "u") == rc.Array(T.clone(), "u")
    assert rc.Array(T) != rc.Array(T.half())


def test_1_1_equality_is_recursive() -> None:
    """SPEC 1.1: "structural and includes names, recursively": a name far below makes two expressions unequal."""
    one, other = rc.Array(T, "u"), rc.Array(T, "v")
    for _ in range(5):
        one, other = rc.Add(one, A, name="same"), rc.Add(other, A, name="same")
        assert one != other


def test_1_1_zeros_and_ones_of_other_kinds_differ() -> None:
    """SPEC 1.1: "`0.0` and `-0.0`, `1` and `True` differ"."""
    assert rc.Scalar(0.0) != rc.Scalar(-0.0)
    assert rc.Scalar(1) != rc.Scalar(True)
    assert rc.Array(torch.tensor([0.0])) != rc.Array(torch.tensor([-0.0]))
    assert rc.Array(torch.tensor([1])) != rc.Array(torch.tensor([True]))


def test_1_1_equality_is_identity_also_after_pickle_copy_and_load(tmp_path: Path) -> None:
    """SPEC 1.1: "equality is identity of the object, also after pickle, copy and load"."""

    def make() -> rc.Expr:
        return rc.softmax(rc.Add(rc.Array(T.clone(), "x"), rc.Scalar(0.5), name="sum"), name="p")

    expr = make()
    assert make() is expr
    assert pickle.loads(pickle.dumps(expr)) is expr
    assert copy.copy(expr) is expr
    assert copy.deepcopy({"key": [expr]})["key"][0] is expr
    rc.save(expr, tmp_path / "expr.safetensors")
    assert rc.load(tmp_path / "expr.safetensors") is expr


def test_1_1_einsum_axes_compare_after_renumbering_by_first_appearance() -> None:
    """SPEC 1.1: "Einsum axes compare after renumbering by first appearance (no explicit normalising step)"."""
    x, y = rc.Array(torch.ones(2, 3)), rc.Array(torch.ones(3, 4))
    expected = rc.Einsum((x, (0, 1)), (y, (1, 2)), out_axes=(0, 2))
    assert rc.Einsum((x, (9, 4)), (y, (4, 0)), out_axes=(9, 0)) == expected
    assert rc.Einsum((x, (1, 0)), (y, (0, 2)), out_axes=(1, 2)) == expected
    assert rc.Einsum((x, (0, 1)), (y, (1, 2)), out_axes=(2, 0)) != expected


def test_1_2_the_digest_covers_shape_dtype_and_bytes() -> None:
    """SPEC 1.2: each of the three tells tensors apart; equal ones have one digest; xxh3, 128 bits."""
    bits = torch.tensor([1.0, 2.0, 3.0, 4.0])
    assert tensor_digest(bits) == tensor_digest(bits.clone())
    assert tensor_digest(bits) != tensor_digest(bits.reshape(2, 2))
    assert tensor_digest(bits) != tensor_digest(bits.view(torch.int32))  # the same bytes
    assert tensor_digest(bits) != tensor_digest(bits + 1)
    assert len(bytes.fromhex(tensor_digest(bits))) * 8 == 128
    expected = xxhash.xxh3_128(b"torch.float32(4,)" + bits.numpy().tobytes()).hexdigest()
    assert tensor_digest(bits) == expected


def test_1_2_the_device_is_not_in_the_digest_but_in_the_identity() -> None:
    """SPEC 1.2: "not its device"; "a node's identity in memory is digest and device together"."""
    here = rc.Array(T, "w")
    there = rc.Array(FrozenTensor(torch.empty(2, device="meta"), digest=here.frozen.digest), "w")
    assert (here.device, there.device) == (torch.device("cpu"), torch.device("meta"))
    assert here.digest == there.digest
    assert here != there
    assert rc.elementwise("exp", here).digest == rc.elementwise("exp", there).digest
    assert rc.elementwise("exp", here) != rc.elementwise("exp", there)


def test_1_2_a_tensor_is_hashed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """SPEC 1.2: hashing is paid once per tensor, not once per use."""
    hashed: list[torch.Tensor] = []

    def counted(tensor: torch.Tensor) -> str:
        hashed.append(tensor)
        return tensor_digest(tensor)

    monkeypatch.setattr("scrub.graph.frozen_tensor.tensor_digest", counted)
    x = rc.Array(torch.arange(5.0) + 0.5, "x")
    sums = [rc.Add(x, rc.Scalar(float(i)), name=f"s{i}") for i in range(20)]
    assert rc.Add(*sums, *(x.rename(f"x{i}") for i in range(20))).evaluate().shape == (5,)
    assert len(hashed) == 1


def test_1_2_meta_tensors_are_identified_by_a_uuid() -> None:
    """SPEC 1.2: "`meta` tensors (no data) are identified by a uuid given at construction"."""
    meta = torch.empty(2, device="meta")
    one, two = rc.Array(meta, "w"), rc.Array(meta, "w")
    assert one != two
    assert one.rename("other").rename("w") is one
    assert pickle.loads(pickle.dumps(one)) is one


def test_1_3_names_are_given_or_none_and_derived_ones_are_displayed() -> None:
    """SPEC 1.3: `a + b`, `a * b`, `softmax(a)`, `(a + b) * c`."""
    expected = {
        "a + b": rc.Add(A, B),
        "a * b": A.mul(B),
        "softmax(a)": rc.softmax(A),
        "(a + b) * c": rc.Add(A, B).mul(C),
    }
    for text, expr in expected.items():
        assert rc.display_name(expr) == text
        assert expr.name is None  # computed when asked for, never stored
    assert rc.Add(A, B, name="given").name == "given"


def test_1_3_renaming_a_child_renames_what_is_derived_from_it() -> None:
    """SPEC 1.3: "renaming a child renames what is derived from it"."""
    expr = rc.Add(A, B).mul(C)
    assert rc.display_name(expr.update("a", lambda node: node.rename("z"))) == "(z + b) * c"


def test_1_3_an_update_that_changes_nothing_returns_the_same_object() -> None:
    """SPEC 1.3, also where derived names were displayed before."""
    expr = rc.softmax(rc.Add(A, B).mul(C))
    rc.display_name(expr)
    assert expr.update(True, lambda node: node) is expr


def test_1_3_string_matchers_see_given_names_only() -> None:
    """SPEC 1.3: "String matchers see given names only, not derived ones"."""
    expr = rc.Add(A, B)
    assert rc.display_name(expr) == "a + b"
    assert not expr.are_any_found("a + b")
    assert not expr.are_any_found(rc.Regex(" "))
    assert expr.rename("a + b").are_any_found("a + b")


# ---- 1.4: names under every rule -----------------------------------------------------------------------------------

LEAVES = rc.Array | rc.Scalar | rc.Symbol


def applications(rule: Rule[...], *, num_cases: int, **fixed: object) -> Iterator[tuple[rc.Expr, rc.Expr, list[rc.Expr]]]:
    """Generated nodes with what the rule makes of them, and the expressions that its options brought."""
    for number in range(num_cases):
        maker = Maker(f"names {rule.name} {number}")
        case = rule.cases(maker) if rule.cases is not None else maker.pattern(*rule.pattern)
        for name in (None, "its name"):
            node = case.rename(name)
            if not isinstance(node, rule.kind):
                continue
            for options in itertools.islice(rule.choices(node) if rule.choices is not None else [{}], 5):
                result = rule.attempt(node, **(options | fixed))
                if not isinstance(result, NoMatch):
                    yield node, result, [option for option in options.values() if isinstance(option, rc.Expr)]


def leaf_names(*exprs: rc.Expr) -> dict[object, set[str | None]]:
    """What a tensor or symbol holds -> the names it is held under."""
    names: dict[object, set[str | None]] = {}
    for node in rc.postorder(exprs):
        if isinstance(node, rc.Array | rc.Symbol):
            names.setdefault((type(node), repr(node.params)), set()).add(node.name)
    return names


@pytest.mark.parametrize("name", sorted(REWRITES))
def test_1_4_rules_keep_the_outer_name_and_never_rename_leaves(name: str) -> None:
    """SPEC 1.4 (1) and (2): "leaves are never renamed"; "the outermost node of the result keeps the input's name".

    Where the two meet, because a leaf of the input is the whole result, the leaf keeps its own name. An unnamed number
    is no leaf that anything refers to, so it may take the name of what it replaces.
    """
    num_fired = 0
    for before, after, given in applications(REWRITES[name], num_cases=60):
        num_fired += 1
        was_there = isinstance(after, LEAVES) and after in set(rc.postorder([before]))
        if before.name is not None and not was_there:
            assert after.name == before.name, (before, after)
        old = leaf_names(before, *given)
        for held, names in leaf_names(*([after] if was_there else after.children)).items():
            assert held not in old or names <= old[held], (before, after)
    assert num_fired


def is_unnamed(node: rc.Expr) -> bool:
    return node.name is None


def given_names(expr: rc.Expr) -> set[str]:
    return {node.name for node in rc.postorder([expr]) if node.name is not None}


DROPPING = {"drop_zero_terms", "drop_cast", "push_index", "merge_scalar_terms", "merge_scalar_operands"}
"""What these drop has no part in the value, or is merged with others into one number."""


@pytest.mark.parametrize("name", sorted(n for n, rule in REWRITES.items() if rule.can_dissolve and n not in DROPPING))
def test_1_4_inner_names_are_preserved(name: str) -> None:
    """SPEC 1.4 (1): "inner names are preserved", told to take apart unnamed nodes only.

    Called without that, a rule takes apart the nodes it was called to take apart, named or not.
    """
    for before, after, _ in applications(REWRITES[name], num_cases=60, dissolve=is_unnamed):
        kept = given_names(after)
        inner = {n for child in before.children for n in given_names(child)}
        assert inner <= kept, (before, after, inner - kept)


def test_1_5_flags_are_properties_of_what_is_below() -> None:
    """SPEC 1.5: worked through on random variables, cumulants, symbols and calls that bind them."""
    dice = rc.DiscreteVar(rc.Array(torch.arange(1.0, 7.0)), name="dice")
    s, t = rc.Symbol.new_from_name((), "s"), rc.Symbol.new_from_name((), "t")
    stored = StoredCumulantVar.new_mv(rc.Scalar(0.0), rc.Scalar(1.0))
    call = rc.Module(rc.ModuleSpec(rc.Add(s, t), [s]), "call", s=dice)
    closed = rc.Module(rc.ModuleSpec(rc.Add(s, rc.Scalar(1.0)), [s]), "closed", s=rc.Scalar(2.0))
    facts = {
        rc.Scalar(1.0): (True, True, True, ()),
        dice: (False, False, True, ()),
        rc.Cumulant(dice): (True, False, True, ()),
        rc.Add(rc.Cumulant(dice), dice): (False, False, True, ()),
        rc.Cumulant(rc.Scalar(1.0)): (True, True, True, ()),
        s: (True, False, True, (s,)),
        rc.Add(t, s, t): (True, False, True, (t, s)),
        call: (False, False, True, (t,)),
        closed: (True, True, True, ()),
        stored: (False, False, False, ()),
        rc.Cumulant(stored): (True, False, False, ()),
    }
    for expr, expected in facts.items():
        flags = (expr.is_constant, expr.is_explicitly_computable, expr.can_be_sampled, expr.free_symbols)
        assert flags == expected, expr


EXAMPLES = [
    pytest.param(node, id=f"{kind}-{i}") for kind, cls in sorted(NODES.items()) for i, node in enumerate(cls.examples())
]
RANDOM = rc.DiscreteVar | StoredCumulantVar


def has_variable(expr: rc.Expr, *, through_cumulants: bool) -> bool:
    if isinstance(expr, RANDOM):
        return True
    if isinstance(expr, rc.Cumulant) and not through_cumulants:
        return False
    return any(has_variable(child, through_cumulants=through_cumulants) for child in expr.children)


def unbound(expr: rc.Expr, bound: frozenset[rc.Symbol] = frozenset()) -> list[rc.Symbol]:
    """Free symbols in order of first visit: body before arguments, children from the left."""
    if isinstance(expr, rc.Symbol):
        return [] if expr in bound else [expr]
    found: list[rc.Symbol] = []
    for i, child in enumerate(expr.children):
        inside = bound | set(expr.bindings) if isinstance(expr, rc.Module) and i == 0 else bound
        found += unbound(child, inside)
    return list(dict.fromkeys(found))


@pytest.mark.parametrize("node", EXAMPLES)
def test_1_5_flags_on_every_node_type(node: rc.Expr) -> None:
    """SPEC 1.5: every flag of every node type, against a walk written here, alone and below and above others."""
    s = rc.Symbol.new_from_name(node.shape, "same shape")
    dice = rc.DiscreteVar(rc.Array(torch.zeros(2, *node.shape, dtype=node.dtype or torch.float32)))
    for expr in (node, rc.Add(s, node, s), rc.Add(node, dice), rc.Cumulant(rc.Add(node, dice), s)):
        assert expr.is_constant == (not has_variable(expr, through_cumulants=False))
        symbols = unbound(expr)
        assert expr.free_symbols == tuple(symbols)
        assert expr.is_explicitly_computable == (not symbols and not has_variable(expr, through_cumulants=True))
        assert expr.can_be_sampled == (not any(isinstance(n, StoredCumulantVar) for n in rc.postorder([expr])))
        assert expr.ndim == len(expr.shape)
        assert expr.numel == torch.empty(expr.shape, device="meta").numel()
        leaves = [n for n in rc.postorder([expr]) if isinstance(n, rc.Array)]
        assert expr.device == (torch.device("cpu") if leaves else None)
    if node.is_explicitly_computable:
        value = node.evaluate()
        assert tuple(value.shape) == node.shape
        assert value.dtype == node.dtype or node.dtype is None


@pytest.mark.parametrize("flag", ["is_constant", "free_symbols"])
def test_1_5_flags_are_computed_once(flag: str) -> None:
    """SPEC 1.5: "computed once": asking does not walk, so it does not depend on depth or sharing."""
    expr: rc.Expr = rc.Symbol.new_from_name((), "s")
    for _ in range(2000):
        expr = rc.Add(expr, expr)
    assert getattr(expr, flag) in (True, (rc.Symbol.new_from_name((), "s"),))
