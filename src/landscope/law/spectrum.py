"""The spectrum of the weight variance and the motion along its modes (paper, Fig. 1)."""

from __future__ import annotations

import dataclasses
import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from landscope.directions.directions import Directions
from landscope.directions.moving import ROUNDING, moving
from landscope.law.time_blocks import NO_INTERVAL, TimeBlocks, TimeInterval
from landscope.noise.mode_statistics import ModeStatistics
from landscope.power_law import fit_power_law
from landscope.results import Result, stamp
from landscope.trajectory import Trajectory

__all__ = [
    "PAPER_MODES", "Spectrum", "modes_for_share", "ranks_like_the_paper", "spectrum", "spectrum_exponent",
    "too_few_ranks",
]  # fmt: skip

PAPER_MODES = 2500
"""Modes of the paper's window: more rows than its 2,500 weights."""
_PAPER_RANKS = (20, 200)
_FEWEST_RANKS = 3

_PLOTTED_ROWS = 2000
_DRAWN_MODES = (1, 2, 49, 50)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Spectrum(
    Result,
    kind="spectrum",
    dims={
        **dict.fromkeys(("variance", "moves", "fresh_variance", "cosine_content", "drift_share"), ("mode",)),
        "path": ("point", "drawn"), "path_steps": ("point",),
    },
):  # fmt: skip
    """What Fig. 1 shows of one window.

    Args:
        variance: sigma_i^2 of every mode, in-sample.
        moves: Whether the window moved along the mode by more than rounding (:func:`landscope.directions.moving`).
        fresh_variance: The same modes measured on the fresh data.
        cosine_content: Likeness of each mode to the cosine of a random walk.
        drift_share: Share of the squared displacements of ten stretches that their mean explains, each mode.
        path: theta of the drawn modes over time, thinned.
        path_steps: Their optimisation steps.
        drawn: Ranks of the drawn modes.
        total_variance: Sum of the variance over all N directions.
        n_steps: Rows of the window.
        dim: Number of weights N.
        gamma: Exponent of the spectrum, sigma_i^2 ~ i^(-gamma); NaN where fewer than three ranks move.
        spectrum_ranks: First and last rank of the fit, which leaves out modes that do not move.
        modes_for_90_percent: Rank n at which modes 2 to n hold 90 % of the variance without mode 1; 1 where nothing
            moves besides mode 1.
        alignment: Cosine between p_1 and w0, its absolute value.
    """

    variance: Float[Tensor, " k"]
    moves: Bool[Tensor, " k"]
    fresh_variance: Float[Tensor, " k"]
    cosine_content: Float[Tensor, " k"]
    drift_share: Float[Tensor, " k"]
    path: Float[Tensor, "points drawn"]
    path_steps: Int[Tensor, " points"]
    drawn: tuple[int, ...]
    total_variance: float
    n_steps: int
    dim: int
    gamma: float
    spectrum_ranks: tuple[int, int]
    modes_for_90_percent: int
    alignment: float

    @property
    def n_modes(self) -> int:
        """Modes that the window has: as many as weights, or rows less one."""
        return min(self.dim, self.n_steps - 1)


