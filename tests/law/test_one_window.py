"""One window corrected: psi = 3.8 and psi = 0 recovered, with equal and unequal relaxation, T above and below N."""

import math

import pytest
import scipy.stats
import torch

import landscope as ls
from known import flatness_of, statistics_of
from landscope.errors import InputError
from landscope.law.exponents import fit_exponents
from landscope.law.intervals import exponents_without_each, jackknife_interval
from landscope.law.one_window import one_window_correction
from landscope.synthetic import InverseGaussian, autoregressive, random_walk

SEEDS = 3


def variance_in_window(stationary, coefficient, rows):
    """What a centred window of an AR(1) shows on average, exactly."""
    a = coefficient
    lost = (1 + a) / ((1 - a) * rows) - 2 * a * (1 - a**rows) / ((1 - a) ** 2 * rows**2)
    return stationary * (1 - lost)


def path_of(stationary, coefficient, rows, seed, drift=0.0):
    """An AR(1) whose middle direction also goes ``drift`` standard deviations along a line."""
    noise = stationary * (1 - coefficient.square())
    path = autoregressive(coefficient, rows, seed=seed, noise_variance=noise)
    middle = len(stationary) // 2
    path[:, middle] += drift * stationary[middle].sqrt() * torch.linspace(0, 1, rows, dtype=torch.float64)
    return path


def corrected(stiff, stationary, coefficient, rows, seed, drift=0.0):
    """In-sample and corrected exponents, and that of the true variances p' Sigma p along the same modes."""
    window = ls.Trajectory.of(path_of(stationary, coefficient, rows, seed, drift))
    modes = ls.principal_modes(window)
    found = one_window_correction(modes, window)
    count = min(len(found.corrected), 120)
    # The well is an inverse Gaussian, whose flatness along any unit vector is known: F = sqrt(8/p' M p).
    width = (8 / (modes.directions.square() @ stiff)).sqrt()[:count]
    true = (modes.directions.square() @ variance_in_window(stationary, coefficient, rows))[:count]
    in_sample = ls.noise.mode_statistics(modes, window)

    def psi(statistics):
        return fit_exponents("", statistics, flatness_of(width), (2, count), spectrum_ranks=(2, 30))

    exact = psi(statistics_of(true)).psi
    if found.drift_reason:
        return psi(in_sample).psi, None, exact, found, true
    return psi(in_sample).psi, psi(found.statistics(in_sample)), exact, found, true


def reach_of(exponents, found):
    """Half of a 95 % interval of psi: the error from the frequencies, and from the scatter of the modes, in squares.

    Alone the frequencies, with the modes held fixed, hold psi of the true variances in 0.4 to 1.0 of such windows.
    """
    used = exponents.used
    blocks = exponents_without_each(exponents.width[used], found.moments[:, :, : len(used)][:, :, used])
    low, high = jackknife_interval(blocks, exponents.psi)
    x, y = exponents.width[used].log(), exponents.variance[used].log()
    x, y = x - x.mean(), y - y.mean()
    free = len(x) - 2
    scatter = (y + exponents.psi * x).square().sum() / (free * x.square().sum())
    return math.hypot((high - low) / 2, float(scipy.stats.t.ppf(0.975, free)) * math.sqrt(float(scatter)))


def stiffness(dim):
    return torch.logspace(0, -2, dim).double()


@pytest.mark.parametrize(("dim", "rows"), [(100, 400), (300, 200)])
@pytest.mark.parametrize("true_psi", [3.8, 0.0])
@pytest.mark.parametrize("relaxation", ["white", "equal", "unequal"])
def test_the_exponent_of_the_true_variances_is_recovered(true_psi, relaxation, dim, rows):
    stiff = stiffness(dim)
    stationary = stiff ** (true_psi / 2)  # F = sqrt(8/M)
    coefficient = {"white": 0 * stiff, "equal": 0 * stiff + 0.8, "unequal": 1 - 0.1 * stiff}[relaxation]
    in_sample, missed, reach = [], [], []
    for seed in range(SEEDS):
        first, found, exact, window, _ = corrected(stiff, stationary, coefficient, rows, seed)
        assert math.isnan(found.psi_interval[0])
        assert "psi" in found.interval_reason
        in_sample.append(abs(first - exact))
        missed.append(found.psi - exact)
        reach.append(reach_of(found, window))
    # The mean over seeds has 1/sqrt(seeds) of the reach of one, about two standard errors; twelve
    # settings together stay within 1.5 reaches/sqrt(seeds) (three standard errors), with h^2 of bias.
    assert abs(sum(missed) / SEEDS) < 1.5 * max(reach) / math.sqrt(SEEDS) + 0.01 * true_psi
    if relaxation == "unequal":
        assert min(in_sample) > 1.5  # what the window alone makes of the law
        assert max(map(abs, missed)) < 0.5 * min(in_sample)


