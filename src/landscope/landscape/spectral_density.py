"""The spectral density of the Hessian or the Gauss-Newton matrix, by stochastic Lanczos quadrature."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from landscope._checks import check_count, check_one_point, check_point, check_positive, check_vector, generator_of
from landscope._names import CurvatureMatrix
from landscope.directions.lanczos import Lanczos
from landscope.directions.matrix_product import MatrixProduct, matrix_product
from landscope.directions.orthonormal_rows import check_vectors_fit
from landscope.full_precision import full_precision
from landscope.protocols import LossLandscape, ProgressCallback, silent
from landscope.results import Result, described, stamp

__all__ = ["SpectralDensity", "spectral_density"]

_WIDTH = 0.01
"""Width of the kernel as a share of the range of the spectrum."""

_POINTS = 1001
_RESOLVED = 0.01


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class SpectralDensity(
    Result, kind="spectral_density", dims=dict.fromkeys(("nodes", "weights", "residuals"), ("probe", "step"))
):
    """Quadratures of the spectral density, one for each random vector.

    Sums over the probes are unbiased up to polynomials of degree 2 n_steps - 1 in the eigenvalues; standard errors come
    from the spread over the probes.

    Args:
        nodes: Ritz values theta of each probe, ascending, ``[probes, steps]``, in units of the matrix.
        weights: Share of the spectrum at each node, ``[probes, steps]``, 1 in all for a probe; 0 at nodes that are
            missing because the iterations came to an end.
        residuals: Norm of A p - theta p of the Ritz vector p of each node, ``[probes, steps]``.
        dim: Number N of weights, and of eigenvalues.
        matrix: ``"hessian"`` or ``"gauss-newton"``.
        n_products: Number of products with the matrix.
    """

    nodes: Float[Tensor, "probes steps"]
    weights: Float[Tensor, "probes steps"]
    residuals: Float[Tensor, "probes steps"]
    dim: int
    matrix: str
    n_products: int

    @property
    def largest(self) -> tuple[float, float]:
        """The largest Ritz value, a lower bound of the largest eigenvalue, and its residual."""
        return self._outermost(self.nodes.argmax())

    @property
    def smallest(self) -> tuple[float, float]:
        """The smallest Ritz value, an upper bound of the smallest eigenvalue, and its residual."""
        return self._outermost(self.nodes.argmin())

    def _outermost(self, place: Tensor) -> tuple[float, float]:
        return float(self.nodes.flatten()[place]), float(self.residuals.flatten()[place])

    @property
    def resolved(self) -> Float[Tensor, " k"]:
        """Single eigenvalues: nodes of the first probe with a residual below 1 % of the distance to the next node."""
        nodes = self.nodes[0][self.weights[0] > 0]
        apart = torch.nn.functional.pad(nodes.diff(), (1, 1), value=torch.inf)
        return nodes[self.residuals[0][: len(nodes)] < _RESOLVED * torch.minimum(apart[:-1], apart[1:])]

    def sum_over(self, function: Callable[[Tensor], Tensor]) -> tuple[float, float]:
        r"""The sum of a function over all N eigenvalues, :math:`\operatorname{tr} f(A)`, and its standard error.

        Args:
            function: ``f(eigenvalues) -> values`` of the same shape.

        Returns:
            The sum and its standard error.

        Example:
            >>> from landscope.synthetic import QuadraticBowl
            >>> bowl = QuadraticBowl(torch.tensor([1.0, 1.0, 3.0]).double())
            >>> found = spectral_density(bowl, torch.zeros(3).double(), n_probes=400, n_steps=2)
            >>> value, stderr = found.sum_over(lambda x: x / (x + 1))  # 0.5 + 0.5 + 0.75
            >>> abs(value - 1.75) < 4 * stderr
            True
        """
        mean, stderr = _mean_and_error((self.weights * function(self.nodes)).sum(dim=1))
        return self.dim * float(mean), self.dim * float(stderr)

    def share_below(
        self, values: Float[Tensor, " points"]
    ) -> tuple[Float[Tensor, " points"], Float[Tensor, " points"], Float[Tensor, " points"]]:
        r"""Bounds of the share of the eigenvalues below each of some values.

        The spectrum that a probe sees has a share below t between the weights of all nodes below t but the nearest, and
        the weights of these and the nearest above (Chebyshev, Markov and Stieltjes). More steps bring the bounds
        together, except at an eigenvalue that many weights share.

        Args:
            values: Upper limits t of the eigenvalues.

        Returns:
            Lower bounds, upper bounds, and the larger of their standard errors.

        Raises:
            InputError: If the values are no vector of a floating-point dtype.

        Example:
            >>> from landscope.synthetic import QuadraticBowl
            >>> bowl = QuadraticBowl(torch.linspace(-1, 3, 400).double())
            >>> low, high, stderr = spectral_density(bowl, torch.zeros(400).double()).share_below(torch.zeros(1))
            >>> bool(low - 4 * stderr < 0.25) and bool(0.25 < high + 4 * stderr), bool(high - low < 0.05)
            (True, True)
        """
        values = _points("values", values)
        sums = torch.nn.functional.pad(self.weights.cumsum(dim=1), (1, 0))
        below = (self._places[:, None] < values[:, None]).sum(dim=2)
        low, low_error = _mean_and_error(sums.gather(1, (below - 1).clamp(min=0)))
        high, high_error = _mean_and_error(sums.gather(1, (below + 1).clamp(max=sums.shape[1] - 1)))
        return low, high.clamp(max=1), torch.maximum(low_error, high_error)

    @property
    def _places(self) -> Float[Tensor, "probes steps"]:
        """The nodes; those that are missing lie above all others."""
        return torch.where(self.weights > 0, self.nodes, torch.inf)

    def density(
        self, grid: Float[Tensor, " points"] | None = None, *, width: float | None = None
    ) -> tuple[Float[Tensor, " points"], Float[Tensor, " points"], Float[Tensor, " points"]]:
        r"""The density, smoothed by a Gaussian kernel.

        .. math:: \phi(t) = \frac1N \sum_i \frac{1}{\sqrt{2\pi}\,\sigma} e^{-(t - \lambda_i)^2 / 2\sigma^2}

        Args:
            grid: Points t; 1001 over the spectrum by default.
            width: sigma, in units of the matrix; 1 % of the range of the nodes by default.

        Returns:
            The points, the density at them, which integrates to 1, and its standard error.

        Raises:
            InputError: If the width is not positive.
        """
        low, high = float(self.nodes.min()), float(self.nodes.max())
        reach = (high - low) or max(abs(high), 1.0)
        width = check_positive("width", _WIDTH * reach if width is None else width)
        if grid is None:
            grid = torch.linspace(low - 5 * width, high + 5 * width, _POINTS, dtype=torch.float64)
        grid = _points("grid", grid)
        rows = [
            torch.exp(-((grid[:, None] - nodes) / width).square() / 2) @ weights
            for nodes, weights in zip(self.nodes, self.weights, strict=True)
        ]
        mean, stderr = _mean_and_error(torch.stack(rows) / (math.sqrt(2 * math.pi) * width))
        return grid, mean, stderr


def _points(name: str, values: Tensor) -> Tensor:
    """Points on the axis of the eigenvalues; they may be infinite."""
    return check_one_point(name, check_vector(name, values, is_finite=True)).cpu().double()


def _mean_and_error(by_probe: Tensor) -> tuple[Tensor, Tensor]:
    return by_probe.mean(dim=0), by_probe.std(dim=0) / math.sqrt(len(by_probe))


def spectral_density(
    landscape: LossLandscape,
    w0: Float[Tensor, " N"],
    *,
    matrix: CurvatureMatrix = "hessian",
    n_probes: int = 8,
    n_steps: int = 64,
    seed: int = 0,
    progress: ProgressCallback = silent,
) -> SpectralDensity:
    r"""The spectral density of the Hessian by stochastic Lanczos quadrature, with errors over random vectors.

    .. math:: \frac1N \sum_i f(\lambda_i) \approx \frac{1}{n} \sum_{v} v^\top f(A)\, v
              \approx \frac{1}{n} \sum_{v} \sum_k \tau_{vk}^2 f(\theta_{vk})

    with n random unit vectors v, and theta and tau the eigenvalues, and first components of the eigenvectors, of the
    tridiagonal matrix after n_steps Lanczos steps from v (Lin, Saad & Yang, SIAM Review 2016; Ghorbani, Krishnan &
    Xiao, ICML 2019). All vectors are orthogonalised against all others, so that no eigenvalue occurs twice. The mean
    over v has the variance :math:`\frac{2}{n(N + 2)} (\overline{f^2} - \bar f^2)`, which is small where N is large.

    The cost is n_probes x n_steps products, of about two gradients each; n_steps vectors are held on the device of w0.

    Args:
        landscape: A landscape with ``hessian_vector_product``, or any that torch can differentiate twice; the risk of a
            model for the Gauss-Newton matrix.
        w0: Weights at which the matrix is taken.
        matrix: ``"hessian"`` or ``"gauss-newton"``, see :func:`landscope.directions.gauss_newton`.
        n_probes: Number n of random vectors, at least 2.
        n_steps: Lanczos steps of each, at least 2; no more than N are taken. More resolve finer structure.
        seed: Random seed of the vectors.
        progress: Callback for the number of completed products.

    Returns:
        The quadratures, with the density, sums over eigenvalues and the ends of the spectrum.

    Raises:
        InputError: If a number is out of its range, the vectors do not fit into memory, or the landscape does not have
            the matrix.
        NonFiniteError: If w0 or a product is not finite.

    Example:
        >>> import torch
        >>> from landscope.synthetic import QuadraticBowl
        >>> bowl = QuadraticBowl(torch.linspace(-1, 3, 400).double())
        >>> found = spectral_density(bowl, torch.zeros(400).double())
        >>> trace, stderr = found.sum_over(lambda eigenvalue: eigenvalue)
        >>> abs(trace - 400) < 4 * stderr, round(found.smallest[0], 3), round(found.largest[0], 3)
        (True, -1.0, 3.0)
    """
    w0 = check_point(w0)
    check_count("n_probes", n_probes, minimum=2, hint="The errors come from their spread.")
    n_steps = min(check_count("n_steps", n_steps, minimum=2), len(w0))
    product = matrix_product(landscape, w0, matrix)
    check_vectors_fit(n_steps + 1, w0, "Take a smaller n_steps.")
    generator, rules, done = generator_of(seed), [], 0
    for number in range(n_probes):
        start = torch.randn(len(w0), dtype=torch.float64, generator=generator).to(w0)
        with full_precision():
            rule, taken = _quadrature(
                product, start, n_steps, lambda step, n=number: progress(n * n_steps + step, n_probes * n_steps)
            )
        rules.append(rule)
        done += taken
    nodes, weights, residuals = (torch.stack(parts) for parts in zip(*rules, strict=True))
    return SpectralDensity(
        nodes=nodes, weights=weights, residuals=residuals, dim=len(w0), matrix=matrix, n_products=done,
        provenance=stamp(n_probes=n_probes, n_steps=n_steps, seed=seed, landscape=described(landscape)),
    )  # fmt: skip


def _quadrature(
    product: MatrixProduct, start: Tensor, n_steps: int, progress: Callable[[int], None]
) -> tuple[tuple[Tensor, Tensor, Tensor], int]:
    """Nodes, weights and residuals of one vector, padded to as many as steps; the number of products."""
    space = Lanczos(product, start)
    while len(space) < n_steps and space.extend():
        progress(len(space))
    progress(n_steps)
    pairs = space.ritz()
    missing = n_steps - len(space)
    # A missing node has no weight, and the place of another, which leaves the ends of the spectrum as they are.
    nodes = torch.cat([pairs.values, pairs.values[-1:].expand(missing)])
    residuals = torch.cat([pairs.residuals, pairs.residuals[-1:].expand(missing)])
    weights = torch.nn.functional.pad(pairs.vectors[0].square(), (0, missing))
    return (nodes, weights, residuals), space.n_products
