"""A risk as an ensemble of minibatch losses (paper, Eq. 3)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from landscope.errors import InputError

__all__ = ["MinibatchRisk"]


class MinibatchRisk:
    r"""The ensemble :math:`L^\mu(w) = \frac1B \sum_{l \in \mu} d(Y_l, Z_l)` of a partition of the data.

    Made by :meth:`landscope.EmpiricalRisk.minibatches`. Called like the risk, it gives the mean over minibatches.

    Args:
        sample_losses: ``w[N] -> losses[M]`` of all samples.
        batches: Sample indices of each minibatch, ``[batches, B]``.
    """

    def __init__(
        self, sample_losses: Callable[[Tensor], Float[Tensor, " M"]], batches: Int[Tensor, "batches B"]
    ) -> None:
        self._sample_losses, self.batches = sample_losses, batches

    def batch_losses(self, w: Float[Tensor, "*points N"]) -> Float[Tensor, "*points batches"]:
        """``w[..., N] -> L^mu[..., batches]`` in float64."""
        rows = [self._sample_losses(point)[self.batches].mean(dim=1) for point in w.reshape(-1, w.shape[-1])]
        return torch.stack(rows).reshape(*w.shape[:-1], len(self.batches))

    def __call__(self, w: Float[Tensor, "*points N"]) -> Float[Tensor, "*points"]:
        """Mean of the minibatch losses."""
        return self.batch_losses(w).mean(dim=-1)


def partition(n_samples: int, batch_size: int, seed: int | None) -> Tensor:
    """Indices of whole minibatches: in the order of the data, or shuffled by a seed."""
    if not 1 <= batch_size <= n_samples:
        raise InputError(
            expected=f"a batch size between 1 and {n_samples}",
            got=f"{batch_size}",
            hint="Choose another batch size.",
        )
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    order = torch.arange(n_samples) if seed is None else torch.randperm(n_samples, generator=generator)
    return order[: n_samples // batch_size * batch_size].view(-1, batch_size)
