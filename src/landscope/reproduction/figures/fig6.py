"""Fig. 6 and Fig. S17: how many directions are sharp, and how many are searched, against the width of the network."""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence

from landscope.claims.statements import judged
from landscope.progress import Reporter
from landscope.reproduction.experiment.problem import Problem
from landscope.reproduction.experiment.run import ExperimentRun
from landscope.reproduction.figures.fig6_claims import EffectiveDimension, dimension_measurements, measure_dimensions
from landscope.reproduction.figures.recipe import Plan, Section, mean_with_interval
from landscope.reproduction.jobs import Job
from landscope.training_history import TrainingHistory

__all__ = ["Widths"]

_WIDTHS = {400: 2, 200: 3, 100: 10, 80: 10, 60: 10, 50: 10, 40: 10, 30: 10, 20: 10}
"""Width of the two hidden layers -> seeds; the largest first, as they take longest."""
_QUICK_WIDTHS = {40: 2, 30: 2, 20: 2}
_ROWS_AN_EPOCH = 300
"""About: at width 400 a window of ten epochs is 2 GB then, 8 GB with a row a step."""
_HEADINGS = (
    "width", "N", "seeds", "‖w‖", "D_s", "D_s/N", "D_l 99 %", "D_l 99.9 %", "99 % without mode 1",
    "the same, null",
    "test error",
)  # fmt: skip
_TEXT = (
    "Perceptrons with two hidden layers of one width, and equal initial norms at each. D_s counts principal modes "
    "whose flatness lies below half the norm of the weights between the hidden layers, in rank order, 64 at a time "
    "until none of them does; D_l counts the modes that hold 99 % or 99.9 % of the variance of the window. Null: the "
    "window's own steps in random order. Mean over seeds with Student's 95 % interval. As D_s compares the flatness "
    "with a norm, it stays the same when a layer is multiplied and the next one divided by one factor, which changes "
    "every width F; it does change where each hidden unit gets a factor of its own. At least: all directions were "
    "sharp that a window of about 1,000 rows has."
)


class Widths:
    """Networks of several widths."""

    key = "fig6"
    title = "Effective dimensions against width (Figs. 6, S17)"

    def jobs(self, plan: Plan) -> list[Job]:
        """One job a width and seed."""
        return [
            Job(_name(width, seed), _measure, (plan, width, seed))
            for width, seeds in _widths(plan).items()
            for seed in range(seeds)
        ]

    def sections(self, plan: Plan) -> list[Section]:
        """Dimensions of each width, and the claims on how they grow."""
        found = {
            width: [_load(plan, width, seed) for seed in range(seeds)] for width, seeds in sorted(_widths(plan).items())
        }
        rows = [_row(width, group) for width, group in found.items()]
        values = {f"width {width}": [one.numbers() for one in group] for width, group in found.items()}
        judgements = judged(dimension_measurements(found))
        return [Section(self.key, self.title, _TEXT, _HEADINGS, rows, judgements, values, found)]


def _widths(plan: Plan) -> dict[int, int]:
    return _QUICK_WIDTHS if plan.quick else _WIDTHS


def _name(width: int, seed: int) -> str:
    return f"width{width}-seed{seed}"


def _load(plan: Plan, width: int, seed: int) -> EffectiveDimension:
    return ExperimentRun.open(plan.run_path(_name(width, seed))).load("effective-dimension", EffectiveDimension)


def _measure(reporter: Reporter, plan: Plan, width: int, seed: int) -> None:
    steps = Problem(plan.settings).order.batches_per_epoch
    divisors = [every for every in range(1, steps + 1) if steps % every == 0]
    every = min(divisors, key=lambda every: abs(steps / every - _ROWS_AN_EPOCH))
    settings = plan.settings_with(hidden=(width, width), equal_norm=True, seed=seed, record_every=every)
    run = ExperimentRun.create(plan.run_path(_name(width, seed)), settings)
    if run.has("effective-dimension"):
        _forget_rows(run)
        return
    run.analyse(reporter, until="train")
    with run.locked(), reporter.stage(f"Sharp directions of {_name(width, seed)}") as progress:
        study, history = run.study, run.load("training", TrainingHistory)
        end, start = history.at(int(study.window.steps[-1])), int(study.window.steps[0]) // steps
        found = measure_dimensions(
            study.risk(), study.window, test_error=float(history.test_error[end]), start_epoch=start, seed=seed,
            rtol=settings.rtol, progress=progress,
        )  # fmt: skip
        run.save("effective-dimension", found)
    _forget_rows(run)


def _forget_rows(run: ExperimentRun) -> None:
    """Gigabytes that nothing asks for any more; without them a run can only be trained anew."""
    shutil.rmtree(run.path / "trajectory", ignore_errors=True)


def _row(width: int, group: Sequence[EffectiveDimension]) -> list[str]:
    size = group[0].n_weights
    return [
        f"{width}",
        f"{size:,}",
        f"{len(group)}",
        mean_with_interval([one.norm for one in group], ".2f"),
        ("at least " if any(one.is_bound for one in group) else "")
        + mean_with_interval([one.n_sharp for one in group], ".1f"),
        f"{sum(one.n_sharp for one in group) / len(group) / size:.2g}",
        *(mean_with_interval([one.n_learning[place] for one in group], ".1f") for place in (0, 1, 2)),
        mean_with_interval([one.n_null[1] for one in group], ".1f"),
        f"{100 * math.fsum(one.test_error for one in group) / len(group):.2f} %",
    ]
