"""An environment that holds the wheel and its core dependencies alone, used as a newcomer would."""

from __future__ import annotations

import os
import statistics
import subprocess
import time
from pathlib import Path

from uv import find_uv_bin

from tools.distributions import Distributions
from tools.project_files import ROOT, project
from tools.steps import StepFailedError, StepSkippedError, run

__all__ = ["FreshInstall"]

_SMALL_RUN = (
    "run --hidden 12 --hidden 12 --batch-size 100 --learning-rate 0.2 --start 20 --window-epochs 6 --fit-modes 2 60 "
    "--spectrum-ranks 5 40 --flatness-modes 80 --n-nulls 1 --n-processes 1 --curvature-modes 20"
)
_MODULES = """
import importlib, pkgutil, sys
import landscope
names = [m.name for m in pkgutil.walk_packages(landscope.__path__, "landscope.") if not m.name.endswith("__main__")]
for name in names:
    try:
        importlib.import_module(name)
    except ImportError as error:
        if "landscope[" not in str(error):
            print(f"{name}: {error}", file=sys.stderr)
            sys.exit(1)
print(len(names), "modules")
"""


class FreshInstall:
    """A fresh virtual environment of one interpreter.

    Args:
        files: The built distributions.
        python: Version or path of the interpreter.
        folder: Folder of the environment and of a run.
        oldest: Whether to take the oldest dependencies that ``pyproject.toml`` allows, beside the torch of
            ``constraints.txt``, in place of those that the tests were run with.
    """

    def __init__(self, files: Distributions, python: str, folder: Path, *, oldest: bool = False) -> None:
        self.python = f"{python}, oldest dependencies" if oldest else python
        self._interpreter, self._oldest = python, oldest
        self._files, self._folder = files, folder
        self._bin = folder / "venv" / ("Scripts" if os.name == "nt" else "bin")
        self._made = False
        kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
        self._env = {"UV_FIND_LINKS": kept.get("PIP_FIND_LINKS", "")} | kept

    def make(self) -> str:
        """Make the environment and install the wheel."""
        wheel = self._files.wheel
        self._folder.mkdir()
        to_do = "Name an interpreter that is installed, or its path; `uv python list` shows them."
        self._uv(["venv", "--python", self._interpreter, str(self._bin.parent)], to_do)
        self._install(str(wheel))
        self._made = True
        return f"{self._printed('-V')}, torch {self._printed('-c', 'import torch; print(torch.__version__)')}"

    def check_modules(self) -> str:
        """No module needs a package that only developers have."""
        to_do = "Import it within the function that needs it, or make it a dependency of pyproject.toml."
        return self._printed("-c", _MODULES, to_do=to_do)

    def check_import(self, slowest: float, n_starts: int = 9) -> str:
        """The median over process starts with ``import landscope``, less that of the bare interpreter.

        Args:
            slowest: Seconds that it may take.
            n_starts: Starts of each, in turn; the first pair, which writes bytecode, does not count.
        """
        pairs = [(self._seconds("pass"), self._seconds("import landscope")) for _ in range(n_starts + 1)][1:]
        bare, whole = (statistics.median(column) for column in zip(*pairs, strict=True))
        found = f"{whole - bare:.3f} s: median of {n_starts} process starts, less {bare:.3f} s of the bare interpreter"
        if whole - bare > slowest:
            raise StepFailedError(
                found, "Find the slow module with `python -X importtime -c 'import landscope'`, load it later."
            )
        return found

    def check_version(self, expected: str) -> str:
        """The command line is installed and names the version.

        Args:
            expected: The version.
        """
        printed = self._command("--version")
        if printed != expected:
            raise StepFailedError(
                f"Expected {expected}; got {printed}.", "Check [project.scripts] and [tool.hatch.version]."
            )
        return printed

    def check_run(self) -> str:
        """A small run on the built-in digits ends in a page."""
        self._command(*_SMALL_RUN.split(), "--out", "run")
        page = self._folder / "run" / "report.html"
        if not page.is_file() or "</html>" not in page.read_text(encoding="utf-8"):
            raise StepFailedError(
                f"Expected a page at {page.name}; got none that is whole.", "Run the command by hand."
            )
        return f"report.html: {page.stat().st_size / 1e6:.1f} MB"

    def check_extras(self) -> str:
        """The packages of each extra can be had together with what is installed; nothing is installed."""
        self._needs_environment()
        names, faults = sorted(project()["optional-dependencies"]), []
        for name in names:
            try:
                self._install(f"landscope[{name}] @ {self._files.wheel.as_uri()}", "--dry-run")
            except StepFailedError as fault:
                faults.append(f"{name}: {fault}")
        if faults:
            raise StepFailedError("\n".join(faults), "Mend [project.optional-dependencies] or constraints.txt.")
        return ", ".join(names)

    def _install(self, what: str, *options: str) -> None:
        command = ["pip", "install", "--python", str(self._bin / "python"), *self._versions()]
        self._uv([*command, *options, what], "Mend [project.dependencies] or constraints.txt.")

    def _versions(self) -> list[str]:
        tested = ROOT / "constraints.txt"
        if not self._oldest:
            return ["-c", str(tested)]
        torch = self._folder / "torch.txt"
        torch.write_text(next(line for line in tested.read_text().splitlines() if line.startswith("torch==")))
        return ["--resolution", "lowest-direct", "--override", str(torch)]

    def _uv(self, arguments: list[str], to_do: str) -> None:
        run([find_uv_bin(), "--quiet", *arguments], to_do, env=self._env)

    def _printed(self, *arguments: str, to_do: str = "Read what Python printed.") -> str:
        self._needs_environment()
        return run([str(self._bin / "python"), *arguments], to_do, cwd=self._folder, env=self._env).strip()

    def _command(self, *arguments: str) -> str:
        self._needs_environment()
        command = [str(self._bin / "landscope"), *arguments]
        return run(command, "Run the command in the environment.", cwd=self._folder, env=self._env).strip()

    def _seconds(self, code: str) -> float:
        self._needs_environment()
        started = time.perf_counter()
        subprocess.run([str(self._bin / "python"), "-c", code], check=True, cwd=self._folder, env=self._env)
        return time.perf_counter() - started

    def _needs_environment(self) -> None:
        if not self._made:
            raise StepSkippedError("It needs the environment.")
