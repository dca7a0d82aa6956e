"""Section S9: which noise, added to gradient descent, reaches flat minima and a low test error?"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import plotly.graph_objects as go
import torch
from jaxtyping import Float
from torch import Tensor, nn

from landscope.claims.statements import judged
from landscope.claims.verdict import Claim, Control, Measurement, joined
from landscope.law.intervals import mean_with_interval, seed_interval
from landscope.plots.style import FIT, NULL, PALETTE, add_line, new_figure, numbers
from landscope.progress import Reporter
from landscope.reproduction.experiment.experiment import Experiment
from landscope.reproduction.experiment.folder import ExperimentFolder
from landscope.reproduction.experiment.made_under import check_same_numbers
from landscope.reproduction.experiment.training import evaluate, train
from landscope.reproduction.figures.figure import Plan, Section, plots_of, table
from landscope.reproduction.figures.valley import loss_alone, measure_valley
from landscope.reproduction.jobs import Job
from landscope.results import Result, stamp
from landscope.surrogates.noisy_descent import NOISES, NoisyGradientDescent, gradient_noise_like
from landscope.threads import one_thread

__all__ = ["CLAIMS", "NoisyRun", "jobs", "key", "noise_measurements", "sections", "title"]

_SIZE, _QUICK_SIZE = (1000, 10_000), (400, 1000)
"""Training samples and steps of each descent."""
_SHAPES = ("none", *NOISES, "sgd")
_ROWS = 40
_RESULT = "noisy-run"
_BATCH_SIZE = 10
"""Batch size of SGD and of the noise: small, as weak noise shows no difference."""
_COLUMNS: Mapping[str, Callable[[Sequence[NoisyRun]], str]] = {
    "noise": lambda runs: runs[0].noise,
    "seeds": lambda runs: f"{len(runs)}",
    "first step without training error": lambda runs: _first_step(runs),
    "training loss": lambda runs: mean_with_interval([float(run.train_loss[-1]) for run in runs], ".2g"),
    "test error (%)": lambda runs: mean_with_interval([100 * float(run.test_error[-1]) for run in runs]),
    "F/‖w‖": lambda runs: mean_with_interval([run.flatness for run in runs], ".3g"),
    "λ₁‖w‖²/L": lambda runs: mean_with_interval([run.sharpness for run in runs], ".3g"),
}
_TEXT = (
    "Gradient descent on a fixed subset of the training data, all of it at every step, with noise added that has the "
    "trace of the gradient noise of minibatches of 10 at the weights of the moment, and different shapes; beside it "
    "descent without noise, and SGD on the same subset, with replacement. F/‖w‖: median over the 20 leading "
    "eigenvectors of the Hessian of the weights between the hidden layers. The paper does not print its formula; here "
    "noise by flatness has a variance ~ F^-2 along 20 eigenvectors of the gradient noise. Mean over seeds with "
    "Student's 95 % interval."
)


CLAIMS = (
    Claim(
        "flatness_noise_error",
        "sec-S9",
        "Only noise that depends on the flatness leads gradient descent to low test error (difference from isotropic"
        " noise of the same trace, in points of a per cent).",
        "lower",
        (-100.0, 0.0),
        "the sign",
        "noise of equal trace in several shapes, from the same initial weights, seed by seed",
    ),
    Claim(
        "flatness_noise_width",
        "sec-S9",
        "Only noise that depends on the flatness leads gradient descent to flat minima (difference of ln F/|w| from"
        " isotropic noise of the same trace).",
        "flatter",
        (0.0, math.inf),
        "the sign",
        "noise of equal trace in several shapes, from the same initial weights, seed by seed; half the difference of"
        " ln L, which alone makes F larger",
    ),
)


key = "sec-S9"
title = "Gradient descent with noise of equal trace (sec-S9)"


def jobs(plan: Plan) -> list[Job]:
    """One job for each shape and seed."""
    size = _QUICK_SIZE if plan.quick else _SIZE
    return [Job(_name(shape, seed), _run, (plan, size, shape, seed)) for shape in _SHAPES for seed in range(plan.seeds)]


def sections(plan: Plan) -> list[Section]:
    """The table, and the claims on noise that depends on the flatness."""
    found = {
        shape: [plan.load(_name(shape, seed), _RESULT, NoisyRun) for seed in range(plan.seeds)] for shape in _SHAPES
    }
    values = {shape: [_numbers(run) for run in runs] for shape, runs in found.items()}
    judgements = judged(noise_measurements(found), CLAIMS)
    plots = plots_of([("Test error.", _error_over_steps, "Mean over seeds, by the shape of the noise.")], found)
    return [Section(key, title, _TEXT, *table(_COLUMNS, found.values()), judgements, values, plots)]


def _name(shape: str, seed: int) -> str:
    return f"noise-{shape}-seed{seed}"


def _run(reporter: Reporter, plan: Plan, size: tuple[int, int], shape: str, seed: int) -> None:
    samples, steps = size
    settings = plan.settings_with(
        train_samples=samples, batch_size=_BATCH_SIZE, seed=seed, equal_norm=True, sampling="with-replacement"
    )
    run = ExperimentFolder.create(plan.run_path(_name(shape, seed)), settings)
    check_same_numbers(run, _RESULT, {"steps": steps})
    if not run.to_make(_RESULT, reporter):
        return
    experiment = Experiment(settings)
    model = experiment.network()
    with run.locked(), one_thread(), reporter.stage(_name(shape, seed)) as progress:
        rows: list[list[float]] = []

        def after(step: int) -> None:
            if step % max(1, steps // _ROWS) == 0:
                train_row = evaluate(model, experiment.train_data, experiment.criterion)
                rows.append([step, *train_row, evaluate(model, experiment.test_data, experiment.criterion)[1]])
                progress(step, steps)

        _descend(experiment, model, shape, steps, after)
        run.save(_RESULT, _measured(shape, experiment, model, rows))


def _descend(experiment: Experiment, model: nn.Module, shape: str, steps: int, after: Callable[[int], None]) -> None:
    """Take all steps: with one kind of noise, none, or SGD's own."""
    settings, data, taken = experiment.settings, experiment.train_data, itertools.count(1)
    if shape == "sgd":
        own = experiment.optimizer(model)
        own.register_step_post_hook(lambda *_: after(next(taken)))
        for epoch in train(model, experiment.criterion, data, own, experiment.order):
            if epoch.step >= steps:
                return
    noise: Callable[[Tensor], Tensor] = torch.zeros_like
    if shape != "none":
        risk = experiment.whole_risk(model)  # the noise acts on all weights
        noise = gradient_noise_like(
            shape, risk, settings.batch_size, ratio=settings.ratio, seed=settings.seed,  # ty: ignore[invalid-argument-type]
        )  # fmt: skip
    optimizer = NoisyGradientDescent(model.parameters(), lr=settings.learning_rate, noise=noise)
    for step in range(1, steps + 1):
        optimizer.zero_grad()
        experiment.criterion(model(data[0]), data[1]).mean().backward()
        optimizer.step()
        after(step)


