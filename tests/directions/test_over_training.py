"""The turning of the modes: nothing turns in a stationary process, all turns where the axes are exchanged."""

import pytest
import torch

import landscope as ls
from landscope.directions import modes_over_training
from landscope.errors import InputError
from landscope.synthetic import autoregressive, random_walk


def process(n_steps, seed, dim=12):
    strength = 0.5 ** torch.arange(dim).double()
    return autoregressive(torch.full((dim,), 0.7), n_steps, seed=seed, noise_variance=strength)


def test_modes_that_do_not_turn_overlap_as_their_null_says():
    """Of 20 pairs of one process, each lies in the range of its 20 simulated pairs with probability 19/21."""
    inside = 0
    for seed in range(5):
        found = modes_over_training(ls.Trajectory.of(process(400, seed)), 3, n_windows=5, seed=seed)
        low, high = found.unturned_range.T
        inside += int(((low <= found.with_next) & (found.with_next <= high)).sum())
    assert inside >= 20 * 19 / 21 - 3.5 * (20 * 19 * 2) ** 0.5 / 21


def test_exchanged_axes_turn_the_modes_and_the_null_does_not():
    first, second = process(200, 0), process(200, 1).flip(1)
    found = modes_over_training(ls.Trajectory.of(torch.cat([first, second])), 3, n_windows=4)
    assert found.steps.tolist() == [100, 200, 300, 400]
    assert float(found.with_next[1]) < float(found.unturned_range[1, 0])
    assert float(found.with_next[1]) < 0.3
    assert float(found.with_next[0]) > 0.5
    assert float(found.with_next[2]) > 0.5
    assert bool((found.with_last[:2] < 0.3).all())
    assert float(found.with_last[-1]) == pytest.approx(1)
    assert found.chance == 3 / 12


def test_windows_are_of_equal_length_and_the_last_ends_with_the_recording():
    found = modes_over_training(ls.Trajectory.of(process(1003, 0)), 2, n_windows=4, most_rows=50)
    assert (found.rows, found.steps.tolist()) == (50, [253, 503, 753, 1003])
    few = modes_over_training(ls.Trajectory.of(process(45, 0)), 2)
    assert (few.rows, len(few.steps)) == (22, 2)
    with pytest.raises(InputError, match="40 recorded rows"):
        modes_over_training(ls.Trajectory.of(process(39, 0)), 2)


def test_a_random_walk_in_many_dimensions_turns_to_chance():
    found = modes_over_training(ls.Trajectory.of(random_walk(300, 2000, seed=0)), 3, n_windows=3)
    assert bool((found.with_next < 0.1).all())
