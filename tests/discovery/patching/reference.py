"""GPT-2 written out in torch, with a hook at every activation: what patching is compared with."""

from __future__ import annotations

from collections.abc import Callable

import torch
from transformers import GPT2Config, GPT2LMHeadModel

from scrub.tasks.task import Task
from tests.models.families.tiny import build

Hook = Callable[[str, int, torch.Tensor], torch.Tensor]


def gpt2_config(n_layer: int = 3) -> GPT2Config:
    return GPT2Config(
        vocab_size=23, n_embd=12, n_layer=n_layer, n_head=3, n_positions=12, bos_token_id=1, eos_token_id=2
    )


def gpt2(n_layer: int = 3) -> GPT2LMHeadModel:
    return build(gpt2_config(n_layer), dtype=torch.float64)


def a_task(n: int = 3, seq: int = 6, seed: int = 0) -> Task:
    generator = torch.Generator().manual_seed(seed)
    tokens, other = torch.randint(3, 23, (2, n, seq), generator=generator)
    right = torch.randint(0, 11, (n,), generator=generator)
    return Task.from_tokens("random", tokens, counterfactual=other, answers=right, wrong=right + 11)


def difference(logits: torch.Tensor, task: Task) -> torch.Tensor:
    """[n], the logit of the right answer less that of the wrong one, after the last token."""
    last = logits[:, -1]
    return (last.gather(1, task.answers[:, 0]) - last.gather(1, task.wrong[:, 0]))[:, 0]


def run(model: GPT2LMHeadModel, tokens: torch.Tensor, hook: Hook) -> torch.Tensor:
    """The logits, [n, seq, vocab], with hook(name, layer, value) in place of each activation.

    Heads are axis 1: z, q, k and v are [n, head, seq, d], the pattern is [n, head, query, key].
    """
    x = model.transformer
    resid = x.wte(tokens) + x.wpe(torch.arange(tokens.shape[1]))
    for layer, block in enumerate(x.h):
        resid = hook("resid_pre", layer, resid)
        attended = hook("attn_out", layer, _attention(block, block.ln_1(resid), layer, hook))
        resid = hook("resid_mid", layer, resid + attended)
        hidden = hook("mlp_pre", layer, block.mlp.c_fc(block.ln_2(resid)))
        hidden = hook("mlp_post", layer, block.mlp.act(hidden))
        resid = hook("resid_post", layer, resid + hook("mlp_out", layer, block.mlp.c_proj(hidden)))
    return model.lm_head(x.ln_f(resid))


def _attention(block: torch.nn.Module, normed: torch.Tensor, layer: int, hook: Hook) -> torch.Tensor:
    attn = block.attn
    n_head, d = attn.num_heads, attn.head_dim
    q, k, v = (
        hook(name, layer, part.unflatten(-1, (n_head, d)).transpose(1, 2))
        for name, part in zip("qkv", attn.c_attn(normed).chunk(3, -1), strict=True)
    )
    scores = q @ k.transpose(-1, -2) / d**0.5
    causal = torch.ones(scores.shape[-2:], dtype=torch.bool).tril()
    pattern = hook("pattern", layer, scores.masked_fill(~causal, float("-inf")).softmax(-1))
    z = hook("z", layer, pattern @ v)
    w_o = attn.c_proj.weight.unflatten(0, (n_head, d))
    return hook("head_out", layer, torch.einsum("nhsd,hde->nhse", z, w_o)).sum(1) + attn.c_proj.bias


def record(model: GPT2LMHeadModel, tokens: torch.Tensor) -> dict[tuple[str, int], torch.Tensor]:
    """Every activation."""
    found: dict[tuple[str, int], torch.Tensor] = {}

    def keep(name: str, layer: int, value: torch.Tensor) -> torch.Tensor:
        found[name, layer] = value
        return value

    with torch.no_grad():
        run(model, tokens, keep)
    return found


def patched(
    model: GPT2LMHeadModel, tokens: torch.Tensor, name: str, layer: int, value: torch.Tensor, mask: torch.Tensor
) -> torch.Tensor:
    """The logits with an activation replaced where the mask is True."""

    def replace(at: str, number: int, own: torch.Tensor) -> torch.Tensor:
        return torch.where(mask, value, own) if (at, number) == (name, layer) else own

    with torch.no_grad():
        return run(model, tokens, replace)


def mask_of(name: str, shape: torch.Size, head: int | None = None, place: int | None = None, last: int | None = None):
    """Where a unit is in an activation of this shape."""
    mask = torch.ones(shape, dtype=torch.bool)
    if head is not None:
        mask &= (torch.arange(shape[1]) == head)[:, None, None]
    if place is not None:
        mask &= (torch.arange(shape[-2]) == place)[:, None]
    if last is not None:
        mask &= torch.arange(shape[-1]) == last
    return mask
