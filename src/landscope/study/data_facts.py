"""What the model and the data say of a training, kept in the folder: results are read and drawn without them."""

from __future__ import annotations

import dataclasses
from typing import Any

from landscope.errors import LandscopeWarning, StorageError
from landscope.notices import warn
from landscope.study import saved
from landscope.study.analysis import Analysis
from landscope.study.data_identity import DataIdentity
from landscope.study.reach import missing_files
from landscope.study.stages import STAGES

__all__ = ["keep_facts"]

_MINIBATCHES = {"minibatches", "epochs"}
"""What parts need or use that depends on the batch size or the length of an epoch."""


def keep_facts(analysis: Analysis) -> bool:
    """Keep the batch size, the length of an epoch and the names of the layers; whether anything was new.

    Raises:
        StorageError: If a DataLoader makes other minibatches than those with which results were made.
    """
    folder = analysis.folder
    known: dict[str, Any] = {
        "data_batch_size": analysis.data_batch_size,
        "data_steps_per_epoch": analysis.data_steps_per_epoch,
    }
    before = folder.read_note("training")
    _warn_of_the_recording(analysis, before)
    if analysis.has_subject:
        if analysis.subject.has_loader and _has_results_of_minibatches(analysis):
            _check_same_batches(analysis, before, known)
        if "data" not in before:
            known["data"] = dataclasses.asdict(analysis.data_identity)
        if "weight_matrices" not in before or not folder.names(saved.LAYER):
            known["weight_matrices"] = analysis.subject.weight_matrices
    folder.change_note("training", {key: value for key, value in known.items() if value})
    return folder.read_note("training") != before


def _warn_of_the_recording(analysis: Analysis, facts: dict[str, Any]) -> None:
    """Say what was recorded of another training than the one a person may think of."""
    said = []
    if facts.get("finished") is False:
        said.append(
            f"the training recorded in {analysis.folder.path} did not end; the analysis takes the "
            f"{len(analysis.recorded)} rows that are there. To go on with the training first, restore your checkpoint "
            "and pass first_step= to record()"
        )
    if missing := missing_files(analysis.folder):
        said.append(
            f"{len(missing)} files that the training left in {analysis.folder.path} are missing or others, "
            f"{min(missing)} first; what is made from whole models is made without them. landscope check lists them"
        )
    if analysis.has_subject and DataIdentity.of(facts.get("data")).differs(analysis.data_identity):
        said.append("the data of this study have other samples than those of the recorded training")
    for sentence in said:
        warn(f"{sentence[0].upper()}{sentence[1:]}.", LandscopeWarning)


def _has_results_of_minibatches(analysis: Analysis) -> bool:
    parts = (part for stage in STAGES for part in stage.parts(analysis))
    return any(_MINIBATCHES & {*part.needs, *part.uses} and analysis.has(part.result) for part in parts)


def _check_same_batches(analysis: Analysis, before: dict[str, Any], known: dict[str, Any]) -> None:
    used = (analysis.batch_size, analysis.steps_per_epoch)
    for (name, value), in_use in zip(known.items(), used, strict=True):
        if value is not None and value == in_use and before.get(name, value) != value:
            raise StorageError(
                expected=f"{name.removeprefix('data_')} {before[name]}, as of the results in {analysis.folder.path}",
                got=f"{value}",
                hint="Pass the DataLoader of the training, or call discard_results() to measure everything again.",
            )
