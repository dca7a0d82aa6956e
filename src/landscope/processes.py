"""What all processes of a distributed training share, because the weights follow from it."""

from __future__ import annotations

import collections
import contextlib
import contextvars
import dataclasses
import time
from collections.abc import Callable, Generator, Sequence
from typing import Protocol, TypeVar, runtime_checkable

import torch
import torch.distributed as dist
from torch import Tensor

from landscope.errors import InputError, StorageError
from landscope.wording import first_lines

__all__ = [
    "Turn",
    "check_same",
    "in_first_process",
    "is_first_process",
    "is_first_to_claim",
    "joined",
    "means_over_processes",
    "n_processes",
    "of_first_process",
    "share",
    "shared_work",
    "sums_over_processes",
]

_DONE, _PAUSE = "done", 0.1
_PIECE = 2**24
"""Numbers that are exchanged at once."""
_ROUNDING = 1e-3
"""Largest relative difference of a number that several processes measured from the same data."""


@runtime_checkable
class _CanMove(Protocol):
    """What holds tensors and can be brought to a device."""

    def to(self: _Moves, device: torch.device | str, /) -> _Moves: ...


_Moves = TypeVar("_Moves", bound=_CanMove)


def sums_over_processes(numbers: Sequence[float], device: torch.device) -> list[float]:
    """The sums over the processes of a distributed training; the numbers themselves in any other.

    Every process must call it, with as many numbers.

    Args:
        numbers: The numbers of this process.
        device: Device of its weights, over which processes exchange numbers.

    Example:
        >>> sums_over_processes([1.0, 2.0], torch.device("cpu"))
        [1.0, 2.0]
    """
    if n_processes() == 1:
        return list(numbers)
    together = torch.tensor(numbers, dtype=torch.float64, device=device)
    dist.all_reduce(together)
    return together.tolist()


def means_over_processes(numbers: Sequence[float], device: torch.device) -> list[float]:
    """The means over the processes of a distributed training; see :func:`sums_over_processes`."""
    return [total / n_processes() for total in sums_over_processes(numbers, device)]


def check_same(name: str, value: float, device: torch.device, *, hint: str) -> None:
    """Raise in all processes where a number that all should have measured alike differs; every process must call it.

    Args:
        name: The number, in words.
        value: Its value in this process.
        device: Device of the weights, over which processes exchange numbers.
        hint: What to do.

    Raises:
        InputError: If it differs by more than rounding.
    """
    if n_processes() == 1:
        return
    alone = [0.0] * n_processes()
    alone[dist.get_rank()] = value
    values = sums_over_processes(alone, device)
    if not max(values) - min(values) <= _ROUNDING * max(map(abs, values)):
        raise InputError(
            expected=f"the same {name} in all processes", got=", ".join(f"{one:.6g}" for one in values), hint=hint
        )


def of_first_process(value: _Moves, device: torch.device) -> _Moves:
    """The value of the first process, which all take, so that no bit differs; every process must call it.

    Args:
        value: What this process has: a penalty, or anything else with ``to(device)`` that can be pickled.
        device: Device of the weights of this process.
    """
    if n_processes() == 1:
        return value
    values = [value.to("cpu")]  # its tensors are on a device of the first process
    dist.broadcast_object_list(values, 0, device=device)
    return values[0].to(device)


_claimed: dict[str, bool] = {}


def is_first_to_claim(name: str) -> bool:
    """Whether this process is the first of its training that claims a name; nothing waits for the other processes.

    Args:
        name: The name; it stays with the process that claimed it first, which may not be done with it when others
            claim it again.
    """
    if n_processes() == 1:
        return True
    if name not in _claimed:
        _claimed[name] = _store().add(f"landscope/{name}", 1) == 1
    return _claimed[name]


