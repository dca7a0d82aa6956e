"""Figs. 3 and S7: minibatch losses as springs, and what they predict, beside what the run did."""

from __future__ import annotations

import math

import torch
from scipy import stats
from torch import Tensor

from landscope.claims.verdict import Control, Measurement
from landscope.noise.gradient import GradientNoise
from landscope.noise.log_hessian import LogHessian
from landscope.noise.springs import Springs
from landscope.noise.velocity import VelocityStatistics

__all__ = ["memory_claims", "spring_measurements"]


def spring_measurements(
    springs: Springs,
    velocity: VelocityStatistics,
    noise: GradientNoise,
    hessian: LogHessian,
    mode_range: tuple[int, int],
    *,
    learning_rate: float,
) -> dict[str, Measurement]:
    """What the springs and the motion say on the claims of Figs. 3 and S7 and on memory.

    Args:
        springs: Of log-spaced modes.
        velocity: Of the window along all modes.
        noise: Gradient noise at w0 along the first modes.
        hessian: Curvature of ln L along a few modes, minibatch by minibatch.
        mode_range: Modes to speak of.
        learning_rate: alpha.

    Returns:
        Measurements by claim.
    """
    count = len(noise.variance)
    used = slice(mode_range[0] - 1, min(mode_range[1], count))
    tau, needed = velocity.correlation_time[:count][used], noise.minibatches_needed[used]
    kept = torch.isfinite(tau) & torch.isfinite(needed)
    likeness = stats.spearmanr(tau[kept].numpy(), needed[kept].numpy()).statistic if int(kept.sum()) > 2 else math.nan
    near = springs.ranks <= count
    at_w0 = noise.velocity_variance(learning_rate)[springs.ranks[near] - 1]
    predicted = springs.predicted_velocity_variance
    over_window = f"{_median(predicted / springs.velocity_variance):.3g} of the D of the window"
    kurtosis = _median(springs.excess_kurtosis[:, 1])
    heavy = f"from the median of |theta^mu|, which a few do not rule; its excess kurtosis is {kurtosis:.3g}"
    left_out = f"{springs.n_left_out} samples are in no minibatch" if springs.n_left_out else ""
    return {
        "minibatch_springs": Measurement(
            _median(springs.median_r_squared),
            note=_joined(f"{100 * float(springs.good_share.mean()):.0f} % of the fits count", left_out),
        ),
        "spring_flatness": Measurement(_median(springs.predicted_flatness / springs.width)),
        "spring_noise": Measurement(_median(predicted[near] / at_w0), note=over_window),
        "mean_field": Measurement(
            _median(springs.mean_field_ratio),
            note=f"M_ij off the diagonal is {hessian.off_diagonal:.2f} of sqrt(M_ii M_jj), root mean square: 0 for "
            "independent modes",
        ),
        "stiffness_exponent": Measurement(-springs.stiffness_exponent),
        "centre_exponent": Measurement(springs.centre_exponent, note=heavy),
        "tau_counts_minibatches": Measurement(float(likeness)),
    }


def memory_claims(
    velocity: VelocityStatistics,
    null: VelocityStatistics,
    fresh: VelocityStatistics | None,
    mode_range: tuple[int, int],
    n_measured: int,
) -> dict[str, Measurement]:
    """How long velocities persist, along the first mode and along the others.

    Args:
        velocity: Velocities of the window along all modes.
        null: Velocities of a shuffled-increment surrogate along its first mode.
        fresh: Velocities of the fresh data along the first mode; None where there are none.
        mode_range: First and last mode of the median.
        n_measured: Number of modes with a measured flatness.
    """
    used = slice(mode_range[0] - 1, min(mode_range[1], n_measured))
    value = math.nan if fresh is None else float(fresh.persistence[0])
    return {
        "short_memory": Measurement(_median(velocity.persistence[used])),
        "persistence": Measurement(
            float(velocity.persistence[0]),
            controls=(Control("the same direction in fresh data", (value, value), "agree"),),
            note=f"PCA alone gives the first mode of shuffled increments {float(null.persistence[0]):.2f}",
        ),
    }


def _median(values: Tensor) -> float:
    return float(values.nanmedian()) if len(values) else math.nan


def _joined(*parts: str) -> str:
    return "; ".join(part for part in parts if part)
