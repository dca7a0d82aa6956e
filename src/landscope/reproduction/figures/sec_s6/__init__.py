"""Figs. 2D, S3, S10 and section S6: the inverse relation over networks, optimisers, losses and data."""

from __future__ import annotations

import functools
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from landscope.claims.statements import judged
from landscope.landscape.preconditioned import Preconditioned, Preconditioner
from landscope.law.exponents import Exponents
from landscope.law.intervals import mean_with_interval
from landscope.law.inverse_relation import InverseRelation
from landscope.progress import Reporter
from landscope.protocols import LossLandscape, ProgressCallback
from landscope.reproduction.experiment.datasets.loading import load_data
from landscope.reproduction.experiment.made_under import check_same_numbers
from landscope.reproduction.experiment.run import ExperimentRun
from landscope.reproduction.experiment.settings import Settings
from landscope.reproduction.figures.figure import Plan, Plot, Section, table
from landscope.reproduction.figures.sec_s6.cases import CASES, Case
from landscope.reproduction.figures.sec_s6.universality import (
    CLAIMS,
    CaseResult,
    exponents_of_cases,
    universality_measurements,
)
from landscope.reproduction.jobs import Job
from landscope.study import saved
from landscope.training_history import TrainingHistory
from landscope.trajectory import Trajectory, open_trajectory

__all__ = ["jobs", "key", "sections", "title"]

_QUICK_MODES = 30
"""Number of modes to measure a layer along in a quick reproduction."""
_IN_SAMPLE = "in-sample"
_NUMBERS = ("psi", "psi_interval", "psi_D", "psi_tau", "gamma", "n_used", "n_censored", "flatness_range")
_COLUMNS: Mapping[str, Callable[[CaseResult], str]] = {
    "case": lambda case: case.name,
    "data": lambda case: case.data,
    "samples": lambda case: f"{case.samples:,}",
    "weights": lambda case: case.weights,
    "N": lambda case: f"{case.dim:,}",
    "seeds": lambda case: f"{len(case.in_sample)}",
    "training error": lambda case: f"{100 * sum(case.training_error) / len(case.training_error):.2g} %",
    "ψ in-sample": lambda case: _psi(case.in_sample),
    "ψ fresh data": lambda case: _psi(case.fresh),
    "ψ null": lambda case: _psi_of_draws(case.null),
    "ψ process": lambda case: _psi_of_draws(case.process[0]),
    "ψ process, next window": lambda case: _psi_of_draws(case.process[1]),
}
_TEXT = (
    "The exponent ψ of σ² ~ F^(-ψ) along principal modes: in-sample as in the paper, along the same modes in fresh "
    "data, along the modes of the steps of the window in random order, and of the finite-window process: a stationary "
    "process with the run's own noise and curvature, in a window of the same length and in the next one (where all "
    "selected weights are analysed together). All modes in the range count equally; where log-spaced ones were "
    "measured, each stands for those nearest to it. Mean over seeds with Student's 95 % interval; with one seed, a "
    "jackknife over blocks of time, in round brackets, where the window is long enough for one. Exploration was "
    "reached where the training error is 0."
)


key = "sec-S6"
title = "The inverse relation over networks, optimisers, losses and data (Figs. 2D, S3, S10, sec-S6)"


def jobs(plan: Plan) -> list[Job]:
    """One job for each run; cases that share runs come in one. Every data set must be there."""
    for name in {case.settings(plan, 0).data for case in CASES}:
        load_data(name)
    names = dict.fromkeys((case.run_name(plan, seed), seed) for case in CASES for seed in range(case.n_seeds(plan)))
    return [Job(name, _measure_run, (plan, name, seed)) for name, seed in names]


def sections(plan: Plan) -> list[Section]:
    """The table, and the claim that the relation is universal."""
    results = [result for case in CASES for result in _results(plan, case)]
    judgements = judged(universality_measurements(results), CLAIMS)
    values = {f"{result.name}, {result.weights}": _values(result) for result in results}
    draw = functools.partial(exponents_of_cases, results)
    plot = Plot("ψ of every case.", draw, "Every run is a point; grey: surrogates of its own steps.", wide=True)
    return [Section(key, title, _TEXT, *table(_COLUMNS, results), judgements, values, [plot])]


def _measure_run(reporter: Reporter, plan: Plan, name: str, seed: int) -> None:
    """Every result that some case needs of one run."""
    for case in CASES:
        if case.run_name(plan, seed) != name:
            continue
        run = ExperimentRun.create(plan.run_path(name), case.settings(plan, seed))
        run.analyse(reporter, until="train" if case.layers else "law")
        for layer in case.layers:
            study = run.study  # opened before the lock is held: opening takes it too
            with reporter.stage(f"{name} {layer}") as progress, study.folder.locked():
                _measure_layer(run, case, layer, _QUICK_MODES if plan.quick else case.n_modes, reporter, progress)


def _results(plan: Plan, case: Case) -> list[CaseResult]:
    runs = [ExperimentRun.open(plan.run_path(case.run_name(plan, seed))) for seed in range(case.n_seeds(plan))]
    return [_result(case, layer, runs) for layer in case.layers or ("",)]


