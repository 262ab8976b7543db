"""What `benchmarks.loading` and `benchmarks.lowering` measure is what they say, on tiny models."""

from __future__ import annotations

import math
import os
from pathlib import Path

import pytest
import torch

import scrub as rc
from benchmarks import loading, lowering
from benchmarks.peers import gpt2_config, hugging_face, llama_config
from tests.benchmarks.tiny import LLAMA, REASON, TINY

IS_LINUX = pytest.mark.skipif(not loading.STATISTICS.exists(), reason="this system does not say what is resident")
MEGABYTES = 64


def weights(expr: rc.Expr) -> list[torch.Tensor]:
    return [node.value for node in rc.postorder([expr]) if isinstance(node, rc.Array)]


def own_number() -> tuple[float]:
    return (float(os.getpid()),)


@IS_LINUX
def test_resident_memory_grows_by_what_is_written() -> None:
    before = loading.resident()
    held = torch.ones(MEGABYTES * 1_000_000 // 4)
    assert loading.resident() - before == pytest.approx(MEGABYTES, rel=0.1)
    del held
    assert loading.resident() - before < 0.1 * MEGABYTES


def test_each_measurement_has_a_process_of_its_own() -> None:
    assert loading.in_own_process(own_number) != own_number()


def test_expressions_of_a_module_and_of_its_folder_are_its_logits(tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason=REASON)
    module = hugging_face(gpt2_config(TINY), dtype=torch.float64)
    module.save_pretrained(tmp_path)
    tokens = torch.arange(loading.SEQ) % TINY["vocab_size"]
    want = module(tokens[None]).logits[0]
    for source in (module, str(tmp_path)):
        logits = loading.expression_of(source)
        (symbol,) = logits.free_symbols
        torch.testing.assert_close(rc.evaluate_many([logits], {symbol: tokens})[0], want, rtol=1e-10, atol=1e-10)
    read = loading.from_pretrained(str(tmp_path))
    torch.testing.assert_close(read(tokens[None]).logits[0], want)


def test_seconds_are_of_three_ways_to_load(tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason=REASON)
    module = hugging_face(gpt2_config(TINY))
    module.save_pretrained(tmp_path)
    ticks = iter(range(100))
    found = loading.seconds_to_load(module, str(tmp_path), lambda: 2.0 * next(ticks))
    assert found == {"module": 2.0, "folder": 2.0, "peer": 2.0}
    rows = list(loading.time_rows([found, found]))
    assert [(row.values, row.unit) for row in rows] == [((2.0, 2.0), "s")] * 3


def test_a_config_becomes_an_expression_without_weights_with_every_head_apart() -> None:
    pytest.importorskip("transformers", reason=REASON)
    expr = loading.without_weights(llama_config(LLAMA))
    assert {tensor.device.type for tensor in weights(expr)} == {"meta"}
    heads = expr.get(rc.Regex(r"^a\d+\.h\d+$"))
    assert len(heads) == LLAMA["num_hidden_layers"] * LLAMA["num_attention_heads"]


def test_published_shapes_have_as_many_weights_as_their_names_say() -> None:
    """GPT-2 XL has 1.56 billion parameters, Llama-3-8B 8.03, Llama-3-70B 70.6."""
    pytest.importorskip("transformers", reason=REASON)
    for (name, config), billions in zip(lowering.published().items(), (1.56, 8.03, 70.6), strict=True):
        loaded = rc.models.load(config)
        names = set(loaded.weights) - ({"t.w.unembed"} if name.startswith("GPT-2") else set())  # tied
        assert sum(math.prod(loaded.weights[key].shape) for key in names) / 1e9 == pytest.approx(billions, rel=0.01)


def test_a_round_of_lowering_ends_without_modules() -> None:
    pytest.importorskip("transformers", reason=REASON)
    seconds, inlined = lowering.one_round(gpt2_config(TINY | {"n_positions": lowering.SEQ}))
    assert not inlined.get(rc.Module)
    steps = [value for name, value in seconds.items() if name not in ("total", "plain walk")]
    assert seconds["total"] == pytest.approx(sum(steps))


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_no_weight_is_copied(family: str) -> None:
    pytest.importorskip("transformers", reason=REASON)
    copied, total = lowering.num_copied_weights(gpt2_config(TINY) if family == "gpt2" else llama_config(LLAMA))
    assert copied == 0
    assert total >= {"gpt2": 27, "llama": 20}[family]


@IS_LINUX
@pytest.mark.slow
def test_memory_of_models_whose_weights_outweigh_the_rest(tmp_path: Path) -> None:
    """Copied weights would be half as much again, or twice as much."""
    pytest.importorskip("transformers", reason=REASON)
    sizes = {"n_layer": 2, "n_head": 4, "n_embd": 512, "vocab_size": 30_000, "n_positions": 64}
    hugging_face(gpt2_config(sizes)).save_pretrained(tmp_path)
    for row in loading.resident_rows(sizes, str(tmp_path)):
        assert 0.8 < row.median < 1.3
