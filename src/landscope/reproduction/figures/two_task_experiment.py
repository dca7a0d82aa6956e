"""Two tasks: every method over strengths and stops, from one first task a seed; shared by Fig. 4, S7, S8, capacity."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from landscope.claims.verdict import Control, Measurement
from landscope.law.intervals import mean_with_spread, seed_interval
from landscope.progress import Reporter
from landscope.reproduction.experiment.choices import Pretraining
from landscope.reproduction.experiment.folder import ExperimentFolder
from landscope.reproduction.experiment.settings import Settings
from landscope.reproduction.figures.figure import Plan
from landscope.reproduction.jobs import Job
from landscope.reproduction.sequential.kept_results import make_missing
from landscope.reproduction.sequential.methods import COMPARED, PSI_METHODS, MethodSettings, method_label
from landscope.reproduction.sequential.preparation import PRETRAINING_EPOCHS, SequentialTraining, prepare_class_tasks
from landscope.reproduction.sequential.tuning import Seeds, TunedStrength, Tuner
from landscope.reproduction.sequential.two_tasks import TwoTaskTrials, run_trials

__all__ = [
    "PAPER_MODES",
    "PAPER_STRENGTH",
    "MethodAtStop",
    "TwoTaskExperiment",
    "TwoTaskResults",
    "against_ewc",
    "fewest_modes",
    "mean_measurement",
    "table_headings",
    "table_row",
    "table_values",
]

PAPER_STRENGTH = 10.0
"""lambda of Fig. 4."""
PAPER_MODES = 200
"""N_c of Fig. 4."""
PAPER_METHOD = "ldc-no-floor"
"""The constraints of Fig. 4."""
_RESULT = "trials"


@dataclasses.dataclass(frozen=True)
class TwoTaskExperiment:
    """Two tasks, how the network comes to them, and what is tried on the second.

    Args:
        key: Key of its runs.
        name: Name for a table.
        groups: Classes of both tasks.
        pretraining: Data that the frozen layers were trained on.
        seeds: Numbers of seeds.
        methods: Methods compared over strengths, each with the number of modes it may hold (0 for all weights).
        counts: Numbers of modes tried at the default strengths.
        weights: Numbers of weights that elastic weight consolidation is tried with.
        psi: Whether to take flatness from the variance too.
        floored: Whether the numbers of modes are tried with a floor too.
        n_modes: N_c, the number of modes of the paper's constraints.
        every: Try only every ``every``-th strength of a method.
        early: First stop: minibatches of the second task.
        epoch: Second stop: an epoch, or this many minibatches if it is shorter.
        epochs: Last stop, in multiples of the second.
        pretraining_epochs: Longest training before the tasks.
        changes: Changes of the shared settings.
    """

    key: str
    name: str
    groups: Sequence[Sequence[int]]
    pretraining: Pretraining
    seeds: Seeds
    methods: Sequence[tuple[str, int]]
    counts: Sequence[int] = (PAPER_MODES, 2 * PAPER_MODES)
    weights: Sequence[int] = ()
    psi: bool = False
    floored: bool = True
    n_modes: int = PAPER_MODES
    every: int = 1
    early: int = 100
    epoch: int = 241
    epochs: int = 5
    pretraining_epochs: int = PRETRAINING_EPOCHS
    changes: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def quick(self) -> TwoTaskExperiment:
        """The same with a fourth of the strengths, and half the numbers of modes."""
        return dataclasses.replace(self, every=4, counts=(*self.counts[2::2], *self.counts[-1:]))

    def jobs(self, plan: Plan, *, tuned: bool = True) -> list[Job]:
        """One job a seed: its trials share the first task and all that is measured on it."""
        seeds = (*self.seeds.reported_of(plan), *(self.seeds.tuning_of(plan) if tuned else ()))
        return [Job(self._run_name(seed), run_seed, (plan, self, seed)) for seed in seeds]

    def results(self, plan: Plan, *, tuned: bool = True) -> TwoTaskResults:
        """Results of all seeds."""

        def load(seeds: range) -> list[TwoTaskTrials]:
            folders = [ExperimentFolder.open(plan.run_path(self._run_name(seed))) for seed in seeds]
            return [folder.load(_RESULT, TwoTaskTrials) for folder in folders]

        reported = load(self.seeds.reported_of(plan))
        last = int(reported[0].step[-1])
        stops = (self.early, last // self.epochs, last)
        tuning = load(self.seeds.tuning_of(plan)) if tuned else []
        return TwoTaskResults(self.name, reported, tuning, self.n_modes, stops)

    def trials(self) -> list[MethodSettings]:
        """Everything that is tried after one first task; plain training first."""
        counts = sorted({*self.counts, self.n_modes})
        default = COMPARED["ldc-floor"].method.default_strength
        trials = [
            MethodSettings(method, strength, count)
            for method, count in self.methods
            for strength in COMPARED[method].strengths[:: self.every]
        ]
        trials.append(MethodSettings("random", PAPER_STRENGTH, self.n_modes))
        trials += [MethodSettings(key, PAPER_STRENGTH, self.n_modes) for key in PSI_METHODS.values() if self.psi]
        trials += [
            MethodSettings("ewc", strength, count)
            for count in self.weights[:: self.every]
            for strength in COMPARED["ewc"].strengths[:: 2 * self.every]
        ]
        trials += [MethodSettings("ldc-floor", default, count) for count in counts if self.floored]
        trials += [MethodSettings(PAPER_METHOD, PAPER_STRENGTH, count) for count in counts]
        return [MethodSettings("none"), MethodSettings("joint"), *dict.fromkeys(trials)]

    def moved(self) -> list[int]:
        """Numbers of the trials whose displacements are kept: plain training, and the paper's constraints."""
        return [0, self.trials().index(MethodSettings(PAPER_METHOD, PAPER_STRENGTH, self.n_modes))]

    def watched_steps(self, prepared: SequentialTraining) -> list[int]:
        """The stops, and some steps before and between them."""
        epoch = max(self.epoch, prepared.training.steps_per_epoch(prepared.tasks[1].train))
        between = {round(self.epochs * epoch * 0.6**k) for k in range(11)}
        return sorted({self.early, epoch, self.epochs * epoch, *(step for step in between if step > 0)})

    def settings(self, plan: Plan, seed: int) -> Settings:
        """Settings of a seed."""
        return plan.settings_with(**{**self.changes, "seed": seed})

    def numbers(self) -> dict[str, Any]:
        """All that a result depends on besides the settings, as JSON can hold it."""
        apart = ("key", "name", "seeds", "changes")
        return {name: value for name, value in dataclasses.asdict(self).items() if name not in apart}

    def _run_name(self, seed: int) -> str:
        return f"two-tasks-{self.key}-seed{seed}"


