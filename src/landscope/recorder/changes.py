"""Sees whether the weights change outside of the steps of the recorded optimiser, so that rows are other weights."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from landscope.errors import LandscopeWarning
from landscope.notices import warn
from landscope.optimizer_steps import is_nested
from landscope.recorder.transfer import Transfer
from landscope.sharded import whole
from landscope.sketch import CountSketch

__all__ = ["ChangeWatch"]

_FIRST = 8
_STRIDE = 7
"""Every step is compared at the beginning, and then every seventh: a comparison takes as long as a row, and a change at
every 2nd, 5th, 10th or 100th step meets a multiple of seven soon."""
_BITS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


class ChangeWatch:
    """Compares the weights before a step, and at the end, with the row of the step before.

    Args:
        optimizer: The recorded optimiser.
        tensors: The recorded tensors.
        sketch: The map of the weights to a row; None where a row is the weights.
    """

    def __init__(
        self, optimizer: torch.optim.Optimizer, tensors: Sequence[Tensor], sketch: CountSketch | None = None
    ) -> None:
        self._optimizer, self._tensors, self._sketch = optimizer, tensors, sketch
        self._row: Tensor | None = None
        self._step, self._n_rows, self._has_said = 0, 0, False
        self._found: list[tuple[int, Transfer]] = []
        """Comparisons on the device whose answers are not here yet, with the step of the row."""
        self._hook: torch.utils.hooks.RemovableHandle | None = None

    def start(self) -> None:
        """Watch the steps that follow."""
        self._row = None
        self._hook = self._optimizer.register_step_pre_hook(self._before_step)

    def stop(self) -> None:
        """Watch no further step."""
        if self._hook is not None:
            self._hook.remove()
            self._hook = None

    def keep(self, row: Tensor, step: int) -> None:
        """Take note of the row of a step; it must stay as it is."""
        self._n_rows += 1
        self._row, self._step = row, step

    def skip(self) -> None:
        """Take note of a step without a row."""
        self._row = None

    def _before_step(self, *_: object) -> None:
        while self._found and self._found[0][1].has_arrived:
            self._say_if_changed(*self._found.pop(0))
        if self._row is None or self._has_said or (self._n_rows > _FIRST and self._n_rows % _STRIDE):
            return
        if not is_nested(self._optimizer):
            self._found.append((self._step, Transfer(self._differs())))

    def _say_if_changed(self, step: int, found: Transfer) -> None:
        (differs,) = found.wait()
        if self._has_said or not bool(differs):
            return
        self._say(
            f"The weights changed between step {step} of the optimiser and the next one, as by clipping, a "
            "projection, or another optimiser of the same weights. Each row holds the weights right after a step, and "
            "so do whole models saved by a study; they are not those after the change, whose moves count as a part of "
            "the next step. To record what the change leaves, let it run at the end of each step: call "
            "optimizer.register_step_post_hook(lambda *_: change(model)) before the recording begins. Of two "
            "optimisers, record the one that steps last."
        )

    def at_end(self, more: str = "") -> None:
        """Say whether the weights at the end are no longer those of the last row.

        Args:
            more: What follows from it, beside the rows.
        """
        for step, found in self._found:
            self._say_if_changed(step, found)
        self._found = []
        if self._row is not None and (more or not self._has_said) and self.has_changed():
            self._say(
                f"The weights of the model are no longer those of step {self._step}, the last row: they changed after "
                "it, as by a projection, another optimiser, or a trainer that loads the best model at the end. The "
                "recording, and what is measured from it, ends at the weights of that step, not at those of the model "
                f"now. {more}".rstrip()
            )

    def last_weights(self) -> list[Tensor]:
        """The weights of the last row, one tensor for each recorded one; none where it is not held."""
        if self._row is None:
            return []
        if self._sketch is not None:  # a row does not hold them: those of the model, if they are still the same
            return [] if self.has_changed() else [tensor.detach() for tensor in self._tensors]
        return list(self._row.split([tensor.numel() for tensor in self._tensors]))

    def has_changed(self) -> bool:
        """Whether the weights are others than those of the last row, to the bit; False where they were moved."""
        return bool(self._differs())

    def _differs(self) -> Tensor:
        """See :meth:`has_changed`; one value on the device of the weights, so that nothing waits for it."""
        row, start = self._row, 0
        if row is None or any(tensor.device != row.device for tensor in self._tensors):
            return torch.tensor(False, device="cpu")
        found = torch.zeros((), dtype=torch.bool, device=row.device)  # made there: a copy to a GPU would wait for it
        tensors = self._tensors if self._sketch is None else [self._sketch.of(self._tensors)]
        for tensor in tensors:
            end = start + tensor.numel()
            now, before = whole(tensor.detach()).reshape(-1).to(row.dtype), row[start:end]
            bits = [part.view(_BITS[part.element_size()]) for part in (now, before)]
            if row.device.type != "cpu":
                found = found | ((bits[0] != bits[1]).any() & torch.isfinite(now).all())
            elif not torch.equal(*bits):
                return torch.isfinite(now).all()  # the recorder says it of others, after the next step
            start = end
        return found

    def _say(self, message: str) -> None:
        self._has_said = True
        warn(message, LandscopeWarning)