@pytest.mark.parametrize("true_psi", [3.8, 0.0])
def test_a_window_that_drifts_is_flagged_or_comes_out_right(true_psi):
    """A line along one quiet direction of unequally relaxing ones, as long as 10 or 100 of its standard deviations."""
    stiff = stiffness(100)
    missed, reach = [], []
    for seed in range(2):
        options = (stiff, stiff ** (true_psi / 2), 1 - 0.1 * stiff, 400, seed)
        still, (_, found, exact, window, _) = corrected(*options)[3], corrected(*options, drift=10)
        missed.append(found.psi - exact)
        reach.append(reach_of(found, window))
        # Its own share of the variance is 10^2/12 of its direction: it cannot change the median by a half.
        assert float((window.corrected / still.corrected).log().median().abs()) < 0.5
        _, nothing, _, drifting, _ = corrected(*options, drift=100)
        assert nothing is None
        assert drifting.separable_reason == drifting.drift_reason
        assert drifting.drift_p_value < 0.01
        assert drifting.drift_coherence > 5 * window.drift_coherence
        # Why: the level is too high in all modes.
        assert float((drifting.corrected / still.corrected).log().median()) > math.log(2)
    assert abs(sum(missed) / 2) < 1.5 * max(reach) / math.sqrt(2) + 0.01 * true_psi


