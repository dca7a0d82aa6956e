"""The law of a run in a window without end: psi_infinity from the curvature with all weights, or why it is unknown."""

from __future__ import annotations

import dataclasses
import math

import torch
from jaxtyping import Bool, Float
from scipy import stats
from torch import Tensor

from landscope._checks import check_momentum, check_positive, check_strength
from landscope.directions.directions import Directions
from landscope.errors import InputError
from landscope.landscape.flatness import Flatness
from landscope.law.intervals import jackknife_interval
from landscope.law.window_growth import growing_lengths, variance_in_windows
from landscope.noise.effective_curvature import EffectiveCurvature
from landscope.noise.mode_statistics import mode_statistics
from landscope.noise.window_time import window_time
from landscope.power_law import fit_power_laws_resampled
from landscope.results import Result, stamp
from landscope.trajectory import Trajectory
from landscope.trajectory.spacing import check_every_step

__all__ = ["RunLimit", "run_limit"]

_FEWEST = 3
_LEVEL = 0.95
_MOST_LOOSE = 0.1
"""Share of directions that may be left out: they are the flattest, and a fit without more would be of others."""
_BROWNIAN = 0.8
"""Squared coefficient of variation of the variance of Brownian motion about its mean: (1/45)/(1/6)^2."""
_STEP = 0.01


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class RunLimit(
    Result,
    kind="run_limit",
    axis="mode",
    dims={
        **dict.fromkeys(("length", "psi", "psi_predicted", "psi_stderr", "level", "level_stderr"), ("length",)),
        **dict.fromkeys(("variance", "predicted", "predicted_local"), ("length", "mode")),
    },
):
    """Variances in growing windows beside those of the curvature with all weights, and their limit.

    Args:
        width: F_i; NaN where it is not within reach.
        velocity_variance: D_i of the whole window.
        curvature: lambda_eff,i with weight decay: what pulls the weights.
        curvature_stderr: Its standard error.
        local_curvature: H_ii with weight decay.
        used: Directions fitted: those with motion, a flatness within reach and a force that differs from zero.
        length: Lengths T of windows in steps, rising to the whole.
        variance: sigma_i^2(T), mean over the windows of that length, ``[lengths, k]``.
        predicted: The variance that D_i and lambda_eff,i give in such windows.
        predicted_local: The variance that D_i and H_ii give.
        limit: The variance that D_i and lambda_eff,i give in a window without end.
        psi: Exponent of ``variance``, sigma^2 ~ F^(-psi), in windows of each length.
        psi_predicted: Exponent that ``predicted`` shows on average in as many windows.
        psi_stderr: Standard error of their difference.
        level: Mean over directions of ln of variance over predicted, without its expected bias.
        level_stderr: Its standard error.
        psi_infinity: Exponent of ``limit``; NaN where it is not identified.
        psi_infinity_interval: Its 95 % interval, from blocks of time; (NaN, NaN) where it is not identified.
        reason: Why psi_infinity is not identified; empty where it is.
        amplitude: Median of variance over predicted in the whole window.
        amplitude_local: The same with H_ii.
        amplitude_white: The same with lambda_eff and independent minibatches.
        amplitude_white_local: The same with H_ii and independent minibatches.
        n_used: Directions fitted.
        directions: Name of the directions.
    """

    width: Float[Tensor, " k"]
    velocity_variance: Float[Tensor, " k"]
    curvature: Float[Tensor, " k"]
    curvature_stderr: Float[Tensor, " k"]
    local_curvature: Float[Tensor, " k"]
    used: Bool[Tensor, " k"]
    length: Float[Tensor, " n"]
    variance: Float[Tensor, "n k"]
    predicted: Float[Tensor, "n k"]
    predicted_local: Float[Tensor, "n k"]
    limit: Float[Tensor, " k"]
    psi: Float[Tensor, " n"]
    psi_predicted: Float[Tensor, " n"]
    psi_stderr: Float[Tensor, " n"]
    level: Float[Tensor, " n"]
    level_stderr: Float[Tensor, " n"]
    psi_infinity: float
    psi_infinity_interval: tuple[float, float]
    reason: str
    amplitude: float
    amplitude_local: float
    amplitude_white: float
    amplitude_white_local: float
    n_used: int
    directions: str

    @property
    def is_identified(self) -> bool:
        """Whether the run shows its law in a window without end."""
        return not self.reason


