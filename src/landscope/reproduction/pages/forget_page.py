"""The page of ``landscope forget``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from landscope import plots
from landscope.report.render import render
from landscope.reproduction.experiment.folder import ExperimentFolder
from landscope.reproduction.experiment.settings import TaskSettings
from landscope.reproduction.figures import plots_forgetting
from landscope.reproduction.sequential.forget import forget_judgements
from landscope.reproduction.sequential.sequence import TasksInTurn
from landscope.storage.atomic import write_text

__all__ = ["FORGET_HEADINGS", "forget_rows", "write_forget_report"]

FORGET_HEADINGS = (
    "kept by", "average error (%)", "forgetting (points)", "stored / weights", "minibatches", "seconds",
)  # fmt: skip


def write_forget_report(run: ExperimentFolder, found: Sequence[TasksInTurn]) -> Path:
    """Write ``report.html`` beside the results.

    Returns:
        Its path.
    """
    figures = [
        (one.label, plots.as_html(plots_forgetting.errors_in_turn(one), f"errors-{number}"))
        for number, one in enumerate(found)
    ]
    page = render(
        "forget.html.j2",
        title=f"Tasks in turn on {run.settings.data}",
        about=_about(run, found[0]),
        judgements=forget_judgements(run, found),
        headings=[*FORGET_HEADINGS, *(f"task {name} (%)" for name in found[0].tasks)],
        rows=forget_rows(found),
        figures=figures,
        settings_yaml=TaskSettings(**run.settings.model_dump(include=set(TaskSettings.model_fields))).to_yaml(),
    )
    path = run.path / "report.html"
    write_text(path, page)
    return path


_BEFORE = {
    "tasks": "all layers trained before on the classes of the tasks",
    "all": "all layers trained before on all classes",
    "none": "all layers free, nothing trained before",
}


def _about(run: ExperimentFolder, found: TasksInTurn) -> str:
    """Which tasks, how the network came to them, and the seed."""
    how, tasks = run.read_note("continual"), "; then ".join(found.tasks)
    wait = f"each until no training error, at most {how['max_epochs']} epochs"
    window = f"and {how['window_epochs']} to look back on"
    about = [f"Classes {tasks}", _BEFORE[how["pretraining"]], f"{wait}, {window}", f"{found.dim} weights learn"]
    return "; ".join([*about, f"seed {run.settings.seed}"])


def forget_rows(found: Sequence[TasksInTurn]) -> list[list[str]]:
    """One row a way: errors at the end, what was forgotten, and what it took."""
    return [
        [
            one.label,
            f"{100 * one.average_error:.2f}", f"{100 * one.forgetting:.2f}", f"{one.stored_over_weights:.3g}",
            f"{int(one.n_steps.sum())}",
            f"{float(one.seconds.sum() + one.keeping_seconds.sum()):.1f}",
            *(f"{100 * error:.2f}" for error in one.error[-1].tolist()),
        ]
        for one in found
    ]  # fmt: skip
