"""What a claim and a measurement are, and the rule that judges one by the other; no verdict is typed."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Literal

__all__ = ["Claim", "Control", "Judgement", "Measurement", "judge"]

Verdict = Literal["reproduced", "not reproduced", "contested", "undecided", "not measured"]


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
        decider: What settles it, where it is contested.
        stage: The stage of a run that measures it.
        possible: Smallest and largest value there can be: an interval over seeds may not reach beyond.
    """

    key: str
    source: str
    statement: str
    quoted: str
    accepted: tuple[float, float]
    reason: str
    decider: str = ""
    stage: str = "law"
    possible: tuple[float, float] = (-math.inf, math.inf)


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
        why: Its part on controls and circumstances, without the numbers.
    """

    claim: Claim
    measurement: Measurement
    verdict: Verdict
    sentence: str
    why: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return dataclasses.asdict(self)


def judge(claim: Claim, measurement: Measurement) -> Judgement:
    """Compare a measurement with a claim and with its controls.

    *Not reproduced*: the value lies outside the accepted range, and so does its interval. *Undecided*: the interval
    reaches over an edge of that range. *Contested*: it lies inside, but so it does where the
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
    said = f"claimed {claim.quoted} (accepted {_band(claim.accepted)}: {claim.reason})"
    if math.isnan(measurement.value):
        sentence = _joined(f"Not measured; {said}", measurement.note)
        return Judgement(claim, measurement, "not measured", sentence, measurement.note)
    reach = _reach(measurement, claim.possible)
    inside = _inside(measurement.value, claim.accepted)
    if not inside and not _overlap(reach, claim.accepted):
        sentence = _joined(f"{found}; {said}", measurement.note)
        return Judgement(claim, measurement, "not reproduced", sentence, measurement.note)
    objections = [text for control in measurement.controls if (text := _objection(claim, measurement, control))]
    verdict: Verdict
    if inside and objections:
        verdict, support = "contested", objections
    elif _inside(reach[0], claim.accepted) and _inside(reach[1], claim.accepted):
        verdict, support = "reproduced", [_support(control) for control in measurement.controls]
    else:
        verdict, support = "undecided", ["but the interval reaches over an edge of what is accepted"]
    why = "; ".join(text for text in (*support, measurement.note) if text)
    return Judgement(claim, measurement, verdict, _joined(f"{found}; {said}", why), why)


def _objection(claim: Claim, measurement: Measurement, control: Control) -> str:
    low, high = control.band
    if math.isnan(low) or math.isnan(high):
        return ""
    low, high = max(low, claim.possible[0]), min(high, claim.possible[1])
    if control.must == "differ" and _overlap(_reach(measurement, claim.possible), (low, high)):
        return f"but {control}, so this value does not need the claimed cause"
    if control.must == "agree" and not (_inside(low, claim.accepted) and _inside(high, claim.accepted)):
        return f"but {control}, which the claim does not cover"
    return ""


def _support(control: Control) -> str:
    if math.isnan(control.band[0]):
        return f"{control.name} {control.finding or 'was not measured'}"
    return str(control)


def _reach(measurement: Measurement, possible: tuple[float, float] = (-math.inf, math.inf)) -> tuple[float, float]:
    """The interval as far as it can be, or the value where there is none."""
    low, high = measurement.interval
    if math.isnan(low) or math.isnan(high):
        return measurement.value, measurement.value
    return max(low, possible[0]), min(high, possible[1])


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
