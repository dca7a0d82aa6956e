"""The quantities of a monitor: each is what the public function of its name gives for the weights of the step."""

from __future__ import annotations

import abc
import dataclasses
import math
from collections.abc import Mapping
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from landscope.directions.hessian_eigenvectors import hessian_eigenvectors
from landscope.directions.streaming import StreamingModes
from landscope.landscape.sharpness import batch_sharpness
from landscope.noise.gradient import gradient_noise
from landscope.noise.layer_motion import LayerMotion
from landscope.noise.scale import noise_scale
from landscope.parameters import ParameterSpace
from landscope.risk.empirical import EmpiricalRisk
from landscope.risk.minibatches import MinibatchRisk

__all__ = ["LEAST_BATCHES", "MULTIPLES", "QUANTITIES", "WEIGHTS", "Point", "Quantity", "quantities_of"]

SHARPNESS_RTOL = 0.05
"""Residual of the largest curvature, relative to it: a bound of its error."""
LEAST_BATCHES = 3


@dataclasses.dataclass(frozen=True)
class Point:
    """What quantities are measured at.

    Args:
        step: Number of the step.
        w: The weights after it.
        risk: The risk of the probe samples, with the buffers of the step.
        ensemble: Its minibatches.
        learning_rate: That of the step; NaN where groups have several.
        edges: Curvatures at which the optimiser is at its edge of stability, by name; empty where none is known.
        seed: Seed of the iterations.
    """

    step: int
    w: Float[Tensor, " N"]
    risk: EmpiricalRisk
    ensemble: MinibatchRisk
    learning_rate: float
    edges: Mapping[str, float]
    seed: int


class Quantity(abc.ABC):
    """Something that is measured after some steps.

    Class Attributes:
        name: Its name in ``quantities=``.
        needs_batches: Whether it is a statistic of several minibatches.
        multiple: The quantity from whose cost that of its first measurement is guessed, and the factor.
        weight: Its weight where the income is divided.
    """

    name: ClassVar[str]
    needs_batches: ClassVar[bool] = False
    multiple: ClassVar[tuple[str, float] | None] = ("loss", 5.0)
    weight: ClassVar[float] = 1.0

    @property
    def is_ready(self) -> bool:
        """Whether it could be measured."""
        return True

    @abc.abstractmethod
    def measure(self, point: Point) -> dict[str, float]:
        """The values, by their names."""


class Loss(Quantity):
    """The loss of the probe samples."""

    name = "loss"
    multiple = None

    def measure(self, point: Point) -> dict[str, float]:
        """One evaluation."""
        return {"loss": float(point.risk(point.w))}


class Motion(Quantity):
    """Drift and diffusion of each layer, and the running principal modes."""

    name = "motion"
    multiple = None

    def __init__(self, space: ParameterSpace, n_modes: int, memory: int) -> None:
        self.modes, self.layers = StreamingModes(n_modes, memory=memory), LayerMotion(space, memory=memory)

    def measure(self, point: Point) -> dict[str, float]:
        """A few operations on the vector of the weights; every fourth time, a merge of modes."""
        self.layers.add(point.step, point.w)
        changed = self.modes.add(point.w)
        found = {f"drift/{layer}": value for layer, value in self.layers.drift.items()}
        found |= {f"diffusion/{layer}": value for layer, value in self.layers.diffusion.items()}
        if changed:
            found |= _by_mode("variance", self.modes.variance)
        return {name: value for name, value in found.items() if not math.isnan(value)}


class NoiseScale(Quantity):
    """The simple noise scale, in samples."""

    name = "noise_scale"
    needs_batches = True

    def measure(self, point: Point) -> dict[str, float]:
        """The gradients of the minibatches."""
        return {"noise_scale": noise_scale(point.ensemble, point.w).value}


class Temperature(Quantity):
    """The active temperature along the running principal modes."""

    name = "temperature"
    needs_batches = True

    def __init__(self, motion: Motion) -> None:
        self._motion = motion

    @property
    def is_ready(self) -> bool:
        """Whether there are modes."""
        return len(self._motion.modes.variance) > 0

    def measure(self, point: Point) -> dict[str, float]:
        """The gradients of the minibatches, along the modes."""
        if not point.learning_rate > 0:
            return {}
        noise = gradient_noise(point.ensemble, point.w, self._motion.modes.directions(point.w))
        return _by_mode("temperature", noise.temperature(point.learning_rate))


class BatchSharpness(Quantity):
    """Batch sharpness, and the edges of stability that it is compared with."""

    name = "batch_sharpness"
    needs_batches = True
    multiple = ("loss", 16.0)
    weight = 2.0

    def measure(self, point: Point) -> dict[str, float]:
        """A gradient and a product with the Hessian of each minibatch."""
        found = batch_sharpness(point.ensemble, point.w, n_batches=point.ensemble.n_batches)
        return {"batch_sharpness": found.value, **point.edges}


class Sharpness(Quantity):
    """The largest eigenvalue of the Hessian of the probe samples."""

    name = "sharpness"
    multiple = ("loss", 150.0)
    weight = 4.0

    def measure(self, point: Point) -> dict[str, float]:
        """Some ten or twenty products with the Hessian."""
        found = hessian_eigenvectors(point.risk, point.w, 1, rtol=SHARPNESS_RTOL, seed=point.seed)
        return {"sharpness": float(found.values[0])}


def _by_mode(name: str, values: Tensor) -> dict[str, float]:
    return {f"{name}/mode_{rank}": value for rank, value in enumerate(values.tolist(), start=1)}


_KINDS: tuple[type[Quantity], ...] = (Motion, Loss, NoiseScale, Temperature, BatchSharpness, Sharpness)
QUANTITIES = tuple(kind.name for kind in _KINDS)
"""Names of all quantities, in the order in which they are measured."""
WEIGHTS: Mapping[str, float] = {kind.name: kind.weight for kind in _KINDS}
MULTIPLES: Mapping[str, tuple[str, float]] = {
    kind.name: kind.multiple for kind in _KINDS if kind.multiple is not None
}  # fmt: skip


def quantities_of(names: tuple[str, ...], space: ParameterSpace, n_modes: int, memory: int) -> dict[str, Quantity]:
    """The quantities of some names, in the order in which they are measured."""
    motion = Motion(space, n_modes, memory)
    made: dict[str, Quantity] = {
        "motion": motion, "loss": Loss(), "noise_scale": NoiseScale(), "temperature": Temperature(motion),
        "batch_sharpness": BatchSharpness(), "sharpness": Sharpness(),
    }  # fmt: skip
    return {name: made[name] for name in QUANTITIES if name in names}
