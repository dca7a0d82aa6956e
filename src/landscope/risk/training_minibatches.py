"""Minibatch losses as the training sees them: batch normalisation takes the statistics of each minibatch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from landscope.derivatives import hessian_times
from landscope.errors import InputError
from landscope.full_precision import in_full_precision
from landscope.parameters import ParameterSpace
from landscope.risk.checks import described
from landscope.risk.closure_module import ClosureModule
from landscope.risk.data import call_model
from landscope.risk.losses import sample_losses_of
from landscope.risk.minibatches import partition
from landscope.risk.model_copy import private_copy
from landscope.risk.running_statistics import updating_layers
from landscope.risk.samples import count_of, rows_of
from landscope.risk.weighted_losses import total_weight

__all__ = ["TrainingMinibatches"]


@in_full_precision
class TrainingMinibatches:
    r"""The ensemble of minibatch losses with the batch statistics of each minibatch, and their mean as a landscape.

    :meth:`landscope.EmpiricalRisk.minibatches` keeps the running statistics of batch normalisation; SGD descends these
    losses instead. All other layers are in eval mode, so dropout is off. The model is copied and never changed. A
    Hessian product of the mean costs a pass over all minibatches.

    Args:
        model: The network.
        criterion: As in :class:`landscope.EmpiricalRisk`: with one loss for each sample, their mean, or
            ``(losses, weight)``.
        data: ``(inputs, targets)``; the inputs are a tensor, or a mapping or tuple of the arguments of the model.
        batch_size: Number B of samples in a minibatch; the remainder of the data is left out.
        seed: Random seed of a shuffle of the data; by default minibatches are contiguous.

    Raises:
        InputError: If the batch size is below 1 or above the number of samples, or the samples cannot be told apart.

    Example:
        Batch statistics undo the scale of what they normalise: the loss does not depend on it.

        >>> norm = nn.BatchNorm1d(2, eps=1e-12)
        >>> model = nn.Sequential(nn.Linear(3, 2, bias=False), norm)
        >>> data = torch.randn(12, 3), torch.arange(12) % 2
        >>> ensemble = TrainingMinibatches(model, nn.CrossEntropyLoss(), data, 4)
        >>> scaled = ensemble.w0.clone()
        >>> scaled[:6] *= 7
        >>> torch.allclose(ensemble.batch_losses(scaled), ensemble.batch_losses(ensemble.w0), atol=1e-5)
        True
    """

    def __init__(
        self,
        model: nn.Module,
        criterion: Callable[..., Any],
        data: tuple[Any, Tensor],
        batch_size: int,
        *,
        seed: int | None = None,
    ) -> None:
        self.space = ParameterSpace.of(model)
        self._model = private_copy(model)
        norms = [module for module in self._model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
        for module in (*norms, *updating_layers(self._model)):
            module.train()
        self.has_batch_norm = bool(norms)
        self._call, self._losses, self._data = ClosureModule(self._model, call_model), sample_losses_of(criterion), data
        self.w0 = self.space.flatten(self._model)
        count = count_of(*data)
        if count is None:
            raise InputError(
                expected="inputs and targets with one row for each sample",
                got=described(data),
                hint="Pass tensors whose first axes are the samples.",
            )
        self._count, self.batches = count, partition(count, batch_size, seed)
        self.n_left_out = count - self.batches.numel()

    @property
    def n_batches(self) -> int:
        """Number of minibatches."""
        return len(self.batches)

    def _loss(self, w: Tensor, number: int) -> Tensor:
        inputs, targets = (rows_of(part, self._count, self.batches[number]) for part in self._data)
        losses, weight = self._losses(self._call.with_parameters(self.space.unflatten(w), inputs), targets)
        return losses.sum() / total_weight(weight)

    def batch_losses(self, w: Float[Tensor, "*points N"]) -> Float[Tensor, "*points batches"]:
        """``w[..., N] -> L^mu[..., batches]``."""
        points = w.reshape(-1, w.shape[-1])
        rows = [torch.stack([self._loss(point, n) for n in range(len(self.batches))]) for point in points]
        return torch.stack(rows).reshape(*w.shape[:-1], len(self.batches))

    def __call__(self, w: Float[Tensor, "*points N"]) -> Float[Tensor, "*points"]:
        """Mean of the minibatch losses."""
        return self.batch_losses(w).mean(dim=-1)

    def batch_gradients(self, w: Float[Tensor, " N"]) -> Iterator[Float[Tensor, " N"]]:
        r"""The gradients :math:`\nabla L^\mu(w)`, one minibatch after another."""
        for number in range(len(self.batches)):
            leaf = w.detach().clone().requires_grad_()
            with torch.enable_grad():
                yield torch.autograd.grad(self._loss(leaf, number), leaf)[0]

    def batch_hessian_vector_product(
        self, w: Float[Tensor, " N"], number: int, vector: Float[Tensor, " N"]
    ) -> Float[Tensor, " N"]:
        r"""The product :math:`\nabla^2 L^\mu(w)\, v` of one minibatch, by its number."""
        leaf = w.detach().clone().requires_grad_()
        with torch.enable_grad():
            return hessian_times(self._loss(leaf, number), leaf, vector)

    def hessian_vector_product(self, w: Float[Tensor, " N"], vector: Float[Tensor, " N"]) -> Float[Tensor, " N"]:
        """Product of a vector and the Hessian of the mean, summed in float64."""
        total = torch.zeros_like(w, dtype=torch.float64)
        for number in range(len(self.batches)):
            total += self.batch_hessian_vector_product(w, number, vector).double()
        return (total / len(self.batches)).to(w)
