"""Fig. 4: what keeps a first task while a second one is learnt; over strengths, stops, and how many directions."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from landscope.paper.keeping import PAPER_STRENGTH, PSI_METHODS, Protocol, keeping_measurements
from landscope.run.course import Pretraining, begin_course
from landscope.run.folder import RunFolder
from landscope.run.jobs import Job
from landscope.run.measured import judged
from landscope.run.progress import Reporter
from landscope.run.recipes.recipe import Plan, Section
from landscope.tasks import METHODS, Forgetting, Trial, measure_forgetting
from landscope.tasks.comparison import Tuned
from landscope.threads import one_thread

__all__ = ["Keeping"]

_GROUPS = ((0, 1), (2, 3))
_PRETRAINING: dict[Pretraining, str] = {"tasks": "P", "all": "A"}
_SEEDS, _TUNING, _FIRST_TUNING = 10, 5, 100
_STOPS = (100, 241, 1205)
"""Minibatches of the second task: early, one epoch on MNIST, five."""
_WATCH = (5, 10, 20, 40, 70, 100, 150, 241, 400, 700, 1205)
_COUNTS = (5, 10, 20, 50, 100, 200, 300)
_WEIGHTS = (50, 100, 200, 500, 1000, 2000)
_N_MODES, _ALL_MODES = 200, 400
_COMPARED = (
    ("ldc", _N_MODES), ("ldc-floor", _N_MODES), ("ldc-floor", _ALL_MODES), ("kfac", 0), ("hessian", _N_MODES),
    ("fisher", _N_MODES), ("ewc", 0), ("ewc-empirical", 0), ("ewc-batch", 0), ("random", _N_MODES), ("l2", 0),
)  # fmt: skip
_ROWS = (("none", 0), *_COMPARED, ("joint", 0))
_PLAIN = {"none": "nothing", "joint": "both tasks at once"}
_TEXT = (
    "Task 1 is the digits 0 and 1, task 2 the digits 2 and 3, all ten answers allowed. Input and output layers were "
    "trained before, on the digits of the tasks (P) or on all (A), and are frozen; the weights between the hidden "
    "layers start anew, learn task 1 until there is no training error, and a window more. Summed test errors in per "
    "cent after so many minibatches of task 2, mean and standard deviation over the reported seeds; every method at "
    "the strength of the smallest summed error on other seeds (edge: the first or last that was tried), every penalty "
    "taken as an implicit step. Where the window has fewer moving modes than a row names, all of them are held."
)


class Keeping:
    """Both pre-training choices over seeds, half as many again to choose strengths on."""

    key = "fig4"
    title = "Landscape-dependent constraints against forgetting (Fig. 4)"

    def jobs(self, plan: Plan) -> list[Job]:
        """One job a pre-training and seed: its trials share the first task and all that is measured on it."""
        return [
            Job(_name(pretraining, seed), _run, (plan, pretraining, seed))
            for pretraining in _PRETRAINING
            for seed in (*_reported(plan), *_tuning(plan))
        ]

    def sections(self, plan: Plan) -> list[Section]:
        """The table of methods, and the claims."""
        protocols = [_protocol(plan, pretraining) for pretraining in _PRETRAINING]
        rows = [_row(method, n_modes, protocols) for method, n_modes in _ROWS]
        values = {one.name: _numbers(one) for one in protocols}
        judgements = judged(keeping_measurements(protocols[0]))
        return [Section(self.key, self.title, _TEXT, _headings(protocols), rows, judgements, values, protocols)]


def _reported(plan: Plan) -> range:
    """Seeds whose errors are given: ten, or as many as the plan has where that is more; a quick plan has its own."""
    return range(plan.seeds if plan.quick else max(_SEEDS, plan.seeds))


def _tuning(plan: Plan) -> range:
    return range(_FIRST_TUNING, _FIRST_TUNING + (plan.seeds if plan.quick else _TUNING))


def _name(pretraining: Pretraining, seed: int) -> str:
    return f"keeping-{pretraining}-seed{seed}"


def _trials(*, quick: bool) -> list[Trial]:
    """Everything that is tried after one first task."""
    every = 4 if quick else 1  # of the strengths
    counts, weights = (*_COUNTS[every - 1 :: every], _N_MODES, _ALL_MODES), _WEIGHTS[every - 1 :: every]
    paper = [Trial("ldc", PAPER_STRENGTH, count, moved=count == _N_MODES) for count in counts]
    floored = [Trial("ldc-floor", METHODS["ldc-floor"].default or 1.0, count) for count in counts]
    swept = [
        Trial(method, strength, count) for method, count in _COMPARED for strength in METHODS[method].strengths[::every]
    ]
    random = [Trial("random", PAPER_STRENGTH, _N_MODES)]
    psi = [Trial(method, PAPER_STRENGTH, _N_MODES) for method in PSI_METHODS.values()]
    few = [Trial("ewc", strength, count) for count in weights for strength in METHODS["ewc"].strengths[2 :: 2 * every]]
    plain = [Trial("none", moved=True), Trial("joint")]
    kept = {(trial.method, trial.strength, trial.n_modes): trial for trial in [*swept, *random, *psi, *few, *floored]}
    kept |= {(trial.method, trial.strength, trial.n_modes): trial for trial in paper}
    return [*plain, *kept.values()]


def _run(reporter: Reporter, plan: Plan, pretraining: Pretraining, seed: int) -> None:
    run = RunFolder.create(plan.run_path(_name(pretraining, seed)), plan.settings_with(seed=seed))
    if run.has("forgetting"):
        return
    with run.locked(), one_thread(), reporter.stage(_name(pretraining, seed)) as progress:
        course = begin_course(run.settings, _GROUPS, pretraining, _ALL_MODES)
        run.save("forgetting", measure_forgetting(course, _trials(quick=plan.quick), _WATCH, progress))


def _protocol(plan: Plan, pretraining: Pretraining) -> Protocol:
    def load(seeds: range) -> list[Forgetting]:
        folders = [RunFolder.open(plan.run_path(_name(pretraining, seed))) for seed in seeds]
        return [folder.load("forgetting", Forgetting) for folder in folders]

    return Protocol(_PRETRAINING[pretraining], load(_reported(plan)), load(_tuning(plan)), _N_MODES, _STOPS)


def _row(method: str, n_modes: int, protocols: Sequence[Protocol]) -> list[str]:
    """Summed errors of a method at every stop of every protocol, at its tuned strength, and what it costs."""
    cells = [_cell(one.best(method, stop, n_modes)) for one in protocols for stop in one.stops]
    name = METHODS[method].name if method in METHODS else _PLAIN[method]
    return [f"{name}{f', {n_modes} modes' if n_modes else ''}", *cells, *_cost(protocols[0].reported, method, n_modes)]


def _cell(found: Tuned) -> str:
    strength = "" if math.isnan(found.strength) else f" (λ {found.strength:.2g}{', edge' if found.at_edge else ''})"
    return mean_with_spread([100 * value for value in found.summed]) + strength


def _cost(reported: Sequence[Forgetting], method: str, n_modes: int) -> list[str]:
    """Numbers stored over N, seconds to build, and a step beside one without penalty; medians over seeds."""
    rows = []
    for one in reported:
        number = one.trials_of(method, n_modes)[0]
        plain = float(one.step_seconds[one.method.index("none")])
        stored = float(one.n_stored[number]) / one.dim
        rows.append((stored, float(one.build_seconds[number]), float(one.step_seconds[number]) / plain))
    return [f"{statistics.median(column):.2g}" for column in zip(*rows, strict=True)]


def _headings(protocols: Sequence[Protocol]) -> list[str]:
    stops = [f"{one.name}, {stop}" for one in protocols for stop in one.stops]
    return ["method", *stops, "numbers / N", "to build (s)", "step / plain"]


def _numbers(one: Protocol) -> dict[str, object]:
    """Errors of both tasks of every row, by stop."""
    return {
        f"{method} {n_modes or ''}".strip(): {
            str(stop): {"strength": found.strength, "errors": found.errors.tolist()}
            for stop in one.stops
            for found in [one.best(method, stop, n_modes)]
        }
        for method, n_modes in _ROWS
    }


def mean_with_spread(values: Sequence[float]) -> str:
    """A mean and its standard deviation over seeds."""
    return f"{statistics.fmean(values):.2f} ± {statistics.stdev(values):.2f}"
