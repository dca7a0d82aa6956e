"""A disk that forgets: what a power cut leaves of a folder, by the rules that POSIX gives.

Content that was not flushed with ``fsync`` may be missing, and a name in a folder that was not flushed may still be the
old one. The class records every write, rename and flush that goes through :mod:`os` and :mod:`pathlib`, and makes the
folder as a power cut would leave it.
"""

import os
import shutil
from pathlib import Path


class ForgetfulDisk:
    """Follows the writes below a folder, and what of them was flushed.

    After each flush and each rename, ``moments`` holds what a power cut may leave: names and content for a folder
    with only flushed content under flushed names, and one with all names but only flushed content.
    """

    def __init__(self, root: Path, monkeypatch) -> None:
        self.root, self.content, self.names = root, {}, {}
        self.moments = []
        fsync, replace, rename = os.fsync, Path.replace, Path.rename

        def flush(descriptor):
            fsync(descriptor)
            self._flushed(Path(os.readlink(f"/proc/self/fd/{descriptor}")))

        def moved(source, target, old):
            found = old(source, target)
            if source.is_relative_to(root):
                self._moved(source, Path(target))
            return found

        monkeypatch.setattr(os, "fsync", flush)
        monkeypatch.setattr(Path, "replace", lambda source, target: moved(source, target, replace))
        monkeypatch.setattr(Path, "rename", lambda source, target: moved(source, target, rename))

    def _flushed(self, path: Path) -> None:
        if not path.is_relative_to(self.root):
            return
        if path.is_dir():
            self.names = {
                name: inode for name, inode in self.names.items() if name.parent != path or not name.parent.exists()
            } | {file: file.stat().st_ino for file in path.iterdir() if file.is_file()}
        else:
            self.content[path.stat().st_ino] = path.read_bytes()
        self._remember()

    def _moved(self, source: Path, target: Path) -> None:
        if target.is_dir():  # everything in a folder that is moved keeps its name in it
            self.names |= {
                target / name.relative_to(source): inode
                for name, inode in self.names.items()
                if name.is_relative_to(source)
            }
        self._remember()

    def _remember(self) -> None:
        there = {file: file.stat().st_ino for file in self.root.rglob("*") if file.is_file()}
        self.moments.append((dict(self.names), dict(self.content)))
        self.moments.append((there, dict(self.content)))

    def restore(self, moment: tuple, target: Path) -> None:
        """Make a folder as a power cut at one of the moments leaves it."""
        shutil.rmtree(target, ignore_errors=True)
        names, content = moment
        for name, inode in names.items():
            file = target / name.relative_to(self.root)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content.get(inode, b""))
