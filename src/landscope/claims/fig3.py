"""Figs. 3 and S7: noise strength and memory against flatness, and minibatch losses as springs."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from landscope.claims.exponents import exponent_measurement
from landscope.claims.median import median_of
from landscope.claims.one_sided import drawn_controls
from landscope.claims.tolerance import SAME_EXPONENT, exponent_range
from landscope.claims.verdict import Claim, Control, Measurement, fresh_control, joined
from landscope.law.exponents import Exponents
from landscope.law.window_limit import WindowLimit
from landscope.noise.gradient import GradientNoise
from landscope.noise.log_hessian import LogHessian
from landscope.noise.springs import Springs
from landscope.noise.trimmed import TRIMMED_SHARE
from landscope.noise.velocity import VelocityStatistics
from landscope.rank_correlation import rank_correlation

__all__ = ["CLAIMS", "noise_measurements", "spring_measurements"]

CLAIMS = (
    Claim(
        "psi_D",
        "Fig. 3B",
        "The noise strength D falls with flatness as a power law.",
        "about 2",
        exponent_range(2.0),
        SAME_EXPONENT,
        "eigenvectors of the curvature, the same modes in fresh data, and isotropic noise",
    ),
    Claim(
        "psi_tau",
        "Fig. 3B",
        "The correlation time falls with flatness as a power law.",
        "about 1.8",
        exponent_range(1.8),
        SAME_EXPONENT,
        "psi_tau in a window without end and in fresh data; the finite-window process and shuffled increments beside"
        " them",
    ),
    Claim(
        "minibatch_springs",
        "Fig. 3A, Eq. 9",
        "ln L of single minibatches is quadratic along the modes (median R^2).",
        "well approximated",
        (0.9, 1.0),
        "nine tenths of the variance along the line",
        "the fit quality of every one",
        possible=(-math.inf, 1.0),
    ),
    Claim(
        "spring_flatness",
        "Eq. 10",
        "The averaged springs have the flatness that is measured (median ratio).",
        "F = sqrt(8/M)",
        (0.5, 2.0),
        "a factor of two",
        "the exact log-curvature of the ensemble",
    ),
    Claim(
        "spring_noise",
        "Eq. 12",
        "Stiffness and spread of the minibatch minima give D (median ratio to D at w0).",
        "approximately",
        (0.5, 2.0),
        "a factor of two",
        "the exact D at w0",
    ),
    Claim(
        "mean_field",
        "Eqs. 10 and 12",
        "The parameters of the springs are independent (<(L M theta)^2> over the product).",
        "first-order approximation",
        (0.5, 2.0),
        "a factor of two",
        "the joint moments of all minibatches",
    ),
    Claim(
        "stiffness_exponent",
        "Fig. S7",
        "The mean stiffness of the springs falls as F^-2 (exponent of M on 1/F).",
        "2",
        exponent_range(2.0),
        SAME_EXPONENT,
        "springs of all minibatches along log-spaced modes",
    ),
    Claim(
        "centre_exponent",
        "Fig. S7",
        "The spread of their minima grows as F (exponent of sigma~ on F).",
        "1",
        exponent_range(1.0),
        SAME_EXPONENT,
        "springs of all minibatches along log-spaced modes",
    ),
    Claim(
        "tau_counts_minibatches",
        "text below Eq. 13",
        "tau is the number of minibatches it takes to estimate the gradient (rank correlation of the two).",
        "can be interpreted",
        (0.5, 1.0),
        "a clear monotone relation",
        "C_ii over the squared mean gradient, directly, at w0; tau in fresh data, with tau of the finite-window process"
        " and of shuffled increments at the same ranks",
        possible=(-1.0, 1.0),
    ),
)


def noise_measurements(
    in_sample: Exponents,
    fresh: Exponents | None,
    nulls: Sequence[Exponents],
    processes: Sequence[Exponents],
    limit: WindowLimit | None,
) -> dict[str, Measurement]:
    """Measure how noise strength and correlation time go with flatness in one run, as :func:`exponent_measurement`."""
    # D does not depend on the order of the steps, so shuffling keeps psi_D: its null is noise of equal strength in all
    # directions.
    isotropic = Control("isotropic noise", (0.0, 0.0), "differ", "has 0 exactly")
    return {
        "psi_D": exponent_measurement("psi_D", in_sample, fresh, nulls, processes, limit, isotropic),
        "psi_tau": exponent_measurement("psi_tau", in_sample, fresh, nulls, processes, limit),
    }


def spring_measurements(
    springs: Springs,
    velocity: VelocityStatistics,
    noise: GradientNoise,
    hessian: LogHessian,
    mode_range: tuple[int, int],
    *,
    learning_rate: float,
    fresh: Exponents | None = None,
    nulls: Sequence[Exponents] = (),
    processes: Sequence[Exponents] = (),
) -> dict[str, Measurement]:
    """Measure the claims on springs in one run: Figs. 3 and S7, and the text below Eq. 13.

    Args:
        springs: Springs of log-spaced modes.
        velocity: Velocities of the window along all modes.
        noise: Gradient noise at w0 along the first modes.
        hessian: Curvature of ln L along a few modes, minibatch by minibatch.
        mode_range: First and last mode of the rank correlation.
        learning_rate: alpha.
        fresh: Exponents of the fresh data along the same modes; None if there are none.
        nulls: Exponents of shuffled-increment surrogates.
        processes: Exponents of draws of the finite-window process.
    """
    count = len(noise.variance)
    used = slice(mode_range[0] - 1, min(mode_range[1], count))
    needed = noise.minibatches_needed

    def likeness(times: Tensor) -> float:
        return _likeness(times[:count][used], needed[used])

    later = fresh_control(math.nan if fresh is None else likeness(fresh.correlation_time))
    made = drawn_controls(
        "tau_counts_minibatches", [likeness(row.correlation_time) for row in nulls],
        [likeness(row.correlation_time) for row in processes], answered_by=later.name,
    )  # fmt: skip
    near = springs.ranks <= count
    at_w0 = noise.velocity_variance(learning_rate)[springs.ranks[near] - 1]
    predicted = springs.predicted_velocity_variance
    trimmed = median_of(springs.trimmed_velocity_variance[near] / at_w0)
    trimmed_text = f"{trimmed:.3g} without the {100 * TRIMMED_SHARE:.0f} % of the minima farthest from w0"
    over_window = f"{trimmed_text}; {median_of(predicted / springs.velocity_variance):.3g} of the D of the window"
    kurtosis = median_of(springs.excess_kurtosis[:, 1])
    heavy = (
        f"from the median of |theta^mu|, which few minibatches cannot dominate; its excess kurtosis is {kurtosis:.3g}"
    )
    left_out = f"{springs.n_left_out} samples are in no minibatch" if springs.n_left_out else ""
    return {
        "minibatch_springs": Measurement(
            median_of(springs.median_r_squared),
            note=joined(f"{100 * float(springs.good_share.mean()):.0f} % of the fits count", left_out),
        ),
        "spring_flatness": Measurement(median_of(springs.predicted_flatness / springs.width)),
        "spring_noise": Measurement(median_of(predicted[near] / at_w0), note=over_window),
        "mean_field": Measurement(
            median_of(springs.mean_field_ratio),
            note=f"M_ij off the diagonal is {hessian.off_diagonal:.2f} of sqrt(M_ii M_jj), root mean square: 0 for "
            "independent modes",
        ),
        "stiffness_exponent": Measurement(-springs.stiffness_exponent),
        "centre_exponent": Measurement(springs.centre_exponent, note=heavy),
        "tau_counts_minibatches": Measurement(likeness(velocity.correlation_time), controls=(*made, later)),
    }


def _likeness(times: Tensor, needed: Tensor) -> float:
    """Rank correlation of tau with the number of minibatches, over the modes that have both."""
    first = min(len(times), len(needed))
    kept = torch.isfinite(times[:first]) & torch.isfinite(needed[:first])
    return rank_correlation(times[:first][kept], needed[:first][kept])
