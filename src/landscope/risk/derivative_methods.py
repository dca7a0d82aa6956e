"""The derivatives of a risk."""

from __future__ import annotations

import abc

from jaxtyping import Float
from torch import Tensor

from landscope._checks import check_one_point
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
    def checked(self, name: str, w: Tensor) -> Tensor:
        """A vector of weights, after its shape, dtype and device are checked."""

    def gradient(self, w: Float[Tensor, " N"], *, progress: ProgressCallback = silent) -> Float[Tensor, " N"]:
        """The gradient of the risk at ``w``, summed over blocks in float64, in the dtype of the model.

        ``progress`` is called with the number of completed blocks of data.
        """
        return derivatives.gradient(self._blocks, self.space, check_one_point("w", self.checked("w", w)), progress)

    def hessian_vector_product(
        self, w: Float[Tensor, " N"], vector: Float[Tensor, " N"], *, progress: ProgressCallback = silent
    ) -> Float[Tensor, " N"]:
        r"""The product :math:`\nabla^2 L(w)\, v`, as the derivative of the gradient along v."""
        w = check_one_point("w", self.checked("w", w))
        vector = check_one_point("vector", self.checked("vector", vector))
        return derivatives.hessian_vector_product(self._blocks, self.space, w, vector, progress)
