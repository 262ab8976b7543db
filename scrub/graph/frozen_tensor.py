"""A tensor as a value: hashed by content once, compared by digest, never changed.

The digest covers dtype, shape and bytes, not the device, so that files and caches name the same content the same way
everywhere (SPEC 1.2). xxh3 runs at memory speed; 128 bits make an accidental collision negligible.
"""

from __future__ import annotations

import uuid

import torch
import xxhash

from scrub.graph.errors import FrozenError


def tensor_digest(tensor: torch.Tensor) -> str:
    """128-bit hex digest of dtype, shape and bytes; a random one for `meta` tensors, which have no bytes.

    >>> tensor_digest(torch.zeros(2)) == tensor_digest(torch.zeros(2))
    True
    >>> tensor_digest(torch.zeros(2)) == tensor_digest(-torch.zeros(2))
    False
    """
    if tensor.is_meta:
        return uuid.uuid4().hex
    hasher = xxhash.xxh3_128(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
    data = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous()
    if data.numel():
        flat = data.reshape(-1)
        if flat.stride() != (1,):  # one element is contiguous with any stride
            flat = flat.new_empty(1).copy_(flat)
        hasher.update(flat.view(torch.uint8).numpy().data)
    return hasher.hexdigest()


class FrozenTensor:
    """A tensor and its digest. Equal when content and device are equal.

    >>> FrozenTensor(torch.arange(3)) == FrozenTensor(torch.arange(3))
    True
    """

    __slots__ = ("_value", "_version", "digest")

    def __init__(self, value: torch.Tensor, *, digest: str | None = None) -> None:
        # an inference tensor keeps no count of its writes, so only a copy is safe from them
        self._value = value.clone() if value.is_inference() else value.detach()
        self._version = _version(self._value)
        self.digest = tensor_digest(value) if digest is None else digest

    @property
    def value(self) -> torch.Tensor:
        """The tensor. It shares storage with the one given, so writing into that one is an error found here."""
        if self.is_stale:
            raise FrozenError(
                f"the tensor {self.digest[:8]} was changed in place after an expression was made of it",
                expected=f"version {self._version}",
                found=f"version {_version(self._value)}",
                hint="build the expression from tensor.clone(), or change a clone",
            )
        return self._value

    @property
    def is_stale(self) -> bool:
        """Whether the tensor was changed in place since."""
        return _version(self._value) != self._version

    def restore(self, fresh: FrozenTensor) -> None:
        """Take over the tensor of an equal one, where the own was changed in place."""
        if self.is_stale and self == fresh:
            self._value, self._version = fresh._value, fresh._version

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, FrozenTensor)
            and self.digest == other.digest
            and self._value.device == other._value.device
        )

    def __hash__(self) -> int:
        return hash(self.digest)

    def __repr__(self) -> str:
        return f"tensor:{self.digest}"


def _version(tensor: torch.Tensor) -> int:
    return 0 if tensor.is_inference() else tensor._version  # inference tensors keep no count of their writes
