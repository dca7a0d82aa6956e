"""Effective dimensions, the two phases, and the drift law."""

import math

import pytest
import torch

import landscope as ls
from landscope.errors import InputError
from landscope.landscape.dimension import (
    flatness_until_flat,
    learning_dimension,
    learning_dimension_over_time,
    sharp_dimension,
    sharp_dimension_is_bound,
)
from landscope.noise.drift import drift_law, learning_phases
from landscope.synthetic import InverseGaussian, random_walk
from landscope.trajectory import Trajectory


def test_learning_dimension_counts_from_the_first_mode():
    variance = torch.tensor([50.0, 30.0, 15.0, 4.0, 1.0])
    assert learning_dimension(variance, 0.5) == 1
    assert learning_dimension(variance, 0.51) == 2
    assert learning_dimension(variance, 0.9, drift=False) == 2
    with pytest.raises(InputError, match="above zero"):
        learning_dimension(torch.zeros(3))


def test_censored_directions_count_as_flat():
    well = InverseGaussian(torch.tensor([8.0, 2.0, 0.0]))
    found = ls.flatness(well, torch.zeros(3), torch.eye(3), max_displacement=50)
    assert [sharp_dimension(found, t) for t in (0.5, 1.5, 10.0)] == [0, 1, 2]


def until_flat(sharp, most):
    """Directions of an inverse Gaussian with F = sqrt(8/M): 1 where sharp, 2 where not; ``most`` are looked at."""
    well = InverseGaussian(torch.where(torch.tensor(sharp), 8.0, 2.0))
    return flatness_until_flat(well, torch.zeros(len(sharp)), torch.eye(len(sharp))[:most], threshold=1.5)


@pytest.mark.parametrize(
    ("sharp", "most", "count", "is_bound"),
    [
        ([True] * 299 + [False], 100, 100, True),  # all that are looked at are sharp
        ([True] * 50 + [False] * 2 + [True] * 249, 100, 98, True),  # a few are not
        ([True] * 60 + [False] * 240, 100, 60, True),  # 40 flat ones in a row exclude little
        ([True] * 30 + [False] * 270, 100, 30, False),  # the rest of the first 64 and the next group of 36 are flat
        ([True] * 20 + [False] * 270, 300, 20, False),  # the search ends by itself
        ([True] * 70, 70, 70, False),  # there is no other direction
    ],
)
def test_a_count_is_a_bound_where_sharp_directions_may_lie_beyond_the_last(sharp, most, count, is_bound):
    found = until_flat(sharp, most)
    assert sharp_dimension(found, 1.5) == count
    assert sharp_dimension_is_bound(found, 1.5, n_directions=len(sharp)) == is_bound


def test_learning_dimension_of_each_window_equals_that_of_its_modes():
    path = Trajectory.of(random_walk(200, 20, seed=0))
    steps, found, without = learning_dimension_over_time(path, 50, 0.95)
    for number in range(4):
        window = path.window(50 * number + 1, 50 * number + 51)
        variance = ls.principal_modes(window).variance
        assert found[number] == learning_dimension(variance, 0.95)
        assert without[number] == learning_dimension(variance, 0.95, drift=False)
    assert steps.tolist() == [50, 100, 150, 200]


def test_drift_where_all_weights_move_along_one_direction():
    # L = L0 exp(beta theta): gradient descent gives 1/L = 1/L0 + alpha beta^2 t in continuous time.
    alpha, beta, theta, loss = 1e-3, 0.7, 0.0, []
    for _ in range(20_000):
        loss.append(0.5 * math.exp(beta * theta))
        theta -= alpha * beta * loss[-1]
    found = drift_law(torch.arange(20_000.0)[::500], torch.tensor(loss)[::500], beta=beta, learning_rate=alpha)
    assert math.isclose(found.ratio, 1, rel_tol=alpha)
    assert found.r_squared > 1 - 1e-6
    assert found.r_squared > found.r_squared_exponential


def test_phases():
    epochs = torch.arange(1.0, 31)
    flat = learning_phases(torch.exp(-0.3 * epochs), torch.full((30,), 0.1))
    assert not flat.two_phases
    assert flat.zero_error_epoch is None
    uphill = learning_phases(torch.cat([torch.exp(-0.3 * epochs), torch.exp(-9 + 0.1 * epochs)]), torch.ones(60))
    assert not uphill.two_phases
    short = learning_phases(torch.ones(3), torch.tensor([0.5, 0.0, 0.0]))
    assert (short.break_epoch, short.zero_error_epoch, short.two_phases) == (0, 2, False)
    with pytest.raises(InputError, match="positive"):
        learning_phases(torch.zeros(8), torch.ones(8))
