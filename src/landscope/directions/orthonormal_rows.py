"""Orthonormal vectors that are found one after another, on the device and in the dtype of the weights."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from landscope.errors import InputError
from landscope.resources import free_memory, size_in_words

__all__ = ["OrthonormalRows", "check_vectors_fit"]

_BLOCK = 16
"""Rows that are allocated at once."""

_PASSES = 4
_ENOUGH = 0.7
"""A vector that keeps this share of its norm in a pass has no more parts along the rows than rounding leaves."""


class OrthonormalRows:
    """Orthonormal rows to which others are added.

    Args:
        like: A vector with the length, dtype and device of the rows.

    Example:
        >>> rows = OrthonormalRows(torch.zeros(2).double())
        >>> rows.append(torch.tensor([1.0, 0.0]).double())
        >>> along, rest, norm = rows.split(torch.tensor([3.0, 4.0]).double())
        >>> along.tolist(), rest.tolist(), norm
        ([3.0], [0.0, 4.0], 4.0)
    """

    def __init__(self, like: Float[Tensor, " N"]) -> None:
        self._like = like.detach()
        self._blocks: list[Tensor] = []
        self._count = 0

    def __len__(self) -> int:
        return self._count

    @property
    def last(self) -> Float[Tensor, " N"]:
        """The row that was added last."""
        return self._blocks[-1][(self._count - 1) % _BLOCK]

    def append(self, row: Float[Tensor, " N"]) -> None:
        """Add a unit vector that is orthogonal to all rows."""
        if self._count % _BLOCK == 0:
            self._blocks.append(self._like.new_empty(_BLOCK, len(self._like)))
        self._blocks[-1][self._count % _BLOCK] = row
        self._count += 1

    def split(self, vector: Float[Tensor, " N"]) -> tuple[Float[Tensor, " rows"], Float[Tensor, " N"], float]:
        """Gram-Schmidt, repeated until the remainder is orthogonal to rounding (Daniel et al. 1976).

        Returns:
            Coefficients along the rows in float64, in main memory; the remainder; the norm of the remainder.
        """
        total = torch.zeros(self._count, dtype=torch.float64)
        norm = float(torch.linalg.vector_norm(vector))
        for _ in range(_PASSES if self._count else 0):
            along = self._along(vector)
            vector = vector - self._sum(along)
            total += along.cpu().double()
            before, norm = norm, float(torch.linalg.vector_norm(vector))
            if norm > _ENOUGH * before:
                break
        return total, vector, norm

    def combined(self, weights: Float[Tensor, "rows k"]) -> Float[Tensor, "k N"]:
        """Sums of the rows with given weights."""
        weights = weights.to(self._like)
        found = self._like.new_zeros(weights.shape[1], len(self._like))
        for start, block in self._filled():
            found.addmm_(weights[start : start + len(block)].T, block)
        return found

    def along(self, vector: Float[Tensor, " N"]) -> Float[Tensor, " rows"]:
        """Coefficients along the rows in float64, in main memory."""
        return self._along(vector).cpu().double() if self._count else torch.zeros(0, dtype=torch.float64)

    def __iter__(self) -> Iterator[Float[Tensor, " N"]]:
        for _, block in self._filled():
            yield from block

    def _filled(self) -> list[tuple[int, Tensor]]:
        starts = range(0, self._count, _BLOCK)
        return [(start, block[: self._count - start]) for start, block in zip(starts, self._blocks, strict=True)]

    def _along(self, vector: Tensor) -> Tensor:
        return torch.cat([block @ vector for _, block in self._filled()])

    def _sum(self, along: Tensor) -> Tensor:
        parts = [along[start : start + len(block)] @ block for start, block in self._filled()]
        return torch.stack(parts).sum(dim=0) if len(parts) > 1 else parts[0]


def check_vectors_fit(count: int, like: Float[Tensor, " N"], hint: str) -> None:
    """Raise if as many vectors as long as ``like`` do not fit into the free memory of its device.

    Raises:
        InputError: If they do not fit; nothing was computed yet.
    """
    needed = count * like.numel() * like.element_size()
    free = torch.cuda.mem_get_info(like.device)[0] if like.device.type == "cuda" else free_memory()
    if needed > free:
        raise InputError(
            expected=f"vectors that fit into the free memory, {size_in_words(max(0, free))}",
            got=f"{count} vectors of {like.numel()} weights, {size_in_words(needed)}",
            hint=hint,
        )
