"""Where chance comes from: each draw of a hypothesis has a stream of its own, a pure function of seed and name.

So draws do not depend on batch size, order or number of workers, and nodes of the same name in two hypotheses draw
alike, which makes the difference of their losses vary less.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from scrub.sampling.draws import uniforms


@dataclass(frozen=True)
class Stream:
    """The random numbers of one draw, for the references numbered start to stop.

    Attributes:
        seed: of the run.
        key: what tells this stream from others, such as the name of a node.
        start, stop: numbers of references.

    >>> whole = Stream(seed=0, key="head", start=0, stop=8)
    >>> part = Stream(seed=0, key="head", start=4, stop=8)
    >>> bool((whole.uniform()[4:] == part.uniform()).all()), whole.shared(2) == part.shared(2)
    (True, True)
    """

    seed: int
    key: str
    start: int
    stop: int

    def uniform(self) -> torch.Tensor:
        """For each reference a number in [0, 1), independent of the others; float64."""
        return torch.from_numpy(uniforms(f"draw {self.seed} {self.key}", self.start, self.stop))

    def below(self, counts: torch.Tensor | int) -> torch.Tensor:
        """For each reference an integer from 0 to its count, exclusive; int64."""
        top = np.asarray(counts, dtype=np.float64)
        return torch.from_numpy(np.minimum(np.floor(self.uniform().numpy() * top), top - 1).astype(np.int64))

    def shared(self, n: int) -> list[float]:
        """n numbers in [0, 1) that all references of the run have in common."""
        return self.constants("shared", n).tolist()

    def constants(self, purpose: str, n: int) -> np.ndarray:
        """n numbers in [0, 1), float64, that all references have in common; others for each purpose, one word."""
        return uniforms(f"{purpose} {self.seed} {self.key}", 0, n)