def _names(case: Case, layer: str, settings: Settings) -> list[str]:
    """Names of the exponents of a layer: in-sample, fresh data, and each null."""
    marks = (("preconditioned", case.preconditioned), ("re-estimated", case.batch_norm == "re-estimated"))
    kind = "-".join(["relation", *(mark for mark, holds in marks if holds)])
    stem = f"{kind}-{layer}" if case.layers else "exponents"
    shuffled = [f"{stem}-shuffled-{number}" for number in range(settings.n_nulls)]
    return [f"{stem}-{_IN_SAMPLE}", f"{stem}-fresh", *shuffled]


def _measure_layer(
    run: ExperimentRun, case: Case, layer: str, n_modes: int | None, reporter: Reporter, progress: ProgressCallback
) -> None:
    names, settings = _names(case, layer, run.settings), run.settings
    check_same_numbers(run, names[0].removesuffix(_IN_SAMPLE), {"n_modes": n_modes})
    if not [name for name in names if run.to_make(name, reporter)]:
        return
    landscape, *windows = _landscape_and_windows(run, case, layer)
    relation = InverseRelation(
        landscape, *windows, settings.fit_modes, n_modes=n_modes, spectrum_ranks=settings.spectrum_ranks,
        rtol=settings.rtol, ratio=settings.ratio, progress=progress,
    )  # fmt: skip
    run.cached(names[0], Exponents, relation.in_sample)
    run.cached(names[1], Exponents, relation.fresh)
    for number, name in enumerate(names[2:]):
        run.cached(name, Exponents, lambda number=number: relation.null(seed=settings.seed * 1000 + number))


def _landscape_and_windows(run: ExperimentRun, case: Case, layer: str) -> tuple[LossLandscape, Trajectory, Trajectory]:
    study = run.study
    assert study.fresh is not None  # noqa: S101 - a run records two windows
    risk = study.risk(select=layer, batch_norm=case.batch_norm)
    window, fresh = (rows.of_parameters(layer) for rows in (study.window, study.fresh))
    if not case.preconditioned:
        return risk, window, fresh
    scale = run.load("preconditioner", Preconditioner).scale
    return Preconditioned(risk, scale), window.scaled(scale), fresh.scaled(scale)


def _result(case: Case, layer: str, runs: Sequence[ExperimentRun]) -> CaseResult:
    settings = runs[0].settings
    exponents = [[run.load(name, Exponents) for name in _names(case, layer, settings)] for run in runs]
    recorded = open_trajectory(runs[0].path / "trajectory")
    space = (recorded.of_parameters(layer) if layer else recorded).space
    assert space is not None  # noqa: S101 - a recorder names its parameters
    ends = [(run.load("training", TrainingHistory), run.results.window.steps[-1]) for run in runs]
    return CaseResult(
        name=case.title,
        data=settings.data,
        samples=settings.batch_size * runs[0].experiment.order.batches_per_epoch,
        weights=", ".join(space.names),
        dim=space.dim,
        training_error=[float(history.train_error[history.at(int(end))]) for history, end in ends],
        in_sample=[rows[0] for rows in exponents],
        fresh=[rows[1] for rows in exponents],
        null=[rows[2:] for rows in exponents],
        process=_processes(case, runs),
    )


def _processes(case: Case, runs: Sequence[ExperimentRun]) -> tuple[list[list[Exponents]], list[list[Exponents]]]:
    """The finite-window processes of runs that are analysed as a whole; empty where one run has none."""
    kinds = (saved.PROCESS, saved.PROCESS_FRESH)
    own, following = (
        [[run.load(name, Exponents) for name in run.results.folder.names(kind)] for run in runs] for kind in kinds
    )
    return ([], []) if case.layers or not all(own) else (own, following)


def _psi(rows: Sequence[Exponents]) -> str:
    if len(rows) != 1:
        return mean_with_interval([row.psi for row in rows])
    low, high = rows[0].psi_interval
    return f"{rows[0].psi:.2f}" + ("" if math.isnan(low) else f" ({low:.2f}, {high:.2f})")


def _psi_of_draws(runs: Sequence[Sequence[Exponents]]) -> str:
    """Mean over draws within each run that has any, first: draws of one run do not tell how runs differ."""
    means = [statistics.fmean(row.psi for row in rows) for rows in runs if rows]
    if not means:
        return "–"
    return mean_with_interval(means) if len(means) > 1 else f"{means[0]:.2f}"


def _values(result: CaseResult) -> dict[str, Any]:
    draws = {"null": result.null, "process": result.process[0], "process, next window": result.process[1]}
    parts = {"in-sample": result.in_sample, "fresh data": result.fresh}
    parts |= {name: [row for rows in runs for row in rows] for name, runs in draws.items()}
    return {
        "data": result.data,
        "samples": result.samples,
        "training_error": result.training_error,
        **{name: {key: [getattr(row, key) for row in rows] for key in _NUMBERS} for name, rows in parts.items()},
    }
