"""What the next window would show along in-sample modes, from one window alone."""

from __future__ import annotations

import dataclasses
import math

import torch
from jaxtyping import Float
from torch import Tensor

from landscope._checks import check_count, check_kind, check_seed, check_share, check_trajectory
from landscope.directions.directions import Directions
from landscope.errors import InputError
from landscope.noise.directed_drift import directed_drift
from landscope.noise.held_out import cosine_amplitudes, difference_factors, held_out_powers
from landscope.noise.mode_statistics import ModeStatistics
from landscope.noise.separable import (
    mode_overlaps,
    population_variances,
    separability,
    separable_variances,
    temporal_spectrum,
)
from landscope.protocols import ProgressCallback
from landscope.results import Result, stamp
from landscope.trajectory import Trajectory
from landscope.trajectory.spacing import check_even_rows

__all__ = ["OneWindow", "one_window_correction"]

_FOLDS = 10
_FEWEST_ROWS = 2 * _FOLDS + 1
_SEPARABLE_BANDWIDTH = 0.3
_ALIKE = math.log(2)
_STANDARD_ERRORS = 4
"""Disagreement of the separable model with the held-out frequencies that rejects it, beside the bandwidth."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class OneWindow(
    Result,
    kind="one_window",
    dims={
        **dict.fromkeys(
            ("variance", "corrected", "error", "lowest_share", "velocity_variance", "separable", "overlap"), ("mode",)
        ),
        **dict.fromkeys(("moments", "velocity_moments"), ("fold", "moment", "mode")),
    },
):
    """Variances along in-sample modes, corrected for the selection of the modes by the same window.

    Args:
        variance: sigma_i^2 in-sample, ``[m]``.
        corrected: xi_i: variance that a window of the same length shows along the mode where it did not choose it,
            averaged over modes of nearly the same sigma_i^2. No assumption on how fast each mode relaxes.
        error: Standard error of ``corrected``, from neighbouring frequencies; it leaves out how single modes scatter
            about the average.
        lowest_share: Share of the lowest frequency, half a cosine over the window, in ``corrected``: 6/pi^2 = 0.61 for
            a walk without directions. That part is one draw, or, where the run drifts, the drift.
        drift_reason: Why the window is no draw of a process at rest, so that ``corrected`` is too large; empty where it
            may be one.
        drift_coherence: How far its parts go the same way, see ``landscope.noise.directed_drift.directed_drift``.
        drift_p_value: Probability of so much without a drift.
        velocity_variance: D_i in the same sense.
        separable: The random-matrix correction for modes that all relax alike; NaN where they do not.
        separable_reason: Why the separable correction is not applicable; empty where it is.
        separable_contrast: Contrast of the test, see ``landscope.noise.separable.separability``.
        separable_p_value: Its p-value; NaN where the window is too short for the test.
        overlap: How far the modes are those of the population, in the separable model: the expected part of the square
            of each that lies in population modes of half to twice the variance ``separable``; NaN where the model does
            not apply, or the window has fewer rows than weights that move.
        moments: Parts of ``corrected`` in ten interleaved sets of frequencies, for a jackknife; first moments are 0.
        velocity_moments: Those of ``velocity_variance``.
        bandwidth: Relative distance of sigma_i^2 over which modes are averaged.
        n_steps: Rows T of the window.
    """

    variance: Float[Tensor, " m"]
    corrected: Float[Tensor, " m"]
    error: Float[Tensor, " m"]
    lowest_share: Float[Tensor, " m"]
    drift_reason: str
    drift_coherence: float
    drift_p_value: float
    velocity_variance: Float[Tensor, " m"]
    separable: Float[Tensor, " m"]
    separable_reason: str
    separable_contrast: float
    separable_p_value: float
    overlap: Float[Tensor, " m"]
    moments: Float[Tensor, "b 2 m"]
    velocity_moments: Float[Tensor, "b 2 m"]
    bandwidth: float
    n_steps: int

    def with_separable_variances(self) -> OneWindow:
        """The same correction with the variances of the separable model, and the intervals of the held-out ones.

        Raises:
            InputError: If the model is not applicable.
        """
        if self.separable_reason:
            raise InputError(
                expected="a window to which the separable model applies",
                got=self.separable_reason,
                hint="Use the corrected variances, which need no such model.",
            )
        moments = self.moments * (self.separable / self.corrected)
        return dataclasses.replace(self, corrected=self.separable, moments=moments)

    def statistics(self, in_sample: ModeStatistics) -> ModeStatistics:
        """Statistics with the corrected variances, for :func:`landscope.law.fit_exponents`.

        Exponents then have an interval only where the modes relax fast enough for one in-sample: the frequencies do not
        hold the error from the modes being those of one window.

        Args:
            in_sample: Statistics of the same window along the same modes.

        Returns:
            Those of the corrected modes; the shape of the path is that in-sample.

        Raises:
            InputError: If the window drifts, or the statistics are those of another one.

        Example:
            >>> import landscope as ls
            >>> rows = torch.randn(300, 20, generator=torch.Generator().manual_seed(0))
            >>> window = ls.Trajectory.of(rows)
            >>> modes = ls.principal_modes(window)
            >>> found = one_window_correction(modes, window)
            >>> corrected = found.statistics(ls.noise.mode_statistics(modes, window))
            >>> bool(corrected.variance.std() < 0.5 * modes.variance.std())
            True
        """
        if self.drift_reason:
            raise InputError(
                expected="a window without a drift, for variances that the next window would show",
                got=self.drift_reason,
                hint="Measure the next window instead, or record later, when the weights go no further one way.",
            )
        count = len(self.corrected)
        if in_sample.n_steps != self.n_steps or not torch.allclose(in_sample.variance[:count], self.variance):
            raise InputError(
                expected="the statistics of the window that was corrected, along its principal modes",
                got=f"those of {in_sample.n_steps} rows, along {len(in_sample.variance)} directions",
                hint="Pass noise.mode_statistics(modes, window).",
            )
        return dataclasses.replace(
            in_sample,
            variance=self.corrected,
            velocity_variance=self.velocity_variance,
            moments=self.moments,
            velocity_moments=self.velocity_moments,
            moves=in_sample.moves[:count] & (self.corrected > 0) & (self.velocity_variance > 0),
            drift_share=in_sample.drift_share[:count],
            cosine_content=in_sample.cosine_content[:count],
            integrated_time=in_sample.integrated_time[:count],
            velocity_time=in_sample.velocity_time[:count],
            provenance=stamp(source=dict(self.provenance)),
        )


def one_window_correction(
    modes: Directions,
    window: Trajectory,
    n_modes: int | None = None,
    *,
    bandwidth: float = 0.1,
    level: float = 0.01,
    seed: int = 0,
    progress: ProgressCallback | None = None,
) -> OneWindow:
    r"""Predict from one window what the next one shows along its principal modes.

    A mode is where the window happened to vary much, so its sigma_i^2 is too large among the first modes and too small
    among the last. The window is split into cosines. For a stationary process, and for a walk, their amplitudes y_f are
    independent: each is held out in turn, and its power is measured along the modes of all others
    (``landscope.noise.held_out.held_out_powers``):

    .. math:: \xi_i = \frac1T \sum_f \left\langle (y_f \cdot p_i^{(f)})^2 \right\rangle_{\sigma^2 \approx \sigma_i^2},
              \qquad D_i = \frac{1}{T-1} \sum_f 4 \sin^2\!\frac{\pi f}{2T}
              \left\langle (y_f \cdot p_i^{(f)})^2 \right\rangle_{\sigma^2 \approx \sigma_i^2}

    The length of the window stays: xi_i is the variance in the next window of T rows, not in one without end. Where all
    modes relax alike, the closed form of random-matrix theory stands beside it
    (``landscope.noise.separable.separable_variances``). Two checks of the window itself decide: a test that
    rejects a separable window with the probability ``level``, and the agreement of the two corrections.

    A steady drift is no independent draw. It fills the lowest frequencies with one direction; held out, these come back
    along all modes, in the next window along mode 1 alone, and xi_i is too large, several times for quiet modes. The
    size of the other motion at these frequencies cannot be told from the drift. So a window whose parts go one way
    (``landscope.noise.directed_drift.directed_drift``, level 5 %, at which up to 13 % of pure walks are flagged
    too) has a ``drift_reason``, and no statistics for exponents. In simulated windows of relaxing directions one of
    which drifted by a hundred of its standard deviations
    (levels up to 3.7 times the truth) all were found; of those by 30 most, and where not, psi was off by 0.3 at most
    for T > N. For T < N a drift by 20 of them changed psi by 0.6 and was found in 82 % of 200 windows, where none of
    200 without a drift was flagged.

    The average over neighbours, its kernel and its bandwidth, was set after looking at simulated windows, and not
    before.

    Memory is that of the coordinates, [T, K], twice; time that of six products [T, K] [K, m].

    Args:
        modes: All principal modes of the window.
        window: The window.
        n_modes: Modes to correct, from the first; all that move by default.
        bandwidth: Relative distance of sigma_i^2 over which modes are averaged.
        level: Level of the test of the separable model.
        seed: Seed of the projection in that test.
        progress: Callback for the number of completed frequencies.

    Returns:
        The corrected variances.

    Raises:
        InputError: If the directions are not all the principal modes of this window, fewer than two move, or it has
            fewer than 21 rows.

    Example:
        Noise proportional to curvature, in a finite window: the modes are too far apart in-sample.

        >>> import landscope as ls
        >>> from landscope.synthetic import autoregressive
        >>> curvature = torch.logspace(0, -2, 100).double()
        >>> path = autoregressive(1 - 0.1 * curvature, 800, seed=0, noise_variance=curvature)
        >>> window, following = ls.Trajectory.of(path[:400]), ls.Trajectory.of(path[400:])
        >>> modes = ls.principal_modes(window)
        >>> found = one_window_correction(modes, window)
        >>> fresh = ls.noise.mode_statistics(modes, following).variance
        >>> spread = lambda values: float(values[:80].log().std())
        >>> spread(modes.variance) > 2 * spread(fresh), abs(spread(found.corrected) / spread(fresh) - 1) < 0.5
        (True, True)
        >>> found.separable_reason != "", bool(found.separable.isnan().all())  # relaxation times differ
        (True, True)
    """
    check_share("bandwidth", bandwidth)
    check_share("level", level)
    check_seed(seed)
    coordinates = _coordinates(modes, window)
    amplitudes, drift = cosine_amplitudes(coordinates), directed_drift(coordinates)
    rows, moving_modes = len(window), amplitudes.shape[1]
    count = moving_modes if n_modes is None else min(moving_modes, check_count("n_modes", n_modes, minimum=1))
    powers = held_out_powers(amplitudes, count, bandwidth, progress=progress)
    speeds = powers * (difference_factors(rows) * (rows / (rows - 1)))[:, None]
    moments = _fold_moments(powers)
    test = separability(amplitudes, level=level, seed=seed)
    separable, overlap = (torch.full((count,), math.nan, dtype=torch.float64) for _ in range(2))
    reason = drift.reason or test.reason
    if not reason:
        found, overlap = _separable(amplitudes, count)
        reason = _contradiction(found, moments[:, 1])
        separable, overlap = (torch.where(torch.tensor(not reason), values, math.nan) for values in (found, overlap))
    return OneWindow(
        variance=modes.variance[:count],
        corrected=powers.sum(dim=0) / rows,
        error=(powers.diff(dim=0).square().sum(dim=0) / 2).sqrt() / rows,
        lowest_share=powers[0] / powers.sum(dim=0),
        drift_reason=drift.reason,
        drift_coherence=drift.coherence,
        drift_p_value=drift.p_value,
        velocity_variance=speeds.sum(dim=0) / rows,
        separable=separable,
        separable_reason=reason,
        separable_contrast=test.contrast,
        separable_p_value=test.p_value,
        overlap=overlap,
        moments=moments,
        velocity_moments=_fold_moments(speeds),
        bandwidth=bandwidth,
        n_steps=rows,
        provenance=stamp(n_modes=count, bandwidth=bandwidth, level=level, seed=seed, source=dict(window.provenance)),
    )


def _separable(amplitudes: Float[Tensor, "f k"], count: int) -> tuple[Float[Tensor, " m"], Float[Tensor, " m"]]:
    """Variances in fresh data by the separable model, and the part of each mode in population modes like it."""
    variance, temporal = amplitudes.square().sum(dim=0) / (len(amplitudes) + 1), temporal_spectrum(amplitudes)
    found = separable_variances(variance, temporal, count, _SEPARABLE_BANDWIDTH)
    population = population_variances(variance, temporal, len(variance), _SEPARABLE_BANDWIDTH)
    # With fewer rows than weights the variances of the other population modes are not known.
    if len(amplitudes) <= len(variance) or not bool((population > 0).all()):
        return found, torch.full_like(found, math.nan)
    overlaps = mode_overlaps(variance, temporal, population, count, _SEPARABLE_BANDWIDTH)
    alike = (population / found[:, None]).log().abs() <= _ALIKE
    return found, torch.where(found > 0, (overlaps * alike).sum(dim=1), math.nan)


def _coordinates(modes: Directions, window: Trajectory) -> Float[Tensor, "T k"]:
    """Coordinates along all modes that move, after a check that they are those of this window."""
    check_kind("the modes", modes, Directions, hint="Pass what principal_modes(window) returned.")
    check_trajectory(window)
    window.check(minimum_rows=_FEWEST_ROWS)
    available = min(len(window) - 1, window.dim)
    if modes.n_steps != len(window) or len(modes) < available or modes.n_moving < 2:
        raise InputError(
            expected=f"all {available} principal modes of this window of {len(window)} rows, two of which move",
            got=f"{len(modes)} directions of {modes.n_steps} rows, {modes.n_moving if modes.n_steps else 0} moving",
            hint="Pass principal_modes(window), without n_modes.",
        )
    check_even_rows(window, "frequencies of the window")
    coordinates = modes.project_trajectory(window)[:, : modes.n_moving].double()
    found = coordinates.var(dim=0, correction=0)
    if not torch.allclose(found, modes.variance[: modes.n_moving], rtol=1e-3):
        raise InputError(
            expected="the principal modes of this window",
            got="those of another one: its variances along them differ from theirs",
            hint="Pass principal_modes(window).",
        )
    return coordinates


def _contradiction(separable: Float[Tensor, " m"], folds: Float[Tensor, "b m"]) -> str:
    """Why the separable variances do not stand: they estimate the same numbers as the held-out ones, so must agree.

    Averages over a relative distance h of sigma^2 agree to h; beyond it the median of the log-ratio may differ by four
    of its standard errors (a jackknife over ten folds: 0.3 % of separable windows by Student's law).
    """
    if bool(torch.isnan(separable).any()):
        return "the equations of the separable model have no solution for the eigenvalues of this window"
    without = (folds.sum(dim=0) - folds) / (len(folds) - 1)
    medians = (separable / without).log().median(dim=1).values
    error = float(((len(folds) - 1) * medians.var(correction=0)).sqrt())
    apart = float((separable / folds.mean(dim=0)).log().median())
    if abs(apart) <= _SEPARABLE_BANDWIDTH + _STANDARD_ERRORS * error:
        return ""
    return f"the separable model contradicts the held-out frequencies: {math.exp(apart):.2g} times their variances"


def _fold_moments(powers: Float[Tensor, "f m"]) -> Float[Tensor, "b 2 m"]:
    """Every tenth frequency as one fold; the mean over folds of the second moments is the sum of powers over T."""
    rows = len(powers) + 1
    second = torch.stack([powers[fold::_FOLDS].sum(dim=0) * (_FOLDS / rows) for fold in range(_FOLDS)])
    return torch.stack([torch.zeros_like(second), second], dim=1)
