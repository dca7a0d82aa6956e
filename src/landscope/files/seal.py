"""A seal at the end of a zip file: the SHA-256 of all bytes before it, in the comment that every zip file may have."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from pathlib import Path
from typing import BinaryIO

from landscope.errors import StorageError

__all__ = ["check_seal", "open_regular", "seal", "unreadable"]

_PREFIX = b"landscope sha256:"
_LENGTH = len(_PREFIX) + 64
_SEAL = re.compile(rb"landscope sha256:[0-9a-f]{64}")
_BLOCK = 2**22


def seal(path: Path) -> None:
    """Write the digest of a zip file without comment into its comment; other readers of zip files ignore it."""
    with path.open("r+b") as file:
        file.seek(-2, os.SEEK_END)
        if file.read(2) != b"\0\0":
            raise ValueError(f"{path} has a comment")
        file.seek(-2, os.SEEK_END)
        file.write(_LENGTH.to_bytes(2, "little"))
        end = file.tell()
        file.write(_PREFIX + _digest(file, end).encode())


def check_seal(path: Path) -> None:
    """Raise unless a file is one that :func:`seal` has closed, and not a byte of it has changed since.

    Raises:
        StorageError: If it is missing, no regular file, without a seal, or changed.
    """
    with open_regular(path) as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _LENGTH))
        found = file.read()
        if not _SEAL.fullmatch(found):
            raise _damaged(path, "a file without a checksum at its end")
        if found[len(_PREFIX) :].decode() != _digest(file, size - _LENGTH):
            raise _damaged(path, "bytes that do not fit the checksum at its end")


def open_regular(path: Path) -> BinaryIO:
    """Open a file for reading; a pipe or a device, which could block for ever, is refused.

    Raises:
        StorageError: If there is no such file, it is no regular one, or it cannot be read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except FileNotFoundError:
        raise StorageError(expected=f"a file at {path}", got="none", hint="Check the path.") from None
    except OSError as error:
        raise StorageError(
            expected=f"a file that can be read at {path}",
            got=error.strerror or str(error),
            hint="Check its rights, or choose another file.",
        ) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise StorageError(
            expected=f"a regular file at {path}", got="a folder, a pipe or a device", hint="Check the path."
        )
    return os.fdopen(descriptor, "rb")


def _digest(file: BinaryIO, length: int) -> str:
    """SHA-256 of the first ``length`` bytes."""
    file.seek(0)
    digest, left = hashlib.sha256(), length
    while left:
        block = file.read(min(_BLOCK, left))
        if not block:
            break
        digest.update(block)
        left -= len(block)
    return digest.hexdigest()


def unreadable(path: Path, error: Exception) -> StorageError:
    """The error of a file that another library could not read."""
    return _damaged(path, f"an unreadable file ({type(error).__name__})")


def _damaged(path: Path, got: str) -> StorageError:
    return StorageError(
        expected=f"a file written by landscope.save at {path}",
        got=got,
        hint="The file is damaged, incomplete or foreign; delete it and compute the result again.",
    )
