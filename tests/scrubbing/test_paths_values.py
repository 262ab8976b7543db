"""What scrubbing the places that path helpers find computes: by hand in torch, from the same draws."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import scrub as rc
from scrub.hypothesis import Correspondence, ExactSampler, Hypothesis, InterpNode, UncondSampler
from scrub.hypothesis import corr_root_matcher as whole
from scrub.hypothesis.parts import split_input_by_position
from scrub.hypothesis.paths import at_position, by_any_route, input_of, mask_of, straight
from tests.scrubbing.gpt2_by_hand import ByHand
from tests.scrubbing.outputs import outputs
from tests.scrubbing.tiny_models import make, one_child, random_data, random_rows, unpadded


def parts_of(module: Any, family: str) -> tuple[list[nn.Module], list[nn.Module], nn.Module, Any]:
    """Layers, what mixes the heads' outputs, the final norm, and logits of what that norms."""
    if family == "gpt2":
        body = module.transformer
        return list(body.h), [block.attn.c_proj for block in body.h], body.ln_f, module.lm_head
    if family == "gpt_neox":
        body = module.gpt_neox
        return list(body.layers), [x.attention.dense for x in body.layers], body.final_layer_norm, module.lm_head
    body, cap = module.model, getattr(module.config, "final_logit_softcapping", None)
    layers = list(body.layers)

    def head(x: torch.Tensor) -> torch.Tensor:
        logits = module.lm_head(x)
        return logits if cap is None else cap * torch.tanh(logits / cap)

    return layers, [x.self_attn.o_proj for x in layers], body.norm, head


def captured(module: Any, modules: list[nn.Module], tokens: torch.Tensor) -> list[torch.Tensor]:
    """What each of some submodules is called on."""
    found: dict[int, torch.Tensor] = {}
    hooks = [
        m.register_forward_pre_hook(lambda _, args, i=i: found.__setitem__(i, args[0])) for i, m in enumerate(modules)
    ]
    with torch.no_grad():
        module(tokens)
    for hook in hooks:
        hook.remove()
    return [found[i] for i in range(len(modules))]


