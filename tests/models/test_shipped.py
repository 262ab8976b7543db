"""The model that ships, on real held-out text, against the oracle."""

import pytest
import torch

import scrub as rc
from scrub.models import stdlib_text
from zoo.attn_only import AttnOnlyConfig, AttnOnlyTransformer


@pytest.fixture(scope="module")
def shipped() -> rc.ShippedModel:
    return rc.load_shipped("attn_only_2l")


@pytest.fixture(scope="module")
def tokens(shipped: rc.ShippedModel) -> torch.Tensor:
    return stdlib_text.held_out_sequences(shipped.tokenizer, 128, limit=4)


@pytest.fixture(scope="module")
def oracle_logits(shipped: rc.ShippedModel, tokens: torch.Tensor) -> torch.Tensor:
    names = ("n_layers", "n_heads", "d_model", "d_head", "d_vocab", "n_ctx", "norm_eps")
    oracle = AttnOnlyTransformer(AttnOnlyConfig(**{name: shipped.info[name] for name in names}))
    oracle.load_state_dict(shipped.state_dict)
    with torch.no_grad():
        return oracle(tokens)


@pytest.mark.parametrize("options", [None, {"split_by_head_config": "full"}, {"use_flatten_res": True}])
def test_logits_equal_the_oracle_s_on_real_text(
    shipped: rc.ShippedModel, tokens: torch.Tensor, oracle_logits: torch.Tensor, options: dict[str, object] | None
) -> None:
    lowered = shipped.lower(seq_len=tokens.shape[1])
    model = lowered["t.bind_w"]
    if options is not None:
        model = rc.configure_transformer(model, use_pull_up_head_split=True, **options)  # type: ignore[arg-type]
    logits = shipped.call(tokens, model=model).evaluate()
    assert float((logits - oracle_logits).abs().max()) <= 1e-5 * max(1.0, float(oracle_logits.abs().max()))


def test_it_predicts_held_out_text_far_better_than_chance(tokens: torch.Tensor, oracle_logits: torch.Tensor) -> None:
    loss = torch.nn.functional.cross_entropy(oracle_logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten())
    assert float(loss) < 4.5  # log of the vocabulary is 7.6


def test_the_tokenizer_round_trips_held_out_text(shipped: rc.ShippedModel) -> None:
    texts = [document.text for _, document in zip(range(5), stdlib_text.documents("held_out"), strict=False)]
    for text in [*texts, "def f(x):\n\treturn x  # naïve ☃\n"]:
        ids = shipped.tokenizer.encode(text).ids
        assert max(ids) < shipped.architecture.d_vocab
        assert shipped.tokenizer.decode(ids) == text


def test_induction_candidates_are_tokens(shipped: rc.ShippedModel) -> None:
    candidates = shipped.induction_candidates
    assert candidates.shape == (shipped.architecture.d_vocab,)
    assert candidates.dtype == torch.bool
    assert 0 < int(candidates.sum()) < shipped.architecture.d_vocab


def test_an_unknown_model_is_an_error() -> None:
    with pytest.raises(rc.CheckpointError, match="no model named 'gpt-9' ships with scrub"):
        rc.load_shipped("gpt-9")
