"""The wheel and the sdist: built as a user's pip would, and looked into."""

from __future__ import annotations

import sys
import tarfile
import zipfile
from pathlib import Path

from tools.project_files import ROOT
from tools.steps import StepFailedError, StepSkippedError, run

__all__ = ["Distributions"]

_METADATA = {"METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE"}


class Distributions:
    """Both files of a release.

    Args:
        folder: Where they are built; an earlier build of the same version is replaced.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._built = False

    @property
    def wheel(self) -> Path:
        """The built wheel."""
        return self._file("*.whl")

    @property
    def sdist(self) -> Path:
        """The built sdist."""
        return self._file("*.tar.gz")

    def build(self) -> str:
        """Build the sdist, and the wheel from it, in an environment of their own."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if others := sorted(file.name for file in self.folder.iterdir() if file.name != ".gitignore"):
            raise StepFailedError(
                f"{self.folder} holds {', '.join(others)}.", "Empty the folder: it should hold one release."
            )
        command = [sys.executable, "-m", "build", "--installer", "uv", "--outdir", str(self.folder), str(ROOT)]
        run(command, "Build by hand with `python -m build`; without a registry, hatchling cannot be installed.")
        self._built = True
        return "\n".join(f"{file.name}: {file.stat().st_size / 1e6:.2f} MB" for file in (self.wheel, self.sdist))

    def check_metadata(self) -> str:
        """The metadata and the README that a package registry shows."""
        command = [sys.executable, "-m", "twine", "check", "--strict", str(self.wheel), str(self.sdist)]
        run(command, "Mend [project] in pyproject.toml, or README.md.")
        return ""

    def check_wheel(self, tracked: set[str]) -> str:
        """Every tracked file of the package, its metadata, and nothing else.

        Args:
            tracked: Paths of the package's files in the repository.
        """
        with zipfile.ZipFile(self.wheel) as wheel:
            held = set(wheel.namelist())
        info = f"{'-'.join(self.wheel.name.split('-')[:2])}.dist-info"
        expected = {path.removeprefix("src/") for path in tracked} | {f"{info}/{name}" for name in _METADATA}
        _compare(held, expected, "[tool.hatch.build.targets.wheel]")
        data = sorted(name for name in held if name.startswith("landscope/") and not name.endswith(".py"))
        return f"{len(held)} files; beside modules: {', '.join(name.removeprefix('landscope/') for name in data)}"

    def check_sdist(self, tracked: set[str]) -> str:
        """Every tracked file of the repository, its metadata, and nothing else.

        Args:
            tracked: Paths of all files in the repository.
        """
        with tarfile.open(self.sdist) as sdist:
            held = {member.name.partition("/")[2] for member in sdist.getmembers() if not member.isdir()}
        _compare(held, tracked | {"PKG-INFO"}, "[tool.hatch.build.targets.sdist], or .gitignore")
        return f"{len(held)} files"

    def _file(self, pattern: str) -> Path:
        if not self._built or not (found := list(self.folder.glob(pattern))):
            raise StepSkippedError("It needs the built files.")
        return found[0]


def _compare(held: set[str], expected: set[str], setting: str) -> None:
    lines = [f"missing: {name}" for name in sorted(expected - held)[:10]]
    lines += [f"not expected: {name}" for name in sorted(held - expected)[:10]]
    if lines:
        raise StepFailedError("\n".join(lines), f"Commit or delete these files, or change {setting}.")