@pytest.mark.parametrize("is_flat", [False, True])
@pytest.mark.parametrize("family", ["gpt2", "gpt_neox", "llama", "gemma2"])
def test_a_head_straight_into_the_final_norm_is_its_term_replaced(family: str, is_flat: bool) -> None:
    module, expr = make(family, is_flat=is_flat)
    layers, mixers, norm, head = parts_of(module, family)
    data, draws = unpadded(random_data()), random_rows("reference", "child")
    for layer in range(2):
        streams, terms = [], []
        for label in ("reference", "child"):
            z, stream = captured(module, [mixers[layer], norm], data["tokens"][draws[label]])
            weight = mixers[layer].weight if family != "gpt2" else mixers[layer].weight.T
            at = slice(z.shape[-1] // module.config.num_attention_heads, None)
            at = slice(at.start, 2 * at.start)  # head 1
            terms.append((z[..., at] @ weight[:, at].T, z @ weight.T))
            streams.append(stream)
        written, replaced = terms[0][1], terms[0][1] - terms[0][0] + terms[1][0]
        if family == "gemma2":
            written, replaced = (layers[layer].post_attention_layernorm(x) for x in (written, replaced))
        with torch.no_grad():
            expected = head(norm(streams[0] - written + replaced))
            original = head(norm(streams[0]))
        got = outputs(expr, one_child(straight(f"a{layer}.h1", into="final.norm")), data, draws)
        assert (original - expected).abs().max() > 1e-3
        torch.testing.assert_close(got, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("is_flat", [False, True])
def test_a_head_straight_into_an_mlp_of_a_model_that_looks_both_ways(is_flat: bool) -> None:
    module, expr = make("bert", is_flat=is_flat)
    data, draws = unpadded(random_data()), random_rows("reference", "child")
    first, second = module.bert.encoder.layer
    seen = {}
    for label in ("reference", "child"):
        tokens = data["tokens"][draws[label]]
        z, embeds = captured(module, [first.attention.output.dense, first.attention.self.query], tokens)
        seen[label] = z, embeds
    d_head = seen["child"][0].shape[-1] // 4
    term = {
        label: z[..., :d_head] @ first.attention.output.dense.weight[:, :d_head].T for label, (z, _) in seen.items()
    }
    z, embeds = seen["reference"]
    with torch.no_grad():
        mid = embeds + first.attention.output.dense(z)
        patched = first.attention.output.LayerNorm(mid - term["reference"] + term["child"])
        mid = first.attention.output.LayerNorm(mid)
        stream = first.output.LayerNorm(first.output.dense(first.intermediate(patched)) + mid)
        hidden = second(stream)
        expected = module.cls(hidden if isinstance(hidden, torch.Tensor) else hidden[0])
    # in BERT an MLP reads the stream behind a norm that the stream itself goes through
    got = outputs(expr, one_child(straight("a0.h0", into="m0")), data, draws)
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=0)


@pytest.fixture(scope="module", params=[False, True], ids=["nested", "flat"])
def gpt2(request: pytest.FixtureRequest) -> tuple[ByHand, rc.Expr]:
    module, expr = make("gpt2", is_flat=request.param)
    return ByHand(module.state_dict(), 4), expr


def test_written_by_hand_is_the_model(gpt2: tuple[ByHand, rc.Expr]) -> None:
    hand, expr = gpt2
    data, draws = random_data(), random_rows("reference")
    corr, root = Correspondence(), InterpNode(ExactSampler(), "root")
    corr.add(root, whole)
    tokens, mask = (data[name][draws["reference"]] for name in ("tokens", "mask"))
    got = outputs(expr, Hypothesis(corr), data, draws)
    torch.testing.assert_close(got, hand.logits(hand.streams(tokens, mask)[-1]), atol=1e-5, rtol=0)


def test_embeddings_by_any_route_not_through_a_head(gpt2: tuple[ByHand, rc.Expr]) -> None:
    hand, expr = gpt2
    data = unpadded(random_data())
    draws = random_rows("reference", "child/other", "embeds")
    tokens = {label: data["tokens"][rows] for label, rows in draws.items()}
    reader = straight("a1.h2", into="final.norm")
    corr, root = Correspondence(), InterpNode(ExactSampler(), "root", other_inputs_sampler=ExactSampler())
    corr.add(root, whole)
    child = root.make_descendant(ExactSampler(), "child", other_inputs_sampler=UncondSampler())
    corr.add(child, reader)
    embeds = child.make_descendant(UncondSampler(), "embeds")
    corr.add(embeds, reader.chain(by_any_route("t.input", into=input_of("a1.h2"), not_through="a0.h1")))
    x = hand.embed(tokens["embeds"])
    heads = hand.heads(0, x).clone()
    heads[:, 1] = hand.heads(0, hand.embed(tokens["child/other"]))[:, 1]
    term = hand.heads(1, hand.block(0, x, heads))[:, 2]
    streams = hand.streams(tokens["reference"])
    expected = hand.logits(streams[-1] - hand.heads(1, streams[1])[:, 2] + term)
    got = outputs(expr, Hypothesis(corr), data, draws)
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("part", ["q", "k", "v", "all"])
def test_each_input_of_a_head_by_itself(part: Any, gpt2: tuple[ByHand, rc.Expr]) -> None:
    hand, expr = gpt2
    data = unpadded(random_data())
    draws = random_rows("reference", "child")
    tokens = {label: data["tokens"][rows] for label, rows in draws.items()}
    streams, others = (hand.streams(tokens[label]) for label in ("reference", "child"))
    read = {p: others[1] if part in (p, "all") else streams[1] for p in "qkv"}
    heads = hand.heads(1, streams[1]).clone()
    heads[:, 3] = hand.heads(1, read["q"], read["k"], read["v"])[:, 3]
    expected = hand.logits(hand.block(1, streams[1], heads))
    got = outputs(expr, one_child(input_of("a1.h3", part)), data, draws)
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("push", [False, True])
def test_a_position_of_one_heads_input(push: bool, gpt2: tuple[ByHand, rc.Expr]) -> None:
    hand, expr = gpt2
    data = unpadded(random_data())
    draws = random_rows("reference", "child")
    tokens = {label: data["tokens"][rows] for label, rows in draws.items()}
    by_position = split_input_by_position(expr, "a1.h1", [2], push=push)
    streams, others = (hand.streams(tokens[label]) for label in ("reference", "child"))
    read = streams[1].clone()
    read[:, 2] = others[1][:, 2]
    heads = hand.heads(1, streams[1]).clone()
    heads[:, 1] = hand.heads(1, read)[:, 1]
    expected = hand.logits(hand.block(1, streams[1], heads))
    got = outputs(by_position, one_child(input_of("a1.h1").chain(at_position(2))), data, draws)
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=0)


def test_tokens_of_a_head_from_one_draw_and_its_mask_from_another(gpt2: tuple[ByHand, rc.Expr]) -> None:
    hand, expr = gpt2
    data, draws = random_data(), random_rows("reference", "child/other", "mask")
    reader = straight("a1.h1", into="final.norm")
    corr, root = Correspondence(), InterpNode(ExactSampler(), "root", other_inputs_sampler=ExactSampler())
    corr.add(root, whole)
    head = root.make_descendant(ExactSampler(), "child", other_inputs_sampler=UncondSampler())
    corr.add(head, reader)
    corr.add(head.make_descendant(UncondSampler(), "mask"), reader.chain(mask_of()))
    rows = {label: (data["tokens"][at], data["mask"][at]) for label, at in draws.items()}
    streams = hand.streams(*rows["reference"])
    other = hand.streams(*rows["child/other"])
    term = hand.heads(1, other[1], mask=rows["mask"][1])[:, 1]
    expected = hand.logits(streams[-1] - hand.heads(1, streams[1], mask=rows["reference"][1])[:, 1] + term)
    got = outputs(expr, Hypothesis(corr), data, draws)
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=0)
    inlined = rc.substitute_all_modules(expr)
    corr = Correspondence()
    corr.add(root, whole)
    corr.add(head, reader)
    corr.add(head.children[0], reader.chain(mask_of(named="mask")))
    torch.testing.assert_close(outputs(inlined, Hypothesis(corr), data, draws), expected, atol=1e-5, rtol=0)
