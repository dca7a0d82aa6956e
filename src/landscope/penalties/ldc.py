"""Landscape-dependent constraints: hold the sharp directions found in the recorded weights (paper, Eq. 14)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from landscope._checks import check_count, check_kind, check_positive, check_strength, check_vector
from landscope.directions.directions import Directions
from landscope.errors import InputError, NonFiniteError
from landscope.landscape.flatness import Flatness
from landscope.penalties.quadratic import QuadraticPenalty
from landscope.results import stamp

__all__ = ["Floor", "check_widths", "flatness_from_variance", "landscape_dependent_constraint"]

Floor = Literal["last-mode", "none"]
"""Stiffness of all other directions: that of the last held mode, or none, as in the paper."""

_LOG_LOSS = 4.0
"""ln L = ln L0 + 4 d^2/F^2 along a direction of flatness F (paper, Eq. 7, for an inverse Gaussian)."""


def landscape_dependent_constraint(
    w1: Float[Tensor, " N"],
    modes: Directions,
    flatness: Flatness | Float[Tensor, " k"],
    *,
    n_modes: int | None = None,
    floor: Floor | float = "last-mode",
    strength: float = _LOG_LOSS,
) -> QuadraticPenalty:
    r"""Hold the weights along the principal modes of a task, by the flatness of each mode (paper, Eq. 14).

    .. math:: V(w) = \lambda \Big[ \sum_{i \le N_c} \frac{(p_i \cdot (w - w_1))^2}{F_i^2}
              + \frac{|z_\perp|^2}{F_{N_c}^2} \Big]

    where :math:`z_\perp` is the part of :math:`w - w_1` orthogonal to all :math:`p_i`. The paper has only the first
    sum (``floor="none"``): the next task then changes the free directions, and long training forgets the first task
    after all.

    Along one mode :math:`\ln L_1 \approx \ln L_1(w_1) + 4 d^2/F^2`, so with :math:`\lambda = 4` V is about the rise
    of ln L_1 along the held modes. Start from this default (the paper uses 10) and tune it in factors of ten. V does
    not estimate the loss of the task, because the weights mostly move orthogonally to the modes. The floor is the
    stiffness of the last held mode, so fewer modes give a stiffer floor. If the next task is not learnt, hold more
    modes, or lower ``floor`` or ``strength``; if the earlier task is forgotten, do the opposite.

    Args:
        w1: Weights at the end of the task.
        modes: Principal modes of the exploration phase, including the first one, which drifts.
        flatness: Flatness F_i along at least ``n_modes`` of the modes, measured or from
            :func:`flatness_from_variance`. One measured at another ratio r than e counts as F_i/sqrt(ln r), which is
            the flatness at e where ln L is quadratic. A mode whose flatness is NaN is left to the floor.
        n_modes: Number N_c of modes to hold; by default all modes that have a flatness and in which the weights moved.
        floor: ``"last-mode"`` for the stiffness of the last held mode (that of the flattest mode if it is NaN);
            ``"none"``; or a stiffness of at least 0.
        strength: Factor lambda.

    Returns:
        The penalty, in the dtype and on the device of ``w1``; it stores (N_c + 1) N values.

    Raises:
        InputError: If the shapes do not fit, the weights moved along fewer than ``n_modes`` modes, or no flatness is
            known.
        NonFiniteError: If a flatness is zero, negative or infinite.

    Example:
        >>> import torch
        >>> from landscope import Trajectory, principal_modes
        >>> from landscope.synthetic import random_walk
        >>> path = Trajectory.of(random_walk(50, 10, seed=0))
        >>> modes, w1 = principal_modes(path, 3), path.row(-1)
        >>> penalty = landscape_dependent_constraint(w1, modes, torch.tensor([0.5, 1.0, 2.0]))
        >>> round(float(penalty(w1 + modes.directions[0].to(w1))), 3), penalty.floor
        (16.0, 0.25)
    """
    check_kind("modes", modes, Directions, hint="Pass the result of ls.principal_modes(trajectory).")
    w1, known = check_vector("w1", w1, dim=len(modes.mean)), _widths_of(flatness)
    if modes.n_moving == 0:
        raise InputError(
            expected="a window in which the weights moved", got="constant weights",
            hint="Record while the optimiser trains these weights.",
        )  # fmt: skip
    count = check_count("n_modes", min(len(known), modes.n_moving) if n_modes is None else n_modes, minimum=1)
    _check_modes(modes, known, count)
    width = known[:count].double()
    check_widths(width)
    bracketed = ~torch.isnan(width)
    stiffness = width[bracketed] ** -2
    return QuadraticPenalty(
        anchor=w1.detach().clone(),
        directions=modes.directions[:count][bracketed.to(modes.directions.device)].to(w1),
        stiffness=stiffness.to(w1),
        floor=_floor(floor, width, stiffness),
        strength=strength,
        parameters=modes.parameters,
        provenance=stamp(n_modes=count, floor=floor, strength=strength, source=dict(modes.provenance)),
    )


def _widths_of(flatness: Flatness | Tensor) -> Float[Tensor, " k"]:
    width = flatness.width / math.sqrt(math.log(flatness.ratio)) if isinstance(flatness, Flatness) else flatness
    check_kind("flatness", width, Tensor, hint="Pass the result of ls.flatness(...), or a tensor.")
    if width.ndim != 1:
        raise InputError(
            expected="one flatness a mode, [k]", got=f"shape {tuple(width.shape)}", hint="Pass a tensor with one axis."
        )
    return width


def _check_modes(modes: Directions, known: Tensor, count: int) -> None:
    if count > len(known) or count > len(modes.variance):
        raise InputError(
            expected=f"at least {count} modes, each with a flatness",
            got=f"{len(modes.variance)} modes and {len(known)} flatnesses",
            hint="Measure the flatness of more modes, or hold fewer.",
        )
    if count > modes.n_moving:
        raise InputError(
            expected=f"n_modes of at most {modes.n_moving}, the number of modes in which the weights moved in"
            f" {modes.n_steps} rows",
            got=f"{count}",
            hint="Record longer, or hold fewer modes: directions without variance are arbitrary.",
        )


def check_widths(width: Float[Tensor, " k"]) -> None:
    """Raise where a flatness is zero, negative or infinite, or where all are NaN."""
    bad = torch.isinf(width) | (width <= 0)
    if bool(bad.any()):
        raise NonFiniteError(
            expected="flatnesses above 0 and finite, or NaN where unknown",
            got=f"{float(width[bad][0])} at mode {int(bad.nonzero()[0]) + 1}",
            hint="Leave that mode out, or set its flatness to NaN to leave it to the floor.",
        )
    if bool(torch.isnan(width).all()):
        raise InputError(
            expected="a flatness of at least one mode",
            got="none within reach",
            hint="Raise max_displacement, or lower ratio: some losses cannot rise by a factor of e.",
        )


def _floor(floor: Floor | float, width: Tensor, stiffness: Tensor) -> float:
    if floor == "none":
        return 0.0
    if floor == "last-mode":
        last = float(width[-1])
        return last**-2 if last == last else float(stiffness.min())
    if isinstance(floor, str):
        raise InputError(
            expected='floor "last-mode", "none", or a stiffness', got=repr(floor), hint="Pass one of these."
        )
    return float(check_strength("floor", floor))


def flatness_from_variance(
    variance: Float[Tensor, " k"],
    psi: float,
    measured: Flatness | Float[Tensor, " m"],
    ranks: Sequence[int],
) -> Float[Tensor, " k"]:
    r"""The flatness of all modes from their variance by the variance-flatness relation (paper, Eq. 8).

    .. math:: F_i = c\, \sigma_i^{-2/\psi}, \qquad
              \ln c = \big\langle \ln F_j + \tfrac{1}{\psi} \ln \sigma_j^2 \big\rangle_{j \in ranks}

    The relation gives no scale, so a few modes must be measured.

    Args:
        variance: Variances sigma_i^2 of all modes.
        psi: Exponent; the paper tries 3, 4 and 5.
        measured: Flatness along the modes of ``ranks``; NaN entries are ignored.
        ranks: Ranks of the measured modes, counted from 1.

    Returns:
        Flatness of every mode, in float64.

    Raises:
        InputError: If psi is not positive, the lengths do not fit, or no measured mode has a flatness.
        NonFiniteError: If a variance is not positive and finite, or a flatness is zero, negative or infinite.

    Example:
        >>> import torch
        >>> flatness_from_variance(torch.tensor([16.0, 1.0]), 4.0, torch.tensor([1.0]), ranks=[1]).tolist()
        [1.0, 2.0]
    """
    check_positive("psi", psi, hint="The relation is inverse; use 4.")
    known = _widths_of(measured).double()
    if len(known) != len(ranks) or any(not 1 <= rank <= len(variance) for rank in ranks):
        raise InputError(
            expected=f"one flatness for each rank, with ranks from 1 to {len(variance)}",
            got=f"{len(known)} for the ranks {list(ranks)[:8]}",
            hint="Pass the ranks of the measured modes.",
        )
    if not bool((variance > 0).all()) or not bool(torch.isfinite(variance).all()):
        raise NonFiniteError(
            expected="variances above 0 and finite", got=f"{float(variance.min())} at least",
            hint="Leave out the modes in which the weights did not move.",
        )  # fmt: skip
    check_widths(known)
    place = torch.tensor([rank - 1 for rank in ranks])
    logs = known.log() + variance.double()[place].log() / psi
    usable = torch.isfinite(logs)
    if not bool(usable.any()):
        raise InputError(
            expected="a finite flatness above 0 of at least one mode",
            got="none",
            hint="Measure other modes.",
        )
    return torch.exp(logs[usable].mean() - variance.double().log() / psi)
