"""The lowered model against plain torch, for one length or for any, and the errors of lowering."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

import scrub as rc
from scrub.models.architecture import Attention, Layer, RotaryTable
from scrub.models.tables import plain_frequencies
from tests.models.architectures import FULL, GROUPED, ROPE, WINDOW, frequencies, model_of, wanted_logits
from tests.models.attn_oracle import Tiny, lens_config, logits_by_hand, make, random_tokens


@st.composite
def tiny_models(draw: st.DrawFn) -> Tiny:
    n_ctx = draw(st.integers(1, 7))
    return make(
        seed=draw(st.integers(0, 100)),
        dtype=draw(st.sampled_from([torch.float32, torch.float64])),
        seq_len=draw(st.integers(1, n_ctx)),
        n_ctx=n_ctx,
        n_layers=draw(st.integers(1, 3)),
        n_heads=draw(st.integers(1, 4)),
        d_model=2 * draw(st.integers(2, 8)),
        d_head=draw(st.integers(1, 5)),
        d_vocab=draw(st.integers(2, 15)),
    )


def _tolerance(tiny: Tiny) -> float:
    return 1e-5 if tiny.weights["embed.W_E"].dtype == torch.float32 else 1e-10


@settings(max_examples=15, derandomize=True, deadline=None)
@given(tiny_models(), st.sampled_from(list(rc.To)), st.booleans())
def test_logits_equal_the_oracle_s_before_and_after_rewriting(tiny: Tiny, to: rc.To, flatten: bool) -> None:
    tokens = random_tokens(tiny.model.shape[0], d_vocab=tiny.config.d_vocab)
    expected = tiny.logits(tokens[None])[0]
    rewritten = rc.configure_transformer(
        tiny.model, to=to, split_by_head_config="full", use_pull_up_head_split=True, use_flatten_res=flatten
    )
    for model in (None, rewritten):
        error = (tiny.call(tokens, model).evaluate() - expected).abs().max()
        assert float(error) <= _tolerance(tiny) * max(1.0, float(expected.abs().max()))


def test_the_oracle_by_hand_equals_the_oracle() -> None:
    tiny = make()
    tokens, other = random_tokens(2, 6)
    torch.testing.assert_close(logits_by_hand(tiny, tokens, other, ()), tiny.logits(tokens[None])[0])
    everything = [(h, part) for h in range(4) for part in "qkv"]
    torch.testing.assert_close(logits_by_hand(tiny, tokens, tokens, everything), tiny.logits(tokens[None])[0])


def test_a_batch_of_sequences_comes_in_by_the_batching_rule() -> None:
    tiny = make()
    tokens = random_tokens(3, 5, 6)
    got = tiny.call(tokens).evaluate()
    torch.testing.assert_close(got, tiny.logits(tokens.flatten(0, 1)).unflatten(0, (3, 5)))


def test_names_of_a_lowered_model() -> None:
    tiny = make()
    call = tiny.call(random_tokens(6))
    assert (call.name, call.free_symbols) == ("t.call", ())
    assert {s.name for s in tiny.model.free_symbols} == {"t.input", "a.pos_input", "a.mask"}
    wanted = ("t.bind_w", "t.input", "t.logits", "final.norm", "b0", "b1", "a.q.input", "a.k.input", "a.v.input")
    for name in wanted:
        assert call.are_any_found(name), name


def test_half_precision_masks_the_future_too() -> None:
    """The masked score is finite there, and a later token changes nothing before it."""
    tiny = make(dtype=torch.float16)
    tokens = random_tokens(6)
    changed = tokens.clone()
    changed[-1] = (changed[-1] + 1) % 11
    first, second = (tiny.call(t).evaluate() for t in (tokens, changed))
    assert first.dtype == torch.float16
    assert first.isfinite().all()
    assert torch.equal(first[:-1], second[:-1])


def test_weights_are_shared_not_copied() -> None:
    tiny = make(seed=777)  # equal weights of another test would be the same nodes, with that test's storage
    ours = {w.untyped_storage().data_ptr() for w in tiny.weights.values()}
    model = rc.configure_transformer(
        tiny.model, split_by_head_config={0: [(0, "one"), (rc.S[1:], "rest")]}, use_pull_up_head_split=True
    )
    call = rc.substitute_all_modules(tiny.call(random_tokens(6), model))
    sizes = {w.shape for w in tiny.weights.values()}
    arrays = [n for n in rc.postorder([call]) if isinstance(n, rc.Array) and n.dtype == torch.float64]
    from_weights = [a for a in arrays if a.value.untyped_storage().data_ptr() in ours]
    assert {a.shape for a in from_weights} == sizes
    assert {a.name for a in arrays} - {a.name for a in from_weights} == {"t.a.c.causal_mask"}
    weights = set(from_weights)
    parts = [n for n in rc.postorder([call]) if isinstance(n, rc.Index) and set(n.children) <= weights]
    assert len(parts) == 8 + 1  # W_Q, W_K, W_V, W_O for each of two groups, and the positions
    assert {part.evaluate().untyped_storage().data_ptr() for part in parts} <= ours


def test_every_problem_with_the_weights_is_named_at_once() -> None:
    weights = dict(make().weights)
    del weights["ln_final.b"]
    weights["blocks.0.attn.W_Q"] = weights["blocks.0.attn.W_Q"].transpose(-1, -2)
    weights["blocks.2.ln1.w"] = torch.ones(12)
    with pytest.raises(rc.CheckpointError) as caught:
        rc.from_transformer_lens(weights, lens_config(make().config))
    message = str(caught.value)
    assert "ln_final.b is missing" in message
    assert "blocks.0.attn.W_Q has shape (4, 3, 12), which does not fit a0.w.q [4, 12, 3]" in message
    assert "blocks.2.ln1.w is not a weight of this model" in message


@pytest.mark.parametrize("seq_len", [0, 9])
def test_sequences_must_fit_the_context(seq_len: int) -> None:
    with pytest.raises(rc.CheckpointError, match=f"sequences of {seq_len} tokens do not fit the model's 8 positions"):
        make().loaded.lower(seq_len=seq_len)


def test_a_rewrite_may_read_something_else_than_tokens() -> None:
    tiny = make()
    fixed = tiny.model.update("t.input", lambda x: rc.Scalar(0.5, x.shape, "nothing"))
    assert tiny.call(random_tokens(6), fixed).evaluate().shape == (6, 11)


def test_tokens_of_open_length_are_an_error() -> None:
    (seq,) = rc.symbolic_sizes("seq")
    with pytest.raises(rc.CheckpointError, match=r"the length of 'tokens' .* is not known yet"):
        make().call(rc.Symbol.new_from_name((seq,), "tokens"))


def test_positions_of_a_rotary_model_are_numbers_that_it_has_angles_for() -> None:
    rotary = RotaryTable("rope", 2, plain_frequencies(10.0, 2))
    attention = Attention(1, 1, 2, 1.0, rotary=rotary)
    architecture = rc.Architecture(2, 3, None, (Layer(attention),))
    weights = {str(s.name): torch.ones(s.shape) for s in rc.models.weight_symbols(architecture)}
    model, tokens = rc.LoadedModel(architecture, weights), torch.tensor([0, 1, 2])
    assert model.call(tokens, position_ids=torch.tensor([5, 6, 9])).shape == (3, 3)
    positions = rc.Symbol.new_from_name((3,), "positions")
    call = model.call(tokens, position_ids=positions)
    assert rc.evaluate_many([call], {positions: torch.tensor([0, 2, 1])})[0].shape == (3, 3)
    with pytest.raises(rc.ShapeError, match="out of range"):
        rc.evaluate_many([call], {positions: torch.tensor([5, 6, 9])})
    with pytest.raises(rc.CheckpointError, match=r"position_ids .* is torch.float32"):
        model.call(tokens, position_ids=torch.tensor([0.0, 1.0, 2.5]))


def test_the_number_of_tokens_must_be_the_one_lowered_for() -> None:
    with pytest.raises(rc.CheckpointError, match=r"lowered for 6 tokens, 'tokens' .* has 5") as caught:
        make().call(random_tokens(5))
    assert "seq_len=5" in str(caught.value)
    with pytest.raises(rc.CheckpointError, match="a single token"):
        make().call(torch.tensor(3))


@pytest.mark.parametrize("batch", [(), (2,), (2, 3)])
def test_negative_log_likelihood_is_torch_s_cross_entropy(batch: tuple[int, ...]) -> None:
    logits = 30 * torch.randn(*batch, 4, 7, generator=torch.Generator().manual_seed(0))
    labels = random_tokens(*batch, 4, d_vocab=7)
    got = rc.negative_log_likelihood(rc.Array(logits), rc.Array(labels), "loss")
    expected = functional.cross_entropy(logits.reshape(-1, 7), labels.reshape(-1), reduction="none")
    assert got.name == "loss"
    torch.testing.assert_close(got.evaluate(), expected.reshape(labels.shape))


@pytest.mark.parametrize("is_configured", [False, True])
def test_a_model_lowered_once_is_called_at_any_length(is_configured: bool) -> None:
    model = model_of(FULL, WINDOW)
    bind_w = model.lower()["t.bind_w"]
    assert [str(size) for size in bind_w.shape] == ["seq", "11"]
    assert [str(size) for size in bind_w.free_sizes] == ["seq"]
    if is_configured:
        bind_w = rc.configure_transformer(
            bind_w, split_by_head_config="full", use_pull_up_head_split=True, use_flatten_res=True
        )
    for length in (1, 2, 5, 9):
        tokens = random_tokens(length, seed=length)
        call = model.call(tokens, model=bind_w)
        assert (call.shape, call.free_sizes) == ((length, 11), ())
        torch.testing.assert_close(call.evaluate(), wanted_logits(model, tokens), rtol=1e-10, atol=1e-10)
        assert torch.equal(
            model.call(tokens, model=model.lower()["t.bind_w"]).evaluate(), model.call(tokens).evaluate()
        )


def test_giving_the_length_a_value_is_lowering_for_it() -> None:
    model = model_of(FULL, WINDOW)
    bound = rc.bind_sizes(model.lower()["t.bind_w"], seq=5)
    lowered = model.lower(seq_len=5)["t.bind_w"]
    assert bound.shape == lowered.shape == (5, 11)
    assert {(s.name, s.shape) for s in bound.free_symbols} == {(s.name, s.shape) for s in lowered.free_symbols}
    tokens = random_tokens(5)
    assert torch.equal(*(model.call(tokens, model=bind_w).evaluate() for bind_w in (bound, lowered)))
    with pytest.raises(rc.CheckpointError, match="lowered for 5 tokens"):
        model.call(random_tokens(4), model=bound)


def test_lengths_that_do_not_fit_a_model_of_any_length_are_errors() -> None:
    model = model_of(FULL)
    with pytest.raises(rc.CheckpointError, match="sequences of 10 tokens do not fit the model's 9 positions"):
        model.call(random_tokens(10), model=model.lower()["t.bind_w"])
    with pytest.raises(rc.CheckpointError, match="sequences of 0 tokens"):
        model.call(random_tokens(0), model=model.lower()["t.bind_w"])


def test_equal_layers_are_calls_of_one_function() -> None:
    lowered = {n: model_of(*[FULL] * n).lower()["t.bind_w"] for n in (1, 2, 3, 12)}
    blocks = [block.cast(rc.Module) for block in lowered[12].get(rc.Regex(r"^b\d+$"))]
    assert len(blocks) == 12
    assert len({block.body for block in blocks}) == 1
    mixed = model_of(FULL, WINDOW, FULL, WINDOW).lower()["t.bind_w"]
    assert len({mixed.get_unique(f"b{n}").cast(rc.Module).body for n in range(4)}) == 2
    n_nodes = {n: len(list(rc.postorder([model]))) for n, model in lowered.items()}
    per_layer = n_nodes[3] - n_nodes[2]
    n_weights = sum(name[:3] in ("a0.", "b0.", "m0.") for name in model_of(FULL).weights)
    assert per_layer == 1 + 2 * n_weights  # a call, and for each weight its symbol and its array
    assert n_nodes[12] - n_nodes[2] == 10 * per_layer


def test_a_symbolic_model_has_as_many_nodes_as_one_of_known_length() -> None:
    model = model_of(FULL, WINDOW)
    symbolic, known = (list(rc.postorder([lowered["t.bind_w"]])) for lowered in (model.lower(), model.lower(seq_len=5)))
    assert len(symbolic) == len(known)


def test_layers_that_differ_cannot_share_an_input() -> None:
    """Otherwise one of them would be given the mask or the angles of the other."""
    both_ways = replace(FULL, attention=replace(GROUPED, is_causal=False))
    other_angles = replace(FULL, attention=replace(GROUPED, rotary=replace(ROPE, width=2, frequencies=frequencies(2))))
    wider = replace(FULL, attention=replace(GROUPED, d_head=6))
    for other, shared in ((both_ways, "a.mask"), (other_angles, "a.rope"), (wider, "a.rope")):
        model = model_of(FULL, other)
        with pytest.raises(rc.CheckpointError, match=f"differs share the input {shared}"):
            model.call(random_tokens(4))


def test_layers_with_tables_of_different_names_need_not_be_alike() -> None:
    local = RotaryTable("local", 2, frequencies(2))
    model = model_of(FULL, replace(FULL, attention=replace(GROUPED, rotary=local, window=2, is_causal=False)))
    tokens = random_tokens(6)
    torch.testing.assert_close(model.call(tokens).evaluate(), wanted_logits(model, tokens), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("slopes", [(0.0, 0.0), (-0.5, -1.0), (-0.5, 0.0)])
def test_slopes_of_alibi_may_be_zero_or_negative(slopes: tuple[float, ...]) -> None:
    model = model_of(Layer(Attention(2, 2, 4, 0.5, alibi_slopes=slopes)))
    tokens = random_tokens(6)
    torch.testing.assert_close(model.call(tokens).evaluate(), wanted_logits(model, tokens), rtol=1e-10, atol=1e-10)


def test_a_steep_slope_of_alibi_must_not_outweigh_the_mask() -> None:
    for slope in (1e9, -1e9):
        model = model_of(Layer(Attention(2, 2, 4, 0.5, alibi_slopes=(slope, 1.0))))
        with pytest.raises(rc.CheckpointError, match="sequences of 6 tokens are too long for ALiBi"):
            model.call(random_tokens(6))
