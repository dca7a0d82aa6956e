"""Variances of principal modes in data that did not choose them, from one window: each frequency held out in turn."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from scipy import fft
from torch import Tensor

from landscope._checks import check_count, check_share
from landscope.directions.moving import moving
from landscope.errors import InputError
from landscope.protocols import ProgressCallback, silent

__all__ = ["cosine_amplitudes", "difference_factors", "held_out_powers"]

_BLOCK_BYTES = 2**27


def cosine_amplitudes(coordinates: Float[Tensor, "T k"]) -> Float[Tensor, "f k"]:
    r"""Amplitudes of the cosines of a window, without the constant one.

    .. math:: y_f = \sqrt{\tfrac2T} \sum_{t=1}^{T} \theta(t) \cos\frac{\pi f (t - \frac12)}{T}, \qquad f = 1 \ldots T-1

    The transform is orthonormal, so :math:`\frac1T \sum_f y_f^2` is the variance about the mean of the window. The
    amplitudes of a random walk are uncorrelated, and those of an AR(1) process nearly so, whatever its relaxation time:
    cosines are the eigenvectors of the second difference with free ends.

    Args:
        coordinates: Coordinates over time, of each direction.

    Returns:
        The amplitudes, one row a frequency.

    Example:
        >>> theta = torch.tensor([[1.0], [3.0], [2.0]]).double()
        >>> round(float(cosine_amplitudes(theta).square().sum()) / 3, 12), round(float(theta.var(correction=0)), 12)
        (0.666666666667, 0.666666666667)
    """
    return torch.from_numpy(fft.dct(coordinates.double().numpy(), type=2, axis=0, norm="ortho"))[1:]


def difference_factors(rows: int) -> Float[Tensor, " f"]:
    r"""Power of the steps of a window over its own power, at each frequency: :math:`4 \sin^2(\pi f/2T)`, exactly.

    Args:
        rows: Rows T of the window.

    Returns:
        The factors of the frequencies 1 to T - 1: :math:`\sum_t (\theta_{t+1} - \theta_t)^2 = \sum_f \mu_f y_f^2`.

    Example:
        >>> [round(factor, 12) for factor in difference_factors(3).tolist()]
        [1.0, 3.0]
    """
    return 4 * torch.sin(math.pi * torch.arange(1, rows, dtype=torch.float64) / (2 * rows)).square()


def held_out_powers(
    amplitudes: Float[Tensor, "f k"],
    n_modes: int,
    bandwidth: float = 0.1,
    *,
    progress: ProgressCallback | None = None,
) -> Float[Tensor, "f m"]:
    r"""Power of every frequency along the modes that the other frequencies choose.

    .. math:: r_f(\lambda) = \frac{\sum_j w(\lambda_j^{(f)})\,(y_f \cdot p_j^{(f)})^2}{\sum_j w(\lambda_j^{(f)})},
              \qquad w(x) = \frac{x}{[(x - \lambda)^2 + h^2\lambda^2]^2}

    at each eigenvalue :math:`\lambda = \lambda_k` of the window, where :math:`\lambda_j^{(f)}, p_j^{(f)}` are the
    eigenvalues and modes of the covariance without frequency f. The modes do not know y_f, so
    :math:`\xi_k = \frac1T \sum_f r_f(\lambda_k)` estimates without selection what a fresh window shows along the modes
    near rank k: it needs amplitudes of different frequencies to be independent, as those of a stationary process or a
    walk are, and no assumption on how fast each mode relaxes.

    No second decomposition is needed. With :math:`Q = (E - z)^{-1}`, :math:`z = \lambda (1 + i h)` and
    :math:`q_f = y_f^\top Q y_f/T`, the formula of Sherman and Morrison gives
    :math:`y_f^\top Q^{(f)} y_f/T = q_f/(1 - q_f)`; its derivative in z and those of the traces give the weights w. For
    independent rows and many weights this is the shrinkage of Ledoit and Péché (Probab. Theory Relat. Fields 151, 233,
    2011), for a separable covariance that of Burda and Jarosz (Phys. Rev. E 105, 034136, 2022).

    The cost is six products of ``[T, K]`` with ``[K, m]``, K modes that move: less than the decomposition for m < K/6.

    Args:
        amplitudes: Amplitudes along *all* principal modes of the window that move, from :func:`cosine_amplitudes`.
        n_modes: Number m of modes to correct, from the first.
        bandwidth: h, the relative distance of eigenvalues over which modes are averaged.
        progress: Callback for the number of completed frequencies.

    Returns:
        r_f, one column a mode.

    Raises:
        InputError: If the columns are not the principal modes, in order, or the bandwidth is not between 0 and 1.

    Example:
        White rows of one variance: every mode has the true variance 1 in fresh data.

        >>> import landscope as ls
        >>> rows = torch.randn(400, 50, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        >>> window = ls.Trajectory.of(rows)
        >>> modes = ls.principal_modes(window)
        >>> powers = held_out_powers(cosine_amplitudes(modes.project_trajectory(window)), 50)
        >>> fresh = powers.sum(0) / 400
        >>> bool(modes.variance.max() > 1.7), bool((fresh - 1).abs().mean() < 0.1)
        (True, True)
    """
    rows = len(amplitudes) + 1
    variance = amplitudes.square().sum(dim=0) / rows
    _check_modes(variance, bandwidth)
    count = check_count("n_modes", n_modes, minimum=1, maximum=len(variance))
    centre = variance[:count]
    z = torch.complex(centre, bandwidth * centre)
    resolvent = 1 / (variance[:, None] - z)
    powers = (resolvent, resolvent.square(), resolvent**3)
    parts = [part.contiguous() for power in powers for part in (power.real, power.imag)]
    traces = [power.sum(dim=0) for power in powers[:2]]
    found = torch.empty(len(amplitudes), count, dtype=torch.float64)
    block = max(1, _BLOCK_BYTES // (128 * count))
    for first in range(0, len(amplitudes), block):
        squares = amplitudes[first : first + block].square() / rows
        real_1, imag_1, real_2, imag_2, real_3, imag_3 = (squares @ part for part in parts)
        q, q2, q3 = torch.complex(real_1, imag_1), torch.complex(real_2, imag_2), torch.complex(real_3, imag_3)
        rest = 1 - q
        own = _weighted(z, q / rest, q2 / rest.square())
        every = _weighted(z, traces[0] + q2 / rest, traces[1] + 2 * q3 / rest + (q2 / rest).square())
        found[first : first + block] = rows * own / every
        (progress or silent)(min(first + block, len(amplitudes)), len(amplitudes))
    return found


def _weighted(z: Float[Tensor, " m"] | Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Sums with the weights w, up to a factor, from those with 1/(x - z) and with 1/(x - z)^2.

    2 eta^3 x/[(x - l)^2 + eta^2]^2 = Im x/(x - z) - eta Re x/(x - z)^2, and x/(x - z) = 1 + z/(x - z).
    """
    return (z * first).imag - z.imag * (first + z * second).real


def _check_modes(variance: Tensor, bandwidth: float) -> None:
    check_share("a bandwidth", bandwidth, hint="The default is 0.1.")
    in_order = bool((variance.diff() <= 1e-6 * variance[:-1]).all())
    if not in_order or not bool(moving(variance).all()):
        raise InputError(
            expected="amplitudes along the principal modes of the window that move, largest variance first",
            got="columns in another order" if not in_order else "modes that do not move",
            hint="Pass cosine_amplitudes(modes.project_trajectory(window))[:, : modes.n_moving].",
        )
