"""Branches: a run restarted from its checkpoints with another batch size or learning rate."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import nn

from landscope.claims.statements import judged
from landscope.landscape.barrier import log_barrier
from landscope.parameters import ParameterSpace
from landscope.progress import Reporter
from landscope.protocols import ProgressCallback
from landscope.reproduction.experiment.folder import ExperimentFolder
from landscope.reproduction.experiment.problem import Problem
from landscope.reproduction.experiment.run import ExperimentRun
from landscope.reproduction.experiment.settings import Settings
from landscope.reproduction.experiment.train import is_log_spaced
from landscope.reproduction.experiment.training import evaluate, train
from landscope.reproduction.figures.branches_claims import Branch, branch_measurements
from landscope.reproduction.figures.cases import CELLS, settings_of
from landscope.reproduction.figures.recipe import Plan, Section
from landscope.reproduction.figures.valleys import measure_valley
from landscope.reproduction.jobs import Job
from landscope.results import stamp
from landscope.risk.empirical import EmpiricalRisk
from landscope.study.checkpoints import Checkpoints
from landscope.threads import one_thread

__all__ = ["Branching"]

_EPOCHS = (0.1, 1.0, 10.0)
"""Where branches part, in epochs of the parent; the nearest checkpoint is taken."""
_TIME = 40.0
"""Epochs of the parent that a branch lasts, in learning rate times steps."""
_STRENGTHS = ((1, 1.0), (1, 2.0), (10, 1.0))
"""Factors of the parent's batch size and learning rate: its own noise first, then stronger, then weaker."""
_PARENTS = 4
"""Fewer leave intervals that decide nothing."""
_FIRST, _TWIN = 1000, 2000
"""Where the seeds of the branches' minibatches begin."""
_HEADINGS = (
    "parent", "from step", "B", "α", "training loss", "test error (%)", "F/‖w‖", "distance/‖w‖", "barrier of ln L",
)  # fmt: skip
_TEXT = (
    "Runs restarted from checkpoints of the standard run with other minibatches, batch size and learning rate, for the "
    "same learning rate times steps. Distance and barrier are from the end of the branch with the parent's own B and "
    "α: the rise of ln L on the straight way between the two, above the higher end; near 0 where both lie in one "
    "valley. That branch itself is compared with another one that differs in the order of the minibatches only. F/‖w‖ "
    "is of the weights between the hidden layers."
)


class Branching:
    """Branches of the standard runs."""

    key = "branches"
    title = "Branches from checkpoints (sec-S1; arXiv 2601.10962)"

    def jobs(self, plan: Plan) -> list[Job]:
        """One job a parent: its branches start from one run."""
        return [Job(f"branches-seed{parent}", _run, (plan, parent)) for parent in _parents(plan)]

    def sections(self, plan: Plan) -> list[Section]:
        """The table, and what branches say on freezing."""
        found = [branch for parent in _parents(plan) for epochs in _EPOCHS for branch in _load(plan, parent, epochs)]
        rows, judgements = [_row(branch) for branch in found], judged(branch_measurements(found))
        values = {f"{number}": branch.attributes() for number, branch in enumerate(found)}
        return [Section(self.key, self.title, _TEXT, _HEADINGS, rows, judgements, values, found)]


def _parents(plan: Plan) -> range:
    return range(plan.seeds if plan.quick else max(_PARENTS, plan.seeds))


def _path(plan: Plan, parent: int, epochs: float) -> Path:
    return plan.run_path(f"branches-seed{parent}-{epochs:g}")


def _load(plan: Plan, parent: int, epochs: float) -> list[Branch]:
    run = ExperimentFolder.open(_path(plan, parent, epochs))
    return [run.load(f"branch-{number}", Branch) for number in range(len(_STRENGTHS))]


