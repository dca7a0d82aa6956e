"""Landscapes and processes with known answers, on which every analysis is tested."""

from __future__ import annotations

import dataclasses
import math

import torch
from jaxtyping import Float
from torch import Tensor

from landscope._checks import (
    check_count,
    check_momentum,
    check_number,
    check_positive,
    check_ratio,
    check_strength,
    generator_of,
)
from landscope._names import Sampling
from landscope.errors import InputError
from landscope.sampling import MinibatchOrder
from landscope.shown import ShownByField

__all__ = [
    "InverseGaussian",
    "QuadraticBowl",
    "RandomSprings",
    "autoregressive",
    "random_walk",
    "random_walk_shares",
    "sgd_in_bowl",
    "sgd_in_springs",
    "sgd_over_epochs",
]


@dataclasses.dataclass(frozen=True, repr=False)
class QuadraticBowl(ShownByField):
    r"""The landscape :math:`L(w) = L_0 + \frac12 \sum_i \lambda_i w_i^2`.

    Its flatness at ratio e along axis i is :math:`2\sqrt{2(e-1)L_0/\lambda_i}`.

    Args:
        curvature: Curvatures lambda_i, ``[N]``.
        minimum: Minimal loss L_0.

    Example:
        >>> import torch
        >>> QuadraticBowl(torch.tensor([2.0, 8.0]), minimum=1.0)(torch.tensor([1.0, 0.5]))
        tensor(3.)
    """

    curvature: Float[Tensor, " N"]
    minimum: float = 1.0

    def __post_init__(self) -> None:
        check_number("minimum", self.minimum)

    def __call__(self, w: Float[Tensor, "*points N"]) -> Float[Tensor, "*points"]:
        """The loss at ``w``."""
        return self.minimum + 0.5 * (self.curvature.to(w.dtype) * w.square()).sum(dim=-1)

    def flatness(self, ratio: float = math.e) -> Float[Tensor, " N"]:
        """The exact flatness of every axis at the minimum, where the loss is ``ratio`` times as large.

        Raises:
            InputError: If the ratio is not above 1.
        """
        check_ratio("ratio", ratio)
        return 2 * torch.sqrt(2 * (ratio - 1) * self.minimum / self.curvature)


@dataclasses.dataclass(frozen=True, repr=False)
class InverseGaussian(ShownByField):
    r"""The landscape :math:`L(w) = L_0 \exp(\beta w_1 + \frac12 \sum_i M_i w_i^2)` (paper, Eq. 10).

    Its flatness at ratio e along axis i is :math:`\sqrt{8/M_i}`, whatever L_0 (axis 1 with beta = 0).

    Args:
        curvature: Curvatures M_i of the log-loss, ``[N]``.
        minimum: Minimal loss L_0.
        drift: Slope beta of the log-loss along the first axis.

    Example:
        >>> import torch
        >>> landscape = InverseGaussian(torch.tensor([8.0, 2.0]), minimum=0.5)
        >>> landscape.flatness().tolist()
        [1.0, 2.0]
    """

    curvature: Float[Tensor, " N"]
    minimum: float = 1.0
    drift: float = 0.0

    def __post_init__(self) -> None:
        check_positive("minimum", self.minimum)
        check_number("drift", self.drift)

    def __call__(self, w: Float[Tensor, "*points N"]) -> Float[Tensor, "*points"]:
        """The loss at ``w``."""
        return self.minimum * torch.exp(self.drift * w[..., 0] + 0.5 * (self.curvature.to(w) * w.square()).sum(dim=-1))

    def flatness(self, ratio: float = math.e) -> Float[Tensor, " N"]:
        """The exact flatness of every axis at the minimum, without drift; an InputError unless ``ratio`` is above 1."""
        check_ratio("ratio", ratio)
        return torch.sqrt(8 * math.log(ratio) / self.curvature)


