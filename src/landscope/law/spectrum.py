"""Fig. 1: the spectrum of the weight variance and the motion along its modes."""

from __future__ import annotations

import dataclasses

import torch
from jaxtyping import Float, Int
from torch import Tensor

from landscope.directions.directions import Directions
from landscope.law.exponents import modes_for_share, spectrum_exponent
from landscope.noise.mode_statistics import ModeStatistics
from landscope.results import Result, stamp
from landscope.trajectory import Trajectory

__all__ = ["Spectrum", "spectrum"]

_PLOTTED_ROWS = 2000
_DRAWN_MODES = (1, 2, 49, 50)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Spectrum(
    Result,
    kind="spectrum",
    dims={
        "variance": ("mode",), "cross_variance": ("mode",), "cosine_content": ("mode",), "drift_share": ("mode",),
        "path": ("point", "drawn"), "path_steps": ("point",),
    },
):  # fmt: skip
    """What Fig. 1 shows of one window.

    Args:
        variance: sigma_i^2 of every mode, in-sample.
        cross_variance: The same modes measured on the next window.
        cosine_content: Likeness of each mode to the cosine of a random walk.
        drift_share: Share of the squared displacements of the ten stretches that goes one way, each mode.
        path: theta of the drawn modes over time, thinned.
        path_steps: Their optimisation steps.
        drawn: Ranks of the drawn modes.
        total_variance: Sum over all N directions.
        n_steps: Rows of the window.
        dim: Number of weights N.
        gamma: Exponent of the spectrum, sigma_i^2 ~ i^(-gamma); NaN where fewer than three ranks exist.
        gamma_interval: From blocks of time.
        gamma_cross: The same exponent with the variances of the next window.
        gamma_cross_interval: From blocks of that window.
        spectrum_ranks: Ranks fitted.
        modes_for_90_percent: Rank n at which modes 2 to n hold 90 % of the variance without mode 1.
        alignment: Cosine between p_1 and w0, its absolute value.
    """

    variance: Float[Tensor, " k"]
    cross_variance: Float[Tensor, " k"]
    cosine_content: Float[Tensor, " k"]
    drift_share: Float[Tensor, " k"]
    path: Float[Tensor, "points drawn"]
    path_steps: Int[Tensor, " points"]
    drawn: tuple[int, ...]
    total_variance: float
    n_steps: int
    dim: int
    gamma: float
    gamma_interval: tuple[float, float]
    gamma_cross: float
    gamma_cross_interval: tuple[float, float]
    spectrum_ranks: tuple[int, int]
    modes_for_90_percent: int
    alignment: float


def spectrum(
    modes: Directions,
    window: Trajectory,
    motion: ModeStatistics,
    next_motion: ModeStatistics,
    *,
    spectrum_ranks: tuple[int, int] = (20, 200),
) -> Spectrum:
    r"""Measure what Fig. 1 shows: the spectrum, its exponent, and the motion along the modes.

    Args:
        modes: Principal modes of ``window``.
        window: The trajectory they were found on.
        motion: Of the window along its modes.
        next_motion: Of the window that follows, along the same modes.
        spectrum_ranks: First and last rank of the fit :math:`\sigma_i^2 \sim i^{-\gamma}`.

    Returns:
        The measurements.

    Raises:
        InputError: If a window is of other weights.

    Example:
        >>> from landscope.directions.principal import principal_modes
        >>> from landscope.noise.mode_statistics import mode_statistics
        >>> from landscope.synthetic import random_walk
        >>> walk = random_walk(400, 60, seed=0)
        >>> first, second = Trajectory.of(walk[:200]), Trajectory.of(walk[200:])
        >>> modes = principal_modes(first)
        >>> along, next_along = mode_statistics(modes, first), mode_statistics(modes, second)
        >>> found = spectrum(modes, first, along, next_along, spectrum_ranks=(3, 20))
        >>> round(found.gamma, 1), round(float(found.cosine_content[0]), 1)
        (2.0, 1.0)
    """
    gamma, interval = spectrum_exponent(motion.variance, motion.moments, spectrum_ranks)
    gamma_cross, cross_interval = spectrum_exponent(next_motion.variance, next_motion.moments, spectrum_ranks)
    every = max(1, -(-len(window) // _PLOTTED_ROWS))
    drawn = tuple(rank for rank in _DRAWN_MODES if rank <= len(modes.variance))
    path = torch.cat(
        [(block.double() - modes.mean) @ modes.directions[[r - 1 for r in drawn]].T for block in window.blocks()]
    )
    w0 = window.row(-1).double()
    return Spectrum(
        variance=motion.variance,
        cross_variance=next_motion.variance,
        cosine_content=motion.cosine_content,
        drift_share=motion.drift_share,
        path=path[::every].clone(),
        path_steps=window.steps[::every].clone(),
        drawn=drawn,
        total_variance=motion.total_variance,
        n_steps=len(window),
        dim=window.dim,
        gamma=gamma,
        gamma_interval=interval,
        gamma_cross=gamma_cross,
        gamma_cross_interval=cross_interval,
        spectrum_ranks=spectrum_ranks,
        modes_for_90_percent=modes_for_share(motion.variance, motion.total_variance, 0.9),
        alignment=float((modes.directions[0] @ w0 / torch.linalg.vector_norm(w0)).abs()),
        provenance=stamp(spectrum_ranks=spectrum_ranks),
    )
