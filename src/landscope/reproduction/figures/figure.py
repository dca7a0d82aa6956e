"""What a figure of the paper is here: jobs that need doing, and sections of a page once they are done."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, runtime_checkable

from landscope.claims.verdict import Judgement
from landscope.law.intervals import with_interval
from landscope.reproduction.experiment.folder import ExperimentFolder
from landscope.reproduction.experiment.settings import Settings
from landscope.reproduction.jobs import Job
from landscope.results import Result

if TYPE_CHECKING:
    import plotly.graph_objects as go

__all__ = ["Figure", "Picture", "Plan", "Plot", "Section", "claims_table", "plots_of", "table"]

_Item = TypeVar("_Item")
_AnyResult = TypeVar("_AnyResult", bound=Result)


@dataclasses.dataclass(frozen=True)
class Plan:
    """Where a reproduction goes, and what all its figures share.

    Args:
        folder: Folder of all runs and results.
        settings: Settings of the runs, before the changes that each figure makes.
        seeds: Number of seeds, from 0.
        quick: Take small sizes on the built-in data, done in minutes.
        pairs: Batch sizes and learning rates of figures of single runs; by default each figure has its own.
    """

    folder: Path
    settings: Settings
    seeds: int
    quick: bool = False
    pairs: tuple[tuple[int, float], ...] = ()

    def settings_with(self, **changes: Any) -> Settings:
        """The shared settings with some changed."""
        return Settings.of({**self.settings.model_dump(), **changes})

    def run_path(self, name: str) -> Path:
        """Folder of a run; figures that name the same run share it."""
        return self.folder / "runs" / name

    def load(self, run: str, name: str, kind: type[_AnyResult]) -> _AnyResult:
        """A result of a run."""
        return ExperimentFolder.open(self.run_path(run)).load(name, kind)


@dataclasses.dataclass(frozen=True)
class Plot:
    """One picture of a section.

    Args:
        heading: First words of the caption.
        draw: Draws it; None if there is nothing to draw.
        caption: Rest of the caption.
        wide: Whether it takes the whole width of the page.
    """

    heading: str
    draw: Callable[[], go.Figure | None]
    caption: str = ""
    wide: bool = False


Picture = tuple[str, Callable[[Any], "go.Figure | None"], str]
"""Heading of a plot, the function that draws some results, and the rest of the caption."""


def plots_of(pictures: Sequence[Picture], results: object) -> list[Plot]:
    """Plots of some results, drawn when a page asks for them."""
    return [Plot(heading, functools.partial(draw, results), caption) for heading, draw, caption in pictures]


@dataclasses.dataclass(frozen=True)
class Section:
    """One part of the page.

    Args:
        key: Short name; the key of the figure where it has one section.
        title: Heading.
        text: What was done, in a few sentences.
        headings: Headings of the table.
        rows: Rows of the table.
        judgements: Claims that the section decides.
        values: Its numbers, for JSON.
        plots: Its pictures.
    """

    key: str
    title: str
    text: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    judgements: Sequence[Judgement]
    values: Mapping[str, Any]
    plots: Sequence[Plot] = ()


@runtime_checkable
class Figure(Protocol):
    """A figure or section of the paper that can be reproduced: a module, or an entry of the single runs."""

    @property
    def key(self) -> str:
        """Short name, as on the command line."""
        ...

    @property
    def title(self) -> str:
        """Heading."""
        ...

    def jobs(self, plan: Plan) -> list[Job]:
        """Independent pieces of work; each does nothing where its results are there."""
        ...

    def sections(self, plan: Plan) -> list[Section]:
        """Tables, claims and plots, when all jobs are done."""
        ...


def table(columns: Mapping[str, Callable[[_Item], str]], items: Iterable[_Item]) -> tuple[list[str], list[list[str]]]:
    """Headings and rows of a table.

    Args:
        columns: Heading -> the text of its cell in the row of an item.
        items: One for each row.

    Example:
        >>> table({"n": str, "n^2": lambda n: f"{n * n}"}, [1, 2])
        (['n', 'n^2'], [['1', '1'], ['2', '4']])
    """
    return list(columns), [[cell(item) for cell in columns.values()] for item in items]


def claims_table(judgements: Iterable[Judgement]) -> tuple[list[str], list[list[str]]]:
    """Headings and rows of a table of claims."""
    columns: dict[str, Callable[[Judgement], str]] = {
        "source": lambda j: j.claim.source,
        "claim": lambda j: j.claim.statement,
        "paper": lambda j: j.claim.quoted,
        "measured": lambda j: with_interval(j.measurement.value, j.measurement.interval, ".3g"),
        "verdict": lambda j: j.verdict,
        "why": lambda j: j.why,
    }
    return table(columns, judgements)