@dataclasses.dataclass(frozen=True, repr=False)
class RandomSprings(ShownByField):
    r"""An ensemble of random springs (paper, Eqs. 9 and 11).

    .. math:: L^\mu(w) = L_{min}^\mu
              \exp\left[\tfrac12 \sum_{ij} M_{ij}^\mu (w_i - \theta_i^\mu)(w_j - \theta_j^\mu)\right]

    Args:
        stiffness: Symmetric stiffness matrices M^mu, ``[batches, N, N]``.
        centre: Centres theta^mu, ``[batches, N]``.
        minimum: Minimal losses L_min^mu, ``[batches]``.

    Example:
        >>> import torch
        >>> springs = RandomSprings(torch.eye(2).expand(3, 2, 2), torch.zeros(3, 2), torch.ones(3))
        >>> springs.batch_losses(torch.zeros(2)).tolist(), float(springs(torch.zeros(2)))
        ([1.0, 1.0, 1.0], 1.0)
    """

    stiffness: Float[Tensor, "b N N"]
    centre: Float[Tensor, "b N"]
    minimum: Float[Tensor, " b"]

    @classmethod
    def draw(cls, flatness: Float[Tensor, " N"], n_batches: int, *, seed: int, coupling: float = 0.0) -> RandomSprings:
        """Springs with M_ii ~ 8/F_i^2, theta_i ~ F_i/10 and lognormal minima, all independent.

        Args:
            flatness: Flatness F_i of the axes.
            n_batches: Number of springs.
            seed: Random seed.
            coupling: Size of M_ij relative to sqrt(M_ii M_jj).

        Returns:
            The ensemble, in float64.

        Raises:
            InputError: If a number is out of its range, or a flatness is not positive.
        """
        check_count("n_batches", n_batches)
        check_number("coupling", coupling)
        if not bool(((flatness > 0) & torch.isfinite(flatness)).all()):
            raise InputError(expected="a positive, finite flatness", got=f"{flatness.tolist()}", hint="Pass widths.")
        generator = generator_of(seed)

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, dtype=torch.float64, generator=generator)

        dim = len(flatness)
        scale = math.sqrt(8) / flatness.double()
        shape = coupling * normal(n_batches, dim, dim)
        shape = (shape + shape.transpose(1, 2)) / 2
        shape.diagonal(dim1=1, dim2=2).copy_((1 + 0.2 * normal(n_batches, dim)).clamp(min=0.1))
        return cls(
            shape * scale[:, None] * scale,
            0.1 * flatness.double() * normal(n_batches, dim),
            torch.exp(0.5 * normal(n_batches)),
        )

    def batch_losses(self, w: Float[Tensor, "*points N"]) -> Float[Tensor, "*points b"]:
        """The minibatch losses ``L^mu[..., b]`` at ``w`` ``[..., N]``."""
        displacement = w[..., None, :].to(self.centre) - self.centre
        energy = torch.einsum("...bi,bij,...bj->...b", displacement, self.stiffness, displacement)
        return self.minimum * torch.exp(energy / 2)

    def __call__(self, w: Float[Tensor, "*points N"]) -> Float[Tensor, "*points"]:
        """The mean over springs."""
        return self.batch_losses(w).mean(dim=-1)


def random_walk(n_steps: int, dim: int, *, seed: int, drift: float = 0.0) -> Float[Tensor, "T N"]:
    """A random walk with independent normal increments of variance 1 and a constant drift along the first axis.

    Args:
        n_steps: Number T of rows.
        dim: Dimension N.
        seed: Random seed of the increments.
        drift: Mean increment along the first axis, in standard deviations.

    Returns:
        Positions in float64.

    Raises:
        InputError: If a size is below 1.

    Example:
        >>> random_walk(4, 2, seed=0).shape
        torch.Size([4, 2])
    """
    check_count("n_steps", n_steps, minimum=1)
    check_count("dim", dim, minimum=1)
    check_number("drift", drift)
    increments = torch.randn(n_steps, dim, dtype=torch.float64, generator=generator_of(seed))
    increments[:, 0] += drift
    return increments.cumsum(dim=0)


