"""Losses along lines by plain calls: slow, but valid for every landscape."""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from landscope._checks import explained
from landscope.attention import plain_kernels
from landscope.errors import InputError, LandscopeWarning
from landscope.full_precision import in_full_precision
from landscope.line_derivatives import first_derivative, mixed_derivative
from landscope.notices import warn
from landscope.protocols import LossLandscape

__all__ = ["DifferentiableLines", "PlainBatchLines", "PlainLines"]

_NUMBERS_PER_CALL = 2**24
"""Weights of all points in one call: 64 MB in float32, whatever the size of the network."""


@in_full_precision
class PlainLines:
    """Losses along lines, with one call of the landscape for each batch of points.

    A start in half precision is raised to float32, if the landscape accepts this.

    Args:
        landscape: Any landscape.
        w0: Start of the lines, ``[N]``.
        directions: Directions of the lines, ``[k, N]``.
        points_per_call: Number of points in one call, fewer where the weights are many. A formula evaluates many points
            at once, a network one.

    Example:
        >>> import torch
        >>> lines = PlainLines(lambda w: w.square().sum(-1), torch.zeros(2), torch.eye(2))
        >>> lines(torch.tensor([0, 1]), torch.tensor([1.0, 3.0])).tolist()
        [1.0, 9.0]
    """

    group = 64

    def __init__(self, landscape: LossLandscape, w0: Tensor, directions: Tensor, points_per_call: int = 256) -> None:
        self._landscape = landscape
        self._w0, self._directions = _precise(landscape, w0), directions
        self._points_per_call = min(points_per_call, max(1, _NUMBERS_PER_CALL // max(1, w0.numel())))

    @torch.no_grad()
    def __call__(self, index: Tensor, displacement: Tensor) -> Tensor:
        """``index[n], displacement[n] -> L[n]`` in float64."""
        losses = [
            _losses_at(self._landscape, self._w0 + step * self._directions[part].to(self._w0))
            for part, step in zip(
                index.to(self._w0.device, non_blocking=True).split(self._points_per_call),
                self._steps(displacement),
                strict=True,
            )
        ]
        return torch.cat(losses)

    @torch.no_grad()
    def plane(self, first: Tensor, second: Tensor) -> Tensor:
        """``first[n], second[n] -> L(w0 + first p_0 + second p_1)[n]`` in float64."""
        along, across = self._directions[:2].to(self._w0)
        losses = [
            _losses_at(self._landscape, self._w0 + b * across + a * along)
            for a, b in zip(self._steps(first), self._steps(second), strict=True)
        ]
        return torch.cat(losses)

    def _steps(self, displacement: Tensor) -> tuple[Tensor, ...]:
        """Displacements ``[n, 1]``, those of one call after another; what goes to a GPU need not be waited for."""
        steps = displacement.to(device=self._w0.device, dtype=self._w0.dtype, non_blocking=True)[:, None]
        return steps.split(self._points_per_call)


def _losses_at(landscape: LossLandscape, points: Tensor) -> Tensor:
    """The losses at ``points[n, N]`` in float64.

    Raises:
        InputError: If the landscape cannot evaluate several points at once, or gives something else.
    """
    count, dim = points.shape
    with explained(
        f"a landscape that evaluates weights w[{count}, {dim}], one point a row",
        "Let it reduce the last axis only, as by w.square().sum(-1), or call it row by row: "
        "lambda w: torch.stack([f(row) for row in w]).",
    ):
        losses = landscape(points)
    if not isinstance(losses, Tensor) or losses.shape != (count,):
        raise InputError(
            expected=f"a landscape that gives a tensor of {count} losses for weights w[{count}, {dim}]",
            got=f"shape {list(losses.shape)}" if isinstance(losses, Tensor) else type(losses).__name__,
            hint="Let it reduce the last axis only, as by w.square().sum(-1), without .item().",
        )
    return losses.cpu().double()


@torch.no_grad()
def _precise(function: Callable[[Tensor], Tensor], w0: Tensor) -> Tensor:
    """The start in float32 if it is in half precision, whose 3 digits make staircases of lines.

    A function that needs half precision gets it, with a warning.
    """
    if w0.dtype not in (torch.float16, torch.bfloat16):
        return w0
    raised = w0.float()
    try:
        function(raised)
    except (RuntimeError, TypeError, ValueError):
        precision = str(w0.dtype).removeprefix("torch.")
        warn(
            f"The landscape accepts weights in {precision} only. Its lines then have 3 digits, and widths and "
            "curvatures may be wrong by several per cent. Let it accept float32.",
            LandscopeWarning,
        )
        return w0
    return raised


@in_full_precision
class DifferentiableLines(abc.ABC):
    """First and second derivatives of many losses along lines, each by one pass of forward mode where torch has it."""

    @abc.abstractmethod
    def pieces(self, directions: Sequence[int]) -> Iterator[Callable[..., Tensor]]:
        """Yield each part of the losses as a function of one step along each of ``directions``."""

    def slopes(self, index: Tensor, displacement: Tensor) -> tuple[Tensor, Tensor]:
        """``index[n], displacement[n] -> losses[n, M], d losses/d displacement[n, M]`` in float64."""
        losses, slopes = [], []
        for direction, step in zip(index.tolist(), displacement, strict=True):
            with plain_kernels():
                parts = [first_derivative(piece, step) for piece in self.pieces([direction])]
            losses.append(torch.cat([value.cpu().double() for value, _ in parts]))
            slopes.append(torch.cat([slope.cpu().double() for _, slope in parts]))
        return torch.stack(losses), torch.stack(slopes)

    def curvatures(self, first: Tensor, second: Tensor) -> Tensor:
        """``first[n], second[n] -> mixed second derivatives of losses[n, M]`` at the start, in float64."""
        pairs = zip(first.tolist(), second.tolist(), strict=True)
        with plain_kernels():
            rows = [[mixed_derivative(piece).cpu().double() for piece in self.pieces(pair)] for pair in pairs]
        return torch.stack([torch.cat(row) for row in rows])


@in_full_precision
class PlainBatchLines(DifferentiableLines):
    """Many losses along lines, by plain calls of a function ``w[N] -> losses[M]``.

    Args:
        values: Function ``w[N] -> losses[M]`` that torch can differentiate.
        w0: Start of the lines, ``[N]``.
        directions: Directions of the lines, ``[k, N]``.

    Example:
        >>> import torch
        >>> lines = PlainBatchLines(lambda w: torch.stack([w[0] ** 2, w[0] * w[1]]), torch.ones(2), torch.eye(2))
        >>> lines.slopes(torch.tensor([0]), torch.tensor([0.0]))[1].tolist()
        [[2.0, 1.0]]
    """

    def __init__(self, values: Callable[[Tensor], Tensor], w0: Tensor, directions: Tensor) -> None:
        self._values, self._w0 = values, _precise(values, w0)
        self._directions = directions.to(self._w0)

    @torch.no_grad()
    def losses(self, index: Tensor, displacement: Tensor) -> Tensor:
        """``index[n], displacement[n] -> losses[n, M]`` in float64."""
        points = zip(index.tolist(), displacement.tolist(), strict=True)
        return torch.stack([self._values(self._w0 + step * self._directions[i]).cpu().double() for i, step in points])

    def pieces(self, directions: Sequence[int]) -> Iterator[Callable[..., Tensor]]:
        """Yield one function that returns all losses."""
        lines = self._directions[list(directions)]

        def losses(*steps: Tensor) -> Tensor:
            return self._values(
                self._w0 + sum(step.to(self._w0) * line for step, line in zip(steps, lines, strict=True))
            )

        yield losses
