"""Is the relation real? psi beside every null that could make it, in windows as long and in a window without end."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from scipy import stats

from landscope.claims.statements import judged
from landscope.claims.tolerance import SAME_EXPONENT, exponent_tolerance
from landscope.claims.verdict import Claim, Measurement
from landscope.law.intervals import mean_with_interval
from landscope.plots.style import FIT, FRESH, MANY_COLORS, NULL, OWN, PROCESS, add_line, add_points, new_figure, numbers
from landscope.progress import Reporter
from landscope.reproduction.experiment.run import ExperimentRun
from landscope.reproduction.figures.figure import Picture, Plan, Section, claims_table, plots_of, table
from landscope.reproduction.jobs import Job
from landscope.reproduction.seed_summary import SeedSummary
from landscope.study import saved

__all__ = ["CLAIMS", "jobs", "key", "sections", "spread_measurements", "title"]


@dataclasses.dataclass(frozen=True)
class _Case:
    """Runs that differ in their seed only.

    Args:
        name: Short name, for the folders.
        title: First cell of its row.
        changes: Settings that differ from the shared ones.
        most_seeds: Largest number of seeds.
    """

    name: str
    title: str
    changes: Mapping[str, Any]
    most_seeds: int = 5


_PERCEPTRONS = tuple(
    _Case(
        f"mlp-alpha{rate:g}-{sampling}",
        f"perceptron, alpha = {rate:g}, {sampling.replace('-', ' ')}",
        {"learning_rate": rate, "sampling": sampling},
    )
    for rate in (0.1, 0.2)
    for sampling in ("reshuffled", "with-replacement")
)
_OTHERS = (
    _Case(
        "cnn", "CNN, 10,000 images of CIFAR-10, alpha = 0.03",
        {
            "data": "cifar10", "network": "cifar-cnn", "train_samples": 10_000, "learning_rate": 0.03,
            "select": "9.weight", "window_epochs": 30, "max_epochs": 150,
        },
        most_seeds=3,
    ),
    _Case(
        "transformer", "transformer, sums modulo 31, alpha = 0.01, momentum 0.9",
        {
            "data": "modular-addition", "network": "gpt2", "learning_rate": 0.01, "momentum": 0.9,
            "select": "transformer.h.1.mlp.c_fc.weight", "window_epochs": 400, "max_epochs": 3000,
        },
        most_seeds=3,
    ),
)  # fmt: skip

key = "findings"
title = "Is the relation real? Windows of finite length and without end"
_ALONG_MODES = (
    "psi along principal modes, mean over seeds with Student's 95 % interval; surrogates and draws of the process are "
    "averaged within a seed first. The process is stationary, with the run's own noise, order of minibatches and "
    "curvature, in a window as long as the run's."
)
_ALONG_CURVATURE = (
    "psi along eigenvectors of the Gauss-Newton matrix, which the variance did not choose. What is expected in the "
    "window, and psi_infinity of the process, are of a stationary process with this curvature and the run's D, in the "
    "run's own order of minibatches: sigma^2(infinity) is D/(2 alpha lambda) with independent minibatches; where the "
    "noise of reshuffled epochs of M minibatches sums to zero, it is 0.55 to 1 times D (M + 1)/6 in directions with "
    "alpha lambda M below 3. psi_infinity of the run has the force of all weights, lambda_eff, and counts only where "
    "growing windows follow it; the last column says in how many seeds they do."
)
_AMPLITUDE = (
    "Variance of the window over that of the formula, median over directions, in the training that goes on from w0 in "
    "the same order of minibatches: with H_ii, the curvature of the recorded weights alone, and with lambda_eff, the "
    "force of all weights; for independent minibatches (white) and for the order of the run."
)


CLAIMS = tuple(
    Claim(
        f"same_{exponent}",
        "Methods, text",
        f"Other initial weights give the same statistics (standard deviation of {exponent} over seeds, over its mean).",
        "the same",
        (0.0, exponent_tolerance(1.0)),
        SAME_EXPONENT,
        possible=(0.0, math.inf),
    )
    for exponent in ("psi", "gamma")
)
_CLAIMS = ("psi", "psi_D", "psi_tau", "gamma", "psi_infinity_of_run")
_AMPLITUDES = ("amplitude_white_local", "amplitude_white", "amplitude_local", "amplitude")


def jobs(plan: Plan) -> list[Job]:
    """One job for each case and seed."""
    return [
        Job(_name(case, seed), _analyse, (plan, case, seed)) for case in _cases(plan) for seed in _seeds(plan, case)
    ]


def sections(plan: Plan) -> list[Section]:
    """Exponents along principal modes and along eigenvectors of the curvature, amplitudes, and claims by case."""
    found = [_Found(case, [_run(plan, case, seed) for seed in _seeds(plan, case)]) for case in _cases(plan)]
    values = {one.case.title: one.rows for one in found}
    pictures: list[Picture] = [
        ("psi and what could make it.", _psi_of_cases, "Every seed is a point."),
        ("Growing windows.", _psi_of_lengths, "First seed of each case, along eigenvectors of the curvature."),
    ]
    text = f"{_ALONG_MODES} {_left_out(plan)}".strip()
    main = Section(key, title, text, *table(_MODE_COLUMNS, found), [], values, plots_of(pictures, found))
    further = (
        ("curvature", "The same along eigenvectors of the curvature", _ALONG_CURVATURE, _CURVATURE_COLUMNS),
        ("amplitude", "The size of the fluctuations", _AMPLITUDE, _AMPLITUDE_COLUMNS),
    )
    return [
        main,
        *(
            Section(f"{key}-{name}", head, text, *table(columns, found), [], {})
            for name, head, text, columns in further
        ),
        *(_claims(one) for one in found if len(one.runs) > 1),
    ]


def _cases(plan: Plan) -> tuple[_Case, ...]:
    return _PERCEPTRONS[:2] if plan.quick else (*_PERCEPTRONS, *_OTHERS)


def _left_out(plan: Plan) -> str:
    missing = [case.title for case in (*_PERCEPTRONS, *_OTHERS) if case not in _cases(plan)]
    return f"Left out at quick sizes: {'; '.join(missing)}." if missing else ""


def _seeds(plan: Plan, case: _Case) -> range:
    return range(min(plan.seeds, case.most_seeds))


def _name(case: _Case, seed: int) -> str:
    return f"findings-{case.name}-seed{seed}"


def _run(plan: Plan, case: _Case, seed: int) -> ExperimentRun:
    return ExperimentRun.create(plan.run_path(_name(case, seed)), plan.settings_with(**case.changes, seed=seed))


def _analyse(reporter: Reporter, plan: Plan, case: _Case, seed: int) -> None:
    _run(plan, case, seed).analyse(reporter, dynamics=True)


class _Found:
    """What the runs of a case gave.

    Args:
        case: The case.
        runs: One for each seed, analysed.
    """

    def __init__(self, case: _Case, runs: Sequence[ExperimentRun]) -> None:
        self.case, self.runs = case, runs
        self.rows: list[dict[str, float]] = [_numbers(run) for run in runs]

    def cell(self, name: str) -> str:
        """Mean over seeds with its interval; seeds without the number are left out."""
        return mean_with_interval([row[name] for row in self.rows])

    def known(self, name: str) -> str:
        """In how many seeds a number is known."""
        return f"{sum(not math.isnan(row[name]) for row in self.rows)} of {len(self.rows)}"


def _numbers(run: ExperimentRun) -> dict[str, float]:
    """Exponents of one run; surrogates and draws are averaged."""
    settings = run.settings
    drawn = {
        "shuffled": [saved.null(number) for number in range(settings.n_nulls)],
        "process": [saved.process(number) for number in range(settings.n_processes)],
        "process, next": [saved.process_fresh(number) for number in range(settings.n_processes)],
        "psi": [saved.IN_SAMPLE],
        "psi, next": [saved.FRESH],
    }
    found = {
        name: statistics.fmean(run.load(one.name, one.kind).psi for one in results if run.has(one.name))
        if any(run.has(one.name) for one in results)
        else math.nan
        for name, results in drawn.items()
    }
    if run.has(saved.WINDOW_LIMIT.name):
        limit = run.load(saved.WINDOW_LIMIT.name, saved.WINDOW_LIMIT.kind)
        found |= {"along curvature": limit.psi, "expected": limit.psi_predicted, "process, limit": limit.psi_infinity}
    for basis in ("modes", "curvature"):
        result = saved.run_limit(settings.sampling, basis)
        if run.has(result.name):
            own = run.load(result.name, result.kind)
            found[f"limit, {basis}"] = own.psi_infinity
            found |= {f"{name}, {basis}": getattr(own, name) for name in _AMPLITUDES}
            found[f"directions, {basis}"] = own.n_used
    return {name: found.get(name, math.nan) for name in _NAMES}


_NAMES = (
    "psi", "psi, next", "shuffled", "process", "process, next", "along curvature", "expected", "process, limit",
    *(f"{name}, {basis}" for basis in ("modes", "curvature") for name in ("limit", "directions", *_AMPLITUDES)),
)  # fmt: skip


def _column(name: str) -> Callable[[_Found], str]:
    return lambda found: found.cell(name)


_HEAD: Mapping[str, Callable[[_Found], str]] = {
    "training": lambda found: found.case.title,
    "seeds": lambda found: f"{len(found.runs)}",
}
_MODE_COLUMNS = {
    **_HEAD,
    "psi": _column("psi"),
    "psi, next window": _column("psi, next"),
    "psi, shuffled": _column("shuffled"),
    "psi, process": _column("process"),
    "psi, process, its next window": _column("process, next"),
    "psi_infinity of the run": _column("limit, modes"),
    "identified": lambda found: found.known("limit, modes"),
}
_CURVATURE_COLUMNS = {
    **_HEAD,
    "psi": _column("along curvature"),
    "expected in the window, own order": _column("expected"),
    "psi_infinity of the process, own order": _column("process, limit"),
    "psi_infinity of the run": _column("limit, curvature"),
    "identified": lambda found: found.known("limit, curvature"),
}
_AMPLITUDE_COLUMNS = {
    **_HEAD,
    **{
        f"{words}, {along}": _column(f"{name}, {basis}")
        for basis, along in (("modes", "modes"), ("curvature", "eigenvectors"))
        for name, words in zip(
            _AMPLITUDES, ("white, H_ii", "white, lambda_eff", "own order, H_ii", "own order, lambda_eff"), strict=True
        )
    },
}


def _claims(found: _Found) -> Section:
    laws = [run.load(saved.IN_SAMPLE.name, saved.IN_SAMPLE.kind) for run in found.runs]
    spreads = judged(spread_measurements([law.psi for law in laws], [law.gamma for law in laws]), CLAIMS)
    judgements = [*SeedSummary(found.runs).judgements_on(_CLAIMS), *spreads]
    heading = f"Claims: {found.case.title}"
    return Section(f"{key}-claims-{found.case.name}", heading, "", *claims_table(judgements), [], {})


def spread_measurements(psi: Sequence[float], gamma: Sequence[float]) -> dict[str, Measurement]:
    """Measure how far exponents of other initial weights differ; the interval is that of a normal law's deviation."""
    found = {}
    for name, values in (("psi", psi), ("gamma", gamma)):
        free, mean = len(values) - 1, statistics.fmean(values)
        share = statistics.stdev(values) / mean
        low, high = (math.sqrt(free / float(stats.chi2.ppf(end, free))) * share for end in (0.975, 0.025))
        found[f"same_{name}"] = Measurement(share, (low, high), note=f"over {len(values)} seeds")
    return found


