"""sec-S9: gradient descent with noise of equal trace and different shapes."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

from jaxtyping import Float
from torch import Tensor

from landscope.law import seed_interval
from landscope.paper.claims import Control, Measurement
from landscope.results import Result

__all__ = ["NoisyRun", "annealing_measurements"]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class NoisyRun(
    Result, kind="paper_noisy_run", dims=dict.fromkeys(("step", "train_loss", "train_error", "test_error"), ("row",))
):
    """One run of gradient descent with some noise.

    Args:
        noise: Its shape.
        step: Steps at which was measured.
        train_loss: Loss of the subset.
        train_error: Share of wrong answers there.
        test_error: On the test set.
        flatness: Median F of the sharpest directions over the norm of the weights, at the end.
        sharpness: Largest eigenvalue of the Hessian over the loss, times the squared norm of the weights, at the end.
        exploration_step: First of these steps without a training error; NaN if there was none.
    """

    noise: str
    step: Float[Tensor, " rows"]
    train_loss: Float[Tensor, " rows"]
    train_error: Float[Tensor, " rows"]
    test_error: Float[Tensor, " rows"]
    flatness: float
    sharpness: float
    exploration_step: float


def annealing_measurements(found: Mapping[str, Sequence[NoisyRun]]) -> dict[str, Measurement]:
    """Whether noise by flatness does better than isotropic noise, and whether it alone does.

    Args:
        found: Shape of the noise -> the runs of its seeds, in one order; ``flatness`` and ``isotropic`` among them.

    Returns:
        Measurements by claim.
    """
    error = {name: [float(run.test_error[-1]) for run in runs] for name, runs in found.items()}
    width = {name: [math.log(run.flatness) for run in runs] for name, runs in found.items()}
    reached = {name: sum(not math.isnan(run.exploration_step) for run in runs) for name, runs in found.items()}
    others = [name for name in found if name not in ("flatness", "isotropic")]
    note = "without training error in the end: " + ", ".join(
        f"{name} {count} of {len(found[name])}" for name, count in reached.items()
    )
    return {
        "flatness_noise_error": _against_isotropic(error, others, 100.0, note),
        "flatness_noise_width": _against_isotropic(width, others, 1.0, ""),
    }


def _against_isotropic(
    values: Mapping[str, Sequence[float]], others: Sequence[str], unit: float, note: str
) -> Measurement:
    """The difference from isotropic noise seed by seed; beside it that of other noises, as only this one is claimed."""
    gain = _differences(values["flatness"], values["isotropic"], unit)
    controls = []
    for name in others:
        difference = _differences(values[name], values["isotropic"], unit)
        low, high = seed_interval(difference)
        controls.append(Control(_NAMES.get(name, f"{name} noise"), (low, high), "differ"))
    return Measurement(sum(gain) / len(gain), seed_interval(gain), tuple(controls), note)


_NAMES = {
    "none": "no noise",
    "sgd": "SGD itself",
    "covariance": "noise with the covariance of SGD's",
    "diagonal": "noise with its diagonal",
    "hessian": "noise shaped like the Hessian",
}


def _differences(first: Sequence[float], second: Sequence[float], unit: float) -> list[float]:
    return [unit * (a - b) for a, b in zip(first, second, strict=True)]
