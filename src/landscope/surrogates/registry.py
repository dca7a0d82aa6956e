"""The registry of surrogates: a new null is one function in a file of its own, and one line here."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping
from types import FunctionType, MappingProxyType
from typing import Any

from landscope._checks import check_choice
from landscope.directions.directions import Directions
from landscope.shown import ShownByField
from landscope.surrogates.definitions import OTHER_NULLS, Definition
from landscope.surrogates.random_walks import random_walk_like
from landscope.surrogates.relaxation import ornstein_uhlenbeck
from landscope.surrogates.shuffled import shuffled_increments
from landscope.surrogates.sign_flips import sign_flipped_epochs
from landscope.trajectory import Trajectory


@dataclasses.dataclass(frozen=True, repr=False)
class Surrogate(ShownByField):
    """A null or control that is made of a window alone.

    Args:
        title: Name of its row in a table.
        definition: What it keeps, what it destroys, and what the same exponent would mean.
        function: Function of a window and a ``seed``, and of ``directions`` or ``steps_per_epoch`` if it names them;
            it returns a trajectory of the same length, dimension and steps.
        options: Further arguments of the function.
    """

    title: str
    definition: Definition
    function: FunctionType
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def needs_epochs(self) -> bool:
        """Whether the function asks for the length of an epoch."""
        return "steps_per_epoch" in inspect.signature(self.function).parameters


SURROGATES: Mapping[str, Surrogate] = MappingProxyType(
    {
        "shuffled": Surrogate(
            "shuffled increments",
            Definition(
                "the steps of the window, and so the strength of their noise in every direction",
                "the order of the steps, and with it every restoring force and memory",
                "the analysis makes it from the noise alone, so it is no evidence of an effect of the landscape",
            ),
            shuffled_increments,
        ),
        "sign-flipped": Surrogate(
            "sign-flipped epochs",
            Definition(
                "every epoch as it was, up to its sign",
                "what one epoch has to do with the next, such as a drift",
                "it comes from what happens within single epochs",
            ),
            sign_flipped_epochs,
        ),
        "random-walk": Surrogate(
            "isotropic random walk",
            Definition(
                "the number of steps and their mean size",
                "the directions and the memory of the noise, and the landscape",
                "PCA makes it from any random walk",
            ),
            random_walk_like,
        ),
        "random-walk-with-drift": Surrogate(
            "isotropic random walk with the drift",
            Definition(
                "the number of steps, their mean size and their mean, which is the drift",
                "the directions and the memory of the noise, and the landscape",
                "PCA makes it from any random walk with this drift",
            ),
            random_walk_like,
            {"drift": True},
        ),
        "ornstein-uhlenbeck": Surrogate(
            "fitted Ornstein-Uhlenbeck",
            Definition(
                "the noise and the memory of each mode, fitted in this window",
                "what connects the modes, and every shape but a bowl",
                "independent modes in a bowl are enough to make it",
            ),
            ornstein_uhlenbeck,
        ),
    }
)
"""All surrogates by name, the null of the variance-flatness law first."""


def null_definitions() -> dict[str, Definition]:
    """The definition of every null and control, by the name of its row in a table of exponents.

    Example:
        >>> print(null_definitions()["isotropic random walk, N ≫ T (exact)"].destroys)
        the landscape and the noise of the training
    """
    others = {f"surrogate: {null.title}": null.definition for null in SURROGATES.values()}
    first = next(iter(SURROGATES.values()))
    return {first.title: first.definition, **OTHER_NULLS, **others}


def make_surrogate(
    name: str, window: Trajectory, directions: Directions, *, seed: int, steps_per_epoch: int
) -> Trajectory:
    """Make the surrogate with a name in :data:`SURROGATES`.

    Args:
        name: Name of the surrogate.
        window: The window.
        directions: Directions for surrogates that are fitted along some, such as the principal modes of the window.
        seed: Random seed.
        steps_per_epoch: Number of minibatches in an epoch.

    Returns:
        A trajectory of the same length, dimension and steps, in memory.

    Raises:
        InputError: If there is no surrogate of that name, or the window is too short for it.

    Example:
        >>> import landscope as ls, torch
        >>> window = ls.Trajectory.of(torch.randn(40, 3, generator=torch.Generator().manual_seed(0)).cumsum(0))
        >>> modes = ls.principal_modes(window)
        >>> for name, null in SURROGATES.items():
        ...     made = make_surrogate(name, window, modes, seed=0, steps_per_epoch=10)
        ...     assert made.weights.shape == (40, 3)
    """
    null = SURROGATES[check_choice("name", name, SURROGATES)]
    named = inspect.signature(null.function).parameters
    offered = {"directions": directions, "seed": seed, "steps_per_epoch": steps_per_epoch}
    return null.function(window, **{key: value for key, value in offered.items() if key in named}, **null.options)


__all__ = ["SURROGATES", "Surrogate", "make_surrogate"]
__all__ += dict.fromkeys(null.function.__name__ for null in SURROGATES.values())
