"""Blocks of rows: memory that is allocated once and filled row by row."""

from __future__ import annotations

import collections
import dataclasses
import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from landscope.recorder.transfer import Transfer
from landscope.sharded import whole

__all__ = ["Block", "BlockPool", "Rows", "rows_of_a_block"]

_BLOCK_BYTES, _MOST_BLOCK_BYTES = 2**22, 2**25
_BLOCK_ROWS, _MAX_BLOCK_ROWS = 8, 1024


def rows_of_a_block(row_bytes: int) -> int:
    """Rows of a block: a few megabytes; of large rows at least a few, as long as a block stays small."""
    fitting = max(_BLOCK_BYTES // row_bytes, min(_BLOCK_ROWS, _MOST_BLOCK_BYTES // row_bytes))
    return max(1, min(_MAX_BLOCK_ROWS, fitting))


@dataclasses.dataclass(frozen=True)
class Rows:
    """Recorded rows on the CPU.

    Args:
        weights: One row a step, ``[rows, N]``.
        steps: Step of each row.
        rates: Learning rate of each step.
        losses: Noted loss of each step; NaN where none was.
    """

    weights: Float[Tensor, "rows N"]
    steps: Tensor
    rates: Tensor
    losses: Tensor

    def __len__(self) -> int:
        return len(self.steps)

    def first(self, count: int) -> Rows:
        """The first rows."""
        return Rows(self.weights[:count], self.steps[:count], self.rates[:count], self.losses[:count])


class BlockPool:
    """Memory for blocks on the device of the model: given back when its rows are no longer needed, and filled again.

    Args:
        rows: Rows of a block.
        dim: Weights of a row.
    """

    def __init__(self, rows: int, dim: int) -> None:
        self.rows, self._dim = rows, dim
        self._free: collections.deque[Tensor] = collections.deque()

    def take(self, like: Tensor) -> Tensor:
        """Memory for the rows of a block, of the type and on the device of a tensor."""
        while self._free:
            memory = self._free.popleft()
            if (memory.dtype, memory.device) == (like.dtype, like.device):
                return memory
        return torch.empty(self.rows, self._dim, dtype=like.dtype, device=like.device)

    def give_back(self, memory: Tensor) -> None:
        """Take back what :meth:`take` gave, or a part of it that begins with its first row; other tensors are left."""
        whole = memory if memory._base is None else memory._base
        if whole.shape == (self.rows, self._dim):
            self._free.append(whole)


class Block:
    """Rows of steps that follow one another, while they are filled.

    Nothing waits for the device: a sum of each row, which shows later whether all of it is finite, and the losses stay
    there until the block leaves it.

    Args:
        memory: Memory for the rows, see :meth:`BlockPool.take`.
    """

    def __init__(self, memory: Float[Tensor, "rows N"]) -> None:
        self.memory = memory
        self._steps: list[int] = []
        self._rates: list[float] = []
        device = "cpu" if memory.device.type == "mps" else memory.device  # which has no float64
        self._sums = torch.zeros(len(memory), dtype=torch.float64, device=device)
        self._losses = torch.full((len(memory),), torch.nan, dtype=torch.float64, device=device)
        self._transfer: Transfer | None = None

    def __len__(self) -> int:
        return len(self._steps)

    @property
    def is_full(self) -> bool:
        """Whether no further row fits."""
        return len(self) == len(self.memory)

    def add(
        self, tensors: Sequence[Tensor], step: int, rate: float, loss: Tensor | float = math.nan
    ) -> Float[Tensor, " N"]:
        """Copy tensors into the next row.

        Returns:
            The row.
        """
        number = len(self)
        row = self.memory[number]
        torch.cat([whole(tensor.detach()).reshape(-1) for tensor in tensors], out=row)
        self._sums[number], self._losses[number] = row.sum(), loss
        self._steps.append(step)
        self._rates.append(rate)
        return row

    def leave_device(self) -> None:
        """Begin to copy the rows to the CPU; no further row is added."""
        self._transfer = Transfer(*(part[: len(self)] for part in (self.memory, self._sums, self._losses)))

    def rows(self, dtype: torch.dtype) -> tuple[Rows, int]:
        """The rows on the CPU, and how many there are before the first that is not finite.

        Args:
            dtype: Their type.
        """
        assert self._transfer is not None  # noqa: S101 - leave_device() comes first
        held, sums, losses = self._transfer.wait()
        weights = held.to(dtype)
        doubtful = (~torch.isfinite(sums) | torch.isinf(losses)).nonzero().flatten().tolist()
        # The sum of finite weights may be infinite.
        bad = (row for row in doubtful if torch.isinf(losses[row]) or not torch.isfinite(weights[row]).all())
        rates = torch.tensor(self._rates, dtype=torch.float64, device="cpu")
        return Rows(weights, torch.tensor(self._steps, device="cpu"), rates, losses), next(bad, len(self))
