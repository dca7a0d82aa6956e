"""``landscope forget``: tasks learnt one after another, with and without something that keeps the earlier ones."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

from torch import Tensor

from landscope.claims.statements import judged
from landscope.claims.verdict import Judgement
from landscope.errors import InputError, StorageError
from landscope.progress import Reporter
from landscope.reproduction.experiment.folder import ExperimentFolder
from landscope.reproduction.experiment.settings import ForgetOptions, Settings, TaskSettings
from landscope.reproduction.figures.fig4_claims import in_turn_measurements
from landscope.reproduction.sequential.ablations import COMPARED, UNPROTECTED, method_label
from landscope.reproduction.sequential.course import Course
from landscope.reproduction.sequential.courses import begin_course, in_turn_artefact
from landscope.reproduction.sequential.sequence import TasksInTurn, learn_in_turn
from landscope.storage.atomic import write_json
from landscope.threads import one_thread

__all__ = ["check_request", "forget", "forget_judgements", "groups_of", "numbers_of", "ways_of"]

_FILE = "continual"
_LOOKS = 40
"""How often errors are looked at while a task is learnt, about."""
_PAPER = {"tasks": [[0, 1], [2, 3]], "pretraining": "tasks", "max_epochs": 50, "window_epochs": 10}
_EPOCH = 241
"""Minibatches in an epoch of the digits 2 and 3 of MNIST."""
Way = tuple[str, float]
"""A method and its strength."""


def groups_of(text: str) -> list[list[int]]:
    """Classes of each task.

    Raises:
        InputError: If the text does not say them.

    Example:
        >>> groups_of("0,1;2,3")
        [[0, 1], [2, 3]]
    """
    hint = 'For example --tasks "0,1;2,3".'
    try:
        groups = [[int(label) for label in part.split(",")] for part in text.split(";")]
    except ValueError:
        raise InputError(
            expected="classes as whole numbers, by commas, and tasks by semicolons", got=repr(text), hint=hint
        ) from None
    if len(groups) < 2:
        raise InputError(expected="two tasks or more, by semicolons", got=repr(text), hint=hint)
    return groups


def ways_of(words: Sequence[str]) -> list[Way]:
    """Methods with their strengths, as ``name`` or ``name:strength``; training without anything first.

    Raises:
        InputError: If a method is unknown, a strength is no positive number, or one is missing.

    Example:
        >>> ways_of(["ldc-floor", "ewc:1000"])
        [('none', nan), ('ldc-floor', 4.0), ('ewc', 1000.0)]
    """
    ways: list[Way] = [("none", math.nan)]
    for word in words:
        method, _, text = word.partition(":")
        if method in UNPROTECTED and not text:
            ways += [] if method == "none" else [(method, math.nan)]
        elif method in COMPARED:
            ways.append((method, _strength(method, text)))
        else:
            raise InputError(
                expected=f"a method: {', '.join((*COMPARED, 'joint'))}",
                got=repr(word),
                hint=f"{method} takes no strength." if method in UNPROTECTED else "Check the spelling.",
            )
    return list(dict.fromkeys(ways))


def _strength(method: str, text: str) -> float:
    default = COMPARED[method].default_strength
    if not text and default is None:
        raise InputError(
            expected=f"a strength for {method}, which has none of its own",
            got="none",
            hint=f"Write {method}:1000, say.",
        )
    try:
        strength = float(text) if text else default
    except ValueError:
        strength = None
    if strength is None or not 0 < strength < math.inf:
        raise InputError(
            expected=f"{method}:strength, above 0", got=f"{method}:{text}", hint=f"Write {method}:{default or 1000:g}."
        )
    return strength


def check_request(options: ForgetOptions, settings: Settings) -> None:
    """Raise where something is asked for that cannot be done, before a folder is made.

    Raises:
        InputError: If the tasks or methods make no sense, a setting is one that learning tasks in turn does not take
            (it is plain SGD on reshuffled minibatches), or a method is for classifiers and the loss another.
    """
    groups_of(options.tasks)
    if unused := sorted(settings.model_fields_set - set(TaskSettings.model_fields)):
        raise InputError(
            expected="settings that learning tasks in turn takes (plain SGD on reshuffled minibatches)",
            got=", ".join(unused), hint="Leave them out.",
        )  # fmt: skip
    unfit = [m for m, _ in ways_of(options.methods) if m in COMPARED and COMPARED[m].needs_classifier]
    if settings.loss != "cross-entropy" and unfit:
        raise InputError(
            expected=f"cross-entropy, which {', '.join(unfit)} is made for", got=settings.loss,
            hint="Take ewc-empirical, or a method of another kind.",
        )  # fmt: skip


def forget(run: ExperimentFolder, options: ForgetOptions, reporter: Reporter) -> list[TasksInTurn]:
    """Learn the tasks once without anything and once in each way; what is there is kept.

    Args:
        run: Where; of the settings that all share.
        options: What else.
        reporter: Told of errors as they come.

    Returns:
        What happened in every way that the folder holds, without anything first.

    Raises:
        InputError: If a method or a class is unknown, or a method needs a strength.
        StorageError: If the folder holds other tasks.
    """
    groups, ways = groups_of(options.tasks), ways_of(options.methods)
    with run.locked(), one_thread():
        _check_same_tasks(run, groups, options)
        for method, strength in ways:
            name = in_turn_artefact(method, strength, options.n_modes, options.rank)
            if not run.has(name):
                run.save(name, _learnt(run, options, groups, method, strength, reporter))
    held = [run.load(name, TasksInTurn) for name in run.names("in-turn-")]
    return sorted(held, key=lambda one: one.method != "none")


def _learnt(
    run: ExperimentFolder,
    options: ForgetOptions,
    groups: Sequence[Sequence[int]],
    method: str,
    strength: float,
    reporter: Reporter,
) -> TasksInTurn:
    course = begin_course(run.settings, groups, options.pretraining, options.n_modes)
    course.max_epochs, course.window_epochs = options.max_epochs, options.window_epochs
    write_json(run.path / _FILE, _tasks(groups, options))  # only now: tasks that cannot be learnt bind nobody
    with reporter.errors(_title(method, strength), [task.name for task in course.tasks]) as told:

        def look(number: int, step: int, errors: Tensor) -> None:
            told(number, step, errors.tolist())

        return learn_in_turn(
            course, method, strength=strength, n_modes=options.n_modes, rank=options.rank,
            watch_every=max(1, _epoch(course) * course.window_epochs // _LOOKS), told=look,
        )  # fmt: skip


def _epoch(course: Course) -> int:
    return course.learner.steps_per_epoch(course.tasks[1].train)


def _title(method: str, strength: float) -> str:
    return method_label(method) + ("" if math.isnan(strength) else f", λ = {strength:g}")


def _tasks(groups: Sequence[Sequence[int]], options: ForgetOptions) -> dict[str, object]:
    how = options.model_dump(include={"pretraining", "max_epochs", "window_epochs"})
    return {"tasks": [list(group) for group in groups], **how}


def _check_same_tasks(run: ExperimentFolder, groups: Sequence[Sequence[int]], options: ForgetOptions) -> None:
    """A folder holds one sequence of tasks; methods may be added to it."""
    ours, theirs = _tasks(groups, options), run.read_note(_FILE)
    if run.names("in-turn-") and not theirs:
        raise StorageError(
            expected=f"{run.path / _FILE}, which says what the results there are of", got="none, or a damaged one",
            hint="Choose another folder with --out.",
        )  # fmt: skip
    if theirs and theirs != ours:
        raise StorageError(
            expected=f"the tasks of {run.path}: {json.dumps(theirs)}", got=json.dumps(ours),
            hint="Choose another folder with --out.",
        )  # fmt: skip


def forget_judgements(run: ExperimentFolder, found: Sequence[TasksInTurn]) -> list[Judgement]:
    """What one seed says on the paper's claims, where it is in the paper's setting; nothing otherwise."""
    paper = run.settings == Settings(data="mnist", seed=run.settings.seed)
    if not paper or run.read_note(_FILE) != _PAPER:
        return []
    return judged(in_turn_measurements(found, step=_EPOCH))


def numbers_of(found: TasksInTurn) -> dict[str, object]:
    """What one way gave, as plain numbers for JSON; None where there is no number."""
    return {
        "method": found.method,
        "name": found.label,
        "strength": None if math.isnan(found.strength) else found.strength,
        "modes_asked": found.n_modes if found.method in COMPARED and COMPARED[found.method].takes_modes else None,
        "modes_held": found.n_held.tolist(),
        "rank": found.rank,
        "average_error": found.average_error,
        "forgetting": found.forgetting,
        "backward_transfer": found.backward_transfer,
        "errors": found.error.tolist(),
        "minibatches": found.n_steps.tolist(),
        "seconds": found.seconds.tolist(),
        "keeping_seconds": found.keeping_seconds.tolist(),
        "numbers_stored": found.n_stored.tolist(),
        "weights": found.dim,
    }
