"""The leading eigenvectors of the Hessian, as directions for the same analyses."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh
from torch import Tensor

from landscope._checks import check_count, check_landscape, check_seed, check_tolerance, check_vector
from landscope.derivatives import hessian_product
from landscope.directions.directions import Directions
from landscope.errors import InputError
from landscope.protocols import LossLandscape, ProgressCallback, silent
from landscope.results import stamp

__all__ = ["hessian_eigenvectors", "leading_eigenvectors"]


def hessian_eigenvectors(
    landscape: LossLandscape,
    w0: Float[Tensor, " N"],
    n_modes: int,
    *,
    rtol: float = 1e-4,
    seed: int = 0,
    progress: ProgressCallback | None = None,
) -> Directions:
    r"""The leading eigenvectors of the Hessian, :math:`\nabla^2 L(w_0)\, p_i = \lambda_i p_i`, largest lambda first.

    By Lanczos iterations on Hessian-vector products (``scipy.sparse.linalg.eigsh``).

    Args:
        landscape: A landscape with ``hessian_vector_product``, or any that torch can differentiate twice.
        w0: Weights at which the Hessian is taken.
        n_modes: Number of eigenvectors, below N.
        rtol: Accuracy of the eigenvalues, relative to the largest.
        seed: Random seed of the iterations.
        progress: Callback for the number of completed products, out of a rough estimate.

    Returns:
        The directions; their values are the curvatures, and every eigenvector has its residual.

    Raises:
        InputError: If ``n_modes`` is not between 1 and N - 1, or the iterations do not converge.

    Example:
        >>> import torch
        >>> from landscope.synthetic import QuadraticBowl
        >>> bowl = QuadraticBowl(torch.tensor([1.0, 5.0, 3.0]).double())
        >>> found = hessian_eigenvectors(bowl, torch.zeros(3).double(), 2)
        >>> [round(x, 6) for x in found.values.tolist()], bool((found.residuals < 1e-3).all())
        ([5.0, 3.0], True)
    """
    check_landscape(landscape)
    w0 = check_vector("w0", w0, dim=w0.shape[-1])
    product = hessian_product(landscape)
    return leading_eigenvectors(
        lambda v: product(w0, v), w0, n_modes, name="Hessian eigenvectors", rtol=rtol, seed=seed,
        progress=progress,
    )  # fmt: skip


def leading_eigenvectors(
    product: Callable[[Float[Tensor, " N"]], Float[Tensor, " N"]],
    like: Float[Tensor, " N"],
    n_modes: int,
    *,
    name: str,
    rtol: float = 1e-4,
    seed: int = 0,
    progress: ProgressCallback | None = None,
) -> Directions:
    """The leading eigenvectors of a symmetric matrix that is known by its products with vectors.

    Args:
        product: ``product(v[N])``: the matrix times a vector.
        like: A vector with the length, dtype and device of ``v``; the mean of the result.
        n_modes: Number of eigenvectors, below N.
        name: Name of the directions.
        rtol: Accuracy of the eigenvalues, relative to the largest.
        seed: Random seed of the iterations.
        progress: Called with the number of products done, and a rough guess of the total.

    Returns:
        The directions, with the residual of every eigenvector.

    Raises:
        InputError: If ``n_modes`` is not between 1 and N - 1, or the iterations do not converge.

    Example:
        >>> import torch
        >>> matrix = torch.diag(torch.tensor([1.0, 5.0, 3.0]).double())
        >>> basis = leading_eigenvectors(lambda v: matrix @ v, torch.zeros(3).double(), 2, name="eigenvectors")
        >>> [round(x, 6) for x in basis.values.tolist()]
        [5.0, 3.0]
    """
    dim = len(like)
    check_count("n_modes", n_modes, maximum=dim - 1)
    check_tolerance("rtol", rtol)
    multiply = _counted(_in_numpy(product, like), 4 * n_modes, progress or silent)
    # The iterations also take random vectors where products span no new direction, as in a null space.
    generator = np.random.default_rng(check_seed(seed))
    start = generator.standard_normal(dim)
    try:
        values, vectors = eigsh(_Symmetric(dim, multiply), k=n_modes, which="LA", tol=rtol, v0=start, rng=generator)
    except ArpackNoConvergence as error:
        raise InputError(
            expected=f"{n_modes} eigenvectors to converge",
            got=f"{len(error.eigenvalues)}",
            hint="Ask for fewer, or a larger rtol.",
        ) from error
    order = np.argsort(-values)
    values, vectors = values[order], vectors[:, order]
    residuals = np.array([np.linalg.norm(multiply(v) - x * v) for x, v in zip(values, vectors.T, strict=True)])
    return Directions(
        directions=torch.from_numpy(np.ascontiguousarray(vectors.T)),
        values=torch.from_numpy(values.copy()),
        residuals=torch.from_numpy(residuals / max(abs(values[0]), np.finfo(float).tiny)),
        mean=like.detach().cpu().double(),
        total=math.nan,
        name=name,
        provenance=stamp(n_modes=n_modes, rtol=rtol, seed=seed),
    )


class _Symmetric(LinearOperator):
    """A symmetric matrix of which only products are known."""

    def __init__(self, dim: int, multiply: Callable[[np.ndarray], np.ndarray]) -> None:
        super().__init__(np.float64, (dim, dim))
        self._multiply = multiply

    def _matvec(self, x: np.ndarray) -> np.ndarray:
        return self._multiply(x)


def _in_numpy(product: Callable[[Tensor], Tensor], like: Tensor) -> Callable[[np.ndarray], np.ndarray]:
    def multiply(vector: np.ndarray) -> np.ndarray:
        v = torch.from_numpy(np.asarray(vector, dtype=np.float64).ravel().copy()).to(like)
        return product(v).detach().cpu().double().numpy()

    return multiply


def _counted(
    product: Callable[[np.ndarray], np.ndarray], guess: int, progress: ProgressCallback
) -> Callable[[np.ndarray], np.ndarray]:
    done = 0

    def multiply(vector: np.ndarray) -> np.ndarray:
        nonlocal done
        done += 1
        progress(done, max(guess, done))
        return product(vector)

    return multiply
