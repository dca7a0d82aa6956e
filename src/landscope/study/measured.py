"""What the stages of a run measured on the paper's claims, read back and judged."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from landscope.claims.statements import CLAIMS
from landscope.claims.verdict import Control, Judgement, Measurement, judge
from landscope.errors import StorageError
from landscope.study.folder import RunFolder

__all__ = ["has_measurements", "judged", "judgements_of", "measurements_of"]

_STAGES = ("law", "noise", "controls")


def judgements_of(run: RunFolder) -> list[Judgement]:
    """The claims of the stages that are done, judged from saved measurements: no verdict is read from a file.

    Raises:
        StorageError: If the law stage has not been done, or a file is damaged.
    """
    return judged(measurements_of(run))


def judged(measured: Mapping[str, Measurement]) -> list[Judgement]:
    """The claims that something was measured on, in their own order."""
    return [judge(claim, measured[claim.key]) for claim in CLAIMS if claim.key in measured]


def has_measurements(run: RunFolder, stage: str) -> bool:
    """Whether the measurements of a stage are there."""
    return _path(run, stage).exists()


def _path(run: RunFolder, stage: str) -> Path:
    return run.path / f"measurements-{stage}.json"


def measurements_of(run: RunFolder) -> dict[str, Measurement]:
    """What the stages of a run measured, by claim.

    Raises:
        StorageError: If the law stage has not been done, or a file is damaged.
    """
    found: dict[str, Measurement] = {}
    for stage in _STAGES:
        path = _path(run, stage)
        if stage != "law" and not path.exists():
            continue
        try:
            items = json.loads(path.read_text(encoding="utf-8"))
            found |= {key: _measurement(item) for key, item in items.items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise StorageError(
                expected=f"the measurements of a finished run at {path}",
                got=type(error).__name__,
                hint=f"Delete {path.name} if it is there, and give landscope {stage} {run.path}.",
            ) from error
    if run.summary().get("exploration_reached", True):
        return found
    caveat = "the training error was not zero when the window began"
    return {
        key: m if caveat in m.note else dataclasses.replace(m, note=f"{m.note}; {caveat}" if m.note else caveat)
        for key, m in found.items()
    }


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _measurement(item: dict[str, Any]) -> Measurement:
    low, high = (_number(value) for value in item["interval"])
    controls = [
        Control(
            control["name"],
            (_number(control["band"][0]), _number(control["band"][1])),
            control["must"],
            control["finding"],
        )
        for control in item["controls"]
    ]
    return Measurement(_number(item["value"]), (low, high), tuple(controls), item["note"])
