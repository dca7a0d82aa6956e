"""Correlation times: worlds with and without memory."""

import dataclasses
import math

import pytest
import torch

import landscope as ls
from known import flatness_of
from landscope.claims.correlation_time import correlation_time_measurements, velocity_measurements
from landscope.law.exponents import fit_exponents
from landscope.noise.velocity import velocity_statistics, white_time
from landscope.synthetic import autoregressive, random_walk
from verdicts import verdicts

ROWS, DIM = 600, 30
RANGE = (2, DIM)


def row(trajectory, modes):
    motion = ls.noise.mode_statistics(modes, trajectory)
    return fit_exponents("", motion, flatness_of(torch.arange(1, DIM + 1).double()), RANGE, spectrum_ranks=(2, 20))


def measured(path, *, nulls=4, fresh=True):
    run = ls.Trajectory.of(path)
    window, later = run.part(slice(ROWS)), run.part(slice(ROWS, None))
    modes = ls.principal_modes(window)
    surrogates = []
    for seed in range(nulls):
        null = ls.surrogates.shuffled_increments(window, seed=seed)
        surrogates.append(row(null, ls.principal_modes(null)))
    found = correlation_time_measurements(
        row(window, modes), row(later, modes) if fresh else None, surrogates, [], (ROWS, ROWS), RANGE
    )
    short = found["short_correlation_time"]
    found["short_correlation_time"] = dataclasses.replace(short, controls=short.controls[1:])  # without the process
    return found


def bowl(a):
    return autoregressive(torch.full((DIM,), a).double(), 2 * ROWS, seed=0)


def test_positions_that_relax_have_short_times_and_correlated_velocities():
    assert verdicts(measured(bowl(0.5))) == {
        "short_correlation_time": "reproduced", "velocity_correlations": "reproduced",
    }  # fmt: skip


def test_a_random_walk_has_short_times_in_its_own_modes_without_any_correlation():
    found = measured(random_walk(2 * ROWS, DIM, seed=1))
    assert verdicts(found)["velocity_correlations"] == "not reproduced"
    assert verdicts(found)["short_correlation_time"] in ("contested", "not reproduced")


def test_without_fresh_data_correlations_are_not_measured():
    assert verdicts(measured(bowl(0.5), fresh=False))["velocity_correlations"] == "not measured"


def relaxing(seed=0, rows=400):
    """Velocities of eight positions with a = 0.5 along random directions: tau = 1/(2(1 - a)) = 1."""
    window = ls.Trajectory.of(autoregressive(torch.full((8,), 0.5).double(), rows, seed=seed))
    return velocity_statistics(window, ls.directions.random(8, 8, seed=0), max_lag=40)


def with_correlation(velocity, values, **changes):
    return dataclasses.replace(velocity, autocorrelation=values[:, None].expand(len(values), 8).clone(), **changes)


def test_known_correlations_give_the_time():
    lag = torch.arange(399).double()
    exact = torch.where(lag == 0, 1.0, -0.25 * 0.5 ** (lag - 1))
    found = velocity_measurements(with_correlation(relaxing(), exact), (1, 8), 8)["tau_from_velocities"]
    # tau of the window scatters by (2 (1 + a)/((1 - a) T 8))^(1/2) = 0.04 over eight positions.
    assert found.value == pytest.approx(1.0, abs=0.12)


def test_the_interval_holds_the_time_in_19_windows_of_20():
    """Forty windows: at least 34 of 40, as 2.5 standard errors of 1.4 are allowed."""
    found = [velocity_measurements(relaxing(seed), (1, 8), 8)["tau_from_velocities"] for seed in range(40)]
    inside = sum(each.interval[0] <= 1 <= each.interval[1] for each in found)
    assert inside >= 34
    assert verdicts({"tau_from_velocities": found[0]})["tau_from_velocities"] == "undecided"  # eight modes are few


def test_velocities_without_memory_need_no_correlations_for_their_time():
    white = torch.zeros(41).double()
    white[0] = 1.0
    times = torch.full((8,), white_time(400)).double()
    found = velocity_measurements(with_correlation(relaxing(), white, correlation_time=times), (1, 8), 8)
    assert found["tau_from_velocities"].value == pytest.approx(1.0)
    assert verdicts(found)["tau_from_velocities"] == "contested"


def test_modes_that_do_not_move_have_no_time():
    still = dataclasses.replace(relaxing(), correlation_time=torch.full((8,), math.nan).double())
    assert verdicts(velocity_measurements(still, (1, 8), 8))["tau_from_velocities"] == "not measured"
