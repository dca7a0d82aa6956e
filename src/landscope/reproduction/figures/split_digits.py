"""Five tasks of two digits in sequence (sec-S8): the mean error of all at the end, by method."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence

from landscope.law.intervals import mean_with_interval, mean_with_spread
from landscope.reproduction.experiment.settings import Settings
from landscope.reproduction.figures.figure import Plan, Section, table
from landscope.reproduction.figures.method_comparison import NO_STRENGTH, MethodComparison, Row, Strengths
from landscope.reproduction.jobs import Job
from landscope.reproduction.sequential.continual_result import ContinualResult
from landscope.reproduction.sequential.methods import MethodSettings, method_label
from landscope.reproduction.sequential.preparation import PRETRAINING_EPOCHS, prepare_class_tasks, unchanged
from landscope.reproduction.sequential.trainer import train_sequentially
from landscope.reproduction.sequential.tuning import Seeds

__all__ = ["jobs", "key", "sections", "title"]

_GROUPS = ((0, 1), (2, 3), (4, 5), (6, 7), (8, 9))
_RANK = 600
_CONSTRAINT, _CURVATURE = (0.1, 0.4, 1.0, 4.0), (1.0, 1e1, 1e2, 1e3)
_STRONGER = (0.4, 1.0, 4.0, 10.0, 40.0)
_STRENGTHS: Strengths = {
    MethodSettings(method, n_modes=n_modes, rank=rank): strengths
    for method, n_modes, rank, strengths in (
        ("none", 0, None, NO_STRENGTH),
        ("ldc-no-floor", 200, None, (0.03, 0.1, *_STRONGER)),
        ("ldc-floor", 200, None, _CONSTRAINT),
        ("ldc-floor", 400, None, _CONSTRAINT),
        ("ldc-floor", 400, _RANK, _CONSTRAINT),
        ("ldc-variance-factored", 400, None, _CONSTRAINT),
        ("ldc-variance-factored", 400, _RANK, _STRONGER),
        ("basin-default", 0, None, (1.0,)),
        ("basin-fixed", 0, None, (1.0,)),
        ("basin", 0, None, (0.1, 0.3, 1.0, 3.0, 10.0)),
        ("ewc", 0, None, (1.0, 1e1, 1e2, 1e3, 1e4, 1e5)),
        ("kfac", 0, None, _CURVATURE),
        ("kfac", 0, _RANK, _CURVATURE),
        ("l2", 0, None, (0.1, 0.3, 1.0, 3.0, 10.0)),
        ("joint", 0, None, NO_STRENGTH),
    )
}
_REFERENCES = {
    "EWC, Kronecker factors": MethodSettings("kfac"),
    "the same, merged": MethodSettings("kfac", rank=_RANK),
}
"""Methods that the others are compared with: one Kronecker product a task, and one for all tasks."""
_PRETRAINING_EPOCHS = PRETRAINING_EPOCHS
_TRAINING = {"epochs": 5, "window_epochs": 5}
_SEEDS = Seeds(reported=5, tuning=2)
_TEXT = (
    "All layers were first trained on all digits; then the weights between the hidden layers learn two digits after "
    "two, each pair until its training error is zero, five epochs at most, and for a window of five epochs more. Every "
    "task leaves a penalty; all penalties are added, or merged: directions to 600, Kronecker products to the nearest "
    "one. Test errors after the last task, all ten answers allowed, mean and standard deviation over {reported} seeds; "
    "strengths of the smallest mean test error, on the same samples, over {tuning} other seeds. Differences from "
    "Kronecker EWC at its best strength are taken seed by seed, with their 95 % interval. Forgetting as in "
    "Chaudhry et al. 2018. Seconds were measured while other work ran on the machine."
)


key = "split-digits"
title = "Five tasks in sequence (sec-S8)"


def jobs(plan: Plan) -> list[Job]:
    """One job a seed."""
    return _comparison(plan).jobs()


def sections(plan: Plan) -> list[Section]:
    """The table."""
    comparison = _comparison(plan)
    strengths = {row: str(comparison.tuner.best(row)) for row in _STRENGTHS}
    results = comparison.results()
    columns: dict[str, Callable[[Row], str]] = {
        "method": lambda row: _name(row[0]),
        "mean error (%)": lambda row: mean_with_spread([100 * run.average_error for run in row[1]]),
        **{
            f"minus {name} (points)": lambda row, other=other: _difference(row, (other, results[other]))
            for name, other in _REFERENCES.items()
            if other in results
        },
        "forgetting (points)": lambda row: mean_with_spread([100 * run.forgetting for run in row[1]]),
        "λ": lambda row: strengths[row[0]],
        "numbers / N": lambda row: f"{statistics.median(run.stored_over_weights for run in row[1]):.0f}",
        "seconds a task": lambda row: f"{statistics.median(run.seconds_per_task for run in row[1]):.1f}",
        "error of each task (%)": lambda row: _last_errors(row[1]),
    }
    text, rows = _TEXT.format(**_SEEDS.counts_of(plan)), table(columns, results.items())
    return [Section(key, title, text, *rows, [], comparison.values())]


def _comparison(plan: Plan) -> MethodComparison:
    return MethodComparison(plan, key, _SEEDS, _STRENGTHS, _prepare, _TRAINING)


def _prepare(settings: Settings) -> Callable[[MethodSettings], ContinualResult]:
    """All methods start from the same layers."""
    prepared = prepare_class_tasks(settings, _GROUPS, "all", pretraining_epochs=_PRETRAINING_EPOCHS, **_TRAINING)

    def learn(method: MethodSettings) -> ContinualResult:
        with unchanged(prepared.model):
            return train_sequentially(prepared.model, prepared.tasks, method, prepared.training)

    return learn


def _name(row: MethodSettings) -> str:
    modes, merged = f", {row.n_modes} modes a task" if row.n_modes else "", ", merged" if row.rank else ""
    return f"{method_label(row.method)}{modes}{merged}"


def _difference(row: Row, reference: Row) -> str:
    """Mean error minus that of a reference, seed by seed, in points."""
    if row[0] == reference[0]:
        return "–"
    runs = zip(row[1], reference[1], strict=True)
    return mean_with_interval([100 * (run.average_error - other.average_error) for run, other in runs])


def _last_errors(results: Sequence[ContinualResult]) -> str:
    by_task = zip(*(result.error[-1].tolist() for result in results), strict=True)
    return ", ".join(f"{100 * statistics.fmean(errors):.1f}" for errors in by_task)
