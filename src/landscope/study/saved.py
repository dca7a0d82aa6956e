"""Every result that a study keeps: its name in the folder and its class, said once."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Generic, Literal, TypeVar

from landscope.directions.directions import Directions
from landscope.directions.over_training import ModesOverTraining
from landscope.landscape import (
    Flatness,
    InvariantFlatness,
    LearningCoefficient,
    LossPlane,
    LossProfiles,
    ProfileFits,
)
from landscope.landscape.flatness_and_curvature import FlatnessAndCurvature
from landscope.law.equilibrium import Equilibrium
from landscope.law.exponents import Exponents
from landscope.law.one_window import OneWindow
from landscope.law.run_limit import RunLimit
from landscope.law.sensitivity import Sensitivity
from landscope.law.spectrum import Spectrum
from landscope.law.window_growth import Growth
from landscope.law.window_limit import WindowLimit
from landscope.noise.drift import DriftLaw, Phases
from landscope.noise.drift_path import Activity, DriftPath
from landscope.noise.edge_of_stability import EdgeOfStability
from landscope.noise.effective_curvature import EffectiveCurvature
from landscope.noise.gradient import GradientNoise
from landscope.noise.log_hessian import LogHessian
from landscope.noise.mode_statistics import ModeStatistics
from landscope.noise.noise_and_curvature import NoiseAndCurvature
from landscope.noise.response import DirectResponse
from landscope.noise.sharpness_over_training import SharpnessOverTraining
from landscope.noise.springs import Springs
from landscope.noise.stationarity import LyapunovResidual, YaidaRelation
from landscope.noise.temperature import ActiveTemperature
from landscope.noise.temperature_over_training import TemperatureOverTraining
from landscope.noise.velocity import VelocityStatistics
from landscope.results import Result
from landscope.training_history import TrainingHistory
from landscope.trajectory.rounding import HeldByRounding

__all__ = ["DrawnModes", "Saved", "every_result"]

Number = int | Literal["*"]
"""A number of a result, or any."""

_AnyResult = TypeVar("_AnyResult", bound=Result)


@dataclasses.dataclass(frozen=True)
class Saved(Generic[_AnyResult]):
    """A result of a study.

    Args:
        name: Name of the result in the folder.
        kind: Class of the result.
    """

    name: str
    kind: type[_AnyResult]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class DrawnModes(Result, kind="drawn_modes"):
    """Ranks of the modes whose loss profiles are drawn.

    Args:
        ranks: Ranks, counted from 1.
    """

    ranks: tuple[int, ...]


MODES = Saved("modes", Directions)
STATISTICS = Saved("statistics", ModeStatistics)
FRESH_STATISTICS = Saved("statistics-fresh", ModeStatistics)
ROUNDING = Saved("rounding", HeldByRounding)
SPECTRUM = Saved("spectrum", Spectrum)

FLATNESS = Saved("flatness", Flatness)
SMALLER_FLATNESS = Saved("flatness-smaller-ratio", Flatness)
FLATNESS_PIECES = "flatness-from-"
"""Begin of the names of the pieces that a killed analysis goes on from."""
PROFILES = Saved("profiles", LossProfiles)
PROFILE_FITS = Saved("profile-fits", ProfileFits)
DRAWN_MODES = Saved("drawn-modes", DrawnModes)
PLANE = Saved("plane", LossPlane)

TRAINING = Saved("training", TrainingHistory)

VELOCITY = Saved("noise-velocity", VelocityStatistics)
FRESH_VELOCITY = Saved("noise-fresh-velocity", VelocityStatistics)
NULL_VELOCITY = Saved("noise-null-velocity", VelocityStatistics)
SPRINGS = Saved("noise-springs", Springs)
GRADIENT_NOISE = Saved("noise-gradient", GradientNoise)
LOG_HESSIAN = Saved("noise-log-hessian", LogHessian)
TEMPERATURE = Saved("noise-temperature", ActiveTemperature)
TEMPERATURE_OVER_TRAINING = Saved("noise-temperature-over-training", TemperatureOverTraining)
MODES_OVER_TRAINING = Saved("noise-modes-over-training", ModesOverTraining)
SHARPNESS_OVER_TRAINING = Saved("controls-sharpness-over-training", SharpnessOverTraining)
FLATNESS_AND_CURVATURE = Saved("flatness-and-curvature", FlatnessAndCurvature)
DRIFT_PATH = Saved("noise-drift-path", DriftPath)
DRIFT_LAW = Saved("noise-drift-law", DriftLaw)
PHASES = Saved("noise-phases", Phases)
ACTIVITY = Saved("noise-activity", Activity)

PROFILES_NEAR = Saved("controls-near", LossProfiles)
EQUILIBRIUM = Saved("equilibrium", Equilibrium)
GROWTH = Saved("growth", Growth)
SENSITIVITY = Saved("sensitivity", Sensitivity)
YAIDA = Saved("controls-yaida", YaidaRelation)
LYAPUNOV = Saved("controls-lyapunov", LyapunovResidual)
EDGE = Saved("controls-edge", EdgeOfStability)
RESPONSE = Saved("controls-response", DirectResponse)
INVARIANT_FLATNESS = Saved("controls-invariant-flatness", InvariantFlatness)
LEARNING_COEFFICIENT = Saved("controls-learning-coefficient", LearningCoefficient)


def exponents(row: str) -> Saved[Exponents]:
    """A row of the table of exponents."""
    return Saved(f"exponents-{row}", Exponents)


SHUFFLED = "exponents-shuffled-"
"""Begin of the names of the exponents of shuffled increments."""


def null(number: Number) -> Saved[Exponents]:
    """The exponents of shuffled increments."""
    return Saved(f"{SHUFFLED}{number}", Exponents)


IN_SAMPLE = exponents("in-sample")
FRESH = exponents("fresh")
PROCESS = "exponents-finite-window-"
"""Begin of the names of the exponents of the finite-window process."""
PROCESS_FRESH = "exponents-next-finite-window-"
"""Begin of the names of its exponents in its next window."""


def process(number: Number) -> Saved[Exponents]:
    """The exponents of the finite-window process along its own modes."""
    return Saved(f"{PROCESS}{number}", Exponents)


def process_fresh(number: Number) -> Saved[Exponents]:
    """The exponents of the finite-window process along the same modes, in its next window."""
    return Saved(f"{PROCESS_FRESH}{number}", Exponents)


ONE_WINDOW = Saved("one-window", OneWindow)
WINDOW_LIMIT = Saved("window-limit", WindowLimit)
RUN_LIMIT = Saved("run-limit", RunLimit)


def effective_curvature(source: str, basis: str) -> Saved[EffectiveCurvature]:
    """The effective curvature along a basis, of a training that went on or at the saved models of the run."""
    return Saved(f"effective-curvature-{source}-{basis}", EffectiveCurvature)


def run_limit(source: str, basis: str) -> Saved[RunLimit]:
    """The law in a window without end that the same source gives."""
    return Saved(f"run-limit-{source}-{basis}", RunLimit)


def sampling(order: str) -> Saved[Exponents]:
    """The exponents of a continued training with an order of the minibatches."""
    return exponents(f"sampling-{order}")


def basis(key: str) -> Saved[Directions]:
    """Directions of a control."""
    return Saved(f"basis-{key}", Directions)


def basis_flatness(key: str) -> Saved[Flatness]:
    """Flatness along the directions of a control."""
    return Saved(f"flatness-{key}", Flatness)


LAYER = "noise-layer-"
"""Begin of the names of the results about one layer."""


def layer(number: Number, basis: str) -> Saved[NoiseAndCurvature]:
    """Noise and curvature of one layer."""
    return Saved(f"{LAYER}{number}-{basis}", NoiseAndCurvature)


CURVATURE = basis("curvature")
RELAXATION = basis("relaxation")
"""Eigenvectors of the curvature in the coordinates in which the optimiser takes plain steps."""


def every_result() -> dict[str, type[Result]]:
    """The class of every result, by its name in the folder; ``*`` stands for what varies.

    Example:
        >>> found = every_result()
        >>> found["modes"].__name__, found["basis-*"].__name__
        ('Directions', 'Directions')
    """
    here = list(globals().values())
    makers = [each for each in here if inspect.isfunction(each) and inspect.signature(each).parameters]
    varied = [
        make(*("*" for _ in inspect.signature(make).parameters)) for make in makers if make.__module__ == __name__
    ]
    fixed = [each for each in here if isinstance(each, Saved)]
    return {each.name: each.kind for each in sorted(fixed + varied, key=lambda each: each.name)}