def random_walk_shares(n_steps: int, n_modes: int) -> Float[Tensor, " k"]:
    r"""Expected shares of variance of the principal modes of a random walk in many dimensions.

    .. math:: \frac{\sigma_k^2}{\sum_j \sigma_j^2} = \frac{3}{2 (T^2 - 1) \sin^2(\pi k / 2T)}
              \;\to\; \frac{6}{\pi^2 k^2} \qquad (N \gg T)

    (Antognini & Sohl-Dickstein, arXiv 1806.08805.) They are the null hypothesis for every spectrum of a trajectory.

    Args:
        n_steps: Number T of rows in the window.
        n_modes: Number of modes, from the first.

    Returns:
        The shares, in descending order.

    Raises:
        InputError: If ``n_modes`` is not below ``n_steps``.

    Example:
        >>> round(float(random_walk_shares(1000, 1)[0]), 4)
        0.6079
    """
    check_count("n_steps", n_steps, minimum=2)
    check_count("n_modes", n_modes, maximum=n_steps - 1, hint="A window of T rows has T - 1 modes.")
    rank = torch.arange(1, n_modes + 1, dtype=torch.float64)
    return 3 / (2 * (n_steps**2 - 1) * torch.sin(math.pi * rank / (2 * n_steps)) ** 2)


def autoregressive(
    coefficient: Float[Tensor, " N"], n_steps: int, *, seed: int, noise_variance: float | Float[Tensor, " N"] = 1.0
) -> Float[Tensor, "T N"]:
    r"""Independent stationary AR(1) processes :math:`x_{t+1} = a x_t + \xi_t`, :math:`\xi \sim N(0, s^2)`.

    :math:`\sigma^2 = s^2/(1-a^2)`; the variance of the increments is :math:`2 s^2/(1+a)`. A centred window of T
    points loses the share :math:`(1+a)/((1-a)T)` of the variance.

    Args:
        coefficient: Coefficient a of each process, between -1 and 1.
        n_steps: Number T of rows.
        seed: Random seed of the noise.
        noise_variance: Variance s^2, one for all processes or one for each.

    Returns:
        The processes in float64, started from their stationary distribution.

    Raises:
        InputError: If a coefficient is not inside (-1, 1).

    Example:
        >>> import torch
        >>> autoregressive(torch.tensor([0.5]), 3, seed=0).shape
        torch.Size([3, 1])
    """
    check_count("n_steps", n_steps)
    if not isinstance(noise_variance, Tensor):
        check_strength("noise_variance", noise_variance)
    a = coefficient.double()
    if not bool((a.abs() < 1).all()):
        raise InputError(
            expected="coefficients inside (-1, 1)",
            got=f"{a.tolist()}",
            hint="Other coefficients have no stationary variance.",
        )
    generator = generator_of(seed)
    strength = torch.as_tensor(noise_variance, dtype=torch.float64).sqrt()
    noise = strength * torch.randn(n_steps, len(a), dtype=torch.float64, generator=generator)
    rows = torch.empty_like(noise)
    x = noise[0] / torch.sqrt(1 - a**2)
    for step in range(n_steps):
        rows[step] = x
        x = a * x + noise[(step + 1) % n_steps]
    return rows


def sgd_in_bowl(
    curvature: Float[Tensor, " N"], n_steps: int, *, learning_rate: float, noise_variance: float, seed: int
) -> Float[Tensor, "T N"]:
    r"""SGD on :math:`\frac12 \sum \lambda_i w_i^2` with independent gradient noise of variance s^2.

    It is the AR(1) process with :math:`a = 1 - \alpha\lambda`, so
    :math:`\sigma_i^2 = \alpha s^2 / (\lambda_i (2 - \alpha\lambda_i))`.

    Args:
        curvature: Curvatures lambda_i.
        n_steps: Number T of rows.
        learning_rate: Learning rate alpha.
        noise_variance: Variance s^2 of each component of the gradient noise.
        seed: Random seed of the noise.

    Returns:
        The weights at each step, in float64.

    Raises:
        InputError: If alpha lambda is not inside (0, 2): the iteration diverges or does not relax.

    Example:
        >>> import torch
        >>> sgd_in_bowl(torch.tensor([1.0, 4.0]), 10, learning_rate=0.1, noise_variance=1.0, seed=0).shape
        torch.Size([10, 2])
    """
    check_positive("learning_rate", learning_rate)
    check_strength("noise_variance", noise_variance)
    return autoregressive(
        1 - learning_rate * curvature.double(),
        n_steps,
        seed=seed,
        noise_variance=learning_rate**2 * noise_variance,
    )


