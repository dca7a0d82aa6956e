"""Reproduce figures of the paper: run their jobs, and write all claims, tables and times."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

from landscope.claims.verdict import Judgement
from landscope.errors import InputError, StorageError
from landscope.progress import Reporter
from landscope.reproduction.figures.figure import CLAIM_HEADINGS, Figure, Plan, Section, claim_row
from landscope.reproduction.jobs import perform, seconds_of
from landscope.storage.atomic import write_json, write_text

__all__ = ["Reproduction", "reproduce"]


@dataclasses.dataclass(frozen=True)
class Reproduction:
    """Results of several figures.

    Args:
        plan: The plan of the reproduction.
        sections: Sections of the figures, in order.
        seconds: Title of a figure -> seconds of its jobs, added over processes.
    """

    plan: Plan
    sections: Sequence[Section]
    seconds: Mapping[str, float]

    @property
    def judgements(self) -> list[Judgement]:
        """Every claim once, in the order of the sections."""
        by_key: dict[str, Judgement] = {}
        for section in self.sections:
            for judgement in section.judgements:
                by_key.setdefault(judgement.claim.key, judgement)
        return list(by_key.values())


def reproduce(
    plan: Plan,
    figures: Sequence[Figure],
    reporter: Reporter,
    *,
    processes: int = 1,
    after: Callable[[Reproduction], object] = lambda _: None,
) -> Reproduction:
    """Reproduce figures one after another, and after each write ``claims.md`` and ``numbers.json``.

    Existing results are kept.

    Args:
        plan: Folder, settings and number of seeds.
        figures: The figures.
        reporter: Shows progress.
        processes: Number of jobs side by side.
        after: Called with the results so far, after each figure.

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
    results = Reproduction(plan, [], {})
    for figure, jobs in planned:
        reporter.note(f"[bold]{figure.title}[/bold]")
        timings = plan.folder / "timings" / f"{figure.key}.json"
        perform(jobs, reporter, timings, processes=processes)
        seconds = {**results.seconds, figure.title: sum(seconds_of(timings).values())}
        results = Reproduction(plan, [*results.sections, *figure.sections(plan)], seconds)
        _write(results)
        after(results)
    return results


def _write(results: Reproduction) -> None:
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
    write_json(results.plan.folder / "numbers.json", {"claims": claims, **numbers})
    write_text(results.plan.folder / "claims.md", _as_markdown(results))


def _as_markdown(results: Reproduction) -> str:
    """Claims, tables and times as one text."""
    plan = results.plan
    claims = [claim_row(judgement) for judgement in results.judgements]
    times = [[title, f"{seconds / 60:.1f}"] for title, seconds in results.seconds.items()]
    parts = [
        f"Data {plan.settings.data}, {plan.seeds} seeds where a table does not say otherwise. Verdicts are computed "
        "from means over seeds.",
        *([_table(CLAIM_HEADINGS, claims)] if claims else []),
        *(_as_text(section) for section in results.sections if section.rows),
        "## Time of every figure",
        _table(("figure", "minutes of one process"), times),
    ]
    return "\n\n".join(parts) + "\n"


def _as_text(section: Section) -> str:
    parts = (f"## {section.title}", section.text, _table(section.headings, section.rows))
    return "\n\n".join(part for part in parts if part)


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [headings, ("---",) * len(headings), *rows]
    return "\n".join("| " + " | ".join(text.replace("|", "\\|") for text in line) + " |" for line in lines)
