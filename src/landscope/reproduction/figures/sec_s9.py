"""sec-S9: which noise, added to gradient descent, reaches flat minima and low test error?"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from landscope.claims.statements import judged
from landscope.parameters import ParameterSpace
from landscope.progress import Reporter
from landscope.reproduction.experiment.folder import ExperimentFolder
from landscope.reproduction.experiment.problem import Problem
from landscope.reproduction.experiment.training import evaluate, train
from landscope.reproduction.figures.recipe import Plan, Section, mean_with_interval
from landscope.reproduction.figures.sec_s9_claims import NoisyRun, annealing_measurements
from landscope.reproduction.figures.valleys import measure_valley
from landscope.reproduction.jobs import Job
from landscope.results import stamp
from landscope.risk.empirical import EmpiricalRisk
from landscope.surrogates.noisy_descent import NOISES, NoisyGradientDescent, gradient_noise_like
from landscope.threads import one_thread

__all__ = ["NoisyDescent"]

_SHAPES = ("none", *NOISES, "sgd")
_SAMPLES, _STEPS, _ROWS = 1000, 10_000, 40
_QUICK_SAMPLES, _QUICK_STEPS = 400, 1000
_BATCH_SIZE = 10
"""Of SGD and of the noise: small, as noise that does nothing shows no difference."""
_HEADINGS = (
    "noise", "seeds", "first step without training error", "training loss", "test error (%)", "F/‖w‖", "λ₁‖w‖²/L",
)  # fmt: skip
_TEXT = (
    "Gradient descent on a fixed subset of the training data, all of it at every step, with noise added that has the "
    "trace of the gradient noise of minibatches of 10 at the weights of the moment, and different shapes; beside it "
    "descent without noise, and SGD on the same subset, with replacement. F/‖w‖: median over the 20 leading "
    "eigenvectors of the Hessian of the weights between the hidden layers. The paper does not print its formula; here "
    "noise by flatness has a variance ~ F^-2 along 20 eigenvectors of the gradient noise. Mean over seeds with "
    "Student's 95 % interval."
)


class NoisyDescent:
    """All shapes of noise over seeds."""

    key = "sec-S9"
    title = "Gradient descent with noise of equal trace (sec-S9)"

    def jobs(self, plan: Plan) -> list[Job]:
        """One job a shape and seed."""
        return [Job(_name(shape, seed), _run, (plan, shape, seed)) for shape in _SHAPES for seed in range(plan.seeds)]

    def sections(self, plan: Plan) -> list[Section]:
        """The table, and the claims on noise by flatness."""
        found = {shape: [_load(plan, shape, seed) for seed in range(plan.seeds)] for shape in _SHAPES}
        rows = [_row(shape, runs) for shape, runs in found.items()]
        values = {shape: [_numbers(run) for run in runs] for shape, runs in found.items()}
        judgements = judged(annealing_measurements(found))
        return [Section(self.key, self.title, _TEXT, _HEADINGS, rows, judgements, values, found)]


def _name(shape: str, seed: int) -> str:
    return f"noise-{shape}-seed{seed}"


def _load(plan: Plan, shape: str, seed: int) -> NoisyRun:
    return ExperimentFolder.open(plan.run_path(_name(shape, seed))).load("noisy-run", NoisyRun)


def _run(reporter: Reporter, plan: Plan, shape: str, seed: int) -> None:
    samples, steps = (_QUICK_SAMPLES, _QUICK_STEPS) if plan.quick else (_SAMPLES, _STEPS)
    settings = plan.settings_with(
        train_samples=samples, batch_size=_BATCH_SIZE, seed=seed, equal_norm=True, sampling="with-replacement"
    )
    run = ExperimentFolder.create(plan.run_path(_name(shape, seed)), settings)
    if run.has("noisy-run"):
        return
    problem = Problem(settings)
    model = problem.network()
    with run.locked(), one_thread(), reporter.stage(_name(shape, seed)) as progress:
        rows: list[list[float]] = []

        def after(step: int) -> None:
            if step % max(1, steps // _ROWS) == 0:
                train_row = evaluate(model, problem.train_data, problem.criterion)
                rows.append([step, *train_row, evaluate(model, problem.test_data, problem.criterion)[1]])
                progress(step, steps)

        _descend(problem, model, shape, steps, seed, after)
        run.save("noisy-run", _measured(shape, problem, model, rows))


def _descend(
    problem: Problem, model: nn.Module, shape: str, steps: int, seed: int, after: Callable[[int], None]
) -> None:
    """Take all steps: with one kind of noise, none, or SGD's own."""
    if shape == "sgd":
        _train_by_minibatches(problem, model, steps, after)
        return
    settings = problem.settings
    noise: Callable[[Tensor], Tensor] = torch.zeros_like
    if shape != "none":
        noise = gradient_noise_like(shape, _whole_risk(problem, model), settings.batch_size, seed=seed)  # ty: ignore[invalid-argument-type]
    optimizer = NoisyGradientDescent(model.parameters(), lr=settings.learning_rate, noise=noise)
    inputs, labels = problem.train_data
    for step in range(1, steps + 1):
        optimizer.zero_grad()
        problem.criterion(model(inputs), labels).mean().backward()
        optimizer.step()
        after(step)


