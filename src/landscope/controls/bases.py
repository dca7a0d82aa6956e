"""Bases: other directions for the same analysis, and the variance of any window along them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh
from torch import Tensor

from landscope._checks import check_count, check_vector
from landscope.errors import InputError
from landscope.modes import PrincipalModes
from landscope.motion import mean_and_total_variance
from landscope.noise.batch_lines import gradients_of
from landscope.protocols import Ensemble, LossLandscape, ProgressCallback, silent
from landscope.results import Result, stamp
from landscope.trajectory import Trajectory

__all__ = ["Basis", "gradient_noise_basis", "hessian_basis", "modes_along", "random_basis", "variance_along"]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Basis(
    Result,
    kind="basis",
    dims={"directions": ("mode", "weight"), "values": ("mode",), "residuals": ("mode",)},
):
    """Orthonormal directions that were not chosen by their variance on a window.

    Args:
        directions: Unit vectors, ``[k, N]``.
        values: Their eigenvalues, falling; NaN for random directions.
        residuals: Norm of A p - value p over the largest value: 0 for an exact eigenvector.
        name: What they are.
    """

    directions: Float[Tensor, "k N"]
    values: Float[Tensor, " k"]
    residuals: Float[Tensor, " k"]
    name: str


def hessian_basis(
    landscape: LossLandscape,
    w0: Float[Tensor, " N"],
    n_modes: int,
    *,
    rtol: float = 1e-4,
    seed: int = 0,
    progress: ProgressCallback | None = None,
) -> Basis:
    r"""The leading eigenvectors of the Hessian, :math:`\nabla^2 L(w_0)\, p_i = \lambda_i p_i`, largest lambda first.

    By Lanczos iterations on Hessian-vector products (``scipy.sparse.linalg.eigsh``).

    Args:
        landscape: A landscape with ``hessian_vector_product``, or any that torch can differentiate twice.
        w0: Where.
        n_modes: How many, below N.
        rtol: Accuracy of the eigenvalues, relative to the largest.
        seed: Seed of the starting vector.
        progress: Told how many products are done, of a rough guess.

    Returns:
        The basis, with the residual of every eigenvector.

    Raises:
        InputError: If ``n_modes`` is not between 1 and N - 1, or the iterations do not converge.

    Example:
        >>> import torch
        >>> from landscope.synthetic import QuadraticBowl
        >>> bowl = QuadraticBowl(torch.tensor([1.0, 5.0, 3.0]).double())
        >>> found = hessian_basis(bowl, torch.zeros(3).double(), 2)
        >>> [round(x, 6) for x in found.values.tolist()], bool((found.residuals < 1e-3).all())
        ([5.0, 3.0], True)
    """
    w0 = check_vector("w0", w0, dim=w0.shape[-1])
    dim = len(w0)
    if not 1 <= check_count("n_modes", n_modes, minimum=1) < dim:
        raise InputError(expected=f"n_modes between 1 and {dim - 1}", got=f"{n_modes}", hint="Ask for fewer.")
    multiply = _counted(_hessian_product(landscape, w0), 4 * n_modes, progress or silent)
    start = np.random.default_rng(seed).standard_normal(dim)
    try:
        values, vectors = eigsh(_Symmetric(dim, multiply), k=n_modes, which="LA", tol=rtol, v0=start)
    except ArpackNoConvergence as error:
        raise InputError(
            expected=f"{n_modes} eigenvectors to converge",
            got=f"{len(error.eigenvalues)}",
            hint="Ask for fewer, or a larger rtol.",
        ) from error
    order = np.argsort(-values)
    values, vectors = values[order], vectors[:, order]
    residuals = np.array([np.linalg.norm(multiply(v) - x * v) for x, v in zip(values, vectors.T, strict=True)])
    return Basis(
        directions=torch.from_numpy(np.ascontiguousarray(vectors.T)),
        values=torch.from_numpy(values.copy()),
        residuals=torch.from_numpy(residuals / max(abs(values[0]), np.finfo(float).tiny)),
        name="Hessian eigenvectors",
        provenance=stamp(n_modes=n_modes, rtol=rtol, seed=seed),
    )


class _Symmetric(LinearOperator):
    """A symmetric matrix of which only products are known."""

    def __init__(self, dim: int, multiply: Callable[[np.ndarray], np.ndarray]) -> None:
        super().__init__(np.float64, (dim, dim))
        self._multiply = multiply

    def _matvec(self, x: np.ndarray) -> np.ndarray:
        return self._multiply(x)


def _hessian_product(landscape: LossLandscape, w0: Tensor) -> Callable[[np.ndarray], np.ndarray]:
    own = getattr(landscape, "hessian_vector_product", None)

    def product(vector: np.ndarray) -> np.ndarray:
        v = torch.from_numpy(np.asarray(vector, dtype=np.float64).ravel().copy()).to(w0)
        answer = own(w0, v) if own is not None else torch.func.jvp(torch.func.grad(landscape), (w0,), (v,))[1]
        return answer.detach().double().cpu().numpy()

    return product


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


def gradient_noise_basis(ensemble: Ensemble, w0: Float[Tensor, " N"], n_modes: int) -> Basis:
    r"""The leading eigenvectors of the covariance of the minibatch gradients at w0 (paper, below Eq. 4).

    Args:
        ensemble: A landscape that gives its minibatch losses.
        w0: Where.
        n_modes: How many, below the number of minibatches and at most N.

    Returns:
        The basis; its values are C_ii, without the factor alpha squared.

    Raises:
        InputError: If there are not that many.

    Example:
        >>> import torch
        >>> from landscope.synthetic import RandomSprings
        >>> springs = RandomSprings.draw(torch.tensor([1.0, 2.0, 4.0]), 50, seed=0)
        >>> found = gradient_noise_basis(springs, torch.zeros(3).double(), 2)
        >>> round(abs(float(found.directions[0, 0])), 1)
        1.0
    """
    rows = gradients_of(ensemble, w0, None)
    available = min(len(rows) - 1, rows.shape[1])
    if not 1 <= check_count("n_modes", n_modes, minimum=1) <= available:
        raise InputError(
            expected=f"n_modes of at most {available}", got=f"{n_modes}", hint="More minibatches give more directions."
        )
    _, singular, vectors = torch.linalg.svd(rows - rows.mean(dim=0), full_matrices=False)
    values = singular[:n_modes].square() / len(rows)
    return Basis(
        directions=vectors[:n_modes].contiguous(),
        values=values,
        residuals=torch.zeros_like(values),
        name="gradient-noise eigenvectors",
        provenance=stamp(n_modes=n_modes),
    )


def random_basis(dim: int, n_modes: int, *, seed: int) -> Basis:
    """Orthonormal directions drawn evenly from the sphere.

    Args:
        dim: N.
        n_modes: How many, at most N.
        seed: Seed of the draw.

    Returns:
        The basis; its values are NaN.

    Raises:
        InputError: If ``n_modes`` is not between 1 and N.

    Example:
        >>> random_basis(5, 2, seed=0).directions.shape
        torch.Size([2, 5])
    """
    if not 1 <= check_count("n_modes", n_modes, minimum=1) <= dim:
        raise InputError(expected=f"n_modes between 1 and {dim}", got=f"{n_modes}", hint="Ask for fewer.")
    normal = torch.randn(dim, n_modes, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return Basis(
        directions=torch.linalg.qr(normal).Q.T.contiguous(),
        values=torch.full((n_modes,), torch.nan, dtype=torch.float64),
        residuals=torch.full((n_modes,), torch.nan, dtype=torch.float64),
        name="random directions",
        provenance=stamp(n_modes=n_modes, seed=seed),
    )


def modes_along(basis: Basis, trajectory: Trajectory) -> PrincipalModes:
    """A basis seen as modes of a window: the same analyses take it, in the order the basis has.

    Args:
        basis: Directions.
        trajectory: The window to measure on.

    Returns:
        The directions with the variances of the window along them, which need not fall.

    Raises:
        InputError: If the window is of other weights.

    Example:
        >>> import torch
        >>> window = Trajectory.of(torch.randn(50, 3, generator=torch.Generator().manual_seed(0)))
        >>> modes_along(random_basis(3, 2, seed=0), window).variance.shape
        torch.Size([2])
    """
    if basis.directions.shape[1] != trajectory.dim:
        raise InputError(
            expected=f"a trajectory of {basis.directions.shape[1]} weights",
            got=f"one of {trajectory.dim}",
            hint="Measure along a basis of the same model and selection.",
        )
    mean, total = mean_and_total_variance(trajectory)
    modes = PrincipalModes(
        mean=mean,
        directions=basis.directions,
        variance=torch.zeros(len(basis.directions), dtype=torch.float64),
        total_variance=total,
        n_steps=len(trajectory),
        parameters=trajectory.space.names if trajectory.space is not None else (),
        provenance=stamp(basis=basis.name),
    )
    return dataclasses.replace(modes, variance=variance_along(modes, trajectory))


def variance_along(modes: PrincipalModes, trajectory: Trajectory) -> Float[Tensor, " k"]:
    r"""Variance of another window along given modes: the cross-fitted counterpart of ``modes.variance``.

    :math:`\sigma_i^2 = \frac1T \sum_t (\theta_i(t) - \bar\theta_i)^2` about the window's own mean.

    Args:
        modes: Modes found on one window.
        trajectory: Another window of the same weights.

    Returns:
        The variances, divided by T, in float64.

    Raises:
        InputError: If the trajectory is of other weights or has fewer than two rows.

    Example:
        >>> import torch
        >>> from landscope.modes import principal_modes
        >>> window = Trajectory.of(torch.randn(50, 3, generator=torch.Generator().manual_seed(0)))
        >>> modes = principal_modes(window)
        >>> torch.allclose(variance_along(modes, window), modes.variance)
        True
    """
    trajectory.check()
    return modes.project_trajectory(trajectory).var(dim=0, correction=0)
