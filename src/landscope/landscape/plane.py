"""The loss in a plane through one point, the path of a training in it, and other quantities beside it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from landscope._checks import check_count, check_finite
from landscope.directions.directions import Directions, rows_of
from landscope.errors import InputError, NonFiniteError
from landscope.landscape.lines import plane_of, start_lines
from landscope.landscape.metrics import Metrics, metrics_at, metrics_of
from landscope.landscape.plane_path import PlanePath, grid_over, projected_path
from landscope.landscape.refined_plane import PlaneGrid, contour_levels, refined
from landscope.protocols import LossLandscape, ProgressCallback, silent
from landscope.results import Result, described, stamp
from landscope.trajectory import Trajectory

__all__ = ["LossPlane", "loss_plane"]

_MAX_HALVINGS = 8
_POINTS_PER_CALL = 256
"""Points that share a pass over the data, in which each block of it stays in the cache of the processor."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class LossPlane(
    Result,
    kind="loss_plane",
    dims={
        "first": ("first",), "second": ("second",),
        **dict.fromkeys(("loss", "measured"), ("first", "second")),
        "metric_values": ("metric", "first", "second"),
        "path": ("row", "coordinate"), "path_distance": ("row",), "path_steps": ("row",),
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
        measured: Whether the values at a point were measured, ``[S1, S2]``: others of a refined plane are
            interpolated, the loss in ln L.
        levels: Levels of ln L for whose contours the plane was refined; empty if it was not.
        path: Coordinates (a, b) of the rows of the trajectory, ``[T, 2]``; empty without one.
        path_distance: Distance of each row from the plane, in weight units, ``[T]``.
        path_steps: Optimiser step of each row, ``[T]``.
        path_share: Share of the motion that the plane shows: the sum of the squared displacements from w0 within the
            plane over that of all displacements; NaN without a trajectory.
    """

    first: Float[Tensor, " S1"]
    second: Float[Tensor, " S2"]
    loss: Float[Tensor, "S1 S2"]
    loss0: float
    metric_names: tuple[str, ...]
    metric_values: Float[Tensor, "m S1 S2"]
    measured: Bool[Tensor, "#S1 #S2"] = dataclasses.field(default_factory=lambda: torch.ones(1, 1, dtype=torch.bool))
    levels: tuple[float, ...] = ()
    path: Float[Tensor, "T 2"] = dataclasses.field(default_factory=lambda: torch.empty(0, 2).double())
    path_distance: Float[Tensor, " T"] = dataclasses.field(default_factory=lambda: torch.empty(0).double())
    path_steps: Int[Tensor, " T"] = dataclasses.field(default_factory=lambda: torch.empty(0, dtype=torch.long))
    path_share: float = torch.nan

    def __post_init__(self) -> None:
        # A plane that was saved before there was refinement was measured everywhere.
        object.__setattr__(self, "measured", self.measured.expand(self.loss.shape).contiguous())

    @property
    def metrics(self) -> dict[str, Float[Tensor, "S1 S2"]]:
        """The other quantities, by name."""
        return dict(zip(self.metric_names, self.metric_values, strict=True))


def loss_plane(
    landscape: LossLandscape,
    w0: Float[Tensor, " N"],
    directions: Directions | Float[Tensor, "k N"],
    first: Float[Tensor, " S1"] | None = None,
    second: Float[Tensor, " S2"] | None = None,
    *,
    trajectory: Trajectory | None = None,
    n_points: int = 25,
    refine: int = 0,
    metrics: Metrics | None = None,
    progress: ProgressCallback | None = None,
) -> LossPlane:
    r"""The loss in a plane: :math:`L(w_0 + a\,p_1 + b\,p_2)` at every a and b.

    The pre-activations of a network move on straight lines along p1 and along p2. So they are computed once for each
    direction, and a point costs what comes after them.

    A path that was projected into a plane is not in the plane: the loss of a row is not the loss under its point where
    its distance from the plane is large. ``path_share`` says how much of the motion the plane shows. Of principal
    modes, it is large by construction, and a random walk draws an arc there, see
    :func:`landscope.noise.cosine_content`.

    Args:
        landscape: Any landscape.
        w0: Point (0, 0) of the plane.
        directions: Two directions; they are not normalised, and displacements are in units of their length. They need
            not be orthogonal.
        first: Displacements a along the first direction; by default ``n_points`` that cover w0 and the trajectory with
            a margin.
        second: Displacements b along the second direction, likewise.
        trajectory: The path of a training to project into the plane; its rows are read a piece at a time.
        n_points: Number of points along a direction whose displacements are not given.
        refine: How often a cell of the grid is halved at most: only where one of twelve contours of ln L passes, and
            straight lines between the points would misplace it by more than a tenth of the distance to the next one.
            With 2, a grid of 9 x 9 becomes one of at most 33 x 33; the field ``measured`` names the points.
        metrics: Other quantities to measure at the same points, see :func:`landscope.loss_profiles`.
        progress: Callback for the number of completed lines of the plane.

    Returns:
        The losses and the other quantities, in float64.

    Raises:
        InputError: If there are not two directions, they are parallel, a shape, dtype or device is wrong, or there is
            neither a grid nor a trajectory; or if a plane to refine has a negative loss.
        NonFiniteError: If the loss at w0 is not finite, or a loss is NaN.

    Example:
        >>> import landscope as ls, torch
        >>> from landscope.synthetic import QuadraticBowl
        >>> bowl, steps = QuadraticBowl(torch.tensor([2.0, 8.0]), minimum=1.0), torch.tensor([0.0, 1.0])
        >>> loss_plane(bowl, torch.zeros(2), torch.eye(2), steps, steps).loss.tolist()
        [[1.0, 5.0], [2.0, 6.0]]

        The path of a training has 9/25 of its motion in the plane of the first two of three weights.

        >>> bowl = QuadraticBowl(torch.ones(3), minimum=1.0)
        >>> path = ls.Trajectory.of(torch.tensor([[3.0, 0.0, 4.0], [0.0, 3.0, 4.0], [0.0, 0.0, 0.0]]))
        >>> plane = loss_plane(bowl, torch.zeros(3), torch.eye(3)[:2], trajectory=path)
        >>> plane.path.tolist(), round(plane.path_share, 3), tuple(plane.loss.shape)
        ([[3.0, 0.0], [0.0, 3.0], [0.0, 0.0]], 0.36, (25, 25))
    """
    rows = rows_of(directions)
    if len(rows) != 2:
        raise InputError(
            expected="two directions", got=f"{len(rows)}", hint="Pass directions.part([0, 1]) or a tensor [2, N]."
        )
    check_count("n_points", n_points, minimum=2)
    check_count("refine", refine, minimum=0, maximum=_MAX_HALVINGS)
    centred = start_lines(landscape, w0, rows)
    path = None if trajectory is None else projected_path(trajectory, w0, rows)
    a, b = _grid(first, second, path, n_points)
    rows, functions = rows.to(w0), metrics_of(landscape, metrics)
    points = _Points(plane_of(landscape, centred.lines, w0, rows), functions, w0, rows)
    grid = PlaneGrid(a, b, points.on_grid(a, b, progress or silent), torch.ones(len(a), len(b), dtype=torch.bool))
    levels = contour_levels(grid.values[0]) if refine else torch.empty(0)
    grid = refined(grid, points, refine, levels)
    plane = LossPlane(
        first=grid.first, second=grid.second, loss=grid.values[0], loss0=centred.loss, measured=grid.measured,
        metric_names=tuple(functions), metric_values=grid.values[1:], levels=tuple(levels.tolist()),
        provenance=stamp(landscape=described(landscape), refine=refine),
    )  # fmt: skip
    if path is None:
        return plane
    return dataclasses.replace(
        plane, path=path.coordinates, path_distance=path.distance, path_steps=path.steps, path_share=path.share
    )


@dataclasses.dataclass(frozen=True)
class _Points:
    """The loss and the other quantities at points of the plane."""

    losses: Callable[[Tensor, Tensor], Tensor]
    metrics: Mapping[str, Callable[[Tensor], float]]
    w0: Tensor
    directions: Tensor

    def on_grid(self, a: Tensor, b: Tensor, progress: ProgressCallback) -> Tensor:
        """``a[S1], b[S2] -> values[1 + m, S1, S2]``, some lines along the first direction at a time."""
        lines: list[Tensor] = []
        for some in b.split(max(1, _POINTS_PER_CALL // len(a))):
            found = self(a.repeat(len(some)), some.repeat_interleave(len(a)))
            lines += found.unflatten(1, (len(some), len(a))).unbind(1)
            progress(len(lines), len(b))
        return torch.stack(lines, 2)

    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        """``a[n], b[n] -> values[1 + m, n]``."""
        losses = self.losses(a, b)
        if bool(torch.isnan(losses).any()):
            bad = int(torch.isnan(losses).nonzero()[0])
            raise NonFiniteError(
                expected="a loss that is a number at every point of the plane",
                got=f"NaN at ({float(a[bad]):.6g}, {float(b[bad]):.6g})",
                hint="Use smaller displacements, or find out why the model returns NaN at this point.",
            )
        places = list(zip(a.tolist(), b.tolist(), strict=True))
        return torch.cat([losses[None], metrics_at(self.metrics, places, self._weights_at)])

    def _weights_at(self, place: tuple[float, float]) -> Tensor:
        return self.w0 + place[1] * self.directions[1] + place[0] * self.directions[0]


def _grid(first: Tensor | None, second: Tensor | None, path: PlanePath | None, n_points: int) -> tuple[Tensor, Tensor]:
    if first is None or second is None:
        if path is None:
            raise InputError(
                expected="displacements first and second, or a trajectory that they are to cover", got="neither",
                hint="For example first=torch.linspace(-1, 1, 25), or trajectory=window.",
            )  # fmt: skip
        over = grid_over(path, n_points)
        first, second = over[0] if first is None else first, over[1] if second is None else second
    return _displacements("first", first), _displacements("second", second)


def _displacements(name: str, steps: Tensor) -> Tensor:
    if not isinstance(steps, Tensor) or steps.ndim != 1 or not len(steps):
        raise InputError(
            expected=f"{name} as a tensor of displacements, [S]",
            got=f"shape {tuple(steps.shape)}" if isinstance(steps, Tensor) else type(steps).__name__,
            hint="For example torch.linspace(-1, 1, 25).",
        )
    return check_finite("displacements", steps, hint="Pass finite numbers.").double().cpu()
