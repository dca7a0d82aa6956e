"""Loss profiles along directions (paper, Eq. 6), and fits by simple functions (Fig. 2B)."""

from __future__ import annotations

import dataclasses

import torch
from jaxtyping import Float
from torch import Tensor

from landscope._checks import check_finite
from landscope.directions.directions import Directions, rows_of
from landscope.errors import InputError
from landscope.landscape.lines import start_lines, steps_for
from landscope.landscape.metrics import Metrics, metrics_at, metrics_of
from landscope.protocols import LossLandscape, ProgressCallback
from landscope.results import Result, stamp

__all__ = ["LossProfiles", "ProfileFits", "fit_profiles", "loss_profiles", "quadratic_fit"]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class LossProfiles(
    Result,
    kind="loss_profiles",
    dims={
        **dict.fromkeys(("displacements", "loss"), ("direction", "point")),
        "metric_values": ("metric", "direction", "point"),
    },
):
    """Losses along lines through one point.

    Args:
        displacements: Displacements delta theta, in units of the length of each direction, ``[k, S]``.
        loss: Losses L_i(delta theta), ``[k, S]``; infinite if the loss overflows.
        loss0: Loss L(w0).
        metric_names: Names of the other quantities.
        metric_values: The other quantities at the same points, ``[m, k, S]``.
    """

    displacements: Float[Tensor, "k S"]
    loss: Float[Tensor, "k S"]
    loss0: float
    metric_names: tuple[str, ...] = ()
    metric_values: Float[Tensor, "m rows points"] = dataclasses.field(default_factory=lambda: torch.empty(0, 0, 0))

    @property
    def metrics(self) -> dict[str, Float[Tensor, "k S"]]:
        """The other quantities, by name."""
        return dict(zip(self.metric_names, self.metric_values, strict=True))


def loss_profiles(
    landscape: LossLandscape,
    w0: Float[Tensor, " N"],
    directions: Directions | Float[Tensor, "k N"],
    displacements: Float[Tensor, "*k S"],
    *,
    metrics: Metrics | None = None,
    progress: ProgressCallback | None = None,
) -> LossProfiles:
    r"""The loss along directions: :math:`L_i(\delta\theta) = L(w_0 + \delta\theta\, p_i)` (paper, Eq. 6).

    Args:
        landscape: Any landscape.
        w0: Centre of the lines.
        directions: Directions p_i; they are not normalised, and displacements are in units of their length.
        displacements: Displacements delta theta, ``[S]`` for all directions or ``[k, S]`` for each.
        metrics: Other quantities to measure at the same points, by name: ``f(model) -> number`` for a risk of a model
            (:meth:`landscope.EmpiricalRisk.metric`), ``f(w[N]) -> number`` for any other landscape. The accuracy on
            some data is ``{"accuracy": lambda model: (model(x).argmax(1) == y).double().mean()}``.
        progress: Callback for the number of completed directions.

    Returns:
        The profiles, in float64.

    Raises:
        InputError: If a shape, dtype or device is wrong, or directions are zero or parallel.
        NonFiniteError: If the loss at w0 is not finite, or a loss is NaN.

    Example:
        >>> import torch
        >>> from landscope.synthetic import QuadraticBowl
        >>> bowl = QuadraticBowl(torch.tensor([2.0, 8.0]), minimum=1.0)
        >>> loss_profiles(bowl, torch.zeros(2), torch.eye(2), torch.tensor([0.0, 1.0])).loss.tolist()
        [[1.0, 2.0], [1.0, 5.0]]
    """
    directions = rows_of(directions)
    lines = start_lines(landscape, w0, directions)
    count = len(directions)
    steps = steps_for(displacements, count)
    loss, functions = torch.empty_like(steps), metrics_of(landscape, metrics)
    values = torch.empty(len(functions), *steps.shape, dtype=torch.float64)
    for first in range(0, count, lines.group):
        rows = torch.arange(first, min(first + lines.group, count))
        index = rows.repeat_interleave(steps.shape[1])
        loss[rows] = lines.losses(index, steps[rows].flatten()).view(len(rows), -1)
        for row in rows.tolist():
            direction = directions[row].to(w0)
            values[:, row] = metrics_at(functions, steps[row].tolist(), lambda step, p=direction: w0 + step * p)
        if progress is not None:
            progress(int(rows[-1]) + 1, count)
    return LossProfiles(
        displacements=steps, loss=loss, loss0=lines.loss, metric_names=tuple(functions), metric_values=values,
        provenance=stamp(),
    )  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class ProfileFits(Result, kind="profile_fits", axis="direction"):
    """Two descriptions of each profile, fitted to the same points (paper, Fig. 2B).

    Args:
        log_curvature: Curvature M of ln L = log_offset + log_slope d + M d^2/2, ``[k]``.
        log_slope: Slope of ln L at d = 0.
        log_offset: Fitted ln L at d = 0.
        log_residual: Root mean square of ln L minus this fit, the inverse Gaussian.
        curvature: Curvature H of L = offset + slope d + H d^2/2.
        slope: Slope of L at d = 0.
        offset: Fitted L at d = 0.
        quadratic_residual: Root mean square of ln L minus the logarithm of this quadratic, which is at least L0/100;
            so the two residuals are comparable.
    """

    log_curvature: Float[Tensor, " k"]
    log_slope: Float[Tensor, " k"]
    log_offset: Float[Tensor, " k"]
    log_residual: Float[Tensor, " k"]
    curvature: Float[Tensor, " k"]
    slope: Float[Tensor, " k"]
    offset: Float[Tensor, " k"]
    quadratic_residual: Float[Tensor, " k"]


