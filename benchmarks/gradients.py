"""The gradient of the loss with respect to every head's output, beside a plain forward and backward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor, nn

from benchmarks.expressions import head_name
from benchmarks.setting import SIZES, Setting, agree
from benchmarks.timing import Row
from scrub.compiler import compile  # noqa: A004

WHAT, TARGET = "gradient of every head / forward and backward", 1.15


def gradients(setting: Setting) -> Iterator[Row]:
    """Against two peers: gradients of activations alone, the same work, and those of all weights, as in training."""
    for size in SIZES:
        of, tokens = setting.expressions(size.seq), setting.draw(size)
        heads = [head_name(head) for head in of.heads]
        program = compile([of.loss(of.split)], batched=[of.tokens], wrt=heads)

        ours = partial(program.value_and_grad, {of.tokens: tokens})
        peer = activation_gradients(setting, tokens)
        values, found = ours()
        loss, expected = peer()
        agree(values[0].mean(), loss)
        for layer, gradient in enumerate(expected):  # heads are summed, so each head's gradient is that of the sum
            of_head = found[of.split.get_unique(head_name((layer, 3)))]
            agree(of_head / size.batch, gradient)
        yield setting.compare(
            "gradient of every head / forward and backward",
            str(size),
            ours,
            peer,
            target=TARGET,
        )
        training = weight_gradients(setting, tokens)
        what = "gradient of every head / forward and backward with those of weights"
        yield setting.compare(what, str(size), ours, training)


def activation_gradients(setting: Setting, tokens: Tensor) -> Callable[[], tuple[Tensor, list[Tensor]]]:
    """Hugging Face: the loss, and its gradient with respect to the output of each attention layer."""
    model = setting.hugging_face

    def run() -> tuple[Tensor, list[Tensor]]:
        outputs: list[Tensor] = []

        def keep(_: nn.Module, __: object, result: tuple[Tensor, ...]) -> None:
            outputs.append(result[0])

        hooks = [block.attn.register_forward_hook(keep) for block in model.transformer.h]
        try:
            embedded = model.transformer.wte(tokens).requires_grad_()
            loss = model(inputs_embeds=embedded, labels=tokens, use_cache=False).loss
        finally:
            for hook in hooks:
                hook.remove()
        return loss.detach(), list(torch.autograd.grad(loss, outputs))

    return run


def weight_gradients(setting: Setting, tokens: Tensor) -> Callable[[], object]:
    """Hugging Face: the loss, and its gradient with respect to every weight."""
    model = setting.hugging_face

    def run() -> object:
        model.requires_grad_(True)
        try:
            loss = model(tokens, labels=tokens, use_cache=False).loss
            return torch.autograd.grad(loss, list(model.parameters()))
        finally:
            model.requires_grad_(False)

    return run
