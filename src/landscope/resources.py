"""How much memory and how much room on a disk there is, also inside a container."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

import psutil

__all__ = ["free_disk", "free_memory", "size_in_words", "total_memory"]

_CONTAINER = Path("/sys/fs/cgroup")


def total_memory() -> int:
    """Bytes of memory of this machine, or of its container where that has fewer."""
    return min([psutil.virtual_memory().total, *_of_container("memory.max")])


def free_memory() -> int:
    """Bytes of memory that a process can still take without pushing others out."""
    limit, used = _of_container("memory.max"), _of_container("memory.current")
    free = [most - now + _files_in_memory() for most, now in zip(limit, used, strict=False)]
    return max(0, min([psutil.virtual_memory().available, *free]))


def free_disk(path: Path) -> int:
    """Free bytes of the disk that holds a path, or will hold it."""
    return shutil.disk_usage(next(one for one in (path, *path.absolute().parents) if one.exists())).free


def size_in_words(size: float) -> str:
    """A number of bytes for a message, in the largest unit below it."""
    power = next(power for power in (3, 2, 1, 0) if size >= 10 ** (3 * power) or power == 0)
    return f"{size / 10 ** (3 * power):.3g} {('bytes', 'kB', 'MB', 'GB')[power]}"


def _of_container(name: str) -> list[int]:
    """A number that the container gives; empty where there is no container, or one without a limit."""
    with contextlib.suppress(ValueError, OSError):
        return [int((_CONTAINER / name).read_text())]
    return []


def _files_in_memory() -> int:
    """Bytes of files that the container holds in memory, and gives up where a process needs them."""
    with contextlib.suppress(ValueError, OSError):
        told = dict(line.split() for line in (_CONTAINER / "memory.stat").read_text().splitlines())
        return sum(int(told.get(name, 0)) for name in ("active_file", "inactive_file"))
    return 0
