"""What digests and uuids in a text stand for: tensors, symbols and tags that are known, or made to order."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

import torch

from scrub.graph.errors import ConstructionError
from scrub.graph.expr import Expr, Shape
from scrub.graph.frozen_tensor import FrozenTensor
from scrub.graph.functions.cast import dtype_from_name
from scrub.graph.sizes import as_shape
from scrub.graph.text.params import DIGEST_LENGTH
from scrub.graph.text.values import flat
from scrub.graph.walk import postorder

_SHORT = 8
_MAX_RANDOM = 2**32  # elements, so that a slip in a shape does not fill the memory


class Identifiers:
    """Looks up digests and uuids, in full or by their beginnings.

    Args:
        tensors: what digests may stand for.
        known: expressions whose tensors and uuids may be meant.
        random, dtype: seed and dtype of tensors that are not known; no seed makes them an error.
    """

    def __init__(
        self, tensors: Iterable[FrozenTensor], known: Iterable[Expr], *, random: int | None, dtype: torch.dtype
    ) -> None:
        self.random = random
        self.dtype = dtype
        self._tensors: dict[str, FrozenTensor] = {}
        self._short: dict[str, list[str]] = {}  # full digests by their first letters
        self._uuids: dict[str, list[str]] = {}
        for tensor in tensors:
            self._add(tensor)
        for node in postorder(known):
            for param in flat(node.params):
                if isinstance(param, FrozenTensor):
                    self._add(param)
            uuid: object = getattr(node, "uuid", None)
            if isinstance(uuid, str):
                full = self._uuids.setdefault(uuid[:_SHORT], [])
                if uuid not in full:
                    full.append(uuid)

    def _add(self, tensor: FrozenTensor) -> None:
        if tensor.digest not in self._tensors:
            self._tensors[tensor.digest] = tensor
            self._short.setdefault(tensor.digest[:_SHORT], []).append(tensor.digest)

    def tensor(self, digest: str, shape: tuple[Any, ...] | None, dtype: str | None) -> FrozenTensor:
        """The tensor of a digest, or of its beginning.

        Args:
            digest: as written.
            shape: of the tensor, where the text says so.
            dtype: of one on the meta device, which has no content: it is made from digest, shape and dtype.
        """
        written = digest.rstrip(".")
        if not re.fullmatch(rf"[0-9a-f]{{{_SHORT},{DIGEST_LENGTH}}}", written):
            raise ConstructionError(
                f"{digest!r} is not a digest",
                found=digest,
                hint=f"{_SHORT} to {DIGEST_LENGTH} hexadecimal digits, as Array's print shows them",
            )
        if dtype is not None and len(written) == DIGEST_LENGTH:
            return self._meta(written, as_shape(shape or ()), dtype)
        found = self._tensors.get(written)
        if found is not None:
            return found
        candidates = [full for full in self._short.get(written[:_SHORT], []) if full.startswith(written)]
        if len(candidates) > 1:
            raise ConstructionError(
                f"{len(candidates)} of the given tensors have digests that begin with {written}",
                found=candidates,
                hint="write more digits, or use to_text(expr, exact=True)",
            )
        if candidates:
            return self._tensors[candidates[0]]
        if self.random is not None and shape is not None:
            return self._random(written, shape)
        raise ConstructionError(
            f"no tensor with digest {written} is given",
            found=written,
            hint="Parser(tensors=...) or Parser(known=[expr]) gives it, Parser(random=seed) makes one of random values",
        )

    def _meta(self, digest: str, shape: Shape, dtype: str) -> FrozenTensor:
        made = self._tensors.get(digest)
        if made is None:
            made = FrozenTensor(torch.empty(shape, dtype=dtype_from_name(dtype), device="meta"), digest=digest)
            self._add(made)
        return made

    def _random(self, digest: str, shape: tuple[Any, ...]) -> FrozenTensor:
        count = 1
        for size in shape:
            count *= size
        if count > _MAX_RANDOM:
            raise ConstructionError(f"a random tensor of shape {list(shape)} would be too large", found=shape)
        seed = (int(digest[:16], 16) * 2654435761 + (self.random or 0)) % 2**63
        value = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        return FrozenTensor(value.to(self.dtype))

    def uuid(self, text: str, of_name: Callable[[], str] | None) -> str:
        """The full uuid of a symbol or tag: of a known one, or of the one that its name makes.

        Args:
            text: what is written: a uuid, the first eight letters of one, or nothing.
            of_name: the uuid that the name makes; None if there is no name.
        """
        written = text.rstrip(".")
        if len(written) > _SHORT and written == text:
            return written
        if not written:
            if of_name is None:
                raise ConstructionError("a symbol or tag needs a name or a uuid", hint="'x' [2] Symbol")
            return of_name()
        candidates = {uuid for uuid in self._uuids.get(written[:_SHORT], []) if uuid.startswith(written)}
        named = of_name() if of_name is not None else ""
        candidates |= {named} if named.startswith(written) else set()
        if len(candidates) == 1:
            return candidates.pop()
        problem = f"{len(candidates)} known uuids begin" if candidates else "no known uuid begins"
        raise ConstructionError(
            f"{problem} with {written}",
            found=candidates or written,
            hint="leave it out for one made from its name, give the one meant with Parser(known=[expr]), "
            "or use to_text(expr, exact=True)",
        )
