"""The stage of the controls: other directions, other trajectories, other samplings, equilibrium; from a saved run."""

from __future__ import annotations

import dataclasses
import functools
from typing import get_args

import torch
from torch import Tensor

from landscope._names import Sampling
from landscope.claims.controls import control_measurements
from landscope.directions.directions import Directions
from landscope.directions.gradient_noise_eigenvectors import gradient_noise_eigenvectors
from landscope.directions.hessian_eigenvectors import hessian_eigenvectors
from landscope.directions.random_directions import random_directions
from landscope.landscape import flatness
from landscope.landscape.flatness import Flatness
from landscope.landscape.profile import LossProfiles, loss_profiles
from landscope.law.exponents import Exponents, fit_exponents, measure_exponents
from landscope.law.sensitivity import Sensitivity, measure_sensitivity
from landscope.law.window_growth import Growth, measure_growth
from landscope.noise.gradient import gradient_noise
from landscope.noise.mode_statistics import mode_statistics
from landscope.noise.stationarity import LyapunovResidual, YaidaRelation, lyapunov_residual, yaida_relation
from landscope.protocols import ProgressCallback
from landscope.recorder import TrajectoryRecorder
from landscope.reproduction.experiment.problem import Problem
from landscope.reproduction.experiment.train import windows
from landscope.reproduction.experiment.training import train
from landscope.risk.empirical import EmpiricalRisk
from landscope.study.analyse import risk_at_window_end, write_claims
from landscope.study.cache import Done, part
from landscope.study.checkpoint import load_model
from landscope.study.folder import RunFolder
from landscope.surrogates.langevin import langevin
from landscope.surrogates.trajectories import SURROGATES, surrogate
from landscope.threads import one_thread
from landscope.training_history import TrainingHistory
from landscope.trajectory import Trajectory, open_trajectory

__all__ = ["ROWS", "measure_controls"]

ROWS = {
    "hessian": "Hessian eigenvectors, window",
    "hessian-next": "Hessian eigenvectors, next window",
    "gradient-noise": "gradient-noise eigenvectors, window",
    "random": "random directions, window",
    "sign-flipped": "surrogate: sign-flipped epochs",
    "random-walk": "surrogate: isotropic random walk",
    "random-walk-with-drift": "surrogate: isotropic random walk with the drift",
    "ornstein-uhlenbeck": "surrogate: fitted Ornstein-Uhlenbeck",
    "langevin": "equilibrium: isotropic Langevin, Hessian eigenvectors",
    **{f"sampling-{name}": f"continued, {name}, same modes" for name in get_args(Sampling)},
}
"""Rows of the table of exponents that this stage adds, by the name of their artefact."""

_BASES = ("hessian", "gradient-noise", "random")
_BURN_IN = 0.2
_NEAR = 0.02
"""Second differences are taken over this share of the flatness: about as far as the equilibrium control walks."""
_BALANCED_MODES = 30
_YAIDA_POINTS = 100
_RELAXATIONS = 50
"""How many independent values, T eta lambda/2, the equilibrium control must have in a direction for it to count."""
_LANGEVIN_EXCESS = 5e-4
"""Thermal energy of the equilibrium control over L0: k T/2 summed over the directions it moves in."""


def measure_controls(run: RunFolder, problem: Problem, progress: ProgressCallback) -> None:
    """Every row of the table of controls, part by part, the sensitivities, and the claims they decide."""
    work = _Work(run, problem)
    for key in _BASES:
        work.basis_flatness(key)
    for number, key in enumerate(ROWS):
        work.row(key)
        progress(number + 1, len(ROWS) + 2)
    sensitivity = work.sensitivity
    progress(len(ROWS) + 1, len(ROWS) + 2)
    rows = {key: work.row(key) for key in ROWS}
    yaida, lyapunov = run.load("controls-yaida", YaidaRelation), run.load("controls-lyapunov", LyapunovResidual)
    plain = run.settings.is_plain_sgd
    measured = control_measurements(
        rows, work.growth, sensitivity, yaida, lyapunov, curvature=work.near_curvature(), plain=plain
    )
    write_claims(run, "controls", measured)
    progress(len(ROWS) + 2, len(ROWS) + 2)
    bases = [f"{kind}-{key}" for key in _BASES for kind in ("basis", "flatness")]
    rows_kept = [f"exponents-{key}" for key in ROWS]
    run.save("controls", Done(parts=(*rows_kept, *bases, *run.names("controls-"), "growth", "sensitivity")))


