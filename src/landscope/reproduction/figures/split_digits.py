"""Five tasks of two digits in sequence (sec-S8): the mean error of all at the end, by method."""

from __future__ import annotations

import dataclasses
import functools
import statistics
from collections.abc import Callable, Sequence

from landscope.law.intervals import mean_with_spread
from landscope.reproduction.experiment.settings import Settings
from landscope.reproduction.figures.figure import Plan, Section
from landscope.reproduction.figures.method_comparison import NO_STRENGTH, MethodComparison, Strengths
from landscope.reproduction.jobs import Job
from landscope.reproduction.sequential.continual_result import ContinualResult
from landscope.reproduction.sequential.methods import MethodSettings, method_label
from landscope.reproduction.sequential.preparation import PRETRAINING_EPOCHS, prepare_class_tasks, unchanged
from landscope.reproduction.sequential.trainer import train_sequentially
from landscope.reproduction.sequential.tuning import Seeds, TunedStrength

__all__ = ["FIGURE", "SplitDigits"]

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
        ("ewc", 0, None, (1.0, 1e1, 1e2, 1e3, 1e4, 1e5)),
        ("kfac", 0, None, _CURVATURE),
        ("kfac", 0, _RANK, _CURVATURE),
        ("l2", 0, None, (0.1, 0.3, 1.0, 3.0, 10.0)),
        ("joint", 0, None, NO_STRENGTH),
    )
}
_TRAINING = {"epochs": 5, "window_epochs": 5}
_SEEDS = Seeds(reported=5, tuning=2)
_HEADINGS = (
    "method", "mean error (%)", "forgetting (points)", "λ", "numbers / N", "seconds a task", "error of each task (%)",
)  # fmt: skip
_TEXT = (
    "All layers were first trained on all digits; then the weights between the hidden layers learn two digits after "
    "two, each pair until its training error is zero, five epochs at most, and for a window of five epochs more. Every "
    "task leaves a penalty; all penalties are added, or merged: directions to 600, Kronecker products to the nearest "
    "one. Test errors after the last task, all ten answers allowed, mean and standard deviation over {reported} seeds; "
    "strengths of the smallest mean test error, on the same samples, over {tuning} other seeds. Forgetting as in "
    "Chaudhry et al. 2018. Seconds were measured while other work ran on the machine."
)


@dataclasses.dataclass(frozen=True)
class SplitDigits:
    """The figure: one job a seed, with every method from the same pretrained layers.

    Args:
        strengths: Strengths to try, by method.
        seeds: Numbers of seeds.
        pretraining_epochs: Longest training before the tasks.
    """

    strengths: Strengths = dataclasses.field(default_factory=lambda: _STRENGTHS)
    seeds: Seeds = _SEEDS
    pretraining_epochs: int = PRETRAINING_EPOCHS

    key = "split-digits"
    title = "Five tasks in sequence (sec-S8)"

    def jobs(self, plan: Plan) -> list[Job]:
        """One job a seed."""
        return self._comparison(plan).jobs()

    def sections(self, plan: Plan) -> list[Section]:
        """The table."""
        comparison = self._comparison(plan)
        tuner = comparison.tuner
        rows = [_row(row, tuner.best(row), tuner.results(row)) for row in self.strengths]
        text = _TEXT.format(**self.seeds.counts_of(plan))
        return [Section(self.key, self.title, text, _HEADINGS, rows, [], comparison.values())]

    def _comparison(self, plan: Plan) -> MethodComparison:
        prepare = functools.partial(_prepare, self.pretraining_epochs)
        return MethodComparison(plan, self.key, self.seeds, self.strengths, prepare, _TRAINING)


def _prepare(pretraining_epochs: int, settings: Settings) -> Callable[[MethodSettings], ContinualResult]:
    """All methods start from the same layers."""
    prepared = prepare_class_tasks(settings, _GROUPS, "all", pretraining_epochs=pretraining_epochs, **_TRAINING)

    def learn(method: MethodSettings) -> ContinualResult:
        with unchanged(prepared.model):
            return train_sequentially(prepared.model, prepared.tasks, method, prepared.training)

    return learn


def _row(row: MethodSettings, strength: TunedStrength, results: Sequence[ContinualResult]) -> list[str]:
    modes, merged = f", {row.n_modes} modes a task" if row.n_modes else "", ", merged" if row.rank else ""
    last = [statistics.fmean(column) for column in zip(*(result.error[-1].tolist() for result in results), strict=True)]
    return [
        f"{method_label(row.method)}{modes}{merged}",
        mean_with_spread([100 * result.average_error for result in results]),
        mean_with_spread([100 * result.forgetting for result in results]),
        str(strength),
        f"{statistics.median(result.stored_over_weights for result in results):.0f}",
        f"{statistics.median(result.seconds_per_task for result in results):.1f}",
        ", ".join(f"{100 * error:.1f}" for error in last),
    ]


FIGURE = SplitDigits()
