"""Recipes: one for each figure or section of the paper that needs runs of its own."""

from landscope.run.recipes.branching import Branching
from landscope.run.recipes.capacity import Capacity
from landscope.run.recipes.continual import Continual
from landscope.run.recipes.figures import Figures
from landscope.run.recipes.forgetting import Keeping, KeepingByLaw, KeepingMore
from landscope.run.recipes.in_turn import TasksInARow
from landscope.run.recipes.language import Language
from landscope.run.recipes.noisy_descent import NoisyDescent
from landscope.run.recipes.recipe import Plan, Recipe, Section
from landscope.run.recipes.universality import Universality
from landscope.run.recipes.widths import Widths

__all__ = ["OF_THE_PAPER", "QUICK", "RECIPES", "Plan", "Recipe", "Section"]

QUICK = {
    "data": "digits", "window_epochs": 40, "law_modes": (2, 150), "flatness_modes": 150, "gamma_ranks": (10, 100),
    "surrogates": 1, "noise_modes": 30, "basis_modes": 40, "langevin_steps": 2000,
}  # fmt: skip
"""Settings of a quick reproduction."""

_ALL: tuple[Recipe, ...] = (
    Figures(),
    Universality(),
    Widths(),
    NoisyDescent(),
    Branching(),
    Keeping(),
    KeepingByLaw(),
    KeepingMore(),
    TasksInARow(),
    Capacity(),
)
_BEYOND: tuple[Recipe, ...] = (Continual(), Language())
RECIPES = {recipe.key: recipe for recipe in (*_ALL, *_BEYOND)}
"""All recipes."""
OF_THE_PAPER = tuple(recipe.key for recipe in _ALL)
"""Those that ``reproduce all`` takes, in this order."""
