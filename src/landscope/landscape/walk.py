"""How every analysis of this package gets its losses: checked lines through one point."""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import Tensor

from landscope._checks import check_directions, check_finite, check_vector
from landscope.errors import InputError, NonFiniteError
from landscope.plain_lines import PlainLines
from landscope.protocols import Lines, LossLandscape, SketchesLines, WalksLines

__all__ = ["Walk", "start_walk", "steps_for"]


@dataclasses.dataclass(frozen=True)
class Walk:
    """Lines through ``w0`` and the loss there.

    Args:
        lines: Losses along the lines.
        loss: L0 = L(w0), finite.
        scale: Norm of w0, a natural length; 0 at the origin.
        is_sketch: Whether the losses are for guesses only.
    """

    lines: Lines
    loss: float
    scale: float
    is_sketch: bool = False

    def sketch(self) -> Walk | None:
        """The same lines over the few samples that carry nearly all of the loss, where that is cheaper."""
        lines = self.lines.sketch() if isinstance(self.lines, SketchesLines) else None
        loss = math.nan if lines is None else _loss_at_start(lines)
        if lines is None or not 0 < loss < math.inf:
            return None
        return Walk(lines, loss, self.scale, is_sketch=True)

    def losses(self, index: Tensor, displacement: Tensor) -> Tensor:
        """``index[n], displacement[n] -> L[n]``; infinite losses pass, NaN raises; on a sketch it is infinite."""
        losses = self.lines(index, displacement)
        bad = torch.isnan(losses)
        if self.is_sketch:
            return losses.masked_fill(bad, math.inf)
        if bool(bad.any()):
            first = int(bad.nonzero()[0])
            raise NonFiniteError(
                expected="a loss that is a number along every line",
                got=f"NaN at displacement {float(displacement[first]):.6g} along direction {int(index[first])}",
                hint="Walk less far, or look why the model gives NaN there.",
            )
        return losses


def start_walk(landscape: LossLandscape, w0: Tensor, directions: Tensor) -> Walk:
    """Check the start and the directions, and measure the loss at the start.

    Raises:
        InputError: If a shape, dtype or device does not fit, or directions are zero or repeated.
        NonFiniteError: If the loss at ``w0`` is NaN or infinite.
    """
    w0 = check_vector("w0", w0, dim=w0.shape[-1] if w0.ndim else 0)
    directions = check_directions(directions, dim=len(w0), device=w0.device)
    lines = (
        landscape.lines(w0, directions)
        if isinstance(landscape, WalksLines)
        else PlainLines(landscape, w0, directions.to(w0.dtype))
    )
    # L0 is taken along a line too, so that the ratio L/L0 is free of any difference between two ways of summing.
    loss = _loss_at_start(lines)
    if not math.isfinite(loss):
        raise NonFiniteError(
            expected="a finite loss at w0",
            got=f"{loss}",
            hint="Choose a w0 where the model works, or check the data.",
        )
    return Walk(lines, loss, float(torch.linalg.vector_norm(w0)))


def _loss_at_start(lines: Lines) -> float:
    return float(lines(torch.zeros(1, dtype=torch.long), torch.zeros(1, dtype=torch.float64))[0])


def steps_for(displacements: Tensor, count: int) -> Tensor:
    """Displacements as ``[k, S]`` in float64.

    Raises:
        InputError: If they are neither ``[S]`` nor one row a direction.
        NonFiniteError: If one is not finite.
    """
    if not isinstance(displacements, Tensor):
        raise InputError(
            expected="displacements as a tensor", got=type(displacements).__name__, hint="Wrap them in torch.tensor."
        )
    check_finite("displacements", displacements, hint="Pass finite numbers.")
    if displacements.ndim not in (1, 2) or (displacements.ndim == 2 and len(displacements) != count):
        raise InputError(
            expected=f"displacements of shape [S] or [{count}, S]",
            got=f"{tuple(displacements.shape)}",
            hint="One row a direction.",
        )
    return displacements.double().cpu().expand(count, -1).contiguous()
