"""The measurements of one training: on a fixed part of the data, with the weights and buffers of the step."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator
from typing import Any

import torch
from torch import nn

from landscope._checks import check_count
from landscope.errors import InputError, LandscopeWarning, NonFiniteError
from landscope.monitoring.edges import edges_of
from landscope.monitoring.quantities import LEAST_BATCHES, Motion, Point, quantities_of
from landscope.notices import warn
from landscope.optimizer_steps import shared_rate
from landscope.recorder.checks import check_optimizer
from landscope.risk.empirical import EmpiricalRisk
from landscope.risk.following import FollowingRisk
from landscope.sharded import has_parts
from landscope.wording import error_text

__all__ = ["Measurements"]

_POINTS = 1000
"""Measurements after which a quantity is measured at every second step at most, then at every fourth, and so on."""


class Measurements:
    """Measures quantities of a model in training; a quantity that fails is left out with a warning.

    Args:
        model: The model in training.
        optimizer: Its optimiser.
        risk: The loss of the model on its training data.
        names: Names of the quantities.
        batch_size: Samples of a minibatch; None for the batches of the data as they are.
        n_samples: Number of probe samples.
        n_modes: Number of running principal modes.
        memory: Rows that they remember.
        seed: Random seed.

    Raises:
        InputError: If the risk, the model and the optimiser do not belong together.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        risk: EmpiricalRisk,
        names: tuple[str, ...],
        *,
        batch_size: int | None,
        n_samples: int,
        n_modes: int,
        memory: int,
        seed: int,
    ) -> None:
        self._model, self._optimizer, self.space, self._seed = model, optimizer, risk.space, seed
        _check_model(model, risk)
        check_optimizer(optimizer, risk.space.names, risk.space.tensors(model))
        self.device = risk.w0.device
        part = risk.random_subset(check_count("n_samples", n_samples), seed=seed)
        self._following = FollowingRisk(part, model)
        self._ensemble = self._following.risk.minibatches(batch_size, seed=None if batch_size is None else seed)
        check_count("n_modes", n_modes)
        self.quantities = quantities_of(names, risk.space, n_modes, check_count("memory", memory, minimum=2))
        self._check_batches()
        self._counts, self._warned, self._failed = dict.fromkeys(self.quantities, 0), set[str](), set[str]()

    def _check_batches(self) -> None:
        needing = [name for name, one in self.quantities.items() if one.needs_batches]
        if needing and self._ensemble.n_batches < LEAST_BATCHES:
            raise InputError(
                expected=f"at least {LEAST_BATCHES} minibatches among the probe samples, for {', '.join(needing)}",
                got=f"{self._ensemble.n_batches}", hint="Pass a larger n_samples, or a smaller batch_size.",
            )  # fmt: skip

    @property
    def motion(self) -> Motion | None:
        """The motion of the weights, where it is measured."""
        motion = self.quantities.get("motion")
        return motion if isinstance(motion, Motion) else None

    @property
    def never_measured(self) -> list[str]:
        """Quantities that were not measured, and did not fail."""
        return [name for name, count in self._counts.items() if not count and name not in self._failed]

    def ready(self) -> list[str]:
        """Quantities that could be measured."""
        return [name for name, one in self.quantities.items() if one.is_ready and name not in self._failed]

    def is_turn(self, name: str, step: int) -> bool:
        """Whether a quantity that was measured often is to be measured at a step."""
        return step % 2 ** (self._counts[name] // _POINTS) == 0

    @contextlib.contextmanager
    def at(self, step: int) -> Generator[Callable[[str], dict[str, float]]]:
        """Measure at the weights after a step, by a function of the name of a quantity."""
        w, groups = self.space.flatten(self._model).to(self.device), self._groups()
        rate, edges = shared_rate(groups), edges_of(self._optimizer, groups)
        with torch.enable_grad(), self._following.now() as risk:
            point = Point(step, w.to(risk.w0), risk, self._ensemble, rate, edges, self._seed)
            yield lambda name: self._measure(name, point)

    def _groups(self) -> list[dict[str, Any]]:
        """The parameter groups that hold measured weights."""
        selected = {id(tensor) for tensor in self.space.tensors(self._model)}
        groups = self._optimizer.param_groups
        return [group for group in groups if any(id(one) in selected for one in group["params"])]

    def _measure(self, name: str, point: Point) -> dict[str, float]:
        self._counts[name] += 1
        try:
            return self.quantities[name].measure(point)
        except NonFiniteError as error:
            self._warn(name, f"{name} of step {point.step} is missing: {error}")
        except Exception as error:  # noqa: BLE001 - no error of an instrument may end the training
            self._failed.add(name)
            self._warn(name, f"{name} failed at step {point.step}, and is left out: {error_text(error)}")
        return {}

    def _warn(self, name: str, message: str) -> None:
        if name not in self._warned:
            self._warned.add(name)
            warn(message, LandscopeWarning)


def _check_model(model: nn.Module, risk: EmpiricalRisk) -> None:
    if has_parts(model):
        raise InputError(
            expected="a model that this process has as a whole", got="one in parts, as of FSDP2 or tensor parallelism",
            hint="Record it with ls.TrajectoryRecorder, and measure along the recorded weights afterwards.",
        )  # fmt: skip
    devices = {tensor.device for tensor in risk.space.tensors(model)}
    if devices != {risk.w0.device}:
        raise InputError(
            expected=f"a risk on the device of the model, {', '.join(sorted(map(str, devices)))}",
            got=f"one on {risk.w0.device}", hint="Make the risk after model.to(device).",
        )  # fmt: skip
