"""Section S1 and beyond: a run restarted from its checkpoints with another batch size or learning rate."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import plotly.graph_objects as go
import torch
from scipy import stats
from torch import nn

from landscope.claims.statements import judged
from landscope.claims.verdict import Claim, Control, Measurement, joined
from landscope.landscape.barrier import log_barrier
from landscope.plots.style import PALETTE, add_points, new_figure
from landscope.progress import Reporter
from landscope.reproduction.experiment.experiment import Experiment
from landscope.reproduction.experiment.run import ExperimentRun
from landscope.reproduction.experiment.settings import Settings
from landscope.reproduction.experiment.train import is_log_spaced
from landscope.reproduction.experiment.training import evaluate, train
from landscope.reproduction.figures.figure import Plan, Section, plots_of, table
from landscope.reproduction.figures.single_runs import create_run, standard_pair
from landscope.reproduction.figures.valley import loss_alone, measure_valley
from landscope.reproduction.jobs import Job
from landscope.reproduction.sequential.kept_results import make_missing
from landscope.results import Result, stamp
from landscope.study.checkpoints import Checkpoints

__all__ = ["CLAIMS", "Branch", "branch_measurements", "jobs", "key", "sections", "title"]

_EPOCHS = (0.1, 1.0, 10.0)
"""Epochs of the parent at which branches start; the nearest checkpoint is taken."""
_LENGTH = 40.0
"""Length of a branch in epochs of the parent, at equal learning rate times steps."""
_STRENGTHS = ((1, 1.0), (1, 2.0), (10, 1.0))
"""Factors of the batch size and learning rate of the parent: the same noise, stronger noise, weaker noise."""
_NAMES = [f"branch-{number}" for number in range(len(_STRENGTHS))]
_PARENTS = 4
"""Smallest number of parents: with fewer the intervals decide nothing."""
_FIRST, _TWIN = 1000, 2000
"""First seeds of the minibatches of branches, and of the branches that they are compared with."""
_COLUMNS: Mapping[str, Callable[[Branch], str]] = {
    "parent": lambda branch: f"seed {branch.parent}",
    "from step": lambda branch: f"{branch.step}",
    "B": lambda branch: f"{branch.batch_size}",
    "α": lambda branch: f"{branch.learning_rate:g}",
    "training loss": lambda branch: f"{branch.loss:.2g}",
    "test error (%)": lambda branch: f"{100 * branch.test_error:.2f}",
    "F/‖w‖": lambda branch: f"{branch.flatness:.3g}",
    "distance/‖w‖": lambda branch: f"{branch.distance:.2f}",
    "barrier of ln L": lambda branch: f"{branch.barrier:.2f}",
}
_TEXT = (
    "Runs restarted from checkpoints of the standard run with other minibatches, batch size and learning rate, for the "
    "same learning rate times steps. Distance and barrier are from the end of the branch with the parent's own B and "
    "α: the rise of ln L on the straight line between the two, above the higher end; near 0 if both lie in one "
    "valley. That branch itself is compared with a branch that differs in the order of the minibatches only. F/‖w‖ "
    "is of the weights between the hidden layers."
)


CLAIMS = (
    Claim(
        "freezing",
        "Yang et al., arXiv 2601.10962",
        "The valley is chosen early: the later runs part, the lower the barrier between their ends (rank correlation of"
        " barrier and step).",
        "early escapes, then freezing",
        (-1.0, -0.5),
        "a clear monotone trend",
        "branches from the same checkpoints, the barrier of ln L on the straight line between their ends",
        possible=(-1.0, 1.0),
        paper="Yang et al., arXiv 2601.10962",
    ),
    Claim(
        "noise_chooses_flat",
        "text; Yang et al., arXiv 2601.10962",
        "Stronger noise (smaller B, larger alpha) ends in flatter valleys (difference of ln F/|w| from the weakest,"
        " among the earliest branches).",
        "flatter",
        (0.0, math.inf),
        "the sign",
        "branches from one checkpoint with other B and alpha, trained for the same learning rate times steps; half"
        " the difference of ln L, which alone makes F larger",
    ),
)


key = "branches"
title = "Branches from checkpoints (sec-S1; arXiv 2601.10962)"


def jobs(plan: Plan) -> list[Job]:
    """One job for each parent: all its branches start from one run."""
    return [Job(f"branches-seed{parent}", _run, (plan, parent)) for parent in _parents(plan)]


def sections(plan: Plan) -> list[Section]:
    """The table, and the claims on early choice of the valley."""
    found = [
        plan.load(_name(parent, start), name, Branch)
        for parent in _parents(plan)
        for start in _EPOCHS
        for name in _NAMES
    ]
    judgements = judged(branch_measurements(found), CLAIMS)
    values = {f"{number}": branch.attributes() for number, branch in enumerate(found)}
    plots = plots_of([("Barriers.", _barrier_by_step, "Every branch is a point.")], found)
    return [Section(key, title, _TEXT, *table(_COLUMNS, found), judgements, values, plots)]


def _parents(plan: Plan) -> range:
    return range(plan.seeds if plan.quick else max(_PARENTS, plan.seeds))


def _name(parent: int, start: float) -> str:
    return f"branches-seed{parent}-{start:g}"


def _run(reporter: Reporter, plan: Plan, parent: int) -> None:
    """Train the branches from each checkpoint of a parent, and compare their ends."""
    run = create_run(plan, standard_pair(plan.settings), parent)
    run.analyse(reporter, until="train")
    for start in _EPOCHS:
        make_missing(
            plan.run_path(_name(parent, start)), run.settings, {name: number for number, name in enumerate(_NAMES)},
            functools.partial(_comparison, run, start), reporter, {"epochs": _LENGTH},
        )  # fmt: skip


def _comparison(run: ExperimentRun, start: float) -> Callable[[int], Branch]:
    """Compares each branch from a checkpoint with the first, and the first with its twin."""
    step, checkpoint = _checkpoint(run, start)
    strengths = [*_STRENGTHS, _STRENGTHS[0]]

    @functools.cache
    def end(number: int) -> tuple[Experiment, nn.Module]:
        order = _TWIN if number == len(_STRENGTHS) else _FIRST
        return _trained(run.settings, checkpoint, strengths[number], seed=order + run.settings.seed)

    def compared(number: int) -> Branch:
        _, other = end(0 if number else len(_STRENGTHS))
        return _compared(*end(number), other, run.settings.seed, step)

    return compared


def _checkpoint(run: ExperimentRun, epochs: float) -> tuple[int, Path]:
    """The checkpoint nearest to a number of epochs, on a logarithmic scale, with its step."""
    wanted = math.log(epochs * run.experiment.order.batches_per_epoch)
    checkpoints = Checkpoints(run.path / "checkpoints")
    # There are also models at the ends of windows; here only the log-spaced ones count.
    steps = [step for step in checkpoints.steps() if is_log_spaced(step)]
    step = min(steps, key=lambda step: abs(math.log(step) - wanted))
    return step, checkpoints.file(step)


def _trained(
    parent: Settings, checkpoint: Path, strength: tuple[int, float], seed: int
) -> tuple[Experiment, nn.Module]:
    """Train from a checkpoint with the noise of another batch size or learning rate."""
    batch_factor, rate_factor = strength
    changes = {
        "batch_size": parent.batch_size * batch_factor, "learning_rate": parent.learning_rate * rate_factor,
        "seed": seed, "initial": str(checkpoint),
    }  # fmt: skip
    experiment = Experiment(Settings.of({**parent.model_dump(), **changes}))
    model = experiment.network()
    n_epochs = max(1, round(_LENGTH * batch_factor / rate_factor))
    for epoch in train(
        model, experiment.criterion, experiment.train_data, experiment.optimizer(model), experiment.order
    ):
        if epoch.number == n_epochs:
            break
    return experiment, model


def _compared(experiment: Experiment, model: nn.Module, other: nn.Module, parent: int, step: int) -> Branch:
    """The end of a branch, and its distance and barrier to the end of another branch."""
    whole = experiment.whole_risk(model)
    there = whole.space.flatten(other)
    train_loss, train_error = evaluate(model, experiment.train_data, experiment.criterion)
    part = experiment.risk(model)
    return Branch(
        parent=parent,
        step=step,
        batch_size=experiment.settings.batch_size,
        learning_rate=experiment.settings.learning_rate,
        loss=train_loss,
        train_error=train_error,
        test_error=evaluate(model, experiment.test_data, experiment.criterion)[1],
        flatness=measure_valley(part, ratio=experiment.settings.ratio).relative_flatness,
        distance=float(torch.linalg.vector_norm(whole.w0 - there) / torch.linalg.vector_norm(there)),
        barrier=log_barrier(whole, whole.w0, there),
        provenance=stamp(**experiment.settings.model_dump(mode="json")),
    )


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Branch(Result, kind="branch"):
    """The end of a branch.

    Args:
        parent: Seed of the parent.
        step: Step of the parent at which the branch starts.
        batch_size: B.
        learning_rate: alpha.
        loss: Training loss at the end.
        train_error: Share of wrong answers on the training set.
        test_error: Share of wrong answers on the test set.
        flatness: Median F of the sharpest directions over the norm of the weights.
        distance: Distance from the end of the branch with the B and alpha of the parent (for that branch itself, from
            a branch with other minibatches), over the norm of that end.
        barrier: Rise of ln L on the straight line to that end, above the higher of the two ends.
    """

    parent: int
    step: int
    batch_size: int
    learning_rate: float
    loss: float
    train_error: float
    test_error: float
    flatness: float
    distance: float
    barrier: float


def branch_measurements(branches: Sequence[Branch]) -> dict[str, Measurement]:
    """Measure whether the valley is chosen early, and whether stronger noise chooses a flatter one."""
    parents = sorted({branch.parent for branch in branches})
    of_parent = [[branch for branch in branches if branch.parent == parent] for parent in parents]
    ends = [_strongest_and_weakest(group) for group in of_parent]
    highest = max(branch.barrier for branch in branches)
    barriers = f"the highest barrier is {highest:.2f}" if highest > 0 else "no barrier anywhere: all end in one valley"
    return {
        "freezing": _over_parents([_correlation(group) for group in of_parent], barriers),
        "noise_chooses_flat": _over_parents(
            [math.log(strong.flatness / weak.flatness) for strong, weak in ends],
            controls=(loss_alone([(strong.loss, weak.loss) for strong, weak in ends]),),
        ),
    }


def _over_parents(values: Sequence[float], note: str = "", controls: Sequence[Control] = ()) -> Measurement:
    finite = [value for value in values if not math.isnan(value)]
    silent = len(values) - len(finite)
    say_nothing = f"{silent} of {len(values)} parents do not say" if silent else ""
    return Measurement.over_seeds(finite, *controls, note=joined(note, say_nothing))


def _correlation(group: Sequence[Branch]) -> float:
    apart = [branch for branch in group if branch.distance > 0]
    if len({branch.step for branch in apart}) < 2 or len({branch.barrier for branch in apart}) < 2:
        return math.nan
    return float(stats.spearmanr([b.step for b in apart], [b.barrier for b in apart]).statistic)


def _strongest_and_weakest(group: Sequence[Branch]) -> tuple[Branch, Branch]:
    """The earliest branches of one parent with the strongest and the weakest noise."""
    first = min(branch.step for branch in group)
    early = [branch for branch in group if branch.step == first]
    early.sort(key=lambda branch: branch.learning_rate / branch.batch_size)  # the strength of the noise
    return early[-1], early[0]


def _barrier_by_step(branches: Sequence[Branch]) -> go.Figure:
    """Barrier between branches against the step at which they part."""
    figure = new_figure("step of the checkpoint", "barrier of ln L", log_x=True)
    settings = sorted({(branch.batch_size, branch.learning_rate) for branch in branches})
    for (size, rate), color in zip(settings, PALETTE, strict=False):
        group = [branch for branch in branches if (branch.batch_size, branch.learning_rate) == (size, rate)]
        x, y = np.array([branch.step for branch in group]), np.array([branch.barrier for branch in group])
        add_points(figure, x, y, f"B = {size}, α = {rate:g}", color, 8)
    figure.update_yaxes(rangemode="tozero")
    return figure
