"""What a recipe is: the jobs that a figure of the paper needs, and what they say once done."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from landscope.claims.verdict import Judgement
from landscope.law.intervals import seed_interval
from landscope.reproduction.experiment.settings import Settings
from landscope.reproduction.jobs import Job

__all__ = ["Plan", "Recipe", "Section", "mean_with_interval", "mean_with_spread"]


@dataclasses.dataclass(frozen=True)
class Plan:
    """What all recipes of a reproduction share.

    Args:
        folder: Where everything goes.
        settings: Settings of the runs, before each recipe's own changes.
        seeds: Number of seeds, from 0.
        quick: Take sizes that are done in minutes, on the built-in data.
    """

    folder: Path
    settings: Settings
    seeds: int
    quick: bool = False

    def settings_with(self, **changes: Any) -> Settings:
        """The shared settings with some changed."""
        return Settings.of({**self.settings.model_dump(), **changes})

    def run_path(self, name: str) -> Path:
        """Where a run goes; runs of the same name are shared by recipes."""
        return self.folder / "runs" / name


@dataclasses.dataclass(frozen=True)
class Section:
    """What a recipe says.

    Args:
        key: Of the recipe.
        title: Heading.
        text: What was done, in a few sentences.
        headings: Of the table.
        rows: Of the table.
        judgements: The claims it decides.
        values: Its numbers, for JSON.
        shown: What its figures are drawn from.
    """

    key: str
    title: str
    text: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    judgements: Sequence[Judgement]
    values: Mapping[str, Any]
    shown: Any = None


@runtime_checkable
class Recipe(Protocol):
    """A figure or section of the paper that can be reproduced."""

    @property
    def key(self) -> str:
        """Short name, as on the command line."""
        ...

    @property
    def title(self) -> str:
        """Heading."""
        ...

    def jobs(self, plan: Plan) -> list[Job]:
        """What must be done."""
        ...

    def sections(self, plan: Plan) -> list[Section]:
        """What was found, when all jobs are done."""
        ...


def mean_with_interval(values: Sequence[float], form: str = ".2f") -> str:
    """A mean with its interval over seeds, for a table."""
    finite = [value for value in values if value == value]
    if not finite:
        return "–"
    low, high = seed_interval(finite)
    mean = sum(finite) / len(finite)
    return f"{mean:{form}}" + ("" if len(finite) < 2 else f" [{low:{form}}, {high:{form}}]")


def mean_with_spread(values: Sequence[float]) -> str:
    """A mean and its standard deviation over seeds."""
    return f"{statistics.fmean(values):.2f} ± {statistics.stdev(values):.2f}"
