"""Calls done by several workers: processes of this machine, or those of a Ray or a Dask cluster."""

from __future__ import annotations

import concurrent.futures
import importlib
import multiprocessing
import os
import pickle
import signal
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Any

import torch

from landscope.errors import InputError, LandscopeError, StorageError

__all__ = ["Workers"]

_PACKAGES = {"processes": "", "ray": "ray", "dask": "distributed"}
"""The package that each kind of executor needs, which is installed by the extra of the name of the kind."""
_TRIES = 3
_LOST = ("WorkerCrashedError", "NodeDiedError", "OutOfMemoryError", "LocalRayletDiedError", "KilledWorker")
"""Errors of Ray and Dask that say that a worker was killed."""


class Workers:
    """Workers that do calls, and do those again whose worker was killed. They are started when they are needed.

    Args:
        where: ``"processes"``; ``"ray"`` or ``"dask"`` for a cluster on this machine; with an address behind a colon
            for another, such as ``"ray:auto"``, ``"ray:ray://head:10001"`` or ``"dask:tcp://head:8786"``.
        processes: Workers on this machine.
        threads: Threads of each of them; one on a cluster.
        after_kills: What to do where workers were killed again and again.
        fork: Whether processes are forked for each set of calls, and so have all that the parent has then.

    Raises:
        InputError: If there is no such executor, or its package is not installed.
    """

    def __init__(
        self, where: str, processes: int, threads: int = 1, *, after_kills: str, fork: bool = False
    ) -> None:  # fmt: skip
        self._kind, _, self._address = where.partition(":")
        if self._kind not in _PACKAGES or (self._kind == "processes" and self._address):
            raise InputError(
                expected="an executor: processes, ray, ray:ADDRESS, dask or dask:ADDRESS", got=repr(where),
                hint="ray:auto joins the Ray cluster of this machine.",
            )  # fmt: skip
        self._package = _imported(_PACKAGES[self._kind], self._kind) if self._kind != "processes" else None
        self.processes, self.forks = processes, fork
        self._threads, self._after_kills = threads, after_kills
        self._pool: concurrent.futures.Executor | None = None

    def results(self, calls: Sequence[Callable[[], Any]]) -> Iterator[tuple[int, Any]]:
        """Do calls that can be pickled; the number of each and what it returned, when it is done.

        Raises:
            StorageError: If workers were killed again and again.
            Exception: The exception of the first call that fails.
        """
        if not calls:
            return
        left, started, ended = list(range(len(calls))), dict[concurrent.futures.Future[bytes], int](), False
        try:
            for _ in range(_TRIES):
                started, left = self._submitted(calls, left), []
                for done in concurrent.futures.as_completed(started):
                    try:
                        packed = done.result()
                    except Exception as error:
                        if not _is_lost(error):
                            raise
                        left.append(started[done])
                        continue
                    yield started[done], _unpacked(packed)
                if not left:
                    ended = True
                    return
                self._end()
            raise StorageError(
                expected="every process to finish its job",
                got=f"a killed process in each of {_TRIES} attempts, perhaps because memory was short",
                hint=self._after_kills,
            )
        finally:
            if self.forks:  # the next calls need what the parent has then
                self._end(at_once=not ended)
            elif not ended:
                for future in started:
                    future.cancel()

    def _submitted(
        self, calls: Sequence[Callable[[], Any]], numbers: Sequence[int]
    ) -> dict[concurrent.futures.Future[bytes], int]:  # fmt: skip
        pool = self._started()
        with warnings.catch_warnings():  # a forked worker has one thread, and its parent's are idle
            warnings.filterwarnings("ignore", ".*fork", DeprecationWarning)
            return {pool.submit(_packed, calls[number]): number for number in numbers}

    def _started(self) -> concurrent.futures.Executor:
        if self._pool is None:
            if self._kind == "processes":
                context: Any = multiprocessing.get_context("fork" if self.forks else "spawn")
                self._pool = concurrent.futures.ProcessPoolExecutor(
                    self.processes, context, _begin_worker, (self._threads,)
                )
            else:
                kind = {"ray": _Ray, "dask": _Dask}[self._kind]
                self._pool = kind(self._package, self._address, self.processes)
        return self._pool

    def __enter__(self) -> Workers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # After Ctrl-C nobody waits for what workers are at.
        self._end(at_once=kind is not None and not issubclass(kind, Exception))

    def _end(self, *, at_once: bool = False) -> None:
        """End what was started, and leave a cluster that was joined; workers finish their calls, or are killed."""
        pool, self._pool = self._pool, None
        if pool is None:
            return
        if at_once:
            for process in list((getattr(pool, "_processes", None) or {}).values()):
                process.kill()
        pool.shutdown(wait=True, cancel_futures=True)


def _is_lost(error: BaseException) -> bool:
    """Whether an error says that the worker was killed, so that the call may be done again."""
    return isinstance(error, concurrent.futures.BrokenExecutor) or type(error).__name__ in _LOST


def _packed(call: Callable[[], Any]) -> bytes:
    """What a call returns, or why it refuses, as bytes: torch passes tensors by open files, which end with a worker."""
    try:
        return pickle.dumps((call(), None))
    except LandscopeError as error:
        return pickle.dumps((None, error))


def _unpacked(packed: bytes) -> Any:
    result, error = pickle.loads(packed)  # noqa: S301 - of a worker that this process started
    if error is not None:
        raise error
    return result


class _Ray(concurrent.futures.Executor):
    """Tasks of Ray, one core each; Ray does a task again whose worker was killed."""

    def __init__(self, ray: Any, address: str, processes: int) -> None:
        self._ray = ray
        self._is_ours = not self._ray.is_initialized()
        if self._is_ours:
            where = {"address": address} if address else {"num_cpus": processes, "include_dashboard": False}
            self._ray.init(**where, log_to_driver=False)
        self._call = self._ray.remote(num_cpus=1, max_retries=3)(_called)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> concurrent.futures.Future[Any]:
        """Do a call on a worker."""
        return self._call.remote(fn, args, kwargs).future()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: ARG002 - of the base
        """Leave the cluster."""
        if self._is_ours:
            self._ray.shutdown()


class _Dask(concurrent.futures.Executor):
    """Tasks of Dask; the cluster may be one of dask-jobqueue, which starts workers under Slurm."""

    def __init__(self, distributed: Any, address: str, processes: int) -> None:
        where = {} if address else {"n_workers": processes, "threads_per_worker": 1, "dashboard_address": None}
        self._client = distributed.Client(address or None, **where)
        self._executor = self._client.get_executor(pure=False, retries=3)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> concurrent.futures.Future[Any]:
        """Do a call on a worker."""
        return self._executor.submit(_called, fn, args, kwargs)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Leave the cluster."""
        self._executor.shutdown(wait=wait and not cancel_futures)
        self._client.close()


def _imported(name: str, extra: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise InputError(
            expected=f"the package {name}", got="none", hint=f"Install it: pip install 'landscope[{extra}]'."
        ) from error


def _called(fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    torch.set_num_threads(1)
    return fn(*args, **kwargs)


def _begin_worker(threads: int) -> None:
    """Share the threads, and end when the parent ends: a worker that outlives it would work on for nobody."""
    torch.set_num_threads(threads)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends its workers
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: Any) -> None:
    parent.join()
    os._exit(1)