def spectrum(
    modes: Directions,
    window: Trajectory,
    motion: ModeStatistics,
    fresh: ModeStatistics | None = None,
    *,
    spectrum_ranks: tuple[int, int] | None = None,
) -> Spectrum:
    r"""Measure what Fig. 1 shows: the spectrum, its exponent, and the motion along the modes.

    Args:
        modes: Principal modes of ``window``.
        window: The trajectory they were found on.
        motion: Statistics of the window along its modes.
        fresh: Statistics of fresh data along the same modes; what they give is NaN without them.
        spectrum_ranks: First and last rank of the fit :math:`\sigma_i^2 \sim i^{-\gamma}`; by default 20 to 200 of
            2,500 modes, and in proportion of others (:func:`ranks_like_the_paper`).

    Returns:
        The measurements.

    Raises:
        InputError: If a window has other weights.

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
    every = max(1, -(-len(window) // _PLOTTED_ROWS))
    ranks = spectrum_ranks or ranks_like_the_paper(min(len(window) - 1, window.dim))
    drawn = tuple(rank for rank in _DRAWN_MODES if rank <= len(modes))
    path = modes.part([rank - 1 for rank in drawn]).project_trajectory(window)
    w0 = window.row(-1).double()
    return Spectrum(
        variance=motion.variance,
        moves=motion.moves,
        fresh_variance=torch.full_like(motion.variance, math.nan) if fresh is None else fresh.variance,
        cosine_content=motion.cosine_content,
        drift_share=motion.drift_share,
        path=path[::every].clone(),
        path_steps=window.steps[::every].clone(),
        drawn=drawn,
        total_variance=motion.total_variance,
        n_steps=len(window),
        dim=window.dim,
        gamma=spectrum_exponent(motion, ranks)[0],
        spectrum_ranks=ranks,
        modes_for_90_percent=modes_for_share(motion.variance, motion.total_variance, 0.9),
        alignment=float((modes.directions[0] @ w0 / torch.linalg.vector_norm(w0)).abs()),
        provenance=stamp(spectrum_ranks=ranks),
    )


def ranks_like_the_paper(n_modes: int) -> tuple[int, int]:
    """First and last rank of the power law of the spectrum: 20 to 200 of 2,500 modes, and in proportion of others.

    Args:
        n_modes: Modes that the window has: as many as weights, or rows less one.

    Returns:
        The ranks, from 2 on, as mode 1 drifts.

    Example:
        >>> ranks_like_the_paper(2500), ranks_like_the_paper(1000), ranks_like_the_paper(50)
        ((20, 200), (8, 80), (2, 4))
    """
    first, last = (round(rank * n_modes / PAPER_MODES) for rank in _PAPER_RANKS)
    return max(2, first), max(2, last)


def too_few_ranks(ranks: tuple[int, int], n_modes: int) -> str:
    """Why a range of ranks has no exponent of its own; empty where it has.

    Args:
        ranks: First and last rank.
        n_modes: Modes that the window has.
    """
    first, last = ranks[0], min(ranks[1], n_modes)
    if last - first + 1 >= _FEWEST_RANKS:
        return ""
    return (
        f"ranks {first} to {ranks[1]} of the {n_modes} modes of this window are fewer than the {_FEWEST_RANKS} that an "
        "exponent takes"
    )


def modes_for_share(variance: Float[Tensor, " k"], total: float, share: float) -> int:
    """Rank n at which modes 2 to n hold a share of the variance without mode 1.

    Args:
        variance: Variances of the first k modes, falling.
        total: Variance summed over all directions.
        share: Share to hold, between 0 and 1.

    Returns:
        The rank; k + 1 where k modes do not hold the share, 1 where nothing moves besides mode 1.

    Example:
        >>> import torch
        >>> modes_for_share(torch.tensor([8.0, 1.0, 0.5, 0.25]), 9.75, 0.9), modes_for_share(torch.ones(1), 1.0, 0.9)
        (4, 1)
    """
    rest = total - float(variance[0])
    if not rest > ROUNDING * total:
        return 1
    held = torch.where(moving(variance), variance, 0.0)[1:].cumsum(0) / rest
    return int((held < share).sum()) + 2


def spectrum_exponent(motion: ModeStatistics, ranks: tuple[int, int]) -> tuple[float, TimeInterval]:
    """The exponent gamma of sigma_i^2 ~ i^(-gamma) with its interval; NaN where fewer than three ranks move."""
    rank = torch.arange(1, len(motion.variance) + 1, dtype=torch.float64)
    used = (rank >= ranks[0]) & (rank <= ranks[1]) & motion.moves
    if int(used.sum()) < _FEWEST_RANKS:
        few = f"no exponent, as fewer than {_FEWEST_RANKS} of the ranks {ranks[0]} to {ranks[1]} move"
        return math.nan, TimeInterval(NO_INTERVAL, few)
    gamma = -fit_power_law(rank[used], motion.variance[used]).exponent
    return gamma, TimeBlocks(rank[used], motion, used.nonzero()[:, 0]).variance(gamma)
