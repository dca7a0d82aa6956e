"""The second derivatives of a function of the outputs of a model, one matrix for each sample."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from landscope._checks import for_float64
from landscope.derivatives import twice_differentiable
from landscope.errors import InputError

__all__ = ["curvature_slopes", "curvature_times"]

_MATRIX_NUMBERS = 2**27
"""Numbers in the matrices of all samples of a block: 1 GB."""


def curvature_times(
    function: Callable[[Sequence[Tensor]], Tensor], tensors: Sequence[Tensor], change: Sequence[Tensor]
) -> list[Tensor]:
    """The second derivative of a function by the outputs of all samples, times a change of the outputs."""
    points = [tensor.detach().clone().requires_grad_() for tensor in tensors]
    with torch.enable_grad():
        slopes = _slopes(function, points)
        return _derivative(slopes, points, change)


def curvature_slopes(
    function: Callable[[Sequence[Tensor]], Tensor], tensors: Sequence[Tensor]
) -> Iterator[tuple[list[Tensor], Tensor]]:
    """Eigenvectors of the second derivative of every sample ``[b, ...]``, with their eigenvalues ``[b]``.

    The function must be a sum over samples. Without a change of sign, the sum of eigenvalue times s s' over all pairs
    is the matrix.

    Raises:
        InputError: If a sample has so many outputs that the matrices take much memory.
    """
    points = [tensor.detach().clone().requires_grad_() for tensor in tensors]
    sizes = [tensor[0].numel() for tensor in tensors]
    if len(tensors[0]) * sum(sizes) ** 2 > _MATRIX_NUMBERS:
        raise InputError(
            expected="few outputs of a sample, for the eigenvectors of a matrix of them", got=f"{sum(sizes)} outputs",
            hint='Take the Fisher information "monte-carlo" or "empirical".',
        )  # fmt: skip
    with torch.enable_grad():
        slopes = _slopes(function, points)
        rows = []
        for column in range(sum(sizes)):
            change = [torch.zeros_like(point, memory_format=torch.contiguous_format) for point in points]
            place, within = _place(sizes, column)
            change[place].reshape(len(change[place]), -1)[:, within] = 1
            rows.append(torch.cat([part.flatten(1) for part in _flat(_derivative(slopes, points, change))], dim=1))
    matrices = for_float64(torch.stack(rows, dim=1)).double()
    values, vectors = torch.linalg.eigh((matrices + matrices.mT) / 2)
    for mode in range(sum(sizes)):
        parts = vectors[..., mode].to(points[0]).split(sizes, dim=1)
        yield (
            [part.reshape(point.shape) for part, point in zip(parts, points, strict=True)],
            values[:, mode].to(points[0]),
        )


def _flat(tensors: Sequence[Tensor]) -> list[Tensor]:
    return [tensor.reshape(len(tensor), -1) for tensor in tensors]


def _place(sizes: Sequence[int], column: int) -> tuple[int, int]:
    """The tensor that a column of all outputs belongs to, and its place there."""
    for place, size in enumerate(sizes):
        if column < size:
            return place, column
        column -= size
    raise IndexError(column)


def _slopes(function: Callable[[Sequence[Tensor]], Tensor], points: list[Tensor]) -> list[Tensor]:
    with twice_differentiable():
        slopes = torch.autograd.grad(function(points), points, create_graph=True, allow_unused=True)
    return [torch.zeros_like(point) if slope is None else slope for slope, point in zip(slopes, points, strict=True)]


def _derivative(slopes: list[Tensor], points: list[Tensor], change: Sequence[Tensor]) -> list[Tensor]:
    """The derivative of the slopes along a change; it is zero where they are constant."""
    curved = [(slope, part) for slope, part in zip(slopes, change, strict=True) if slope.requires_grad]
    if not curved:
        return [torch.zeros_like(point) for point in points]
    with twice_differentiable():
        found = torch.autograd.grad(
            [slope for slope, _ in curved], points, [part.to(slope) for slope, part in curved],
            retain_graph=True, allow_unused=True,
        )  # fmt: skip
    return [torch.zeros_like(point) if part is None else part for part, point in zip(found, points, strict=True)]
