"""The command that makes a damaged study whole again, in the words of ``landscope check``."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from landscope.errors import StorageError
from landscope.storage import read_heading
from landscope.study.run_file import has_run_file

__all__ = ["Remedies", "is_run", "of_a_figure", "remedies_of"]

_FURTHER = {
    "noise": ("noise-", "flatness-and-curvature"),
    "controls": ("basis-hessian", "basis-gradient-noise", "basis-random", "one-window", "sensitivity", "growth"),
    "dynamics": ("controls-response", "controls-edge", "controls-yaida", "effective-curvature-", "run-limit-continued"),
}
"""Stages that are made on request, and how the names of some of their results begin."""
_OF_FIGURES = ("relation-", "effective-dimension")
"""How the names of results begin that ``landscope reproduce`` measures on a run."""


@dataclasses.dataclass(frozen=True)
class Remedies:
    """What makes a study whole.

    Args:
        again: The command that makes results again.
        record: What makes the recording again.
    """

    again: str
    record: str


def remedies_of(path: Path) -> Remedies:
    """The commands for the study in a folder, with the stages that were made on request."""
    stages = [f" --{stage}" for stage, begins in _FURTHER.items() if _is_there(path, begins)]
    if is_run(path):
        again = f"landscope analyse {path}{''.join(stages)}"
        return Remedies(again, f"{again} (it trains again)")
    record = "restore it from a copy, or record again with study.record(optimizer)"
    return Remedies(f"landscope analyse {path} --study module:function{''.join(stages)}", record)


def of_a_figure(name: str) -> str:
    """The command that makes a result of a figure again; empty for the results of a study."""
    return "landscope reproduce FIGURE --out FOLDER, as it was given" if name.startswith(_OF_FIGURES) else ""


def is_run(path: Path) -> bool:
    """Whether ``landscope run`` made the study, so that a command can train it again."""
    if has_run_file(path):
        return True
    try:
        return "network" in read_heading(path / "training.zarr.zip").attributes["provenance"]["settings"]
    except (StorageError, KeyError, TypeError):
        return False


def _is_there(path: Path, begins: tuple[str, ...]) -> bool:
    return any(file for begin in begins for file in path.glob(f"{begin}*.zarr.zip"))
