"""The model of indirect objects: against its oracle, on prompts that training did not have, and the text it is of."""

import re
from pathlib import Path

import pytest
import torch

import scrub as rc
from scrub.models import shipped as shipped_models
from scrub.tasks.generators.indirect_object import VARIANTS, ioi
from scrub.tasks.task import Task
from zoo.ioi_model import IoiConfig, IoiTransformer, Trace
from zoo.ioi_text import HELD_OUT_TEMPLATES, NAMES, TEMPLATES, TextSource, held_out_prompts, is_held_out
from zoo.ioi_training import Score, score_task

FOLDER = Path(shipped_models.__file__).parent / "ioi"


@pytest.fixture(scope="module")
def shipped() -> rc.ShippedModel:
    return rc.load_shipped("ioi")


@pytest.fixture(scope="module")
def oracle(shipped: rc.ShippedModel) -> IoiTransformer:
    given = shipped.info["transformer_lens"]
    sizes = {name: given["eps" if name == "norm_eps" else name] for name in IoiConfig.__dataclass_fields__}
    model = IoiTransformer(IoiConfig(**sizes))
    model.load_state_dict(shipped.state_dict)
    return model.requires_grad_(False)


@pytest.fixture(scope="module")
def held_out(shipped: rc.ShippedModel) -> Task:
    """Templates and pairs of names that training text does not have."""
    made = held_out_prompts(HELD_OUT_TEMPLATES, 160, held_out_pairs=True, seed=7)
    return Task.from_prompts("held out", made, shipped.tokenizer)


@pytest.mark.parametrize("options", [None, {"split_by_head_config": "full"}])
def test_logits_equal_the_oracle_s(
    shipped: rc.ShippedModel, oracle: IoiTransformer, held_out: Task, options: dict[str, object] | None
) -> None:
    tokens = held_out.tokens[:4]
    model = shipped.lower(seq_len=tokens.shape[1])["t.bind_w"]
    if options is not None:
        model = rc.configure_transformer(model, use_pull_up_head_split=True, **options)  # type: ignore[arg-type]
    torch.testing.assert_close(shipped.call(tokens, model=model).evaluate(), oracle(tokens), rtol=1e-4, atol=1e-4)


def test_it_identifies_indirect_objects_that_training_did_not_have(oracle: IoiTransformer, held_out: Task) -> None:
    for order in ("ABBA", "BABA"):
        rows = [row for row, fact in enumerate(held_out.facts) if fact["order"] == order]
        score = score_task(oracle, held_out[rows])
        assert score.accuracy > 0.97
        assert score.logit_difference > 4
        assert score.top_1 > 0.95


def test_a_third_name_as_the_giver_leaves_no_preference(oracle: IoiTransformer, held_out: Task) -> None:
    clean, corrupted = score_task(oracle, held_out), score_task(oracle, held_out, counterfactual=True)
    assert abs(corrupted.logit_difference) < 0.15 * clean.logit_difference
    assert 0.35 < corrupted.accuracy < 0.65


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_generator_s_task_with_each_counterfactual(
    shipped: rc.ShippedModel, oracle: IoiTransformer, variant: str
) -> None:
    task = ioi(shipped.tokenizer, 64, counterfactual=variant, names=shipped.info["names"])
    clean, other = score_task(oracle, task), score_task(oracle, task, counterfactual=True)
    assert clean.accuracy > 0.97
    assert clean.logit_difference > 4
    expected = {"changed": -1.0 if variant == "flip" else 0.0, "same": 1.0, "undefined": 0.0}[VARIANTS[variant]]
    assert abs(other.logit_difference / clean.logit_difference - expected) < 0.3


def test_the_recorded_scores_are_those_of_the_weights(shipped: rc.ShippedModel, oracle: IoiTransformer) -> None:
    recorded = Score(**shipped.info["scores"]["ioi"])
    task = ioi(shipped.tokenizer, recorded.n, shipped.info["score_seed"], names=shipped.info["names"])
    again = score_task(oracle, task)
    assert again.accuracy == pytest.approx(recorded.accuracy, abs=2e-3)
    assert again.logit_difference == pytest.approx(recorded.logit_difference, rel=1e-3)


def test_replacing_what_a_component_writes(oracle: IoiTransformer, held_out: Task) -> None:
    """By its own output: nothing changes. The last MLP by zeros: what the final norm reads lacks what it wrote."""
    tokens, trace = held_out.tokens[:4], Trace()
    logits = oracle(tokens, trace=trace)
    torch.testing.assert_close(oracle(tokens, replaced=trace.written), logits, rtol=1e-4, atol=1e-4)
    last = oracle.config.n_layers - 1
    read: list[torch.Tensor] = []
    hook = oracle.ln_final.register_forward_pre_hook(lambda _, given: read.append(given[0]))
    oracle(tokens)
    oracle(tokens, replaced={(last, None): torch.zeros_like(trace.written[last, None])})
    hook.remove()
    torch.testing.assert_close(read[0] - read[1], trace.written[last, None], rtol=1e-4, atol=1e-4)


def test_it_has_the_other_model_s_tokenizer_and_names_of_one_token(shipped: rc.ShippedModel) -> None:
    assert shipped.tokenizer.to_str() == rc.load_shipped("attn_only_2l").tokenizer.to_str()
    assert shipped.info["names"] == list(NAMES)
    assert {len(shipped.tokenizer.encode(f" {name}").ids) for name in NAMES} == {1}


def test_it_is_small() -> None:
    assert sum(file.stat().st_size for file in FOLDER.iterdir()) < 2_500_000


def _named(sentence: str) -> list[str]:
    """The names in it, each once, in order."""
    return list(dict.fromkeys(word for word in re.findall(r"\w+", sentence) if word in NAMES))


def test_training_text_has_no_held_out_template_or_pair(shipped: rc.ShippedModel) -> None:
    source = TextSource(shipped.tokenizer, n_ctx=64, seed=3)
    sentences = [source.sentence() for _ in range(2_000)]
    with_two = [names for names in map(_named, sentences) if len(names) > 1]
    assert len(with_two) > 1_000
    assert not any(is_held_out(*names[:2]) for names in with_two)
    held_out, training = (
        [re.compile(re.sub(r"{\w+}", r"\\w+", template)) for template in templates]
        for templates in (HELD_OUT_TEMPLATES, TEMPLATES)
    )
    assert not any(form.match(sentence) for form in held_out for sentence in sentences)
    assert all(any(form.match(sentence) for sentence in sentences) for form in training)


def test_the_source_is_a_function_of_its_seed(shipped: rc.ShippedModel) -> None:
    first, same, other = (TextSource(shipped.tokenizer, n_ctx=64, seed=seed).draw(4) for seed in (1, 1, 2))
    assert first.shape == (4, 65)
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
