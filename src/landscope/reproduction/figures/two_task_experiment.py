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

from landscope.claims.verdict import Measurement
from landscope.law.intervals import mean_with_spread
from landscope.progress import Reporter
from landscope.reproduction.experiment.settings import Pretraining
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
    "methods_table",
    "table_values",
]

PAPER_STRENGTH = 10.0
"""lambda of Fig. 4."""
PAPER_MODES = 200
"""N_c of Fig. 4."""
PAPER_METHOD = "ldc-no-floor"
"""The constraints of Fig. 4."""
_RESULT = "trials"
Method = tuple[str, int]
"""A method and its number of modes; 0 for all weights."""


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
    methods: Sequence[Method]
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

    def jobs(self, plan: Plan) -> list[Job]:
        """One job a seed: its trials share the first task and all that is measured on it."""
        seeds = (*self.seeds.reported_of(plan), *self.seeds.tuning_of(plan))
        return [Job(self._run_name(seed), run_seed, (plan, self, seed)) for seed in seeds]

    def results(self, plan: Plan) -> TwoTaskResults:
        """Results of all seeds."""

        def load(seeds: range) -> list[TwoTaskTrials]:
            return [plan.load(self._run_name(seed), _RESULT, TwoTaskTrials) for seed in seeds]

        reported = load(self.seeds.reported_of(plan))
        last = int(reported[0].step[-1])
        stops = (self.early, last // self.epochs, last)
        return TwoTaskResults(self.name, reported, load(self.seeds.tuning_of(plan)), self.n_modes, stops)

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

    def compared(self) -> list[Method]:
        """Rows of the table of methods."""
        return [("none", 0), *self.methods, ("joint", 0)]

    def moved(self) -> list[int]:
        """Numbers of the trials whose displacements are kept: plain training, and the paper's constraints."""
        return [0, self.trials().index(MethodSettings(PAPER_METHOD, PAPER_STRENGTH, self.n_modes))]

    def watched_steps(self, prepared: SequentialTraining) -> list[int]:
        """The stops, and some steps before and between them."""
        epoch = max(self.epoch, prepared.training.steps_per_epoch(prepared.tasks[1].train))
        between = {round(self.epochs * epoch * 0.6**k) for k in range(11)}
        return sorted({self.early, epoch, self.epochs * epoch, *(step for step in between if step > 0)})

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
    name, settings = experiment._run_name(seed), plan.settings_with(**experiment.changes, seed=seed)

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

    @property
    def epoch(self) -> int:
        """Minibatches of the second stop."""
        return self.stops[1]

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
        return [trials.error_by_count(method, PAPER_STRENGTH, self.epoch) for trials in self.reported]

    def counts(self, method: str) -> list[int]:
        """Numbers of directions, or weights, that a method was tried with at several strengths; 0 for all weights."""
        rows = zip(self.tuning[0].method, self.tuning[0].n_modes.tolist(), strict=True)
        counts = sorted({count for name, count in rows if name == method})
        return [count for count in counts if len(self.tuning[0].strengths(method, count)) > 1]

    @property
    def seeds_text(self) -> str:
        """Numbers of seeds, for the text above a table."""
        return f" Reported are {len(self.reported)} seeds; strengths were chosen on {len(self.tuning)} others."


def against_ewc(results: TwoTaskResults) -> Measurement:
    """Summed error of tuned constraints minus that of tuned EWC after an epoch, seed by seed."""
    others = {
        "EWC with the empirical Fisher": "ewc-empirical",
        "Kronecker-factored EWC": "kfac",
        "the distance from w1": "l2",
    }
    differences = {name: _difference(results, m) for name, m in others.items()}
    note = "; ".join(f"against {name} {difference.value:+.2f}" for name, difference in differences.items())
    return dataclasses.replace(_difference(results, "ewc"), note=note)


def _difference(results: TwoTaskResults, method: str) -> Measurement:
    constrained = results.best(PAPER_METHOD, results.epoch).summed
    return Measurement.over_seeds(constrained, minus=results.best(method, results.epoch, 0).summed)


def fewest_modes(results: TwoTaskResults) -> list[float]:
    """N_c* of every seed: the fewest modes whose summed error is within a tenth of the smallest, after an epoch."""
    fewest = []
    for errors in results.error_by_count(PAPER_METHOD):
        level = 1.1 * min(errors.values())
        fewest.append(float(min(count for count, error in errors.items() if error <= level)))
    return fewest


def methods_table(
    methods: Sequence[Method], results: Sequence[TwoTaskResults], untuned: Sequence[Method] = ()
) -> tuple[list[str], list[list[str]]]:
    """Headings and rows: summed errors at every stop and costs, of methods tuned, and of some at default strengths."""
    stops = [(each, stop) for each in results for stop in each.stops]

    def row(method: str, n_modes: int, *, tuned: bool) -> list[str]:
        modes, untuned = f", {n_modes} modes" if n_modes else "", "" if tuned else ", untuned"
        default = math.nan if tuned else COMPARED[method].method.default_strength or math.nan
        cells = [
            _cell(each.best(method, stop, n_modes) if tuned else each.at(method, default, stop, n_modes))
            for each, stop in stops
        ]
        return [f"{method_label(method)}{modes}{untuned}", *cells, *_costs(results[0].reported, method, n_modes)]

    names = [f"{each.name}, {stop}" for each, stop in stops]
    rows = [*(row(*method, tuned=True) for method in methods), *(row(*method, tuned=False) for method in untuned)]
    return ["method", *names, "numbers / N", "to build (s)", "step / plain"], rows


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


def table_values(methods: Sequence[Method], results: TwoTaskResults) -> dict[str, object]:
    """Errors of both tasks of every row, by stop, for JSON."""
    return {
        f"{method} {n_modes or ''}".strip(): {
            str(stop): {"strength": at_stop.strength.value, "errors": at_stop.errors.tolist()}
            for stop in results.stops
            for at_stop in [results.best(method, stop, n_modes)]
        }
        for method, n_modes in methods
    }
