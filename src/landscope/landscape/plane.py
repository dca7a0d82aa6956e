"""The loss in a plane through one point, and other quantities beside it."""

from __future__ import annotations

import copy
import dataclasses
import warnings

import torch
from jaxtyping import Float
from torch import Tensor

from landscope._checks import check_finite
from landscope.directions.directions import Directions, rows_of
from landscope.errors import InputError, LandscopeWarning, NonFiniteError
from landscope.landscape.lines import lines_of, start_lines
from landscope.landscape.metrics import Metrics, metrics_at, metrics_of
from landscope.protocols import LossLandscape, ProgressCallback
from landscope.results import Result, described, stamp

__all__ = ["LossPlane", "loss_plane"]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class LossPlane(
    Result,
    kind="loss_plane",
    dims={
        "first": ("first",), "second": ("second",), "loss": ("first", "second"),
        "metric_values": ("metric", "first", "second"),
    },
):  # fmt: skip
    """Losses in a plane through one point.

    Args:
        first: Displacements a along the first direction, in units of its length, ``[S1]``.
        second: Displacements b along the second direction, ``[S2]``.
        loss: Losses L(w0 + a p1 + b p2), ``[S1, S2]``; infinite if the loss overflows.
        loss0: Loss L(w0).
        metric_names: Names of the other quantities.
        metric_values: The other quantities at the same points, ``[m, S1, S2]``.
    """

    first: Float[Tensor, " S1"]
    second: Float[Tensor, " S2"]
    loss: Float[Tensor, "S1 S2"]
    loss0: float
    metric_names: tuple[str, ...]
    metric_values: Float[Tensor, "m S1 S2"]

    @property
    def metrics(self) -> dict[str, Float[Tensor, "S1 S2"]]:
        """The other quantities, by name."""
        return dict(zip(self.metric_names, self.metric_values, strict=True))


def loss_plane(
    landscape: LossLandscape,
    w0: Float[Tensor, " N"],
    directions: Directions | Float[Tensor, "k N"],
    first: Float[Tensor, " S1"],
    second: Float[Tensor, " S2"],
    *,
    metrics: Metrics | None = None,
    progress: ProgressCallback | None = None,
) -> LossPlane:
    r"""The loss in a plane: :math:`L(w_0 + a\,p_1 + b\,p_2)` at every a and b.

    Args:
        landscape: Any landscape.
        w0: Point (0, 0) of the plane.
        directions: Two directions; they are not normalised, and displacements are in units of their length.
        first: Displacements a along the first direction.
        second: Displacements b along the second direction.
        metrics: Other quantities to measure at the same points, see :func:`landscope.loss_profiles`.
        progress: Callback for the number of completed lines of the plane.

    Returns:
        The losses and the other quantities, in float64.

    Raises:
        InputError: If there are not two directions, they are parallel, or a shape, dtype or device is wrong.
        NonFiniteError: If the loss at w0 is not finite, or a loss is NaN.

    Example:
        >>> import torch
        >>> from landscope.synthetic import QuadraticBowl
        >>> bowl, steps = QuadraticBowl(torch.tensor([2.0, 8.0]), minimum=1.0), torch.tensor([0.0, 1.0])
        >>> loss_plane(bowl, torch.zeros(2), torch.eye(2), steps, steps).loss.tolist()
        [[1.0, 5.0], [2.0, 6.0]]
    """
    rows = rows_of(directions)
    if len(rows) != 2:
        raise InputError(
            expected="two directions", got=f"{len(rows)}", hint="Pass directions.part([0, 1]) or a tensor [2, N]."
        )
    centred = start_lines(landscape, w0, rows)
    a, b = (_displacements(name, steps) for name, steps in (("first", first), ("second", second)))
    rows, functions = rows.to(w0), metrics_of(landscape, metrics)
    loss = torch.empty(len(a), len(b), dtype=torch.float64)
    values = torch.empty(len(functions), len(a), len(b), dtype=torch.float64)
    # A risk says once that other weights have other statistics; the lines through w0 have said it where it matters.
    shifted = copy.copy(landscape)
    for column, step in enumerate(b.tolist()):
        start = w0 + step * rows[1]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", LandscopeWarning)
            lines = lines_of(shifted, start, rows[:1])
        loss[:, column] = lines(torch.zeros(len(a), dtype=torch.long), a)
        values[:, :, column] = metrics_at(functions, (start + move * rows[0] for move in a.tolist()))
        if progress is not None:
            progress(column + 1, len(b))
    if bool(torch.isnan(loss).any()):
        i, j = torch.isnan(loss).nonzero()[0].tolist()
        raise NonFiniteError(
            expected="a loss that is a number at every point of the plane",
            got=f"NaN at ({float(a[i]):.6g}, {float(b[j]):.6g})",
            hint="Use smaller displacements, or find out why the model returns NaN at this point.",
        )
    return LossPlane(
        first=a, second=b, loss=loss, loss0=centred.loss, metric_names=tuple(functions), metric_values=values,
        provenance=stamp(landscape=described(landscape)),
    )  # fmt: skip


def _displacements(name: str, steps: Tensor) -> Tensor:
    if not isinstance(steps, Tensor) or steps.ndim != 1 or not len(steps):
        raise InputError(
            expected=f"{name} as a tensor of displacements, [S]",
            got=f"shape {tuple(steps.shape)}" if isinstance(steps, Tensor) else type(steps).__name__,
            hint="For example torch.linspace(-1, 1, 25).",
        )
    return check_finite("displacements", steps, hint="Pass finite numbers.").double().cpu()
