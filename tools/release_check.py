"""The check list of a release: ``python -m tools.release_check``.

Every step prints ``ok`` or ``failed`` with what to do. A failed step ends nothing, so that one run shows all that is
left; only what needs a missing file is skipped. Exit status 1 says that something failed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from tools.distributions import Distributions
from tools.fresh_install import FreshInstall
from tools.project_files import ROOT, tracked_files, version, version_faults
from tools.steps import StepFailedError, StepSkippedError, run

SLOWEST_IMPORT = 0.3
"""Seconds that ``import landscope`` may take, beyond those of the bare interpreter."""


class CheckList:
    """Prints each step, and counts those that failed."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self.n_failed = 0

    def check(self, name: str, step: Callable[[], str]) -> None:
        """Do a step and print how it ended."""
        started = time.perf_counter()
        try:
            self._print("ok", "green", name, step(), started)
        except StepSkippedError as skipped:
            self._print("skipped", "yellow", name, str(skipped), started)
        except StepFailedError as fault:
            self.n_failed += 1
            self._print("failed", "red", name, str(fault), started)
            self._console.print(f"        To do: {fault.to_do}", markup=False, highlight=False)

    def _print(self, word: str, color: str, name: str, detail: str, started: float) -> None:
        self._console.print(f"[{color}]{word:<7}[/] [bold]{name}[/] ({time.perf_counter() - started:.1f} s)")
        for line in detail.splitlines():
            self._console.print(f"        {line}", markup=False, highlight=False)


def check_versions() -> str:
    """_version.py, CHANGELOG and CITATION agree."""
    if faults := version_faults():
        raise StepFailedError("\n".join(faults), "Mend these files; the version stands in src/landscope/_version.py.")
    return version()


def check_clean() -> str:
    """What is built is what is committed."""
    if changed := run(["git", "-C", str(ROOT), "status", "--porcelain"]).strip():
        raise StepFailedError(changed, "Commit these files, or name them in .gitignore: a release is one commit.")
    return run(["git", "-C", str(ROOT), "log", "-1", "--format=%h %s"]).strip()


def check_files(checks: CheckList, files: Distributions) -> None:
    """Build both distributions and look inside."""
    checks.check("wheel and sdist are built", files.build)
    checks.check("twine check --strict", files.check_metadata)
    checks.check(
        "the wheel holds the package and nothing else", lambda: files.check_wheel(tracked_files("src/landscope"))
    )
    checks.check("the sdist holds what git tracks and nothing else", lambda: files.check_sdist(tracked_files()))


def check_install(checks: CheckList, install: FreshInstall) -> None:
    """Install the wheel with its core dependencies alone, and use it."""
    label = f"Python {install.python}: "
    checks.check(f"{label}the wheel installs with core dependencies alone", install.make)
    checks.check(f"{label}every module imports, or names the extra that it needs", install.check_modules)
    checks.check(
        f"{label}import landscope takes under {SLOWEST_IMPORT} s", lambda: install.check_import(SLOWEST_IMPORT)
    )
    checks.check(f"{label}landscope --version", lambda: install.check_version(version()))
    checks.check(f"{label}landscope run writes a page", install.check_run)
    checks.check(f"{label}every extra resolves", install.check_extras)


def main() -> int:
    """Walk through the list; 0 if nothing failed."""
    parser = argparse.ArgumentParser(prog="python -m tools.release_check", description=__doc__.splitlines()[0])
    own = f"{sys.version_info.major}.{sys.version_info.minor}"
    parser.add_argument(
        "--python", nargs="+", default=[own], help="versions or paths of interpreters; default: this one"
    )
    parser.add_argument("--oldest", action="store_true", help="try the oldest dependencies that are allowed, too")
    parser.add_argument("--dist", type=Path, help="folder for the checked wheel and sdist; by default they are deleted")
    arguments = parser.parse_args()
    checks = CheckList(Console(soft_wrap=True))
    with tempfile.TemporaryDirectory(prefix="landscope-release-") as folder:
        files = Distributions(arguments.dist or Path(folder) / "dist")
        checks.check("_version.py, CHANGELOG and CITATION agree", check_versions)
        checks.check("the tree is clean", check_clean)
        check_files(checks, files)
        ages = (False, True) if arguments.oldest else (False,)
        kinds = [(python, oldest) for python in arguments.python for oldest in ages]
        for number, (python, oldest) in enumerate(kinds):
            check_install(checks, FreshInstall(files, python, Path(folder) / f"python-{number}", oldest=oldest))
    print(f"{checks.n_failed} failed" if checks.n_failed else "Nothing failed.")
    return int(checks.n_failed > 0)


if __name__ == "__main__":
    sys.exit(main())
