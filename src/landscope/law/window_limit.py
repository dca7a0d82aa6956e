"""The law of a stationary process with the run's noise, order and curvature in a window without end: psi_infinity."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from landscope._checks import check_positive
from landscope.directions.directions import Directions
from landscope.errors import InputError
from landscope.landscape.flatness import Flatness
from landscope.law.intervals import with_interval_or_reason
from landscope.law.time_blocks import NO_INTERVAL, TimeBlocks, TimeInterval, reason_of, reasons
from landscope.noise.epoch_order import order_factors
from landscope.noise.finite_window import window_factor
from landscope.noise.mode_statistics import ModeStatistics, mode_statistics
from landscope.noise.step_rule import StepRule
from landscope.power_law import fit_power_law
from landscope.results import Result, stamp
from landscope.trajectory import Trajectory
from landscope.trajectory.spacing import equal_distance

__all__ = ["WindowLimit", "order_words", "window_limit"]

_FEWEST = 3


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class WindowLimit(
    Result,
    kind="window_limit",
    axis="mode",
):
    """Variances along eigenvectors of the curvature: measured, expected in the window, and in a window without end.

    Exponents are NaN where fewer than three directions can be fitted. Intervals are 95 % intervals from blocks of time,
    (NaN, NaN) where the directions relax too slowly for them (:class:`landscope.law.time_blocks.TimeBlocks`).

    Args:
        name: Name of the eigenvectors.
        curvature: lambda_k, ``[k]``.
        variance: sigma_k^2(T) of the window.
        predicted: What a stationary process shows in the window, in the order of minibatches of ``steps_per_epoch``.
        limit: sigma_k^2(infinity) in that order; D_k/(2 alpha lambda_k) for plain SGD with independent minibatches.
        time: sigma_k^2(infinity)/D_k, in rows; infinite where nothing pulls the direction.
        relaxations: x_k, the length of the window in relaxation times of the direction.
        width: Flatness F_k; NaN where it is not within reach.
        used: Directions fitted: positive curvature, motion, and a flatness within reach.
        psi: Exponent of the measured variance, sigma^2 ~ F^(-psi).
        psi_interval: Its interval.
        psi_predicted: Exponent of ``predicted``.
        psi_infinity: Exponent of ``limit``: the law of a process with this noise, its order and this curvature in a
            window without end.
        psi_infinity_interval: Its interval; curvature and flatness are held fixed.
        psi_infinity_reach: How far another run of the same length may move psi_infinity with 95 %, also where it has
            no interval; NaN where nothing was fitted.
        interval_reason: Why an exponent has no interval; empty where both have one.
        n_used: Directions fitted.
        steps_per_epoch: M, where the minibatches are those of reshuffled epochs; None where they are independent.
        order_unknown: Why the window does not show the order, so that independent minibatches are assumed; or empty.
    """

    name: str
    curvature: Float[Tensor, " k"]
    variance: Float[Tensor, " k"]
    predicted: Float[Tensor, " k"]
    limit: Float[Tensor, " k"]
    time: Float[Tensor, " k"]
    relaxations: Float[Tensor, " k"]
    width: Float[Tensor, " k"]
    used: Bool[Tensor, " k"]
    psi: float
    psi_interval: tuple[float, float]
    psi_predicted: float
    psi_infinity: float
    psi_infinity_interval: tuple[float, float]
    psi_infinity_reach: float
    interval_reason: str
    n_used: int
    steps_per_epoch: int | None
    order_unknown: str = ""

    @property
    def order(self) -> str:
        """The order of the minibatches that is counted with, in words."""
        return order_words(self.steps_per_epoch)

    @property
    def psi_infinity_in_words(self) -> str:
        """psi_infinity with its interval, or why it has none and how far another run may move it."""
        reason = reason_of(self.interval_reason, "psi_infinity")
        return with_interval_or_reason(self.psi_infinity, self.psi_infinity_interval, reason, self.psi_infinity_reach)

    @property
    def shown(self) -> Float[Tensor, " k"]:
        """The share of its stationary variance that each direction shows in the window, on average."""
        return self.predicted / self.limit


def order_words(steps_per_epoch: int | None) -> str:
    """An order of minibatches in words.

    Args:
        steps_per_epoch: M of reshuffled epochs; None for independent minibatches.
    """
    return f"reshuffled epochs of {steps_per_epoch:,} minibatches" if steps_per_epoch else "independent minibatches"


def window_limit(
    eigenvectors: Directions,
    window: Trajectory,
    flatness: Flatness,
    *,
    learning_rate: float | Float[Tensor, " T"],
    rule: StepRule | None = None,
    steps_per_epoch: int | None = None,
) -> WindowLimit:
    r"""Compare a window with a stationary process of the same noise and curvature, direction by direction.

    .. math:: \sigma_k^2(T) = \kappa(x_k)\, \sigma_k^2(\infty), \qquad
              x_k = \sum_{t=1}^T \alpha_t \left(\frac{\gamma\lambda_k}{1-\beta} + w\right), \qquad
              \sigma_k^2(\infty) = \frac{D_k (1+\beta)}{2\bar\alpha\gamma\lambda_k} \sim F_k^{-\psi_\infty}

    along eigenvectors of the curvature, which the variance did not choose; the last form is that of SGD with
    momentum beta and independent minibatches, see :class:`landscope.noise.StepRule` for others. The window alone makes
    psi larger than psi_infinity: flat directions need 1/(alpha lambda) steps to reach their variance. With noise
    proportional to curvature, D ~ lambda, psi_infinity is 0.

    Reshuffled epochs of M minibatches have noise that sums to zero over each (``steps_per_epoch``). Then kappa and
    sigma^2(infinity)/D are those of that order (:func:`landscope.noise.window_time`). As alpha
    lambda M falls, sigma^2(infinity) grows to D (M + 1)/6, which does not depend on the curvature: it is 0.8 of it at 1
    and 0.55 at 3. So noise proportional to curvature has a psi_infinity between 0 and 2.

    Where the learning rate changes, the noise of a step has the variance alpha_t^2 s^2 and the limit is the mean
    of alpha_t s^2/(2 lambda). So :math:`\bar\alpha = \langle\alpha^2\rangle/\langle\alpha\rangle` stands beside D.

    Args:
        eigenvectors: Eigenvectors of the Gauss-Newton matrix or the Hessian, with their eigenvalues.
        window: The window.
        flatness: Flatness along the same directions.
        learning_rate: alpha, or that of each row.
        rule: Step of the optimiser; plain SGD by default.
        steps_per_epoch: M, where the minibatches were reshuffled; None for independent ones.

    Returns:
        The variances and the three exponents.

    Raises:
        InputError: If the window has other weights, fewer than 21 rows or rows at uneven distances, the learning rate
            is not positive, or the flatness is that of other directions.

    Example:
        >>> import landscope as ls, torch
        >>> from landscope.synthetic import InverseGaussian, autoregressive
        >>> curvature = torch.logspace(0, -3, 60).double()
        >>> path = autoregressive(1 - 0.1 * curvature, 2000, seed=0, noise_variance=curvature)
        >>> axes = Directions.of(torch.eye(60), values=curvature)
        >>> F = ls.flatness(InverseGaussian(curvature), torch.zeros(60).double(), axes)
        >>> found = window_limit(axes, Trajectory.of(path), F, learning_rate=0.1)
        >>> found.psi > 0.3, abs(found.psi_infinity) < 0.1
        (True, True)
    """
    if len(flatness.width) != len(eigenvectors):
        raise InputError(
            expected=f"the flatness of {len(eigenvectors)} directions",
            got=f"{len(flatness.width)}",
            hint="Measure it along these eigenvectors.",
        )
    motion, curvature = mode_statistics(eigenvectors, window), eigenvectors.values
    rule, rates = StepRule() if rule is None else rule, _rates(window, learning_rate)
    alpha = float(rates.square().sum() / rates.sum())
    relaxations = _relaxations(curvature, window, rates, rule)
    time, shown = _time_and_share(relaxations, alpha * curvature.clamp(min=0), window, alpha, rule, steps_per_epoch)
    limit = motion.velocity_variance * time
    predicted = torch.where(relaxations > 0, limit * shown, math.nan)
    used = (curvature > 0) & motion.moves & flatness.bracketed
    return WindowLimit(
        name=eigenvectors.name,
        curvature=curvature,
        variance=motion.variance,
        predicted=predicted,
        limit=limit,
        time=time,
        relaxations=relaxations,
        width=torch.where(flatness.bracketed, flatness.width, math.nan),
        used=used,
        n_used=int(used.sum()),
        steps_per_epoch=steps_per_epoch,
        **_exponents(flatness.width[used], motion, predicted[used], limit[used], used),
        provenance=stamp(learning_rate=alpha, rule=dataclasses.asdict(rule), steps_per_epoch=steps_per_epoch),
    )


def _relaxations(curvature: Tensor, window: Trajectory, rates: Tensor, rule: StepRule) -> Tensor:
    """x_k, at the learning rates of all steps."""
    total = equal_distance(window, "the relaxation over a window") * float(rates.sum())
    return rule.relaxation_rate(total * curvature, total * rule.decoupled_decay).clamp(min=0)


def _time_and_share(
    relaxations: Tensor, pulls: Tensor, window: Trajectory, alpha: float, rule: StepRule, steps_per_epoch: int | None
) -> tuple[Tensor, Tensor]:
    """sigma^2(infinity)/D in rows, and the share of sigma^2(infinity) that the window shows."""
    decay, spacing = alpha * rule.decoupled_decay, equal_distance(window, "the relaxation over a window")
    time, shown = rule.variance_over_velocity(pulls, decay, spacing=spacing), window_factor(relaxations)
    if steps_per_epoch is None:
        return time, shown
    endless, within = order_factors(
        rule, pulls, decay, n_rows=len(window), spacing=spacing, steps_per_epoch=steps_per_epoch
    )
    return time * endless, shown * within / endless


def _exponents(width: Tensor, motion: ModeStatistics, predicted: Tensor, limit: Tensor, used: Tensor) -> dict[str, Any]:
    """The exponents along the directions used, with their intervals: fields of :class:`WindowLimit`."""
    psi = psi_predicted = psi_infinity = math.nan
    intervals = dict.fromkeys(("psi", "psi_infinity"), TimeInterval(NO_INTERVAL))
    if len(width) >= _FEWEST:
        psi = -fit_power_law(width, motion.variance[used]).exponent
        psi_predicted = -fit_power_law(width, predicted).exponent
        psi_infinity = -fit_power_law(width, limit).exponent
        blocks = TimeBlocks(width, motion, used.nonzero()[:, 0])
        # The curvature is fixed, so that blocks of the velocity decide how well the limit is known.
        intervals = {"psi": blocks.variance(psi), "psi_infinity": blocks.velocity_variance(psi_infinity)}
    return {
        "psi": psi, "psi_interval": intervals["psi"].ends, "psi_predicted": psi_predicted,
        "psi_infinity": psi_infinity, "psi_infinity_interval": intervals["psi_infinity"].ends,
        "psi_infinity_reach": intervals["psi_infinity"].reach, "interval_reason": reasons(intervals),
    }  # fmt: skip


def _rates(window: Trajectory, learning_rate: float | Tensor) -> Float[Tensor, " T"]:
    if not isinstance(learning_rate, Tensor):
        check_positive("learning_rate", learning_rate)
    rates = torch.as_tensor(learning_rate, dtype=torch.float64).expand(len(window))
    if not bool(((rates > 0) & torch.isfinite(rates)).all()):
        raise InputError(
            expected="a positive learning rate at every row", got=f"{float(rates.min()):g}",
            hint="Pass learning_rate=, one number or one a row.",
        )  # fmt: skip
    return rates
