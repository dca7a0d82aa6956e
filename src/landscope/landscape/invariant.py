"""Flatness measured as a distance in a metric of the model: no change of units of the weights can alter it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from landscope._checks import check_directions
from landscope.directions.directions import Directions, rows_of
from landscope.errors import InputError
from landscope.landscape.flatness import Flatness
from landscope.protocols import ProgressCallback, silent
from landscope.results import Result, stamp

__all__ = ["InvariantFlatness", "invariant_flatness"]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class InvariantFlatness(Result, kind="invariant_flatness", axis="mode"):
    """Flatness as a distance in a metric G.

    Args:
        width: Invariant flatness, ``[k]``; NaN without a crossing, or where d' G d is not positive.
        plain_width: Flatness F_i in the units of the weights.
        information: d' G d along each direction.
        bracketed: Whether both sides have a crossing.
        ranks: Ranks of the directions among the modes, counted from 1.
        bowl_width: The width in a bowl whose Hessian is G, the same for all directions.
        gaussian_width: The width where ln L is quadratic with that Hessian at w0, the same for all directions.
        loss0: Loss L0 at w0.
        metric: Name of G.
    """

    width: Float[Tensor, " k"]
    plain_width: Float[Tensor, " k"]
    information: Float[Tensor, " k"]
    bracketed: Bool[Tensor, " k"]
    ranks: Int[Tensor, " k"]
    bowl_width: float
    gaussian_width: float
    loss0: float
    metric: str


def invariant_flatness(
    flatness: Flatness,
    directions: Directions | Float[Tensor, "k N"],
    product: Callable[[Float[Tensor, " N"]], Float[Tensor, " N"]],
    *,
    metric: str = "Fisher information",
    progress: ProgressCallback = silent,
) -> InvariantFlatness:
    r"""Flatness along directions, as a distance in a metric G at w0.

    .. math:: F_i^G = (\theta_i^r - \theta_i^l) \sqrt{d_i^\top G\, d_i}

    With the Fisher information, F^G is the distance between models and not between weights: scaling the weights into a
    unit and those out of it by inverse factors, which leaves a ReLU network the same, changes F_i but not F_i^G along
    the same line. Which lines are taken still depends on the units, as principal modes do.

    If curvature is all there is to flatness, F^G is the same along all directions: :math:`\sqrt{8 (r - 1) L_0}` in a
    bowl whose Hessian is G, and :math:`\sqrt{8 L_0 \ln r}` if ln L is quadratic (paper, Eq. 10). What varies is what
    curvature does not know. The cost is one product with G a direction.

    Args:
        flatness: Flatness along the directions, at w0.
        directions: The same directions d_i, of any length.
        product: ``product(v)`` is G v, such as ``lambda v: risk.fisher_information().product(risk.w0, v)``.
        metric: Name of G.
        progress: Callback for the number of completed directions.

    Returns:
        The flatness in the metric.

    Raises:
        InputError: If there is not one flatness for each direction.

    Example:
        >>> import torch
        >>> from landscope.landscape import flatness
        >>> from landscope.synthetic import QuadraticBowl
        >>> curvature = torch.tensor([2.0, 8.0]).double()
        >>> F = flatness(QuadraticBowl(curvature), torch.zeros(2).double(), torch.eye(2).double(), rtol=1e-6)
        >>> found = invariant_flatness(F, torch.eye(2).double(), lambda v: curvature * v)
        >>> [round(x, 4) for x in found.width.tolist()], round(found.bowl_width, 4)
        ([3.7076, 3.7076], 3.7076)
    """
    rows = rows_of(directions)
    rows = check_directions(rows)
    if len(rows) != len(flatness.width):
        raise InputError(
            expected=f"{len(flatness.width)} directions, one for each flatness", got=f"{len(rows)}",
            hint="Pass the directions along which the flatness was measured.",
        )  # fmt: skip
    information = torch.empty(len(rows), dtype=torch.float64)
    for number, row in enumerate(rows):
        information[number] = float(row.cpu().double() @ product(row).detach().cpu().double())
        progress(number + 1, len(rows))
    positive = torch.where(information > 0, information, math.nan)
    plain = flatness.width.detach().cpu().double()
    return InvariantFlatness(
        width=plain * positive.sqrt(),
        plain_width=plain,
        information=information,
        bracketed=flatness.bracketed,
        ranks=torch.arange(1, len(rows) + 1),
        bowl_width=math.sqrt(8 * (flatness.ratio - 1) * flatness.loss0),
        gaussian_width=math.sqrt(8 * math.log(flatness.ratio) * flatness.loss0),
        loss0=flatness.loss0,
        metric=metric,
        provenance=stamp(metric=metric, ratio=flatness.ratio),
    )
