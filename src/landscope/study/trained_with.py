"""The settings that a built-in training left in its own result: what the files of settings are compared with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from landscope.errors import StorageError
from landscope.files.seal import check_seal
from landscope.storage import read_heading
from landscope.study.identity import STUDY, digest_of_recording

__all__ = ["is_built_in", "settings_of_training"]


def settings_of_training(path: Path) -> dict[str, Any] | None:
    """Settings of the training of a study; None where its result is lost, or not that of the recording."""
    file = path / "training.zarr.zip"
    try:
        check_seal(file)
        heading = read_heading(file)
        if heading.identity[STUDY]["recording"] != digest_of_recording(path / "trajectory"):
            return None
        return dict(heading.attributes["provenance"]["settings"])
    except (StorageError, KeyError, TypeError, ValueError):
        return None


def is_built_in(settings: dict[str, Any] | None) -> bool:
    """Whether these are the settings of a built-in training, which names its network."""
    return settings is not None and "network" in settings
