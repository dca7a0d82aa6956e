"""Independent jobs of a reproduction, one after another or in several processes."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from landscope._checks import check_count
from landscope.errors import StorageError
from landscope.executors import Workers
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


def perform(
    jobs: Sequence[Job], reporter: Reporter, timings: Path, *, processes: int = 1, executor: str = "processes"
) -> None:
    """Do all jobs.

    Small networks gain little from a second thread and nearly all of a second core from a second process: two
    processes trained ten networks 1.7 times as fast as one, all ten in one batched pass on two threads 1.6 times.

    Args:
        jobs: The jobs; within a stage the order is kept as far as several processes allow.
        reporter: Shows progress.
        timings: JSON file of the seconds of each job, added over repetitions.
        processes: Number of processes; two or more share the threads evenly.
        executor: Where the jobs are done, see :class:`landscope.executors.Workers`. All workers must see the same
            folders.

    Raises:
        StorageError: If processes were killed, three times in a row.
        Exception: The exception of the first failing job; jobs that run beside it are finished first.
    """
    check_count("processes", processes, minimum=1)
    begun = time.perf_counter()
    for number, (job, seconds) in enumerate(_performed(jobs, reporter, processes, executor)):
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


def _performed(jobs: Sequence[Job], reporter: Reporter, processes: int, executor: str) -> Iterator[tuple[Job, float]]:
    stages = [[job for job in jobs if job.stage == stage] for stage in sorted({job.stage for job in jobs})]
    if processes == 1 and executor == "processes":
        for job in itertools.chain.from_iterable(stages):
            yield job, _timed(job, reporter)
        return
    threads = max(1, torch.get_num_threads() // processes)
    with Workers(executor, processes, threads, after_kills="Give the same command with --jobs 1 to go on.") as workers:
        for stage in stages:
            for number, seconds in workers.results([functools.partial(_timed, job, QuietReporter()) for job in stage]):
                yield stage[number], seconds


def _timed(job: Job, reporter: Reporter) -> float:
    started = time.perf_counter()
    job.call(reporter, *job.arguments)
    return time.perf_counter() - started
