"""What results are made with: one loss on one data set, one ``evaluate``, one ``train_on``. Others are noticed."""

from __future__ import annotations

import dataclasses
import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from landscope.errors import LandscopeError, LandscopeWarning, StorageError
from landscope.landscape.flatness import SAME_LOSS
from landscope.landscape.lines import start_lines
from landscope.notices import warn
from landscope.progress import Reporter
from landscope.risk import EmpiricalRisk
from landscope.study import saved
from landscope.study.analysis import Analysis
from landscope.study.data_identity import DataIdentity, draws_at_each_reading
from landscope.study.folder import TRAINED, StudyFolder
from landscope.study.parts import Stage
from landscope.study.stages.dynamics import DYNAMICS
from landscope.study.stages.law import LAW
from landscope.study.stages.modes import MODES
from landscope.study.stages.noise import OF_HISTORY
from landscope.study.trial import try_train_on

__all__ = ["made_with_others", "notice_changes"]

Input = str
"""What a result is made with: ``"loss"``, ``"data"``, ``"evaluate"`` or ``"train_on"``."""
_WORDS = {
    "loss": "another loss or other data",
    "data": "other data",
    "evaluate": "another evaluate",
    "train_on": "another train_on",
}
_INPUTS = tuple(_WORDS)
_SAME = {"loss": SAME_LOSS, "evaluate": 1e-5, "train_on": 1e-2}
"""Relative differences below which numbers are of the same function."""
_OF_CONTINUED = ("continued", "continued-ends", "continued-steps")


def notice_changes(analysis: Analysis, stages: Sequence[Stage], reporter: Reporter) -> bool:
    """Delete results that were made with another loss, other data, another ``evaluate`` or another ``train_on``.

    The loss is compared at w0 and two further points, ``evaluate`` at the last and the first whole model, and
    ``train_on`` by four steps. Data are compared by their loss; where each reading draws other samples, by what of a
    few samples stays the same. The numbers of now stand in every result that is made next.

    Args:
        analysis: The analysis that begins.
        stages: Its stages; what none of them needs is not compared.
        reporter: Shows what is measured again.

    Returns:
        Whether results were deleted.

    Raises:
        InputError: If ``evaluate`` gives something else than numbers by name, or ``train_on`` does something else than
            train on.
    """
    if not analysis.has_subject:
        return False
    folder, now = analysis.folder, _inputs_now(analysis, stages)
    folder.made_with = now
    before = {name: folder.made_with_of(name) for name in folder.names() if folder.fits(name)}
    said = list[str]()
    changed = {name: _differing(made, now) & _inputs_of(name, analysis) for name, made in before.items()}
    of_loss = [name for name, inputs in changed.items() if inputs & {"loss", "data"}]
    if of_loss and not _is_another_draw(analysis, [before[name] for name in of_loss]):
        said.append(_said_of_loss(folder, before[of_loss[0]], now))
        _remove(analysis, of_loss, _OF_CONTINUED)
    elif of_loss:
        said.append(
            f"The loss at w0 was {_first(before[of_loss[0]]):.6g} for the results in {folder.path} and is "
            f"{_first(now):.6g}: each reading of the data draws other samples. The results stay, and what is measured "
            "now is of another draw. If you changed the loss, call study.discard_results()"
        )
        _remove(analysis, folder.names(saved.FLATNESS_PIECES))
    if names := [name for name, inputs in changed.items() if "evaluate" in inputs]:
        said.append(
            "evaluate gives other numbers than those of the results: losses and errors over the training, and what is "
            "made of them, are measured again"
        )
        folder.drop_evaluated_history()
        _remove(analysis, [name for name in names if name != saved.TRAINING.name])
    if names := [name for name, inputs in changed.items() if "train_on" in inputs]:
        said.append("train_on takes other steps than for the results: the trainings that go on are measured again")
        _remove(analysis, names, _OF_CONTINUED)
    for name in _OF_CONTINUED:
        if _differing(_of_note(folder, name), now):
            _remove(analysis, (), (name,))
    for sentence in said:
        reporter.note(f"{sentence}.")
        warn(f"{sentence}.", LandscopeWarning)
    return bool(said)


def made_with_others(folder: StudyFolder) -> Iterator[tuple[str, str]]:
    """Files of results that were made with another loss, data or function than most others, and in what they differ."""
    analysis, made = Analysis(folder, None), dict[str, dict[str, Any]]()
    try:
        for name in folder.names():
            if folder.is_whole(name) and (inputs := _inputs_of(name, analysis)):
                found = folder.made_with_of(name)
                made[name] = {one: found[one] for one in inputs if one in found}
    except LandscopeError:
        return  # the stages need something that is named already
    counted = {one: Counter(json.dumps(found[one]) for found in made.values() if one in found) for one in _INPUTS}
    usual = {one: json.loads(counts.most_common(1)[0][0]) for one, counts in counted.items() if counts}
    if DataIdentity.of(usual.get("data")).may_be_random:
        usual.pop("loss", None)  # of another draw
    files = {f"{name}.zarr.zip": found for name, found in made.items()}
    files |= {f"{name}.json": _of_note(folder, name) for name in _OF_CONTINUED if name in folder.notes()}
    for file, found in files.items():
        if different := _differing(found, usual):
            yield file, f"made with {' and '.join(sorted(_WORDS[one] for one in different))}"