def _measured(shape: str, experiment: Experiment, model: nn.Module, rows: Sequence[Sequence[float]]) -> NoisyRun:
    risk = experiment.risk(model)  # of one layer: over several, F/|w| depends on how the scale is shared out
    valley = measure_valley(risk, ratio=experiment.settings.ratio, seed=experiment.settings.seed)
    step, loss, error, test_error = torch.tensor(rows, dtype=torch.float64).T
    settled = (error == 0).nonzero()
    return NoisyRun(
        noise=shape,
        step=step,
        train_loss=loss,
        train_error=error,
        test_error=test_error,
        flatness=valley.relative_flatness,
        sharpness=valley.relative_sharpness,
        exploration_step=float(step[settled[0, 0]]) if len(settled) else math.nan,
        provenance=stamp(**experiment.settings.model_dump(mode="json")),
    )


def _numbers(run: NoisyRun) -> dict[str, float]:
    last = {name: float(getattr(run, name)[-1]) for name in ("train_loss", "train_error", "test_error")}
    return last | {name: getattr(run, name) for name in ("flatness", "sharpness", "exploration_step")}


def _first_step(runs: Sequence[NoisyRun]) -> str:
    reached = [run.exploration_step for run in runs if not math.isnan(run.exploration_step)]
    steps = f"{sum(reached) / len(reached):.0f}" if reached else "never"
    return steps if len(reached) in (0, len(runs)) else f"{steps} ({len(reached)} of {len(runs)})"


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class NoisyRun(
    Result, kind="noisy_run", dims=dict.fromkeys(("step", "train_loss", "train_error", "test_error"), ("row",))
):
    """One run of gradient descent with some noise.

    Args:
        noise: Shape of the noise.
        step: Steps with a measurement.
        train_loss: Loss on the training subset.
        train_error: Share of wrong answers on the training subset.
        test_error: Share of wrong answers on the test set.
        flatness: Median F of the sharpest directions over the norm of the weights, at the end.
        sharpness: Largest eigenvalue of the Hessian over the loss, times the squared norm of the weights, at the end.
        exploration_step: First of these steps with training error 0; NaN if there is none.
    """

    noise: str
    step: Float[Tensor, " rows"]
    train_loss: Float[Tensor, " rows"]
    train_error: Float[Tensor, " rows"]
    test_error: Float[Tensor, " rows"]
    flatness: float
    sharpness: float
    exploration_step: float


