"""The part of a risk that knows its samples: their losses, and minibatches of them."""

from __future__ import annotations

import abc
import functools

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from landscope.full_precision import in_full_precision
from landscope.parameters import ParameterSpace
from landscope.protocols import BatchLines, ProgressCallback, silent
from landscope.risk import derivatives
from landscope.risk.evaluation import BlockLosses, TracedLosses, on_all_data
from landscope.risk.joined_batches import JoinedLosses
from landscope.risk.minibatches import MinibatchRisk, check_kept_batches, partition
from landscope.risk.sample_sums import Samples
from landscope.shown import in_lines

__all__ = ["SampledRisk"]


@in_full_precision
class SampledRisk(abc.ABC):
    """A risk over samples."""

    space: ParameterSpace
    w0: Float[Tensor, " N"]
    _model: nn.Module
    _loss_name: str
    _blocks: BlockLosses

    def __repr__(self) -> str:
        counts = [self._blocks.count(block) for block in range(self._blocks.n_blocks)]
        data = {"blocks of data": len(counts)} if None in counts else {"samples": sum(filter(None, counts))}
        return in_lines(
            f"{type(self).__name__}, the loss over {self.space.in_words}",
            model=type(self._model).__name__, loss=self._loss_name, **data,
        )  # fmt: skip

    @abc.abstractmethod
    def checked(self, name: str, w: Tensor) -> Tensor:
        """A vector of selected weights on the device and in the dtype of the model."""

    @abc.abstractmethod
    def checked_lines(self, w0: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
        """A start and directions on the device and in the dtype of the model."""

    @abc.abstractmethod
    def hessian_vector_product(self, w: Float[Tensor, " N"], vector: Float[Tensor, " N"]) -> Float[Tensor, " N"]:
        """The Hessian of the risk, times a vector."""

    @abc.abstractmethod
    def _lines_of(self, losses: TracedLosses, w0: Tensor, directions: Tensor) -> BatchLines: ...

    @on_all_data()
    def sample_losses(self, w: Float[Tensor, " N"], *, progress: ProgressCallback = silent) -> Float[Tensor, " M"]:
        """The loss of every sample at ``w``, in float64, in the order of the data.

        It is the loss of a minibatch of this sample alone: the mean over the counted tokens of a text, and without the
        class weight. NaN if all targets of a sample are ignored. If the criterion gives sums over samples, each sample
        takes one evaluation of the model.

        Args:
            w: Selected weights.
            progress: Callback for the number of completed blocks of data.

        Raises:
            InputError: If the samples of a batch cannot be told apart.
        """
        return self._single.batch_losses(w, progress=progress)

    @on_all_data()
    def sample_weights(self) -> Float[Tensor, " M"]:
        """The weight of every sample: 1, its class weight, or its number of counted targets, in the order of the data.

        The risk is the mean of the losses of all samples with these weights.
        """
        return self._single.weights

    @functools.cached_property
    def samples(self) -> Samples:
        """The samples behind the losses, for minibatches."""
        return Samples(self._blocks, self.space, self.w0, self._lines_of)

    @functools.cached_property
    def samples_of_batches(self) -> Samples:
        """The same samples in the batches of the data as they are, which the blocks may have joined."""
        if not isinstance(self._blocks, JoinedLosses):
            return self.samples
        return Samples(self._blocks.apart(), self.space, self.w0, self._lines_of)

    @functools.cached_property
    def _single(self) -> MinibatchRisk:
        """The samples as minibatches of one."""
        self.samples.check_apart()
        return MinibatchRisk(self, torch.arange(self.samples.count)[:, None])

    @on_all_data()
    def minibatches(self, batch_size: int | None, *, seed: int | None = None) -> MinibatchRisk:
        """The risk as an ensemble of minibatch losses (paper, Eq. 3), weighted as the training weights them.

        To study the noise of a run, use the batch size of the run. The model is in eval mode, so the ensemble lacks the
        noise of dropout and batch statistics.

        Args:
            batch_size: Number B of samples in a minibatch; the remainder of the data is left out. None takes the
                batches of the data of :meth:`from_closure` as they are; losses of graphs, or of pairs in a batch, need
                it.
            seed: Random seed of a shuffle of the data; by default minibatches are contiguous.

        Returns:
            The ensemble.

        Raises:
            InputError: If the batch size is below 1 or above the number of samples, the samples of a batch cannot be
                told apart or are compared by the loss, or all targets of a minibatch are ignored.
        """
        if batch_size is None:
            return MinibatchRisk(self, check_kept_batches(self._blocks))
        batches = partition(self.samples.count, batch_size, seed)
        self.samples.check_apart()
        return MinibatchRisk(self, batches, n_left_out=self.samples.count - batches.numel())

    @on_all_data()
    def mean_gradient(self, w: Float[Tensor, " N"], rows: Int[Tensor, " B"]) -> Float[Tensor, " N"]:
        """The gradient at ``w`` of the loss of some samples as a minibatch, by their indices in the data."""
        return derivatives.mean_gradient(self._blocks, self.space, self.checked("w", w), rows)

    @on_all_data()
    def mean_hessian_vector_product(self, w: Tensor, rows: Int[Tensor, " B"], vector: Tensor) -> Tensor:
        """The Hessian at ``w[N]`` of the loss of some samples as a minibatch, times ``vector[N]``."""
        w, vector = self.checked("w", w), self.checked("vector", vector)
        return derivatives.mean_hessian_vector_product(self._blocks, self.space, w, rows, vector)

    @on_all_data()
    def weighted_gradient(self, w: Float[Tensor, " N"], weights: Float[Tensor, " M"]) -> Float[Tensor, " N"]:
        r"""The gradient :math:`\sum_k c_k \nabla d_k(w)` of a weighted sum of the losses of all samples.

        Args:
            w: Selected weights.
            weights: Weights c_k, in the order of the data.

        Returns:
            The gradient in the dtype of the model.

        Raises:
            InputError: If the weights or the losses are not one for each sample.
        """
        own = self.samples.own_weights
        if own is not None and len(own) == len(weights):  # the blocks hold sums, c_k times the losses of samples
            weights = torch.where(own > 0, weights.cpu().double() / own, 0.0)
        return derivatives.weighted_gradient(self._blocks, self.space, self.checked("w", w), weights)

    def sample_lines(self, w0: Float[Tensor, " N"], directions: Float[Tensor, "k N"]) -> BatchLines:
        """The losses of every sample along lines from ``w0``, with their derivatives, see :meth:`sample_losses`."""
        return self._single.batch_lines(w0, directions)
