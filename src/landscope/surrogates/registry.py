"""The registry of surrogates: a new null is one function in a file of its own, and one line here."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from types import MappingProxyType

from landscope._checks import check_choice
from landscope.directions.directions import Directions
from landscope.surrogates.random_walks import random_walk_like
from landscope.surrogates.relaxation import ornstein_uhlenbeck
from landscope.surrogates.shuffled import shuffled_increments
from landscope.surrogates.sign_flips import sign_flipped_epochs
from landscope.trajectory import Trajectory

__all__ = ["SURROGATES", "Surrogate", "make_surrogate"]


@dataclasses.dataclass(frozen=True)
class Surrogate:
    """A null or control that is made of a window alone.

    Args:
        title: Name of its row in a table.
        make: Function ``make(window, *, directions, seed, steps_per_epoch)``; it returns a trajectory of the same
            length, dimension and steps.
    """

    title: str
    make: Callable[..., Trajectory]


SURROGATES: Mapping[str, Surrogate] = MappingProxyType(
    {
        "shuffled": Surrogate("shuffled increments", lambda w, *, seed, **_: shuffled_increments(w, seed=seed)),
        "sign-flipped": Surrogate(
            "sign-flipped epochs",
            lambda w, *, seed, steps_per_epoch, **_: sign_flipped_epochs(w, seed=seed, steps_per_epoch=steps_per_epoch),
        ),
        "random-walk": Surrogate("isotropic random walk", lambda w, *, seed, **_: random_walk_like(w, seed=seed)),
        "random-walk-with-drift": Surrogate(
            "isotropic random walk with the drift", lambda w, *, seed, **_: random_walk_like(w, seed=seed, drift=True)
        ),
        "ornstein-uhlenbeck": Surrogate(
            "fitted Ornstein-Uhlenbeck",
            lambda w, *, directions, seed, **_: ornstein_uhlenbeck(w, directions, seed=seed),
        ),
    }
)
"""All surrogates by name, the null of the variance-flatness law first."""


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
    make = SURROGATES[check_choice("name", name, SURROGATES)].make
    return make(window, directions=directions, seed=seed, steps_per_epoch=steps_per_epoch)
