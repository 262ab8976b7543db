"""Losses as modules."""

from __future__ import annotations

from scrub.graph import Expr, GeneralFunction, Module, ModuleSpec, Symbol, log_softmax


def negative_log_likelihood(logits: Expr, labels: Expr, name: str | None = None) -> Module:
    """Negative log-likelihood of labels, in nats, at each position.

    Args:
        logits: [..., d_vocab].
        labels: [...], int64.

    >>> import torch
    >>> from scrub.graph import Array
    >>> negative_log_likelihood(Array(torch.zeros(3, 2)), Array(torch.tensor([0, 1, 1]))).evaluate()
    tensor([0.6931, 0.6931, 0.6931])
    """
    x = Symbol.new_from_name((logits.shape[-1],), "ll.input")
    label = Symbol.new_from_name((), "ll.label")
    log_probs = log_softmax(x, name="ll.log_probs")
    picked = GeneralFunction.gen_index(log_probs, label, index_dim=0, batch_x=True, name="ll.picked")
    spec = ModuleSpec(picked.scale(-1.0, name="nll"), [x, label])
    return Module(spec, name, **{"ll.input": logits, "ll.label": labels})
