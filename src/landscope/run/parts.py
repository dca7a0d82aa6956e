"""Parts of a stage: each is an artefact of its own, so that a killed stage goes on where it was."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from landscope.results import Result
from landscope.run.folder import RunFolder

__all__ = ["Done", "part"]

AnyResult = TypeVar("AnyResult", bound=Result)


class Done(Result, kind="done"):
    """Says that a stage is whole; its results lie in its parts."""


def part(run: RunFolder, name: str, kind: type[AnyResult], make: Callable[[], AnyResult]) -> AnyResult:
    """The part ``name``: read where it is there, made and kept where not."""
    if not run.has(name):
        run.save(name, make())
    return run.load(name, kind)