def run_seed(reporter: Reporter, plan: Plan, experiment: TwoTaskExperiment, seed: int) -> None:
    """Run all trials of a seed, unless its folder holds them."""
    if plan.quick:
        experiment = experiment.quick()
    name, settings = experiment._run_name(seed), experiment.settings(plan, seed)

    def make(trials: Sequence[MethodSettings]) -> TwoTaskTrials:
        prepared = prepare_class_tasks(
            settings, experiment.groups, experiment.pretraining, pretraining_epochs=experiment.pretraining_epochs
        )
        with reporter.stage(name) as progress:
            return run_trials(
                prepared, trials, experiment.watched_steps(prepared), n_modes=max(experiment.counts),
                moved=experiment.moved(), progress=progress,
            )  # fmt: skip

    make_missing(
        plan.run_path(name), settings, {_RESULT: experiment.trials()}, lambda: make, reporter, experiment.numbers()
    )


@dataclasses.dataclass(frozen=True)
class MethodAtStop:
    """A method at one stop.

    Args:
        strength: lambda, and whether it is at the edge of those that were tried.
        errors: Errors of the reported seeds, ``[seeds, tasks]``.
    """

    strength: TunedStrength
    errors: Float[Tensor, "seeds tasks"]

    @property
    def summed(self) -> list[float]:
        """Summed error of each seed in per cent."""
        return (100 * self.errors.sum(dim=1)).tolist()

    def of_task(self, number: int) -> list[float]:
        """Error of one task of each seed in per cent."""
        return (100 * self.errors[:, number]).tolist()


@dataclasses.dataclass(frozen=True)
class TwoTaskResults:
    """Results of one experiment over seeds.

    Args:
        name: Name for a table.
        reported: Trials of the seeds that are reported.
        tuning: Trials of other seeds, on which strengths are chosen.
        n_modes: N_c of the paper.
        stops: Minibatches of the second task: the paper's early look, an epoch, and long after.
    """

    name: str
    reported: Sequence[TwoTaskTrials]
    tuning: Sequence[TwoTaskTrials]
    n_modes: int
    stops: tuple[int, int, int]

    def at(self, method: str, strength: float, step: int, n_modes: int | None = None) -> MethodAtStop:
        """A method at a given strength; NaN for none."""
        count = self.n_modes if n_modes is None else n_modes
        errors = torch.stack([trials.errors(method, strength, count, step) for trials in self.reported])
        return MethodAtStop(TunedStrength(strength), errors)

    def best(
        self, method: str, step: int, n_modes: int | None = None, among: Collection[float] | None = None
    ) -> MethodAtStop:
        """A method at the strength that the tuning seeds found best, of all that were tried or among some."""
        count = self.n_modes if n_modes is None else n_modes
        tried = self.tuning[0].strengths(method, count)
        strengths = tried if among is None else [strength for strength in tried if strength in among]
        tuner = Tuner(
            {method: strengths or [math.nan]},
            lambda seed, _, strength: float(self.tuning[seed].errors(method, strength, count, step).sum()),
            lambda error: error, range(len(self.tuning)), [],
        )  # fmt: skip
        best = tuner.best(method)
        return MethodAtStop(best, self.at(method, best.value, step, count).errors)

    def front(self, method: str, n_modes: int, step: int) -> list[tuple[float, Float[Tensor, " tasks"]]]:
        """Strengths, rising, and the mean errors of both tasks at each."""
        strengths = self.reported[0].strengths(method, n_modes)
        return [(s, self.at(method, s, step, n_modes).errors.mean(dim=0)) for s in strengths]

    def error_by_count(self, method: str) -> list[dict[int, float]]:
        """Summed error of each seed after an epoch, by the number of modes held at the paper's strength."""
        return [trials.error_by_count(method, PAPER_STRENGTH, self.stops[1]) for trials in self.reported]

    def counts(self, method: str) -> list[int]:
        """Numbers of directions, or weights, that a method was tried with at several strengths; 0 for all weights."""
        rows = zip(self.tuning[0].method, self.tuning[0].n_modes.tolist(), strict=True)
        counts = sorted({count for name, count in rows if name == method})
        return [count for count in counts if len(self.tuning[0].strengths(method, count)) > 1]

    @property
    def seeds_text(self) -> str:
        """Numbers of seeds, for the text above a table."""
        return f" Reported are {len(self.reported)} seeds; strengths were chosen on {len(self.tuning)} others."


