"""Figs. 1, 2, 3 and 5 and sections S2, S3 and S4: the paper's own network, optimiser and data."""

from __future__ import annotations

from landscope.progress import Reporter
from landscope.reproduction.experiment.run import ExperimentRun
from landscope.reproduction.figures.cases import CELLS, Cell, settings_of
from landscope.reproduction.figures.recipe import Plan, Section
from landscope.reproduction.jobs import Job
from landscope.reproduction.pooling import COLUMNS, FIGURES, as_dict, exponent_rows, judgements_on, pool

__all__ = ["Figures"]

_KEYS = ("sgd", "sgd-B100", "sgd-alpha0.2")
"""Cells of the paper's own network: (B, alpha) of Fig. 2D, the standard pair first."""
_TITLES = {
    "fig1": "Fig. 1: spectrum, drift and diffusion",
    "fig2": "Fig. 2: the inverse variance-flatness relation",
    "fig3": "Fig. 3: noise strength, memory, and their controls",
    "fig5": "Fig. 5: active temperature",
    "sec-S2": "sec-S2: drift along the first mode",
    "sec-S3": "sec-S3: flatness and curvature",
    "fig-S7": "Fig. S7: springs against flatness",
}


class Figures:
    """The figures that single runs of the standard network show."""

    key = "figures"
    title = "The paper's own network (Figs. 1, 2, 3, 5, sec-S2, sec-S3, Fig. S7)"

    def jobs(self, plan: Plan) -> list[Job]:
        """One job a (B, alpha) and seed; the standard pair goes through all stages."""
        return [
            Job(cell.run_name(seed), _run, (plan, cell, seed, "controls" if cell.key == _KEYS[0] else "law"))
            for cell in _cells()
            for seed in range(plan.seeds)
        ]

    def sections(self, plan: Plan) -> list[Section]:
        """One section a figure; the tables of exponents stand with Figs. 2 and 3."""
        pooled = []
        for cell in _cells():
            runs = [ExperimentRun.open(plan.run_path(cell.run_name(seed))) for seed in range(plan.seeds)]
            pooled.append(pool(runs[0].settings.batch_size, runs[0].settings.learning_rate, runs))
        standard = pooled[0]
        rows = {"fig2": [row for entry in pooled for row in exponent_rows(entry)[:3]], "fig3": exponent_rows(standard)}
        values = {"fig2": {f"B = {e.batch_size}, alpha = {e.learning_rate:g}": as_dict(e) for e in pooled}}
        return [
            Section(
                figure, title, "", COLUMNS if figure in rows else (), rows.get(figure, []),
                judgements_on(standard, figure), values.get(figure, {}), standard.folders[0],
            )
            for figure, title in _TITLES.items()
            if figure in FIGURES
        ]  # fmt: skip


def _cells() -> list[Cell]:
    return [cell for key in _KEYS for cell in CELLS if cell.key == key]


def _run(reporter: Reporter, plan: Plan, cell: Cell, seed: int, until: str) -> None:
    run = ExperimentRun.create(plan.run_path(cell.run_name(seed)), settings_of(cell, plan, seed))
    run.analyse(reporter, until=until)
