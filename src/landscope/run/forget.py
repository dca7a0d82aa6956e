"""``landscope forget``: tasks learnt one after another, with and without something that keeps the earlier ones."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from torch import Tensor

from landscope.errors import InputError, StorageError
from landscope.paper.claims import Judgement
from landscope.paper.keeping import in_turn_measurements
from landscope.run.course import begin_course
from landscope.run.folder import RunFolder
from landscope.run.measured import judged
from landscope.run.progress import Reporter
from landscope.settings import ForgetOptions
from landscope.storage import write_json
from landscope.tasks import METHODS, TasksInTurn, learn_in_turn
from landscope.threads import one_thread

__all__ = ["forget", "forget_judgements", "groups_of"]

_FILE = "forget.json"
_LOOKS = 40
"""How often errors are looked at while a task is learnt, about."""


def groups_of(text: str) -> list[tuple[int, ...]]:
    """Classes of each task.

    Raises:
        InputError: If the text does not say them.

    Example:
        >>> groups_of("0,1;2,3")
        [(0, 1), (2, 3)]
    """
    try:
        groups = [tuple(int(label) for label in part.split(",")) for part in text.split(";")]
    except ValueError:
        groups = []
    if len(groups) < 2:
        raise InputError(
            expected="two tasks or more, as classes by commas and tasks by semicolons",
            got=repr(text),
            hint='For example --tasks "0,1;2,3".',
        )
    return groups


def forget(run: RunFolder, options: ForgetOptions, reporter: Reporter) -> dict[str, TasksInTurn]:
    """Learn the tasks once without anything and once with each method; what is there is kept.

    Args:
        run: Where; of the settings that all share.
        options: What else.
        reporter: Told of errors as they come.

    Returns:
        What happened, by method.

    Raises:
        InputError: If a method or a class is unknown, or a method needs a strength.
        StorageError: If the folder holds other tasks.
    """
    groups = groups_of(options.tasks)
    strengths = {method: _strength(method, options.strength) for method in options.methods}
    _same_tasks(run, options)
    found: dict[str, TasksInTurn] = {}
    with run.locked(), one_thread():
        for method in dict.fromkeys(("none", *options.methods)):
            strength = strengths.get(method, math.nan)
            name = _artefact(method, strength, options)
            if not run.has(name):
                run.save(name, _learnt(run, options, groups, method, strength, reporter))
            found[method] = run.load(name, TasksInTurn)
    return found


def _learnt(
    run: RunFolder,
    options: ForgetOptions,
    groups: Sequence[Sequence[int]],
    method: str,
    strength: float,
    reporter: Reporter,
) -> TasksInTurn:
    title = "without anything" if method == "none" else METHODS[method].name
    with reporter.errors(title, [",".join(map(str, group)) for group in groups]) as told:
        course = begin_course(run.settings, groups, options.pretraining, options.n_modes)

        def look(number: int, step: int, errors: Tensor) -> None:
            told(number, step, errors.tolist())

        epoch = course.learner.steps_per_epoch(course.tasks[0].train)
        every = max(1, epoch * course.window_epochs // _LOOKS)
        return learn_in_turn(
            course, method, strength=strength, n_modes=options.n_modes, rank=options.rank, watch_every=every, told=look
        )


def _strength(method: str, asked: float | None) -> float:
    if method not in METHODS:
        raise InputError(
            expected=f"a method: {', '.join(METHODS)}",
            got=method,
            hint="Training without anything is always beside it.",
        )
    strength = METHODS[method].default if asked is None else asked
    if strength is None:
        raise InputError(
            expected=f"a strength for {method}, which has none of its own",
            got="none",
            hint="Pass --strength 1000, say.",
        )
    return strength


def _artefact(method: str, strength: float, options: ForgetOptions) -> str:
    if method == "none":
        return "in-turn-none"
    rank = "" if options.rank is None else f"-rank{options.rank}"
    return f"in-turn-{method}-{strength:g}-{options.n_modes}{rank}"


def _same_tasks(run: RunFolder, options: ForgetOptions) -> None:
    """A folder holds one sequence of tasks; methods may be added to it."""
    ours = {"tasks": options.tasks, "pretraining": options.pretraining}
    theirs = run.note(_FILE)
    if theirs and theirs != ours:
        raise StorageError(
            expected=f"the tasks of {run.path}: {theirs}", got=f"{ours}", hint="Choose another folder with --out."
        )
    write_json(run.path / _FILE, ours)


def forget_judgements(found: Mapping[str, TasksInTurn]) -> list[Judgement]:
    """What one run says on the paper's claims; without an interval, as it is one seed."""
    return judged(in_turn_measurements(found))
