"""Velocities need rows at even distances in time; everything else does not."""

import numpy as np
import pytest
import torch

import landscope as ls
from landscope.directions.principal import principal_modes
from landscope.errors import InputError, StorageError
from landscope.noise import mode_statistics, velocity_statistics
from landscope.storage.rows import RowStore
from landscope.surrogates import SURROGATES, make_surrogate, shuffled_increments
from landscope.synthetic import InverseGaussian, QuadraticBowl, random_walk
from landscope.trajectory import trajectory_attributes, trajectory_columns
from landscope.trajectory.spacing import unevenness


@pytest.mark.parametrize(
    ("steps", "uneven"),
    [
        ([5], ""),
        ([5, 700], ""),
        ([100, 200, 300], ""),
        ([*range(40), 41], ""),  # one gap of two among 40: D changes by 1/40, or for a drift by 3/40
        ([*range(40), 42], "1 to 3 steps apart"),  # by 2/40, or 8/40
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
    with pytest.raises(InputError, match=r"rows at equal distances .* 1 to 57 steps apart"):
        velocity_statistics(path, modes, 2)


def _law(function):
    def call(path):
        modes = principal_modes(path)
        widths = ls.flatness(InverseGaussian(torch.logspace(0, 2, 6).double()), torch.zeros(6).double(), modes)
        return function(modes, path, widths)

    return call


STATISTICS_OF_STEPS = {
    "velocities": lambda path: velocity_statistics(path, principal_modes(path), 2),
    "oscillation": lambda path: ls.noise.oscillation(path, principal_modes(path)),
    "yaida": lambda path: ls.noise.yaida_relation(
        path, QuadraticBowl(torch.ones(6)), principal_modes(path), learning_rate=0.1, n_points=20
    ),
    "one window": lambda path: ls.law.one_window_correction(principal_modes(path), path),
    "window limit": _law(lambda modes, path, F: ls.law.window_limit(modes, path, F, learning_rate=0.1)),
    "shuffled": lambda path: shuffled_increments(path, seed=0),
    **{
        name: lambda path, name=name: make_surrogate(name, path, principal_modes(path), seed=0, steps_per_epoch=10)
        for name in SURROGATES
    },
}


@pytest.mark.parametrize("name", STATISTICS_OF_STEPS)
def test_no_statistic_of_steps_takes_a_gap(name):
    """A training that was recorded twice: 40 steps, and 40 more after 900 that were not recorded."""
    rows = random_walk(80, 6, seed=0).double()
    STATISTICS_OF_STEPS[name](ls.Trajectory.of(rows))
    steps = torch.cat([torch.arange(1, 41), torch.arange(941, 981)])
    with pytest.raises(InputError, match=r"rows 1 to 901 steps apart|step 941 after step 40"):
        STATISTICS_OF_STEPS[name](ls.Trajectory.of(rows, steps=steps))


@pytest.mark.parametrize(
    ("ends", "steps"),
    [((10, 26), [10, 15, 20, 25]), ((6, 30), [10, 15, 20, 25]), ((None, 30), [10, 15, 20, 25]), ((11, 21), [15, 20]),
     ((20, 25), [20]), ((None, None), [10, 15, 20, 25])],
)  # fmt: skip
def test_windows_hold_the_steps_between_their_ends(ends, steps):
    """Rows 5 steps apart: the steps before the next row that would be are within the recording."""
    path = ls.Trajectory.of(torch.zeros(4, 1), steps=torch.tensor([10, 15, 20, 25]))
    assert path.window(*ends).steps.tolist() == steps


@pytest.mark.parametrize("ends", [(-10,), (0,), (5,), (None, 31), (15, 4000), (None, 0), (None, -1), (30, 40)])
def test_windows_beyond_the_recording_are_refused(ends):
    path = ls.Trajectory.of(torch.zeros(4, 1), steps=torch.tensor([10, 15, 20, 25]))
    with pytest.raises(InputError, match=r"steps.* 10 to 25"):
        path.window(*ends)


def test_windows_of_one_row_and_of_step_zero():
    path = ls.Trajectory.of(torch.zeros(3, 1), steps=torch.tensor([0, 1, 2]))
    assert path.window(0).steps.tolist() == [0, 1, 2]
    assert path.window(0, 1).window(0, 1).steps.tolist() == [0]
    with pytest.raises(InputError, match="a recording with rows"):
        ls.Trajectory.of(torch.zeros(0, 1)).window(0)


@pytest.mark.parametrize(
    ("steps", "wrong"),
    [([1, 3, 2], "step 2 after step 3"), ([1, 1, 2], "step 1 after step 1"), ([-1, 0, 1], "step -1")],
)
def test_steps_rise_where_a_trajectory_is_made_and_where_it_is_opened(steps, wrong, tmp_path):
    with pytest.raises(InputError, match=f"strictly increasing steps of at least 0; got {wrong}"):
        ls.Trajectory.of(torch.zeros(3, 1), steps=torch.tensor(steps))
    space = ls.ParameterSpace(("w",), ((1,),))
    store = RowStore.create(
        tmp_path / "t", trajectory_columns(space, torch.float32), rows_per_block=4,
        attributes=trajectory_attributes(space, torch.float32),
    )  # fmt: skip
    none = torch.full((3,), torch.nan, dtype=torch.float64).numpy()
    store.append(weights=torch.zeros(3, 1).numpy(), steps=np.array(steps), learning_rate=none, loss=none)
    with pytest.raises(StorageError, match=f"rows in the order of their steps .*; got {wrong}"):
        ls.open_trajectory(tmp_path / "t")
