"""Effective dimensions of a solution and of the search that finds it (paper, Fig. 6)."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from landscope._checks import check_count, check_finite, check_positive, check_share
from landscope.directions.directions import Directions, rows_of
from landscope.directions.moving import ROUNDING, moving
from landscope.errors import InputError
from landscope.landscape.flatness import Flatness, flatness, joined
from landscope.protocols import LossLandscape, ProgressCallback, silent
from landscope.trajectory import Trajectory

__all__ = [
    "flatness_until_flat",
    "learning_dimension",
    "learning_dimension_over_time",
    "sharp_dimension",
    "sharp_dimension_is_bound",
]

_DISORDER = 1e-6
"""Share of the largest variance by which rounding may put a variance out of order."""
_PATIENCE = 64
"""Directions in a row without a sharp one after which the count is taken as complete."""


def sharp_dimension(flatness: Flatness, threshold: float) -> int:
    r"""The number D_s of directions with a flatness below a threshold (paper, Fig. 6B).

    Directions without a crossing count as flat.

    Args:
        flatness: Flatness F_i of the modes.
        threshold: Largest flatness of a sharp direction; half the norm of the selected weights in the paper.

    Returns:
        The number D_s.

    Raises:
        InputError: If the threshold is not positive.

    Example:
        >>> import torch
        >>> from landscope.landscape import flatness
        >>> from landscope.synthetic import InverseGaussian
        >>> F = flatness(InverseGaussian(torch.tensor([8.0, 2.0])), torch.zeros(2), torch.eye(2))
        >>> sharp_dimension(F, threshold=1.5)
        1
    """
    check_positive("threshold", threshold)
    return int((flatness.bracketed & (flatness.width < threshold)).sum())


def sharp_dimension_is_bound(
    flatness: Flatness, threshold: float, *, n_directions: int | None = None, patience: int = _PATIENCE
) -> bool:
    r"""Whether D_s of the measured directions is only a lower bound, since sharp ones may lie beyond the last.

    The count is complete where all N directions of the space were measured, or where the last ``patience`` measured
    directions hold no sharp one. If a share q of the directions near the end were sharp, no sharp one among p in a row
    would have the probability (1 - q)^p <= exp(-q p): with p = 64 a share above 3/64 is excluded with 95 %. In every
    other case the count is "at least", also where some of the last directions are not sharp.

    Args:
        flatness: Flatness F_i of the measured directions, in rank order.
        threshold: Largest flatness of a sharp direction, as in :func:`sharp_dimension`.
        n_directions: Number N of directions of the space; unknown by default.
        patience: Number p of directions in a row.

    Returns:
        True where D_s is a lower bound.

    Raises:
        InputError: If the threshold or the patience is not positive.

    Example:
        All directions that were measured are sharp, but the space has more.

        >>> import torch
        >>> from landscope.landscape import flatness
        >>> from landscope.synthetic import InverseGaussian
        >>> F = flatness(InverseGaussian(torch.full((9,), 8.0)), torch.zeros(9), torch.eye(9)[:3])
        >>> sharp_dimension_is_bound(F, 1.5), sharp_dimension_is_bound(F, 1.5, n_directions=3)
        (True, False)
    """
    check_positive("threshold", threshold)
    check_count("patience", patience, minimum=1)
    if n_directions is not None:
        check_count("n_directions", n_directions)
    sharp = flatness.bracketed & (flatness.width < threshold)
    return len(sharp) != n_directions and (len(sharp) < patience or bool(sharp[-patience:].any()))


def flatness_until_flat(
    landscape: LossLandscape,
    w0: Float[Tensor, " N"],
    directions: Directions | Float[Tensor, "k N"],
    threshold: float,
    *,
    ratio: float = math.e,
    rtol: float = 1e-3,
    patience: int = _PATIENCE,
    progress: ProgressCallback = silent,
) -> Flatness:
    """Measure flatness in rank order until the directions are flat, enough for :func:`sharp_dimension`.

    The measurement proceeds in groups of ``patience`` directions, and stops after a group without a sharp direction.
    Where it stops at the last direction instead, :func:`sharp_dimension_is_bound` says whether D_s is "at least".

    Args:
        landscape: Any landscape.
        w0: Centre of the lines.
        directions: Modes, in descending order of variance.
        threshold: Largest flatness of a sharp direction.
        ratio: Factor of the loss at the crossings, see :func:`landscope.flatness`.
        rtol: Relative tolerance of the crossings.
        patience: Number of directions in a group.
        progress: Callback for the number of completed directions.

    Returns:
        The flatness of the measured directions, from the first.

    Raises:
        InputError: If the threshold or the patience is not positive.

    Example:
        >>> import torch
        >>> from landscope.synthetic import InverseGaussian
        >>> well = InverseGaussian(torch.tensor([8.0, 2.0, 2.0, 2.0, 2.0]))
        >>> measured = flatness_until_flat(well, torch.zeros(5), torch.eye(5), threshold=1.5, patience=2)
        >>> len(measured.width), sharp_dimension(measured, threshold=1.5)
        (4, 1)
    """
    check_positive("threshold", threshold)
    check_count("patience", patience, minimum=1)
    parts: list[Flatness] = []
    directions = rows_of(directions)
    for first in range(0, len(directions), patience):
        parts.append(flatness(landscape, w0, directions[first : first + patience], ratio, rtol))
        progress(min(first + patience, len(directions)), len(directions))
        if sharp_dimension(parts[-1], threshold) == 0:
            break
    return joined(parts)


def learning_dimension(
    variance: Float[Tensor, " k"], fraction: float = 0.99, *, drift: bool = True, total: float | None = None
) -> int:
    r"""The number D_l of principal modes that contain a fraction of the weight variance (paper, Fig. 6).

    Args:
        variance: Variances sigma_i^2 in descending order, of all modes or of the first modes.
        fraction: Fraction of the variance; 0.99 or 0.999 in the paper.
        drift: Whether to include the first mode, which drifts; otherwise the fraction refers to the other modes.
        total: Variance summed over all directions; by default the sum over the given modes.

    Returns:
        The number of modes.

    Raises:
        InputError: If the fraction is not between 0 and 1, the variances do not fall, their sum is zero, or the given
            modes contain less than the fraction.
        NonFiniteError: If a variance is NaN or infinite.

    Example:
        >>> import torch
        >>> learning_dimension(torch.tensor([90.0, 9.0, 0.9, 0.1]), 0.99)
        2
    """
    check_share("the fraction", fraction, hint="Pass 0.99, for example.")
    if total is not None:
        check_positive("total", total)
    _check_descending(variance)
    kept = torch.where(moving(variance), variance, 0.0).double()
    counted = kept if drift else kept[1:]
    whole = float(counted.sum()) if total is None else total - (0.0 if drift else float(variance[0]))
    if not whole > (0.0 if drift else ROUNDING * float(variance[0])):
        raise InputError(expected="a variance above zero", got=f"{whole}", hint="The weights did not move.")
    # A rounding of the sum must not add a mode.
    needed = int((counted.cumsum(0) < (fraction - 1e-12) * whole).sum()) + 1
    if needed > len(counted):
        raise InputError(
            expected=f"modes with a fraction {fraction:g} of the variance",
            got=f"{len(counted)} modes with {float(counted.sum()) / whole:.3g}",
            hint="Compute more modes with principal_modes.",
        )
    return needed


def _check_descending(variance: Float[Tensor, " k"]) -> None:
    """Raise unless variances fall: the first one is that of the mode that drifts."""
    check_finite("variances", variance, hint="Leave out directions whose variance is not known.")
    rises = variance.diff() > _DISORDER * variance.max() if len(variance) else variance > 0
    if bool(rises.any()):
        raise InputError(
            expected="variances in descending order",
            got=f"a rise after rank {int(rises.nonzero()[0]) + 1}",
            hint="Pass variance.sort(descending=True).values.",
        )


def learning_dimension_over_time(
    trajectory: Trajectory, rows: int, fraction: float = 0.99
) -> tuple[Float[Tensor, " windows"], Float[Tensor, " windows"], Float[Tensor, " windows"]]:
    r"""D_l of successive windows of a run, which shows whether the search narrows.

    Args:
        trajectory: Recorded weights.
        rows: Number of rows in a window.
        fraction: Fraction of the variance of each window.

    Returns:
        The last step of each full window, its D_l, and its D_l without the first mode; NaN if nothing moves.

    Raises:
        InputError: If a window has fewer than three rows, or is longer than the trajectory.

    Example:
        >>> import torch
        >>> from landscope.synthetic import random_walk
        >>> path = Trajectory.of(random_walk(100, 50, seed=0))
        >>> steps, dimension, without = learning_dimension_over_time(path, 50, 0.9)
        >>> steps.tolist(), bool((without > dimension).all())
        ([50.0, 100.0], True)
    """
    check_share("the fraction", fraction, hint="Pass 0.99, for example.")
    check_count("rows", rows, minimum=3)
    check_count("rows of the trajectory", len(trajectory), minimum=rows, hint="Use shorter windows.")
    starts = range(0, len(trajectory) - rows + 1, rows)
    steps = [float(trajectory.steps[start + rows - 1]) for start in starts]
    dimensions = []
    for start in starts:
        variance = _variances(trajectory.rows(start, start + rows).double())
        dimensions.append([_dimension_or_nan(variance, fraction, drift=drift) for drift in (True, False)])
    columns = torch.tensor(dimensions, dtype=torch.float64).T
    return torch.tensor(steps, dtype=torch.float64), columns[0], columns[1]


def _variances(weights: Float[Tensor, "rows N"]) -> Float[Tensor, " k"]:
    """The variances of all principal modes, in descending order."""
    centred = weights - weights.mean(dim=0)
    square = centred @ centred.T if len(centred) <= centred.shape[1] else centred.T @ centred
    return torch.linalg.eigvalsh(square).flip(0).clamp(min=0) / len(weights)


def _dimension_or_nan(variance: Float[Tensor, " k"], fraction: float, *, drift: bool) -> float:
    n_moving = int(moving(variance).sum())
    return learning_dimension(variance, fraction, drift=drift) if n_moving > (0 if drift else 1) else math.nan