def fit_profiles(profiles: LossProfiles) -> ProfileFits:
    r"""Fit each profile by an inverse Gaussian and by a quadratic, with least squares (paper, Fig. 2B).

    .. math:: \ln L \approx \ln L_0 + b\,\delta + \tfrac12 M \delta^2
              \qquad\text{and}\qquad L \approx L_0 + g\,\delta + \tfrac12 H \delta^2

    Each fit is on its own scale, and both residuals are those of ln L.

    Args:
        profiles: Profiles with finite losses.

    Returns:
        The fits.

    Raises:
        InputError: If a direction has fewer than four points, or a loss is not positive.
        NonFiniteError: If a loss is not finite.

    Example:
        >>> import torch
        >>> from landscope.synthetic import InverseGaussian
        >>> well = InverseGaussian(torch.tensor([3.0]), minimum=0.1)
        >>> d = torch.linspace(-1, 1, 21)
        >>> fits = fit_profiles(loss_profiles(well, torch.zeros(1), torch.eye(1), d))
        >>> round(float(fits.log_curvature[0]), 4), bool(fits.log_residual[0] < fits.quadratic_residual[0])
        (3.0, True)
    """
    if profiles.loss.shape[1] < 4:
        raise InputError(
            expected="at least 4 points in each profile",
            got=f"{profiles.loss.shape[1]}",
            hint="Sample more displacements.",
        )
    loss = check_finite("losses to fit", profiles.loss, hint="Fit a range with finite losses.")
    if bool((loss <= 0).any()):
        raise InputError(
            expected="positive losses to fit",
            got=f"{float(loss.min()):.3g}",
            hint="Fit a range with positive losses: ln L needs them.",
        )
    log_loss = torch.log(loss)
    log_fit, log_values = quadratic_fit(profiles.displacements, log_loss)
    fit, values = quadratic_fit(profiles.displacements, loss)
    floor = profiles.loss0 / 100
    return ProfileFits(
        log_offset=log_fit[:, 0],
        log_slope=log_fit[:, 1],
        log_curvature=log_fit[:, 2],
        log_residual=(log_loss - log_values).square().mean(dim=1).sqrt(),
        offset=fit[:, 0],
        slope=fit[:, 1],
        curvature=fit[:, 2],
        quadratic_residual=(log_loss - torch.log(values.clamp(min=floor))).square().mean(dim=1).sqrt(),
        provenance=stamp(),
    )


def quadratic_fit(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Least squares of y on 1, x, x^2/2 for each row: offset, slope and curvature, and the fitted values.

    Orthogonal polynomials and plain sums give the same bits in every call; a library solver does not.
    """

    def mean(values: Tensor) -> Tensor:
        return values.sum(dim=1, keepdim=True) / values.shape[1]

    centre = mean(x)
    linear = x - centre
    square = x.square() / 2
    tilt = mean(square * linear) / mean(linear.square())
    curved = square - mean(square) - tilt * linear
    curvature = mean(y * curved) / mean(curved.square())
    along = mean(y * linear) / mean(linear.square())
    slope = along - curvature * tilt
    offset = mean(y) - along * centre - curvature * (mean(square) - tilt * centre)
    return torch.cat([offset, slope, curvature], dim=1), offset + slope * x + curvature * square
