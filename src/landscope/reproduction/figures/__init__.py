"""Figures and sections of the paper, one file each; a new one is listed here."""

import importlib
from typing import cast

from landscope.reproduction.figures.figure import Figure
from landscope.reproduction.figures.paper_runs import FIGURES as OF_SINGLE_RUNS

__all__ = ["DEFAULTS", "FIGURES", "OF_SINGLE_RUNS", "OF_THE_PAPER", "QUICK"]

DEFAULTS = {"data": "mnist", "flatness_modes": 500, "n_nulls": 1}
"""Settings of a reproduction that differ from those of one run."""
QUICK = {
    "data": "digits", "window_epochs": 40, "fit_modes": (2, 150), "flatness_modes": 150, "spectrum_ranks": (10, 100),
    "n_nulls": 1, "noise_modes": 30, "basis_modes": 40, "langevin_steps": 200,
}  # fmt: skip
"""Settings of a quick reproduction."""


def _figures(*modules: str) -> tuple[Figure, ...]:
    """Modules of this package; each is a figure."""
    return tuple(cast("Figure", importlib.import_module(f"{__name__}.{module}")) for module in modules)


OF_THE_PAPER: tuple[Figure, ...] = (
    *OF_SINGLE_RUNS,
    *_figures(
        "sec_s6",
        "fig6",
        "sec_s9",
        "branches",
        "fig4",
        "sec_s7",
        "sec_s8",
        "split_digits",
        "capacity",
    ),
)
"""The figures of ``reproduce all``, in this order."""
FIGURES = {
    figure.key: figure
    for figure in (
        *OF_THE_PAPER,
        *_figures(
            "continual",
            "continual_further",
            "basin_ablations",
            "output_change",
            "published",
            "language",
            "edge",
            "plateau",
            "findings",
        ),
    )
}
"""All figures by key, those that the paper does not have at the end."""
