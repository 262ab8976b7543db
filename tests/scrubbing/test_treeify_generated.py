"""Hypotheses that are generated: evaluated the fast way, and as a tree that is built path by path."""

from __future__ import annotations

from collections import Counter

import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import scrub as rc
from scrub.hypothesis import Scrubbed, Source, scrub
from scrub.hypothesis.claims import Claims
from scrub.hypothesis.evaluation.evaluator import Evaluator
from scrub.hypothesis.tree_paths import PathWalk
from scrub.hypothesis.treeify import Treeified, treeify
from tests.scrubbing.generated import Case, Claim, hypothesis_of

LIMIT = 3000


def is_valid_by_paths(case: Case, claims: list[Claim]) -> bool | None:
    """Whether the hypothesis fits, decided path by path; None if there are too many paths."""
    hypothesis = hypothesis_of(claims)
    try:
        walk = PathWalk(case.model, hypothesis, case.data.inputs, LIMIT)
    except rc.HypothesisError as error:
        return None if "more than" in str(error) else False
    claimed = {spot.owner[0] for spot in walk.spots if spot.is_claimed}
    return claimed == set(range(len(claims)))


def grown(case: Case, counts: Counter[str]) -> tuple[Scrubbed, list[Claim]] | None:
    """A hypothesis that fits, with as many nodes as came about; every one tried is judged both ways."""
    claims = [case.root()]
    for _ in range(10):
        tried = [*claims, case.claim(claims)]
        by_paths = is_valid_by_paths(case, tried)
        if by_paths is None:
            counts["too many paths"] += 1
            continue
        try:
            scrub(case.model, hypothesis_of(tried), case.data)
            is_valid = True
        except rc.HypothesisError:
            is_valid = False
        assert is_valid == by_paths, tried
        counts["valid" if is_valid else "invalid"] += 1
        claims = tried if is_valid and len(tried) < 7 else claims
    return scrub(case.model, hypothesis_of(claims, **case.options()), case.data), claims


def compare(case: Case, scrubbed: Scrubbed, tree: Treeified, seed: int) -> None:
    samplers = [s for node in scrubbed.claims.nodes for s in (node.cond_sampler, node.other_inputs_sampler)]
    source = Source(case.data, others=[dataset for sampler in samplers for dataset in sampler.datasets])
    references = torch.tensor([seed % 6, 3, (seed // 6) % 6])
    rows = scrubbed.slots.draw(scrubbed.read_slots, source, references, seed=seed, start=0)
    assert {read.slot for read in tree.reads.values()} == {read.slot for read in scrubbed.reads.values()}
    expected = tree.evaluate(rows, source.data)
    evaluator = Evaluator(scrubbed, source.data, rows, num_references=3)
    torch.testing.assert_close(evaluator.run(rows), expected, rtol=1e-9, atol=1e-9)


def note(counts: Counter[str], scrubbed: Scrubbed, tree: Treeified, claims: list[Claim]) -> None:
    options = scrubbed.claims.hypothesis
    counts["compared"] += 1
    counts["nested"] += any(claim.parent for claim in claims)
    counts["several nodes"] += len(claims) > 2
    counts["several places of a node"] += any(len(paths) > 1 for paths in tree.paths.values())
    counts["several draws"] += len(scrubbed.read_slots) > 1
    counts["separate terms"] += any(slot.term > 1 for slot in scrubbed.read_slots)
    counts[options.unimportant] += 1
    counts[options.handed_down] += 1
    has_modules = bool(scrubbed.claims.model.get(rc.Module))
    counts["with modules"] += has_modules and len(claims) > 1
    for path in (path for name, paths in tree.paths.items() if name != "k0" for path in paths):
        counts["claims in bodies"] += any(name.startswith("p") for name in path)


def test_the_fast_way_gives_what_the_tree_gives() -> None:
    counts: Counter[str] = Counter()

    @settings(max_examples=70)
    @given(st.integers(0, 2**32))
    def check(seed: int) -> None:
        case = Case(seed)
        assume(Claims(case.model, hypothesis_of([case.root()]), case.data.inputs).counts == [1])
        made = grown(case, counts)
        assert made is not None
        scrubbed, claims = made
        tree = treeify(scrubbed, limit=LIMIT)
        compare(case, scrubbed, tree, seed)
        note(counts, scrubbed, tree, claims)

    check()
    least = {
        "compared": 60,
        "valid": 90,
        "invalid": 300,
        "nested": 12,
        "several nodes": 30,
        "several places of a node": 30,
        "several draws": 45,
        "separate terms": 8,
        "with modules": 45,
        "claims in bodies": 100,
        **dict.fromkeys(("node", "term", "shared", "drawn", "original"), 8),
    }
    assert {what: counts[what] for what, least in least.items() if counts[what] < least} == {}
