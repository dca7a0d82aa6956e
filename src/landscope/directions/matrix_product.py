"""The product of a named matrix of second derivatives with a vector, for eigenvectors and spectra."""

from __future__ import annotations

from collections.abc import Callable
from typing import get_args

import torch
from jaxtyping import Float
from torch import Tensor

from landscope._checks import check_choice, check_kind, check_landscape
from landscope._names import CurvatureMatrix
from landscope.derivatives import hessian_product
from landscope.errors import NonFiniteError
from landscope.protocols import LossLandscape
from landscope.risk.empirical import EmpiricalRisk

__all__ = ["MatrixProduct", "finite_product", "matrix_product"]

MatrixProduct = Callable[[Float[Tensor, " N"]], Float[Tensor, " N"]]
"""``product(v[N])``: a symmetric matrix times a vector."""


def matrix_product(landscape: LossLandscape, w0: Float[Tensor, " N"], matrix: CurvatureMatrix) -> MatrixProduct:
    """The product with the Hessian or the Gauss-Newton matrix at ``w0``.

    Args:
        landscape: Any landscape for the Hessian; the risk of a model for the Gauss-Newton matrix.
        w0: Weights at which the matrix is taken.
        matrix: ``"hessian"`` or ``"gauss-newton"``.

    Returns:
        The function ``v[N] -> (A v)[N]``.

    Raises:
        InputError: If the matrix has another name, or the landscape does not have it.

    Example:
        >>> import torch
        >>> from landscope.synthetic import QuadraticBowl
        >>> bowl = QuadraticBowl(torch.tensor([1.0, 5.0, 3.0]))
        >>> matrix_product(bowl, torch.zeros(3), "hessian")(torch.ones(3)).tolist()
        [1.0, 5.0, 3.0]
    """
    check_landscape(landscape)
    if check_choice("matrix", matrix, get_args(CurvatureMatrix)) == "hessian":
        product = hessian_product(landscape)
        return lambda v: product(w0, v)
    risk = check_kind("the landscape", landscape, EmpiricalRisk, hint='Take matrix="hessian" of any other landscape.')
    return lambda v: risk.gauss_newton_product(w0, v)


def finite_product(product: MatrixProduct, vector: Float[Tensor, " N"], at: str = "") -> tuple[Tensor, float]:
    """The product with a vector, in its dtype and on its device, and the norm of the product.

    Raises:
        NonFiniteError: If it has NaN or infinity; ``at`` says where.
    """
    image = product(vector).detach().to(vector)
    norm = float(torch.linalg.vector_norm(image))
    if not norm < torch.inf:
        raise NonFiniteError(
            expected="finite products with the matrix",
            got=f"a product with NaN or infinity{at}",
            hint="Take weights at which the loss and its second derivatives are finite.",
        )
    return image, norm
