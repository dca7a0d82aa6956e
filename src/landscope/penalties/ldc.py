"""Landscape-dependent constraints: sharp directions of a task held, from the recorded weights alone (paper, Eq. 14)."""

from __future__ import annotations

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
"""Stiffness of all other directions: that of the last constrained mode, or none, as in the paper."""

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
    r"""Hold the weights in the valley of a task along the directions it wandered along (paper, Eq. 14).

    .. math:: V(w) = \lambda \Big[ \sum_{i \le N_c} \frac{(p_i \cdot (w - w_1))^2}{F_i^2}
              + \frac{|z_\perp|^2}{F_{N_c}^2} \Big]

    with :math:`z_\perp` the part of :math:`w - w_1` along none of the :math:`p_i`. The paper has the first sum only
    (``floor="none"``): there, learning leaks into the directions that are free, and trained on for long, the first task
    is forgotten after all.

    Along one mode :math:`\ln L_1 \approx \ln L_1(w_1) + 4 d^2/F^2`, so with :math:`\lambda = 4` V is about the rise of
    ln L_1 along the modes that are held: a default with a meaning, to start from (the paper's choice is 10). V is no
    estimate of the loss of the task: most of what the weights move later is along none of the modes. The floor is as
    stiff as the last of them: the fewer modes, the stiffer all the rest. Where the next task is not learnt, hold
    more modes, or lower ``floor`` or ``strength``; where the last one is forgotten, the other way round.

    Args:
        w1: Weights at the end of the task.
        modes: Principal modes of its exploration phase, the first one, which drifts, included.
        flatness: F_i along at least ``n_modes`` of them, measured, or :func:`flatness_from_variance`. A mode without a
            flatness within reach (NaN) is left to the floor.
        n_modes: N_c, how many modes to constrain; by default all that ``flatness`` has and the weights moved along.
        floor: ``"last-mode"``, the stiffness of the last constrained mode (of the flattest one where that is not
            known); ``"none"``; or a stiffness, not negative.
        strength: lambda.

    Returns:
        The penalty, in the dtype and on the device of ``w1``: (N_c + 1) N numbers.

    Raises:
        InputError: If the shapes do not fit, the window has fewer moving modes than ``n_modes``, or no flatness is
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
    check_kind("modes", modes, Directions, hint="Pass what ls.principal_modes(trajectory) returned.")
    w1, known = check_vector("w1", w1, dim=len(modes.mean)), _widths_of(flatness)
    if modes.n_moving == 0:
        raise InputError(
            expected="a window in which the weights moved", got="one in which they did not",
            hint="Record while the optimiser trains them.",
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
    width = flatness.width if isinstance(flatness, Flatness) else flatness
    check_kind("flatness", width, Tensor, hint="Pass what ls.flatness(...) returned, or a tensor.")
    if width.ndim != 1:
        raise InputError(expected="one flatness a mode, [k]", got=f"shape {tuple(width.shape)}", hint="Flatten it.")
    return width


def _check_modes(modes: Directions, known: Tensor, count: int) -> None:
    if count > len(known) or count > len(modes):
        raise InputError(
            expected=f"at least {count} modes, each with a flatness",
            got=f"{len(modes)} modes and {len(known)} flatnesses",
            hint="Measure more, or constrain fewer.",
        )
    if count > modes.n_moving:
        raise InputError(
            expected=f"n_modes of at most {modes.n_moving}, the modes the weights moved along in the window of"
            f" {modes.n_steps} rows",
            got=f"{count}",
            hint="Record longer, or constrain fewer: directions without variance are arbitrary.",
        )


def check_widths(width: Float[Tensor, " k"]) -> None:
    """Raise where flatnesses are not positive numbers, or none is known."""
    bad = torch.isinf(width) | (width <= 0)
    if bool(bad.any()):
        raise NonFiniteError(
            expected="flatnesses above 0 and finite, or NaN where unknown",
            got=f"{float(width[bad][0])} at mode {int(bad.nonzero()[0]) + 1}",
            hint="Leave that mode out, or mark it as NaN to leave it to the floor.",
        )
    if bool(torch.isnan(width).all()):
        raise InputError(
            expected="a flatness of at least one mode",
            got="none within reach",
            hint="Look farther (max_displacement), or at a smaller ratio: the loss may be unable to rise by e.",
        )


def _floor(floor: Floor | float, width: Tensor, stiffness: Tensor) -> float:
    if floor == "none":
        return 0.0
    if floor == "last-mode":
        last = float(width[-1])
        return last**-2 if last == last else float(stiffness.min())
    if isinstance(floor, str):
        raise InputError(expected='floor "last-mode", "none", or a stiffness', got=repr(floor), hint="Choose one.")
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

    The relation gives no scale: a few modes must be measured.

    Args:
        variance: sigma_i^2 of all modes.
        psi: The exponent; the paper tries 3, 4 and 5.
        measured: F along the modes of ``ranks``; NaN, where none was within reach, is left out.
        ranks: Which modes these are, counted from 1.

    Returns:
        F of every mode, in float64.

    Raises:
        InputError: If psi is not positive, the numbers do not fit, or none of the measured modes has a flatness.
        NonFiniteError: If a variance is zero, or anything but ``measured`` NaN.

    Example:
        >>> import torch
        >>> flatness_from_variance(torch.tensor([16.0, 1.0]), 4.0, torch.tensor([1.0]), ranks=[1]).tolist()
        [1.0, 2.0]
    """
    check_positive("psi", psi, hint="The relation is inverse; take 4.")
    known = _widths_of(measured).double()
    if len(known) != len(ranks) or any(not 1 <= rank <= len(variance) for rank in ranks):
        raise InputError(
            expected=f"a flatness for each of the ranks, from 1 to {len(variance)}",
            got=f"{len(known)} for the ranks {list(ranks)[:8]}",
            hint="Pass the ranks of the modes that were measured.",
        )
    if not bool((variance > 0).all()) or not bool(torch.isfinite(variance).all()):
        raise NonFiniteError(
            expected="variances above 0 and finite", got=f"{float(variance.min())} at least",
            hint="Leave out the modes along which nothing moved.",
        )  # fmt: skip
    place = torch.tensor([rank - 1 for rank in ranks])
    logs = known.log() + variance.double()[place].log() / psi
    usable = torch.isfinite(logs)
    if not bool(usable.any()):
        raise InputError(
            expected="a finite flatness above 0 of at least one mode", got="none", hint="Measure other modes."
        )
    return torch.exp(logs[usable].mean() - variance.double().log() / psi)
