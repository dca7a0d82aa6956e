"""A null without memory across epochs: each epoch runs forwards or backwards at random."""

from __future__ import annotations

import torch

from landscope._checks import check_count, generator_of
from landscope.errors import InputError
from landscope.surrogates.building import changed_steps, check_window
from landscope.trajectory import Trajectory

__all__ = ["sign_flipped_epochs"]


def sign_flipped_epochs(trajectory: Trajectory, *, seed: int, steps_per_epoch: int) -> Trajectory:
    r"""A surrogate in which each epoch runs forwards or backwards at random.

    The increments of each epoch are multiplied by a random sign: memory within an epoch stays; drift and memory across
    epochs are lost.

    Args:
        trajectory: The window.
        seed: Seed of the signs.
        steps_per_epoch: Number of minibatches in an epoch.

    Returns:
        A trajectory of the same length from the same first row, see :func:`shuffled_increments`.

    Raises:
        InputError: If the window lies within one epoch.

    Example:
        >>> import torch
        >>> from landscope.trajectory import Trajectory
        >>> walk = Trajectory.of(torch.arange(9.0)[:, None])
        >>> sign_flipped_epochs(walk, seed=0, steps_per_epoch=4).weights.diff(dim=0).abs().unique().tolist()
        [1.0]
    """
    check_window(trajectory)
    # The increment that ends at step s was made by the minibatch of epoch (s - 1) // M.
    epoch = (trajectory.steps[1:] - 1) // check_count("steps_per_epoch", steps_per_epoch)
    epoch = epoch - epoch[0]
    if int(epoch[-1]) < 1:
        raise InputError(
            expected=f"a window that reaches into at least two epochs of {steps_per_epoch} steps",
            got=f"{len(epoch)} steps of one",
            hint="Record longer.",
        )
    generator = generator_of(seed)
    signs = 2.0 * torch.randint(0, 2, (int(epoch[-1]) + 1,), generator=generator).double() - 1
    return changed_steps(trajectory, lambda steps: steps * signs[epoch][:, None], "sign-flipped epochs", seed)
