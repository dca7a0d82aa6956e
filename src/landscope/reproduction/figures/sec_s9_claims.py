"""sec-S9: gradient descent with noise of equal trace and different shapes."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

from jaxtyping import Float
from torch import Tensor

from landscope.claims.verdict import Control, Measurement
from landscope.law.intervals import seed_interval
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
    note = "without training error in the end: " + ", ".join(
        f"{name} {count} of {len(found[name])}" for name, count in reached.items()
    )
    return {
        "flatness_noise_error": _against_isotropic(error, 100.0, note),
        "flatness_noise_width": _against_isotropic(width, 1.0, ""),
    }


def _against_isotropic(values: Mapping[str, Sequence[float]], unit: float, note: str) -> Measurement:
    """The difference from isotropic noise, seed by seed.

    Descent without noise must not do as well. Noise with the covariance of SGD's, its diagonal, the Hessian's shape,
    and SGD itself depend on the landscape too: what they do is told, and decides nothing.
    """
    differences = {
        name: [unit * (a - b) for a, b in zip(runs, values["isotropic"], strict=True)] for name, runs in values.items()
    }
    gain = differences["flatness"]
    told = [
        f"{name} {sum(difference) / len(difference):.2g}"
        for name, difference in differences.items()
        if name not in ("flatness", "isotropic", "none")
    ]
    controls = ()
    if "none" in differences:
        controls = (Control("descent without noise", seed_interval(differences["none"]), "differ"),)
    beside = f"beside it: {', '.join(told)}" if told else ""
    note = "; ".join(text for text in (beside, note) if text)
    return Measurement(sum(gain) / len(gain), seed_interval(gain), controls, note)
