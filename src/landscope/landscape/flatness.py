"""Flatness along directions (paper, Eq. 7): how far one can go until the loss has grown by a factor e."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Generator, Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from landscope._checks import check_positive
from landscope.errors import InputError
from landscope.landscape.crossing import Crossing, find_crossing
from landscope.landscape.walk import Walk, start_walk
from landscope.protocols import LossLandscape, ProgressCallback
from landscope.results import Result, described, stamp

__all__ = ["Flatness", "flatness", "joined"]

_START = 0.05
_REACH = 10.0
_REACH_AT_ORIGIN = 100.0
_FINEST = 1e-12
_SKETCH_RTOL = 3e-3


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Flatness(
    Result,
    kind="flatness",
    dims=dict.fromkeys(("left", "right", "width", "bracketed", "evaluations", "max_displacement"), ("direction",)),
):
    """Widths of the region where the loss stays below ``ratio`` times its value at the centre.

    Args:
        left: theta^l, the nearest crossing on the negative side, at most 0, ``[k]``; NaN where there is none.
        right: theta^r, the nearest crossing on the positive side.
        width: F_i = theta^r - theta^l; NaN where a side has no crossing within reach.
        bracketed: Whether both sides have a crossing; the others are censored, to be counted and left out of fits.
        evaluations: Losses of all data evaluated along each direction.
        loss0: L(w0).
        ratio: The factor; e in the paper.
        max_displacement: How far was looked along each direction.
    """

    left: Float[Tensor, " k"]
    right: Float[Tensor, " k"]
    width: Float[Tensor, " k"]
    bracketed: Bool[Tensor, " k"]
    evaluations: Int[Tensor, " k"]
    loss0: float
    ratio: float
    max_displacement: Float[Tensor, " k"]


def flatness(
    landscape: LossLandscape,
    w0: Float[Tensor, " N"],
    directions: Float[Tensor, "k N"],
    ratio: float = math.e,
    rtol: float = 1e-3,
    max_displacement: float | None = None,
    *,
    progress: ProgressCallback | None = None,
) -> Flatness:
    r"""Flatness :math:`F_i = \theta^r_i - \theta^l_i` with :math:`L(w_0 + \theta_i p_i) = r L(w_0)` (paper, Eq. 7).

    On each side the nearest crossing counts. Each direction is searched on its own: the answer does not depend on
    which other directions are asked for. No crossing nearer than the one given was seen at a third and two thirds
    of its distance; a narrower dip between such points can go unseen.

    Where a quarter of the samples or fewer carry 99 % of the loss, they are searched first. The crossing given is
    always one of the whole loss, bracketed to ``rtol``; but where it lies within a tenth of theirs, it was their loss
    that was looked at inward, and a nearer crossing that all the others make on their own would go unseen.

    Args:
        landscape: Any landscape.
        w0: Centre; the loss may fall below L(w0) along a line, as w0 is no exact minimum.
        directions: p_i, used as they are: F_i counts in units of their length.
        ratio: Factor r, above 1.
        rtol: Relative tolerance of each crossing.
        max_displacement: How far to look; ten times the norm of w0 by default (100 at the origin).
        progress: Told how many directions are done.

    Returns:
        The flatness; a direction without a crossing within reach has ``bracketed`` False and ``width`` NaN.

    Raises:
        InputError: If a shape, dtype, device or range does not fit, directions are zero or repeated, or the loss at
            w0 is not positive.
        NonFiniteError: If the loss is NaN anywhere or infinite at w0.

    Example:
        For an inverse Gaussian of log-curvature M the flatness is sqrt(8/M) (paper, below Eq. 10).

        >>> import torch
        >>> from landscope.synthetic import InverseGaussian
        >>> well = InverseGaussian(torch.tensor([8.0, 2.0]), minimum=1e-3)
        >>> found = flatness(well, torch.zeros(2), torch.eye(2))
        >>> [round(x, 2) for x in found.width.tolist()], found.bracketed.tolist()
        ([1.0, 2.0], [True, True])
    """
    if not (math.isfinite(ratio) and ratio > 1):
        raise InputError(expected="ratio above 1", got=f"{ratio}", hint="The paper uses e.")
    if not rtol >= _FINEST:
        raise InputError(expected=f"rtol of at least {_FINEST:g}", got=f"{rtol}", hint="Float64 gives no more.")
    walk = start_walk(landscape, w0, directions)
    if walk.loss <= 0:
        raise InputError(
            expected="a positive loss at w0",
            got=f"{walk.loss:.6g}",
            hint="Flatness is a ratio of losses; add a constant.",
        )
    count = len(directions)
    # A direction need not be a unit vector: displacements count in units of its own length.
    lengths = torch.linalg.vector_norm(directions.double(), dim=1).cpu()
    reach = (_REACH * walk.scale or _REACH_AT_ORIGIN) / lengths
    if max_displacement is not None:
        reach = torch.full_like(reach, check_positive("max_displacement", max_displacement))
    starts = (_START / _REACH * reach).tolist()
    sides = torch.full((2, count), math.nan, dtype=torch.float64)
    evaluations = torch.zeros(count, dtype=torch.int64)
    rougher = _rougher_first(walk)
    for first in range(0, count, walk.lines.group):
        rows = range(first, min(first + walk.lines.group, count))
        tasks = {
            (row, sign): _Task(math.log(ratio), start=starts[row], limit=float(reach[row]), rtol=rtol)
            for row in rows
            for sign in (-1, 1)
        }
        for sketch in rougher:
            guesses = _search_together(sketch, {side: task.roughly() for side, task in tasks.items()})
            tasks = {side: task.near(guesses[side]) for side, task in tasks.items()}
        for (row, sign), crossing in _search_together(walk, tasks).items():
            sides[int(sign > 0), row] = sign * crossing.displacement
            evaluations[row] += crossing.evaluations
        if progress is not None:
            progress(rows[-1] + 1, count)
    left, right = sides
    return Flatness(
        left=left,
        right=right,
        width=right - left,
        bracketed=torch.isfinite(right - left),
        evaluations=evaluations,
        loss0=walk.loss,
        ratio=ratio,
        max_displacement=reach,
        provenance=stamp(ratio=ratio, rtol=rtol, max_displacement=max_displacement, landscape=described(landscape)),
    )


def joined(parts: Sequence[Flatness]) -> Flatness:
    """The flatness of several sets of directions around one w0, one after another."""
    tensors = {name: torch.cat([getattr(part, name) for part in parts]) for name in Flatness.dims}
    return dataclasses.replace(parts[0], **tensors)


Side = tuple[int, int]
"""A direction and a sign."""


@dataclasses.dataclass(frozen=True)
class _Task:
    """A search of one side, see :func:`landscope.landscape.crossing.find_crossing`."""

    target: float
    start: float
    limit: float
    rtol: float
    expected: Crossing | None = None
    spare_looks: bool = True

    def roughly(self) -> _Task:
        """The same on a sketch, whose last digits say nothing."""
        return dataclasses.replace(self, rtol=max(self.rtol, _SKETCH_RTOL), spare_looks=False)

    def near(self, guess: Crossing) -> _Task:
        """The same from a guess."""
        return dataclasses.replace(self, expected=guess if guess.bracketed else None)

    def begin(self) -> Generator[float, float, Crossing]:
        return find_crossing(**{field.name: getattr(self, field.name) for field in dataclasses.fields(self)})


def _rougher_first(walk: Walk) -> list[Walk]:
    """The sketch of the walk, the sketch of that and so on, cheapest first."""
    sketches: list[Walk] = []
    while (sketch := (sketches[-1] if sketches else walk).sketch()) is not None:
        sketches.append(sketch)
    return sketches[::-1]


def _search_together(walk: Walk, tasks: dict[Side, _Task]) -> dict[Side, Crossing]:
    """Run many searches in step, so that each pass over the data serves them all."""
    searches = {side: task.begin() for side, task in tasks.items()}
    asked = {side: next(search) for side, search in searches.items()}
    found: dict[Side, Crossing] = {}
    while asked:
        sides = list(asked)
        index = torch.tensor([row for row, _ in sides])
        displacement = torch.tensor([sign * asked[row, sign] for row, sign in sides], dtype=torch.float64)
        rises = torch.log(walk.losses(index, displacement) / walk.loss).tolist()
        for side, rise in zip(sides, rises, strict=True):
            try:
                asked[side] = searches[side].send(rise)
            except StopIteration as stop:
                found[side] = stop.value
                del asked[side]
    return found
