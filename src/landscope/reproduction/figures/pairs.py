"""Pairs of tasks: every method over strengths and stops, from one first task a seed; the tables of Fig. 4 and S8."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from landscope.progress import Reporter
from landscope.reproduction.experiment.choices import Pretraining
from landscope.reproduction.experiment.folder import ExperimentFolder
from landscope.reproduction.experiment.settings import Settings
from landscope.reproduction.figures.fig4_claims import PAPER_STRENGTH, PSI_KEYS, Protocol
from landscope.reproduction.figures.recipe import Plan, mean_with_spread
from landscope.reproduction.figures.strengths import Seeds
from landscope.reproduction.jobs import Job
from landscope.reproduction.sequential.ablations import COMPARED, method_label, method_of
from landscope.reproduction.sequential.comparison import Tuned
from landscope.reproduction.sequential.course import Course
from landscope.reproduction.sequential.courses import begin_course
from landscope.reproduction.sequential.two_tasks import Forgetting, Trial, measure_forgetting
from landscope.threads import one_thread

__all__ = ["Pair", "headings", "numbers_of", "pair_jobs", "protocol_of", "rows_of", "seeds_told", "untuned_rows"]

_TUNING = 5
_EARLY, _EPOCH, _EPOCHS = 100, 241, 5
"""Stops: so many minibatches of the second task; an epoch, or this many where it is shorter; usually so many epochs."""
_N_MODES, _ALL_MODES = 200, 400


@dataclasses.dataclass(frozen=True)
class Pair:
    """Two tasks and how the network comes to them.

    Args:
        key: Of its runs.
        name: What a table says.
        groups: Classes of both tasks.
        pretraining: What the frozen layers were trained on.
        seeds: Reported, from 0; a quick reproduction takes its own number.
        methods: Compared over strengths, each with the number of modes it may hold (0 for all weights).
        counts: Numbers of modes that are tried at the default strengths.
        weights: Numbers of weights that EWC is tried with.
        psi: Whether to take flatness from the variance too.
        epochs: Of the second task, until the last stop.
        floored: Whether the numbers of modes are tried with a floor too.
        changes: Of the shared settings.
    """

    key: str
    name: str
    groups: Sequence[Sequence[int]]
    pretraining: Pretraining
    seeds: int
    methods: Sequence[tuple[str, int]]
    counts: Sequence[int] = (_N_MODES, _ALL_MODES)
    weights: Sequence[int] = ()
    psi: bool = False
    epochs: int = _EPOCHS
    floored: bool = True
    changes: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def reported(self, plan: Plan) -> range:
        """Seeds whose errors are given."""
        return self._seeds.reported_of(plan)

    def tuning(self, plan: Plan) -> range:
        """Other seeds, on which strengths are chosen."""
        return self._seeds.tuning_of(plan)

    @property
    def _seeds(self) -> Seeds:
        return Seeds(self.seeds, _TUNING, chosen_when_quick=True)

    def settings(self, plan: Plan, seed: int) -> Settings:
        """Settings of one seed."""
        return plan.settings_with(**{**self.changes, "seed": seed})

    def folder(self, seed: int) -> str:
        """Name of the run of one seed."""
        return f"keeping-{self.key}-seed{seed}"

    def trials(self, *, quick: bool) -> list[Trial]:
        """Everything that is tried after one first task."""
        every = 4 if quick else 1  # of the strengths
        counts = sorted({*(self.counts[2::2] if quick else self.counts), _N_MODES, max(self.counts)})
        paper = [Trial("ldc-no-floor", PAPER_STRENGTH, count, moved=count == _N_MODES) for count in counts]
        floored = [
            Trial("ldc-floor", method_of("ldc-floor").default_strength or 1.0, count)
            for count in counts
            if self.floored
        ]
        swept = [Trial(m, strength, count) for m, count in self.methods for strength in COMPARED[m].strengths[::every]]
        random = [Trial("random", PAPER_STRENGTH, _N_MODES)]
        psi = [Trial(method, PAPER_STRENGTH, _N_MODES) for method in PSI_KEYS.values()] if self.psi else []
        strengths = COMPARED["ewc"].strengths[:: 2 * every]
        few = [Trial("ewc", strength, count) for count in self.weights[::every] for strength in strengths]
        kept = {_key(trial): trial for trial in [*swept, *random, *psi, *few, *floored]} | {_key(t): t for t in paper}
        return [Trial("none", moved=True), Trial("joint"), *kept.values()]


def _key(trial: Trial) -> tuple[str, float, int]:
    return trial.method, trial.strength, trial.n_modes


def pair_jobs(plan: Plan, pair: Pair, *, tuned: bool = True) -> list[Job]:
    """One job a seed: its trials share the first task and all that is measured on it."""
    seeds = (*pair.reported(plan), *(pair.tuning(plan) if tuned else ()))
    return [Job(pair.folder(seed), _run, (plan, pair, seed)) for seed in seeds]


def _run(reporter: Reporter, plan: Plan, pair: Pair, seed: int) -> None:
    run = ExperimentFolder.create(plan.run_path(pair.folder(seed)), pair.settings(plan, seed))
    if run.has("forgetting"):
        return
    with run.locked(), one_thread(), reporter.stage(pair.folder(seed)) as progress:
        course = begin_course(run.settings, pair.groups, pair.pretraining, max(pair.counts))
        found = measure_forgetting(course, pair.trials(quick=plan.quick), watched_steps(course, pair.epochs), progress)
        run.save("forgetting", found)


def watched_steps(course: Course, epochs: int = _EPOCHS) -> list[int]:
    """The stops, and some steps before and between them."""
    epoch = max(_EPOCH, course.learner.steps_per_epoch(course.tasks[1].train))
    stops = (_EARLY, epoch, epochs * epoch)
    between = {round(epochs * epoch * 0.6**k) for k in range(11)}
    return sorted({*stops, *(step for step in between if step > 0)})


def protocol_of(plan: Plan, pair: Pair, *, tuned: bool = True) -> Protocol:
    """All seeds of a pair."""

    def load(seeds: range) -> list[Forgetting]:
        folders = [ExperimentFolder.open(plan.run_path(pair.folder(seed))) for seed in seeds]
        return [folder.load("forgetting", Forgetting) for folder in folders]

    reported = load(pair.reported(plan))
    last = int(reported[0].step[-1])
    stops = (_EARLY, last // pair.epochs, last)
    return Protocol(pair.name, reported, load(pair.tuning(plan)) if tuned else [], _N_MODES, stops)


def seeds_told(one: Protocol) -> str:
    """For the text above a table."""
    return f" Reported are {len(one.reported)} seeds, strengths chosen on {len(one.tuning)} others."


def headings(protocols: Sequence[Protocol]) -> list[str]:
    """Of the table of methods."""
    stops = [f"{one.name}, {stop}" for one in protocols for stop in one.stops]
    return ["method", *stops, "numbers / N", "to build (s)", "step / plain"]


def rows_of(methods: Sequence[tuple[str, int]], protocols: Sequence[Protocol]) -> list[list[str]]:
    """Summed errors of every method at every stop, at its tuned strength, and what it costs."""
    return [_row(method, n_modes, protocols) for method, n_modes in (("none", 0), *methods, ("joint", 0))]


def untuned_rows(methods: Sequence[tuple[str, int]], protocols: Sequence[Protocol]) -> list[list[str]]:
    """The same at the strengths that methods have of their own."""
    return [_row(method, n_modes, protocols, COMPARED[method].default_strength) for method, n_modes in methods]


def _row(method: str, n_modes: int, protocols: Sequence[Protocol], strength: float | None = None) -> list[str]:
    """At the strength that tuning seeds chose, or at one that nobody chose."""
    found = [
        one.best(method, stop, n_modes) if strength is None else one.at(method, strength, stop, n_modes)
        for one in protocols
        for stop in one.stops
    ]
    cells, untuned = [_cell(one) for one in found], "" if strength is None else ", untuned"
    modes = f", {n_modes} modes" if n_modes else ""
    return [f"{method_label(method)}{modes}{untuned}", *cells, *_cost(protocols[0].reported, method, n_modes)]


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
    stored, build, step = (statistics.median(column) for column in zip(*rows, strict=True))
    return [f"{stored:.0f}", f"{build:.2g}", f"{step:.1f}"]


def numbers_of(methods: Sequence[tuple[str, int]], one: Protocol) -> dict[str, object]:
    """Errors of both tasks of every row, by stop, for JSON."""
    return {
        f"{method} {n_modes or ''}".strip(): {
            str(stop): {"strength": found.strength, "errors": found.errors.tolist()}
            for stop in one.stops
            for found in [one.best(method, stop, n_modes)]
        }
        for method, n_modes in (("none", 0), *methods, ("joint", 0))
    }