def _run(reporter: Reporter, plan: Plan, parent: int) -> None:
    """Train the branches from each checkpoint of a parent, and compare their ends."""
    (cell,) = (cell for cell in CELLS if cell.key == "sgd")
    run = ExperimentRun.create(plan.run_path(cell.run_name(parent)), settings_of(cell, plan, parent))
    run.analyse(reporter, until="train")
    for epochs in _EPOCHS:
        branches = ExperimentFolder.create(_path(plan, parent, epochs), run.settings)
        if not all(branches.has(f"branch-{number}") for number in range(len(_STRENGTHS))):
            with branches.locked(), one_thread(), reporter.stage(branches.path.name) as progress:
                _measure(branches, run, parent, epochs, progress)


def _measure(
    branches: ExperimentFolder, run: ExperimentRun, parent: int, epochs: float, progress: ProgressCallback
) -> None:
    step, start = _checkpoint(run, epochs)
    strengths = [*_STRENGTHS, _STRENGTHS[0]]
    ends: list[tuple[Problem, nn.Module]] = []
    for number, strength in enumerate(strengths):
        order = _TWIN if number == len(_STRENGTHS) else _FIRST
        ends.append(_trained(run.settings, start, strength, seed=order + parent))
        progress(number + 1, len(strengths) + 1)
    for number in range(len(_STRENGTHS)):
        problem, model = ends[number]
        _, other = ends[-1] if number == 0 else ends[0]
        branches.save(f"branch-{number}", _compared(problem, model, other, parent, step))


def _checkpoint(run: ExperimentRun, epochs: float) -> tuple[int, Path]:
    """The checkpoint nearest to a number of epochs, on a logarithmic scale, with its step."""
    wanted = math.log(epochs * run.problem.order.batches_per_epoch)
    checkpoints = Checkpoints(run.path / "checkpoints")
    # Models at the ends of windows lie between: only the log-spaced ones are asked for here.
    steps = [step for step in checkpoints.steps() if is_log_spaced(step)]
    step = min(steps, key=lambda step: abs(math.log(step) - wanted))
    return step, checkpoints.file(step)


def _trained(parent: Settings, start: Path, strength: tuple[int, float], seed: int) -> tuple[Problem, nn.Module]:
    """Train from a checkpoint with the noise of another batch size or learning rate."""
    batch_factor, rate_factor = strength
    changes = {
        "batch_size": parent.batch_size * batch_factor, "learning_rate": parent.learning_rate * rate_factor,
        "seed": seed, "initial": str(start),
    }  # fmt: skip
    problem = Problem(Settings.of({**parent.model_dump(), **changes}))
    model = problem.network()
    epochs = max(1, round(_TIME * batch_factor / rate_factor))
    for epoch in train(model, problem.criterion, problem.train_data, problem.optimizer(model), problem.order):
        if epoch.number == epochs:
            break
    return problem, model


def _compared(problem: Problem, model: nn.Module, other: nn.Module, parent: int, step: int) -> Branch:
    """Where a branch ended, and how that lies to the end of another."""
    whole = EmpiricalRisk(model, problem.criterion, problem.train_data, space=ParameterSpace.of(model))
    there = whole.space.flatten(other)
    train_loss, train_error = evaluate(model, problem.train_data, problem.criterion)
    part = problem.risk(model)
    return Branch(
        parent=parent,
        step=step,
        batch_size=problem.settings.batch_size,
        learning_rate=problem.settings.learning_rate,
        loss=train_loss,
        train_error=train_error,
        test_error=evaluate(model, problem.test_data, problem.criterion)[1],
        flatness=measure_valley(part, part.w0).relative_flatness,
        distance=float(torch.linalg.vector_norm(whole.w0 - there) / torch.linalg.vector_norm(there)),
        barrier=log_barrier(whole, whole.w0, there),
        provenance=stamp(**problem.settings.model_dump(mode="json")),
    )


def _row(branch: Branch) -> list[str]:
    return [
        f"seed {branch.parent}",
        f"{branch.step}",
        f"{branch.batch_size}",
        f"{branch.learning_rate:g}",
        f"{branch.loss:.2g}",
        f"{100 * branch.test_error:.2f}",
        f"{branch.flatness:.3g}",
        f"{branch.distance:.2f}",
        f"{branch.barrier:.2f}",
    ]