def _train_by_minibatches(problem: Problem, model: nn.Module, steps: int, after: Callable[[int], None]) -> None:
    optimizer, taken = problem.optimizer(model), itertools.count(1)
    optimizer.register_step_post_hook(lambda *_: after(next(taken)))
    for epoch in train(model, problem.criterion, problem.train_data, optimizer, problem.order):
        if epoch.step >= steps:
            return


def _whole_risk(problem: Problem, model: nn.Module) -> EmpiricalRisk:
    """The loss over all weights: what the noise acts on."""
    return EmpiricalRisk(model, problem.criterion, problem.train_data, space=ParameterSpace.of(model))


def _measured(shape: str, problem: Problem, model: nn.Module, rows: Sequence[Sequence[float]]) -> NoisyRun:
    risk = problem.risk(model)  # of one layer: over several, F/|w| depends on how the scale is shared out
    valley = measure_valley(risk, risk.w0, seed=problem.settings.seed)
    step, loss, error, test_error = torch.tensor(rows, dtype=torch.float64).T
    settled = (error == 0).nonzero()
    return NoisyRun(
        noise=shape,
        step=step,
        train_loss=loss,
        train_error=error,
        test_error=test_error,
        flatness=valley.relative_flatness,
        sharpness=float(valley.curvature[0]) / valley.loss * valley.norm**2,
        exploration_step=float(step[settled[0, 0]]) if len(settled) else math.nan,
        provenance=stamp(**problem.settings.model_dump(mode="json")),
    )


def _numbers(run: NoisyRun) -> dict[str, float]:
    return {
        "train_loss": float(run.train_loss[-1]),
        "train_error": float(run.train_error[-1]),
        "test_error": float(run.test_error[-1]),
        "flatness": run.flatness,
        "sharpness": run.sharpness,
        "exploration_step": run.exploration_step,
    }


def _row(shape: str, runs: Sequence[NoisyRun]) -> list[str]:
    reached = [run.exploration_step for run in runs if not math.isnan(run.exploration_step)]
    steps = f"{sum(reached) / len(reached):.0f}" if reached else "never"
    return [
        shape,
        f"{len(runs)}",
        steps if len(reached) in (0, len(runs)) else f"{steps} ({len(reached)} of {len(runs)})",
        mean_with_interval([float(run.train_loss[-1]) for run in runs], ".2g"),
        mean_with_interval([100 * float(run.test_error[-1]) for run in runs]),
        mean_with_interval([run.flatness for run in runs], ".3g"),
        mean_with_interval([run.sharpness for run in runs], ".3g"),
    ]
