"""Losses along checked lines through one point, for every analysis of this package."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import torch
from torch import Tensor

from landscope._checks import check_finite, check_landscape, check_start
from landscope.errors import InputError, NonFiniteError
from landscope.plain_lines import PlainLines
from landscope.protocols import Lines, LossLandscape

__all__ = ["CentredLines", "lines_of", "plane_of", "start_lines", "steps_for"]


@dataclasses.dataclass(frozen=True)
class CentredLines:
    """Lines through ``w0``, the finite loss L0 = L(w0), and the norm of w0 as natural length; a sketch only guesses."""

    lines: Lines
    loss: float
    scale: float
    is_sketch: bool = False

    @property
    def group(self) -> int:
        """Number of directions that are best evaluated together."""
        return self.lines.group

    def sketch(self) -> CentredLines | None:
        """The same lines over the few samples that carry nearly all of the loss; None if this is not cheaper."""
        lines = getattr(self.lines, "sketch", lambda: None)()
        loss = math.nan if lines is None else _loss_at_start(lines)
        if lines is None or not 0 < loss < math.inf:
            return None
        return CentredLines(lines, loss, self.scale, is_sketch=True)

    def losses(self, index: Tensor, displacement: Tensor) -> Tensor:
        """``index[n], displacement[n] -> L[n]``; losses may be infinite, and NaN raises, or is infinite on a sketch."""
        losses = self.lines(index, displacement)
        bad = torch.isnan(losses)
        if self.is_sketch:
            return losses.masked_fill(bad, math.inf)
        if bool(bad.any()):
            first = int(bad.nonzero()[0])
            raise NonFiniteError(
                expected="a loss that is a number along every line",
                got=f"NaN at displacement {float(displacement[first]):.6g} along direction {int(index[first])}",
                hint="Use smaller displacements, or find out why the model returns NaN at this point.",
            )
        return losses


def lines_of(landscape: LossLandscape, w0: Tensor, directions: Tensor) -> Lines:
    """The lines of a landscape by its own way, or by plain calls."""
    own = getattr(landscape, "lines", None)
    return PlainLines(landscape, w0, directions.to(w0.dtype)) if own is None else own(w0, directions)


def plane_of(
    landscape: LossLandscape, lines: Lines, w0: Tensor, directions: Tensor
) -> Callable[[Tensor, Tensor], Tensor]:
    """``first[n], second[n] -> L(w0 + first p_0 + second p_1)[n]``, by the lines along p_0 and p_1 that were made.

    Lines without a ``plane`` of their own are made again for each value of ``second``.
    """
    own = getattr(lines, "plane", None)
    if own is not None:
        return own

    def by_lines(first: Tensor, second: Tensor) -> Tensor:
        losses = torch.empty(len(first), dtype=torch.float64)
        for offset in second.unique().tolist():
            here = second == offset
            along = lines_of(landscape, w0 + offset * directions[1], directions[:1])
            losses[here] = along(torch.zeros(int(here.sum()), dtype=torch.long), first[here])
        return losses

    return by_lines


def start_lines(landscape: LossLandscape, w0: Tensor, directions: Tensor) -> CentredLines:
    """Check the start and the directions, and measure the loss at the start.

    Raises:
        InputError: If a shape, dtype or device is wrong, or directions are zero or parallel.
        NonFiniteError: If the loss at ``w0`` is NaN or infinite.
    """
    check_landscape(landscape)
    w0, directions = check_start(w0, directions, same_dtype=False)
    lines = lines_of(landscape, w0, directions)
    # L0 is evaluated along a line too, so that L and L0 are summed in the same order.
    loss = _loss_at_start(lines)
    if not math.isfinite(loss):
        raise NonFiniteError(
            expected="a finite loss at w0",
            got=f"{loss}",
            hint="Choose a w0 with a finite loss, or check the data.",
        )
    return CentredLines(lines, loss, float(torch.linalg.vector_norm(w0)))


def _loss_at_start(lines: Lines) -> float:
    return float(lines(torch.zeros(1, dtype=torch.long), torch.zeros(1, dtype=torch.float64))[0])


def steps_for(displacements: Tensor, count: int) -> Tensor:
    """Displacements as ``[k, S]`` in float64.

    Raises:
        InputError: If their shape is neither ``[S]`` nor ``[k, S]``.
        NonFiniteError: If a displacement is not finite.
    """
    if not isinstance(displacements, Tensor):
        raise InputError(
            expected="displacements as a tensor",
            got=type(displacements).__name__,
            hint="Convert them with torch.tensor.",
        )
    check_finite("displacements", displacements, hint="Pass finite numbers.")
    if displacements.ndim not in (1, 2) or (displacements.ndim == 2 and len(displacements) != count):
        raise InputError(
            expected=f"displacements of shape [S] or [{count}, S]",
            got=f"{tuple(displacements.shape)}",
            hint="Pass one row for each direction.",
        )
    return displacements.double().cpu().expand(count, -1).contiguous()
