"""Figs. 2D, S3, S10 and sec-S6: the inverse relation over networks, optimisers, losses and data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from landscope.claims.statements import judged
from landscope.landscape.preconditioned import Preconditioned, Preconditioner
from landscope.law.exponents import Exponents
from landscope.law.inverse_relation import InverseRelation
from landscope.progress import Reporter
from landscope.protocols import LossLandscape, ProgressCallback
from landscope.reproduction.experiment.datasets.loading import load_data
from landscope.reproduction.experiment.run import ExperimentRun
from landscope.reproduction.experiment.settings import Settings
from landscope.reproduction.figures.cases import CELLS, Cell, settings_of
from landscope.reproduction.figures.recipe import Plan, Section, mean_with_interval
from landscope.reproduction.figures.sec_s6_claims import Case, universality_measurements
from landscope.reproduction.jobs import Job
from landscope.training_history import TrainingHistory
from landscope.trajectory import Trajectory, open_trajectory

__all__ = ["Universality"]

_QUICK_MODES = 30
_KEPT = ("psi", "psi_interval", "psi_D", "psi_tau", "gamma", "n_used", "n_censored", "flatness_range")
_HEADINGS = (
    "case",
    "data",
    "samples",
    "weights",
    "N",
    "seeds",
    "training error",
    "ψ in-sample",
    "ψ next window",
    "ψ null",
)
_TEXT = (
    "The exponent ψ of σ² ~ F^(-ψ) along principal modes: in-sample as in the paper, along the same modes in the next "
    "window, and along the modes of the window's own steps in random order. All modes in the range count equally; "
    "where log-spaced ones were measured, each stands for those nearest to it. Mean over seeds with Student's 95 % "
    "interval; with one seed, a jackknife over ten blocks of time, in round brackets. Exploration was reached where "
    "the training error is 0."
)


class Universality:
    """Every cell over its seeds."""

    key = "sec-S6"
    title = "The inverse relation over networks, optimisers, losses and data (Figs. 2D, S3, S10, sec-S6)"

    def jobs(self, plan: Plan) -> list[Job]:
        """One job a cell and seed; cells that share runs come in one. Every data set must be there."""
        for name in {settings_of(cell, plan, 0).data for cell in CELLS}:
            load_data(name)
        return [
            Job(cell.run_name(seed), _measure_runs, (plan, cell.run_name(seed), seed))
            for cell in CELLS
            if cell.run is None
            for seed in range(cell.n_seeds(plan))
        ]

    def sections(self, plan: Plan) -> list[Section]:
        """The table, and the claim that the relation is universal."""
        cases = [case for cell in CELLS for case in _cases(plan, cell)]
        measured = universality_measurements(cases)
        return [
            Section(
                self.key, self.title, _TEXT, _HEADINGS, [_row(case) for case in cases], judged(measured),
                {f"{case.name}, {case.weights}": _values(case) for case in cases}, cases,
            )
        ]  # fmt: skip


def _measure_runs(reporter: Reporter, plan: Plan, name: str, seed: int) -> None:
    """Everything that is asked of one run."""
    for cell in CELLS:
        if cell.run_name(seed) == name:
            run = ExperimentRun.create(plan.run_path(name), settings_of(cell, plan, seed))
            run.analyse(reporter, until="train" if cell.layers else "law")
            for layer in cell.layers:
                with reporter.stage(f"{name} {layer}") as progress, run.locked():
                    _measure_layer(run, cell, layer, _QUICK_MODES if plan.quick else cell.n_modes, progress)


def _artefacts(cell: Cell, layer: str, settings: Settings) -> list[str]:
    """Names of the exponents of a layer: in-sample, next window, and each null."""
    marks = (("preconditioned", cell.preconditioned), ("re-estimated", cell.batch_norm == "re-estimated"))
    kind = "-".join(["relation", *(mark for mark, holds in marks if holds)])
    stem = f"{kind}-{layer}" if cell.layers else "exponents"
    shuffled = [f"{stem}-shuffled-{number}" for number in range(settings.n_nulls)]
    return [f"{stem}-in-sample", f"{stem}-fresh", *shuffled]


def _measure_layer(run: ExperimentRun, cell: Cell, layer: str, n_modes: int | None, progress: ProgressCallback) -> None:
    names, settings = _artefacts(cell, layer, run.settings), run.settings
    if all(run.has(name) for name in names):
        return
    landscape, *both = _landscape_and_windows(run, cell, layer)
    relation = InverseRelation(
        landscape, *both, settings.fit_modes, n_modes=n_modes, spectrum_ranks=settings.spectrum_ranks,
        rtol=settings.rtol, progress=progress,
    )  # fmt: skip
    run.cached(names[0], Exponents, relation.in_sample)
    run.cached(names[1], Exponents, relation.next_window)
    for number, name in enumerate(names[2:]):
        run.cached(name, Exponents, lambda number=number: relation.null(seed=settings.seed * 1000 + number))


def _landscape_and_windows(run: ExperimentRun, cell: Cell, layer: str) -> tuple[LossLandscape, Trajectory, Trajectory]:
    study = run.study
    assert study.fresh is not None  # noqa: S101 - a run records two windows
    risk = study.risk(select=layer, batch_norm=cell.batch_norm)
    window, next_window = (rows.of_parameters(layer) for rows in (study.window, study.fresh))
    if not cell.preconditioned:
        return risk, window, next_window
    scale = run.load("preconditioner", Preconditioner).scale
    return Preconditioned(risk, scale), window.scaled(scale), next_window.scaled(scale)


def _cases(plan: Plan, cell: Cell) -> list[Case]:
    runs = [ExperimentRun.open(plan.run_path(cell.run_name(seed))) for seed in range(cell.n_seeds(plan))]
    return [_case(cell, layer, runs) for layer in cell.layers or ("",)]


def _case(cell: Cell, layer: str, runs: Sequence[ExperimentRun]) -> Case:
    settings = runs[0].settings
    found = [[run.load(name, Exponents) for name in _artefacts(cell, layer, settings)] for run in runs]
    recorded = open_trajectory(runs[0].path / "trajectory")
    space = (recorded.of_parameters(layer) if layer else recorded).space
    assert space is not None  # noqa: S101 - a recorder names its parameters
    ends = [(run.load("training", TrainingHistory), run.results.window.steps[-1]) for run in runs]
    return Case(
        name=cell.title,
        data=settings.data,
        samples=settings.batch_size * runs[0].problem.order.batches_per_epoch,
        weights=", ".join(space.names),
        dim=space.dim,
        training_error=[float(history.train_error[history.at(int(end))]) for history, end in ends],
        own=[rows[0] for rows in found],
        fresh=[rows[1] for rows in found],
        null=[row for rows in found for row in rows[2:]],
    )


def _row(case: Case) -> list[str]:
    errors = [100 * error for error in case.training_error]
    about = [case.name, case.data, f"{case.samples:,}", case.weights, f"{case.dim:,}", f"{len(case.own)}"]
    found = [_cell(row) for row in (case.own, case.fresh, case.null)]
    return [*about, f"{sum(errors) / len(errors):.2g} %", *found]


def _cell(found: Sequence[Exponents]) -> str:
    if len(found) != 1:
        return mean_with_interval([row.psi for row in found])
    (row,) = found
    low, high = row.psi_interval
    return f"{row.psi:.2f}" + ("" if math.isnan(low) else f" ({low:.2f}, {high:.2f})")


def _values(case: Case) -> dict[str, Any]:
    parts = {"in-sample": case.own, "fresh data": case.fresh, "null": case.null}
    return {
        "data": case.data,
        "samples": case.samples,
        "training_error": case.training_error,
        **{name: {key: [getattr(row, key) for row in rows] for key in _KEPT} for name, rows in parts.items()},
    }
