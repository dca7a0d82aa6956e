"""Where processes that share work say what they do next, so that an error of one comes in all."""

from __future__ import annotations

import contextlib
import json
import math
import time
from typing import Any

import torch.distributed as dist

from landscope.errors import InputError, StorageError
from landscope.sharded import device_of_exchange
from landscope.wording import first_lines

__all__ = ["Meetings", "store_of_all"]

_CALL, _FAILED = "call", "failed"
_ALIKE = 1e-4
"""Largest relative difference of numbers that follow from the same data and weights: kernels and devices round."""
_SHORTEST_PAUSE, _LONGEST_PAUSE = 1e-3, 0.1
_SAME_CALLS = "Within shared_work() make the same calls in the same order, with the same rows, data and weights."
_STATISTICS = (
    " Batch normalisation keeps statistics of the samples of each process: before you make the loss, call "
    "torch.distributed.broadcast(buffer, 0) for every buffer of model.buffers()."
)


class Meetings:
    """The meetings of one training: at each of them every process says what it does next.

    A process that failed says so at once and waits for nobody, and the others raise when they come.
    """

    def __init__(self) -> None:
        self._context = self._number = 0

    def begin(self) -> None:
        """Enter a context of shared work."""
        self._context, self._number = self._context + 1, 0

    def check_same(self, call: str, facts: dict[str, float | str | None]) -> None:
        """Raise in all processes where they do not make the same call with the same facts.

        Raises:
            InputError: If a process makes another call, or a fact differs.
            StorageError: If a process failed, or did not come within the timeout of the process group.
        """
        said = self._said_by_all({_CALL: call, **facts})
        for name in said[0]:  # the call comes first
            values = [one.get(name) for one in said]
            if not all(_alike(values[0], value) for value in values):
                raise InputError(
                    expected=f"the same {name.replace('_', ' ')} in all processes that share the work"
                    + ("" if name == _CALL else f" of {call}"),
                    got="; ".join(f"{_text(value)} in process {rank}" for rank, value in enumerate(values)),
                    hint=_SAME_CALLS + (_STATISTICS if "loss" in name else ""),
                )

    def fail(self, error: BaseException) -> None:
        """Say that this process ends its shared work with an error."""
        with contextlib.suppress(RuntimeError):  # the process that keeps what is said may have ended
            self._post({_FAILED: f"{type(error).__name__}: {first_lines(error)}"})

    def _post(self, facts: dict[str, Any]) -> list[str]:
        """Say something at the next meeting; the keys of what all say there."""
        self._number += 1
        place = f"landscope/shared/{self._context}/{self._number}"
        keys = [f"{place}/{rank}" for rank in range(dist.get_world_size())]
        store_of_all().set(keys[dist.get_rank()], json.dumps(facts))
        return keys

    def _said_by_all(self, facts: dict[str, Any]) -> list[dict[str, Any]]:
        keys, store = self._post(facts), store_of_all()
        end, pause = time.monotonic() + _limit(), _SHORTEST_PAUSE
        while absent := [rank for rank, key in enumerate(keys) if not store.check([key])]:
            _raise_if_failed({rank: store.get(key) for rank, key in enumerate(keys) if rank not in absent})
            if time.monotonic() > end:
                raise StorageError(
                    expected=f"process {absent[0]} in {facts[_CALL]}, whose work is shared",
                    got=f"nothing from it within {_limit():.0f} s",
                    hint="Enter shared_work() in all processes and make the same calls there; where one takes longer, "
                    "pass a longer timeout= to init_process_group.",
                )
            time.sleep(pause)
            pause = min(_LONGEST_PAUSE, 2 * pause)
        said = {rank: store.get(key) for rank, key in enumerate(keys)}
        _raise_if_failed(said)
        return [json.loads(one) for one in said.values()]


def _raise_if_failed(said: dict[int, bytes]) -> None:
    for rank, one in said.items():
        if (failed := json.loads(one).get(_FAILED)) is not None:
            raise StorageError(
                expected="all processes that share the work", got=f"an error in process {rank}, {failed}",
                hint="Mend what that process says.",
            )  # fmt: skip


def _alike(one: float | str | None, other: float | str | None) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return one == other or math.isclose(one, other, rel_tol=_ALIKE)
    return one == other


def _text(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _limit() -> float:
    """Seconds that processes wait for each other."""
    group = dist.distributed_c10d._get_default_group()._get_backend(device_of_exchange())
    return group.options._timeout.total_seconds()


def store_of_all() -> dist.Store:
    """Where all processes read what one of them writes."""
    return dist.distributed_c10d._get_default_store()
