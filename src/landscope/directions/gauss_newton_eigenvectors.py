"""The eigenvectors of the Gauss-Newton matrix: the curvature without the part that may be negative."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from landscope._checks import check_kind, check_point
from landscope._names import End
from landscope.directions.directions import Directions
from landscope.directions.hessian_eigenvectors import leading_eigenvectors
from landscope.directions.matrix_product import matrix_product
from landscope.protocols import ProgressCallback
from landscope.risk.empirical import EmpiricalRisk

__all__ = ["gauss_newton_eigenvectors"]


def gauss_newton_eigenvectors(
    risk: EmpiricalRisk,
    w0: Float[Tensor, " N"],
    n_modes: int,
    *,
    which: End = "largest",
    rtol: float = 1e-4,
    n_vectors: int | None = None,
    seed: int = 0,
    progress: ProgressCallback | None = None,
) -> Directions:
    r"""The eigenvectors of the Gauss-Newton matrix at one end of its spectrum.

    .. math:: G = \frac1M \sum_k J_k^\top \frac{\partial^2 d_k}{\partial f_k^2} J_k

    with J_k the derivative of the outputs f_k of sample k, and d_k its loss; for cross-entropy the second derivative of
    the loss is diag(p) - p p'. Under cross-entropy G is also the Fisher information, and near a solution the Hessian.
    By the iterations of :func:`landscope.directions.hessian`; a product costs about as much as one with the Hessian.

    Args:
        risk: The risk of a model under any loss that can be differentiated twice.
        w0: Weights at which the matrix is taken.
        n_modes: Number of eigenvectors, at most N.
        which: ``"largest"`` or ``"smallest"``; where there are more weights than samples times outputs, the smallest
            eigenvalues are zero.
        rtol: Largest residual, see :func:`landscope.directions.hessian`.
        n_vectors: Most vectors that the iterations hold, see :func:`landscope.directions.hessian`.
        seed: Seed of the starting vector.
        progress: Callback for the number of completed products, out of a rough estimate.

    Returns:
        The directions; their values are the curvatures, and every eigenvector has its residual.

    Raises:
        InputError: If the loss is not computed from what the model returns, ``n_modes`` is not between 1 and N, the
            vectors do not fit into memory, or the iterations do not converge.

    Example:
        >>> import torch
        >>> model = torch.nn.Linear(3, 2, bias=False)
        >>> data = torch.randn(20, 3), torch.arange(20) % 2
        >>> risk = EmpiricalRisk(model, torch.nn.CrossEntropyLoss(), data)
        >>> bool((gauss_newton_eigenvectors(risk, risk.w0, 3).values > 0).all())
        True
    """
    check_kind("risk", risk, EmpiricalRisk, hint="Take directions.hessian for any other landscape.")
    w0 = check_point(w0)
    return leading_eigenvectors(
        matrix_product(risk, w0, "gauss-newton"), w0, n_modes, name="Gauss-Newton eigenvectors", which=which, rtol=rtol,
        n_vectors=n_vectors, seed=seed, progress=progress,
    )  # fmt: skip
