"""Whether forward mode has the derivatives of the backward pass, which the code of a model may define itself."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch._C._functorch import TransformType, get_interpreter_stack
from torch._functorch.pyfunctorch import temporarily_clear_interpreter_stack

from landscope._checks import for_float64
from landscope.seeded import kept_random_state

__all__ = ["ForwardMode"]


class ForwardMode:
    """A guard of losses, which raises in forward mode if this has other derivatives than reverse mode.

    Hooks change gradients in the backward pass alone, and an ``autograd.Function`` may have a ``jvp`` of its own.
    Training uses the backward pass, so landscope does too. The two are compared once, at the first use of forward mode.

    Args:
        loss: ``parameters -> loss`` of some samples.
    """

    def __init__(self, loss: Callable[[dict[str, Tensor]], Tensor]) -> None:
        self._loss, self._agrees = loss, None

    def check(self, values: Callable[[], dict[str, Tensor]]) -> None:
        """Raise in forward mode where it does not agree with reverse mode.

        Args:
            values: Gives the parameters at which they are compared.

        Raises:
            RuntimeError: As torch does for an operation without forward mode; callers then take reverse mode.
        """
        if not _is_on():
            return
        if self._agrees is None:
            self._agrees = True  # for the calls that compare
            with temporarily_clear_interpreter_stack(), kept_random_state():
                self._agrees = self._compared({name: value.detach() for name, value in values().items()})
        if not self._agrees:
            raise RuntimeError("the code of the model changes gradients in the backward pass alone")

    def _compared(self, values: dict[str, Tensor]) -> bool:
        generator = torch.Generator().manual_seed(0)
        along = {name: torch.randn(value.shape, generator=generator).to(value) for name, value in values.items()}
        try:
            forward = float(torch.func.jvp(self._loss, (values,), (along,))[1])
        except Exception:  # noqa: BLE001 - the caller will see it, too
            return True
        with torch.enable_grad():
            leaves = {name: value.clone().requires_grad_() for name, value in values.items()}
            loss = self._loss(leaves)
            slopes = torch.autograd.grad(loss, list(leaves.values()), materialize_grads=True)
        terms = [for_float64(a * b).double() for a, b in zip(slopes, along.values(), strict=True)]
        size, total = (sum(float(f(term).sum()) for term in terms) for f in (torch.abs, torch.clone))
        return not abs(forward - total) > torch.finfo(slopes[0].dtype).eps ** 0.5 * size


def _is_on() -> bool:
    return any(level.key() == TransformType.Jvp for level in get_interpreter_stack() or ())
