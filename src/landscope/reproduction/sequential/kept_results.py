"""Results kept in the folder of a seed: made if missing, and read again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from landscope.progress import Reporter
from landscope.reproduction.experiment.folder import ExperimentFolder
from landscope.reproduction.experiment.made_under import check_same_numbers
from landscope.reproduction.experiment.settings import Settings
from landscope.results import Result
from landscope.threads import one_thread

__all__ = ["make_missing"]

_Trial = TypeVar("_Trial")


def make_missing(
    path: Path,
    settings: Settings,
    trials: Mapping[str, _Trial],
    prepare: Callable[[], Callable[[_Trial], Result]],
    reporter: Reporter,
    numbers: Mapping[str, Any] | None = None,
) -> None:
    """Make the results that a folder does not hold yet, or that are damaged or of another experiment.

    Args:
        path: The folder; made if there is none.
        settings: Settings of all its results.
        trials: What to make, by the name of the result.
        prepare: Prepares what all trials share, and returns the function that makes a trial; not called if nothing is
            missing.
        reporter: Shows progress.
        numbers: What else all its results depend on.

    Raises:
        StorageError: If the folder holds results of other settings or numbers, or another process works on it.
    """
    folder = ExperimentFolder.create(path, settings)
    if numbers is not None:
        check_same_numbers(folder, "", numbers)
    missing = {name: trial for name, trial in trials.items() if folder.to_make(name, reporter)}
    if not missing:
        return
    with folder.locked(), one_thread(), reporter.stage(path.name) as progress:
        make = prepare()
        for number, (name, trial) in enumerate(missing.items()):
            folder.save(name, make(trial))
            progress(number + 1, len(missing))
