"""All recipes of a reproduction, one claims table, and the time of every part."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from landscope.errors import InputError, StorageError
from landscope.paper.claims import Judgement
from landscope.run.jobs import perform, seconds_of
from landscope.run.progress import Reporter
from landscope.run.recipes import Plan, Recipe, Section
from landscope.storage import write_json, write_text

__all__ = ["Reproduction", "reproduce_recipes"]

_CLAIM_HEADINGS = ("source", "claim", "paper", "measured", "verdict", "why")


@dataclasses.dataclass(frozen=True)
class Reproduction:
    """What all recipes found.

    Args:
        plan: What was asked for.
        sections: What each recipe says.
        seconds: Of each recipe, over all times it was begun, added over processes.
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


def reproduce_recipes(plan: Plan, recipes: Sequence[Recipe], reporter: Reporter, *, processes: int = 1) -> Reproduction:
    """Run recipes one after another (what is there is kept), and write ``claims.md`` and ``numbers.json``.

    Args:
        plan: Where, with which settings, over how many seeds.
        recipes: Which.
        reporter: Told of progress.
        processes: Jobs side by side.

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
    sections: list[Section] = []
    seconds: dict[str, float] = {}
    for recipe in recipes:
        reporter.note(f"[bold]{recipe.title}[/bold]")
        timings = plan.folder / "timings" / f"{recipe.key}.json"
        perform(recipe.jobs(plan), reporter, timings, processes=processes)
        sections += recipe.sections(plan)
        seconds[recipe.title] = sum(seconds_of(timings).values())
    found = Reproduction(plan, sections, seconds)
    write_json(plan.folder / "numbers.json", {section.key: dict(section.values) for section in sections})
    write_text(plan.folder / "claims.md", as_markdown(found))
    return found


def as_markdown(found: Reproduction) -> str:
    """Claims, tables and times as one text."""
    settings = found.plan.settings
    claims = [_claim(judgement) for judgement in found.judgements]
    times = [[title, f"{seconds / 60:.1f}"] for title, seconds in found.seconds.items()]
    parts = [
        f"Data {settings.data}, {found.plan.seeds} seeds. Verdicts are computed from means over seeds.",
        table(_CLAIM_HEADINGS, claims),
        *(_as_text(section) for section in found.sections if section.rows),
        "## Time of every part",
        table(("part", "minutes of one process"), times),
    ]
    return "\n\n".join(parts) + "\n"


def _as_text(section: Section) -> str:
    parts = (f"## {section.title}", section.text, table(section.headings, section.rows))
    return "\n\n".join(part for part in parts if part)


def _claim(judgement: Judgement) -> list[str]:
    claim, measured = judgement.claim, judgement.measurement
    low, high = measured.interval
    interval = "" if low != low else f" [{low:.3g}, {high:.3g}]"
    why = judgement.sentence.split("; ", 2)[-1] if judgement.sentence.count("; ") > 1 else ""
    return [
        claim.source, claim.statement, claim.quoted, f"{measured.value:.3g}{interval}", judgement.verdict, why,
    ]  # fmt: skip


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [headings, ("---",) * len(headings), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