@contextlib.contextmanager
def shared_work() -> Generator[None]:
    """Processes of a distributed training share the work of the calls in the context; all must make the same calls.

    :func:`landscope.principal_modes` divides the columns of the rows among them, and :func:`landscope.flatness` the
    directions. All get the whole result, with the same bits. Without processes it does nothing.

    Example:
        >>> with shared_work():
        ...     share()
        (0, 1)
    """
    with _sharing(True):
        yield


@contextlib.contextmanager
def _sharing(value: bool) -> Generator[None]:
    token = _is_shared.set(value)
    try:
        yield
    finally:
        _is_shared.reset(token)


_is_shared: contextvars.ContextVar[bool] = contextvars.ContextVar("is_shared", default=False)


def share() -> tuple[int, int]:
    """The number of this process, and how many share the work."""
    return (dist.get_rank(), n_processes()) if _is_shared.get() and n_processes() > 1 else (0, 1)


def joined(parts: Tensor) -> Tensor:
    """The sum of what the processes that share the work have, in place; a tensor as it is where none share.

    Args:
        parts: A tensor of the same shape and type in all; where each fills its part of zeros, the sum is exact.
    """
    if share()[1] > 1:
        device = _device_of_exchange()
        for part in parts.reshape(-1).split(_PIECE):  # an exchange between GPUs takes memory there
            there = part.to(device)
            dist.all_reduce(there)
            part.copy_(there)
    return parts


def _device_of_exchange() -> torch.device:
    """Where tensors must be for the processes to exchange them."""
    backend = dist.get_backend()
    return torch.device("cuda", torch.cuda.current_device()) if backend == dist.Backend.NCCL else torch.device("cpu")


def in_first_process(name: str, work: Callable[[], None]) -> None:
    """Do some work in one process of a distributed training, the first that comes; the others wait until it is done.

    A process that comes alone does the work and waits for nobody.

    Args:
        name: Name of the work.
        work: What to do.

    Raises:
        StorageError: In the processes that wait, if the work ends with an error, which comes in its own process.

    Example:
        >>> in_first_process("greeting", lambda: print("hello"))
        hello
    """
    turn = Turn.of(name)
    with turn.taken():
        if turn.is_own:
            with _sharing(False):  # the others wait
                work()


@dataclasses.dataclass(frozen=True)
class Turn:
    """Work that one process of a distributed training does while the others wait, made by :meth:`of`.

    Args:
        name: Its name, with its number.
        is_own: Whether this process does it.
    """

    name: str
    is_own: bool

    @classmethod
    def of(cls, name: str) -> Turn:
        """The next work of a name: each process counts how often it comes; the one that came first does it always."""
        _come[name] += 1
        return cls(f"{name}, {_come[name]}", is_first_to_claim(name))

    @contextlib.contextmanager
    def taken(self) -> Generator[None]:
        """The process that does the work does it in the context; the others wait at the end of it."""
        try:
            yield
        except BaseException as error:
            self._say(f"{type(error).__name__}: {first_lines(error)}")
            raise
        self._say(_DONE)
        if not self.is_own:
            self._wait()

    def _say(self, end: str) -> None:
        if self.is_own and n_processes() > 1:
            _store().set(f"landscope/{self.name}/end", end)

    def _wait(self) -> None:
        key, store = f"landscope/{self.name}/end", _store()
        while not store.check([key]):  # without the limit of a barrier: an analysis may take hours
            time.sleep(_PAUSE)
        if (said := store.get(key).decode()) != _DONE:
            raise StorageError(
                expected="what another process of this training does for all", got=f"an error there, {said}",
                hint="Mend what that process says.",
            )  # fmt: skip


_come: collections.Counter[str] = collections.Counter()


def _store() -> dist.Store:
    return dist.distributed_c10d._get_default_store()


def is_first_process() -> bool:
    """Whether this is the first process of a distributed training, or there is no other.

    Example:
        >>> is_first_process()
        True
    """
    return n_processes() == 1 or dist.get_rank() == 0


def n_processes() -> int:
    """Processes that train together; 1 without a distributed training."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1