def _of_note(folder: StudyFolder, name: str) -> dict[str, Any]:
    """What a note of trainings that go on was made with."""
    try:
        made = folder.made_with_of_note(name)
    except StorageError:
        return {}  # named as damaged
    return {one: made[one] for one in ("loss", "data", "train_on") if one in made}


def _inputs_of(name: str, analysis: Analysis) -> set[Input]:
    """What a result is made with, beside the recording and the settings."""
    if name in {part.name for part in MODES.parts(analysis)}:
        return set()
    if name in TRAINED:
        return {"evaluate"} if name == saved.TRAINING.name and analysis.folder.has_evaluated_history else set()
    found: set[Input] = {"loss", "data"}
    if name in (*OF_HISTORY, saved.DRIFT_PATH.name):
        found.add("evaluate")
    of_train_on = {part.name for part in DYNAMICS.parts(analysis) if "train_on" in part.needs}
    if name in of_train_on or name == saved.RUN_LIMIT.name:
        found.add("train_on")
    return found


def _differing(made: Mapping[str, Any], now: Mapping[str, Any]) -> set[Input]:
    """In what two such mappings differ; what one of them does not have is not compared."""
    found = {name for name, rtol in _SAME.items() if _differs(made.get(name), now.get(name), rtol)}
    # The same samples in another order, or rounded otherwise, have the same loss.
    data, own = DataIdentity.of(made.get("data")), DataIdentity.of(now.get("data"))
    is_known_by_loss = "loss" in made and "loss" in now and not (data.is_random or own.is_random)
    return found | ({"data"} if not is_known_by_loss and data.differs(own) else set())


def _inputs_now(analysis: Analysis, stages: Sequence[Stage]) -> dict[str, Any]:
    """A few numbers by which the functions and the data of now are known."""
    subject, found = analysis.subject, dict[str, Any]()
    if subject.evaluate is not None and LAW in stages:
        steps = sorted({analysis.windows.step, *analysis.checkpoints.steps()[:1]}, reverse=True)
        measured = [subject.measure(analysis.model_at(step), seed=analysis.settings.seed) for step in steps]
        found["evaluate"] = [value for values in measured for value in values.values()]
    if subject.train_on is not None and DYNAMICS in stages:
        trial = try_train_on(analysis)
        found["train_on"] = None if trial is None else list(trial)
    if any(stage is not MODES for stage in stages):
        found["loss"] = _losses(analysis.risk, analysis.window.row(0))
        found["data"] = dataclasses.asdict(analysis.data_identity)
    return found


def _losses(risk: EmpiricalRisk, row: Tensor) -> list[float]:
    """The loss at w0, along a line, where a small loss has more digits; at another point, and at its reflection."""
    away, direction = row.to(risk.w0) - risk.w0, torch.zeros_like(risk.w0)[None]
    direction[0, 0] = 1
    return [start_lines(risk, risk.w0, direction).loss, *(float(risk(risk.w0 + sign * away)) for sign in (1, -1))]


def _differs(before: Sequence[float | None] | None, now: Sequence[float | None] | None, rtol: float) -> bool:
    """Whether numbers changed; those that were kept as null, or that were not taken, are not compared."""
    if before is None or now is None:
        return False
    pairs = [(math.nan if a is None else a, math.nan if b is None else b) for a, b in zip(before, now, strict=False)]
    return any(not (math.isclose(a, b, rel_tol=rtol) or (math.isnan(a) and math.isnan(b))) for a, b in pairs)


def _is_another_draw(analysis: Analysis, before: Sequence[Mapping[str, Any]]) -> bool:
    """Whether other losses come from data that draw other samples at each reading, and not from other data."""
    own = analysis.data_identity
    if any(own.differs(DataIdentity.of(made.get("data"))) for made in before):
        return False
    return own.is_random or (own.may_be_random and draws_at_each_reading(analysis.subject.data))


def _first(made: Mapping[str, Any]) -> float:
    return (made.get("loss") or [math.nan])[0]


def _said_of_loss(folder: StudyFolder, before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    return (
        f"The data or the loss are others now than for the results in {folder.path} (the loss at w0 was "
        f"{_first(before):.6g} and is {_first(now):.6g}; two further points are compared too, and a few samples). All "
        "results but the modes are measured again"
    )


def _remove(analysis: Analysis, results: Iterable[str], notes: Iterable[str] = ()) -> None:
    for name in results:
        analysis.folder.remove(name)
    for name in notes:
        analysis.folder.remove_note(name)
