"""What the model and the data say of a training, kept in the folder: results are read and drawn without them."""

from __future__ import annotations

from typing import Any

from landscope.errors import StorageError
from landscope.study import saved
from landscope.study.analysis import Analysis

__all__ = ["keep_facts"]

_OF_MINIBATCHES = (
    "noise-", "controls-", "basis-gradient-noise", "exponents-sign-flipped", "growth", "sensitivity",
)  # fmt: skip
"""How the names of results begin that are made with the batch size or the length of an epoch."""


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
    if analysis.has_subject:
        if analysis.subject.has_loader and any(map(folder.names, _OF_MINIBATCHES)):
            _check_same_batches(analysis, before, known)
        if not folder.names(saved.LAYER):
            known["weight_matrices"] = analysis.subject.weight_matrices
    facts = {**before, **{key: value for key, value in known.items() if value}}
    if facts != before:
        folder.note("training", facts)
    return facts != before


def _check_same_batches(analysis: Analysis, before: dict[str, Any], known: dict[str, Any]) -> None:
    used = (analysis.batch_size, analysis.steps_per_epoch)
    for (name, value), in_use in zip(known.items(), used, strict=True):
        if value is not None and value == in_use and before.get(name, value) != value:
            raise StorageError(
                expected=f"{name.removeprefix('data_')} {before[name]}, as of the results in {analysis.folder.path}",
                got=f"{value}",
                hint="Pass the DataLoader of the training, or call discard_results() to measure everything again.",
            )
