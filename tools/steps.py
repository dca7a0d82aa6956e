"""How a step of the check list fails, and how it runs a program."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

__all__ = ["StepFailedError", "StepSkippedError", "run"]


class StepFailedError(Exception):
    """A step failed.

    Args:
        found: What was found.
        to_do: How to mend it.
    """

    def __init__(self, found: str, to_do: str) -> None:
        super().__init__(found)
        self.to_do = to_do


class StepSkippedError(Exception):
    """A step needs something that an earlier one did not make."""


def run(
    command: Sequence[str],
    to_do: str = "Read what the command printed.",
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> str:
    """What a program prints.

    Args:
        command: Program and arguments.
        to_do: How to mend it where it fails.
        cwd: Folder in which it runs.
        env: Its environment; that of this process by default.

    Raises:
        StepFailedError: If it fails, with the end of what it printed.
    """
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=cwd, env=env)
    if done.returncode:
        printed = "\n".join((done.stdout + done.stderr).strip().splitlines()[-15:])
        raise StepFailedError(f"$ {' '.join(command)}\n{printed}", to_do)
    return done.stdout
