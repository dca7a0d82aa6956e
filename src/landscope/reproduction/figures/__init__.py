"""Recipes: one for each figure or section of the paper that needs runs of its own."""

from landscope.reproduction.figures.branches import Branching
from landscope.reproduction.figures.capacity import Capacity
from landscope.reproduction.figures.continual import Continual
from landscope.reproduction.figures.fig4 import Fig4
from landscope.reproduction.figures.fig6 import Widths
from landscope.reproduction.figures.language import Language
from landscope.reproduction.figures.recipe import Plan, Recipe, Section
from landscope.reproduction.figures.sec_s6 import Universality
from landscope.reproduction.figures.sec_s7 import SecS7
from landscope.reproduction.figures.sec_s8 import SecS8
from landscope.reproduction.figures.sec_s9 import NoisyDescent
from landscope.reproduction.figures.single_runs import Figures
from landscope.reproduction.figures.split_digits import SplitDigits

__all__ = ["OF_THE_PAPER", "QUICK", "RECIPES", "Plan", "Recipe", "Section"]

QUICK = {
    "data": "digits", "window_epochs": 40, "fit_modes": (2, 150), "flatness_modes": 150, "spectrum_ranks": (10, 100),
    "n_nulls": 1, "noise_modes": 30, "basis_modes": 40, "langevin_steps": 2000,
}  # fmt: skip
"""Settings of a quick reproduction."""

_ALL: tuple[Recipe, ...] = (
    Figures(),
    Universality(),
    Widths(),
    NoisyDescent(),
    Branching(),
    Fig4(),
    SecS7(),
    SecS8(),
    SplitDigits(),
    Capacity(),
)
_BEYOND: tuple[Recipe, ...] = (Continual(), Language())
RECIPES = {recipe.key: recipe for recipe in (*_ALL, *_BEYOND)}
"""All recipes."""
OF_THE_PAPER = tuple(recipe.key for recipe in _ALL)
"""Those that ``reproduce all`` takes, in this order."""
