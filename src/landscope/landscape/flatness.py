"""Flatness along directions (paper, Eq. 7): the width of the region with a loss below e times its central value."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from landscope._checks import check_positive, check_ratio, check_tolerance
from landscope.directions.directions import Directions, rows_of
from landscope.errors import InputError
from landscope.landscape.crossing import Crossing, find_crossing
from landscope.landscape.lines import CentredLines, start_lines
from landscope.processes import check_same_call, share
from landscope.processes import joined as joined_parts
from landscope.protocols import LossLandscape, ProgressCallback
from landscope.results import Result, described, stamp

__all__ = ["Flatness", "flatness", "joined"]

_START = 0.05
_REACH = 10.0
_REACH_AT_ORIGIN = 100.0
_FINEST = 1e-12
SAME_LOSS = 1e-4
"""Losses at w0 that differ by less, relative to each other, are of the same data: kernels and devices round."""
_SKETCH_RTOL = 3e-3


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Flatness(Result, kind="flatness", axis="direction"):
    """Widths of the region with a loss below ``ratio`` times its value at the centre.

    Args:
        left: Nearest crossing theta^l on the negative side, at most 0, ``[k]``; NaN if there is none.
        right: Nearest crossing theta^r on the positive side, ``[k]``; NaN if there is none.
        width: Flatness F_i = theta^r - theta^l; NaN if a side has no crossing within ``max_displacement``.
        bracketed: Whether both sides have a crossing; other directions are censored, and fits omit them.
        evaluations: Number of evaluations of the whole loss along each direction.
        loss0: Loss L(w0).
        ratio: Factor of the loss at the crossings; e in the paper.
        max_displacement: Largest displacement of the search along each direction.
    """

    left: Float[Tensor, " k"]
    right: Float[Tensor, " k"]
    width: Float[Tensor, " k"]
    bracketed: Bool[Tensor, " k"]
    evaluations: Int[Tensor, " k"]
    loss0: float
    ratio: float
    max_displacement: Float[Tensor, " k"]

    def __post_init__(self) -> None:
        if bool((self.width <= 0).any()):
            raise InputError(
                expected="widths above 0, or NaN without a crossing",
                got=f"{float(self.width.nan_to_num(nan=1).min()):g}",
                hint="A width is the distance of the right crossing from the left one.",
            )  # fmt: skip


def flatness(
    landscape: LossLandscape,
    w0: Float[Tensor, " N"],
    directions: Directions | Float[Tensor, "k N"],
    ratio: float = math.e,
    rtol: float = 1e-3,
    max_displacement: float | None = None,
    *,
    progress: ProgressCallback | None = None,
) -> Flatness:
    r"""Flatness :math:`F_i = \theta^r_i - \theta^l_i` with :math:`L(w_0 + \theta_i p_i) = r L(w_0)` (paper, Eq. 7).

    On each side the nearest crossing counts. The result for a direction does not depend on the other directions. The
    search checks for a nearer crossing at one and two thirds of the distance; it can miss a narrower barrier between
    these points.

    If a quarter of the samples or fewer carry 99 % of the loss, the search uses these samples first, as a sketch of the
    loss. The result is always a crossing of the whole loss, bracketed to ``rtol``. But if it is within a tenth of the
    crossing of the sketch, the inward checks used the sketch only, and can miss a nearer crossing that the other
    samples cause.

    Args:
        landscape: Any landscape.
        w0: Centre of the lines; the loss may fall below L(w0), because w0 is not an exact minimum.
        directions: Directions p_i; they are not normalised, and F_i is in units of their length.
        ratio: Factor r, above 1.
        rtol: Relative tolerance of each crossing.
        max_displacement: Largest displacement of the search; ten times the norm of w0 by default (100 at the origin).
        progress: Callback for the number of completed directions.

    Returns:
        The flatness; a direction without a crossing has ``bracketed`` False and ``width`` NaN.

    Raises:
        InputError: If a shape, dtype, device or range is wrong, directions are zero or parallel, or the loss at w0 is
            not positive.
        NonFiniteError: If the loss is NaN anywhere or infinite at w0.

    Example:
        For an inverse Gaussian with log-curvature M the flatness is sqrt(8/M) (paper, below Eq. 10).

        >>> import torch
        >>> from landscope.synthetic import InverseGaussian
        >>> well = InverseGaussian(torch.tensor([8.0, 2.0]), minimum=1e-3)
        >>> F = flatness(well, torch.zeros(2), torch.eye(2))
        >>> [round(x, 2) for x in F.width.tolist()], F.bracketed.tolist()
        ([1.0, 2.0], [True, True])
    """
    _check_ratio_and_tolerance(ratio, rtol)
    directions = rows_of(directions)
    lines = start_lines(landscape, w0, directions)
    if lines.loss <= 0:
        raise InputError(
            expected="a positive loss at w0",
            got=f"{lines.loss:.6g}",
            hint="Add a constant to the loss: flatness needs a ratio of positive losses.",
        )
    check_same_call("flatness", lambda: {
        "number_of_directions": len(directions), "loss_at_w0": lines.loss, "length_of_w0": lines.scale, "ratio": ratio,
        "rtol": rtol, "max_displacement": max_displacement, "size_of_the_directions": float(directions.abs().sum()),
    })  # fmt: skip
    count, reach, sketches = len(directions), _reach(directions, lines.scale, max_displacement), _sketches(lines)
    starts = (_START / _REACH * reach).tolist()
    sides, evaluations = torch.zeros(2, count, dtype=torch.float64), torch.zeros(count, dtype=torch.int64)
    number, shares = share()
    own = range(count)[number::shares]  # every n-th where n processes share the work
    for first in range(0, len(own), lines.group):
        rows = own[first : first + lines.group]
        tasks: Tasks = {
            (row, sign): {"target": math.log(ratio), "start": starts[row], "limit": float(reach[row]), "rtol": rtol}
            for row in rows
            for sign in (-1, 1)
        }
        for (row, sign), crossing in _search_with_sketches(lines, sketches, tasks).items():
            sides[int(sign > 0), row] = sign * crossing.displacement
            evaluations[row] += crossing.evaluations
        if progress is not None:
            progress(rows[-1] + 1, count)
    left, right = joined_parts(sides)
    joined_parts(evaluations)
    return Flatness(
        left=left, right=right, width=right - left, bracketed=torch.isfinite(right - left), evaluations=evaluations,
        loss0=lines.loss, ratio=ratio, max_displacement=reach,
        provenance=stamp(ratio=ratio, rtol=rtol, max_displacement=max_displacement, landscape=described(landscape)),
    )  # fmt: skip


def _check_ratio_and_tolerance(ratio: float, rtol: float) -> None:
    check_ratio("ratio", ratio)
    check_tolerance("rtol", rtol, finest=_FINEST)


def _reach(directions: Float[Tensor, "k N"], scale: float, max_displacement: float | None) -> Float[Tensor, " k"]:
    """Largest displacements, in units of the length of each direction, which need not be a unit vector."""
    lengths = torch.linalg.vector_norm(directions.double(), dim=1).cpu()
    reach = (_REACH * scale or _REACH_AT_ORIGIN) / lengths
    if max_displacement is None:
        return reach
    return torch.full_like(reach, check_positive("max_displacement", max_displacement))


def joined(parts: Sequence[Flatness]) -> Flatness:
    """Join the flatness of several sets of directions at the same w0.

    Raises:
        InputError: If their losses at w0 or their ratios differ.
    """
    first = parts[0]
    for part in parts[1:]:
        if not math.isclose(part.loss0, first.loss0, rel_tol=SAME_LOSS) or part.ratio != first.ratio:
            raise InputError(
                expected=f"pieces with the loss {first.loss0:.6g} at w0 and the ratio {first.ratio:.6g}",
                got=f"one with the loss {part.loss0:.6g} and the ratio {part.ratio:.6g}",
                hint="Measure all with the same data, loss and ratio; in a study call study.discard_results() first.",
            )
    tensors = {name: torch.cat([getattr(part, name) for part in parts]) for name in Flatness.dims}
    return dataclasses.replace(parts[0], **tensors)


Side = tuple[int, int]
"""A direction and a sign."""
Tasks = dict[Side, dict[str, Any]]
"""The arguments of :func:`landscope.landscape.crossing.find_crossing` for each side."""


def _sketches(lines: CentredLines) -> list[CentredLines]:
    """The sketch of the lines, the sketch of this sketch and so on, cheapest first."""
    sketches: list[CentredLines] = []
    while (sketch := (sketches[-1] if sketches else lines).sketch()) is not None:
        sketches.append(sketch)
    return sketches[::-1]


def _search_with_sketches(lines: CentredLines, sketches: Sequence[CentredLines], tasks: Tasks) -> dict[Side, Crossing]:
    """Search on each sketch in turn, and then on the whole loss near the crossings that the last sketch gave."""
    for sketch in sketches:
        rougher = {side: task | {"rtol": max(task["rtol"], _SKETCH_RTOL)} for side, task in tasks.items()}
        guesses = _search_together(sketch, rougher)
        tasks = {
            side: task | {"expected": guesses[side] if guesses[side].bracketed else None}
            for side, task in tasks.items()
        }
    return _search_together(lines, {side: task | {"skip_inward_checks": True} for side, task in tasks.items()})


def _search_together(lines: CentredLines, tasks: Tasks) -> dict[Side, Crossing]:
    """Run many searches together, so that each pass over the data serves all of them."""
    searches = {side: find_crossing(**task) for side, task in tasks.items()}
    proposals = {side: next(search) for side, search in searches.items()}
    crossings: dict[Side, Crossing] = {}
    while proposals:
        sides = list(proposals)
        index = torch.tensor([row for row, _ in sides])
        displacement = torch.tensor([sign * proposals[row, sign] for row, sign in sides], dtype=torch.float64)
        rises = torch.log(lines.losses(index, displacement) / lines.loss).tolist()
        for side, rise in zip(sides, rises, strict=True):
            try:
                proposals[side] = searches[side].send(rise)
            except StopIteration as stop:
                crossings[side] = stop.value
                del proposals[side]
    return crossings
