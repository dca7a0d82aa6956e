"""Figures that single runs of the paper's own network show, pooled over seeds."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from landscope.errors import InputError
from landscope.progress import Reporter
from landscope.report.captions import CAPTIONS, WIDE
from landscope.reproduction.experiment.run import ExperimentRun
from landscope.reproduction.experiment.settings import Settings
from landscope.reproduction.figures.figure import Picture, Plan, Plot, Section, claims_table, plots_of
from landscope.reproduction.jobs import Job
from landscope.reproduction.seed_summary import COLUMNS, LAW_ROWS, SeedSummary

if TYPE_CHECKING:
    import plotly.graph_objects as go

__all__ = ["Pair", "SingleRuns", "create_run", "run_name", "standard_pair"]

Pair = tuple[int, float]
"""Batch size B and learning rate alpha."""

_TABLE_TEXT = "Mean over seeds with Student's 95 % interval; surrogates of one run are averaged first."


def standard_pair(settings: Settings) -> Pair:
    """Batch size and learning rate of the standard runs: the paper's 50 and 0.1, if not changed."""
    return settings.batch_size, settings.learning_rate


def run_name(pair: Pair, seed: int) -> str:
    """Name of a run of the paper's own network; figures that need the same run share it."""
    return f"B{pair[0]}-alpha{pair[1]:g}-seed{seed}"


def create_run(plan: Plan, pair: Pair, seed: int) -> ExperimentRun:
    """A run of the paper's own network, new or already there."""
    settings = plan.settings_with(batch_size=pair[0], learning_rate=pair[1], seed=seed)
    return ExperimentRun.create(plan.run_path(run_name(pair, seed)), settings)


@dataclasses.dataclass(frozen=True)
class SingleRuns:
    """A figure of single runs of the paper's own network.

    Args:
        key: Short name.
        title: Heading.
        until: Last stage that its runs need.
        claims: Keys of its claims.
        plots: Names of figures of a study, drawn for the first run.
        table: Rows of exponents in its table: those of the law, all, or no table.
        other_pairs: Batch sizes and learning rates beside the standard pair.
        plots_over_seeds: Pictures of the summaries of all pairs.
    """

    key: str
    title: str
    until: Literal["law", "noise", "dynamics"]
    claims: tuple[str, ...]
    plots: tuple[str, ...]
    table: Literal["none", "law", "all"] = "none"
    other_pairs: tuple[Pair, ...] = ()
    plots_over_seeds: Sequence[Picture] = ()

    def pairs(self, plan: Plan) -> list[Pair]:
        """Batch sizes and learning rates of the runs, the standard pair first."""
        return list(dict.fromkeys(plan.pairs or (standard_pair(plan.settings), *self.other_pairs)))

    def jobs(self, plan: Plan) -> list[Job]:
        """One job for each (B, alpha) and seed."""
        return [
            Job(run_name(pair, seed), _analyse, (plan, pair, seed, self.until))
            for pair in self.pairs(plan)
            for seed in range(plan.seeds)
        ]

    def sections(self, plan: Plan) -> list[Section]:
        """The exponents of all pairs with the claims of the first, and the claims of each other pair."""
        summaries = [
            SeedSummary([ExperimentRun.open(plan.run_path(run_name(pair, seed))) for seed in range(plan.seeds)])
            for pair in self.pairs(plan)
        ]
        first, *others = summaries
        names = {"none": (), "law": LAW_ROWS, "all": None}[self.table]
        rows = [row for summary in summaries for row in summary.exponent_rows(names)]
        main = Section(
            self.key, self.title, _TABLE_TEXT if rows else "", COLUMNS if rows else (), rows,
            first.judgements_on(self.claims), {summary.name: summary.numbers() for summary in summaries},
            [*plots_of(self.plots_over_seeds, summaries), *self._plots_of_run(first)],
        )  # fmt: skip
        return [main, *(self._claims_section(summary) for summary in others)]

    def _claims_section(self, summary: SeedSummary) -> Section:
        claims = claims_table(summary.judgements_on(self.claims))
        key = f"{self.key}-B{summary.settings.batch_size}-alpha{summary.settings.learning_rate:g}"
        return Section(key, f"{self.title}; claims at {summary.name}", "", *claims, [], {})

    def _plots_of_run(self, summary: SeedSummary) -> list[Plot]:
        run, plots = summary.runs[0], []
        for name in self.plots:
            heading, caption = CAPTIONS[name]
            about = f"({summary.name}, seed {run.settings.seed})"
            plots.append(Plot(heading, functools.partial(_drawn, run, name), f"{caption} {about}", name in WIDE))
        return plots


def _drawn(run: ExperimentRun, name: str) -> go.Figure | None:
    try:
        return getattr(run.results.plots, name)()
    except InputError:  # the run has too few modes, or its optimiser has no such quantity
        return None


def _analyse(reporter: Reporter, plan: Plan, pair: Pair, seed: int, until: str) -> None:
    create_run(plan, pair, seed).analyse(reporter, until=until)