def run_limit(
    directions: Directions,
    window: Trajectory,
    flatness: Flatness,
    effective: EffectiveCurvature,
    *,
    learning_rate: float,
    momentum: float = 0.0,
    weight_decay: float = 0.0,
    steps_per_epoch: int | None = None,
) -> RunLimit:
    r"""Extrapolate the law of a run to a window without end, and check it against growing windows.

    .. math:: \sigma_i^2(\infty) = \frac{D_i (1+\beta)}{2\alpha\lambda_{eff,i}} \sim F_i^{-\psi_\infty}, \qquad
              \sigma_i^2(T) = \sigma_i^2(\infty)\, \kappa(\alpha\lambda_{eff,i} T/(1-\beta))

    for independent minibatches; reshuffled ones have :func:`landscope.noise.window_time` in place of kappa. The
    exponent is *not identified*, and NaN, unless

    1. at least nine tenths of the directions that move have a lambda_eff that differs from zero: above
       :math:`t_{b-1}` standard errors, with Student's quantile for 97.5 % and b blocks;
    2. in windows of each length the exponent of the measured variance is that of the formula, and their mean
       logarithms have the same distance at all lengths (a common factor changes no exponent), within what is derived:

    .. math:: \mathrm{Var}\ln\hat\sigma_i^2(T) = \psi_1(n_T/\rho), \quad \rho = \frac{4/5}{1 + 2x/5}, \quad
              x = T/2\tau_i(\infty)

    with n_T windows of length T and the trigamma function of a gamma law whose squared coefficient of variation is
    :math:`\rho/n_T` (4/5 for Brownian motion, 2/x for x relaxations), and the error of lambda_eff carried through.
    Directions that share their noise err together: with the correlation r_ij of their steps the logarithms of two
    variances have the correlation

    .. math:: r_{ij}^2\, \frac{2\sqrt{ab}}{a + b} \le r_{ij}^2, \qquad a = \alpha\lambda_i, \quad b = \alpha\lambda_j,

    in a long window, and r_ij^2 in a short one. The errors are those of the upper bound, and no smaller than those of
    independent directions. Forces that couple directions beyond their noise are not in it. The tests of all lengths
    share 5 % (Bonferroni).

    Args:
        directions: Directions that the variance of this window did not choose: eigenvectors of the curvature, or
            principal modes of another window.
        window: The window, with a row for every step.
        flatness: Flatness along the same directions.
        effective: Effective curvature along the same directions, at points of this window.
        learning_rate: alpha.
        momentum: Heavy-ball momentum beta.
        weight_decay: Weight decay, which pulls beside the gradient.
        steps_per_epoch: M, where the minibatches were reshuffled; None for independent ones.

    Returns:
        The variances, the exponents in growing windows and their limit.

    Raises:
        InputError: If the window has other weights, fewer than 21 rows or gaps, or the directions differ.

    Example:
        >>> import landscope as ls, torch
        >>> from landscope.synthetic import QuadraticBowl, sgd_in_bowl
        >>> curvature = torch.logspace(0, -1, 40).double()
        >>> window = Trajectory.of(sgd_in_bowl(curvature, 4000, learning_rate=0.1, noise_variance=1.0, seed=0))
        >>> axes, bowl = Directions.of(torch.eye(40)), QuadraticBowl(curvature)
        >>> F = ls.flatness(bowl, torch.zeros(40).double(), axes)
        >>> found = run_limit(axes, window, F, ls.noise.effective_curvature(window, bowl, axes), learning_rate=0.1)
        >>> found.reason, abs(found.psi_infinity + 2) < 0.1
        ('', True)
    """
    if not len(directions) == len(flatness.width) == len(effective.curvature):
        raise InputError(
            expected=f"the flatness and the effective curvature of {len(directions)} directions",
            got=f"{len(flatness.width)} and {len(effective.curvature)}",
            hint="Measure both along these directions.",
        )
    check_every_step(window, "the exponents of a run without end")
    check_positive("learning_rate", learning_rate)
    check_momentum(momentum)
    check_strength("weight_decay", weight_decay)
    motion, length = mode_statistics(directions, window), growing_lengths(len(window))
    rates = {"learning_rate": learning_rate, "momentum": momentum}
    pulls = {"": effective.curvature + weight_decay, "_local": effective.local_curvature + weight_decay}
    quantile = float(stats.t.ppf(0.5 + _LEVEL / 2, effective.n_blocks - 1))
    held = pulls[""] > quantile * effective.stderr
    moving = motion.moves & flatness.bracketed
    used = moving & held & (learning_rate * pulls[""] < 2 * (1 + momentum))
    ends = torch.cat([length, torch.tensor([math.inf], dtype=torch.float64)])
    times = {name: _times(pull, ends, steps_per_epoch, rates) for name, pull in pulls.items()}
    white = {name: _times(pull, length[-1:], None, rates)[0] for name, pull in pulls.items()}
    theta, strength = directions.project_trajectory(window), motion.velocity_variance
    variance = variance_in_windows(theta, length)
    stiffer = _times(pulls[""] * (1 + _STEP), ends, steps_per_epoch, rates)
    sensitivity = (stiffer / times[""]).log() / math.log1p(_STEP)
    known = _Known(
        width=flatness.width[used], variance=variance[:, used], predicted=(strength * times[""])[:-1, used],
        windows=(len(window) / length).floor(), relaxations=length[:, None] / (2 * times[""][-1, used]),
        error=(sensitivity[:-1] * effective.stderr / pulls[""])[:, used],
        alike=_alike(theta[:, used].diff(dim=0), momentum),
    )  # fmt: skip
    psi, psi_predicted, psi_stderr, level, level_stderr = _compared(known)
    reason = _too_few(int(used.sum()), int(moving.sum())) or _misfit(length, psi, psi_predicted, psi_stderr, level,
                                                                    level_stderr)  # fmt: skip
    value, interval = math.nan, (math.nan, math.nan)
    if not reason:
        value, interval = _extrapolated(motion.velocity_moments, effective, weight_decay, times[""][-1], used,
                                        flatness.width)  # fmt: skip
    return RunLimit(
        width=torch.where(flatness.bracketed, flatness.width, math.nan),
        velocity_variance=strength, curvature=pulls[""], curvature_stderr=effective.stderr,
        local_curvature=pulls["_local"], used=used, length=length, variance=variance,
        predicted=strength * times[""][:-1], predicted_local=strength * times["_local"][:-1],
        limit=strength * times[""][-1], psi=psi, psi_predicted=psi_predicted, psi_stderr=psi_stderr, level=level,
        level_stderr=level_stderr, psi_infinity=value, psi_infinity_interval=interval, reason=reason,
        **{f"amplitude{name}": _median(variance[-1] / (strength * time[-2]), used) for name, time in times.items()},
        **{f"amplitude_white{name}": _median(variance[-1] / (strength * time), used) for name, time in white.items()},
        n_used=int(used.sum()), directions=directions.name,
        provenance=stamp(**rates, weight_decay=weight_decay, steps_per_epoch=steps_per_epoch),
    )  # fmt: skip


