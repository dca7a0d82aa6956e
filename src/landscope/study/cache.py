"""Parts of a stage: each is an artefact of its own, so that a killed stage goes on where it was."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TypeVar

from landscope.results import Result
from landscope.study.folder import RunFolder

__all__ = ["Done", "part"]

AnyResult = TypeVar("AnyResult", bound=Result)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Done(Result, kind="done"):
    """Says that a stage is whole as long as its parts are there.

    Args:
        parts: Names of the artefacts that hold its results.
    """

    parts: tuple[str, ...]


def part(run: RunFolder, name: str, kind: type[AnyResult], make: Callable[[], AnyResult]) -> AnyResult:
    """The part ``name``: read where it is there, made and kept where not."""
    if not run.has(name):
        run.save(name, make())
    return run.load(name, kind)
