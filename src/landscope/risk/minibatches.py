"""A risk as an ensemble of minibatch losses (paper, Eq. 3)."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor

from landscope._checks import check_count, for_float64, generator_of
from landscope.errors import InputError
from landscope.full_precision import in_full_precision
from landscope.protocols import BatchLines, ProgressCallback, silent
from landscope.risk.derivatives import gradient_of, hessian_product_of
from landscope.risk.evaluation import BlockLosses, BlockOutputs, on_all_data
from landscope.risk.sample_sums import PartLines
from landscope.shown import in_lines

if TYPE_CHECKING:
    from landscope.risk.sampled import SampledRisk

__all__ = ["MinibatchRisk", "check_kept_batches", "partition"]


@in_full_precision
class MinibatchRisk:
    r"""The losses of minibatches, weighted as the training weights them.

    .. math:: L^\mu(w) = \frac{\sum_{l \in \mu} s_l(w)}{\sum_{l \in \mu} c_l}

    Here s_l is the summed loss of a sample and c_l its weight: 1, its class weight, or its number of counted tokens. If
    all weights are 1, this is the mean :math:`\frac1B \sum_{l \in \mu} d(Y_l, Z_l)` of the paper.

    As a function of w, the ensemble is the mean over minibatches, whose gradient is the mean step of SGD. It differs
    from the risk where minibatches have different weights :math:`C^\mu = \sum_{l \in \mu} c_l`: if all samples are in a
    minibatch,

    .. math:: \langle L^\mu \rangle - L = -\frac{\mathrm{Cov}_\mu(C^\mu, L^\mu)}{\langle C^\mu \rangle}.

    :meth:`landscope.EmpiricalRisk.minibatches` creates it.

    Args:
        risk: The risk.
        batches: Sample indices of each minibatch, ``[batches, B]``; None for the batches of the data as they are.
        n_left_out: Number of samples outside all minibatches, if the batch size does not divide the data.

    Raises:
        InputError: If samples cannot be told apart, or all targets of a minibatch are ignored.
    """

    def __init__(self, risk: SampledRisk, batches: Int[Tensor, "batches B"] | None, n_left_out: int = 0) -> None:
        self._risk, self.batches, self.n_left_out = risk, batches, n_left_out
        self._samples = risk.samples_of_batches if batches is None else risk.samples
        #: Weights C of the minibatches, ``[batches]``.
        self.weights = self._weights()
        nothing = int((self.weights == 0).sum())
        if nothing and (batches is None or batches.shape[1] > 1):
            raise InputError(
                expected="minibatches with at least one counted target each",
                got=f"{nothing} of {len(self.weights)} with ignored targets only",
                hint="Use larger minibatches, another seed, or leave out samples without targets.",
            )

    def __repr__(self) -> str:
        return in_lines("MinibatchRisk", n_batches=self.n_batches, n_left_out=self.n_left_out, of=self._risk)

    @property
    def n_batches(self) -> int:
        """Number of minibatches."""
        return len(self.weights)

    def _weights(self) -> Float[Tensor, " batches"]:
        samples = self._samples
        if self.batches is None:
            weights = [samples.block_weight(block) for block in range(samples.blocks.n_blocks)]
        elif samples.own_weights is not None:
            return samples.own_weights[self.batches.cpu()].sum(dim=1)
        else:
            weights = [samples.weight(rows) for rows in self.batches]
        return torch.tensor(weights, dtype=torch.float64)

    def _losses(self) -> list[Callable[[Tensor], Tensor]]:
        """The loss of each minibatch as a function of w, with a graph."""
        if self.batches is None:
            blocks = range(self._samples.blocks.n_blocks)
            return [functools.partial(self._samples.block_loss, block=block) for block in blocks]
        return [functools.partial(self._samples.loss, rows=rows) for rows in self.batches]

    @torch.no_grad()
    @on_all_data()
    def batch_losses(
        self, w: Float[Tensor, "*points N"], *, progress: ProgressCallback = silent
    ) -> Float[Tensor, "*points batches"]:
        """``w[..., N] -> L^mu[..., batches]`` in float64.

        ``progress`` is called with the number of completed parts of the data, over all points.
        """
        points, rows = w.reshape(-1, w.shape[-1]), []
        for number, point in enumerate(points):

            def told(done: int, total: int, number: int = number) -> None:
                progress(number * total + done, len(points) * total)

            rows.append(self._at(self._risk.checked("w", point), told))
        return torch.stack(rows).reshape(*w.shape[:-1], len(self.weights))

    def _at(self, w: Float[Tensor, " N"], progress: ProgressCallback) -> Float[Tensor, " batches"]:
        if self.batches is not None and self._samples.own_weights is not None:
            return _grouped(self._samples.sums(w, progress), self.batches, self.weights)
        losses, values = self._losses(), []
        for number, loss in enumerate(losses):
            values.append(loss(w))
            progress(number + 1, len(losses))
        return torch.stack(values)

    def __call__(self, w: Float[Tensor, "*points N"]) -> Float[Tensor, "*points"]:
        """Mean of the minibatch losses."""
        return self.batch_losses(w).mean(dim=-1)

    @on_all_data()
    def batch_lines(self, w0: Float[Tensor, " N"], directions: Float[Tensor, "k N"]) -> BatchLines:
        """The minibatch losses along lines; from one evaluation of all samples where each has a loss of its own."""
        w0, directions = self._risk.checked_lines(w0, directions)
        if self.batches is None or self._samples.own_weights is None:
            parts = [lambda w, loss=loss: loss(w).reshape(1) for loss in self._losses()]
            return PartLines(parts, w0, directions)
        return _GroupedLines(self._samples.lines_of_sums(w0, directions), self.batches, self.weights)

    def batch_gradients(self, w: Float[Tensor, " N"]) -> Iterator[Float[Tensor, " N"]]:
        r"""The gradients :math:`\nabla L^\mu(w)`, one minibatch after another."""
        w = self._risk.checked("w", w)
        for loss in self._losses():
            with on_all_data():
                gradient = gradient_of(loss, w)
            yield gradient

    @on_all_data()
    def batch_hessian_vector_product(
        self, w: Float[Tensor, " N"], number: int, vector: Float[Tensor, " N"]
    ) -> Float[Tensor, " N"]:
        r"""The product :math:`\nabla^2 L^\mu(w)\, v` of one minibatch, by its number."""
        w, vector = self._risk.checked("w", w), self._risk.checked("vector", vector)
        return hessian_product_of(self._losses()[number], w, vector)

    def gradient(self, w: Float[Tensor, " N"]) -> Float[Tensor, " N"]:
        """Gradient of the mean over minibatches."""
        return for_float64(torch.stack(list(self.batch_gradients(w)))).double().mean(dim=0).to(w)

    def hessian_vector_product(self, w: Float[Tensor, " N"], vector: Float[Tensor, " N"]) -> Float[Tensor, " N"]:
        """Product of a vector and the Hessian of the mean over minibatches."""
        if not self.n_left_out and bool((self.weights == self.weights[0]).all()):  # the mean is the risk
            return self._risk.hessian_vector_product(w, vector)
        products = [self.batch_hessian_vector_product(w, number, vector) for number in range(len(self.weights))]
        return for_float64(torch.stack(products)).double().mean(dim=0).to(w)


def _grouped(sums: Tensor, batches: Tensor, weights: Tensor) -> Tensor:
    """Losses of minibatches from the sums of their samples."""
    return sums[batches].sum(dim=1, dtype=torch.float64) / weights.to(sums.device)


@in_full_precision
@dataclasses.dataclass(frozen=True)
class _GroupedLines:
    """Losses of samples along lines, averaged over minibatches in float64."""

    lines: BatchLines
    batches: Tensor
    weights: Tensor

    def losses(self, index: Tensor, displacement: Tensor) -> Tensor:
        return self._all(self.lines.losses(index, displacement))

    def slopes(self, index: Tensor, displacement: Tensor) -> tuple[Tensor, Tensor]:
        losses, slopes = self.lines.slopes(index, displacement)
        return self._all(losses), self._all(slopes)

    def curvatures(self, first: Tensor, second: Tensor) -> Tensor:
        return self._all(self.lines.curvatures(first, second))

    def _all(self, rows: Tensor) -> Tensor:
        return torch.stack([_grouped(row, self.batches.to(row.device), self.weights) for row in rows])


def check_kept_batches(blocks: BlockLosses) -> None:
    """Raise if the batches of the data were joined and cut anew.

    Raises:
        InputError: If the losses have other blocks than the batches of the data.
    """
    if isinstance(blocks, BlockOutputs):
        raise InputError(
            expected="a risk made by from_closure, for batches of the data as they are",
            got="a risk made from a criterion, which cuts the data anew",
            hint="Pass the batch size, as in risk.minibatches(100).",
        )


def partition(n_samples: int, batch_size: int, seed: int | None) -> Tensor:
    """Sample indices of full minibatches, in the order of the data or shuffled with a seed."""
    check_count("batch_size", batch_size, maximum=n_samples)
    generator = None if seed is None else generator_of(seed)
    order = torch.arange(n_samples) if seed is None else torch.randperm(n_samples, generator=generator)
    return order[: n_samples // batch_size * batch_size].view(-1, batch_size)