def noise_measurements(found: Mapping[str, Sequence[NoisyRun]]) -> dict[str, Measurement]:
    """Compare noise that depends on the flatness with isotropic noise and with no noise.

    Args:
        found: Shape of the noise -> the runs of its seeds, in one order.
    """
    error = {name: [float(run.test_error[-1]) for run in runs] for name, runs in found.items()}
    width = {name: [math.log(run.flatness) for run in runs] for name, runs in found.items()}
    ends = [
        (float(own.train_loss[-1]), float(other.train_loss[-1]))
        for own, other in zip(found["flatness"], found["isotropic"], strict=True)
    ]
    reached = {name: sum(not math.isnan(run.exploration_step) for run in runs) for name, runs in found.items()}
    note = "without training error in the end: " + ", ".join(
        f"{name} {count} of {len(found[name])}" for name, count in reached.items()
    )
    return {
        "flatness_noise_error": _against_isotropic(error, 100.0, note),
        "flatness_noise_width": _against_isotropic(width, 1.0, "", loss_alone(ends)),
    }


def _against_isotropic(
    values: Mapping[str, Sequence[float]], unit: float, note: str, *controls: Control
) -> Measurement:
    """The difference from isotropic noise, seed by seed.

    Descent without noise must not do as well. Noise with the covariance of the noise of SGD, with its diagonal, or
    with the shape of the Hessian, and SGD itself, depend on the landscape too: the note gives their differences, which
    decide nothing.
    """
    differences = {
        name: [unit * (a - b) for a, b in zip(runs, values["isotropic"], strict=True)] for name, runs in values.items()
    }
    others = [
        f"{name} {sum(difference) / len(difference):.2g}"
        for name, difference in differences.items()
        if name not in ("flatness", "isotropic", "none")
    ]
    none = Control("descent without noise", seed_interval(differences["none"]), "differ")
    beside = f"beside it: {', '.join(others)}"
    return Measurement.over_seeds(differences["flatness"], none, *controls, note=joined(beside, note))


def _error_over_steps(found: Mapping[str, Sequence[NoisyRun]]) -> go.Figure:
    """Test error over steps under each noise; mean over seeds."""
    figure = new_figure("step", "test error (%)")
    for (shape, runs), color in zip(found.items(), (*PALETTE, NULL, FIT, "#000"), strict=False):
        mean = np.mean([100 * numbers(run.test_error) for run in runs], axis=0)
        add_line(figure, numbers(runs[0].step), mean, shape, color, width=1.5)
    figure.update_yaxes(type="log", dtick="D2")
    return figure
