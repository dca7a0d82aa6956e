"""Epochs over which the noise sums to zero are found where a study counts with others, and only where there are any."""

import pytest
import torch

import landscope as ls
from landscope.directions import Directions
from landscope.noise import StepRule
from landscope.surrogates import epoch_noise_share
from landscope.surrogates.epoch_share import length_of_epochs

M, DIM = 20, 12
SHARP = Directions.of(torch.eye(DIM)[:1])


def window_of(rows):
    return ls.Trajectory.of(rows, steps=torch.arange(len(rows)))


def rows_of(n_epochs, *, seed=0, momentum=0.0, replacement=False, length=M):
    """Rows of a training in the flat, from reshuffled epochs or independent minibatches."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(length, DIM, generator=generator, dtype=torch.float64)
    noise -= noise.mean(dim=0)
    if replacement:
        order = torch.randint(length, (n_epochs * length,), generator=generator)
    else:
        order = torch.cat([torch.randperm(length, generator=generator) for _ in range(n_epochs)])
    velocity, rows = torch.zeros(DIM).double(), [torch.zeros(DIM).double()]
    for kick in noise[order]:
        velocity = momentum * velocity + kick
        rows.append(rows[-1] + velocity)
    return torch.stack(rows)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize(
    ("first", "told", "length"), [(0, M, M), (10, M, M), (3, M, M), (0, M + 1, M), (0, M - 1, M), (7, M + 1, M)]
)
def test_epochs_near_those_told_are_found(first, told, length, momentum):
    window = window_of(rows_of(30, momentum=momentum)[first:])
    assert length_of_epochs(window, SHARP, told, rule=StepRule(momentum=momentum)).length == length


def test_what_a_wrong_begin_leaves_is_its_formula():
    """A begin at the share f of an epoch leaves 3 f (1 - f) of independent noise: h'' - 2 h' + h, over two epochs."""
    for first in (2, 5, 10):
        f = first / M
        shares = [epoch_noise_share(window_of(rows_of(60, seed=seed)[first:]), SHARP, M) for seed in range(8)]
        # Noise without replacement: the head of n of M has the variance n (1 - n/M) M/(M - 1).
        expected = 3 * f * (1 - f) * M / (M - 1)
        assert sum(shares) / len(shares) == pytest.approx(expected, rel=0.15)  # a median is a little below a mean


@pytest.mark.parametrize("n_epochs", [8, 30])
def test_independent_minibatches_stay_independent(n_epochs):
    windows = (window_of(rows_of(n_epochs, seed=seed, replacement=True)) for seed in range(40))
    found = [length_of_epochs(window, SHARP, M).length for window in windows]
    assert found.count(None) >= 38  # of 40, by chance, with 11 directions


def test_a_window_that_is_too_short_says_nothing():
    rows = rows_of(3)
    assert length_of_epochs(window_of(rows[10:]), SHARP, M).length is None
    assert length_of_epochs(window_of(rows[:30]), SHARP, M).length is None


@pytest.mark.parametrize("replacement", [True, False])
def test_in_two_directions_a_share_is_compared_with_random_orders(replacement):
    found = []
    for seed in range(40):
        rows = rows_of(8, seed=seed, replacement=replacement)[:, :3]
        found.append(length_of_epochs(window_of(rows), Directions.of(torch.eye(3)[:1]), M))
    reshuffled = sum(one.length is not None for one in found)
    # Of 21 orders alike the run's is the least by chance once; 40 windows then have 6 or more with 1 %.
    assert reshuffled <= 6 if replacement else reshuffled == 40


def test_what_is_left_outside_of_every_direction_that_moves_is_not_known():
    rows = rows_of(8)
    rows[:, 3:] = 1e-9 * torch.randn(len(rows), DIM - 3, generator=torch.Generator().manual_seed(0)).double()
    found = length_of_epochs(window_of(rows), Directions.of(torch.eye(DIM)[:3]), M)
    assert found.length is None
    assert found.share != found.share
