"""Small modules of torch with residual streams of many makes, for `from_torch`."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

D_MODEL, N_TOKENS, SEQ = 6, 11, 5


def gelu_new(x: Tensor) -> Tensor:
    """Written out: it adds c x^3 to x."""
    return 0.5 * x * (1 + torch.tanh(0.7978845608 * (x + 0.044715 * x**3)))


class Mlp(nn.Module):
    def __init__(self, d_hidden: int, act: Callable[[Tensor], Tensor], *, adds: bool) -> None:
        super().__init__()
        self.norm, self.act, self.adds = nn.LayerNorm(D_MODEL), act, adds
        self.up, self.down = nn.Linear(D_MODEL, d_hidden), nn.Linear(d_hidden, D_MODEL)

    def forward(self, x: Tensor) -> Tensor:
        written = self.down(self.act(self.up(self.norm(x))))
        return x + written if self.adds else written


class Stack(nn.Module):
    """Layers between an embedding, or two, and a readout."""

    def __init__(self, layers: list[nn.Module], *, adds: bool, n_tables: int = 1) -> None:
        super().__init__()
        self.tables = nn.ModuleList(nn.Embedding(N_TOKENS, D_MODEL) for _ in range(n_tables))
        self.layers, self.adds = nn.ModuleList(layers), adds
        self.unembed = nn.Linear(D_MODEL, N_TOKENS)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.tables[0](tokens)
        for table in self.tables[1:]:
            x = x + table(tokens)
        for layer in self.layers:
            x = x + layer(x) if self.adds else layer(x)
        return self.unembed(x)


class WithoutStream(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.linear = nn.Embedding(N_TOKENS, D_MODEL), nn.Linear(D_MODEL, N_TOKENS)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.linear(self.embed(tokens)).relu()


def blocks(d_hidden: int = 9, act: Callable[[Tensor], Tensor] = torch.relu) -> Stack:
    return Stack([Mlp(d_hidden, act, adds=True) for _ in range(3)], adds=False)


def branches() -> Stack:
    return Stack([Mlp(9, torch.relu, adds=False) for _ in range(3)], adds=True)


def linear() -> Stack:
    return Stack([nn.Linear(D_MODEL, D_MODEL) for _ in range(3)], adds=True)


def two_tables() -> Stack:
    return Stack([Mlp(9, torch.relu, adds=False) for _ in range(2)], adds=True, n_tables=2)


def drawn(module: nn.Module) -> nn.Module:
    """In float64, every weight drawn."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / parameter.shape[-1] ** 0.5)
    return module.double().eval()
