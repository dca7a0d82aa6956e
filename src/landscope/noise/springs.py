"""Springs fitted to the minibatch losses of many modes, with their predictions and the measurements (Figs. 3, S7)."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from landscope.directions.ranks import log_spaced_ranks
from landscope.errors import InputError
from landscope.landscape.flatness import Flatness
from landscope.noise.ensemble import minibatch_ensemble
from landscope.noise.velocity import VelocityStatistics
from landscope.power_law import fit_power_law
from landscope.protocols import Ensemble, ProgressCallback
from landscope.results import Result, stamp

__all__ = ["Springs", "measure_springs", "nearest_ranks", "spring_ranks"]

_POINTS = 41


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Springs(
    Result,
    kind="springs",
    dims={
        **dict.fromkeys(
            (
                "ranks", "width", "velocity_variance", "mean_stiffness", "centre_spread", "centre_scale",
                "predicted_velocity_variance", "trimmed_velocity_variance", "predicted_flatness", "mean_field_ratio",
                "median_r_squared", "good_share",
            ),
            ("mode",),
        ),
        "correlations": ("mode", "pair"), "skewness": ("mode", "parameter"), "excess_kurtosis": ("mode", "parameter"),
        "displacements": ("drawn", "point"), "profiles": ("drawn", "point", "batch"), "loss": ("drawn", "point"),
        "drawn_ranks": ("drawn",),
    },
):  # fmt: skip
    """A summary of the spring fits of many modes, with the profiles of a few modes.

    Args:
        ranks: Ranks of the modes.
        width: Measured flatness F_i.
        velocity_variance: Measured velocity variance D_i in the window.
        mean_stiffness: Mean stiffness M_ii^(0).
        centre_spread: Root mean square sigma~_i of the centres.
        centre_scale: Robust estimate of sigma~_i from the median.
        predicted_velocity_variance: Velocity variance by Eq. 12.
        trimmed_velocity_variance: Velocity variance by Eq. 12 without the tenth of the centres farthest from
            zero, as in :class:`landscope.noise.MinibatchEnsemble`.
        predicted_flatness: Flatness by Eq. 10.
        mean_field_ratio: Ratio of the joint moment to the product in Eq. 12, as in
            :class:`landscope.noise.MinibatchEnsemble`.
        median_r_squared: Median over minibatches of the fit quality.
        good_share: Fraction of minibatches with a good fit.
        correlations: Correlations between the parameters of the springs.
        skewness: Skewness of each parameter.
        excess_kurtosis: Excess kurtosis of each parameter.
        drawn_ranks: Ranks of the modes with profiles.
        displacements: Displacements of the profiles.
        loss: Profiles of the mean over all minibatches.
        profiles: Profiles of a few minibatches.
        stiffness_exponent: Exponent of M^(0) as a power law of F.
        centre_exponent: Exponent of the robust sigma~ as a power law of F.
        n_batches: Number of minibatches.
        n_left_out: Number of samples outside all minibatches.
    """

    ranks: Int[Tensor, " k"]
    width: Float[Tensor, " k"]
    velocity_variance: Float[Tensor, " k"]
    mean_stiffness: Float[Tensor, " k"]
    centre_spread: Float[Tensor, " k"]
    centre_scale: Float[Tensor, " k"]
    predicted_velocity_variance: Float[Tensor, " k"]
    trimmed_velocity_variance: Float[Tensor, " k"]
    predicted_flatness: Float[Tensor, " k"]
    mean_field_ratio: Float[Tensor, " k"]
    median_r_squared: Float[Tensor, " k"]
    good_share: Float[Tensor, " k"]
    correlations: Float[Tensor, "k 3"]
    skewness: Float[Tensor, "k 3"]
    excess_kurtosis: Float[Tensor, "k 3"]
    drawn_ranks: Int[Tensor, " drawn"]
    displacements: Float[Tensor, "drawn S"]
    loss: Float[Tensor, "drawn S"]
    profiles: Float[Tensor, "drawn S batches"]
    stiffness_exponent: float
    centre_exponent: float
    n_batches: int
    n_left_out: int


def spring_ranks(flatness: Flatness, n_modes: int) -> Int[Tensor, " k"]:
    """About ``n_modes`` log-spaced ranks from 2 on, those with a flatness within reach."""
    ranks = log_spaced_ranks(len(flatness.width), n_modes, 2)
    return ranks[flatness.bracketed[ranks - 1]]


def nearest_ranks(ranks: Int[Tensor, " k"], wanted: Sequence[int]) -> Int[Tensor, " drawn"]:
    """Positions in ``ranks`` of the ranks nearest to the wanted ranks, each once."""
    return torch.tensor([int((ranks - rank).abs().argmin()) for rank in wanted]).unique()


def measure_springs(
    ensemble: Ensemble,
    w0: Float[Tensor, " N"],
    directions: Float[Tensor, "all N"],
    flatness: Flatness,
    velocity: VelocityStatistics,
    *,
    learning_rate: float,
    n_modes: int = 100,
    progress: ProgressCallback | None = None,
) -> Springs:
    """Fit the springs of log-spaced modes, each on a symmetric range up to its farther crossing.

    Args:
        ensemble: A landscape with minibatch losses.
        w0: End of the window.
        directions: All modes.
        flatness: Flatness of the modes, from the first.
        velocity: Velocity statistics of the window along all modes.
        learning_rate: Learning rate alpha.
        n_modes: Largest number of modes.
        progress: Callback for the number of completed modes.

    Returns:
        The summary.

    Raises:
        InputError: If no mode has a flatness within reach.
    """
    ranks = spring_ranks(flatness, n_modes)
    if not len(ranks):
        raise InputError(
            expected="modes with a flatness within reach, to measure minibatch losses along",
            got="none",
            hint="Choose a smaller ratio, such as 1.1, or train longer.",
        )
    rows = ranks - 1
    reach = torch.maximum(-flatness.left[rows], flatness.right[rows])
    steps = reach[:, None] * torch.linspace(-1, 1, _POINTS, dtype=torch.float64)
    fits = minibatch_ensemble(
        ensemble, w0, directions[rows].to(w0), steps, learning_rate=learning_rate, progress=progress
    )
    drawn = nearest_ranks(ranks, (10, 50, 200))
    width = flatness.width[rows]
    return Springs(
        ranks=ranks,
        width=width,
        velocity_variance=velocity.velocity_variance[rows],
        # Eq. 10 is for crossings at e times the loss.
        predicted_flatness=math.sqrt(math.log(flatness.ratio)) * fits.predicted_flatness,
        **{name: getattr(fits, name) for name in _COPIED},
        median_r_squared=fits.r_squared.nanmedian(dim=1).values,
        good_share=fits.good.double().mean(dim=1),
        drawn_ranks=ranks[drawn],
        displacements=fits.displacements[drawn],
        loss=fits.loss[drawn],
        profiles=fits.batch_profiles[drawn],
        stiffness_exponent=_exponent(width, fits.mean_stiffness),
        centre_exponent=_exponent(width, fits.centre_scale),
        n_batches=len(fits.loss0),
        n_left_out=fits.n_left_out,
        provenance=stamp(learning_rate=learning_rate, n_modes=n_modes),
    )


_COPIED = (
    "mean_stiffness",
    "centre_spread",
    "centre_scale",
    "predicted_velocity_variance",
    "trimmed_velocity_variance",
    "mean_field_ratio",
    "correlations",
    "skewness",
    "excess_kurtosis",
)


def _exponent(x: Tensor, y: Tensor) -> float:
    """Exponent of y on x; NaN if fewer than three values are positive."""
    kept = torch.isfinite(y) & (y > 0)
    return fit_power_law(x[kept], y[kept]).exponent if int(kept.sum()) >= 3 else math.nan
