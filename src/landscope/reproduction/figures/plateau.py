"""Beyond the paper: what the exponent tends to where the loss rests and every direction has relaxed."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import get_args

import plotly.graph_objects as go
import torch
from jaxtyping import Float
from torch import Tensor

from landscope._names import Sampling
from landscope.claims.statements import judged
from landscope.claims.verdict import Claim, Control, Measurement, joined
from landscope.directions.directions import Directions
from landscope.directions.hessian_eigenvectors import leading_eigenvectors
from landscope.directions.moving import moving
from landscope.landscape import flatness
from landscope.law.intervals import with_interval
from landscope.law.run_limit import RunLimit, run_limit
from landscope.noise.effective_curvature import effective_curvature_at
from landscope.parameters import ParameterSpace
from landscope.plots.run_limit import psi_against_window, variance_and_relaxation
from landscope.power_law import fit_power_laws_resampled
from landscope.progress import Reporter
from landscope.protocols import ProgressCallback
from landscope.reproduction.experiment.experiment import Experiment
from landscope.reproduction.experiment.folder import ExperimentFolder, check_same_numbers
from landscope.reproduction.experiment.training import train
from landscope.reproduction.figures.figure import Plan, Section, plots_of, table
from landscope.reproduction.jobs import Job
from landscope.results import Result, stamp
from landscope.risk.empirical import EmpiricalRisk
from landscope.threads import one_thread
from landscope.trajectory import Trajectory

__all__ = ["CLAIMS", "Plateau", "jobs", "key", "plateau_measurements", "sections", "title"]

_DECAY = 0.01
"""Weight decay: every direction is pulled back in 1/(alpha 0.01) steps at most, and the loss comes to rest."""
_BURN_IN = 10
"""Relaxation times of the slowest direction before the window."""
_RELAXATIONS, _QUICK_RELAXATIONS = 100, 40
"""Length of the window in relaxation times of the slowest direction."""
_DIRECTIONS, _QUICK_DIRECTIONS = 150, 60
_POINTS = 500
_SAMPLINGS: tuple[Sampling, ...] = ("with-replacement", "reshuffled")
_FEWEST = 3
_PAPER = (3.4, 4.6)
_LIMIT, _LOSSES = "plateau-limit", "plateau"
_TEXT = (
    "Perceptrons trained with a weight decay of 0.01, which brings the loss to rest and pulls back every direction "
    "within 1/(0.01 alpha) steps. After ten of these times the eigenvectors of the curvature are taken, and the "
    "weights along them recorded for up to a hundred more. psi(T) is the exponent of variance against flatness (of "
    "loss and decay together) in windows of T steps, over all directions; beside it stands the exponent of relaxation "
    "with the curvature and decay at that point; psi_infinity is from the force of all "
    "weights. With replacement its limit without end is that of noise over curvature, 0 where noise goes with "
    "curvature; reshuffled, flat directions end on the plateau of the order of the minibatches (Kühn & Rosenow)."
)
_Runs = Mapping[tuple[str, int], tuple["Plateau", RunLimit]]

CLAIMS = (
    Claim(
        "psi_plateau",
        "Fig. 2D, Eq. 8",
        "The variance falls with flatness where every direction has relaxed and the loss rests (psi in the longest"
        " window, with replacement).",
        "about 4",
        _PAPER,
        "as for psi",
        "weight decay, windows of up to 100 relaxation times of the slowest direction",
    ),
    Claim(
        "plateau_by_order",
        "Kühn & Rosenow, arXiv 2306.05300",
        "Reshuffled, the exponent ends where the order of the minibatches puts it (psi in the longest window minus that"
        " of relaxation with reshuffled epochs).",
        "a plateau of the correlation time",
        (-0.3, 0.3),
        "a sixth of the plateau's 2",
        "weight decay, windows of up to 100 relaxation times of the slowest direction",
        paper="Kühn & Rosenow, arXiv 2306.05300",
    ),
)

key = "plateau"
title = "The exponent in windows without end (arXiv 2306.05300)"


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Plateau(Result, kind="plateau", dims={"loss": ("point",), "psi": ("length",), "psi_relaxation": ("length",)}):
    """Facts of a training at rest.

    Args:
        sampling: Order of the minibatches.
        seed: Seed of the training.
        relaxations: Length of the window in relaxation times of a direction that only weight decay pulls back.
        loss: Training loss at points spread evenly over the window.
        psi: Exponent of the variance in windows of each length, over all directions that move.
        psi_relaxation: The exponent that H_ii with decay gives, in the same order of the minibatches.
    """

    sampling: str
    seed: int
    relaxations: float
    loss: Float[Tensor, " n"]
    psi: Float[Tensor, " lengths"]
    psi_relaxation: Float[Tensor, " lengths"]

    @property
    def loss_change(self) -> float:
        """Mean loss of the second half of the window over that of the first, minus 1."""
        first, second = self.loss.tensor_split(2)
        return float(second.mean() / first.mean()) - 1


def jobs(plan: Plan) -> list[Job]:
    """One job for each order of the minibatches and seed."""
    return [
        Job(_name(sampling, seed), _measure, (plan, sampling, seed))
        for seed in range(plan.seeds)
        for sampling in _SAMPLINGS
    ]


def sections(plan: Plan) -> list[Section]:
    """The exponent at the end of the longest window beside relaxation, and its limit."""
    found: dict[tuple[str, int], _Run] = {
        (sampling, seed): (
            plan.load(_name(sampling, seed), _LOSSES, Plateau), plan.load(_name(sampling, seed), _LIMIT, RunLimit)
        )
        for sampling in _SAMPLINGS
        for seed in range(plan.seeds)
    }  # fmt: skip
    judgements = judged(plateau_measurements(found), CLAIMS)
    values = {_name(*which): _numbers(limit) for which, (_, limit) in found.items()}
    plots = plots_of(
        [
            ("psi(T).", _exponents, "Seed 0; bars: 95 % intervals, dotted: relaxation with the effective curvature."),
            ("Variances.", _variances, "Seed 0, with replacement, in the whole window."),
        ],
        found,
    )  # fmt: skip
    return [Section(key, title, _TEXT, *table(_COLUMNS, found.values()), judgements, values, plots)]


_Run = tuple[Plateau, RunLimit]
_COLUMNS: Mapping[str, Callable[[_Run], str]] = {
    "minibatches": lambda run: run[0].sampling,
    "seed": lambda run: f"{run[0].seed}",
    "steps": lambda run: f"{run[1].length[-1]:,.0f}",
    "relaxations": lambda run: f"{run[0].relaxations:.0f}",
    "change of the loss (%)": lambda run: f"{100 * run[0].loss_change:+.1f}",
    "ψ, shortest window": lambda run: f"{run[0].psi[0]:.2f}",
    "ψ, longest window": lambda run: f"{run[0].psi[-1]:.2f}",
    "from H_ii": lambda run: f"{run[0].psi_relaxation[-1]:.2f}",
    "ψ∞": lambda run: (
        with_interval(run[1].psi_infinity, run[1].psi_infinity_interval)
        if run[1].is_identified
        else f"not identified: {run[1].reason}"
    ),
    "σ² over H_ii's": lambda run: f"{run[1].amplitude_local:.2f}",
    "σ² over λ_eff's": lambda run: f"{run[1].amplitude:.2f}",
}


def plateau_measurements(found: _Runs) -> dict[str, Measurement]:
    """Measure where the exponent ends, beside relaxation as the null.

    Args:
        found: Facts and limit of each training, by order of the minibatches and seed.
    """
    runs = {
        sampling: [run for (order, _), run in sorted(found.items()) if order == sampling] for sampling in _SAMPLINGS
    }
    psi, relaxed = _ends(runs["with-replacement"])
    shuffled, of_order = _ends(runs["reshuffled"])
    known = [limit.psi_infinity for _, limit in runs["with-replacement"] if limit.is_identified]
    limits = f"psi_infinity {', '.join(f'{value:.2f}' for value in known)}" if known else "psi_infinity not identified"
    change = max(abs(facts.loss_change) for facts, _ in found.values())
    null = Control("relaxation with noise and curvature of the run", (min(relaxed), max(relaxed)), "differ")
    note = joined(limits, f"the loss changed by {100 * change:.1f} % at most between the halves of a window")
    return {
        "psi_plateau": Measurement.over_seeds(psi, null, note=note),
        "plateau_by_order": Measurement.over_seeds(
            shuffled, minus=of_order, note=f"psi is {', '.join(f'{value:.2f}' for value in shuffled)}"
        ),
    }  # fmt: skip


def _ends(runs: Sequence[_Run]) -> tuple[list[float], list[float]]:
    """Psi in the longest window, measured and of relaxation."""
    return [float(facts.psi[-1]) for facts, _ in runs], [float(facts.psi_relaxation[-1]) for facts, _ in runs]


def _numbers(limit: RunLimit) -> dict[str, object]:
    return {
        "length": limit.length.tolist(), "psi": limit.psi.tolist(), "psi_predicted": limit.psi_predicted.tolist(),
        "psi_infinity": limit.psi_infinity, "amplitude": limit.amplitude, "amplitude_local": limit.amplitude_local,
    }  # fmt: skip


def _name(sampling: str, seed: int) -> str:
    return f"plateau-{sampling}-seed{seed}"


def _exponents(found: _Runs) -> go.Figure:
    return psi_against_window({sampling: found[sampling, 0][1] for sampling in _SAMPLINGS})


def _variances(found: _Runs) -> go.Figure:
    return variance_and_relaxation(found[_SAMPLINGS[0], 0][1])


def _measure(reporter: Reporter, plan: Plan, sampling: Sampling, seed: int) -> None:
    """Train to rest, take the directions, and record the weights along them."""
    assert sampling in get_args(Sampling)  # noqa: S101 - of the list above
    settings = plan.settings_with(sampling=sampling, seed=seed)
    relaxations, count = _sizes(plan)
    folder = ExperimentFolder.create(plan.run_path(_name(sampling, seed)), settings)
    numbers = {"decay": _DECAY, "burn_in": _BURN_IN, "relaxations": relaxations, "directions": count}
    check_same_numbers(folder, "", numbers)
    if folder.has(_LIMIT):
        return
    with folder.locked(), one_thread(), reporter.stage(_name(sampling, seed)) as progress:
        rest = _Rest(Experiment(settings), relaxations, count, progress)
        facts, limit = rest.measure()
        folder.save(_LOSSES, facts)
        folder.save(_LIMIT, limit)


def _sizes(plan: Plan) -> tuple[int, int]:
    return (_QUICK_RELAXATIONS, _QUICK_DIRECTIONS) if plan.quick else (_RELAXATIONS, _DIRECTIONS)


class _Rest:
    """A training with weight decay, before and during its window.

    Args:
        experiment: The training.
        relaxations: Length of the window in relaxation times of weight decay.
        count: Directions.
        progress: Told of the steps.
    """

    def __init__(self, experiment: Experiment, relaxations: int, count: int, progress: ProgressCallback) -> None:
        self._experiment, self._count, self._progress = experiment, count, progress
        self._model, rate = experiment.network(), experiment.settings.learning_rate
        self._optimizer = torch.optim.SGD(self._model.parameters(), lr=rate, weight_decay=_DECAY)
        self._rate, self._relaxations = rate, relaxations
        self._space = ParameterSpace.of(self._model, experiment.selection)
        per_epoch, slowest = experiment.order.batches_per_epoch, 1 / (rate * _DECAY)
        self._before, self._during = (max(1, math.ceil(n * slowest / per_epoch)) for n in (_BURN_IN, relaxations))
        self._per_epoch = per_epoch

    def measure(self) -> tuple[Plateau, RunLimit]:
        """Train to the end, and compare the window with relaxation."""
        experiment = self._experiment
        epochs = train(
            self._model, experiment.criterion, experiment.train_data, self._optimizer, experiment.order
        )  # fmt: skip
        for epoch in epochs:
            self._progress(epoch.number, self._before + self._during)
            if epoch.number == self._before:
                break
        risk = EmpiricalRisk(self._model, experiment.criterion, experiment.train_data, space=self._space)
        directions, w0 = self._directions(risk), risk.w0.clone()
        coordinates, forces, losses = self._record(epochs, directions, w0)
        penalised = _Penalised(risk)
        axes = Directions.of(torch.eye(len(directions)), values=directions.values + _DECAY)
        widths = flatness(
            penalised, w0, directions.directions.to(w0), ratio=experiment.settings.ratio, rtol=experiment.settings.rtol
        )
        points = self._points(len(coordinates))
        limit = run_limit(
            axes, Trajectory.of(coordinates), widths,
            effective_curvature_at(
                coordinates[points], forces, local_curvature=axes.values, directions=directions.name
            ),
            learning_rate=self._rate,
            steps_per_epoch=self._per_epoch if experiment.settings.sampling == "reshuffled" else None,
        )  # fmt: skip
        facts = Plateau(
            sampling=experiment.settings.sampling, seed=experiment.settings.seed, relaxations=float(self._relaxations),
            loss=losses, psi=_exponents_of(limit.width, limit.variance),
            psi_relaxation=_exponents_of(limit.width, limit.predicted_local),
            provenance=stamp(**experiment.settings.model_dump(mode="json"), decay=_DECAY),
        )  # fmt: skip
        return facts, limit

    def _directions(self, risk: EmpiricalRisk) -> Directions:
        fisher, count = risk.fisher_information(), min(self._count, risk.w0.numel() - 1)
        return leading_eigenvectors(
            lambda vector: fisher.product(risk.w0, vector), risk.w0, count, name="Gauss-Newton eigenvectors", seed=0
        )

    def _points(self, rows: int) -> Tensor:
        return torch.linspace(0, rows - 1, min(_POINTS, rows)).round().long()

    def _record(self, epochs: object, directions: Directions, w0: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Coordinates after each step; forces with decay and losses at some of them."""
        rows, basis = self._during * self._per_epoch, directions.directions.to(w0)
        coordinates = torch.empty(rows, len(directions), dtype=torch.float64)
        wanted, forces, losses = set(self._points(rows).tolist()), [], []
        step = 0

        def after_step(*_: object) -> None:
            nonlocal step
            w = self._space.flatten(self._model)
            coordinates[step] = (basis @ (w - w0)).double()
            if step in wanted:
                loss, slope = self._gradient()
                losses.append(loss)
                forces.append((basis @ (slope + _DECAY * w)).double())
            step += 1

        handle = self._optimizer.register_step_post_hook(after_step)
        try:
            for epoch in epochs:  # ty: ignore[not-iterable]
                self._progress(epoch.number, self._before + self._during)
                if step == rows:
                    break
        finally:
            handle.remove()
        return coordinates, torch.stack(forces), torch.tensor(losses, dtype=torch.float64)

    def _gradient(self) -> tuple[float, Tensor]:
        """Loss on all training data, and its gradient in the selected weights with all weights where they are."""
        inputs, labels = self._experiment.train_data
        tensors = self._space.tensors(self._model)
        with torch.enable_grad():
            loss = self._experiment.criterion(self._model(inputs), labels).mean()
            slopes = torch.autograd.grad(loss, tensors)
        return float(loss.detach()), torch.cat([slope.flatten() for slope in slopes])


def _exponents_of(width: Tensor, variances: Tensor) -> Tensor:
    """Psi of each row of variances, over the directions that move and have a flatness within reach."""
    used = torch.isfinite(width) & torch.isfinite(variances).all(dim=0) & moving(variances[-1].nan_to_num())
    if int(used.sum()) < _FEWEST:
        return torch.full((len(variances),), math.nan, dtype=torch.float64)
    return -fit_power_laws_resampled(width[used], variances[:, used])


class _Penalised:
    """The loss with the penalty of weight decay: what the training descends.

    Args:
        risk: The loss.
    """

    def __init__(self, risk: EmpiricalRisk) -> None:
        self._risk = risk

    def __call__(self, w: Tensor) -> Tensor:
        """The loss of w plus half the decay times its square."""
        return self._risk(w) + _DECAY / 2 * w.double().square().sum(dim=-1).to(w)
