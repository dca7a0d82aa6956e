"""A strength that follows how much farther outputs move than their slope at the end of the last task says."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Generator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from landscope._checks import check_count, check_positive, for_float64
from landscope.memory.replay.distillation import precise
from landscope.memory.strength.latest_call import LatestCall
from landscope.penalties.compression.moved import anchor_of
from landscope.penalties.warnings import warn
from landscope.processes import sums_over_processes
from landscope.protocols import Penalty
from landscope.read_numbers import read_numbers
from landscope.wording import first_lines

__all__ = ["OutputChange"]

At = Callable[[Tensor], contextlib.AbstractContextManager[nn.Module]]
"""``at(w)`` is a context in which the model has the weights w."""
_MOST = 1e4
"""Largest factor."""


class OutputChange:
    r"""Multiplies a penalty by how much farther the outputs of the model have moved than to first order.

    A quadratic penalty V counts the change of the outputs z to first order, J (w - w1). After a long way it may be a
    small part of the change. Every few steps both are measured on the latest batch of the training, and V is
    multiplied by

    .. math:: r^2 = \max\Big(1, \frac{\|z(w) - z(w_1)\|^2}{\|J (w - w_1)\|^2}\Big)

    so that it counts the change that there is. The slope is a difference quotient over a step of the cube root of the
    precision, in units of the length of the weights: 0.5 % of it in float32, 20 % in bfloat16. Where the weights have
    moved less than that, the factor is 1. Outputs are computed in eval mode and in the precision of the weights, also
    where the training has autocast.

    Args:
        model: The model in training.
        every: Number of steps between two measurements, each of three evaluations of the model.

    Raises:
        InputError: If a number is out of range.

    Example:
        >>> OutputChange(nn.Linear(1, 1)).factor
        1.0
    """

    def __init__(self, model: nn.Module, *, every: int = 20) -> None:
        self._model, self.every = model, check_count("every", every, minimum=1)
        self.factor = 1.0
        """By how much the strength is multiplied now."""
        self._steps, self._calls_between = 0, every
        self._latest = LatestCall()
        self._penalty: Penalty | None = None
        self._unknown, self._reason = 0, ""

    @property
    def needs_value(self) -> bool:
        """No: it measures outputs."""
        return False

    @property
    def holds_statistics(self) -> bool:
        """No: both outputs that it compares are of the same running statistics."""
        return False

    def start(self) -> None:
        """Begin at the end of a task."""
        self.factor, self._steps = 1.0, 0

    @contextlib.contextmanager
    def watching(self, penalty: Penalty, *, every: int = 1) -> Generator[None]:
        """Look at the batches that the model is called with, for a penalty that is smallest where the last task ended.

        Args:
            penalty: The penalty.
            every: Steps for each call of :meth:`follow`.
        """
        self._calls_between = max(1, self.every // every)
        self._penalty, self._unknown, self._reason = penalty, 0, ""
        with self._latest.watching(self._model):
            self._want()
            try:
                yield
            finally:
                self._penalty = None

    def unwatched(self) -> contextlib.AbstractContextManager[None]:
        """A context whose batches are not those of the training, such as replayed samples."""
        return self._latest.unwatched()

    def _want(self) -> None:
        """Keep a batch for the next measurement alone."""
        self._latest.wanted, self._latest.call = (self._steps + 1) % self._calls_between == 0, None

    def follow(self, value: float, weights: Tensor, at: At, *, moved: float | None = None) -> Tensor:  # noqa: ARG002
        """Measure after some of the steps.

        Args:
            value: The penalty at these weights.
            weights: The weights.
            at: ``at(w)`` is a context in which the model has the weights w.
            moved: The penalty at the weights that the optimiser moves, where these are others; of no use here.

        Returns:
            The same weights.
        """
        self._steps += 1
        if self._steps % self._calls_between == 0:
            ratio = self._ratio(weights, at)
            self._unknown = self._unknown + 1 if ratio is None else 0
            self.factor = self.factor if ratio is None else min(_MOST, max(1.0, ratio))
        self._want()
        return weights

    def last(self, weights: Tensor, at: At) -> Tensor:  # noqa: ARG002 - of the protocol
        """The weights that were given; say so if the outputs could not be measured."""
        if self._unknown:
            warn(
                "no outputs of the model could be compared in this training, so the strength does not follow how far "
                "they move; call the model itself, and let it return its outputs (make the memory with the compiled "
                f"model, if that is called), or pass follow_outputs=False{self._reason}"
            )
        return weights

    def state(self) -> dict[str, Any]:
        """The numbers, for a checkpoint."""
        return {"factor": self.factor, "steps": self._steps}

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from stored numbers."""
        self.factor, self._steps = (
            check_positive("factor", state["factor"]),
            check_count("steps", state["steps"], minimum=0),
        )

    def _ratio(self, weights: Tensor, at: At) -> float | None:
        """The measured r^2; None where there is none."""
        try:
            found = self._squares(weights, at)
        except Exception as error:  # noqa: BLE001 - a training of hours must not end with a call that is not the user's
            found, self._reason = None, f" ({type(error).__name__}: {first_lines(error, 1)})"
        numbers = [*found, 1.0] if found else [0.0] * 3
        change, slope, known = sums_over_processes(numbers, weights.device)  # all must take the same strength
        if not known:
            return None
        return 1.0 if change == 0 else change / slope if slope else _MOST

    def _squares(self, weights: Tensor, at: At) -> tuple[float, float] | None:
        """Squares of the change of the outputs, and of its first order; None where outputs cannot be compared."""
        if self._latest.call is None or self._penalty is None:
            return None
        w1 = anchor_of(self._penalty, weights)
        length, far = (_length(vector) for vector in (w1, weights - w1))
        step = self._latest.precision(self._model) ** (1 / 3) * torch.maximum(length, far)
        part = torch.where(far > 0, step / far, 1.0).clamp(max=1.0)
        before = self._outputs(w1, at)
        change = along = _distance(self._outputs(weights, at), before)
        if part.device.type != "cpu" or part < 1:  # a GPU is asked at the end, once
            along = _distance(self._outputs(_between(w1, weights, part), at), before)
        numbers = read_numbers([number.to(part.device) for number in (change, along, part)])
        change, slope = numbers[0], numbers[0] if numbers[2] == 1 else numbers[1] / numbers[2] ** 2
        return (change, slope) if math.isfinite(change) and math.isfinite(slope) else None

    def _outputs(self, w: Tensor, at: At) -> list[Tensor]:
        with at(w):
            return self._latest.outputs(self._model)


def _between(w1: Tensor, w: Tensor, part: Tensor) -> Tensor:
    wide = torch.promote_types(w.dtype, torch.float32)
    return torch.lerp(w1.to(wide), w.to(wide), part.to(device=w.device, dtype=wide)).to(w.dtype)


def _length(vector: Tensor) -> Tensor:
    """Length in float64, as one number where that of the device can be; nothing waits for it."""
    norm = torch.linalg.vector_norm(vector, dtype=torch.promote_types(vector.dtype, torch.float32))
    return for_float64(norm).double()


def _distance(one: list[Tensor], other: list[Tensor]) -> Tensor:
    """Square of the distance of two outputs; NaN where they cannot be compared."""
    if not one or [z.shape for z in one] != [z.shape for z in other]:
        return torch.tensor(math.nan, dtype=torch.float64)
    squares = [_length(precise(a) - precise(b)).square() for a, b in zip(one, other, strict=True)]
    return torch.stack([square.to(squares[0].device) for square in squares]).sum()
