"""The trace of the Hessian or the Gauss-Newton matrix, from products with random vectors."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from landscope._checks import check_count, check_point, generator_of
from landscope._names import CurvatureMatrix
from landscope.directions.matrix_product import finite_product, matrix_product
from landscope.directions.orthonormal_rows import check_vectors_fit
from landscope.full_precision import full_precision
from landscope.landscape.leave_one_out import Counted, ProductSpace, product_space
from landscope.protocols import LossLandscape, ProgressCallback, silent
from landscope.results import Result, described, stamp

__all__ = ["Trace", "trace"]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Trace(Result, kind="trace", dims={"by_probe": ("probe",)}):
    """An estimate of the trace of a matrix.

    Args:
        value: The estimate, in units of the matrix.
        stderr: Its standard error, from the spread over the probes.
        by_probe: The estimate that leaves each probe out of the basis, ``[probes]``; the value is their mean.
        dim: Number N of weights.
        matrix: ``"hessian"`` or ``"gauss-newton"``.
        n_products: Number of products with the matrix.
    """

    value: float
    stderr: float
    by_probe: Float[Tensor, " probes"]
    dim: int
    matrix: str
    n_products: int


def trace(
    landscape: LossLandscape,
    w0: Float[Tensor, " N"],
    *,
    matrix: CurvatureMatrix = "hessian",
    n_probes: int = 16,
    seed: int = 0,
    progress: ProgressCallback = silent,
) -> Trace:
    r"""Estimate the trace of the Hessian by XTrace (Epperly, Tropp & Webber, SIAM J. Matrix Anal. Appl. 2024).

    .. math:: \hat t_i = \operatorname{tr}(Q_i^\top A Q_i) + \frac{N - r_i}{|u_i|^2}\, u_i^\top A\, u_i, \qquad
              u_i = (1 - Q_i Q_i^\top)\, \omega_i

    for random vectors omega_i, where Q_i, of rank r_i, spans the products with all the others: the trace is exact in
    their space, and estimated outside of it. Each estimate is unbiased; the value is their mean. A matrix of a rank
    below ``n_probes`` has its trace to rounding. Hutchinson's estimate, the mean of :math:`\omega^\top A \omega`, and
    Hutch++ (Meyer, Musco, Musco & Woodruff 2021) have larger errors with as many products.

    The cost is 2 n_probes products, of about two gradients each; n_probes vectors are held on the device of w0.

    Args:
        landscape: A landscape with ``hessian_vector_product``, or any that torch can differentiate twice; the risk of a
            model for the Gauss-Newton matrix.
        w0: Weights at which the matrix is taken.
        matrix: ``"hessian"`` or ``"gauss-newton"``.
        n_probes: Number of random vectors, at least 2; no more than N are taken.
        seed: Random seed of the vectors.
        progress: Callback for the number of completed products.

    Returns:
        The estimate with its standard error.

    Raises:
        InputError: If a number is out of its range, the vectors do not fit into memory, or the landscape does not have
            the matrix.
        NonFiniteError: If w0 or a product is not finite.

    Example:
        >>> import torch
        >>> from landscope.synthetic import QuadraticBowl
        >>> bowl = QuadraticBowl(1 / torch.arange(1.0, 401).double())
        >>> found = trace(bowl, torch.zeros(400).double())
        >>> abs(found.value - 6.5699) < 4 * found.stderr, found.stderr < 0.1, found.n_products
        (True, True, 32)
    """
    w0 = check_point(w0)
    check_count("n_probes", n_probes, minimum=2, hint="The error comes from their spread.")
    n_probes = min(n_probes, max(2, len(w0)))
    product = matrix_product(landscape, w0, matrix)
    check_vectors_fit(n_probes, w0, "Take a smaller n_probes.")
    counted = Counted(2 * n_probes, progress)
    with full_precision():
        space = product_space(product, _on_sphere(w0, n_probes, seed), w0, counted)
        within = torch.zeros(len(space.rows), len(space.rows), dtype=torch.float64)
        for number, row in enumerate(space.rows):
            image, _ = finite_product(product, row)
            within[:, number] = space.rows.along(image)
            counted()
        probes = torch.stack([space.rows.along(probe) for probe in _on_sphere(w0, n_probes, seed)], dim=1)
    estimates = _estimates(space, (within + within.T) / 2, probes, len(w0))
    return Trace(
        value=float(estimates.mean()), stderr=float(estimates.std() / math.sqrt(n_probes)), by_probe=estimates,
        dim=len(w0), matrix=matrix, n_products=counted.done,
        provenance=stamp(n_probes=n_probes, seed=seed, landscape=described(landscape)),
    )  # fmt: skip


def _on_sphere(like: Tensor, count: int, seed: int) -> Iterator[Float[Tensor, " N"]]:
    """Random vectors of norm sqrt(N); the same ones in every call."""
    generator = generator_of(seed)
    for _ in range(count):
        probe = torch.randn(len(like), dtype=torch.float64, generator=generator)
        yield (probe * (math.sqrt(len(like)) / torch.linalg.vector_norm(probe))).to(like)


def _estimates(
    space: ProductSpace, within: Float[Tensor, "r r"], probes: Float[Tensor, "r s"], dim: int
) -> Float[Tensor, " s"]:
    """The estimates of all probes from small matrices: H = Q'AQ, W = Q' omega, and Q'A omega, the products."""
    new, products = space.new, space.products
    removed = (new * (within @ new)).sum(dim=0)
    along = probes - new * (new * probes).sum(dim=0)
    ranks = len(within) - new.square().sum(dim=0).round()
    square = dim - along.square().sum(dim=0)
    outside = (probes * products).sum(dim=0) - 2 * (along * products).sum(dim=0) + (along * (within @ along)).sum(dim=0)
    scale = torch.where(ranks < dim, (dim - ranks) / square, torch.zeros_like(square))
    return within.trace() - removed + scale * outside