def _psi_of_cases(found: Sequence[_Found]) -> go.Figure:
    """psi, next to what shuffled increments, the next window, the process and a window without end give."""
    figure = new_figure("training", "ψ")
    series = (
        ("psi", "in-sample", OWN), ("shuffled", "shuffled increments", NULL), ("process", "process", PROCESS),
        ("psi, next", "next window", FRESH), ("process, limit", "process, own order, window without end", FIT),
    )  # fmt: skip
    for number, (name, words, color) in enumerate(series):
        x = [position + (number - 2) / 12 for position, one in enumerate(found) for _ in one.rows]
        add_points(figure, np.array(x), np.array([row[name] for one in found for row in one.rows]), words, color, 6)
    figure.update_xaxes(tickvals=list(range(len(found))), ticktext=[one.case.name for one in found])
    return figure


def _psi_of_lengths(found: Sequence[_Found]) -> go.Figure | None:
    """Psi along eigenvectors of the curvature in windows of growing length."""
    figure = new_figure("length of the window (steps)", "ψ", log_x=True)
    for one, color in zip(found, MANY_COLORS, strict=False):
        run, result = one.runs[0], saved.run_limit(one.runs[0].settings.sampling, "curvature")
        if run.has(result.name):
            limit, title = run.load(result.name, result.kind), one.case.name
            add_line(figure, numbers(limit.length), numbers(limit.psi), title, color)
            add_line(
                figure,
                numbers(limit.length),
                numbers(limit.psi_predicted),
                f"{title}, expected",
                color,
                dash="dot",
                width=1,
            )
    return figure if len(figure.data) else None
