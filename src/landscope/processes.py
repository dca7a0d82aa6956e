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
from torch import Tensor, nn

from landscope.errors import InputError, StorageError
from landscope.meetings import Meetings, store_of_all
from landscope.sharded import device_of_exchange, is_in_parts, of_first
from landscope.wording import first_lines

__all__ = [
    "Turn",
    "check_same",
    "check_same_call",
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
    "take_buffers_of_first",
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


@torch.no_grad()
def take_buffers_of_first(model: nn.Module) -> None:
    """Give a model the buffers that the first process has; every process must call it.

    Running statistics of batch normalisation are of the samples of each process. ``DistributedDataParallel`` takes
    those of the first one before every forward pass, so that they differ after the last one; under ``fully_shard`` they
    always do.

    Args:
        model: The model; a buffer in parts stays as it is.

    Example:
        >>> take_buffers_of_first(nn.BatchNorm1d(3))
    """
    if n_processes() == 1:
        return
    for buffer in model.buffers():
        if not is_in_parts(buffer):
            buffer.copy_(of_first(buffer))


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
        _claimed[name] = store_of_all().add(f"landscope/{name}", 1) == 1
    return _claimed[name]


@contextlib.contextmanager
def shared_work() -> Generator[None]:
    """Processes of a distributed training share the work of the calls in the context; all must make the same calls.

    :func:`landscope.principal_modes` divides the columns of the rows among them, and :func:`landscope.flatness` the
    directions. All get the whole result, with the same bits. Without processes it does nothing, nor within itself.

    Raises:
        InputError: In all processes, where they make other calls, or have other rows, losses or weights.
        StorageError: Where another process ended the context with an error, which it says, or did not come within the
            ``timeout`` of ``init_process_group``, 30 minutes by default.

    Example:
        >>> with shared_work():
        ...     share()
        (0, 1)
    """
    if share()[1] > 1 or n_processes() == 1:
        with _sharing(True):
            yield
        return
    _meetings.begin()
    with _sharing(True):
        try:
            yield
            check_same_call("the end of shared_work()")
        except BaseException as error:
            _meetings.fail(error)
            raise


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


_meetings = Meetings()


def check_same_call(call: str, facts: Callable[[], dict[str, float | str | None]] = dict) -> None:
    """Raise in all processes that share the work where they do not make the same call with the same facts.

    Args:
        call: The call, in words.
        facts: Gives what must be equal, floating-point numbers up to a relative 1e-4; underscores of names are spaces.
            It is not called where no process shares the work.

    Raises:
        InputError: If a process makes another call, or a fact differs.
        StorageError: If a process failed, or did not come within the timeout of the process group.

    Example:
        >>> check_same_call("principal_modes", lambda: {"number_of_rows": 100})  # there is no other process
    """
    if share()[1] > 1:
        _meetings.check_same(call, facts())


def joined(parts: Tensor) -> Tensor:
    """The sum of what the processes that share the work have, in place; a tensor as it is where none share.

    Args:
        parts: A tensor of the same shape and type in all; where each fills its part of zeros, the sum is exact.
    """
    if share()[1] > 1:
        check_same_call("an exchange of results", lambda: {"shape": str(list(parts.shape)), "dtype": str(parts.dtype)})
        device = device_of_exchange()
        for part in parts.reshape(-1).split(_PIECE):  # an exchange between GPUs takes memory there
            there = part.to(device)
            dist.all_reduce(there)
            part.copy_(there)
    return parts


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
            with contextlib.suppress(RuntimeError):  # the process that keeps what is said may have ended
                self._say(f"{type(error).__name__}: {first_lines(error)}")
            raise
        self._say(_DONE)
        if not self.is_own:
            self._wait()

    def _say(self, end: str) -> None:
        if self.is_own and n_processes() > 1:
            store_of_all().set(f"landscope/{self.name}/end", end)

    def _wait(self) -> None:
        key = f"landscope/{self.name}/end"
        try:
            store = store_of_all()
            while not store.check([key]):  # without the limit of a barrier: an analysis may take hours
                time.sleep(_PAUSE)
            said = store.get(key).decode()
        except RuntimeError as error:
            raise StorageError(
                expected="what another process of this training does for all",
                got=f"the end of the process that keeps what all say, {first_lines(error)}",
                hint="Mend what the other processes say.",
            ) from error
        if said != _DONE:
            raise StorageError(
                expected="what another process of this training does for all", got=f"an error there, {said}",
                hint="Mend what that process says.",
            )  # fmt: skip


_come: collections.Counter[str] = collections.Counter()


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