def mean_measurement(
    values: Sequence[float], *controls: Control, minus: Sequence[float] | None = None, note: str = ""
) -> Measurement:
    """A mean over seeds with its interval; of differences seed by seed where ``minus`` is given."""
    if minus is not None:
        values = [a - b for a, b in zip(values, minus, strict=True)]
    return Measurement(sum(values) / len(values), seed_interval(list(values)), controls, note)


def against_ewc(results: TwoTaskResults, step: int) -> Measurement:
    """Summed error of tuned constraints minus that of tuned EWC, seed by seed."""
    constrained = results.best(PAPER_METHOD, step).summed
    others = {
        "EWC with the empirical Fisher": "ewc-empirical",
        "Kronecker-factored EWC": "kfac",
        "the distance from w1": "l2",
    }
    differences = {
        name: mean_measurement(constrained, minus=results.best(m, step, 0).summed) for name, m in others.items()
    }
    note = "; ".join(f"against {name} {difference.value:+.2f}" for name, difference in differences.items())
    return mean_measurement(constrained, minus=results.best("ewc", step, 0).summed, note=note)


def fewest_modes(results: TwoTaskResults) -> list[float]:
    """N_c* of every seed: the fewest modes whose summed error is within a tenth of the smallest, after an epoch."""
    fewest = []
    for errors in results.error_by_count(PAPER_METHOD):
        level = 1.1 * min(errors.values())
        fewest.append(float(min(count for count, error in errors.items() if error <= level)))
    return fewest


def table_headings(results: Sequence[TwoTaskResults]) -> list[str]:
    """Headings of the table of methods."""
    stops = [f"{each.name}, {stop}" for each in results for stop in each.stops]
    return ["method", *stops, "numbers / N", "to build (s)", "step / plain"]


def table_row(
    method: str, n_modes: int, results: Sequence[TwoTaskResults], *, default_strength: bool = False
) -> list[str]:
    """Summed errors of a method at every stop, at its tuned or its default strength, and its costs."""
    strength = COMPARED[method].method.default_strength if default_strength else None
    cells = [
        _cell(each.best(method, stop, n_modes) if strength is None else each.at(method, strength, stop, n_modes))
        for each in results
        for stop in each.stops
    ]
    modes, untuned = f", {n_modes} modes" if n_modes else "", "" if strength is None else ", untuned"
    return [f"{method_label(method)}{modes}{untuned}", *cells, *_costs(results[0].reported, method, n_modes)]


def _cell(at_stop: MethodAtStop) -> str:
    strength, edge = at_stop.strength.value, ", edge" if at_stop.strength.at_edge else ""
    return mean_with_spread(at_stop.summed) + ("" if math.isnan(strength) else f" (λ {strength:.2g}{edge})")


def _costs(reported: Sequence[TwoTaskTrials], method: str, n_modes: int) -> list[str]:
    """Numbers stored over N, seconds to build, and a step relative to one without penalty; medians over seeds."""
    rows = []
    for trials in reported:
        number = trials.trials_of(method, n_modes)[0]
        plain = float(trials.step_seconds[trials.method.index("none")])
        stored = float(trials.n_stored[number]) / trials.dim
        rows.append((stored, float(trials.build_seconds[number]), float(trials.step_seconds[number]) / plain))
    stored, build, step = (statistics.median(column) for column in zip(*rows, strict=True))
    return [f"{stored:.0f}", f"{build:.2g}", f"{step:.1f}"]


def table_values(methods: Sequence[tuple[str, int]], results: TwoTaskResults) -> dict[str, object]:
    """Errors of both tasks of every row, by stop, for JSON."""
    return {
        f"{method} {n_modes or ''}".strip(): {
            str(stop): {"strength": at_stop.strength.value, "errors": at_stop.errors.tolist()}
            for stop in results.stops
            for at_stop in [results.best(method, stop, n_modes)]
        }
        for method, n_modes in methods
    }
