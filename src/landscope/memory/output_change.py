"""A strength that follows how much farther outputs move than their slope at the end of the last task says."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Generator, Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from landscope._checks import check_count, check_positive
from landscope.penalties.compression.moved import anchor_of
from landscope.penalties.warnings import warn
from landscope.protocols import Penalty
from landscope.risk.outputs import Outputs
from landscope.seeded import kept_random_state

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
    precision, in units of the length of the weights.

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
        self._steps = 0
        self._call: tuple[tuple[Any, ...], dict[str, Any]] | None = None
        self._penalty: Penalty | None = None
        self._unknown = 0

    def start(self) -> None:
        """Begin at the end of a task."""
        self.factor, self._steps = 1.0, 0

    @contextlib.contextmanager
    def watching(self, penalty: Penalty) -> Generator[None]:
        """Look at the batches that the model is called with, for a penalty that is smallest where the last task ended.

        Args:
            penalty: The penalty.
        """
        handle = self._model.register_forward_pre_hook(self._see, with_kwargs=True)
        self._penalty, self._unknown = penalty, 0
        try:
            yield
        finally:
            handle.remove()
            self._call = self._penalty = None

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
        if self._steps % self.every == 0:
            ratio = self._ratio(weights, at)
            self._unknown = self._unknown + 1 if ratio is None else 0
            self.factor = self.factor if ratio is None else min(_MOST, max(1.0, ratio))
        return weights

    def last(self, weights: Tensor, at: At) -> Tensor:  # noqa: ARG002 - of the protocol
        """The weights that were given; say so if the outputs could not be measured."""
        if self._unknown:
            warn(
                "no outputs of the model could be compared in this training, so the strength does not follow how far "
                "they move; call the model itself, and let it return its outputs, or pass follow_outputs=False"
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

    def _see(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:  # noqa: ARG002
        if torch.is_grad_enabled():
            self._call = (args, kwargs)

    def _ratio(self, weights: Tensor, at: At) -> float | None:
        """The measured r^2; None where there is none."""
        found = self._squares(weights, at)
        change, slope, known = _over_processes(torch.tensor([*found, 1.0] if found else [0.0] * 3).to(weights))
        if not known:
            return None
        return 1.0 if change == 0 else change / slope if slope else _MOST

    def _squares(self, weights: Tensor, at: At) -> tuple[float, float] | None:
        """Squares of the change of the outputs, and of its first order; None where outputs cannot be compared."""
        if self._call is None or self._penalty is None:
            return None
        w1 = anchor_of(self._penalty, weights)
        length, far = (float(torch.linalg.vector_norm(vector)) for vector in (w1, weights - w1))
        part = min(1.0, torch.finfo(weights.dtype).eps ** (1 / 3) * max(length, far) / far) if far else 1.0
        before, slightly, now = (self._outputs(w, at) for w in (w1, torch.lerp(w1, weights, part), weights))
        if not before or [z.shape for z in before] != [z.shape for z in now]:
            return None
        change, slope = _distance(now, before), _distance(slightly, before) / part**2
        return (change, slope) if math.isfinite(change) and math.isfinite(slope) else None

    @torch.no_grad()
    def _outputs(self, w: Tensor, at: At) -> list[Tensor]:
        """The outputs for the latest batch, with the model in eval mode; its modes and random state are kept."""
        assert self._call is not None  # noqa: S101 - asked for only with one
        args, kwargs = tree_map(lambda leaf: leaf.detach() if isinstance(leaf, Tensor) else leaf, self._call)
        modes = {module: module.training for module in self._model.modules()}
        with at(w) as model, kept_random_state():
            try:
                model.eval()
                found = Outputs.of(model(*args, **kwargs)).tensors
            finally:
                for module, training in modes.items():
                    module.training = training
        return [tensor.double() for tensor in found if tensor.ndim]


def _over_processes(numbers: Tensor) -> list[float]:
    """The sums over the processes of a distributed training, which must all take the same strength."""
    if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
        dist.all_reduce(numbers)
    return numbers.tolist()


def _distance(one: list[Tensor], other: list[Tensor]) -> float:
    return sum(float((a - b).square().sum()) for a, b in zip(one, other, strict=True))
