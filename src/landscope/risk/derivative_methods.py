"""The derivatives that a risk offers, of its mean loss and of weighted sums of the losses of samples."""

from __future__ import annotations

import abc

from jaxtyping import Float, Int
from torch import Tensor

from landscope.parameters import ParameterSpace
from landscope.protocols import ProgressCallback, silent
from landscope.risk import derivatives
from landscope.risk.evaluation import BlockLosses

__all__ = ["HasDerivatives"]


class HasDerivatives(abc.ABC):
    """Derivatives of the losses of blocks of data."""

    _blocks: BlockLosses
    space: ParameterSpace

    @abc.abstractmethod
    def _checked(self, name: str, w: Tensor) -> Tensor:
        """A vector of weights, after its shape, dtype and device are checked."""

    def gradient(self, w: Float[Tensor, " N"], *, progress: ProgressCallback = silent) -> Float[Tensor, " N"]:
        """The gradient of the risk at ``w``, summed over blocks in float64, in the dtype of the model.

        ``progress`` is called with the number of completed blocks of data.
        """
        return derivatives.gradient(self._blocks, self.space, self._checked("w", w), progress)

    def hessian_vector_product(
        self, w: Float[Tensor, " N"], vector: Float[Tensor, " N"], *, progress: ProgressCallback = silent
    ) -> Float[Tensor, " N"]:
        r"""The product :math:`\nabla^2 L(w)\, v`, as the derivative of the gradient along v."""
        w, vector = self._checked("w", w), self._checked("vector", vector)
        return derivatives.hessian_vector_product(self._blocks, self.space, w, vector, progress)

    def mean_gradient(self, w: Float[Tensor, " N"], rows: Int[Tensor, " B"]) -> Float[Tensor, " N"]:
        """The gradient at ``w`` of the mean loss of some samples, by their indices in the data."""
        return derivatives.mean_gradient(self._blocks, self.space, self._checked("w", w), rows)

    def mean_hessian_vector_product(self, w: Tensor, rows: Int[Tensor, " B"], vector: Tensor) -> Tensor:
        """The Hessian at ``w[N]`` of the mean loss of some samples, times ``vector[N]``."""
        w, vector = self._checked("w", w), self._checked("vector", vector)
        return derivatives.mean_hessian_vector_product(self._blocks, self.space, w, rows, vector)

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
        return derivatives.weighted_gradient(self._blocks, self.space, self._checked("w", w), weights)