def sgd_in_springs(
    stiffness: Float[Tensor, " N"], spread: Float[Tensor, " N"], n_steps: int, *, seed: int
) -> Float[Tensor, "T N"]:
    r"""The linear dynamics of random springs (paper, Eq. 11): :math:`\Delta\theta_i = -k_i (\theta_i - \theta_i^\mu)`.

    With independent centres of variance :math:`m_i^2`: :math:`\sigma_i^2 = k_i m_i^2/(2 - k_i)` and
    :math:`D_i = 2 k_i^2 m_i^2/(2 - k_i)`.

    Args:
        stiffness: Stiffness k_i = alpha L_0 M_ii, inside (0, 2).
        spread: Standard deviations m_i of the centres.
        n_steps: Number T of rows.
        seed: Random seed of the centres.

    Returns:
        The path of theta in float64, started from its stationary distribution.

    Raises:
        InputError: If a stiffness is not inside (0, 2).

    Example:
        >>> import torch
        >>> sgd_in_springs(torch.tensor([0.1]), torch.tensor([1.0]), 5, seed=0).shape
        torch.Size([5, 1])
    """
    k, m = stiffness.double(), spread.double()
    return autoregressive(1 - k, n_steps, seed=seed, noise_variance=(k * m) ** 2)


def sgd_over_epochs(
    gradients: Float[Tensor, "M N"],
    n_epochs: int,
    *,
    learning_rate: float,
    seed: int,
    curvature: Float[Tensor, " N"] | None = None,
    momentum: float = 0.0,
    sampling: Sampling = "reshuffled",
) -> Float[Tensor, "T N"]:
    r"""SGD on minibatch losses :math:`\tfrac12 \sum \lambda_i w_i^2 + g^\mu \cdot w`, epoch after epoch.

    Along a flat direction, a centred window of E epochs has :math:`\sigma^2/D = \frac{M+1}{6}(1 - \frac1{2E})` if the
    epochs are reshuffled, and :math:`(M+1)/12` if all epochs use one random order
    (Kühn & Rosenow, arXiv 2306.05300, for M >> 1).

    Args:
        gradients: Gradients g^mu of the M minibatches; their mean should be zero.
        n_epochs: Number E of epochs; the path has T = M E rows.
        learning_rate: Learning rate alpha.
        seed: Random seed of the order.
        curvature: Curvatures lambda_i; zero by default.
        momentum: Heavy-ball momentum.
        sampling: Order of the minibatches: "reshuffled" in every epoch, "shuffled-once", "fixed" or "with-replacement".

    Returns:
        The weights after each step, started from the origin, in float64.

    Raises:
        InputError: If a number is out of its range.

    Example:
        >>> import torch
        >>> path = sgd_over_epochs(torch.tensor([[1.0], [-1.0]]), 3, learning_rate=0.1, seed=0)
        >>> path.shape, round(float(path[-1]), 6)
        (torch.Size([6, 1]), 0.0)
    """
    check_count("n_epochs", n_epochs)
    check_positive("learning_rate", learning_rate)
    check_momentum(momentum)
    count, dim = gradients.shape
    g = gradients.double()
    curvatures = torch.zeros(dim, dtype=torch.float64) if curvature is None else curvature.double()
    order = MinibatchOrder(count, 1, sampling, seed)
    rows = torch.empty(count * n_epochs, dim, dtype=torch.float64)
    w, velocity = torch.zeros(dim, dtype=torch.float64), torch.zeros(dim, dtype=torch.float64)
    for step, batch in enumerate(torch.cat([order.epoch(epoch).flatten() for epoch in range(n_epochs)]).tolist()):
        velocity = momentum * velocity + curvatures * w + g[batch]
        w = w - learning_rate * velocity
        rows[step] = w
    return rows
