"""The stored calls of modules for every block of data, and the check that they change no loss."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._functorch.pyfunctorch import temporarily_clear_interpreter_stack

from landscope.parameters import ParameterSpace
from landscope.risk.equal_gradients import OtherGradientError, check_same_gradient
from landscope.risk.module_cut import Calls, NothingToSkipError, record_calls, stored_bytes
from landscope.risk.weighted_losses import mean_of, total_weight
from landscope.seeded import kept_random_state
from landscope.threads import one_thread

__all__ = ["StoredCalls", "check_equal", "mean_loss", "points_around"]

_STEPS = (0.0, 0.5, 2.0)


class StoredCalls:
    """Calls of modules that the selected weights do not change, recorded once for each block.

    Args:
        root: The module that evaluates a block.
        evaluate: ``parameters, batch, block -> losses`` of the module, where ``batch()`` is the block.
        blocks: The data.
        space: Selected weights.
        w0: Their values in the recorded run.
        cache_bytes: Memory limit; blocks beyond it are evaluated as a whole.
    """

    def __init__(
        self,
        root: Any,
        evaluate: Callable[..., Any],
        blocks: Sequence[Any],
        space: ParameterSpace,
        w0: Tensor,
        cache_bytes: int,
    ) -> None:
        self._root, self._evaluate, self._blocks, self._space, self._w0 = root, evaluate, blocks, space, w0
        self._bytes_left, self._calls = cache_bytes, dict[int, Calls | None]()

    def __call__(self, block: int) -> Calls | None:
        """The calls of one block; None if all must be executed."""
        if block not in self._calls:
            self._calls[block] = None
            with contextlib.suppress(Exception):  # an error of the model itself comes again in the whole evaluation
                self.record(block)
        return self._calls[block]

    def record(self, block: int) -> None:
        """Record the calls of one block, and store them as far as the memory limit allows.

        Raises:
            NothingToSkipError: If no call can be skipped.
        """
        # The bits must not depend on the first caller, which may be a derivative.
        with temporarily_clear_interpreter_stack(), one_thread(), kept_random_state():
            w, batch = self._w0.detach().clone(), copy.deepcopy(self._blocks[block])
            parameters = self._space.unflatten(w)
            calls = record_calls(self._root, lambda: self._evaluate(parameters, lambda: batch, block), [w], batch)
        size = stored_bytes(calls)
        if size > self._bytes_left:
            raise NothingToSkipError("the results of its first layers do not fit into cache_bytes")
        self._calls[block], self._bytes_left = calls, self._bytes_left - size

    @torch.no_grad()
    def reason_against(
        self, loss: Callable[[Calls | None], Tensor], losses: Callable[[dict[str, Tensor], Calls | None], Any]
    ) -> str:
        """Why no call should be skipped, in words; empty where this changes neither the loss nor its gradient.

        Args:
            loss: The loss of the first block, away from w0, with some of its calls skipped.
            losses: The losses of the first block at any parameters, with some of its calls skipped.
        """
        try:
            with kept_random_state():
                expected = loss(None)
                self.record(0)
                check_equal(loss(self(0)), expected, self._w0.dtype)
                check_same_gradient(
                    lambda parameters: losses(parameters, self(0)), lambda parameters: losses(parameters, None),
                    self._space, points_around(self._space, self._w0)[1][2],
                )  # fmt: skip
        except NothingToSkipError as reason:
            return str(reason)
        except OtherGradientError:
            return "its gradient passes through layers whose results do not depend on the selected weights"
        except Exception:  # noqa: BLE001 - a model may fail in any manner; full evaluation remains, or tells why
            return "its layers change other values than their results"
        return ""


def points_around(space: ParameterSpace, w0: Tensor) -> list[tuple[float, Tensor, Tensor]]:
    """``step, direction[N], w[N]`` at, near and far from ``w0``: code that freezes a value agrees at w0 only."""
    direction = torch.randn(space.dim, generator=torch.Generator().manual_seed(0)).to(w0)
    direction *= (torch.linalg.vector_norm(w0) + 1e-3) / torch.linalg.vector_norm(direction)
    return [(step, direction, w0 + step * direction) for step in _STEPS]


@torch.no_grad()
def mean_loss(losses: Tensor, weight: Tensor | float) -> Tensor:
    """The mean of the losses of a block."""
    return mean_of(losses, total_weight(weight)).cpu()


def check_equal(found: Tensor, expected: Tensor, dtype: torch.dtype) -> None:
    """Raise an AssertionError if two losses differ by more than rounding."""
    rtol = min(1e-2, 100 * torch.finfo(dtype).eps)
    torch.testing.assert_close(found, expected, rtol=rtol, atol=1e-12, equal_nan=True)