@dataclasses.dataclass(frozen=True)
class _Known:
    """What the formula says of the directions that are fitted, in windows of each length."""

    width: Tensor
    variance: Tensor
    predicted: Tensor
    windows: Tensor
    relaxations: Tensor
    error: Tensor
    alike: Tensor


def _alike(steps: Tensor, momentum: float) -> Tensor:
    """Largest correlation of the logarithms of two variances: the squared correlation of the steps, without chance."""
    centred = steps - steps.mean(dim=0)
    scale = centred.square().sum(dim=0).sqrt().clamp(min=torch.finfo(torch.float64).tiny)
    squares = ((centred / scale).T @ (centred / scale)).square()
    # Two series with the memory beta of the steps have r^2 = (1 + beta^2)/(1 - beta^2)/T by chance.
    chance = min(0.5, (1 + momentum**2) / (1 - momentum**2) / len(steps))
    return ((squares - chance) / (1 - chance)).fill_diagonal_(1.0)


def _times(pull: Tensor, ends: Tensor, steps_per_epoch: int | None, rates: dict[str, float]) -> Tensor:
    """sigma^2/D in windows of some lengths; NaN where the direction is not pulled back in stable steps."""
    stable = (pull > 0) & (rates["learning_rate"] * pull < 2 * (1 + rates["momentum"]))
    found = torch.full((len(ends), len(pull)), math.nan, dtype=torch.float64)
    found[:, stable] = window_time(pull[stable], ends, steps_per_epoch=steps_per_epoch, **rates)
    return found


