"""Which results can be made with what a study has now, and what to add for the others: known before hours of work."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import ClassVar

from landscope.errors import InputError
from landscope.parameters import ParameterSpace
from landscope.study import saved
from landscope.study.analysis import Analysis
from landscope.study.few_samples import SECOND_DERIVATIVES, quietly, risk_of_few
from landscope.study.parts import NEEDS, Need, Part, Stage
from landscope.study.recording import is_recorded
from landscope.study.relaxation import step_rule_of
from landscope.study.stages import STAGES
from landscope.study.text_table import TextTable
from landscope.study.training_facts import check_heavy_ball

__all__ = ["StageOutlook", "StageTable", "stage_table"]

_BEFORE_RECORDING: set[Need] = {"evaluate", "train_on", "minibatches", "epochs", "history", *SECOND_DERIVATIVES}
"""Needs that are known before anything was recorded."""


@dataclasses.dataclass(frozen=True)
class StageOutlook:
    """What a stage can make.

    Args:
        stage: Name of the stage.
        n_results: Number of its results.
        missing: Names of the results that cannot be made, by the reason, with what to add.
    """

    stage: str
    n_results: int
    missing: dict[str, tuple[str, ...]]

    @property
    def n_possible(self) -> int:
        """Number of results that nothing known stands against."""
        return self.n_results - sum(map(len, self.missing.values()))

    @property
    def sentences(self) -> list[str]:
        """Each reason with the number of results that it stands against."""
        return [f"{len(names)} result{'s' * (len(names) > 1)}: {reason}" for reason, names in self.missing.items()]


class StageTable(TextTable, list[StageOutlook]):
    """What each stage of an analysis can make with what the study has now. Printed, it is a table.

    Example:
        >>> StageTable([StageOutlook("dynamics", 18, {"needs training on: ls.Study(..., train_on=f)": ("a", "b")})])
        stage     results that can be made  what is missing
        dynamics  16 of 18                  2 results: needs training on: ls.Study(..., train_on=f)
    """

    headings: ClassVar[tuple[str, ...]] = ("stage", "results that can be made", "what is missing")

    def cells(self) -> list[list[str]]:
        """A row for each reason; a stage without one has one row."""
        rows = []
        for outlook in self:
            counts = f"{outlook.n_possible} of {outlook.n_results}"
            reasons = outlook.sentences or [""]
            rows += [[outlook.stage, counts, reasons[0]], *(["", "", reason] for reason in reasons[1:])]
        return rows


def stage_table(analysis: Analysis, stages: Sequence[Stage] = STAGES) -> StageTable:
    """What stands against the results of some stages, as far as it is known now.

    The functions, the data and the settings are known from the beginning; the optimiser and the windows once a training
    was recorded. A few samples tell whether each has a loss of its own.

    Args:
        analysis: The analysis.
        stages: The stages; all by default.
    """
    recorded = is_recorded(analysis.folder)
    without_samples = functools.cache(lambda: _reason_of_samples(analysis, is_recorded=recorded))  # asked if needed
    against, table = dict[str, str](), StageTable()
    last = max((STAGES.index(stage) for stage in stages), default=-1)
    for stage in STAGES[: last + 1]:
        parts, missing = stage.parts(analysis), dict[str, list[str]]()
        for part in parts:
            if analysis.has(part.result):
                continue
            if reason := _reason(analysis, part, against, without_samples, is_recorded=recorded):
                against[part.name] = reason
                missing.setdefault(reason, []).append(part.name)
        if stage in stages:
            found = {reason: tuple(names) for reason, names in missing.items()}
            table.append(StageOutlook(stage.name, len(parts), found))
    return table


def _reason(
    analysis: Analysis, part: Part, against: dict[str, str], without_samples: Callable[[], str], *, is_recorded: bool
) -> str:  # fmt: skip
    for need in part.needs:
        if (is_recorded or need in _BEFORE_RECORDING) and _lacks(analysis, need):
            return f"needs {NEEDS[need]}"
    if "minibatches" in part.needs and (reason := without_samples()):
        return reason
    rule = _RULES.get(part.name.rstrip("0123456789"))
    if rule is not None and analysis.facts.optimizer:
        try:
            rule(analysis)
        except InputError as error:
            return f"needs {error.expected}: the training has {error.got}"
    return next((against[result.name] for result in part.after if result.name in against), "")


def _lacks(analysis: Analysis, need: Need) -> bool:
    """Whether a need is not there, and no earlier stage makes it: ``evaluate`` gives losses at the saved models."""
    return analysis.lacks(need) and not (need == "history" and not analysis.lacks("evaluate"))


def _reason_of_samples(analysis: Analysis, *, is_recorded: bool) -> str:
    """Why single samples have no loss; empty where they have, or where it is not known."""
    if not analysis.has_subject or analysis.batch_size is None:
        return ""
    subject = analysis.subject
    with quietly():
        risk = risk_of_few(subject, analysis.space if is_recorded else ParameterSpace.of(subject.model))
        if risk is None:
            return ""
        try:
            risk.minibatches(1)
        except InputError as error:
            if subject.losses is not None and subject.batch_size == analysis.batch_size:
                return ""  # the batches of the loader are the minibatches
            return f"needs {error.expected}; got {error.got}. {error.hint}"
        except Exception:  # noqa: BLE001 - of the user's model: the analysis comes to it
            return ""
    return ""


def _heavy_ball(analysis: Analysis) -> None:
    check_heavy_ball(analysis.facts, hint="")


def _known_step(analysis: Analysis) -> None:
    step_rule_of(analysis.facts)


_RULES: dict[str, Callable[[Analysis], None]] = {
    saved.EQUILIBRIUM.name: _heavy_ball,
    saved.exponents("langevin").name: _heavy_ball,
    saved.run_limit("checkpoints", "curvature").name: _heavy_ball,
    saved.WINDOW_LIMIT.name: _known_step,
    saved.RELAXATION.name: _known_step,
    saved.PROCESS: _known_step,
    saved.PROCESS_FRESH: _known_step,
}
"""What results need of the optimiser, by the begin of their names."""
