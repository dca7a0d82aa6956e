"""Text on Fig. 1 and section S2: the form of the loss along the first mode, and the training error there."""

from __future__ import annotations

import math

from landscope.claims.verdict import Claim, Control, Measurement
from landscope.landscape.loss_forms import loss_forms
from landscope.law.intervals import prediction_band
from landscope.noise.drift_path import DriftPath

__all__ = ["CLAIMS", "loss_form_measurements", "training_error_measurements"]

_RANDOM = "a step of the same length in a random direction"

CLAIMS = (
    Claim(
        "exponential_loss",
        "text on Fig. 1, S2",
        "Along the first mode the loss is exponential, ln L is a straight line (share of its variance predicted).",
        "L = L0 exp(beta theta_1)",
        (0.95, 1.0),
        "a twentieth of the variance unexplained at most, as for the drift",
        "each point from a fit to the others, beside a straight and a quadratic L",
        possible=(-math.inf, 1.0),
    ),
    Claim(
        "drift_keeps_error",
        "text on Fig. 1",
        "The drift leaves the training error at zero (its largest value over the path of the window, in per cent).",
        "already 0 (or close to 0)",
        (0.0, 0.1),
        "one sample in a thousand is close to none",
        "steps of the same length in random directions, which say whether the direction of the drift matters",
        possible=(0.0, 100.0),
    ),
)


def loss_form_measurements(path: DriftPath) -> dict[str, Measurement]:
    """Measure how well an exponential loss along the first mode predicts points that were left out.

    Over a path so short that the loss barely changes every smooth curve is straight: the other forms are the controls.
    """
    if not bool((path.loss > 0).all()):
        return {"exponential_loss": Measurement(math.nan, note="the loss is not positive along the path")}
    forms = loss_forms(path.displacements, path.loss)
    others = (("a straight line", forms.straight), ("a parabola", forms.quadratic))
    controls = tuple(
        Control(f"{name} for L", (-math.inf, value), "differ", f"predicts {value:.4f}") for name, value in others
    )
    change = float(path.loss[-1] / path.loss[0])
    note = f"beta is {forms.beta:.3g} over a path on which the loss changes {change:.2g} times"
    return {"exponential_loss": Measurement(forms.exponential, controls=controls, note=note)}


def training_error_measurements(path: DriftPath) -> dict[str, Measurement]:
    """Measure the largest training error on the path along the first mode, beside steps as long at random."""
    error = 100 * path.train_error
    note = f"{float(error[0]):.3g} % at w0 and {float(error[-1]):.3g} % at the end of the path"
    return {"drift_keeps_error": Measurement(float(error.max()), controls=(_at_random(path),), note=note)}


def _at_random(path: DriftPath) -> Control:
    """A step as long in a random direction: as few errors there need no drift, and neither do fewer."""
    made = 100 * path.random_train_error
    low = prediction_band(made.tolist(), possible=CLAIMS[1].possible)[0]
    if math.isnan(low):
        return Control(_RANDOM, (math.nan, math.nan), "differ")
    said = f"gives {float(made.min()):.3g} to {float(made.max()):.3g} %"
    return Control(_RANDOM, (low, math.inf), "differ", said)
