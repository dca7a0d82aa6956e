"""The point w0 of a study: the last row of the window, the mean of its rows, or a model that was given (EMA, SWA)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from landscope.errors import InputError, StorageError
from landscope.parameters import ParameterSpace
from landscope.sharded import whole_state
from landscope.storage import read_heading
from landscope.study.checkpoints import load_model, save_model
from landscope.study.folder import StudyFolder
from landscope.study.subject import Subject
from landscope.trajectory import Trajectory, open_trajectory
from landscope.trajectory.checkpoints import load_checkpoint, load_weights

if TYPE_CHECKING:
    from landscope.study.analysis import Analysis

__all__ = [
    "CENTRE", "GIVE_AGAIN", "centre_caveat", "keep_centre", "mean_row", "model_at_centre", "named_centre",
    "problem_of_centre",
]  # fmt: skip

CENTRE = "checkpoints/w0.zarr.zip"
"""File of the whole model that was given as w0."""
GIVE_AGAIN = "pass the same model again: ls.Study(..., w0=...)"
_GIVEN, _NAME = "given", "name"


def named_centre(settings: dict[str, Any], subject: Subject | None, folder: Path) -> nn.Module | None:
    """The model that was given as w0; in the settings it is replaced by a name with the hash of its tensors.

    Args:
        settings: Settings as the caller gave them; changed in place.
        subject: The model of the study.
        folder: Folder of the study; a vector is of the weights that it has recorded, or else of all trained ones.

    Raises:
        InputError: If w0 is something else, or of another model.
    """
    given = settings.get("w0")
    if given is None or (isinstance(given, str) and (given in ("last", "mean") or given.startswith(f"{_GIVEN} "))):
        return None
    if not isinstance(given, nn.Module | Mapping | Tensor | str | Path) or (
        isinstance(given, str) and not Path(given).exists()
    ):
        raise InputError(
            expected="w0 as 'last', 'mean', a model, a state dict of one, or a vector of its weights",
            got=repr(given) if isinstance(given, str) else type(given).__name__,
            hint="Pass the averaged model, ema.state_dict(), or the path of a file of it.",
        )
    if subject is None:
        raise InputError(expected="a model with its w0", got="no model", hint="Pass the model second.")
    model = subject.copy()
    rows = folder / "trajectory"
    if isinstance(given, Tensor | Mapping) and rows.exists():
        load_weights(given, model, ParameterSpace.of(model, open_trajectory(rows).space), " for w0")
    elif isinstance(given, Tensor):
        load_weights(given, model, ParameterSpace.of(model), " for w0")
    else:
        load_checkpoint(given, model, " for w0")
    settings["w0"] = f"{_GIVEN} {_hash(model)}"
    return model


def _hash(model: nn.Module) -> str:
    digest = hashlib.sha256()
    for name, value in sorted(whole_state(model).items()):
        if isinstance(value, Tensor):
            digest.update(name.encode())
            digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def keep_centre(folder: StudyFolder, model: nn.Module | None) -> None:
    """Keep the whole model that was given as w0, with its name in the settings."""
    if model is not None:
        save_model(folder.path / CENTRE, model, step=-1, **{_NAME: folder.settings.w0})


def problem_of_centre(folder: StudyFolder) -> str:
    """What is wrong with the file of the model that was given as w0; empty where nothing is, or none was given."""
    if not folder.settings.w0.startswith(_GIVEN):
        return ""
    file = folder.path / CENTRE
    if not file.exists():
        return "missing"
    try:
        found = read_heading(file).attributes.get(_NAME)
    except StorageError as error:
        return error.got
    return "" if found == folder.settings.w0 else "another model than the one that was given as w0"


def mean_row(window: Trajectory) -> Tensor:
    """The mean of the rows, in float64, one bounded piece at a time."""
    total = torch.zeros(window.dim, dtype=torch.float64)
    for block in window.blocks():
        total += block.double().sum(dim=0)
    return total / len(window)


def model_at_centre(analysis: Analysis) -> nn.Module:
    """The whole model at w0.

    The mean of the window is that of the recorded weights: all other weights and buffers are those of the last row.

    Raises:
        StorageError: If the model that was given is missing, damaged or another.
    """
    if analysis.settings.w0.startswith(_GIVEN):
        if problem := problem_of_centre(analysis.folder):
            raise StorageError(
                expected=f"the model that was given as w0 in {analysis.folder.path / CENTRE}", got=problem,
                hint=f"To go on, {GIVE_AGAIN}.",
            )  # fmt: skip
        model = analysis.subject.copy()
        load_model(analysis.folder.path / CENTRE, model)
        return model
    model = analysis.model_at(analysis.windows.step)
    if analysis.settings.w0 == "mean":
        analysis.space.assign(model, mean_row(analysis.window))
    return model


def centre_caveat(settings_w0: str) -> str:
    """What to know of w0 where it is not the last row; empty where it is."""
    if settings_w0 == "mean":
        return (
            "w0 is the mean of the window: flatness and curvature are about it, with other weights and all buffers as "
            "at the end of the window (batch_norm='re-estimated' takes the statistics at w0)"
        )
    if settings_w0.startswith(_GIVEN):
        return (
            "w0 is a model that was given, no row of the window: the modes are those of the window, flatness and "
            "curvature are about the given weights"
        )
    return ""
