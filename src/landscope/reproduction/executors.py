"""Where jobs are done: in processes of this machine, or by the workers of a Ray or a Dask cluster."""

from __future__ import annotations

import concurrent.futures
import importlib
import multiprocessing
import os
import threading
from collections.abc import Callable
from typing import Any

import torch

from landscope.errors import InputError

__all__ = ["KINDS", "is_lost", "start_executor"]

KINDS = ("processes", "ray", "dask")
_LOST = ("WorkerCrashedError", "NodeDiedError", "OutOfMemoryError", "LocalRayletDiedError", "KilledWorker")
"""Errors of Ray and Dask that say that a worker was killed."""


def start_executor(where: str, processes: int, threads: int) -> concurrent.futures.Executor:
    """An executor for jobs; its ``shutdown`` ends what was started for it, and leaves a cluster that it joined.

    Args:
        where: ``"processes"``; ``"ray"`` or ``"dask"`` for a cluster on this machine; with an address behind a colon
            for another, such as ``"ray:auto"``, ``"ray:ray://head:10001"`` or ``"dask:tcp://head:8786"``.
        processes: Workers on this machine.
        threads: Threads of each of them.

    Raises:
        InputError: If there is no such executor, or its package is not installed.
    """
    kind, _, address = where.partition(":")
    if kind not in KINDS or (kind == "processes" and address):
        raise InputError(
            expected="an executor: processes, ray, ray:ADDRESS, dask or dask:ADDRESS", got=repr(where),
            hint="ray:auto joins the Ray cluster of this machine.",
        )  # fmt: skip
    if kind == "processes":
        context = multiprocessing.get_context("spawn")
        return concurrent.futures.ProcessPoolExecutor(processes, context, _begin_worker, (threads,))
    return {"ray": _Ray, "dask": _Dask}[kind](address, processes)


def is_lost(error: BaseException) -> bool:
    """Whether an error says that the worker was killed, so that the job may be done again."""
    return isinstance(error, concurrent.futures.BrokenExecutor) or type(error).__name__ in _LOST


class _Ray(concurrent.futures.Executor):
    """Tasks of Ray, one core each; Ray does a task again whose worker was killed."""

    def __init__(self, address: str, processes: int) -> None:
        self._ray = _package("ray", "ray")
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

    def __init__(self, address: str, processes: int) -> None:
        distributed = _package("distributed", "dask")
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


def _package(name: str, extra: str) -> Any:
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
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: Any) -> None:
    parent.join()
    os._exit(1)
