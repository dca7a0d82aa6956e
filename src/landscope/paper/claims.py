"""The paper's numbers as data, and the rule that judges a measurement; no verdict is typed."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Literal

__all__ = ["CLAIMS", "Claim", "Control", "Judgement", "Measurement", "judge", "judge_all"]

Verdict = Literal["reproduced", "not reproduced", "contested", "not measured"]


@dataclasses.dataclass(frozen=True)
class Claim:
    """One statement of the paper that can be measured.

    Args:
        key: Short name; the measurement of the same name decides it.
        source: Where the paper says it.
        statement: What it says, in our words.
        quoted: The number it gives.
        accepted: Smallest and largest value that counts as the same.
        reason: Why that tolerance.
    """

    key: str
    source: str
    statement: str
    quoted: str
    accepted: tuple[float, float]
    reason: str


@dataclasses.dataclass(frozen=True)
class Control:
    """The same quantity where the claimed cause is absent.

    Args:
        name: What was done instead.
        band: Range of the quantity there; one further draw falls inside with 95 % where it was estimated.
        must: ``"differ"``: an effect shows as a value outside the band (a null). ``"agree"``: an effect shows here
            too (fresh data), so the band must lie within what the claim accepts.
        finding: What it shows, in words, for a band that is open to one side.
    """

    name: str
    band: tuple[float, float]
    must: Literal["differ", "agree"]
    finding: str = ""

    def __str__(self) -> str:
        return f"{self.name} {self.finding or 'gives ' + _band(self.band)}"


@dataclasses.dataclass(frozen=True)
class Measurement:
    """What a run found.

    Args:
        value: The number; NaN where it could not be measured.
        interval: Its confidence interval, (NaN, NaN) where there is none.
        controls: The same quantity under controls.
        note: What the reader should know.
    """

    value: float
    interval: tuple[float, float] = (math.nan, math.nan)
    controls: tuple[Control, ...] = ()
    note: str = ""


@dataclasses.dataclass(frozen=True)
class Judgement:
    """A claim beside its measurement.

    Args:
        claim: The claim.
        measurement: The measurement.
        verdict: Computed by :func:`judge`.
        sentence: The reason, in one sentence.
    """

    claim: Claim
    measurement: Measurement
    verdict: Verdict
    sentence: str

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return dataclasses.asdict(self)


CLAIMS = (
    Claim(
        "gamma",
        "Fig. 1A",
        "The variance falls with rank as a power law between ranks 20 and 200.",
        "about 2.6 (2 to 3)",
        (2.0, 3.0),
        "the caption's range",
    ),
    Claim(
        "modes_for_90_percent",
        "Fig. 1B",
        "Without the first mode, 90 % of the variance lies in few modes.",
        "35 of 2,500",
        (17.5, 70.0),
        "a factor of two either way; the paper gives one run without a spread",
    ),
    Claim(
        "drift_share",
        "Fig. 1C",
        "The run drifts steadily along the first mode, for much longer than an epoch (share of one-way motion).",
        "persistent",
        (0.5, 1.0),
        "half of the squared epoch displacements in one direction",
    ),
    Claim(
        "alignment",
        "Fig. 1C, text",
        "The first mode points along the weights themselves (cosine).",
        "highly aligned",
        (0.7, 1.0),
        "an angle below 45 degrees",
    ),
    Claim(
        "diffusion_share",
        "Fig. 1D",
        "Along the other modes the run wanders without drift (median share of one-way motion).",
        "diffusive",
        (0.0, 0.25),
        "a quarter of the squared epoch displacements in one direction, at most",
    ),
    Claim(
        "inverse_gaussian",
        "Fig. 2B",
        "Near the minimum ln L is closer to a quadratic than L is (ratio of residuals, median of modes).",
        "better",
        (0.0, 1.0),
        "below one is better",
    ),
    Claim(
        "flatness_rises",
        "Fig. 2C",
        "Flatness rises with rank (Spearman correlation).",
        "increases",
        (0.5, 1.0),
        "a clear monotone trend",
    ),
    Claim(
        "psi",
        "Fig. 2D, Eq. 8",
        "The variance falls with flatness as a power law.",
        "about 4",
        (3.4, 4.6),
        "15 % about the printed 4, which also holds the 3.8 from its two parts",
    ),
)
"""The claims of Figs. 1 and 2."""


def judge(claim: Claim, measurement: Measurement) -> Judgement:
    """Compare a measurement with a claim and with its controls.

    *Not reproduced*: the value lies outside the accepted range. *Contested*: it lies inside, but so it does where the
    claimed cause is absent (a null whose band holds the value), or it does not where it should (fresh data).
    *Reproduced*: inside, and no control objects.

    Args:
        claim: What the paper says.
        measurement: What was found.

    Returns:
        The judgement.

    Example:
        >>> claim = Claim("psi", "Fig. 2D", "...", "about 4", (3.4, 4.6), "...")
        >>> judge(claim, Measurement(4.1)).verdict
        'reproduced'
        >>> judge(claim, Measurement(4.1, controls=(Control("shuffled increments", (3.9, 4.3), "differ"),))).verdict
        'contested'
        >>> judge(claim, Measurement(1.5)).verdict
        'not reproduced'
    """
    found = f"Measured {_number(measurement.value)}{_interval(measurement.interval)}"
    said = f"the paper says {claim.quoted} (accepted {_number(claim.accepted[0])} to {_number(claim.accepted[1])})"
    if math.isnan(measurement.value):
        return Judgement(claim, measurement, "not measured", _joined(f"Not measured; {said}", measurement.note))
    if not _inside(measurement.value, claim.accepted):
        return Judgement(claim, measurement, "not reproduced", _joined(f"{found}; {said}", measurement.note))
    objections = [text for control in measurement.controls if (text := _objection(claim, measurement, control))]
    verdict: Verdict = "contested" if objections else "reproduced"
    support = objections or [_support(control) for control in measurement.controls]
    return Judgement(
        claim, measurement, verdict, _joined(f"{found}; {said}", *[text for text in support if text], measurement.note)
    )


def judge_all(measurements: Mapping[str, Measurement], claims: tuple[Claim, ...] = CLAIMS) -> list[Judgement]:
    """Judge every claim; one without a measurement is *not measured*."""
    return [judge(claim, measurements.get(claim.key, Measurement(math.nan))) for claim in claims]


def _objection(claim: Claim, measurement: Measurement, control: Control) -> str:
    low, high = control.band
    if math.isnan(low) or math.isnan(high):
        return ""
    if control.must == "differ" and _overlap(_reach(measurement), control.band):
        return f"but {control}, so this value does not need the claimed cause"
    if control.must == "agree" and not (_inside(low, claim.accepted) and _inside(high, claim.accepted)):
        return f"but {control}, which the claim does not cover"
    return ""


def _support(control: Control) -> str:
    if math.isnan(control.band[0]):
        return f"{control.name} was not measured"
    return str(control)


def _reach(measurement: Measurement) -> tuple[float, float]:
    low, high = measurement.interval
    return (measurement.value, measurement.value) if math.isnan(low) or math.isnan(high) else (low, high)


def _overlap(first: tuple[float, float], second: tuple[float, float]) -> bool:
    return first[0] <= second[1] and second[0] <= first[1]


def _inside(value: float, band: tuple[float, float]) -> bool:
    return band[0] <= value <= band[1]


def _number(value: float) -> str:
    return f"{value:.3g}"


def _band(band: tuple[float, float]) -> str:
    low, high = (_number(value) for value in band)
    return low if low == high else f"{low} to {high}"


def _interval(interval: tuple[float, float]) -> str:
    return "" if math.isnan(interval[0]) else f" [{_number(interval[0])}, {_number(interval[1])}]"


def _joined(*parts: str) -> str:
    return "; ".join(part for part in parts if part) + "."
