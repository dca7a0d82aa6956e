"""The eigenvectors of the Hessian at one end of its spectrum, as directions for the same analyses."""

from __future__ import annotations

import math
from typing import get_args

import torch
from jaxtyping import Float
from torch import Tensor

from landscope._checks import check_choice, check_count, check_point, check_tolerance, generator_of
from landscope._names import End
from landscope.directions.directions import Directions
from landscope.directions.lanczos import Lanczos, basis_size, extreme_pairs
from landscope.directions.matrix_product import MatrixProduct, matrix_product
from landscope.directions.orthonormal_rows import check_vectors_fit
from landscope.full_precision import full_precision
from landscope.protocols import LossLandscape, ProgressCallback, silent
from landscope.results import stamp

__all__ = ["hessian_eigenvectors", "leading_eigenvectors"]


def hessian_eigenvectors(
    landscape: LossLandscape,
    w0: Float[Tensor, " N"],
    n_modes: int,
    *,
    which: End = "largest",
    rtol: float = 1e-4,
    n_vectors: int | None = None,
    seed: int = 0,
    progress: ProgressCallback | None = None,
) -> Directions:
    r"""The eigenvectors of the Hessian at one end of its spectrum, :math:`\nabla^2 L(w_0)\, p_i = \lambda_i p_i`.

    The smallest eigenvalues are the most negative ones, along which w0 is no minimum. The vectors come from Lanczos
    iterations with full reorthogonalisation and thick restarts (Wu & Simon 2000), which stop at the first product that
    suffices. One product costs about two gradients. Ten leading eigenvectors of a network take some 30 products, the
    smallest ones hundreds, because they lie close to others.

    Args:
        landscape: A landscape with ``hessian_vector_product``, or any that torch can differentiate twice.
        w0: Weights at which the Hessian is taken.
        n_modes: Number of eigenvectors, at most N.
        which: ``"largest"``, the largest eigenvalue first, or ``"smallest"``, the most negative one first.
        rtol: Largest residual relative to each eigenvalue; of the smallest ones, which may be zero, relative to a
            hundredth of the largest absolute eigenvalue of all where they are nearer to zero.
        n_vectors: Most vectors that the iterations hold, on the device of w0, at least n_modes + 2. More need fewer
            products. By default max(4 n_modes, 40) for the largest eigenvalues, and max(8 n_modes, 120) for the
            smallest ones.
        seed: Random seed of the iterations.
        progress: Callback for the number of completed products, out of a rough estimate.

    Returns:
        The directions; their values are the curvatures, every eigenvector has its residual, and their provenance has
        the number of products, ``n_products``.

    Raises:
        InputError: If ``n_modes`` is not between 1 and N, the vectors do not fit into memory, or the iterations do
            not converge.
        NonFiniteError: If w0 or a product is not finite.

    Example:
        >>> import torch
        >>> from landscope.synthetic import QuadraticBowl
        >>> bowl = QuadraticBowl(torch.tensor([1.0, 5.0, 3.0]).double())
        >>> found = hessian_eigenvectors(bowl, torch.zeros(3).double(), 2)
        >>> [round(x, 6) for x in found.values.tolist()], bool((found.residuals < 1e-3).all())
        ([5.0, 3.0], True)
        >>> hessian_eigenvectors(bowl, torch.zeros(3).double(), 1, which="smallest").values
        tensor([1.0000], dtype=torch.float64)
    """
    w0 = check_point(w0)
    return leading_eigenvectors(
        matrix_product(landscape, w0, "hessian"), w0, n_modes, name="Hessian eigenvectors", which=which, rtol=rtol,
        n_vectors=n_vectors, seed=seed, progress=progress,
    )  # fmt: skip


def leading_eigenvectors(
    product: MatrixProduct,
    like: Float[Tensor, " N"],
    n_modes: int,
    *,
    name: str,
    which: End = "largest",
    rtol: float = 1e-4,
    n_vectors: int | None = None,
    seed: int = 0,
    progress: ProgressCallback | None = None,
) -> Directions:
    """The outermost eigenvectors of a symmetric matrix that is known by its products with vectors.

    Args:
        product: ``product(v[N])``: the matrix times a vector.
        like: A vector with the length, dtype and device of ``v``; the mean of the result.
        n_modes: Number of eigenvectors, at most N.
        name: Name of the directions.
        which: The end of the spectrum.
        rtol: Largest residual, see :func:`hessian_eigenvectors`.
        n_vectors: Most vectors that the iterations hold, see :func:`hessian_eigenvectors`.
        seed: Random seed of the iterations.
        progress: Called with the number of products done, and a rough guess of the total.

    Returns:
        The directions, with the residual of every eigenvector.

    Raises:
        InputError: If ``n_modes`` is not between 1 and N, the vectors do not fit into memory, or the iterations do
            not converge.

    Example:
        >>> import torch
        >>> matrix = torch.diag(torch.tensor([1.0, 5.0, 3.0]).double())
        >>> basis = leading_eigenvectors(lambda v: matrix @ v, torch.zeros(3).double(), 2, name="eigenvectors")
        >>> [round(x, 6) for x in basis.values.tolist()]
        [5.0, 3.0]
    """
    dim = len(like)
    check_count("n_modes", n_modes, maximum=dim)
    check_tolerance("rtol", rtol)
    check_choice("which", which, get_args(End))
    generator = generator_of(seed)
    most = basis_size(n_modes, dim, which, n_vectors)
    check_vectors_fit(most + n_modes, like, "Ask for fewer modes, or pass a smaller n_vectors.")
    start = torch.randn(dim, dtype=torch.float64, generator=generator).to(like)
    space = Lanczos(product, start, generator)
    with full_precision():
        found = extreme_pairs(space, n_modes, which, rtol, most, progress or silent)
        rows = space.rows_of(found.pairs, found.chosen)
    return Directions(
        directions=_orthonormal(rows.cpu().double()),
        values=found.pairs.values[found.chosen],
        residuals=found.pairs.residuals[found.chosen] / max(space.norm, torch.finfo(torch.float64).tiny),
        mean=like.detach().cpu().double(),
        total=math.nan,
        name=name,
        provenance=stamp(n_modes=n_modes, which=which, rtol=rtol, seed=seed, n_products=space.n_products),
    )


def _orthonormal(rows: Float[Tensor, "k N"]) -> Float[Tensor, "k N"]:
    """Rows that are orthonormal to float32, made so to float64; each keeps its sign."""
    q, r = torch.linalg.qr(rows.T)
    return (q * r.diagonal().sign()).T.contiguous()
