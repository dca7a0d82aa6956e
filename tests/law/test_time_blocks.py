"""Intervals from blocks of time: coverage on processes whose exponents are known, and none where they cannot hold."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.signal import lfilter

import landscope as ls
from known import flatness_of, statistics_of
from landscope.directions import Directions
from landscope.law.exponents import fit_exponents
from landscope.law.time_blocks import TimeBlocks, blocks_share, selection_bias
from landscope.noise import mode_statistics

KEYS = ("psi", "psi_D", "psi_tau")
PSI = 3.8
WIDTH = torch.logspace(0, 0.6, 20).double()
SIGMA = WIDTH ** (-PSI / 2)


def relaxing(times, rows, seed):
    """Stationary directions with variance F^-psi that relax over the given numbers of rows."""
    memory = np.exp(-1 / np.asarray(times))
    draws = np.random.default_rng(seed).standard_normal((rows + 1, len(memory)))
    path = [
        lfilter([1], [1, -a], draw[1:] * math.sqrt(1 - a * a), zi=[a * draw[0]])[0]
        for a, draw in zip(memory, draws.T, strict=True)
    ]
    return torch.from_numpy(np.stack(path, axis=1)) * SIGMA


def true_exponents(times):
    """psi, psi_D and psi_tau of the process: D = 2 sigma^2 (1 - a)."""
    noise = 2 * SIGMA.square() * -torch.expm1(-1 / times)
    psi_D = -ls.law.fit_power_law(WIDTH, noise).exponent
    return {"psi": PSI, "psi_D": psi_D, "psi_tau": PSI - psi_D}


def coverage(times, rows, trials):
    """Of each exponent: how many intervals were given, and how many of them hold the true value."""
    axes, truth = Directions.of(torch.eye(len(WIDTH))), true_exponents(times)
    given, held = dict.fromkeys(KEYS, 0), dict.fromkeys(KEYS, 0)
    for seed in range(trials):
        motion = mode_statistics(axes, ls.Trajectory.of(relaxing(times, rows, seed)))
        row = fit_exponents("", motion, flatness_of(WIDTH), (1, len(WIDTH)))
        for key in KEYS:
            low, high = getattr(row, f"{key}_interval")
            given[key] += not math.isnan(low)
            held[key] += low <= truth[key] <= high
            assert math.isnan(low) == (f"{key}:" in row.interval_reason or f"{key} and" in row.interval_reason)
    return given, held


def check_held(given, held):
    """A coverage of 0.90 to 0.98: neither edge is refuted by the counts, each at a level of 1 in 1000."""
    for key in KEYS:
        if given[key]:
            assert held[key] >= stats.binom.ppf(0.001, given[key], 0.90), (key, given, held)
            assert held[key] <= stats.binom.ppf(0.999, given[key], 0.98), (key, given, held)


SETTINGS = {"30": 30.0, "600": 600.0, "3000": 3000.0, "F^2": 60 * (WIDTH / WIDTH[0]) ** 4}
"""Relaxation times in a window of 12,000 rows. F goes over a factor of 4, so that its fourth power, 60 to 15,000, is
what F^2 is over a factor of 16."""


def times_in(window, setting):
    """The relaxation times of a setting, scaled to a window of another length."""
    return torch.ones(len(WIDTH)).double() * SETTINGS[setting] * window / 12_000


@pytest.mark.parametrize("setting", SETTINGS)
def test_an_interval_holds_wherever_it_is_given(setting):
    """The settings of 12,000 rows, at a third of all times."""
    given, held = coverage(times_in(4000, setting), 4000, trials := 100)
    check_held(given, held)
    assert given["psi_D"] == trials  # velocities have no memory here
    if setting == "30":
        assert given == dict.fromkeys(KEYS, trials)
    if setting in ("3000", "F^2"):
        assert given["psi"] == given["psi_tau"] == 0


@pytest.mark.slow
@pytest.mark.parametrize("setting", SETTINGS)
def test_an_interval_holds_wherever_it_is_given_in_a_long_window(setting):
    given, held = coverage(times_in(12_000, setting), 12_000, trials := 400)
    check_held(given, held)
    if setting == "30":
        assert given == dict.fromkeys(KEYS, trials)


def test_the_share_that_blocks_see_is_that_of_simulated_series():
    """Twin: variances of means of simulated series, over blocks and over the whole window."""
    time_constant, length, count, trials = 20.0, 40, 10, 4000
    a = math.exp(-1 / time_constant)
    draws = np.random.default_rng(0).standard_normal((trials, length * count + 400))
    series = lfilter([1], [1, -a], draws)[:, 400:]
    blocks = series.reshape(trials, count, length).mean(axis=2)
    seen = blocks.var(axis=1, ddof=1).mean() / count
    share = float(blocks_share(torch.tensor([2 * time_constant]).double(), length, count))
    # Each of the two variances is known to sqrt(2/4000) or better, and continuous time to 1/(2 time_constant).
    assert seen / blocks.mean(axis=1).var() == pytest.approx(share, rel=4 * math.sqrt(4 / trials) + 1 / 40)


def test_principal_modes_show_the_variance_that_first_order_theory_says():
    """White rows: the variance along own modes against that of the population along the same modes."""
    variance, rows, trials = torch.logspace(0, -2, 6).double(), 2000, 100
    excess = torch.zeros(trials, 6).double()
    for seed in range(trials):
        path = torch.randn(rows, 6, generator=torch.Generator().manual_seed(seed)).double() * variance.sqrt()
        motion = mode_statistics(modes := ls.principal_modes(ls.Trajectory.of(path)), ls.Trajectory.of(path))
        assert motion.chosen_here
        excess[seed] = torch.log(motion.variance / (modes.directions.square() @ variance))
    said = selection_bias(variance, torch.ones(6).double(), float(variance.sum()), rows)
    # Four standard errors; the second order is smaller by sum/T, and ln adds the half variance of 2/T.
    stderr = excess.std(dim=0) / math.sqrt(trials)
    assert bool(((excess.mean(dim=0) - said).abs() <= 4 * stderr + 2 / rows).all())


def test_modes_chosen_in_the_window_have_no_interval_where_the_choice_shifts_it():
    times = times_in(4000, "30")
    window = ls.Trajectory.of(relaxing(times, 4000, 0))
    row = fit_exponents("", mode_statistics(ls.principal_modes(window), window), flatness_of(WIDTH), (1, 20))
    assert math.isnan(row.psi_interval[0])
    assert "the choice of the directions" in row.interval_reason


def test_a_direction_that_stands_for_several_counts_as_often():
    """Twin: the same direction written out."""
    motion = statistics_of(SIGMA.square())
    repeated = torch.tensor([0, 1, 1, 2, 3])
    blocks = TimeBlocks(WIDTH[repeated], motion, repeated)
    x = torch.log(WIDTH[repeated])
    weights = (x - x.mean()) / (x - x.mean()).square().sum()
    bias = torch.linspace(0, 1, 20).double()
    assert blocks._slope(bias) == pytest.approx(float(weights @ bias[repeated]), abs=1e-12)


def test_strength_that_wanders_over_the_window_has_no_interval():
    """Noise of a direction that changes its strength more slowly than blocks: D is not measured ten times."""
    generator = torch.Generator().manual_seed(0)
    steps, phase = torch.arange(4000).double(), torch.rand(20, generator=generator).double() * 2 * math.pi
    strength = torch.exp(torch.sin(2 * math.pi * steps[:, None] / 4000 + phase))
    path = torch.cumsum(strength * torch.randn(4000, 20, generator=generator).double(), dim=0)
    motion = mode_statistics(Directions.of(torch.eye(20)), ls.Trajectory.of(path))
    row = fit_exponents("", motion, flatness_of(WIDTH), (1, 20))
    assert math.isnan(row.psi_D_interval[0])
    assert "the strength of the velocity" in row.interval_reason


@pytest.mark.parametrize("chosen", [False, True])
@pytest.mark.parametrize("memory", [200.0, 1e5])
def test_where_there_is_no_interval_the_reach_still_tells_how_far_other_runs_are(memory, chosen):
    """Five neighbours at a time share their noise: blocks see that, the number of directions does not."""
    trials, rows, found = 40, 1000, []
    for seed in range(trials):
        steps = relaxing(memory * torch.ones(20).double(), rows, seed) / SIGMA
        shared = 0.9 * steps[:, torch.arange(20) // 5 * 5] + math.sqrt(1 - 0.9**2) * steps
        window = ls.Trajectory.of(shared * SIGMA)
        modes = ls.principal_modes(window) if chosen else Directions.of(torch.eye(20))
        found.append(fit_exponents("", mode_statistics(modes, window), flatness_of(WIDTH), (1, 20)))
    for key in KEYS:
        values = torch.tensor([getattr(row, key) for row in found])
        reach = torch.tensor([row.reach_of(key) for row in found])
        held = int(((values - values.mean()).abs() <= reach).sum())
        assert held >= stats.binom.ppf(0.001, trials, 0.8), (key, held)
        assert float(reach.median()) < 5 * float(values.std())
    assert all(row.reason_of("psi") and math.isnan(row.psi_interval[0]) for row in found)
