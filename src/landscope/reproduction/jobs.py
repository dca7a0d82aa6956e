"""Independent jobs of a reproduction, one after another or in several processes."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import itertools
import json
import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from landscope._checks import check_count
from landscope.errors import StorageError
from landscope.files.atomic import write_json
from landscope.files.checked_json import read_limited
from landscope.progress import QuietReporter, Reporter

__all__ = ["Job", "perform", "seconds_of"]


@dataclasses.dataclass(frozen=True)
class Job:
    """A piece of work that writes its results to files, does nothing if they exist, and may be killed at any time.

    Args:
        name: Name for the reader.
        call: Function, called with a reporter and ``arguments``; other processes must be able to import it.
        arguments: Further arguments of the call.
        stage: Jobs of a stage begin when all jobs of lower stages are done.
    """

    name: str
    call: Callable[..., None]
    arguments: tuple[Any, ...]
    stage: int = 0


def perform(jobs: Sequence[Job], reporter: Reporter, timings: Path, *, processes: int = 1) -> None:
    """Do all jobs.

    Small networks gain little from a second thread and nearly all of a second core from a second process: two
    processes trained ten networks 1.7 times as fast as one, all ten in one batched pass on two threads 1.6 times.

    Args:
        jobs: The jobs; within a stage the order is kept as far as several processes allow.
        reporter: Shows progress.
        timings: JSON file of the seconds of each job, added over repetitions.
        processes: Number of processes; two or more share the threads evenly.

    Raises:
        StorageError: If a process was killed.
        Exception: The exception of the first failing job; jobs that run beside it are finished first.
    """
    check_count("processes", processes, minimum=1)
    begun = time.perf_counter()
    for number, (job, seconds) in enumerate(_performed(jobs, reporter, processes)):
        known = seconds_of(timings)
        write_json(timings, {**known, job.name: round(known.get(job.name, 0.0) + seconds, 2)})
        minutes = (time.perf_counter() - begun) / 60
        reporter.note(f"{number + 1} of {len(jobs)}: {job.name} in {seconds:.1f} s ({minutes:.1f} min so far)")


def seconds_of(timings: Path) -> dict[str, float]:
    """Seconds of each job so far; none where the file was damaged, as only the time that is shown depends on it."""
    try:
        found = json.loads(read_limited(timings))
        return {str(name): float(seconds) for name, seconds in found.items()}
    except (StorageError, ValueError, TypeError, AttributeError, RecursionError):
        return {}


def _performed(jobs: Sequence[Job], reporter: Reporter, processes: int) -> Iterator[tuple[Job, float]]:
    stages = [[job for job in jobs if job.stage == stage] for stage in sorted({job.stage for job in jobs})]
    if processes == 1:
        for job in itertools.chain.from_iterable(stages):
            yield job, _timed(job, reporter)
        return
    threads = max(1, torch.get_num_threads() // processes)
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(processes, context, _begin_worker, (threads,)) as pool:
        for stage in stages:
            yield from _performed_in(pool, stage)


def _begin_worker(threads: int) -> None:
    """Share the threads, and end when the parent ends: a worker that outlives it would work on for nobody."""
    torch.set_num_threads(threads)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: Any) -> None:
    parent.join()
    os._exit(1)


def _performed_in(pool: concurrent.futures.ProcessPoolExecutor, jobs: Sequence[Job]) -> Iterator[tuple[Job, float]]:
    started = {pool.submit(_timed, job, QuietReporter()): job for job in jobs}
    try:
        for done in concurrent.futures.as_completed(started):
            yield started[done], done.result()
    except concurrent.futures.BrokenExecutor as error:
        raise StorageError(
            expected="every process to finish its job",
            got="a killed process, perhaps because memory was short",
            hint="Give the same command with --jobs 1 to go on.",
        ) from error
    except BaseException:
        pool.shutdown(wait=True, cancel_futures=True)
        raise


def _timed(job: Job, reporter: Reporter) -> float:
    started = time.perf_counter()
    job.call(reporter, *job.arguments)
    return time.perf_counter() - started
