"""A risk as an ensemble of minibatch losses (paper, Eq. 3)."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor

from landscope._checks import check_count, for_float64
from landscope.errors import InputError
from landscope.protocols import BatchLines

if TYPE_CHECKING:
    from landscope.risk.empirical import EmpiricalRisk

__all__ = ["MinibatchRisk", "partition"]


class MinibatchRisk:
    r"""The ensemble :math:`L^\mu(w) = \frac1B \sum_{l \in \mu} d(Y_l, Z_l)` of a partition of the data.

    :meth:`landscope.EmpiricalRisk.minibatches` creates it. As a function of w, it is the mean over minibatches.

    Args:
        risk: The risk.
        batches: Sample indices of each minibatch, ``[batches, B]``.
        n_left_out: Number of samples outside all minibatches, if the batch size does not divide the data.
    """

    def __init__(self, risk: EmpiricalRisk, batches: Int[Tensor, "batches B"], n_left_out: int = 0) -> None:
        self._risk, self.batches, self.n_left_out = risk, batches, n_left_out

    def batch_losses(self, w: Float[Tensor, "*points N"]) -> Float[Tensor, "*points batches"]:
        """``w[..., N] -> L^mu[..., batches]`` in float64."""
        rows = [self._risk.sample_losses(point)[self.batches].mean(dim=1) for point in w.reshape(-1, w.shape[-1])]
        return torch.stack(rows).reshape(*w.shape[:-1], len(self.batches))

    def __call__(self, w: Float[Tensor, "*points N"]) -> Float[Tensor, "*points"]:
        """Mean of the minibatch losses."""
        return self.batch_losses(w).mean(dim=-1)

    def batch_lines(self, w0: Float[Tensor, " N"], directions: Float[Tensor, "k N"]) -> BatchLines:
        """The minibatch losses along lines, from one evaluation of the losses of all samples."""
        return _GroupedLines(self._risk.sample_lines(w0, directions), self.batches)

    def batch_gradients(self, w: Float[Tensor, " N"]) -> Iterator[Float[Tensor, " N"]]:
        r"""The gradients :math:`\nabla L^\mu(w)`, one minibatch after another."""
        for rows in self.batches:
            yield self._risk.mean_gradient(w, rows)

    def batch_hessian_vector_product(
        self, w: Float[Tensor, " N"], number: int, vector: Float[Tensor, " N"]
    ) -> Float[Tensor, " N"]:
        r"""The product :math:`\nabla^2 L^\mu(w)\, v` of one minibatch, by its number."""
        return self._risk.mean_hessian_vector_product(w, self.batches[number], vector)

    def gradient(self, w: Float[Tensor, " N"]) -> Float[Tensor, " N"]:
        """Gradient of the mean over minibatches."""
        return for_float64(torch.stack(list(self.batch_gradients(w)))).double().mean(dim=0).to(w)

    def hessian_vector_product(self, w: Float[Tensor, " N"], vector: Float[Tensor, " N"]) -> Float[Tensor, " N"]:
        """Product of a vector and the Hessian of the mean.

        Raises:
            InputError: If samples are left out, so that the mean differs from the risk.
        """
        if self.n_left_out:
            raise InputError(
                expected="minibatches that contain all samples, for a Hessian product",
                got=f"{self.n_left_out} samples left out",
                hint="Pass the risk itself.",
            )
        return self._risk.hessian_vector_product(w, vector)


@dataclasses.dataclass(frozen=True)
class _GroupedLines:
    """Losses of samples along lines, averaged over minibatches in float64."""

    lines: BatchLines
    batches: Tensor

    def losses(self, index: Tensor, displacement: Tensor) -> Tensor:
        return self._grouped(self.lines.losses(index, displacement))

    def slopes(self, index: Tensor, displacement: Tensor) -> tuple[Tensor, Tensor]:
        losses, slopes = self.lines.slopes(index, displacement)
        return self._grouped(losses), self._grouped(slopes)

    def curvatures(self, first: Tensor, second: Tensor) -> Tensor:
        return self._grouped(self.lines.curvatures(first, second))

    def _grouped(self, samples: Tensor) -> Tensor:
        return torch.stack([row[self.batches].mean(dim=1, dtype=torch.float64) for row in samples])


def partition(n_samples: int, batch_size: int, seed: int | None) -> Tensor:
    """Sample indices of full minibatches, in the order of the data or shuffled with a seed."""
    check_count("batch_size", batch_size, maximum=n_samples)
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    order = torch.arange(n_samples) if seed is None else torch.randperm(n_samples, generator=generator)
    return order[: n_samples // batch_size * batch_size].view(-1, batch_size)
