"""What ``landscope continual`` does: some classes of a data set after others, with chosen methods, in one folder."""

from __future__ import annotations

import math
import sys

from torch import Tensor

from landscope.errors import InputError
from landscope.progress import Reporter
from landscope.reproduction.experiment.folder import ExperimentFolder
from landscope.reproduction.experiment.made_under import check_same_numbers
from landscope.reproduction.experiment.settings import ContinualOptions, Settings, TaskSettings
from landscope.reproduction.sequential.continual_result import ContinualResult
from landscope.reproduction.sequential.methods import COMPARED, UNPROTECTED, MethodSettings, method_label
from landscope.reproduction.sequential.preparation import prepare_class_tasks
from landscope.reproduction.sequential.trainer import train_sequentially
from landscope.threads import one_thread

__all__ = ["CONTINUAL", "check_request", "learn_in_folder", "numbers_of", "parse_groups", "parse_methods"]

CONTINUAL = "continual-"
"""Begin of the names of the results, and the name of the note of their tasks."""
_OF_CLASSIFIERS = ("ewc", "kfac", "fisher")
"""Methods that take the Fisher information over all possible labels."""
_OBSERVATIONS = 40
"""Measurements of all errors while a task is learnt, about."""


def parse_groups(text: str) -> list[list[int]]:
    """Classes of each task, such as ``[[0, 1], [2, 3]]`` for ``"0,1;2,3"``.

    Raises:
        InputError: If the text does not name them.
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


def parse_methods(options: ContinualOptions) -> list[MethodSettings]:
    """The methods, given as ``name`` or ``name:strength``; plain training first.

    Raises:
        InputError: If a method is unknown, a strength is no positive number, or one is missing.
    """
    methods = [MethodSettings("none")]
    for word in options.methods:
        method, _, text = word.partition(":")
        if method in COMPARED:
            methods.append(MethodSettings(method, _strength(method, text), options.n_modes, options.rank))
        elif method in UNPROTECTED and not text:
            methods.append(MethodSettings(method))
        else:
            raise InputError(
                expected=f"a method: {', '.join((*COMPARED, 'joint'))}", got=repr(word),
                hint=f"{method} takes no strength." if method in UNPROTECTED else "Check the spelling.",
            )  # fmt: skip
    return list(dict.fromkeys(methods))


def _strength(method: str, text: str) -> float:
    default = COMPARED[method].method.default_strength
    if not text and default is None:
        raise InputError(
            expected=f"a strength for {method}, which has no default", got="none", hint=f"Write {method}:1000, say."
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


def check_request(options: ContinualOptions, settings: Settings) -> None:
    """Check everything that can be checked before a folder is made.

    Raises:
        InputError: If the tasks or methods make no sense, a setting is one that the command does not take (it trains
            by plain SGD on reshuffled minibatches), or a method is for classifiers and the loss is another.
    """
    parse_groups(options.tasks)
    if unused := sorted(settings.model_fields_set - set(TaskSettings.model_fields)):
        raise InputError(
            expected="settings of plain SGD on reshuffled minibatches, by which tasks are learnt",
            got=", ".join(unused), hint="Leave them out.",
        )  # fmt: skip
    names = [method.method for method in parse_methods(options)]
    unfit = [name for name in names if name in _OF_CLASSIFIERS]
    if settings.loss != "cross-entropy" and unfit:
        raise InputError(
            expected=f"cross-entropy, which {', '.join(unfit)} is made for", got=settings.loss,
            hint="Take ewc-empirical, or a method of another kind.",
        )  # fmt: skip


def learn_in_folder(run: ExperimentFolder, options: ContinualOptions, reporter: Reporter) -> list[ContinualResult]:
    """Learn the tasks once without any method and once with each; finished ones are kept.

    Returns:
        All results in the folder, plain training first.

    Raises:
        InputError: If a method or a class is unknown, or a method needs a strength.
        StorageError: If the folder holds other tasks.
    """
    with run.locked(), one_thread():
        check_same_numbers(run, CONTINUAL, _tasks(options))
        for method in parse_methods(options):
            name = CONTINUAL + method.file_name
            if run.to_make(name, reporter):
                run.save(name, _learn(run, options, method, reporter))
    results = [run.load(name, ContinualResult) for name in run.names(CONTINUAL)]
    return sorted(results, key=lambda result: result.method != "none")


def _learn(
    run: ExperimentFolder, options: ContinualOptions, method: MethodSettings, reporter: Reporter
) -> ContinualResult:  # fmt: skip
    prepared = prepare_class_tasks(
        run.settings, parse_groups(options.tasks), options.pretraining, epochs=options.max_epochs,
        window_epochs=options.window_epochs,
    )  # fmt: skip
    title = method_label(method.method) + ("" if method.strength is None else f", λ = {method.strength:g}")
    every = max(1, prepared.training.steps_per_epoch(prepared.tasks[1].train) * options.window_epochs // _OBSERVATIONS)
    with reporter.errors(title, [task.name for task in prepared.tasks]) as show:

        def observe(number: int, step: int, errors: Tensor) -> None:
            show(number, step, errors.tolist())

        return train_sequentially(
            prepared.model, prepared.tasks, method, prepared.training, watch=range(every, sys.maxsize, every),
            on_observation=observe,
        )  # fmt: skip


def _tasks(options: ContinualOptions) -> dict[str, object]:
    sizes = options.model_dump(include={"pretraining", "max_epochs", "window_epochs"})
    return {"tasks": parse_groups(options.tasks), **sizes}


def numbers_of(result: ContinualResult) -> dict[str, object]:
    """A result as plain numbers for JSON; None where there is no number."""
    takes_modes = MethodSettings(result.method).takes_modes
    return {
        "method": result.method,
        "name": result.label,
        "strength": None if math.isnan(result.strength) else result.strength,
        "modes_asked": result.n_modes if takes_modes else None,
        "modes_held": result.n_held.tolist(),
        "rank": result.rank,
        "average_error": result.average_error,
        "forgetting": result.forgetting,
        "backward_transfer": result.backward_transfer,
        "errors": result.error.tolist(),
        "minibatches": result.n_steps.tolist(),
        "seconds": result.seconds.tolist(),
        "consolidation_seconds": result.consolidation_seconds.tolist(),
        "numbers_stored": result.n_stored.tolist(),
        "weights": result.dim,
    }
