"""All recipes of a reproduction, one claims table, and the time of every part."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

from landscope.claims.verdict import Judgement
from landscope.errors import InputError, StorageError
from landscope.progress import Reporter
from landscope.reproduction.figures.recipe import Plan, Recipe, Section
from landscope.reproduction.jobs import perform, seconds_of
from landscope.reproduction.pooling import measured_cell, table
from landscope.storage.atomic import write_json, write_text

__all__ = ["Reproduction", "reproduce_recipes"]

_CLAIM_HEADINGS = ("source", "claim", "paper", "measured", "verdict", "why")


@dataclasses.dataclass(frozen=True)
class Reproduction:
    """What all recipes found.

    Args:
        plan: What was asked for.
        sections: What each recipe says.
        seconds: Of the jobs of each recipe that ended, added over processes.
    """

    plan: Plan
    sections: Sequence[Section]
    seconds: Mapping[str, float]

    @property
    def judgements(self) -> list[Judgement]:
        """Every claim once, in the order of the sections."""
        seen: dict[str, Judgement] = {}
        for section in self.sections:
            for judgement in section.judgements:
                seen.setdefault(judgement.claim.key, judgement)
        return list(seen.values())


def reproduce_recipes(
    plan: Plan,
    recipes: Sequence[Recipe],
    reporter: Reporter,
    *,
    processes: int = 1,
    after: Callable[[Reproduction], object] = lambda _: None,
) -> Reproduction:
    """Run recipes one after another (what is there is kept), and after each write ``claims.md`` and ``numbers.json``.

    Args:
        plan: Where, with which settings, over how many seeds.
        recipes: Which.
        reporter: Told of progress.
        processes: Jobs side by side.
        after: Told what was found so far, after each recipe.

    Returns:
        What was found.

    Raises:
        InputError: If fewer than two seeds are asked for.
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
    planned = [(recipe, recipe.jobs(plan)) for recipe in recipes]  # what is missing is told before hours of work
    found = Reproduction(plan, [], {})
    for recipe, jobs in planned:
        reporter.note(f"[bold]{recipe.title}[/bold]")
        timings = plan.folder / "timings" / f"{recipe.key}.json"
        perform(jobs, reporter, timings, processes=processes)
        seconds = {**found.seconds, recipe.title: sum(seconds_of(timings).values())}
        found = Reproduction(plan, [*found.sections, *recipe.sections(plan)], seconds)
        _write(found)
        after(found)
    return found


def _write(found: Reproduction) -> None:
    claims = [
        {
            "key": judgement.claim.key,
            "verdict": judgement.verdict,
            "value": judgement.measurement.value,
            "interval": judgement.measurement.interval,
            "sentence": judgement.sentence,
        }
        for judgement in found.judgements
    ]
    numbers = {section.key: dict(section.values) for section in found.sections}
    write_json(found.plan.folder / "numbers.json", {"claims": claims, **numbers})
    write_text(found.plan.folder / "claims.md", as_markdown(found))


def as_markdown(found: Reproduction) -> str:
    """Claims, tables and times as one text."""
    settings = found.plan.settings
    claims = [_claim(judgement) for judgement in found.judgements]
    times = [[title, f"{seconds / 60:.1f}"] for title, seconds in found.seconds.items()]
    parts = [
        f"Data {settings.data}, {found.plan.seeds} seeds where a table does not say otherwise. Verdicts are computed "
        "from means over seeds.",
        *([table(_CLAIM_HEADINGS, claims)] if claims else []),
        *(_as_text(section) for section in found.sections if section.rows),
        "## Time of every part",
        table(("part", "minutes of one process"), times),
    ]
    return "\n\n".join(parts) + "\n"


def _as_text(section: Section) -> str:
    parts = (f"## {section.title}", section.text, table(section.headings, section.rows))
    return "\n\n".join(part for part in parts if part)


def _claim(judgement: Judgement) -> list[str]:
    claim, value = judgement.claim, measured_cell(judgement.measurement)
    return [claim.source, claim.statement, claim.quoted, value, judgement.verdict, judgement.why]
