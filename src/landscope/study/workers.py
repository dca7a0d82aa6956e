"""Workers of an analysis: forked processes that have all that it has, or others that read it from the folder."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import importlib
import itertools
import pickle
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from landscope._checks import check_count, check_kind
from landscope.errors import InputError, StorageError
from landscope.executors import Workers
from landscope.protocols import silent
from landscope.study.analysis import Analysis
from landscope.study.folder import StudyFolder
from landscope.study.subject import Subject

__all__ = ["StudyWorkers", "checked_workers", "shared_with"]

Given = tuple[Analysis, Tensor | None]
"""What a call of a worker works on: the analysis, and directions."""
_INHERITED: dict[int, Given] = {}
"""What forked workers find, by a number."""
_numbers = itertools.count()
_FILES, _MODEL = ".workers-", "subject.pickle"


@runtime_checkable
class _Source(Protocol):
    def given(self) -> Given: ...


@dataclasses.dataclass(frozen=True)
class _Inherited:
    """What the parent had when the worker was forked."""

    number: int

    def given(self) -> Given:
        return _INHERITED[self.number]


@dataclasses.dataclass(frozen=True)
class _Kept:
    """What the parent has left in the folder of the study, which all workers see."""

    study: Path
    files: Path
    digest: str
    directions: str = ""

    def given(self) -> Given:
        rows = torch.from_numpy(np.load(self.files / self.directions, mmap_mode="c")) if self.directions else None
        return _analysis_of(self.study, self.files / _MODEL, self.digest), rows


@functools.lru_cache(maxsize=1)
def _analysis_of(study: Path, file: Path, digest: str) -> Analysis:
    content = file.read_bytes()
    if hashlib.sha256(content).hexdigest() != digest:
        raise StorageError(
            expected=f"the model that the analysis has left in {file}", got="another file",
            hint="Let all workers see the same folder.",
        )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the analysis has said it
        analysis = Analysis(StudyFolder.open(study), pickle.loads(content))  # noqa: S301 - its digest is known
        _ = analysis.risk
    return analysis


def _done(source: _Source, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    """A call in a worker."""
    analysis, directions = source.given()
    analysis.workers, analysis.progress = None, silent
    return function(analysis, directions, *arguments)


class StudyWorkers:
    """Workers for the calls of one analysis.

    Args:
        workers: The workers.
        kept: What is in the folder for workers that were not forked.
    """

    def __init__(self, workers: Workers, kept: _Kept | None) -> None:
        self._workers, self._kept, self.count = workers, kept, workers.processes

    def results(
        self, analysis: Analysis, function: Callable[..., Any], arguments: Sequence[tuple[Any, ...]],
        directions: Tensor | None = None,
    ) -> Iterator[tuple[int, Any]]:  # fmt: skip
        """The number and the result of every ``function(analysis, directions, *arguments)``, when it is done.

        Args:
            analysis: The analysis; workers have their own copy.
            function: A function of a module.
            arguments: The further arguments of each call.
            directions: Directions for all of them.
        """
        with self._source(analysis, directions) as source:
            yield from self._workers.results([functools.partial(_done, source, function, one) for one in arguments])

    @contextlib.contextmanager
    def _source(self, analysis: Analysis, directions: Tensor | None) -> Generator[_Source]:
        number = next(_numbers)
        if self._kept is None:
            _ = analysis.risk  # made once, not in each worker
            _INHERITED[number] = analysis, directions
            try:
                yield _Inherited(number)
            finally:
                del _INHERITED[number]
            return
        name = f"directions-{number}.npy" if directions is not None else ""
        if directions is not None:
            np.save(self._kept.files / name, directions.numpy())
        try:
            yield dataclasses.replace(self._kept, directions=name)
        finally:
            if name:
                (self._kept.files / name).unlink()


def checked_workers(jobs: int, executor: str) -> Workers | None:
    """The workers for a number of jobs; None where this process does all.

    Raises:
        InputError: If the number is below 1, or there is no such executor.
    """
    check_count("jobs", jobs, minimum=1)
    check_kind("executor", executor, str, hint='For example executor="ray:auto".')
    # On Linux they are forked, unless there is a GPU: its threads do not survive that.
    fork = executor == "processes" and sys.platform == "linux" and not torch.accelerator.is_available()
    after_kills = "Call it again with jobs=1 to go on."
    if executor == "processes" and not fork:
        after_kills += ' A script that asks for more needs `if __name__ == "__main__":` around what it does.'
    workers = Workers(executor, jobs, after_kills=after_kills, fork=fork)
    return None if jobs == 1 and executor == "processes" else workers


@contextlib.contextmanager
def shared_with(workers: Workers | None, analysis: Analysis) -> Generator[StudyWorkers | None]:
    """Workers for an analysis whose folder is locked, until the end of the block; None where this process does all.

    Raises:
        InputError: If the model is on a GPU, its data differ at each reading, or a worker cannot be sent a part of it.
    """
    for left in analysis.folder.path.glob(f"{_FILES}*"):  # by an analysis that was killed: this one has the lock
        shutil.rmtree(left, ignore_errors=True)
    if workers is None or not analysis.has_subject:
        yield None
        return
    _check_device(analysis.subject)
    with contextlib.ExitStack() as stack:
        kept = None
        if not workers.forks:
            content = _pickled(analysis)
            folder = tempfile.TemporaryDirectory(dir=analysis.folder.path, prefix=_FILES)
            files = Path(stack.enter_context(folder)).resolve()
            (files / _MODEL).write_bytes(content)
            kept = _Kept(analysis.folder.path.resolve(), files, hashlib.sha256(content).hexdigest())
        yield StudyWorkers(stack.enter_context(workers), kept)


def _check_device(subject: Subject) -> None:
    devices = {str(tensor.device) for tensor in subject.model.parameters()}
    if devices != {"cpu"}:
        raise InputError(
            expected="a model on the CPU, to share its analysis among workers", got=f"one on {', '.join(devices)}",
            hint="Leave jobs=1, the default: a GPU works on one thing at a time.",
        )  # fmt: skip


def _pickled(analysis: Analysis) -> bytes:
    """The model with its loss and data, as bytes.

    Raises:
        InputError: If they differ at each reading, or one of them cannot be pickled.
    """
    if analysis.data_identity.is_random:
        raise InputError(
            expected="data that are the same at each reading, as every worker reads them", got="data that differ",
            hint="Leave jobs=1, the default, or draw the samples before.",
        )  # fmt: skip
    subject, pickler = dataclasses.replace(analysis.subject, evaluate=None, train_on=None), _pickler()
    for name in ("model", "criterion", "losses", "data", "loss_options"):
        _part_pickled(name, getattr(subject, name), pickler)
    return pickler.dumps(subject)


def _part_pickled(name: str, value: Any, pickler: Any) -> None:
    try:
        pickler.dumps(value)
    except Exception as error:
        more = "" if pickler is not pickle else " Or install cloudpickle: pip install cloudpickle."
        raise InputError(
            expected=f"{name} to be pickled for workers", got=f"{type(error).__name__}: {error}",
            hint=f"Define it at the top of a module that workers can import, or leave jobs=1, the default.{more}",
        ) from error  # fmt: skip


def _pickler() -> Any:
    """Cloudpickle, which comes with Ray and Dask and takes functions and classes of a script; else pickle."""
    for name in ("cloudpickle", "ray.cloudpickle"):
        with contextlib.suppress(ImportError):
            return importlib.import_module(name)
    return pickle
