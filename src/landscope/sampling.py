"""The order of the minibatches (paper, Eq. 2: mu(t)), as a pure function of seed and epoch."""

from __future__ import annotations

import dataclasses
from typing import get_args

import numpy as np
import torch
from torch import Tensor

from landscope._checks import check_choice, check_count, check_seed
from landscope._names import Sampling

__all__ = ["MinibatchOrder"]


@dataclasses.dataclass(frozen=True)
class MinibatchOrder:
    """The samples of each minibatch in each epoch.

    The order depends only on the seed and the number of the epoch, so an interrupted run resumes with the same
    minibatches. If the batch size does not divide the number of samples, the epoch omits the remainder.

    Args:
        n_samples: Number of samples M.
        batch_size: Number B of samples in a minibatch.
        sampling: ``"reshuffled"``, a new permutation each epoch; ``"shuffled-once"``, one permutation for
            all epochs; ``"fixed"``, the order of the data; ``"with-replacement"``, independent draws.
        seed: Random seed of the order.

    Raises:
        InputError: If the batch size is below 1 or above the number of samples, or the sampling is unknown.

    Example:
        >>> order = MinibatchOrder(n_samples=6, batch_size=2, sampling="reshuffled", seed=0)
        >>> order.epoch(0).shape, sorted(order.epoch(3).flatten().tolist())
        (torch.Size([3, 2]), [0, 1, 2, 3, 4, 5])
    """

    n_samples: int
    batch_size: int
    sampling: Sampling = "reshuffled"
    seed: int = 0

    def __post_init__(self) -> None:
        check_count("n_samples", self.n_samples)
        check_count("batch_size", self.batch_size, maximum=self.n_samples)
        check_seed(self.seed)
        check_choice("sampling", self.sampling, get_args(Sampling))

    @property
    def batches_per_epoch(self) -> int:
        """Number of minibatches in an epoch, M // B."""
        return self.n_samples // self.batch_size

    def epoch(self, number: int) -> Tensor:
        """The sample indices of epoch ``number`` (from 0), shape ``[batches, B]``."""
        n_used = self.batches_per_epoch * self.batch_size
        if self.sampling == "fixed":
            order = torch.arange(n_used)
        else:
            entropy = [self.seed, 0 if self.sampling == "shuffled-once" else number]
            state = np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0]
            generator = torch.Generator().manual_seed(int(state >> np.uint64(1)))
            if self.sampling == "with-replacement":
                order = torch.randint(self.n_samples, (n_used,), generator=generator)
            else:
                order = torch.randperm(self.n_samples, generator=generator)[:n_used]
        return order.view(-1, self.batch_size)
