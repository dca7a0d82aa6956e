"""Figs. 3 and S7: minibatch losses as springs, and what they predict, beside what the run did."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from landscope.directions.ranks import log_spaced_ranks
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
    kind="paper_springs",
    dims={
        **dict.fromkeys(
            (
                "ranks", "width", "velocity_variance", "mean_stiffness", "centre_spread", "centre_scale",
                "predicted_velocity_variance", "predicted_flatness", "mean_field_ratio", "median_r_squared",
                "good_share",
            ),
            ("mode",),
        ),
        "correlations": ("mode", "pair"), "skewness": ("mode", "parameter"), "excess_kurtosis": ("mode", "parameter"),
        "displacements": ("drawn", "point"), "profiles": ("drawn", "point", "batch"), "loss": ("drawn", "point"),
        "drawn_ranks": ("drawn",),
    },
):  # fmt: skip
    """The spring fits of many modes, summarised, with the profiles of a few for the figure.

    Args:
        ranks: Ranks of the modes.
        width: F_i as measured.
        velocity_variance: D_i as measured on the window.
        mean_stiffness: M_ii^(0).
        centre_spread: sigma~_i, root mean square.
        centre_scale: The same from the median.
        predicted_velocity_variance: Eq. 12.
        predicted_flatness: Eq. 10.
        mean_field_ratio: Of Eq. 12 to the joint moment; see :class:`landscope.noise.MinibatchEnsemble`.
        median_r_squared: Median over minibatches of the fit quality.
        good_share: Share of the minibatches whose fit counts.
        correlations: Between the parameters of the springs.
        skewness: Of each parameter.
        excess_kurtosis: Likewise.
        drawn_ranks: Modes with profiles.
        displacements: Of their profiles.
        loss: Mean over all minibatches.
        profiles: Of a few minibatches.
        stiffness_exponent: Of M^(0) on F.
        centre_exponent: Of sigma~ on F, its median form.
        n_batches: Minibatches.
        n_left_out: Samples in none of them.
    """

    ranks: Int[Tensor, " k"]
    width: Float[Tensor, " k"]
    velocity_variance: Float[Tensor, " k"]
    mean_stiffness: Float[Tensor, " k"]
    centre_spread: Float[Tensor, " k"]
    centre_scale: Float[Tensor, " k"]
    predicted_velocity_variance: Float[Tensor, " k"]
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
    """Places in ``ranks`` of those nearest to the wanted ones, each once."""
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
    """Fit the springs of log-spaced modes, each out to the farther of its two crossings on both sides.

    Args:
        ensemble: The minibatch losses.
        w0: The end of the window.
        directions: All modes.
        flatness: Of the modes, from the first on.
        velocity: Of the window along all modes.
        learning_rate: alpha.
        n_modes: How many modes, about.
        progress: Told how many are done.

    Returns:
        The summary.
    """
    ranks = spring_ranks(flatness, n_modes)
    rows = ranks - 1
    reach = torch.maximum(-flatness.left[rows], flatness.right[rows])
    steps = reach[:, None] * torch.linspace(-1, 1, _POINTS, dtype=torch.float64)
    found = minibatch_ensemble(
        ensemble, w0, directions[rows].to(w0), steps, learning_rate=learning_rate, progress=progress
    )
    drawn = nearest_ranks(ranks, (10, 50, 200))
    width = flatness.width[rows]
    return Springs(
        ranks=ranks,
        width=width,
        velocity_variance=velocity.velocity_variance[rows],
        **{name: getattr(found, name) for name in _COPIED},
        median_r_squared=found.r_squared.nanmedian(dim=1).values,
        good_share=found.good.double().mean(dim=1),
        drawn_ranks=ranks[drawn],
        displacements=found.displacements[drawn],
        loss=found.loss[drawn],
        profiles=found.batch_profiles[drawn],
        stiffness_exponent=_exponent(width, found.mean_stiffness),
        centre_exponent=_exponent(width, found.centre_scale),
        n_batches=len(found.loss0),
        n_left_out=found.n_left_out,
        provenance=stamp(learning_rate=learning_rate, n_modes=n_modes),
    )


_COPIED = (
    "mean_stiffness",
    "centre_spread",
    "centre_scale",
    "predicted_velocity_variance",
    "predicted_flatness",
    "mean_field_ratio",
    "correlations",
    "skewness",
    "excess_kurtosis",
)


def _exponent(x: Tensor, y: Tensor) -> float:
    """Exponent of y on x; NaN where too few are positive."""
    kept = torch.isfinite(y) & (y > 0)
    return fit_power_law(x[kept], y[kept]).exponent if int(kept.sum()) >= 3 else math.nan
