"""Fig. 4: constraints along the modes of a first task protect it while a second task is learnt."""

from __future__ import annotations

import dataclasses

from landscope.claims.statements import judged
from landscope.reproduction.figures.fig4.claims import CLAIMS, measurements
from landscope.reproduction.figures.fig4.plots import PAPER_PLOTS
from landscope.reproduction.figures.figure import Plan, Section, plots_of
from landscope.reproduction.figures.two_task_experiment import TwoTaskExperiment, methods_table, table_values
from landscope.reproduction.jobs import Job
from landscope.reproduction.sequential.tuning import Seeds

__all__ = ["EXPERIMENTS", "jobs", "key", "sections", "title"]

_METHODS = (
    ("ldc-no-floor", 200), ("ldc-floor", 2), ("ldc-floor", 200), ("ldc-low-floor", 200), ("ldc-floor", 400),
    ("ldc-variance-floor", 400), ("ldc-fresh", 400), ("ldc-factored", 400), ("ldc-variance-factored", 400), ("kfac", 0),
    ("hessian", 200), ("fisher", 200), ("ewc", 0),
    ("ewc-empirical", 0), ("ewc-batch-mean", 0), ("random", 200), ("l2", 0),
)  # fmt: skip
_PRETRAINED_ON_TASKS = TwoTaskExperiment(
    "P", "P", ((0, 1), (2, 3)), "tasks", Seeds(10, 5, tuned_when_quick=True), _METHODS,
    counts=(5, 10, 20, 50, 100, 200, 300, 400), weights=(50, 100, 200, 500, 1000, 2000), psi=True,
)  # fmt: skip
EXPERIMENTS = (
    _PRETRAINED_ON_TASKS,
    dataclasses.replace(_PRETRAINED_ON_TASKS, key="A", name="A", pretraining="all"),
)
"""Layers trained before on the tasks' own digits, or on all digits."""
_UNTUNED = (("ldc-no-floor", 200), ("ldc-floor", 200), ("ldc-floor", 400))
"""Methods and numbers of modes that are also shown at their default strength."""
_TEXT = (
    "Task 1 is the digits 0 and 1, task 2 the digits 2 and 3, all ten answers allowed. Input and output layers were "
    "trained before, on the digits of the tasks (P) or on all (A), and are frozen; the weights between the hidden "
    "layers start anew, learn task 1 until there is no training error, and a window more. Summed test errors in per "
    "cent after so many minibatches of task 2, mean and standard deviation over the reported seeds; every method at "
    "the strength of the smallest summed error on other seeds (edge: the first or last that was tried), every penalty "
    "taken as an implicit step. Where the window has fewer moving modes than a row names, all of them are held. Two "
    "modes store as much as the Kronecker factors do; the lower floor is that of the flattest of twice as many modes; "
    "factored constraints store all modes as one Kronecker product; fresh steps are the second half of the window, the "
    "modes those of the first."
)


key = "fig4"
title = "Landscape-dependent constraints against forgetting (Fig. 4)"


def jobs(plan: Plan) -> list[Job]:
    """One job an experiment and seed."""
    return [job for experiment in EXPERIMENTS for job in experiment.jobs(plan)]


def sections(plan: Plan) -> list[Section]:
    """The table of methods, and the claims."""
    results = [experiment.results(plan) for experiment in EXPERIMENTS]
    methods = EXPERIMENTS[0].compared()
    judgements = judged(measurements(results[0]), CLAIMS)
    values = {each.name: table_values(methods, each) for each in results}
    text, table = _TEXT + results[0].seeds_text, methods_table(methods, results, _UNTUNED)
    return [Section(key, title, text, *table, judgements, values, plots_of(PAPER_PLOTS, results))]
