"""The separable model of a window: whether all modes relax alike, and the random-matrix correction where they do."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator

import torch
from jaxtyping import Float
from scipy import stats
from torch import Tensor

from landscope._checks import check_count, check_seed, check_share, generator_of
from landscope.errors import InputError

__all__ = [
    "Separability",
    "mode_overlaps",
    "population_variances",
    "separability",
    "separable_variances",
    "temporal_spectrum",
]

_MOST_DIRECTIONS = 200
_ROWS_A_DIRECTION = 4
_FEWEST_DIRECTIONS = 4
_FEWEST_FREQUENCIES = 40
_CUTS = (4, 16, 64)
_FEWEST_LOW = 8
_STEP = 1.02
_FAR = 1e4
_NEWTON_STEPS = 40


@dataclasses.dataclass(frozen=True)
class Separability:
    """Whether large and small modes share one spectrum in time.

    Args:
        contrast: Probability that the ratio of the power of large modes to that of small ones is larger at a higher
            frequency than at a lower one, minus the opposite probability, at the cut that says most: 0 for a separable
            window, positive where small modes relax more slowly.
        p_value: Probability of so large a contrast, either way, in a separable window, after three cuts; NaN where
            the window is too short.
        level: Probability below which the model is rejected.
        n_directions: Directions that the test compares: the first quarter with the last one.
    """

    contrast: float
    p_value: float
    level: float
    n_directions: int

    @property
    def holds(self) -> bool:
        """Whether the test was made and does not reject the model."""
        return self.p_value >= self.level

    @property
    def reason(self) -> str:
        """Why the separable correction does not apply; empty where it does."""
        if math.isnan(self.p_value):
            return "the window is too short to test whether all modes relax alike"
        if self.holds:
            return ""
        slow = "small" if self.contrast > 0 else "large"
        return (
            f"modes do not relax alike: those of {slow} variance are slower (contrast {self.contrast:+.2f}, "
            f"p = {self.p_value:.1g}, rejected below {self.level:g})"
        )


def separability(amplitudes: Float[Tensor, "f k"], *, level: float = 0.01, seed: int = 0) -> Separability:
    r"""Test whether a window is separable: one covariance over weights times one correlation in time.

    A separable window has amplitudes :math:`y_f = \sqrt{a_f}\, \Sigma^{1/2} z_f` with z_f of one law. Modes come from
    the odd frequencies (after a random projection to at most 200 dimensions, which keeps the model), powers from the
    even ones:

    .. math:: R_f = \ln \sum_{i\ \mathrm{large}} \frac{(y_f \cdot p_i)^2}{\lambda_i}
                  - \ln \sum_{i\ \mathrm{small}} \frac{(y_f \cdot p_i)^2}{\lambda_i}

    over the first and the last quarter of the modes. The factor a_f cancels, so the R_f are independent and of one law,
    whatever A and Sigma are. Mann and Whitney's test compares the lowest 1/4, 1/16 and 1/64 of the frequencies with the
    others; the smallest of the p-values counts three times (Bonferroni). In-sample modes would not do: a mode of large
    variance prefers the strong frequencies also in a separable window.

    Args:
        amplitudes: Amplitudes along all principal modes, from ``landscope.noise.held_out.cosine_amplitudes``.
        level: Probability of rejecting a separable window.
        seed: Seed of the projection.

    Returns:
        The test; its p-value is NaN where the window has fewer than 40 even frequencies or the test fewer than 4
        directions.

    Example:
        >>> from landscope.noise.held_out import cosine_amplitudes
        >>> from landscope.synthetic import autoregressive
        >>> alike = autoregressive(torch.full((30,), 0.9), 1000, seed=0)
        >>> separability(cosine_amplitudes(alike)).holds
        True
        >>> unlike = autoregressive(torch.linspace(0.9, 0.1, 30), 1000, seed=0)
        >>> separability(cosine_amplitudes(unlike)).holds
        False
    """
    check_share("level", level)
    check_seed(seed)
    odd, even = amplitudes[::2], amplitudes[1::2]
    count = min(_MOST_DIRECTIONS, amplitudes.shape[1], len(odd) // _ROWS_A_DIRECTION)
    if count < _FEWEST_DIRECTIONS or len(even) < _FEWEST_FREQUENCIES:
        return Separability(math.nan, math.nan, level, max(count, 0))
    if count < amplitudes.shape[1]:
        generator = generator_of(seed)
        mixed = torch.randn(amplitudes.shape[1], count, dtype=torch.float64, generator=generator)
        odd, even = odd @ mixed, even @ mixed
    rising, vectors = torch.linalg.eigh(odd.T @ odd)
    powers = (even @ vectors).square() / rising
    part = max(1, count // 4)
    ratio = powers[:, -part:].sum(dim=1).log() - powers[:, :part].sum(dim=1).log()
    found = [_contrast(ratio, len(ratio) // cut) for cut in _CUTS if len(ratio) // cut >= _FEWEST_LOW]
    p_value, contrast = min(found)
    return Separability(contrast, min(1.0, len(found) * p_value), level, count)


def _contrast(ratio: Float[Tensor, " n"], low: int) -> tuple[float, float]:
    """The p-value of the low frequencies against the high ones, and the contrast."""
    test = stats.mannwhitneyu(ratio[low:].numpy(), ratio[:low].numpy(), method="asymptotic")
    return float(test.pvalue), 2 * float(test.statistic) / (low * (len(ratio) - low)) - 1


def temporal_spectrum(amplitudes: Float[Tensor, "f k"]) -> Float[Tensor, " f"]:
    r"""The eigenvalues a_f of the temporal correlation of a separable window, measured at each frequency.

    .. math:: a_f \propto \frac{q_f}{1 - q_f}, \qquad q_f = \frac1T\, y_f^\top (E + \lambda_{K/2})^{-1} y_f

    is the power of frequency f, whitened by the covariance of the *other* frequencies with the median eigenvalue as a
    ridge (Sherman and Morrison). It is averaged over frequencies within a quarter of f on either side.

    Args:
        amplitudes: Amplitudes along all principal modes that move.

    Returns:
        a_f with :math:`\sum_f a_f = T`, so that the other factor is the covariance that a window of this length shows.

    Example:
        >>> from landscope.synthetic import autoregressive
        >>> from landscope.noise.held_out import cosine_amplitudes
        >>> found = temporal_spectrum(cosine_amplitudes(autoregressive(torch.full((40,), 0.5), 500, seed=0)))
        >>> round(float(found[:25].mean() / found[-25:].mean())) in (8, 9, 10)  # ((1 + 0.5)/(1 - 0.5))^2 = 9
        True
    """
    rows = len(amplitudes) + 1
    variance = amplitudes.square().sum(dim=0) / rows
    ridge = variance[len(variance) // 2]
    q = (amplitudes.square() @ (1 / (variance + ridge))) / rows
    power = q / (1 - q)
    total = torch.cat([torch.zeros(1, dtype=torch.float64), power.cumsum(dim=0)])
    frequency = torch.arange(len(power))
    reach = (frequency + 1) // 4
    first, last = (frequency - reach).clamp(min=0), (frequency + reach + 1).clamp(max=len(power))
    smooth = (total[last] - total[first]) / (last - first)
    return smooth * (rows / smooth.sum())


def separable_variances(
    variance: Float[Tensor, " k"], temporal: Float[Tensor, " f"], n_modes: int, bandwidth: float = 0.3
) -> Float[Tensor, " m"]:
    r"""Variances in fresh data along in-sample modes of a separable window, by random-matrix theory.

    For :math:`X = A^{1/2} Z \Sigma^{1/2}` with many rows and weights, the resolvent of the sample covariance fulfils

    .. math:: \frac1T \sum_f \frac{a_f e}{1 + a_f e} = \frac1T \sum_j \frac{\lambda_j}{\lambda_j - z},
              \qquad e(z) = \tfrac1T \operatorname{tr} \Sigma (E - z)^{-1},

    where the right side is known from the sample eigenvalues. Near an eigenvalue
    :math:`\xi = p^\top \Sigma\, p = \operatorname{Im} z e/\operatorname{Im} z g`, :math:`g = \frac1T \operatorname{tr}
    (E - z)^{-1}` (Burda and Jarosz, Phys. Rev. E 105, 034136, 2022). For a_f = 1 it is
    :math:`\lambda/|1 - \frac1T \sum_j \lambda_j/(\lambda_j - \lambda)|^2` (Ledoit and Péché, 2011). It is evaluated at
    :math:`z = \lambda (1 + i h)`, with the weights of ``landscope.noise.held_out.held_out_powers``. Where few
    frequencies hold most of the motion, a narrow bandwidth holds too few eigenvalues and the solution is noise; h = 0.3
    keeps relaxation times of a fortieth of the window.

    Args:
        variance: All eigenvalues lambda_j of the window that move, falling.
        temporal: Eigenvalues a_f of the temporal correlation, with the sum T, from :func:`temporal_spectrum`.
        n_modes: Number of modes to correct, from the first.
        bandwidth: h.

    Returns:
        xi_k; NaN where the equation has no solution for these eigenvalues.

    Raises:
        InputError: If the temporal eigenvalues are not positive or ``n_modes`` is too large.

    Example:
        With rows that are independent and far more numerous than the weights there is nothing to correct.

        >>> eigenvalues = torch.tensor([4.0, 2.0, 1.0]).double()
        >>> [round(x, 1) for x in separable_variances(eigenvalues, torch.ones(5000).double(), 3, 0.01).tolist()]
        [4.0, 2.0, 1.0]
    """
    found = []
    for z, e, slope in _resolvents(variance, temporal, n_modes, bandwidth):
        rows = len(temporal) + 1
        every = _squared_kernel(z, (1 / (variance - z)).sum() / rows, (1 / (variance - z).square()).sum() / rows)
        found.append(float(_squared_kernel(z, e, slope) / every))
    values = torch.tensor(found, dtype=torch.float64)
    return torch.where(values > 0, values, math.nan)


def mode_overlaps(
    variance: Float[Tensor, " k"],
    temporal: Float[Tensor, " f"],
    population: Float[Tensor, " n"],
    n_modes: int,
    bandwidth: float = 0.3,
) -> Float[Tensor, "m n"]:
    r"""Expected squared overlaps of the modes of a separable window with the modes of its population.

    The resolvent of the window is that of the population at another place, with e(z) as in :func:`separable_variances`:

    .. math:: (E - z)^{-1} \approx (w \Sigma - z)^{-1}, \quad w(z) = \frac1T \sum_f \frac{a_f}{1 + a_f e}, \qquad
              \left\langle (p_i \cdot u_j)^2 \right\rangle = \frac{\operatorname{Im} (c_j w - z)^{-1}}
              {\sum_k \operatorname{Im} (c_k w - z)^{-1}}

    near :math:`z = \lambda_i`, for the population mode u_j of variance c_j. For independent rows these are the overlaps
    of Ledoit and Péché (2011) and of Bun, Bouchaud and Potters (Phys. Rep. 666, 1, 2017, section 6). As a function of
    c they are a Lorentzian about Re z/w (:func:`population_variances`): a sample mode mixes the population modes within
    Im z/w of it.

    Args:
        variance: All eigenvalues of the window that move, falling.
        temporal: Eigenvalues a_f of the temporal correlation, with the sum T, from :func:`temporal_spectrum`.
        population: Variances c_j of *all* population modes that move.
        n_modes: Number of sample modes, from the first.
        bandwidth: Relative distance of eigenvalues over which sample modes are averaged.

    Returns:
        The overlaps; each row has the sum 1, and is NaN where the equation has no solution.

    Raises:
        InputError: If the temporal eigenvalues are not positive or ``n_modes`` is too large.

    Example:
        With rows that are independent and far more numerous than the weights, sample modes are those of the population.

        >>> variances = torch.tensor([4.0, 2.0, 1.0]).double()
        >>> found = mode_overlaps(variances, torch.ones(5000).double(), variances, 3, 0.01)
        >>> bool((found.diagonal() > 0.99).all())
        True
    """
    rows = []
    for z, e, slope in _resolvents(variance, temporal, n_modes, bandwidth):
        w, w_slope = _place(temporal, e, slope)
        apart = population * w - z
        own = _squared_kernel(z, 1 / apart, (1 - population * w_slope) / apart.square())
        rows.append(own / own.sum())
    return torch.stack(rows)


def population_variances(
    variance: Float[Tensor, " k"], temporal: Float[Tensor, " f"], n_modes: int, bandwidth: float = 0.3
) -> Float[Tensor, " m"]:
    r"""Variances of the population modes that the modes of a separable window are made of: Re z/w at each eigenvalue.

    They are the middles of the Lorentzians of :func:`mode_overlaps`, an estimate of the spectrum of the population.

    Args:
        variance: All eigenvalues of the window that move, falling.
        temporal: Eigenvalues a_f of the temporal correlation, from :func:`temporal_spectrum`.
        n_modes: Number of modes, from the first.
        bandwidth: Relative distance of eigenvalues over which modes are averaged.

    Returns:
        c_i; NaN where the equation has no solution.

    Example:
        >>> eigenvalues = torch.tensor([4.0, 2.0, 1.0]).double()
        >>> [round(c, 1) for c in population_variances(eigenvalues, torch.ones(5000).double(), 3, 0.01).tolist()]
        [4.0, 2.0, 1.0]
    """
    places = [z / _place(temporal, e, slope)[0] for z, e, slope in _resolvents(variance, temporal, n_modes, bandwidth)]
    return torch.stack(places).real


def _place(temporal: Tensor, e: Tensor, slope: Tensor) -> tuple[Tensor, Tensor]:
    """The factor w, and its derivative in z."""
    denominator, rows = 1 + temporal * e, len(temporal) + 1
    return (temporal / denominator).sum() / rows, -(temporal / denominator).square().sum() / rows * slope


def _resolvents(
    variance: Float[Tensor, " k"], temporal: Float[Tensor, " f"], n_modes: int, bandwidth: float
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """The place z beside each eigenvalue, with e(z) and its derivative."""
    count = check_count("n_modes", n_modes, minimum=1, maximum=len(variance))
    if not bool((temporal > 0).all()):
        raise InputError(
            expected="positive temporal eigenvalues", got=f"{float(temporal.min()):.3g}", hint="Leave out the mean."
        )
    rows, place = len(temporal) + 1, _FAR * float(variance[0])
    e = _sums(variance, place, bandwidth, rows)[0]
    for target in variance[:count].tolist():
        # The solution is continuous in z, and for large z it is the right side itself.
        steps = max(1, math.ceil(math.log(max(place / target, 1.0)) / math.log(_STEP)))
        slope = e
        for number in range(steps, 0, -1):
            at = target * (place / target) ** ((number - 1) / steps)
            right, slope = _sums(variance, at, bandwidth, rows)
            e = _solved(e, right, temporal, rows)
        place = target
        left_slope = (temporal / (1 + temporal * e).square()).sum() / rows
        yield (
            torch.complex(torch.tensor(target).double(), torch.tensor(bandwidth * target).double()),
            e,
            slope / left_slope,
        )


def _sums(variance: Tensor, at: float, bandwidth: float, rows: int) -> tuple[Tensor, Tensor]:
    """The right side at z = at (1 + i h), and its derivative."""
    apart = variance - complex(at, bandwidth * at)
    return (variance / apart).sum() / rows, (variance / apart.square()).sum() / rows


def _solved(e: Tensor, right: Tensor, temporal: Tensor, rows: int) -> Tensor:
    """Newton's iteration from a neighbouring solution; NaN where it does not settle in the upper half-plane."""
    for _ in range(_NEWTON_STEPS):
        denominator = 1 + temporal * e
        step = ((temporal * e / denominator).sum() / rows - right) / ((temporal / denominator.square()).sum() / rows)
        e = e - step
        if float(step.abs()) <= 1e-12 * float(e.abs()):
            return e if float(e.imag) > 0 else e * math.nan
    return e * math.nan


def _squared_kernel(z: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """See ``held_out._weighted``."""
    return (z * first).imag - z.imag * (first + z * second).real
