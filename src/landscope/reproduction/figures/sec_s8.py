"""sec-S8: larger tasks, and another data set and network."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from landscope.claims.statements import judged
from landscope.claims.verdict import Claim, Measurement
from landscope.reproduction.figures.fig4.plots import PLOTS
from landscope.reproduction.figures.figure import Plan, Section, plots_of
from landscope.reproduction.figures.two_task_experiment import (
    TwoTaskExperiment,
    TwoTaskResults,
    against_ewc,
    methods_table,
    table_values,
)
from landscope.reproduction.jobs import Job
from landscope.reproduction.sequential.tuning import Seeds

__all__ = ["CLAIMS", "jobs", "key", "measurements", "sections", "title"]

CLAIMS = (
    Claim(
        "better_on_larger_tasks",
        "sec-S8",
        "The same holds for five digits a task and for CIFAR-10 (largest difference of summed errors from EWC, in"
        " points).",
        "better",
        (-100.0, 0.0),
        "the sign",
        "each at the strength that other seeds found best, after an epoch",
    ),
)
_METHODS = (
    ("ldc-no-floor", 200), ("ldc-floor", 200), ("ldc-floor", 400), ("ldc-variance-factored", 400), ("kfac", 0),
    ("ewc", 0), ("ewc-empirical", 0), ("l2", 0),
)  # fmt: skip
_SEEDS = Seeds(5, 5, tuned_when_quick=True)
_EXPERIMENTS = (
    TwoTaskExperiment(
        "five-digits", "5 + 5 digits", ((0, 1, 2, 3, 4), (5, 6, 7, 8, 9)), "all", _SEEDS, _METHODS,
        counts=(5, 10, 20, 50, 100, 200, 300, 400),
    ),
    TwoTaskExperiment(
        "cifar", "CIFAR-10, animals then objects", ((2, 3, 4, 5, 6, 7), (0, 1, 8, 9)), "all", _SEEDS, _METHODS,
        changes={"data": "cifar10", "network": "cifar-cnn", "learning_rate": 0.02},
    ),
)  # fmt: skip
_TEXT = (
    "As Fig. 4, with five digits in each task, and with the animals, then the man-made objects of CIFAR-10, where the "
    "weights between the first two linear layers of the CNN learn and all others were trained on all classes before."
)


key = "sec-S8"
title = "Larger tasks (sec-S8)"


def jobs(plan: Plan) -> list[Job]:
    """One job an experiment and seed."""
    return [job for experiment in _experiments(plan) for job in experiment.jobs(plan)]


def sections(plan: Plan) -> list[Section]:
    """One table an experiment, and the claim that constraints do better than EWC."""
    experiments = _experiments(plan)
    results = [experiment.results(plan) for experiment in experiments]
    judgements = judged(measurements(results), CLAIMS)
    texts = [_TEXT + results[0].seeds_text, *[""] * len(results[1:])]
    return [
        Section(
            f"{key}-{experiment.key}", f"{title}: {experiment.name}", text,
            *methods_table(experiment.compared(), [each]), judgements,
            table_values(experiment.compared(), each), plots_of(PLOTS, [each]),
        )
        for experiment, each, text in zip(experiments, results, texts, strict=True)
    ]  # fmt: skip


def _experiments(plan: Plan) -> Sequence[TwoTaskExperiment]:
    return _EXPERIMENTS[:1] if plan.quick else _EXPERIMENTS


def measurements(results: Sequence[TwoTaskResults]) -> dict[str, Measurement]:
    """The difference from EWC, of all experiments the largest."""
    differences = {each.name: against_ewc(each) for each in results}
    note = "; ".join(f"{name}: {m.value:+.2f} ({m.note})" for name, m in differences.items())
    worst = max(differences.values(), key=lambda m: m.value)
    return {"better_on_larger_tasks": dataclasses.replace(worst, note=note)}
