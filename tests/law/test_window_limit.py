"""psi_infinity: known limits behind finite windows."""

import dataclasses
import math

import pytest
import torch

import landscope as ls
from known import flatness_of
from landscope.directions import Directions
from landscope.errors import InputError
from landscope.noise import window_time
from landscope.synthetic import autoregressive, sgd_over_epochs

RATE, ROWS = 0.1, 4000
CURVATURE = torch.logspace(0, -3, 150).double()
WIDTH = (8 / CURVATURE).sqrt()


def limit_of(true_psi, seed=0):
    """A stationary run with sigma^2(infinity) = F^-psi exactly, D = 2 alpha lambda sigma^2."""
    variance = WIDTH**-true_psi
    noise = variance * (1 - (1 - RATE * CURVATURE).square())
    path = autoregressive(1 - RATE * CURVATURE, ROWS, seed=seed, noise_variance=noise)
    axes = Directions.of(torch.eye(len(CURVATURE)), values=CURVATURE)
    return ls.law.window_limit(axes, ls.Trajectory.of(path), flatness_of(WIDTH), learning_rate=RATE)


@pytest.mark.parametrize("true_psi", [-2.0, 0.0, 1.0, 3.8])
def test_the_limit_has_the_true_exponent_and_the_window_a_larger_one(true_psi):
    found = limit_of(true_psi)
    assert found.psi_infinity == pytest.approx(true_psi, abs=0.02)
    assert found.psi > true_psi + 0.2
    assert found.psi == pytest.approx(found.psi_predicted, abs=0.2)
    assert found.n_used == len(CURVATURE)
    ratio = found.variance / found.predicted
    # The variance of a slow direction is one draw of a wide distribution; the sharp ones average.
    assert float(ratio[:50].mean()) == pytest.approx(1.0, abs=4 * float(ratio[:50].std()) / math.sqrt(50))


def test_the_interval_holds_the_true_exponent():
    held = [limit_of(0.0, seed).psi_infinity_interval for seed in range(40)]
    share = sum(low <= 0.0 <= high for low, high in held) / len(held)
    # Of 40 intervals of 95 %, 34 or fewer hold with a probability of 1 %.
    assert share > 34 / 40


def test_directions_without_curvature_have_no_limit():
    path = torch.randn(100, 4, generator=torch.Generator().manual_seed(0)).double()
    axes = Directions.of(torch.eye(4), values=torch.tensor([1.0, 0.5, 0.0, -1.0]))
    found = ls.law.window_limit(axes, ls.Trajectory.of(path), flatness_of(torch.ones(4).double()), learning_rate=0.1)
    assert found.used.tolist() == [True, True, False, False]
    assert found.limit[2:].isinf().all()
    assert math.isnan(found.psi_infinity)
    with pytest.raises(InputError, match="flatness of 4 directions"):
        ls.law.window_limit(axes, ls.Trajectory.of(path), flatness_of(torch.ones(3).double()), learning_rate=0.1)


def bowl(rates, copies, *, rule=None, every=1, seed=0):
    """Mean variance in the window over its prediction, of SGD in bowls with a schedule; many axes of each curvature."""
    curvature = torch.tensor([0.03, 0.3, 3.0]).double().repeat_interleave(copies)
    generator = torch.Generator().manual_seed(seed)
    theta = torch.randn(len(curvature), generator=generator).double() * (float(rates[0]) / (2 * curvature)).sqrt()
    rows = torch.empty(len(rates), len(curvature), dtype=torch.float64)
    for step, rate in enumerate(rates.tolist()):
        noise = torch.randn(len(curvature), generator=generator, dtype=torch.float64)
        theta = theta - rate * (curvature * theta + noise)
        rows[step] = theta
    axes = Directions.of(torch.eye(len(curvature)).double(), values=curvature)
    window = ls.Trajectory.of(rows).thin(every)
    width = (8 / curvature).sqrt()
    found = ls.law.window_limit(axes, window, flatness_of(width), learning_rate=rates[::every], rule=rule)
    return (found.variance / found.predicted).reshape(3, copies), found


def test_a_schedule_counts_by_the_sum_of_its_learning_rates():
    """The rate falls to a half: slow directions relax by sum alpha_t lambda, and the limit is the mean over time."""
    copies = 300
    ratio, found = bowl(torch.linspace(0.1, 0.05, 2000).double(), copies)
    assert float(found.relaxations[0]) == pytest.approx(0.03 * 2000 * 0.075, rel=1e-3)
    # A direction that relaxes in half the window starts from the variance of the larger rate and keeps some of it.
    error = 4 * ratio.std(dim=1) / math.sqrt(copies) + torch.tensor([0.15, 0.05, 0.05])
    assert ((ratio.mean(dim=1) - 1).abs() < error).all()


def test_rows_some_steps_apart_have_the_limit_of_every_step():
    rates = torch.full((4000,), 0.1).double()
    ratio, every_fifth = bowl(rates, 100, every=5)
    _, every_one = bowl(rates, 100)
    error = 4 * ratio.std(dim=1) / 10 + 0.02
    assert ((ratio.mean(dim=1) - 1).abs() < error).all()
    # 800 increments of five steps against 4,000: the mean of 100 directions is known to 4 sqrt(2/(800 100)).
    times = (every_fifth.limit / every_one.limit).reshape(3, 100).mean(dim=1)
    torch.testing.assert_close(times, torch.ones(3).double(), rtol=0.03, atol=0)


