"""Claims, measurements, and the rule that judges one by the other; every verdict is computed."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Literal

from landscope.law.intervals import seed_interval, with_interval
from landscope.wording import accepted_text, band_text, cut, without_nan

__all__ = ["FENG_TU", "Claim", "Control", "Judgement", "Measurement", "fresh_control", "joined", "judge"]

FENG_TU = "Feng & Tu, PNAS 2021"
"""The paper that is reproduced."""

Verdict = Literal["reproduced", "not reproduced", "contested", "undecided", "not measured"]


@dataclasses.dataclass(frozen=True)
class Claim:
    """One statement of a paper that can be measured.

    Args:
        key: Short name; the measurement of the same name decides it.
        source: Place in the paper.
        statement: The statement in our words.
        quoted: The number that the paper gives.
        accepted: Smallest and largest value that counts as the same.
        reason: Reason of that tolerance.
        decider: Measurement that decides it, if it is contested.
        possible: Smallest and largest possible value; intervals over seeds are cut there.
        paper: The paper that makes the claim; claims of other papers than Feng & Tu's stand in a group of their own.
    """

    key: str
    source: str
    statement: str
    quoted: str
    accepted: tuple[float, float]
    reason: str
    decider: str = ""
    possible: tuple[float, float] = (-math.inf, math.inf)
    paper: str = FENG_TU

    @property
    def accepted_words(self) -> str:
        """What counts as the same, in words."""
        return accepted_text(self.accepted, self.possible, is_sign=self.reason == "the sign")


@dataclasses.dataclass(frozen=True)
class Control:
    """The same quantity under a control.

    Args:
        name: Name of the control.
        band: Range of the quantity under the control; if it was estimated, one further draw falls inside with 95 %.
            (NaN, NaN) if it was not measured; then nothing is decided.
        must: ``"differ"`` for a null, where the claimed cause is absent: a real effect lies outside the band.
            ``"agree"`` for fresh data: a real effect shows here too, so the band must lie within the accepted range;
            a band over its edge decides nothing.
        finding: The result in words, for a band that is open to one side.
        answered_by: Name of the control of the same measurement that must agree and decides in place of this null: this
            one then objects only where that one was not measured or disagrees. A process that is given what the run has
            cannot differ from a run in which the claim is true.
        unidentified: Reason why the value and the other controls are not yet the claimed quantity, such as a window
            that is too short. Nothing is decided then unless this control, which must agree, disagrees.
    """

    name: str
    band: tuple[float, float]
    must: Literal["differ", "agree"]
    finding: str = ""
    answered_by: str = ""
    unidentified: str = ""

    @property
    def was_measured(self) -> bool:
        """Whether there is a band to compare with."""
        return not any(math.isnan(end) for end in self.band)

    def __str__(self) -> str:
        found = f"gives {band_text(self.band)}" if self.was_measured else "was not measured"
        return f"{self.name} {self.finding or found}"


def fresh_control(
    value: float,
    name: str = "the same modes in fresh data",
    interval: tuple[float, float] | None = None,
    reach: float = math.nan,
) -> Control:
    """The same quantity in fresh data; NaN where there are no fresh data.

    Args:
        value: The number.
        name: Name of the control.
        interval: Its interval, where there is one.
        reach: How far another run may move it, where there is no interval.
    """
    if interval is not None and not any(math.isnan(end) for end in interval):
        return Control(name, interval, "agree")
    spread = 0.0 if math.isnan(reach) else reach
    return Control(name, (value - spread, value + spread), "agree")


@dataclasses.dataclass(frozen=True)
class Measurement:
    """The measurement of one claim.

    Args:
        value: The number; NaN if it could not be measured.
        interval: Confidence interval; (NaN, NaN) if there is none.
        controls: The same quantity under controls.
        note: Remark for the reader.
        no_interval: Reason why a number that was sampled has no interval; empty where it has one, and for a count, a
            rank or another number that no sampling made. With a reason it is no certain number.
        reach: How far another run may move it with 95 %, where it has no interval for that reason; NaN if unknown.
        freedom: Degrees of freedom of Student's law that the interval was made with; infinite for a normal law.
    """

    value: float
    interval: tuple[float, float] = (math.nan, math.nan)
    controls: tuple[Control, ...] = ()
    note: str = ""
    no_interval: str = ""
    reach: float = math.nan
    freedom: float = math.inf

    @classmethod
    def over_seeds(
        cls, values: Sequence[float], *controls: Control, minus: Sequence[float] | None = None, note: str = ""
    ) -> Measurement:
        """The mean over seeds with Student's interval; of differences seed by seed where ``minus`` is given.

        One seed has no interval, and what other seeds give is not known.
        """
        if minus is not None:
            values = [a - b for a, b in zip(values, minus, strict=True)]
        mean = sum(values) / len(values) if values else math.nan
        if len(values) < 2:
            return cls(mean, controls=controls, note=note, no_interval="one seed")
        return cls(mean, seed_interval(values), controls, note, freedom=len(values) - 1)

    def of_one_run(self) -> Measurement:
        """The same with the reason that it comes from one run, where it has neither an interval nor a reason.

        Another run has other weights, so that no number of one run is certain. Several seeds decide.

        Example:
            >>> Measurement(4.1).of_one_run().no_interval, Measurement(4.1, (4.0, 4.2)).of_one_run().no_interval
            ('one run', '')
        """
        if self.has_interval or self.no_interval or math.isnan(self.value):
            return self
        return dataclasses.replace(self, no_interval="one run")

    @property
    def has_interval(self) -> bool:
        """Whether there is a confidence interval."""
        return not any(math.isnan(end) for end in self.interval)


@dataclasses.dataclass(frozen=True)
class Judgement:
    """A claim with its measurement and verdict.

    Args:
        claim: The claim.
        measurement: The measurement.
        verdict: Verdict of :func:`judge`.
        sentence: The reason in one sentence.
        why: The part of the reason on controls and circumstances, without the numbers.
    """

    claim: Claim
    measurement: Measurement
    verdict: Verdict
    sentence: str
    why: str = ""


def judge(claim: Claim, measurement: Measurement) -> Judgement:
    """Compare a measurement with a claim and with its controls.

    A number that was sampled and has no interval (``no_interval``) is no certain number. Another run may move it by
    ``reach``, which decides in place of the interval; where that is not known, nothing is decided but by controls.
    Several seeds, or a window long enough for an interval, are the way to certainty.

    *Not reproduced*: the value and its interval lie outside the accepted range. *Undecided*: the interval, or that of
    a control that must agree, reaches over an edge of that range, a control was not measured, or the quantity is not
    identified. *Contested*: the value lies inside, but a null has the same value and nothing answers it, or a control
    that must agree lies outside. *Reproduced*: the value and its interval lie inside, and all controls support it.

    Example:
        >>> claim = Claim("psi", "Fig. 2D", "...", "about 4", (3.2, 4.8), "...")
        >>> judge(claim, Measurement(4.1)).verdict
        'reproduced'
        >>> null = Control("shuffled increments", (3.9, 4.3), "differ", answered_by="fresh data")
        >>> judge(claim, Measurement(4.1, controls=(null,))).verdict
        'contested'
        >>> judge(claim, Measurement(4.1, controls=(null, Control("fresh data", (3.6, 4.0), "agree")))).verdict
        'reproduced'
        >>> judge(claim, Measurement(4.1, controls=(Control("fresh data", (math.nan, math.nan), "agree"),))).verdict
        'undecided'
        >>> judge(claim, Measurement(1.5)).verdict
        'not reproduced'
        >>> [judge(claim, Measurement(4.1, no_interval="one run", reach=reach)).verdict for reach in (0.2, 1.0)]
        ['reproduced', 'undecided']
    """
    measurement = _within(claim.possible, measurement)
    reach, inside = _reach(measurement, claim.possible), _inside(measurement.value, claim.accepted)
    objections = [text for control in measurement.controls if (text := _objection(claim, measurement, control))]
    unidentified, doubts = _unidentified(claim, measurement), _doubts(claim, measurement, reach)
    verdict: Verdict
    if math.isnan(measurement.value):
        verdict, support = "not measured", []
    elif unidentified:
        verdict, support = "undecided", unidentified
    elif not inside and not _overlap(reach, claim.accepted):
        verdict, support = "not reproduced", []
    elif inside and objections:
        verdict, support = "contested", objections
    elif doubts:
        verdict, support = "undecided", doubts
    else:
        known = _known(measurement, claim.possible)
        verdict, support = "reproduced", [_supporting(control, known) for control in measurement.controls]
    number = with_interval(measurement.value, measurement.interval, ".3g")
    found = "Not measured" if verdict == "not measured" else f"Measured {number}"
    said = f"the paper: {claim.quoted}. Accepted: {claim.accepted_words} ({claim.reason})."
    why = without_nan(joined(*support, measurement.note))
    because = f" {why[0].upper()}{why[1:]}." if why else ""
    return Judgement(claim, measurement, verdict, f"{joined(found, said)}{because}", why)


def _within(possible: tuple[float, float], measurement: Measurement) -> Measurement:
    """The measurement with the bands of its controls cut to what is possible, as they are shown and compared."""
    shown = tuple(dataclasses.replace(one, band=cut(one.band, possible)) for one in measurement.controls)
    return dataclasses.replace(measurement, controls=shown)


def _objection(claim: Claim, measurement: Measurement, control: Control) -> str:
    if not control.was_measured or _answered(claim, measurement, control):
        return ""
    if control.must == "differ" and _overlap(_known(measurement, claim.possible), control.band):
        return f"but {control}, so this value does not need the claimed cause"
    return f"but {control}, which the claim does not cover" if _disagrees(claim, control) else ""


def _disagrees(claim: Claim, control: Control) -> bool:
    """Whether a control that must agree lies outside the accepted range as a whole."""
    return control.must == "agree" and not _overlap(control.band, claim.accepted)


def _answered(claim: Claim, measurement: Measurement, control: Control) -> bool:
    """Whether the control that decides in place of this null was measured and does not disagree."""
    answers = (other for other in measurement.controls if other.name == control.answered_by and other.was_measured)
    return any(not _disagrees(claim, other) for other in answers)


def _unidentified(claim: Claim, measurement: Measurement) -> list[str]:
    """Why the value is not the claimed quantity, where the control that says so does not disagree itself."""
    saying = [control for control in measurement.controls if control.unidentified and control.was_measured]
    return [f"but {control.unidentified}; {control}" for control in saying if not _disagrees(claim, control)]


def _supporting(control: Control, reach: tuple[float, float]) -> str:
    """A control of a claim that is reproduced; a null with the same value is named with its answer."""
    alike = control.must == "differ" and control.was_measured and _overlap(reach, control.band)
    return f"{control}, no objection as {control.answered_by.rstrip(',')} agrees" if alike else f"{control}"


def _doubts(claim: Claim, measurement: Measurement, reach: tuple[float, float]) -> list[str]:
    """Why nothing is decided: intervals over an edge, and the controls that are missing."""
    missing = [
        f"but {control}"
        for control in measurement.controls
        if not control.was_measured and not _answered(claim, measurement, control)
    ]
    over = [
        f"but {control}, which reaches over an edge of what is accepted"
        for control in measurement.controls
        if control.was_measured and control.must == "agree"
        and not all(_inside(end, claim.accepted) for end in control.band)
    ]  # fmt: skip
    if all(_inside(end, claim.accepted) for end in reach):
        return [*over, *missing]
    return [_over_an_edge(measurement), *over, *missing]


def _over_an_edge(measurement: Measurement) -> str:
    if not measurement.no_interval:
        return "but the interval reaches over an edge of what is accepted"
    far = "" if math.isnan(measurement.reach) else f" up to {measurement.reach:.2g} away,"
    return (
        f"but it has no interval ({measurement.no_interval}) and another run may lie{far} over an edge of what is "
        "accepted: several seeds decide"
    )


def _reach(measurement: Measurement, possible: tuple[float, float]) -> tuple[float, float]:
    """Where the quantity may lie, as far as it is possible: the interval, or what another run may give."""
    if measurement.no_interval and not measurement.has_interval and math.isnan(measurement.reach):
        return possible
    return _known(measurement, possible)


def _known(measurement: Measurement, possible: tuple[float, float]) -> tuple[float, float]:
    """The interval, or the reach of another run where it is known; the value alone where there is neither."""
    value = measurement.value
    if measurement.has_interval:
        return cut(measurement.interval, possible)
    if measurement.no_interval and not math.isnan(measurement.reach):
        return cut((value - measurement.reach, value + measurement.reach), possible)
    return value, value


def _overlap(first: tuple[float, float], second: tuple[float, float]) -> bool:
    return first[0] <= second[1] and second[0] <= first[1]


def _inside(value: float, band: tuple[float, float]) -> bool:
    return band[0] <= value <= band[1]


def joined(*parts: str) -> str:
    """Parts of a sentence by semicolons, without empty ones."""
    return "; ".join(part for part in parts if part)