def _compared(known: _Known) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Measured and expected exponents by length with the error of their difference, and the distance of logarithms."""
    if len(known.width) < _FEWEST:
        nothing = torch.full((len(known.windows),), math.nan, dtype=torch.float64)
        return nothing, nothing, nothing, nothing, nothing
    shape = known.windows[:, None] * (1 + known.relaxations / 2.5) / _BROWNIAN
    bias = torch.special.digamma(shape) - shape.log()
    spread = torch.special.polygamma(1, shape) + known.error.square()
    log_width = known.width.double().log()
    weight = (log_width - log_width.mean()) / (log_width - log_width.mean()).square().sum()
    measured, expected = known.variance.log(), known.predicted.log() + bias
    return (
        -(measured * weight).sum(dim=1),
        -(expected * weight).sum(dim=1),
        _error_of_sum(spread.sqrt() * weight, known.alike),
        (measured - expected).mean(dim=1),
        _error_of_sum(spread.sqrt() / len(log_width), known.alike),
    )


def _error_of_sum(errors: Tensor, alike: Tensor) -> Tensor:
    """Standard error of the sum over directions, with their correlations; no smaller than without any."""
    return torch.maximum((errors @ alike * errors).sum(dim=1), errors.square().sum(dim=1)).sqrt()


def _too_few(n_used: int, n_moving: int) -> str:
    if n_used >= max(_FEWEST, (1 - _MOST_LOOSE) * n_moving):
        return ""
    return (
        f"only {n_used} of {n_moving} directions that move are pulled back by a force that differs from zero: the "
        "window is too short, has too few points, or is one of free diffusion"
    )


def _misfit(
    length: Tensor, psi: Tensor, predicted: Tensor, psi_stderr: Tensor, level: Tensor, level_stderr: Tensor
) -> str:
    """Why the variances of growing windows are not those of the formula; empty where they are."""
    reach = float(stats.norm.ppf(1 - (1 - _LEVEL) / (2 * (2 * len(length) - 1))))
    apart = (psi - predicted).abs() / psi_stderr
    worst = int(apart.argmax())
    if float(apart[worst]) > reach:
        return (
            f"in windows of {length[worst]:.0f} steps psi is {psi[worst]:.2f}, where relaxation with the effective "
            f"curvature gives {predicted[worst]:.2f} +- {psi_stderr[worst]:.2f}"
        )
    moved, scale = level - level[-1], (level_stderr.square() + level_stderr[-1].square()).sqrt()
    worst = int((moved.abs() / scale).argmax())
    if abs(float(moved[worst])) > reach * float(scale[worst]):
        return (
            f"from windows of {length[worst]:.0f} to {length[-1]:.0f} steps the variance grows "
            f"{math.exp(-float(moved[worst])):.2f} times as much as relaxation with the effective curvature gives"
        )
    return ""


def _extrapolated(
    velocity: Tensor, effective: EffectiveCurvature, decay: float, time: Tensor, used: Tensor, width: Tensor
) -> tuple[float, tuple[float, float]]:
    """psi_infinity, and its interval by leaving out each block of time of the steps and of the gradients."""
    squares = velocity[:, 1]
    strengths = (squares.sum(dim=0) - squares) / (len(squares) - 1)
    if len(strengths) != effective.n_blocks:  # few points: the error of D is small beside that of the curvature
        strengths = squares.mean(dim=0).expand(effective.n_blocks, -1)
    pulls = effective.without_each + decay
    # The time goes with the pull as it does at the whole's: 1/lambda, or less where the order of minibatches rules.
    whole = torch.cat([(squares.mean(dim=0) * time)[None], strengths * time * (effective.curvature + decay) / pulls])
    found = -fit_power_laws_resampled(width[used], whole[:, used].clamp(min=torch.finfo(torch.float64).tiny))
    return float(found[0]), jackknife_interval(found[1:], float(found[0]), _LEVEL)


def _median(ratio: Tensor, used: Tensor) -> float:
    return float(ratio[used].nanmedian()) if bool(used.any()) else math.nan
