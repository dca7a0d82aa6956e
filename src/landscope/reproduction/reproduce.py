"""Reproduce figures of the paper: run their jobs, and write all claims, tables, plots and times."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from landscope import plots
from landscope.claims.multiplicity import false_verdicts
from landscope.claims.verdict import Judgement
from landscope.errors import InputError, StorageError
from landscope.files.atomic import write_json, write_text
from landscope.progress import Reporter
from landscope.report.claim_groups import claim_groups
from landscope.report.render import render
from landscope.reproduction.figures.command import command_of
from landscope.reproduction.figures.figure import Figure, Plan, Section, claims_table
from landscope.reproduction.jobs import perform, seconds_of
from landscope.wording import without_nan

__all__ = ["Reproduction", "reproduce"]

_Drawn = list[tuple[str, str, str, bool]]
"""The plots of a section: heading, HTML, caption, and whether it is wide."""


@dataclasses.dataclass(frozen=True)
class Reproduction:
    """Results of several figures so far.

    Args:
        plan: The plan of the reproduction.
        figures: The figures asked for.
        sections: Sections of the figures, in order.
        drawn: The plots of each section.
        seconds: Title of a figure -> seconds of its jobs, added over processes.
    """

    plan: Plan
    figures: Sequence[Figure]
    sections: list[Section] = dataclasses.field(default_factory=list)
    drawn: list[_Drawn] = dataclasses.field(default_factory=list)
    seconds: dict[str, float] = dataclasses.field(default_factory=dict)

    @property
    def judgements(self) -> list[Judgement]:
        """Every claim once, in the order of the sections."""
        by_key: dict[str, Judgement] = {}
        for section in self.sections:
            for judgement in section.judgements:
                by_key.setdefault(judgement.claim.key, judgement)
        return list(by_key.values())


def reproduce(
    plan: Plan, figures: Sequence[Figure], reporter: Reporter, *, processes: int = 1, executor: str = "processes"
) -> Reproduction:
    """Reproduce figures one after another, and after each write ``report.html``, ``claims.md`` and ``numbers.json``.

    Existing results are kept.

    Args:
        plan: Folder, settings and number of seeds.
        figures: The figures.
        reporter: Shows progress.
        processes: Number of jobs side by side.
        executor: Where they are done, see :func:`landscope.executors.Workers`.

    Returns:
        The results of all figures.

    Raises:
        InputError: If there are fewer than two seeds.
        StorageError: If the folder holds something else.
    """
    if plan.seeds < 2:
        raise InputError(
            expected="at least 2 seeds, for an interval over them", got=f"{plan.seeds}", hint="Pass --seeds 3, say."
        )
    if plan.folder.exists() and any(plan.folder.iterdir()) and not (plan.folder / "runs").is_dir():
        raise StorageError(
            expected=f"an empty folder or a reproduction at {plan.folder}", got="other files", hint="Choose another."
        )
    planned = [(figure, figure.jobs(plan)) for figure in figures]  # missing data show now, not after hours of work
    results = Reproduction(plan, figures)
    for figure, jobs in planned:
        reporter.note(f"[bold]{figure.title}[/bold]")
        timings = plan.folder / "timings" / f"{figure.key}.json"
        perform(jobs, reporter, timings, processes=processes, executor=executor)
        results.seconds[figure.title] = sum(seconds_of(timings).values())
        for section in figure.sections(plan):
            results.sections.append(section)
            results.drawn.append(_drawn(section))
        _write(results)
    return results


def _drawn(section: Section) -> _Drawn:
    drawn = [(plot, plot.draw()) for plot in section.plots]
    return [
        (plot.heading, plots.as_html(figure, f"{section.key}-{number}"), plot.caption, plot.wide)
        for number, (plot, figure) in enumerate(drawn)
        if figure is not None
    ]


def _write(results: Reproduction) -> None:
    plan = results.plan
    claims = [
        {
            "key": judgement.claim.key,
            "verdict": judgement.verdict,
            "value": judgement.measurement.value,
            "interval": judgement.measurement.interval,
            "sentence": judgement.sentence,
        }
        for judgement in results.judgements
    ]
    numbers = {section.key: dict(section.values) for section in results.sections}
    times = [[title, f"{seconds / 60:.1f}"] for title, seconds in results.seconds.items()]
    page = render(
        "reproduction.html.j2",
        title=f"Reproduction on {plan.settings.data}",
        about=f"{plan.seeds} seeds{', quick sizes' if plan.quick else ''}",
        judgements=results.judgements,
        sections=list(zip(results.sections, results.drawn, strict=True)),
        times=times,
    )
    write_json(plan.folder / "numbers.json", {"claims": claims, **numbers})
    write_text(plan.folder / "claims.md", _as_markdown(results, times))
    write_text(plan.folder / "report.html", page)


def _as_markdown(results: Reproduction, times: Sequence[Sequence[str]]) -> str:
    """Claims, tables and times as one text."""
    plan, judgements = results.plan, results.judgements
    parts = [
        f"# {_title(results)}",
        command_of(plan, results.figures),
        f"Data {plan.settings.data}, {plan.seeds} seeds where a table does not say otherwise. Verdicts are computed "
        "from means over seeds.",
        *(
            part
            for heading, same in claim_groups(judgements)
            for part in (f"## {heading}", _table(*claims_table(same)))
        ),
        *([str(false_verdicts(judgements))] if judgements else []),
    ]
    for section in results.sections:
        if section.rows:
            parts += [f"## {section.title}", section.text, _table(section.headings, section.rows)]
    parts += ["## Time of every figure", _table(("figure", "minutes of one process"), times)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _title(results: Reproduction) -> str:
    """That of the figure, or of all together."""
    figures = results.figures
    return figures[0].title if len(figures) == 1 else f"Reproduction on {results.plan.settings.data}"


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [headings, ("---",) * len(headings), *rows]
    return "\n".join("| " + " | ".join(without_nan(text).replace("|", "\\|") for text in line) + " |" for line in lines)