def test_a_window_that_drifts_has_no_statistics():
    path = torch.randn(200, 30, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    window = ls.Trajectory.of(path + torch.linspace(0, 20, 200, dtype=torch.float64)[:, None])
    modes = ls.principal_modes(window)
    with pytest.raises(InputError, match="without a drift"):
        one_window_correction(modes, window).statistics(ls.noise.mode_statistics(modes, window))


def intervals_of_white_windows(trials):
    """Of psi, in white rows along ten directions far apart in variance; in the population it is 2."""
    variance = torch.logspace(0, -4, 10).double()
    for seed in range(trials):
        window = ls.Trajectory.of(path_of(variance, 0 * variance, 1000, seed))
        modes = ls.principal_modes(window)
        found = one_window_correction(modes, window).statistics(ls.noise.mode_statistics(modes, window))
        yield fit_exponents("", found, flatness_of(variance**-0.5), (1, 10), spectrum_ranks=(2, 9)).psi_interval


def test_an_interval_is_given_where_the_modes_relax_fast_enough():
    ((low, high),) = intervals_of_white_windows(1)
    assert low < 2 < high


@pytest.mark.slow
def test_the_interval_holds():
    given = [ends for ends in intervals_of_white_windows(200) if not math.isnan(ends[0])]
    held = sum(low <= 2 <= high for low, high in given) / len(given)
    assert len(given) > 100
    # The rule of intervals lets 0.926 remain; four standard errors.
    assert held > 0.926 - 4 * math.sqrt(0.926 * 0.074 / len(given))


@pytest.mark.parametrize("coefficient", [0.0, 0.8])
def test_where_all_modes_relax_alike_both_corrections_agree_with_the_truth(coefficient):
    stiff = stiffness(100)
    _, _, _, found, true = corrected(stiff, stiff**1.9, 0 * stiff + coefficient, 400, seed=1)
    modes = ls.principal_modes(ls.Trajectory.of(path_of(stiff**1.9, 0 * stiff + coefficient, 400, 1)))
    assert found.separable_reason == ""
    # One mode scatters by sqrt(2/T_eff), T_eff = 400 (1 - a^2)/(1 + a^2): 0.07 and 0.15. The separable average reaches
    # over h = 0.3, and rests on the temporal spectrum: 0.09 more.
    scatter = math.sqrt(2 / (400 * (1 - coefficient**2) / (1 + coefficient**2)))
    for values, bias in ((found.corrected, scatter), (found.separable, 0.09)):
        error = (values / true).log()
        assert abs(float(error.median())) < bias
        assert float(error.std()) < 2 * scatter + 0.09
    # The population is diagonal: the part of each mode along directions of half to twice its variance, in the window.
    population = variance_in_window(stiff**1.9, 0 * stiff + coefficient, 400)
    alike = (population / true[:, None]).log().abs() <= math.log(2)
    inside = (modes.directions.double().square() * alike).sum(dim=1)
    # One mode scatters by as much as it is; the mean of a hundred by a tenth; the average reaches over h = 0.3.
    assert float(found.overlap.mean()) == pytest.approx(float(inside.mean()), abs=0.1)


@pytest.mark.parametrize("true_psi", [0.0, 3.8])
def test_unequal_relaxation_is_flagged_and_gives_no_separable_numbers(true_psi):
    stiff = stiffness(100)
    for seed in range(SEEDS):
        _, _, _, found, _ = corrected(stiff, stiff ** (true_psi / 2), 1 - 0.1 * stiff, 400, seed)
        assert found.separable_reason
        assert bool(found.separable.isnan().all())
        with pytest.raises(InputError, match="separable model applies"):
            found.with_separable_variances()


def test_velocities_are_corrected_too():
    """White rows: D = 2 sigma^2 along every direction, so psi_tau = 0 in-sample or not."""
    stiff = stiffness(60)
    _, exponents, exact, found, true = corrected(stiff, stiff**1.9, 0 * stiff, 300, seed=0)
    assert exponents.psi_D == pytest.approx(exact, abs=0.1)
    # A mode has 300 squares, neighbours average: below sqrt(2/300) a mode and twice that for steps, which overlap.
    ratio = found.velocity_variance / (2 * true)
    assert float(ratio.log().abs().median()) < 3 * math.sqrt(2 / 300)


def test_the_next_window_is_predicted():
    """The honest check needs no truth: the second half of a run with noise proportional to curvature."""
    stiff = stiffness(100)
    path = autoregressive(1 - 0.1 * stiff, 1600, seed=0, noise_variance=stiff)
    window, following = ls.Trajectory.of(path[:800]), ls.Trajectory.of(path[800:])
    modes = ls.principal_modes(window)
    F = ls.flatness(InverseGaussian(stiff), torch.zeros(100).double(), modes.directions)
    in_sample, fresh = (ls.noise.mode_statistics(modes, part) for part in (window, following))
    found = one_window_correction(modes, window)
    options = {"fit_modes": (2, 100), "spectrum_ranks": (2, 50)}
    one = ls.law.fit_exponents("one window", found.statistics(in_sample), F, **options)
    first, later = (ls.law.fit_exponents("", part, F, **options) for part in (in_sample, fresh))
    assert abs(one.psi - later.psi) < 0.5 * (first.psi - later.psi)
    assert one.psi == pytest.approx(one.psi_D + one.psi_tau, abs=1e-9)


def test_a_random_walk_has_no_law_of_its_own():
    window = ls.Trajectory.of(random_walk(80, 400, seed=0))
    modes = ls.principal_modes(window)
    found = one_window_correction(modes, window, 40)
    spread = [float(values.log().std()) for values in (found.variance, found.corrected)]
    # In-sample variances fall as 1/k^2: their logarithm has the standard deviation 2 * 0.9 over ranks 1 to 40.
    assert spread[0] > 1.2
    assert spread[1] < 0.5 * spread[0]


def test_a_drift_is_seen_in_the_share_of_the_lowest_frequency():
    still = torch.randn(200, 30, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    drifting = still.clone()
    drifting[:, 0] += torch.linspace(-50, 50, 200, dtype=torch.float64)
    shares = []
    for path in (still, drifting):
        window = ls.Trajectory.of(path)
        shares.append(one_window_correction(ls.principal_modes(window), window).lowest_share[1:])
    # White rows: each of 199 frequencies has its share, a square along one mode, averaged over a few.
    assert float(shares[0].median()) < 5 / 199
    assert float(shares[1].median()) > 10 * float(shares[0].median())


def test_still_modes_are_left_out():
    rows = torch.randn(100, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    rows[:, 5:] = 1.0
    window = ls.Trajectory.of(rows)
    modes = ls.principal_modes(window)
    found = one_window_correction(modes, window)
    assert len(found.corrected) == modes.n_moving == 5
    assert len(one_window_correction(modes, window, 3).corrected) == 3


def test_other_directions_and_windows_are_refused():
    rows = torch.randn(60, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    window, other = ls.Trajectory.of(rows), ls.Trajectory.of(rows.flip(1))
    modes = ls.principal_modes(window)
    with pytest.raises(InputError, match="without n_modes"):
        one_window_correction(ls.principal_modes(window, 4), window)
    with pytest.raises(InputError, match="those of another one"):
        one_window_correction(modes, other)
    with pytest.raises(InputError, match="at least 21 steps"):
        one_window_correction(ls.principal_modes(window.part(slice(20))), window.part(slice(20)))
    found = one_window_correction(modes, window)
    with pytest.raises(InputError, match="window that was corrected"):
        found.statistics(ls.noise.mode_statistics(modes, other))


def test_the_result_is_saved_and_drawn(tmp_path):
    stiff = stiffness(30)
    _, _, _, found, _ = corrected(stiff, stiff, 0 * stiff, 100, seed=0)
    ls.save(found, tmp_path / "one")
    loaded = ls.load(tmp_path / "one.zarr.zip") if (tmp_path / "one.zarr.zip").exists() else ls.load(tmp_path / "one")
    assert torch.equal(loaded.corrected, found.corrected)
    names = [trace.name for trace in loaded.plot().data]
    assert names[:2] == ["in-sample", "predicted from one window"]