class _Work:
    """The parts of the stage; each is made when first asked for and kept."""

    def __init__(self, run: RunFolder, problem: Problem) -> None:
        self.run, self.problem, self.settings = run, problem, run.settings
        self.history = run.load("training", TrainingHistory)
        self.window, self.next_window = windows(run, self.history)
        self.modes = run.load("modes", Directions)
        widths = run.load("flatness", Flatness)
        self.last = min(self.settings.fit_modes[1], len(widths.width))
        self.widths = _first(widths, self.last)

    @functools.cached_property
    def risk(self) -> EmpiricalRisk:
        """The risk at w0."""
        return risk_at_window_end(self.run, self.problem)[0]

    @property
    def fit_modes(self) -> tuple[int, int]:
        """Range of the law for principal modes: the first one drifts."""
        return self.settings.fit_modes[0], self.last

    def row(self, key: str) -> Exponents:
        """One row of the table."""
        if key == "sampling-with-replacement" and not self.run.has("controls-lyapunov"):
            self.run.save(f"exponents-{key}", self._row(key))  # the tests of stationarity come with it
        return part(self.run, f"exponents-{key}", Exponents, lambda: self._row(key))

    def _row(self, key: str) -> Exponents:
        if key.startswith("sampling-"):
            return self._continued(key.removeprefix("sampling-"))
        if key in SURROGATES:
            return self._surrogate(key)
        if key == "langevin":
            return self._langevin()
        basis = self.basis(key.removesuffix("-next"))
        window = self.next_window if key.endswith("-next") else self.window
        return self._along(ROWS[key], basis, self.basis_flatness(key.removesuffix("-next")), window)

    @property
    def n_basis(self) -> int:
        """Directions of each basis; that of the gradient noise has fewer where there are fewer minibatches."""
        return min(self.settings.basis_modes, self.window.dim - 1)

    def basis(self, key: str) -> Directions:
        """Hessian, gradient-noise or random directions at w0."""

        def make() -> Directions:
            if key == "hessian":
                with one_thread():
                    return hessian_eigenvectors(self.risk, self.risk.w0, self.n_basis, seed=self.settings.seed)
            if key == "gradient-noise":
                ensemble = self.risk.minibatches(self.settings.batch_size, seed=self.settings.seed)
                n_modes = min(self.n_basis, self.problem.order.batches_per_epoch - 1)
                return gradient_noise_eigenvectors(ensemble, self.risk.w0, n_modes)
            return random_directions(self.window.dim, self.n_basis, seed=self.settings.seed)

        return part(self.run, f"basis-{key}", Directions, make)

    def basis_flatness(self, key: str) -> Flatness:
        """Flatness along a basis."""
        basis = self.basis(key)
        return part(
            self.run, f"flatness-{key}", Flatness,
            lambda: flatness(
                self.risk, self.risk.w0, basis.directions.to(self.risk.w0), rtol=self.settings.rtol
            ),
        )  # fmt: skip

    def near_curvature(self) -> Tensor:
        """Curvature along the Hessian eigenvectors by second differences.

        The kinks of ReLUs count in it, as they do for a walk; automatic differentiation sees none.
        """
        widths = self.basis_flatness("hessian")
        step = _NEAR * torch.nan_to_num(widths.width, nan=1.0)
        near = part(
            self.run, "controls-near", LossProfiles,
            lambda: loss_profiles(
                self.risk, self.risk.w0, self.basis("hessian").directions.to(self.risk.w0),
                step[:, None] * torch.tensor([-1.0, 0.0, 1.0], dtype=torch.float64),
            ),
        )  # fmt: skip
        left, middle, right = near.loss.T
        return (left + right - 2 * middle) / step.square()

    def _along(self, name: str, basis: Directions, widths: Flatness, trajectory: Trajectory) -> Exponents:
        """Exponents along a basis that is not chosen by variance: all its directions count."""
        motion = mode_statistics(basis, trajectory)
        return fit_exponents(name, motion, widths, (1, len(widths.width)), spectrum_ranks=self.settings.spectrum_ranks)

    def _surrogate(self, key: str) -> Exponents:
        made = surrogate(
            key, self.window, self.modes, seed=self.settings.seed, steps_per_epoch=self.history.steps_per_epoch
        )
        return measure_exponents(
            ROWS[key], self.risk, self.risk.w0, made, fit_modes=self.fit_modes,
            spectrum_ranks=self.settings.spectrum_ranks, rtol=self.settings.rtol,
        )  # fmt: skip

    def _langevin(self) -> Exponents:
        """Isotropic noise within the convex part of the Hessian basis; only directions that equilibrated count."""
        basis, widths = self.basis("hessian"), self.basis_flatness("hessian")
        convex = basis.values > 0
        if not bool(convex.any()):  # nothing holds the walk: no direction counts
            nowhere = dataclasses.replace(widths, bracketed=torch.zeros_like(widths.bracketed))
            return self._along(ROWS["langevin"], basis, nowhere, self.window)
        directions = basis.directions[convex]
        temperature, step = 2 * _LANGEVIN_EXCESS * widths.loss0 / len(directions), 1 / float(basis.values[0])
        with one_thread():
            walk = langevin(
                self.risk, self.risk.w0, temperature=temperature, step=step, n_steps=self.settings.langevin_steps,
                seed=self.settings.seed, within=directions,
            )  # fmt: skip
        walk = walk.window(int(_BURN_IN * self.settings.langevin_steps))
        # By what is known beforehand: choosing by the measured memory would choose small variances.
        settled = step * basis.values * len(walk) / 2 >= _RELAXATIONS
        settled_widths = dataclasses.replace(widths, bracketed=widths.bracketed & settled)
        return self._along(ROWS["langevin"], basis, settled_widths, walk)

    def _continued(self, sampling: str) -> Exponents:
        """Train on from w0 for a window with another order of the minibatches, and measure along the same modes."""
        model = self.problem.network()
        load_model(self.run.file("w0"), model)
        optimizer, every = self.problem.optimizer(model), self.settings.record_every
        order = dataclasses.replace(self.problem.order, sampling=sampling, seed=self.settings.seed + 1)
        with one_thread(), TrajectoryRecorder(model, optimizer, self.problem.selection, every=every) as recorder:
            for epoch in train(model, self.problem.criterion, self.problem.train_data, optimizer, order):
                if epoch.number == self.history.window_epochs:
                    break
        continued = recorder.trajectory()
        if sampling == "with-replacement":
            self._test_stationarity(continued)
        motion = mode_statistics(self.modes, continued)
        return fit_exponents(
            ROWS[f"sampling-{sampling}"],
            motion,
            self.widths,
            self.fit_modes,
            spectrum_ranks=self.settings.spectrum_ranks,
        )

    def _test_stationarity(self, continued: Trajectory) -> None:
        """Two relations that need independent minibatches, on the run continued with them."""
        rate = self.settings.learning_rate
        law, few = self.modes.part(slice(self.last)), self.modes.part(slice(1, 1 + _BALANCED_MODES))
        ensemble = self.risk.minibatches(self.settings.batch_size, seed=self.settings.seed)
        covariance = gradient_noise(ensemble, self.risk.w0, few.directions.to(self.risk.w0)).covariance
        with one_thread():  # gradients of a small network
            points = min(_YAIDA_POINTS, len(continued) - 1)
            yaida = yaida_relation(continued, self.risk, law, learning_rate=rate, n_points=points)
            lyapunov = lyapunov_residual(
                continued, self.risk.hessian_vector_product, few, covariance, learning_rate=rate
            )
        self.run.save("controls-yaida", yaida)
        self.run.save("controls-lyapunov", lyapunov)

    @functools.cached_property
    def growth(self) -> Growth:
        """Variance against the length of the window, along directions not chosen by it."""
        everything = open_trajectory(self.run.path / "trajectory")
        return part(
            self.run, "growth", Growth,
            lambda: measure_growth(
                everything, self.basis("hessian"), self.basis_flatness("hessian"), self.history.steps_per_epoch
            ),
        )  # fmt: skip

    @functools.cached_property
    def sensitivity(self) -> Sensitivity:
        """The in-sample exponents under other choices."""

        def make() -> Sensitivity:
            other = flatness(
                self.risk, self.risk.w0, self.modes.directions[: self.last].to(self.risk.w0), ratio=2.0,
                rtol=self.settings.rtol,
            )  # fmt: skip
            everything = open_trajectory(self.run.path / "trajectory")
            return measure_sensitivity(
                self.risk, self.risk.w0, self.window, everything, self.modes, self.widths, other,
                self.run.load("exponents-next-window", Exponents),
                [self.run.load(f"exponents-shuffled-{n}", Exponents) for n in range(self.settings.n_nulls)],
                fit_modes=self.fit_modes, steps_per_epoch=self.history.steps_per_epoch, rtol=self.settings.rtol,
            )  # fmt: skip

        return part(self.run, "sensitivity", Sensitivity, make)


def _first(widths: Flatness, count: int) -> Flatness:
    """The flatness of the first directions."""
    return dataclasses.replace(widths, **{name: getattr(widths, name)[:count] for name in Flatness.dims})
