"""Results are made with one loss on one data set, one ``evaluate`` and one ``train_on``: others are noticed."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from landscope.errors import LandscopeWarning
from landscope.landscape.flatness import SAME_LOSS
from landscope.landscape.lines import start_lines
from landscope.progress import Reporter
from landscope.risk import EmpiricalRisk
from landscope.study import saved
from landscope.study.analysis import Analysis
from landscope.study.folder import TRAINED
from landscope.study.parts import Stage
from landscope.study.stages.dynamics import DYNAMICS
from landscope.study.stages.law import LAW
from landscope.study.stages.modes import MODES
from landscope.study.stages.noise import OF_HISTORY
from landscope.study.trial import try_train_on

__all__ = ["notice_changes"]

_NOTE = "checked"
_SAME_MEASURE = 1e-5
_SAME_TRIAL = 1e-2
_OF_CONTINUED = ("continued", "continued-ends", "continued-steps")


def notice_changes(analysis: Analysis, stages: Sequence[Stage], reporter: Reporter) -> bool:
    """Delete results that were made with another loss, other data, another ``evaluate`` or another ``train_on``.

    The loss is compared at w0 and two further points, ``evaluate`` at the last and the first whole model, and
    ``train_on`` by four steps. What is there now is kept for the next analysis.

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
    folder, before = analysis.folder, analysis.folder.read_note(_NOTE)
    found = {**before, **_found(analysis, stages)}
    said: list[str] = []
    if _results_of_loss(analysis) and _differs(before.get("loss"), found.get("loss"), SAME_LOSS):
        said.append(
            f"The data or the loss are others now than for the results in {folder.path} (the loss at w0 was "
            f"{before['loss'][0]:.6g} and is {found['loss'][0]:.6g}; two further points are compared too). All results "
            "but the modes are measured again"
        )
        _remove(analysis, _results_of_loss(analysis), _OF_CONTINUED)
    if _results_of_evaluate(analysis) and _differs(before.get("evaluate"), found.get("evaluate"), _SAME_MEASURE):
        said.append(
            "evaluate gives other numbers than those of the results: losses and errors over the training, and what is "
            "made of them, are measured again"
        )
        names = _results_of_evaluate(analysis)
        folder.drop_evaluated_history()
        _remove(analysis, [name for name in names if name != saved.TRAINING.name])
    if _results_of_train_on(analysis) and _differs(before.get("train_on"), found.get("train_on"), _SAME_TRIAL):
        said.append("train_on takes other steps than for the results: the trainings that go on are measured again")
        _remove(analysis, _results_of_train_on(analysis), _OF_CONTINUED)
    for sentence in said:
        reporter.note(f"{sentence}.")
        warnings.warn(f"{sentence}.", LandscopeWarning, stacklevel=3)
    if found != before:
        folder.note(_NOTE, found)
    return bool(said)


def _found(analysis: Analysis, stages: Sequence[Stage]) -> dict[str, Any]:
    """A few numbers by which the functions and the data of now are known."""
    subject, found = analysis.subject, dict[str, Any]()
    if subject.evaluate is not None and LAW in stages:
        steps = sorted({analysis.windows.step, *analysis.checkpoints.steps()[:1]}, reverse=True)
        measured = [subject.measure(analysis.model_at(step), seed=analysis.settings.seed) for step in steps]
        found["evaluate"] = [value for values in measured for value in values.values()]
    if subject.train_on is not None and DYNAMICS in stages:
        trial = try_train_on(analysis)
        found["train_on"] = None if trial is None else list(trial.numbers)
    if any(stage is not MODES for stage in stages):
        found["loss"] = _losses(analysis.risk, analysis.window.row(0))
    return found


def _losses(risk: EmpiricalRisk, row: Tensor) -> list[float]:
    """The loss at w0, along a line, where a small loss has more digits; at another point, and at its reflection."""
    away, direction = row.to(risk.w0) - risk.w0, torch.zeros_like(risk.w0)[None]
    direction[0, 0] = 1
    return [start_lines(risk, risk.w0, direction).loss, *(float(risk(risk.w0 + sign * away)) for sign in (1, -1))]


def _differs(before: Sequence[float | None] | None, now: Sequence[float | None] | None, rtol: float) -> bool:
    """Whether numbers changed; those that a note kept as null, or that were not taken, are not compared."""
    if before is None or now is None:
        return False
    pairs = [(math.nan if a is None else a, math.nan if b is None else b) for a, b in zip(before, now, strict=False)]
    return any(not (math.isclose(a, b, rel_tol=rtol) or (math.isnan(a) and math.isnan(b))) for a, b in pairs)


def _results_of_loss(analysis: Analysis) -> list[str]:
    kept = {part.name for part in MODES.parts(analysis)} | set(TRAINED)
    return [name for name in analysis.folder.names() if name not in kept]


def _results_of_evaluate(analysis: Analysis) -> list[str]:
    names = (*OF_HISTORY, saved.DRIFT_PATH.name)
    is_evaluated = analysis.folder.has_evaluated_history
    return [*(name for name in names if analysis.folder.has(name)), *([saved.TRAINING.name] if is_evaluated else [])]


def _results_of_train_on(analysis: Analysis) -> list[str]:
    names = [part.name for part in DYNAMICS.parts(analysis) if "train_on" in part.needs]
    return [name for name in (*names, saved.RUN_LIMIT.name) if analysis.folder.has(name)]


def _remove(analysis: Analysis, results: Iterable[str], notes: Iterable[str] = ()) -> None:
    for name in results:
        analysis.folder.remove(name)
    for name in notes:
        (analysis.folder.path / f"{name}.json").unlink(missing_ok=True)