def test_uneven_rows_and_a_rate_that_is_not_positive_are_refused():
    path = torch.randn(60, 3, generator=torch.Generator().manual_seed(0)).double()
    axes, widths = Directions.of(torch.eye(3), values=torch.ones(3)), flatness_of(torch.ones(3).double())
    steps = torch.arange(1, 61)
    steps[30:] += 2
    with pytest.raises(InputError, match="equal distances"):
        ls.law.window_limit(axes, ls.Trajectory.of(path, steps=steps), widths, learning_rate=0.1)
    with pytest.raises(InputError, match="positive learning rate"):
        ls.law.window_limit(axes, ls.Trajectory.of(path), widths, learning_rate=torch.zeros(60))


def reshuffled(curvature, epoch, n_epochs, seed=0):
    """SGD in reshuffled epochs with gradient noise proportional to the curvature."""
    gradients = torch.randn(epoch, len(curvature), generator=torch.Generator().manual_seed(seed)).double()
    gradients = (gradients - gradients.mean(dim=0)) * curvature.sqrt()
    path = sgd_over_epochs(gradients, n_epochs, learning_rate=RATE, seed=seed, curvature=curvature)
    return Directions.of(torch.eye(len(curvature)).double(), values=curvature), ls.Trajectory.of(path)


def test_in_reshuffled_epochs_noise_proportional_to_curvature_has_no_exponent_of_zero():
    """M = 1,200: alpha lambda M goes from 120 to 0.12, and flat directions end near D (M + 1)/6."""
    curvature, epoch = torch.logspace(0, -3, 60).double(), 1200
    axes, window = reshuffled(curvature, epoch, 2)
    width = (8 / curvature).sqrt()
    own, white = (
        ls.law.window_limit(axes, window, flatness_of(width), learning_rate=RATE, steps_per_epoch=count)
        for count in (epoch, None)
    )
    strength = ls.noise.mode_statistics(axes, window).velocity_variance
    for found, count in ((own, epoch), (white, None)):
        for row, value in enumerate(curvature.tolist()):
            endless = window_time(torch.tensor([value]), torch.tensor([math.inf]), learning_rate=RATE,
                                  steps_per_epoch=count)  # fmt: skip
            assert float(found.time[row]) == pytest.approx(float(endless), rel=1e-4)
        torch.testing.assert_close(found.limit, strength * found.time)
    # sigma^2 = C/(1 - a^2) (C_0 + 2 sum_h a^h C_h), with C ~ lambda, by a plain loop over eigenvalues.
    known = []
    for value in curvature.tolist():
        a = 1 - RATE * value
        memory = sum(a**h * (epoch - h) / (epoch * (epoch - 1)) for h in range(1, epoch))
        known.append(value * (1 - 2 * memory) / (1 - a**2))
    psi = -ls.power_law.fit_power_law(width, torch.tensor(known).double()).exponent
    assert psi > 0.5
    # D is known to (2/2400)^(1/2) = 3 % in each of 60 directions over 1.5 decades of flatness: 0.01 in the exponent.
    assert own.psi_infinity == pytest.approx(psi, abs=0.03)
    assert white.psi_infinity == pytest.approx(0.0, abs=0.06)  # D of a stiff direction is 2/(2 - alpha lambda) larger
    assert (own.order, white.order) == ("reshuffled epochs of 1,200 minibatches", "independent minibatches")


def test_a_path_in_reshuffled_epochs_shows_what_is_expected_of_its_order():
    curvature, epoch = torch.tensor([0.01, 0.1, 1.0]).double().repeat_interleave(60), 60
    axes, path = reshuffled(curvature, epoch, 40)
    window, widths = path.part(slice(20 * epoch, None)), flatness_of((8 / curvature).sqrt())
    own, white = (
        ls.law.window_limit(axes, window, widths, learning_rate=RATE, steps_per_epoch=count) for count in (epoch, None)
    )
    ratio = (own.variance / own.predicted).reshape(3, 60)
    assert ((ratio.mean(dim=1) - 1).abs() < 4 * ratio.std(dim=1) / math.sqrt(60) + 0.01).all()
    assert float((white.variance / white.predicted)[:60].mean()) < 0.2
    # An epoch is enough for a flat direction to show nearly all of its variance; of independent noise it shows x/3.
    assert float(own.shown[0]) > 0.9
    assert float(white.shown[0]) == pytest.approx(float(ls.noise.window_factor(white.relaxations[:1])))


def test_the_limit_in_words_says_why_it_has_no_interval():
    found = limit_of(0.0)
    low, high = found.psi_infinity_interval
    assert found.psi_infinity_in_words == f"{found.psi_infinity:.2f} [{low:.2f}, {high:.2f}]"
    reason = "no interval of psi and psi_infinity: blocks of time see 3% of its variance"
    bare = {"psi_infinity": 0.5, "psi_infinity_interval": (math.nan, math.nan), "interval_reason": reason}
    words = dataclasses.replace(found, **bare, psi_infinity_reach=1.5).psi_infinity_in_words
    assert words == "0.50 (no interval: blocks of time see 3% of its variance; another run may move it by 1.50)"
    words = dataclasses.replace(found, **bare, psi_infinity_reach=math.nan).psi_infinity_in_words
    assert words.endswith("how far another run may move it is not known)")
