"""The page of ``landscope continual``, and its verdicts on the claims of Fig. 4."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from landscope import plots
from landscope.claims.statements import judged
from landscope.claims.verdict import Judgement
from landscope.files.atomic import write_text
from landscope.report.render import render
from landscope.reproduction.experiment.folder import ExperimentFolder
from landscope.reproduction.experiment.made_under import known_numbers
from landscope.reproduction.experiment.settings import Settings, TaskSettings
from landscope.reproduction.figures.fig4.claims import CLAIMS, single_seed_measurements
from landscope.reproduction.figures.fig4.plots import errors_in_sequence
from landscope.reproduction.sequential.command import CONTINUAL
from landscope.reproduction.sequential.continual_result import ContinualResult
from landscope.wording import without_nan

__all__ = ["HEADINGS", "judgements_of", "table_rows", "write_continual_report"]

HEADINGS = ("method", "average error (%)", "forgetting (points)", "stored / weights", "minibatches", "seconds")
_PRETRAINING = {
    "tasks": "all layers pretrained on the classes of the tasks",
    "all": "all layers pretrained on all classes",
    "none": "all layers free, without pretraining",
}
_PAPER = {"tasks": [[0, 1], [2, 3]], "pretraining": "tasks", "max_epochs": 50, "window_epochs": 10}
_EPOCH = 241
"""Minibatches in an epoch of the digits 2 and 3 of MNIST."""


def judgements_of(run: ExperimentFolder, results: Sequence[ContinualResult]) -> list[Judgement]:
    """Verdicts of one seed on the paper's claims, in the paper's setting; none otherwise."""
    if run.settings != Settings(data="mnist", seed=run.settings.seed) or known_numbers(run, CONTINUAL) != _PAPER:
        return []
    return judged(single_seed_measurements(results, step=_EPOCH), CLAIMS)


def write_continual_report(run: ExperimentFolder, results: Sequence[ContinualResult]) -> Path:
    """Write ``report.html`` beside the results.

    Returns:
        Its path.
    """
    figures = [
        (result.label, plots.as_html(errors_in_sequence(result), f"errors-{number}"))
        for number, result in enumerate(results)
    ]
    page = render(
        "continual.html.j2",
        title=f"Tasks in sequence on {run.settings.data}",
        about=_about(run, results[0]),
        judgements=judgements_of(run, results),
        headings=[*HEADINGS, *(f"task {name} (%)" for name in results[0].tasks)],
        rows=table_rows(results),
        figures=figures,
        settings_yaml=TaskSettings(**run.settings.model_dump(include=set(TaskSettings.model_fields))).to_yaml(),
    )
    path = run.path / "report.html"
    write_text(path, page)
    return path


def _about(run: ExperimentFolder, result: ContinualResult) -> str:
    """The tasks, the network before them, the training, and the seed."""
    how = known_numbers(run, CONTINUAL)
    parts = [
        f"Classes {'; then '.join(result.tasks)}",
        _PRETRAINING[how["pretraining"]],
        f"each task until its training error is zero, at most {how['max_epochs']} epochs, and a window of "
        f"{how['window_epochs']} more",
        f"{result.dim} weights learn",
        f"seed {run.settings.seed}",
    ]
    return "; ".join(parts)


def table_rows(results: Sequence[ContinualResult]) -> list[list[str]]:
    """One row a method: errors at the end, forgetting, and costs."""
    rows = [
        [
            result.label,
            f"{100 * result.average_error:.2f}", f"{100 * result.forgetting:.2f}", f"{result.stored_over_weights:.3g}",
            f"{int(result.n_steps.sum())}",
            f"{float(result.seconds.sum() + result.consolidation_seconds.sum()):.1f}",
            *(f"{100 * error:.2f}" for error in result.error[-1].tolist()),
        ]
        for result in results
    ]  # fmt: skip
    return [[without_nan(cell) for cell in row] for row in rows]
