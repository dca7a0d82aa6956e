"""The diagonal of the Hessian or the Gauss-Newton matrix, from products with random signs."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from landscope._checks import check_count, check_point, device_with_float64, generator_of
from landscope._names import CurvatureMatrix
from landscope.directions.matrix_product import finite_product, matrix_product
from landscope.directions.orthonormal_rows import check_vectors_fit
from landscope.full_precision import full_precision
from landscope.landscape.leave_one_out import Counted, ProductSpace, product_space
from landscope.protocols import LossLandscape, ProgressCallback, silent
from landscope.results import Result, described, stamp

__all__ = ["Diagonal", "diagonal"]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Diagonal(Result, kind="diagonal", axis="weight"):
    """Estimates of the diagonal elements of a matrix.

    Args:
        values: The estimates, ``[N]``, in units of the matrix.
        stderr: Standard error of each, from the spread over the probes, ``[N]``.
        matrix: ``"hessian"`` or ``"gauss-newton"``.
        n_products: Number of products with the matrix.
    """

    values: Float[Tensor, " N"]
    stderr: Float[Tensor, " N"]
    matrix: str
    n_products: int


def diagonal(
    landscape: LossLandscape,
    w0: Float[Tensor, " N"],
    *,
    matrix: CurvatureMatrix = "hessian",
    n_probes: int = 16,
    seed: int = 0,
    progress: ProgressCallback = silent,
) -> Diagonal:
    r"""Estimate the diagonal of the Hessian by XDiag (Epperly, Tropp & Webber, SIAM J. Matrix Anal. Appl. 2024).

    .. math:: \hat d_i = \operatorname{diag}(Q_i Q_i^\top A) + \omega_i \odot (1 - Q_i Q_i^\top) A\, \omega_i

    for vectors omega_i of random signs, where Q_i spans the products with all the others. Each estimate is unbiased;
    the values are their mean. A matrix of a rank below ``n_probes`` has its diagonal to rounding. The plain estimate,
    :math:`\omega \odot A \omega` (Bekas, Kokiopoulou & Saad 2007), has the variance
    :math:`\sum_{k \ne j} A_{jk}^2` at weight j.

    The cost is 2 n_probes products, of about two gradients each; 2 n_probes vectors are held on the device of w0. For
    the Gauss-Newton matrix of few outputs, ``risk.fisher_information().diagonal(w, "gauss-newton")`` is exact.

    Args:
        landscape: A landscape with ``hessian_vector_product``, or any that torch can differentiate twice; the risk of a
            model for the Gauss-Newton matrix.
        w0: Weights at which the matrix is taken.
        matrix: ``"hessian"`` or ``"gauss-newton"``.
        n_probes: Number of random vectors, at least 2; no more than N are taken.
        seed: Random seed of the vectors.
        progress: Callback for the number of completed products.

    Returns:
        An estimate and a standard error for each weight.

    Raises:
        InputError: If a number is out of its range, the vectors do not fit into memory, or the landscape does not have
            the matrix.
        NonFiniteError: If w0 or a product is not finite.

    Example:
        >>> import torch
        >>> from landscope.synthetic import QuadraticBowl
        >>> bowl = QuadraticBowl(torch.tensor([1.0, 5.0, 3.0] + 97 * [0.0]).double())
        >>> [round(x, 6) for x in diagonal(bowl, torch.zeros(100).double()).values[:4].tolist()]
        [1.0, 5.0, 3.0, 0.0]
    """
    w0 = check_point(w0)
    check_count("n_probes", n_probes, minimum=2, hint="The errors come from their spread.")
    n_probes = min(n_probes, max(2, len(w0)))
    product = matrix_product(landscape, w0, matrix)
    check_vectors_fit(2 * n_probes + 3, w0, "Take a smaller n_probes.")
    counted = Counted(2 * n_probes, progress)
    with full_precision():
        space = product_space(product, _signs(w0, n_probes, seed), w0, counted)
        images = torch.empty(len(space.rows), len(w0), dtype=w0.dtype, device=w0.device)
        for number, row in enumerate(space.rows):
            images[number], _ = finite_product(product, row)
            counted()
        values, stderr = _estimates(space, images, _signs(w0, n_probes, seed))
    return Diagonal(
        values=values.cpu().double(), stderr=stderr.cpu().double(), matrix=matrix, n_products=counted.done,
        provenance=stamp(n_probes=n_probes, seed=seed, landscape=described(landscape)),
    )  # fmt: skip


def _signs(like: Tensor, count: int, seed: int) -> Iterator[Float[Tensor, " N"]]:
    """Vectors of random signs; the same ones in every call."""
    generator = generator_of(seed)
    for _ in range(count):
        yield (2 * torch.randint(2, (len(like),), generator=generator) - 1).to(like)


def _estimates(
    space: ProductSpace, images: Float[Tensor, "r N"], probes: Iterator[Tensor]
) -> tuple[Float[Tensor, " N"], Float[Tensor, " N"]]:
    """Mean and standard error over the probes, of what each adds to diag(Q Q'A), by Welford's sums."""
    host = device_with_float64(images.device)
    total = torch.zeros(images.shape[1], dtype=torch.float64, device=host)
    mean, square = torch.zeros_like(total), torch.zeros_like(total)
    for row, image in zip(space.rows, images, strict=True):
        total += (row * image).to(host)
    count = 0
    for probe, new, image in zip(probes, space.new.T, space.products.T, strict=True):
        count += 1
        row = space.rows.combined(new[:, None])[0]
        added = (row * (probe * float(new @ image) - new.to(images) @ images)).to(host).double()
        change = added - mean
        mean += change / count
        square += change * (added - mean)
    return total + mean, (square / (count - 1) / count).sqrt()
