"""Fig. 1A: the three ranges of the spectrum, and how far its first mode stands out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from landscope.claims.one_sided import drawn_controls
from landscope.claims.verdict import Claim, Control, Measurement, fresh_control
from landscope.law.exponents import Exponents
from landscope.law.spectrum import Spectrum, too_few_ranks
from landscope.law.time_blocks import TimeBlocks
from landscope.noise.mode_statistics import ModeStatistics
from landscope.power_law import fit_power_law
from landscope.synthetic import random_walk_shares

__all__ = ["CLAIMS", "Regimes", "regime_measurements", "regime_values", "spectrum_regimes"]

_DECAY = 500 / 200
"""Last rank of the faster decay over the last one of the power law, in the paper: its fits end at mode 500."""
_FEWEST = 3

CLAIMS = (
    Claim(
        "first_mode",
        "Fig. 1A, text",
        "The variance along the first mode is much larger than along all others (its share of the variance).",
        "much larger",
        (0.5, 1.0),
        "more than all other modes together",
        "the first mode of a random walk, which has 6/pi^2 of the variance without any drift",
        possible=(0.0, 1.0),
    ),
    Claim(
        "plateau",
        "Fig. 1A, text",
        "The spectrum begins with a plateau (exponent over ranks 2 to 20 of 2,500 minus that over 20 to 200).",
        "a small number of leading modes",
        (-100.0, 0.0),
        "the sign",
        "modes of shuffled increments, which follow one power law",
    ),
    Claim(
        "faster_decay",
        "Fig. 1A, text",
        "The spectrum ends in a faster decay (exponent beyond rank 200 of 2,500 minus that over 20 to 200).",
        "even faster",
        (0.0, 100.0),
        "the sign",
        "modes of shuffled increments, which follow one power law as long as they are few",
    ),
)

Regimes = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
"""First and last rank of the plateau, of the power law, and of the faster decay."""


def spectrum_regimes(
    variance: Float[Tensor, " k"], moves: Bool[Tensor, " k"], regimes: Regimes
) -> tuple[float, float, float]:
    r"""The exponents gamma of :math:`\sigma_i^2 \sim i^{-\gamma}` in three ranges of ranks.

    Args:
        variance: Variances, falling.
        moves: Whether the window moved along each mode.
        regimes: First and last rank of each range.

    Returns:
        The exponents; NaN where fewer than three modes of a range move.

    Example:
        >>> rank = torch.arange(1.0, 101).double()
        >>> bent = torch.where(rank < 10, 1.0, (rank / 10) ** -2.0)
        >>> found = spectrum_regimes(bent, bent > 0, ((2, 10), (10, 50), (50, 100)))
        >>> [round(x, 6) + 0.0 for x in found]
        [0.0, 2.0, 2.0]
    """
    rank = torch.arange(1, len(variance) + 1, dtype=torch.float64)

    def exponent(first: int, last: int) -> float:
        used = (rank >= first) & (rank <= last) & moves
        return -fit_power_law(rank[used], variance[used]).exponent if int(used.sum()) >= _FEWEST else math.nan

    return exponent(*regimes[0]), exponent(*regimes[1]), exponent(*regimes[2])


def last_rank(spectrum_ranks: tuple[int, int], last: int) -> int:
    """Last rank of the faster decay: 500 where the power law ends at 200, in proportion, and no further than the fits.

    Args:
        spectrum_ranks: First and last rank of the power law.
        last: Last mode of the fits.

    Example:
        >>> last_rank((20, 200), 500), last_rank((8, 80), 500), last_rank((80, 800), 500)
        (500, 200, 500)
    """
    return min(last, round(_DECAY * spectrum_ranks[1]))


def regime_values(row: Exponents, spectrum_ranks: tuple[int, int], last: int) -> dict[str, float]:
    """The value of each claim in one row of exponents, such as that of a null.

    Args:
        row: The row; its directions are ordered by rank.
        spectrum_ranks: First and last rank of the power law.
        last: Last rank of the faster decay.
    """
    first, second, third = spectrum_regimes(row.variance, row.moves, _regimes(spectrum_ranks, last))
    share = float(row.variance[0]) / row.total_variance if row.total_variance > 0 else math.nan
    return {"first_mode": share, "plateau": first - second, "faster_decay": third - second}


def _regimes(spectrum_ranks: tuple[int, int], last: int) -> Regimes:
    return (2, spectrum_ranks[0]), spectrum_ranks, (spectrum_ranks[1], last)


def regime_measurements(
    spectrum: Spectrum,
    in_sample: Exponents,
    fresh: Exponents | None,
    nulls: Sequence[Exponents],
    processes: Sequence[Exponents],
    last: int,
    statistics: tuple[ModeStatistics | None, ModeStatistics | None] = (None, None),
) -> dict[str, Measurement]:
    """Measure the three ranges of the spectrum and the share of the first mode in one run.

    Blocks of time say how far another run may move them, in the window and in fresh data: an interval would be one for
    a window without end, where in-sample modes have no such numbers.

    Args:
        spectrum: The spectrum of the window.
        in_sample: Exponents of the window along its own modes.
        fresh: Exponents of the fresh data along the same modes; None if there are none.
        nulls: Exponents of shuffled-increment surrogates.
        processes: Exponents of draws of the finite-window process along their own modes.
        last: Last rank of the faster decay; the nulls have modes so far.
        statistics: Statistics of the window and of the fresh data along the same modes; None where there are none.
    """
    ranks, keys = spectrum.spectrum_ranks, [claim.key for claim in CLAIMS]
    regimes = _regimes(ranks, last)

    def values(row: Exponents | None) -> Mapping[str, float]:
        return dict.fromkeys(keys, math.nan) if row is None else regime_values(row, ranks, last)

    own, later, made = values(in_sample), values(fresh), [values(null) for null in nulls]
    draws = [values(draw) for draw in processes]
    reach, later_reach = (_reaches(part, regimes) for part in statistics)
    parts = spectrum_regimes(in_sample.variance, in_sample.moves, regimes)
    note = ", ".join(
        f"{exponent:.2f} over ranks {begin} to {end}" for exponent, (begin, end) in zip(parts, regimes, strict=True)
    )
    few = {"plateau": _few(regimes[:2], spectrum), "faster_decay": _few(regimes[1:], spectrum), "first_mode": ""}
    walk = float(random_walk_shares(spectrum.n_steps, 1)[0])
    driftless = Control("the first mode of a driftless random walk", (0.0, walk), "differ", f"has {walk:.2f}")
    found = {}
    for key in keys:
        if few[key]:
            found[key] = Measurement(math.nan, note=few[key])
            continue
        others = (driftless,) if key == "first_mode" else ()
        controls = (
            *drawn_controls(key, [row[key] for row in made], [draw[key] for draw in draws]),
            *others,
            fresh_control(later[key], reach=later_reach.get(key, math.nan)),
        )
        found[key] = Measurement(
            own[key], controls=controls, note="" if key == "first_mode" else f"exponents {note}", no_interval="one run",
            reach=reach.get(key, math.nan),
        )  # fmt: skip
    return found


def _few(ranges: Sequence[tuple[int, int]], spectrum: Spectrum) -> str:
    """Why a run has too few modes for the exponents of some ranges; empty where it has enough."""
    reasons = [too_few_ranks(each, spectrum.n_modes) for each in ranges]
    return next((f"{reason}, where the paper has 2,500 modes" for reason in reasons if reason), "")


def _reaches(found: ModeStatistics | None, regimes: Regimes) -> dict[str, float]:
    """How far another run may move the value of each claim that these variances have."""
    if found is None:
        return {}
    rank = torch.arange(1, len(found.variance) + 1, dtype=torch.float64)
    slopes = [_slope(rank, (rank >= begin) & (rank <= end) & found.moves) for begin, end in regimes]
    reaches = {
        key: TimeBlocks.reach_of(lambda variance, weights=weights: float(weights @ variance.log()), found, weights)
        for key, weights in (("plateau", slopes[1] - slopes[0]), ("faster_decay", slopes[1] - slopes[2]))
        if bool(weights.isfinite().all())
    }
    return reaches | ({"first_mode": _reach_of_share(found)} if len(found.variance) > 1 else {})


def _slope(rank: Tensor, used: Tensor) -> Float[Tensor, " k"]:
    """Weights of ln sigma_i^2 in the slope on ln i over some modes; NaN for fewer than three."""
    if int(used.sum()) < _FEWEST:
        return torch.full_like(rank, math.nan)
    centred = torch.where(used, rank.log() - rank[used].log().mean(), 0.0)
    return centred / centred.square().sum()


def _reach_of_share(found: ModeStatistics) -> float:
    """How far another run may move the share of the first mode, from the reach of its logit: the farther end."""
    others = found.variance[1:].sum()
    rest = max(0.0, found.total_variance - float(found.variance.sum()))
    if not float(others) + rest > 0 or not float(found.variance[0]) > 0:
        return math.nan
    weights = torch.cat([torch.ones(1).double(), -found.variance[1:].double() / (others + rest)])

    def logit(variance: Tensor) -> float:
        return float(variance[0].log() - (variance[1:].sum() + rest).log())

    own = logit(found.variance.double())
    reach = TimeBlocks.reach_of(logit, found, weights)
    if math.isinf(reach):
        return 1.0
    share, low, high = torch.tensor([own, own - reach, own + reach]).double().sigmoid().tolist()
    return max(share - low, high - share)
