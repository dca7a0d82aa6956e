"""Velocities need rows at even distances in time; everything else does not."""

import pytest
import torch

import landscope as ls
from landscope.directions.principal import principal_modes
from landscope.errors import InputError
from landscope.noise import mode_statistics, velocity_statistics
from landscope.surrogates import shuffled_increments
from landscope.synthetic import InverseGaussian, random_walk
from landscope.trajectory.spacing import unevenness


@pytest.mark.parametrize(
    ("steps", "uneven"),
    [
        ([5], ""),
        ([5, 700], ""),
        ([100, 200, 300], ""),
        ([*range(40), 42], ""),  # one gap of two among 40: D changes by 1/40
        ([*range(10), 20], "1 to 11 steps apart"),
        ([0, 1, 4, 5, 8, 9], "1 to 3 steps apart"),
        ([1, 10, 100, 1000], "9 to 900 steps apart"),
    ],
)
def test_gaps_that_differ_too_much(steps, uneven):
    assert unevenness(torch.tensor(steps)) == uneven


def test_checkpoints_far_apart_have_variances_and_no_velocities():
    rows = random_walk(30, 6, seed=0).double()
    steps = torch.arange(30) ** 2
    path = ls.Trajectory.of(rows, steps=steps)
    modes = principal_modes(path)
    found = mode_statistics(modes, path)
    theta = (rows - rows.mean(0)) @ modes.directions.T
    assert found.variance.tolist() == pytest.approx(theta.square().mean(0).tolist())
    assert found.moves.all()
    for name in ("velocity_variance", "integrated_time", "velocity_time", "velocity_moments"):
        assert getattr(found, name).isnan().all(), name
    well = InverseGaussian(torch.logspace(0, 2, 6).double())
    widths = ls.flatness(well, torch.zeros(6).double(), modes.directions)
    law = ls.variance_flatness(modes, path, widths, (1, 6))
    even = ls.variance_flatness(modes, ls.Trajectory.of(rows), widths, (1, 6))
    assert law.psi == pytest.approx(even.psi)
    assert [law.psi_D != law.psi_D, law.psi_tau != law.psi_tau] == [True, True]
    assert "uneven distances in time" in law.interval_reason
    with pytest.raises(InputError, match=r"rows at even distances .* 1 to 57 steps apart"):
        shuffled_increments(path, seed=0)
    with pytest.raises(InputError, match="evenly spaced"):
        velocity_statistics(path, modes, 2)
