"""A folder of results: one file a result, each whole or absent, and one process at a time."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import filelock

from landscope.errors import StorageError
from landscope.files.atomic import make_folder, remove_abandoned
from landscope.files.checked_json import read_checked, write_checked
from landscope.files.seal import check_seal
from landscope.processes import n_processes
from landscope.results import Result
from landscope.storage.archive import Archive, load, read_heading, save

__all__ = ["ResultFolder"]

_SUFFIX = ".zarr.zip"
_KEPT_BYTES = 2**20
"""Files up to this size are read once: a page asks for most results many times, and reading takes ten milliseconds."""
_PATIENCE = 60.0
"""Seconds for which a process waits for another one of its distributed training."""
AnyResult = TypeVar("AnyResult", bound=Result)


class ResultFolder:
    """Results by name in one folder.

    Args:
        path: The folder. It is made when the first result is saved.

    Example:
        >>> import tempfile, torch
        >>> from landscope.power_law import PowerLaw, fit_power_law
        >>> folder = ResultFolder(tempfile.mkdtemp())
        >>> x = torch.tensor([1.0, 2.0, 4.0])
        >>> law = folder.cached("law", PowerLaw, lambda: fit_power_law(x, x**2))
        >>> folder.names(), round(folder.load("law", PowerLaw).exponent, 6)
        (('law',), 2.0)
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._kept: dict[str, tuple[tuple[int, ...], Result]] = {}
        """Small results, with what identifies the file that they were read from."""
        self._headings: dict[str, tuple[tuple[int, ...], Archive]] = {}
        self._whole: dict[str, tuple[int, ...]] = {}
        self._read: dict[str, str] | None = None
        """Digests of the results that are read, while somebody wants to know."""

    @functools.cached_property
    def _lock(self) -> filelock.BaseFileLock:
        return filelock.FileLock(self.path / ".lock", timeout=0)

    def __getstate__(self) -> dict[str, Any]:
        # A lock is of one process, and a copy reads what it needs.
        return {name: value for name, value in vars(self).items() if name != "_lock"} | {
            "_kept": {},
            "_headings": {},
            "_whole": {},
        }

    def names(self, prefix: str = "") -> tuple[str, ...]:
        """Names of the results that begin with ``prefix``, sorted."""
        return tuple(sorted(file.name.removesuffix(_SUFFIX) for file in self.path.glob(f"{prefix}*{_SUFFIX}")))

    def file(self, name: str) -> Path:
        """Path of the result ``name``."""
        return self.path / f"{name}{_SUFFIX}"

    def has(self, name: str) -> bool:
        """Whether the result ``name`` is there."""
        return self.file(name).exists()

    def load(self, name: str, kind: type[AnyResult]) -> AnyResult:
        """Read a result.

        Args:
            name: Name of the result.
            kind: Class that the result must have.

        Returns:
            The result.

        Raises:
            StorageError: If the result is missing, damaged or of another kind.
        """
        if not self.has(name):
            raise StorageError(
                expected=f"the result {name} at {self.file(name)}",
                got="no such file",
                hint="Run the analysis with study.analyse() or landscope analyse: it makes what is missing.",
            )
        if self._read is not None:
            self._read[name] = self.heading(name).digest
        state = self._state(name)
        before, result = self._kept.get(name, ((), None))
        if before != state or not isinstance(result, kind):
            result = load(self.file(name), kind)
            if state[-1] > _KEPT_BYTES:
                return result
            self._kept[name] = state, result
        # A caller may change its tensors in place.
        return dataclasses.replace(result, **{key: tensor.clone() for key, tensor in result.tensors().items()})

    def save(self, name: str, result: Result, identity: Mapping[str, Any] | None = None) -> None:
        """Write a result, whole or not at all; a result of the same name is replaced.

        Args:
            name: Name of the result.
            result: The result.
            identity: What it was made from, as JSON can hold it.
        """
        save(result, self.file(name), overwrite=True, identity=identity)

    def heading(self, name: str) -> Archive:
        """The identity and the digest of a result, without its tensors.

        Raises:
            StorageError: If the result is missing, or its heading is damaged.
        """
        before, heading = self._headings.get(name, ((), None))
        if heading is None or before != self._state(name):
            heading = read_heading(self.file(name))
            self._headings[name] = self._state(name), heading
        return heading

    def is_whole(self, name: str) -> bool:
        """Whether a result is there, and its file fits its checksum."""
        if not self.has(name):
            return False
        state = self._state(name)
        if self._whole.get(name) != state:
            try:
                check_seal(self.file(name))
                self.heading(name)
            except StorageError:
                return False
            self._whole[name] = state
        return True

    def fits(self, name: str) -> bool:
        """Whether a result can be read here."""
        return self.is_whole(name)

    @contextlib.contextmanager
    def watched(self) -> Generator[dict[str, str]]:
        """Collect the digest of every result that is read inside the block, by name."""
        before, self._read = self._read, {}
        try:
            yield self._read
        finally:
            self._read = before

    def _state(self, name: str) -> tuple[int, ...]:
        """What changes when a file is written again; its size is last."""
        state = self.file(name).stat()
        return state.st_ino, state.st_mtime_ns, state.st_size

    def remove(self, name: str) -> None:
        """Delete a result if it is there."""
        self.file(name).unlink(missing_ok=True)

    def cached(self, name: str, kind: type[AnyResult], make: Callable[[], AnyResult]) -> AnyResult:
        """Read the result ``name`` if it is there and whole; otherwise make it, save it, and read it back.

        Args:
            name: Name of the result.
            kind: Class of the result.
            make: Computes the result.

        Returns:
            The result as it was read from the file, so that a resumed analysis sees the same bits.
        """
        if not self.fits(name):
            self.save(name, make())
        return self.load(name, kind)

    def note(self, name: str, values: dict[str, Any], *, durable: bool = False) -> None:
        """Write a JSON file; NaN and infinity become null. A power cut cannot take a durable one."""
        write_checked(self.path / f"{name}.json", values, durable=durable, indent=2)

    def read_note(self, name: str) -> dict[str, Any]:
        """Content of a JSON file; an empty mapping where there is none.

        Raises:
            StorageError: If the file is damaged or cannot be read.
        """
        file = self.path / f"{name}.json"
        return read_checked(file) if file.exists() else {}

    def change_note(self, name: str, values: Mapping[str, Any]) -> None:
        """Add values to a JSON file, or replace some of them; None takes one away."""
        before = self.read_note(name)
        changed = {key: value for key, value in {**before, **values}.items() if value is not None}
        if changed != before:
            self.note(name, changed)

    def remove_note(self, name: str) -> None:
        """Delete a JSON file if it is there."""
        (self.path / f"{name}.json").unlink(missing_ok=True)

    @contextlib.contextmanager
    def locked(self) -> Generator[None]:
        """Keep other processes out while this one works on the folder; the lock ends with the process.

        The same object may take the lock again while it holds it. In a distributed training a process waits a minute
        for another one: a callback records on the main process, and the others may come to the analysis first.

        Raises:
            StorageError: If another process holds the lock, or the folder cannot be written.
        """
        make_folder(self.path)
        try:
            self._lock.acquire(timeout=_PATIENCE if n_processes() > 1 else None)
        except filelock.Timeout:
            raise StorageError(
                expected=f"to work on {self.path} alone",
                got="another process that works on it",
                hint="Wait for it, or choose another folder.",
            ) from None
        except (OSError, NotImplementedError) as error:  # read-only, full, or a file system without locks
            raise StorageError(
                expected=f"to lock and write in {self.path}",
                got=getattr(error, "strerror", None) or str(error) or type(error).__name__,
                hint="Choose a folder you can write to, on a disk with space; results can be read where they are.",
            ) from error
        try:
            remove_abandoned(self.path)
            yield
        finally:
            self._lock.release()
