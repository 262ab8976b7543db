"""Muon: momentum whose update is orthogonalised, for matrix parameters.

Source: Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks". The update replaces the
momentum matrix G = U S V^T by approximately U V^T, computed by a quintic Newton-Schulz iteration
X <- a X + (b A + c A^2) X with A = X X^T. Leading axes are batch axes, so the weights of each attention head
([head, d_model, d_head]) are orthogonalised head by head.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import torch
from torch import Tensor, nn

_A, _B, _C = 3.4445, -4.7750, 2.0315


def orthogonalise(matrix: Tensor, *, steps: int = 5) -> Tensor:
    """The nearest semi-orthogonal matrix, roughly: singular values end between 0.7 and 1.2.

    >>> generator = torch.Generator().manual_seed(0)
    >>> values = torch.linalg.svdvals(orthogonalise(torch.randn(16, 4, generator=generator)))
    >>> bool((values > 0.6).all() and (values < 1.3).all())
    True
    """
    wide = matrix.shape[-2] <= matrix.shape[-1]
    x = matrix if wide else matrix.transpose(-1, -2)
    norm = cast(Tensor, x.norm(dim=(-2, -1), keepdim=True))
    x = x / (norm + 1e-7)
    for _ in range(steps):
        gram = x @ x.transpose(-1, -2)
        x = _A * x + (_B * gram + _C * gram @ gram) @ x
    return x if wide else x.transpose(-1, -2)


class Muon:
    """Nesterov momentum with orthogonalised updates and decoupled weight decay; set `lr` before every `step`.

    >>> weight = nn.Parameter(torch.eye(2))
    >>> optimizer = Muon([weight], lr=0.1, weight_decay=0.0)
    >>> weight.grad = torch.eye(2)
    >>> optimizer.step()
    >>> bool(weight[0, 0] < 1)
    True
    """

    def __init__(
        self, parameters: Iterable[nn.Parameter], *, lr: float, weight_decay: float, momentum: float = 0.95
    ) -> None:
        self.parameters = list(parameters)
        self.lr = lr
        self.weight_decay = weight_decay
        self.momentum = momentum
        self.buffers = [torch.zeros_like(parameter) for parameter in self.parameters]

    @torch.no_grad()
    def step(self) -> None:
        """One update from the gradients; a parameter without gradient stays as it is."""
        for parameter, buffer in zip(self.parameters, self.buffers, strict=True):
            if parameter.grad is None:
                continue
            buffer.mul_(self.momentum).add_(parameter.grad)
            update = parameter.grad + self.momentum * buffer
            parameter.mul_(1 - self.lr * self.weight_decay).sub_(self.lr * orthogonalise(update))
