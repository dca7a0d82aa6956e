"""Drift against walks and relaxing processes: known answers, and a plain loop."""

import itertools
import math

import pytest
import torch

import landscope as ls
from landscope.errors import InputError
from landscope.noise.directed_drift import directed_drift
from landscope.synthetic import autoregressive


def walk(rows, noise, seed):
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(rows, len(noise), dtype=torch.float64, generator=generator) * noise.sqrt()).cumsum(dim=0)


def share_by_hand(moved, metric, gap):
    """The sum over displacements so far apart, and the share of sign choices with as large a one, vector by vector."""
    sums = []
    for signs in itertools.product((1, -1), repeat=len(moved)):
        products = [
            a * b * float(left @ metric @ right)
            for (j, (a, left)), (k, (b, right)) in itertools.product(
                enumerate(zip(signs, moved, strict=True)), repeat=2
            )
            if abs(j - k) >= gap
        ]
        sums.append(sum(products) / len(products))
    return sums[0], sum(each >= sums[0] - 1e-9 * abs(sums[0]) for each in sums) / len(sums)


def by_hand(path):
    """Coherence and probability, vector by vector; a few directions count all in every test."""
    edges = [round(k * (len(path) - 1) / 10) for k in range(11)]
    moved = [path[last] - path[first] for first, last in itertools.pairwise(edges)]
    means = [path[first : last + 1].mean(dim=0) for first, last in itertools.pairwise(edges)]
    metric = torch.linalg.inv(sum(torch.outer(step, step) for step in path.diff(dim=0)) / (len(path) - 1))
    squares = sum(float(d @ metric @ d) for d in moved) / 10
    total, ends = share_by_hand(moved, metric, 2)
    _, between = share_by_hand([later - before for before, later in itertools.pairwise(means)], metric, 4)
    return total / squares, min(1, ends, 2 * between)


def test_it_is_the_plain_loop():
    path = walk(104, torch.logspace(0, -2, 6).double(), 0)
    found = directed_drift(path)
    coherence, p_value = by_hand(path)
    assert found.coherence == pytest.approx(coherence, abs=1e-9)
    assert found.p_value == pytest.approx(p_value, abs=1e-12)


def test_the_cosines_that_a_walk_of_many_weights_has_as_modes_are_no_drift():
    rejected = 0
    for seed in range(20):
        window = ls.Trajectory.of(walk(60, torch.ones(100).double(), seed))
        modes = ls.principal_modes(window)
        rejected += bool(directed_drift(modes.project_trajectory(window)[:, : modes.n_moving]).reason)
    assert rejected < 9  # of twenty at 12 %: nine or more have the probability 2e-4


@pytest.mark.parametrize("coefficient", [1.0, 0.98, 0.0])
def test_what_does_not_drift_is_rarely_rejected(coefficient):
    noise, trials = torch.logspace(0, -2, 12).double(), 100
    rejected = 0
    for seed in range(trials):
        path = (
            walk(120, noise, seed)
            if coefficient == 1
            else autoregressive(torch.full((12,), coefficient).double(), 120, seed=seed, noise_variance=noise)
        )
        rejected += bool(directed_drift(path).reason)
    # Walks 13 %, others 3 %: 26 or more of a hundred, and eleven or more, have the probability 5e-4.
    assert rejected < (26 if coefficient == 1 else 11)


def test_a_straight_line_is_wholly_coherent_and_has_the_smallest_probability():
    path = walk(211, torch.full((1,), 1e-6).double(), 0)
    path += torch.arange(211, dtype=torch.float64)[:, None]
    found = directed_drift(path)
    # Ten parts of 21 steps each; of 1024 choices of signs two are as large.
    assert found.coherence == pytest.approx(1, abs=1e-3)
    assert found.p_value == 2 / 1024
    assert "drift" in found.reason


def test_a_drift_along_a_quiet_direction_is_seen():
    noise = torch.logspace(0, -4, 20).double()
    path = walk(400, noise, 1)
    assert not directed_drift(path).reason
    path[:, -1] += torch.linspace(0, 12 * math.sqrt(400 * float(noise[-1])), 400, dtype=torch.float64)
    # Twelve standard deviations of the walk's own end; among all directions it is 6 % of the largest displacement.
    assert directed_drift(path).reason


def test_few_rows_and_still_directions_are_refused():
    with pytest.raises(InputError, match="at least 21"):
        directed_drift(torch.randn(20, 3))
    path = torch.randn(40, 3)
    path[:, 1] = 0
    with pytest.raises(InputError, match="1 without"):
        directed_drift(path)


def test_a_drift_along_one_of_many_relaxing_directions_is_found():
    """Of 200 windows 82 % were flagged, and none of as many without a drift: of five each, fewer than two are 4e-3."""
    curvature, flagged = torch.logspace(0, -2, 300).double(), {0.0: 0, 20.0: 0}
    for seed in range(5):
        still = autoregressive(1 - 0.1 * curvature, 200, seed=seed, noise_variance=1 - (1 - 0.1 * curvature).square())
        for length in flagged:
            path = still.clone()
            path[:, 150] += length * torch.linspace(0, 1, 200).double()
            window = ls.Trajectory.of(path)
            modes = ls.principal_modes(window)
            found = directed_drift(modes.project_trajectory(window)[:, : modes.n_moving])
            flagged[length] += bool(found.reason)
    assert flagged[20.0] > 1
    assert flagged[0.0] == 0
