"""The edge of stability of a residual network with batch normalisation and of a small text transformer."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import plotly.graph_objects as go
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from landscope.claims.edge import CLAIMS as OF_ONE_RUN
from landscope.claims.edge import edge_measurements
from landscope.claims.statements import judged
from landscope.claims.verdict import Claim, Judgement, Measurement
from landscope.directions.hessian_eigenvectors import hessian_eigenvectors
from landscope.directions.principal import principal_modes
from landscope.landscape.sharpness import batch_sharpness
from landscope.law.intervals import mean_with_interval
from landscope.noise.edge_of_stability import EdgeOfStability, edge_of_stability, largest_curvature
from landscope.noise.sharpness_over_training import SharpnessOverTraining
from landscope.parameters import ParameterSpace
from landscope.plots.edge import oscillation_by_direction
from landscope.plots.over_training import sharpness_over_training
from landscope.progress import Reporter
from landscope.reproduction.experiment.datasets.texts import byte_sequences, python_texts
from landscope.reproduction.experiment.experiment import Experiment
from landscope.reproduction.experiment.networks import gpt2, residual_network
from landscope.reproduction.experiment.training import train
from landscope.reproduction.figures.figure import Plan, Plot, Section, table
from landscope.reproduction.jobs import Job
from landscope.reproduction.mean_note import mean_note
from landscope.reproduction.sequential.kept_results import make_missing
from landscope.results import Result, stamp
from landscope.risk.empirical import EmpiricalRisk
from landscope.risk.training_minibatches import TrainingMinibatches
from landscope.sampling import MinibatchOrder
from landscope.trajectory import Trajectory

__all__ = ["CLAIMS", "EdgeOverTraining", "edge_judgements", "jobs", "key", "sections", "title"]

Data = tuple[Tensor, Tensor]
_AnyResult = TypeVar("_AnyResult", bound=Result)
_OVER_TRAINING, _AT_END = "edge-over-training", "edge-at-end"
_LENGTH = 33
"""Bytes of a piece of text; the last is what the transformer learns to give."""
_EIGENVECTORS, _MODES = 10, 50


@dataclasses.dataclass(frozen=True)
class _Case:
    """A network and how it is trained: plain SGD at a constant learning rate.

    Args:
        key: Short name.
        name: Name for the reader.
        learning_rate: alpha.
        batch_size: B.
        samples: Number of training samples, the same in every run.
        measured: Number of them that the curvatures are measured on, the first ones.
        steps: Optimisation steps; curvatures are measured at these and at half, a quarter and so on.
        window: Last steps, of which the weights are recorded.
    """

    key: str
    name: str
    learning_rate: float
    batch_size: int = 50
    samples: int = 2000
    measured: int = 500
    steps: int = 4000
    window: int = 1000

    def quick(self) -> _Case:
        """A small one."""
        return dataclasses.replace(self, samples=300, measured=100, steps=160, window=60)

    @property
    def measured_at(self) -> list[int]:
        """Steps at which the curvatures are measured."""
        return sorted({self.steps >> octave for octave in range(6) if self.steps >> octave >= 10})


_CASES = (
    _Case("resnet", "residual network with batch normalisation, CIFAR-10", 0.1),
    _Case("transformer", "transformer, text", 0.3),
)
CLAIMS: tuple[Claim, ...] = tuple(
    dataclasses.replace(claim, key=f"{claim.key}_{case.key}", statement=f"{case.name}: {claim.statement}")
    for case in _CASES
    for claim in OF_ONE_RUN
)
_TEXT = (
    "Plain SGD at a constant learning rate: a small residual network on {resnet.samples} images (alpha = "
    "{resnet.learning_rate:g}; CIFAR-10, the digits in a quick run), and a GPT-2 of two blocks that learns the next "
    "byte of {transformer.samples} pieces of English text (alpha = {transformer.learning_rate:g}); B = "
    "{resnet.batch_size}, {resnet.steps} steps. Curvatures over all weights, on the first {resnet.measured} samples. "
    "Batch normalisation takes the statistics of each minibatch, as in training; beside it, batch sharpness with the "
    "running statistics kept. Oscillation: share of the variance above a frequency of 1/4 in the last "
    "{resnet.window} steps, mean over the first ten Hessian eigenvectors, and the same of stationary SGD in a bowl of "
    "that curvature. Mean over seeds with Student's 95 % interval."
)


key = "edge"
title = "Edge of stability: a residual network and a transformer"


def jobs(plan: Plan) -> list[Job]:
    """One job a network and seed."""
    return [Job(_name(case, seed), _run, (plan, case, seed)) for case in _cases(plan) for seed in range(plan.seeds)]


def sections(plan: Plan) -> list[Section]:
    """Curvatures against the step size over the training of both networks, and the claims at its end."""
    cases = _cases(plan)
    runs = {case: _loaded(plan, case, _OVER_TRAINING, EdgeOverTraining) for case in cases}
    ends = {case: _loaded(plan, case, _AT_END, EdgeOfStability) for case in cases}
    rows = [_Row(case, number, runs[case], ends[case]) for case in cases for number in range(len(case.measured_at))]
    judgements = [judgement for case in cases for judgement in edge_judgements(case.key, ends[case])]
    values = {
        _name(case, seed): {
            "share": end.share.tolist(), "predicted_share": end.predicted_share.tolist(), "pull": end.pull.tolist(),
            **{name: tensor.tolist() for name, tensor in run.tensors().items()},
        }
        for case in cases
        for seed, (run, end) in enumerate(zip(runs[case], ends[case], strict=True))
    }  # fmt: skip
    plots = [plot for case in cases for plot in _plots(case, runs[case][0], ends[case][0])]
    text = _TEXT.format(**{case.key: case for case in cases})
    return [Section(key, title, text, *table(_COLUMNS, rows), judgements, values, plots)]


def _cases(plan: Plan) -> list[_Case]:
    return [case.quick() for case in _CASES] if plan.quick else list(_CASES)


def _name(case: _Case, seed: int) -> str:
    return f"edge-{case.key}-seed{seed}"


def _loaded(plan: Plan, case: _Case, name: str, kind: type[_AnyResult]) -> list[_AnyResult]:
    return [plan.load(_name(case, seed), name, kind) for seed in range(plan.seeds)]


def _run(reporter: Reporter, plan: Plan, case: _Case, seed: int) -> None:
    """Train once, and keep both results; a job that was killed trains again."""
    make_missing(
        plan.run_path(_name(case, seed)), plan.settings_with(seed=seed), {_OVER_TRAINING: 0, _AT_END: 1},
        functools.partial(_prepare, plan, case, seed), reporter, dataclasses.asdict(case),
    )  # fmt: skip


def _prepare(plan: Plan, case: _Case, seed: int) -> Callable[[int], Result]:
    model, data = _model_and_data(plan, case, seed)
    both = _measured(model, data, case, seed)
    return lambda number: both[number]


def _model_and_data(plan: Plan, case: _Case, seed: int) -> tuple[nn.Module, Data]:
    if case.key == "transformer":
        rows, _ = byte_sequences(python_texts()["english"], _LENGTH)
        chosen = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))[: case.samples]]
        return gpt2(256, _LENGTH - 1, 256, seed=seed), (chosen[:, :-1], chosen[:, -1])
    images = "digits" if plan.quick else "cifar10"
    settings = plan.settings_with(data=images, network="residual", train_samples=case.samples, seed=seed)
    experiment = Experiment(settings)
    inputs, labels = experiment.train_data
    colours, height, width = inputs.shape[1:]
    return residual_network((colours, height, width), experiment.data.n_classes, seed=seed), (inputs, labels)


def _measured(model: nn.Module, data: Data, case: _Case, seed: int) -> tuple[EdgeOverTraining, EdgeOfStability]:
    """Train, measure the curvatures on the way, and the oscillation of the last steps at the end."""
    measured = data[0][: case.measured], data[1][: case.measured]
    space, optimizer = ParameterSpace.of(model), torch.optim.SGD(model.parameters(), lr=case.learning_rate)
    points, rows, step = [], [], itertools.count(1)

    def after_step(*_: object) -> None:
        now = next(step)
        if now > case.steps - case.window:
            rows.append(space.flatten(model))
        if now in case.measured_at:
            points.append([now, *_curvatures(model, measured, case, seed)])

    handle = optimizer.register_step_post_hook(after_step)
    order = MinibatchOrder(len(data[1]), case.batch_size, seed=seed)
    for epoch in train(model, F.cross_entropy, data, optimizer, order):
        if epoch.step >= case.steps:
            break
    handle.remove()
    columns = torch.tensor(points, dtype=torch.float64).T
    over = EdgeOverTraining(
        steps=columns[0].long(), loss=columns[1], sharpness=columns[2], batch_sharpness=columns[3],
        batch_error=columns[4], kept_sharpness=columns[5], bound=2 / case.learning_rate,
        provenance=stamp(**dataclasses.asdict(case), seed=seed),
    )  # fmt: skip
    return over, _at_end(model, rows[: case.window], measured, case, seed)


def _curvatures(model: nn.Module, data: Data, case: _Case, seed: int) -> list[float]:
    """Loss, lambda_1, batch sharpness with its error, and batch sharpness with kept statistics."""
    ensemble = TrainingMinibatches(model, F.cross_entropy, data, case.batch_size, seed=seed)
    rough = batch_sharpness(ensemble, ensemble.w0)
    with torch.no_grad():
        loss = float(ensemble(ensemble.w0))
    of_kept = rough.value
    if ensemble.has_batch_norm:
        kept = EmpiricalRisk(model, F.cross_entropy, data)
        of_kept = batch_sharpness(kept.minibatches(case.batch_size, seed=seed), kept.w0).value
    return [loss, largest_curvature(ensemble, ensemble.w0, seed=seed), rough.value, rough.standard_error, of_kept]


def _at_end(model: nn.Module, rows: Sequence[Tensor], data: Data, case: _Case, seed: int) -> EdgeOfStability:
    """At the last row of the window, which a training in whole epochs may have left by a part of an epoch."""
    ParameterSpace.of(model).assign(model, rows[-1])
    ensemble = TrainingMinibatches(model, F.cross_entropy, data, case.batch_size, seed=seed)
    window = Trajectory.of(torch.stack(list(rows)))
    return edge_of_stability(
        ensemble, ensemble, ensemble.w0, window,
        hessian_eigenvectors(ensemble, ensemble.w0, _EIGENVECTORS, rtol=1e-2, seed=seed),
        principal_modes(window, min(_MODES, len(window) - 1)), learning_rate=case.learning_rate, seed=seed,
    )  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class EdgeOverTraining(
    Result,
    kind="edge_over_training",
    dims=dict.fromkeys(("steps", "loss", "sharpness", "batch_sharpness", "batch_error", "kept_sharpness"), ("point",)),
):
    """Curvatures of a training at some of its steps.

    Args:
        steps: Optimisation steps.
        loss: Mean loss, with the statistics of each minibatch.
        sharpness: Largest eigenvalue of its Hessian over all weights.
        batch_sharpness: Batch sharpness, with the statistics of each minibatch.
        batch_error: Its standard error.
        kept_sharpness: Batch sharpness with the running statistics kept; the same without batch normalisation.
        bound: 2/alpha.
    """

    steps: Int[Tensor, " points"]
    loss: Float[Tensor, " points"]
    sharpness: Float[Tensor, " points"]
    batch_sharpness: Float[Tensor, " points"]
    batch_error: Float[Tensor, " points"]
    kept_sharpness: Float[Tensor, " points"]
    bound: float


def edge_judgements(case: str, ends: Sequence[EdgeOfStability]) -> list[Judgement]:
    """Judge the claims of one network over its seeds.

    Args:
        case: Key of the network.
        ends: The measurement at the end of each training.
    """
    by_seed = [edge_measurements(end) for end in ends]
    pooled = {
        f"{name}_{case}": Measurement.over_seeds(
            [found[name].value for found in by_seed], note=mean_note([found[name].note for found in by_seed])
        )
        for name in by_seed[0]
    }
    return judged(pooled, CLAIMS)


@dataclasses.dataclass(frozen=True)
class _Row:
    """One step of the training of one network, over its seeds."""

    case: _Case
    number: int
    runs: Sequence[EdgeOverTraining]
    ends: Sequence[EdgeOfStability]

    def of(self, name: str) -> list[float]:
        """A quantity of every seed."""
        return [float(getattr(run, name)[self.number]) for run in self.runs]

    def over_bound(self, name: str) -> str:
        """A curvature over 2/alpha."""
        found = [value / run.bound for value, run in zip(self.of(name), self.runs, strict=True)]
        return mean_with_interval(found, ".2f")

    def at_end(self, name: str) -> str:
        """A share of oscillation, in the last row of each network."""
        if self.number < len(self.runs[0].steps) - 1:
            return ""
        return mean_with_interval([float(getattr(end, name).nanmean()) for end in self.ends], ".3f")


_COLUMNS: Mapping[str, Callable[[_Row], str]] = {
    "network": lambda row: row.case.name,
    "step": lambda row: f"{int(row.runs[0].steps[row.number])}",
    "loss": lambda row: f"{statistics.fmean(row.of('loss')):.2g}",
    "αλ₁/2": lambda row: row.over_bound("sharpness"),
    "α batch sharpness/2": lambda row: row.over_bound("batch_sharpness"),
    "the same, kept statistics": lambda row: row.over_bound("kept_sharpness"),
    "oscillation": lambda row: row.at_end("share"),
    "in a bowl": lambda row: row.at_end("predicted_share"),
}


def _plots(case: _Case, run: EdgeOverTraining, end: EdgeOfStability) -> list[Plot]:
    def curvatures() -> go.Figure:
        bound = torch.full_like(run.sharpness, run.bound)
        return sharpness_over_training(
            SharpnessOverTraining(
                steps=run.steps.double(), sharpness=run.sharpness, batch_sharpness=run.batch_sharpness,
                batch_sharpness_error=run.batch_error, bound=bound, noise_bound=bound,
            )
        )  # fmt: skip

    return [
        Plot("Curvatures.", curvatures, f"{case.name}, seed 0, with the statistics of each minibatch."),
        Plot("Oscillation.", functools.partial(oscillation_by_direction, end), f"{case.name}, seed 0, last steps."),
    ]
