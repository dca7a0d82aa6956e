"""The stage of the minibatch noise: springs, temperatures, drift, curvature; from a saved run, without training."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from landscope.claims.fig3 import spring_measurements
from landscope.claims.fig5 import temperature_measurements
from landscope.claims.sec_s2 import drift_measurements
from landscope.claims.sec_s3 import locality_measurements
from landscope.claims.verdict import Measurement
from landscope.directions.directions import Directions
from landscope.directions.principal import principal_modes
from landscope.errors import InputError
from landscope.landscape.dimension import learning_dimension_over_time
from landscope.landscape.flatness import Flatness
from landscope.landscape.flatness_and_curvature import Locality, measure_locality
from landscope.landscape.profile import loss_profiles
from landscope.noise.drift import DriftLaw, Phases, drift_law, learning_phases
from landscope.noise.drift_path import Activity, AlongDrift
from landscope.noise.gradient import GradientNoise, gradient_noise
from landscope.noise.log_hessian import LogHessian, log_hessian
from landscope.noise.noise_and_curvature import LayerNoise, measure_layer_noise
from landscope.noise.springs import Springs, measure_springs, nearest_ranks, spring_ranks
from landscope.noise.temperature import ActiveTemperature, active_temperature
from landscope.noise.temperature_over_training import Cooling, drawn_ranks, measure_cooling
from landscope.noise.velocity import VelocityStatistics, velocity_statistics
from landscope.protocols import Ensemble, ProgressCallback
from landscope.reproduction.experiment.problem import Problem
from landscope.reproduction.experiment.train import windows
from landscope.reproduction.experiment.training import evaluate
from landscope.risk.empirical import EmpiricalRisk
from landscope.study.analyse import risk_at_window_end, write_claims
from landscope.study.cache import Done, part
from landscope.study.checkpoint import load_model
from landscope.study.folder import RunFolder
from landscope.surrogates.trajectories import shuffled_increments
from landscope.training_history import TrainingHistory
from landscope.trajectory import open_trajectory

__all__ = ["layer_artefacts", "measure_noise"]

_LAYER = "noise-layer-"
_MIN_MODES = 3
_FEW_MODES = 12
_LAYER_MODES = 30
_ALONG_POINTS = 11


def measure_noise(run: RunFolder, problem: Problem, progress: ProgressCallback) -> None:
    """All that Figs. 3 and 5 and sections S1 to S5 need, part by part, and the claims they decide."""
    work = _Work(run, problem)
    names = (
        "velocity", "springs", "gradient", "log_hessian", "temperature", "cooling", "locality", "layers", "along_drift",
        "drift_law", "activity", "null_velocity", "fresh_velocity",
    )  # fmt: skip
    for number, name in enumerate(names):
        getattr(work, name)
        progress(number + 1, len(names))
    write_claims(run, "noise", work.measurements())
    run.save("noise", Done(parts=run.names("noise-")))


def layer_artefacts(run: RunFolder) -> list[str]:
    """Names of the artefacts that hold noise against curvature: layer by layer, Hessian eigenvectors first."""
    names = run.names(_LAYER)
    return sorted(names, key=lambda name: (int(name.removeprefix(_LAYER).split("-")[0]), not name.endswith("hessian")))


def _weight_names(problem: Problem) -> list[str]:
    return [name for name, tensor in problem.network().named_parameters() if tensor.ndim > 1]


class _Work:
    """The parts of the stage; each is made when first asked for and kept."""

    def __init__(self, run: RunFolder, problem: Problem) -> None:
        self.run, self.problem, self.settings = run, problem, run.settings
        self.history = run.load("training", TrainingHistory)
        self.modes = run.load("modes", Directions)
        self.widths = run.load("flatness", Flatness)
        self.window, self.next_window = windows(run, self.history)
        self.rate = self.settings.learning_rate
        self.ranks = spring_ranks(self.widths, self.settings.noise_modes)
        if len(self.ranks) < _MIN_MODES:
            raise InputError(
                expected=f"at least {_MIN_MODES} modes with a flatness within reach, to measure minibatch losses along",
                got=f"{len(self.ranks)}",
                hint="Train longer, or measure the flatness of more modes.",
            )

    @functools.cached_property
    def risk(self) -> EmpiricalRisk:
        """The risk at w0."""
        return risk_at_window_end(self.run, self.problem)[0]

    @functools.cached_property
    def ensemble(self) -> Ensemble:
        """Its minibatch losses, in a random partition."""
        return self.risk.minibatches(self.settings.batch_size, seed=self.settings.seed)

    @functools.cached_property
    def law_directions(self) -> Tensor:
        """The modes that laws are fitted over."""
        return self.modes.directions[: min(self.settings.fit_modes[1], len(self.widths.width))]

    @functools.cached_property
    def velocity(self) -> VelocityStatistics:
        epoch = self.history.steps_per_epoch
        lag = min(epoch, len(self.window) // 4)
        return part(
            self.run, "noise-velocity", VelocityStatistics,
            lambda: velocity_statistics(self.window, self.modes, lag, steps_per_epoch=epoch),
        )  # fmt: skip

    @functools.cached_property
    def null_velocity(self) -> VelocityStatistics:
        """The first mode of shuffled increments: what PCA alone makes look persistent."""

        def make() -> VelocityStatistics:
            null = shuffled_increments(self.window, seed=self.settings.seed)
            first = principal_modes(null, 1)
            return velocity_statistics(null, first, 1, steps_per_epoch=self.history.steps_per_epoch)

        return part(self.run, "noise-null-velocity", VelocityStatistics, make)

    @functools.cached_property
    def fresh_velocity(self) -> VelocityStatistics:
        """The first mode in the next window."""
        first = self.modes.part(slice(1))
        return part(
            self.run, "noise-fresh-velocity", VelocityStatistics,
            lambda: velocity_statistics(self.next_window, first, 1, steps_per_epoch=self.history.steps_per_epoch),
        )  # fmt: skip

    @functools.cached_property
    def springs(self) -> Springs:
        return part(
            self.run, "noise-springs", Springs,
            lambda: measure_springs(
                self.ensemble, self.risk.w0, self.modes.directions, self.widths, self.velocity,
                learning_rate=self.rate, n_modes=self.settings.noise_modes,
            ),
        )  # fmt: skip

    @functools.cached_property
    def gradient(self) -> GradientNoise:
        return part(
            self.run, "noise-gradient", GradientNoise,
            lambda: gradient_noise(self.ensemble, self.risk.w0, self.law_directions.to(self.risk.w0)),
        )  # fmt: skip

    @functools.cached_property
    def log_hessian(self) -> LogHessian:
        """Along mode 1 and a few log-spaced others."""
        few = torch.cat([torch.tensor([1]), self.ranks[:: max(1, len(self.ranks) // _FEW_MODES)][:_FEW_MODES]]).unique()
        directions = self.modes.directions[few - 1]
        return part(
            self.run, "noise-log-hessian", LogHessian,
            lambda: log_hessian(self.ensemble, self.risk.w0, directions.to(self.risk.w0)),
        )  # fmt: skip

    def _basin(self, rank: int, points: int = 21) -> Tensor:
        """Displacements over the basin of a mode."""
        width = self.widths.width[rank - 1]
        reach = width if bool(torch.isfinite(width)) else self.widths.width.nanmedian()
        return float(reach) / 2 * torch.linspace(-1, 1, points, dtype=torch.float64)

    @functools.cached_property
    def temperature(self) -> ActiveTemperature:
        drawn = drawn_ranks(self.ranks)
        steps = torch.stack([self._basin(int(rank)) for rank in drawn])
        return part(
            self.run, "noise-temperature", ActiveTemperature,
            lambda: active_temperature(
                self.ensemble, self.risk.w0, self.modes.directions[drawn - 1].to(self.risk.w0), steps,
                learning_rate=self.rate,
            ),
        )  # fmt: skip

    @functools.cached_property
    def cooling(self) -> Cooling:
        paths = [*sorted((self.run.path / "checkpoints").glob("step-*.zarr.zip")), self.run.file("w0")]
        (drawn,) = nearest_ranks(self.ranks, (10,)).tolist()

        def make() -> Cooling:
            return measure_cooling(
                self._checkpoints(paths), len(paths), self.modes.directions[self.ranks - 1], self.ranks,
                self._basin(int(self.ranks[drawn])), learning_rate=self.rate,
                steps_per_epoch=self.history.steps_per_epoch, drawn=drawn,
            )  # fmt: skip

        return part(self.run, "noise-cooling", Cooling, make)

    def _checkpoints(self, paths: list[Path]) -> Iterator[tuple[int, Ensemble, Tensor]]:
        model = self.problem.network()
        w0_step = self.history.window_step
        steps = {path: int(path.name.removeprefix("step-").split(".")[0]) for path in paths[:-1]} | {paths[-1]: w0_step}
        for path, step in sorted(steps.items(), key=lambda item: item[1]):
            load_model(path, model)
            risk = self.problem.risk(model)
            yield step, risk.minibatches(self.settings.batch_size, seed=self.settings.seed), risk.w0

    @functools.cached_property
    def locality(self) -> Locality:
        return part(
            self.run, "noise-locality", Locality,
            lambda: measure_locality(self.risk, self.risk.w0, self.modes.directions, self.widths, self.ranks),
        )  # fmt: skip

    @functools.cached_property
    def layers(self) -> list[LayerNoise]:
        for number, name in enumerate(_weight_names(self.problem)):
            artefacts = [f"{_LAYER}{number}-{basis}" for basis in ("hessian", "gradient-noise")]
            if not all(self.run.has(artefact) for artefact in artefacts):
                for artefact, found in zip(artefacts, self._layer(name), strict=True):
                    self.run.save(artefact, found)
        return [self.run.load(artefact, LayerNoise) for artefact in layer_artefacts(self.run)]

    def _layer(self, name: str) -> tuple[LayerNoise, LayerNoise]:
        model = self._model()
        risk = self.problem.risk(model, name)
        ensemble = risk.minibatches(self.settings.batch_size, seed=self.settings.seed)
        n_modes = min(_LAYER_MODES, self.problem.order.batches_per_epoch - 1)
        return measure_layer_noise(name, risk, ensemble, risk.w0, n_modes)

    def _model(self) -> torch.nn.Module:
        model = self.problem.network()
        load_model(self.run.file("w0"), model)
        return model

    @functools.cached_property
    def along_drift(self) -> AlongDrift:
        return part(self.run, "noise-along-drift", AlongDrift, self._walk_along_drift)

    @torch.no_grad()
    def _walk_along_drift(self) -> AlongDrift:
        direction, w0 = self.modes.directions[0], self.risk.w0
        way = float(direction @ (self.window.row(-1).double() - self.window.row(0).double()))
        steps = torch.linspace(0, way, _ALONG_POINTS, dtype=torch.float64)
        model, space = self._model(), self.risk.space
        train_data, test_data, rows = self.problem.train_data, self.problem.test_data, []
        for step in steps.tolist():
            w = w0 + step * direction.to(w0)
            for tensor, value in zip(space.tensors(model), space.unflatten(w).values(), strict=True):
                tensor.copy_(value)
            margin = _mean_margin(model, train_data)
            norm = float(torch.linalg.vector_norm(w))
            measured = [evaluate(model, data, self.problem.criterion) for data in (train_data, test_data)]
            rows.append([margin, margin / norm, *measured[0], *measured[1]])
        columns = torch.tensor(rows, dtype=torch.float64).T
        tiny = 1e-2 * abs(way)
        ends = loss_profiles(self.risk, w0, direction[None].to(w0), torch.tensor([-tiny, tiny])).loss[0]
        return AlongDrift(
            displacements=steps,
            margin=columns[0],
            relative_margin=columns[1],
            loss=columns[2],
            train_error=columns[3],
            test_loss=columns[4],
            test_error=columns[5],
            window_way=way,
            beta_slope=float(torch.log(ends[1] / ends[0])) / (2 * tiny),
            beta_ensemble=float(self.log_hessian.slope[0]),
        )

    @functools.cached_property
    def drift_law(self) -> DriftLaw:
        history, first = self.history, self.history.start_epoch
        epochs = torch.arange(first, len(history.train_loss), dtype=torch.float64) + 1

        def make() -> DriftLaw:
            return drift_law(
                epochs * history.steps_per_epoch, history.train_loss[first:],
                beta=self.along_drift.beta_slope, learning_rate=self.rate / (1 - self.settings.momentum),
            )  # fmt: skip

        return part(self.run, "noise-drift-law", DriftLaw, make)

    @functools.cached_property
    def phases(self) -> Phases:
        return part(
            self.run, "noise-phases", Phases,
            lambda: learning_phases(self.history.train_loss, self.history.train_error),
        )  # fmt: skip

    @functools.cached_property
    def activity(self) -> Activity:
        def make() -> Activity:
            everything = open_trajectory(self.run.path / "trajectory")
            rows = max(3, self.history.steps_per_epoch)
            steps, dimension, without = learning_dimension_over_time(everything, rows, 0.99)
            return Activity(steps=steps, dimension=dimension, dimension_without_drift=without, fraction=0.99, rows=rows)

        return part(self.run, "noise-activity", Activity, make)

    def measurements(self) -> dict:
        """What all parts say on the claims."""
        law, plain = self.settings.fit_modes, self.settings.is_plain_sgd
        width = self.widths.width[: len(self.law_directions)]
        return {
            **spring_measurements(
                self.springs,
                self.velocity,
                self.gradient,
                self.log_hessian,
                law,
                learning_rate=self.rate,
                null_persistence=float(self.null_velocity.persistence[0]),
                fresh_persistence=float(self.fresh_velocity.persistence[0]),
            ),
            **({} if plain else {"spring_noise": Measurement(math.nan, note="Eq. 12 is for plain SGD")}),
            **temperature_measurements(self.temperature, self.gradient, width, self.cooling, law),
            **drift_measurements(self.drift_law, self.along_drift, self.phases),
            **(
                {"logarithmic_drift": Measurement(math.nan, note="the law is for SGD")}
                if self.settings.optimizer != "sgd"
                else {}
            ),
            **locality_measurements(self.locality, self.layers, self.risk.space.names),
        }


def _mean_margin(model: torch.nn.Module, data: tuple[Tensor, Tensor]) -> float:
    """Mean over samples of the right output minus the largest wrong one."""
    total = 0.0
    for inputs, labels in zip(*(values.split(4096) for values in data), strict=True):
        outputs = model(inputs).double()
        right = outputs.gather(1, labels[:, None])[:, 0]
        wrong = outputs.scatter(1, labels[:, None], -torch.inf).max(dim=1).values
        total += float((right - wrong).sum())
    return total / len(data[1])
