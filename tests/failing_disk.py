"""A disk that is full, or read-only, from some write on."""

import builtins
import errno
import io
import os
from pathlib import Path


class FailingDisk:
    """Inside the ``with``, writes below a folder fail with an error of the system from one of them on.

    Args:
        root: The folder.
        begin: Number of the first write that fails: a file that is made, written, flushed, renamed or a new folder.
        number: Number of the error: no space left by default.
    """

    def __init__(self, root, begin=1, number=errno.ENOSPC):
        self.root, self.begin, self.number, self.writes = str(root), begin, number, 0
        self._old = {}

    def _write(self, path):
        if isinstance(path, str | os.PathLike) and os.fspath(path).startswith(self.root):
            self.writes += 1
            if self.writes >= self.begin:
                raise OSError(self.number, os.strerror(self.number), os.fspath(path))

    def __enter__(self):
        def opened(file, mode="r", *arguments, **options):
            if set(mode) & set("wax+"):
                self._write(file)
                return Watched(old_open(file, mode, *arguments, **options), lambda: self._write(file))
            return old_open(file, mode, *arguments, **options)

        def opened_low(path, flags, *arguments, **options):
            if flags & (os.O_CREAT | os.O_WRONLY | os.O_RDWR):
                self._write(path)
            return old_low(path, flags, *arguments, **options)

        def changed(old):
            def call(path, *arguments, **options):
                self._write(path)
                return old(path, *arguments, **options)

            return call

        old_open, old_low = builtins.open, os.open
        for owner, name, new in (
            (builtins, "open", opened), (io, "open", opened), (os, "open", opened_low),
            *((owner, name, changed(getattr(owner, name))) for owner, name in (
                (os, "mkdir"), (os, "replace"), (os, "rename"), (Path, "replace"), (Path, "rename"),
            )),
        ):  # fmt: skip
            self._old[owner, name] = getattr(owner, name)
            setattr(owner, name, new)
        return self

    def __exit__(self, *_):
        for (owner, name), old in self._old.items():
            setattr(owner, name, old)


class Watched:
    """A file whose every write may fail."""

    def __init__(self, file, write):
        self._file, self._write = file, write

    def write(self, content):
        self._write()
        return self._file.write(content)

    def __getattr__(self, name):
        return getattr(self._file, name)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._file.close()

    def __iter__(self):
        return iter(self._file)
