"""Velocity statistics on processes whose answers are known, with tolerances from their own sampling errors."""

import math

import pytest
import torch

import landscope as ls
from landscope.directions.directions import Directions
from landscope.directions.principal import principal_modes
from landscope.errors import InputError
from landscope.noise.velocity import white_time
from landscope.synthetic import autoregressive, random_walk, sgd_in_springs, sgd_over_epochs
from landscope.trajectory import Trajectory


def along_axes(path):
    """The axes as modes, fixed beforehand."""
    return Directions.of(torch.eye(path.shape[1]))


def measured(path, **options):
    return ls.noise.velocity_statistics(Trajectory.of(path), along_axes(path), **options)


def test_autoregressive_process():
    # a centred window of T points loses the share (1+a)/((1-a)T) of sigma^2; D = 2 s^2/(1+a); tau = 1/(2(1-a)).
    a = torch.tensor([0.9, 0.5, 0.0], dtype=torch.float64)
    path = autoregressive(a, 60_000, seed=1)
    found = measured(path, max_lag=3)
    memory = (1 + a) / (1 - a)  # integrated time of theta: sigma^2 is a mean of T/(theta^2 memory) values
    loss = memory / len(path)
    spread = 4 * torch.sqrt(2 * (1 + a**2) / (1 - a**2) / len(path))
    assert (found.variance * (1 - a**2) / (1 - loss) - 1).abs().le(spread).all()
    assert (found.velocity_variance * (1 + a) / 2 - 1).abs().le(4 * math.sqrt(4 / len(path))).all()
    assert (found.correlation_time * 2 * (1 - a) - 1).abs().le(spread + 0.03).all()
    # velocities: C(t)/D = -(1-a) a^(t-1)/2 for t >= 1
    expected = torch.stack([-(1 - a) * a ** (t - 1) / 2 for t in (1, 2, 3)])
    torch.testing.assert_close(found.autocorrelation[1:], expected, rtol=0, atol=4 / math.sqrt(len(path)))
    assert (found.integrated_time / memory - 1).abs().le(0.2).all()
    assert found.resolved.all()


def test_autocorrelation_equals_the_obvious_sum():
    path = random_walk(200, 3, seed=3) + autoregressive(torch.tensor([0.8, 0.1, -0.5]), 200, seed=4)
    found = measured(path, max_lag=50)
    v = path.diff(dim=0)
    for lag in (0, 1, 7, 50):
        obvious = sum(v[t] * v[t + lag] for t in range(len(v) - lag)) / (len(v) - lag)
        torch.testing.assert_close(found.autocorrelation[lag] * found.velocity_variance, obvious, rtol=1e-9, atol=1e-12)


def test_springs_give_the_exponents_known_beforehand():
    # k = alpha L0 M ~ F^-2 and m ~ F, small k: D ~ F^-2, sigma^2 ~ F^0, tau ~ F^2.
    flatness = torch.logspace(0, 0.7, 12, dtype=torch.float64)
    path = sgd_in_springs(0.1 * flatness**-2, flatness, 200_000, seed=0)
    found = measured(path)

    def exponent(y):
        return -ls.law.fit_power_law(flatness, y).exponent

    # sigma^2 is a mean over T k/2 values: relative error 2/sqrt(T k); the leverage of 12 points divides by about 1.5.
    error = 4 * 2 / math.sqrt(len(path) * 0.1 / 25)
    finite_k = 0.05  # D = 2 k^2 m^2/(2 - k) departs from k^2 m^2 by k/2 at most
    assert abs(exponent(found.velocity_variance) - 2) < finite_k
    assert abs(exponent(found.variance) - 0) < error + finite_k
    assert abs(exponent(found.correlation_time) + 2) < error + finite_k


@pytest.mark.parametrize(
    ("sampling", "expected"),
    [("reshuffled", lambda m, e: (m + 1) / 6 * (1 - 1 / (2 * e))), ("shuffled-once", lambda m, e: (m + 1) / 12)],
)
def test_flat_direction_without_replacement(sampling, expected):
    batches, epochs, copies = 60, 10, 800
    gradients = torch.randn(batches, copies, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    gradients -= gradients.mean(dim=0)
    path = sgd_over_epochs(gradients, epochs, learning_rate=1.0, seed=2, sampling=sampling)
    found = measured(path)
    # Columns share the order but have independent gradients; the spread over columns gives the error of the mean.
    tau = found.variance / gradients.square().mean(dim=0)
    error = 4 * float(tau.std()) / math.sqrt(copies)
    assert abs(float(tau.mean()) - expected(batches, epochs)) < error + 0.5  # 0.5: sums start after the first step


def test_white_velocities_have_the_time_of_the_window():
    path = random_walk(500, 3000, seed=0)
    found = measured(path)
    assert found.white_time == white_time(500)
    tau = found.correlation_time
    assert abs(float(tau.mean()) / found.white_time - 1) < 4 * float(tau.std()) / found.white_time / math.sqrt(3000)
    assert not found.resolved[:100].any()
    assert float((found.msd_exponent - 1).mean().abs()) < 0.05


@pytest.mark.parametrize("dim", [30, 4000])
def test_selection_alone_makes_the_time_fall_with_rank(dim):
    window = Trajectory.of(random_walk(400, dim, seed=1))
    found = ls.noise.velocity_statistics(window, principal_modes(window, 10))
    ratio = found.correlation_time / found.white_time_in_sample
    assert ratio.log2().abs().max() < 1.0
    assert float(found.correlation_time[0] / found.correlation_time[9]) > 20


def test_drift_is_persistent_and_diffusion_is_not():
    path = random_walk(5000, 40, seed=0, drift=1.0)
    found = measured(path, steps_per_epoch=100)
    assert found.persistence[0] > 0.9
    assert abs(float(found.persistence[1:].mean())) < 4 / math.sqrt(49 * 39)
    assert abs(float(found.drift[0]) - 1) < 4 / math.sqrt(5000)


def test_epochs_without_net_motion_have_no_persistence_of_their_own():
    # Reshuffled epochs on a flat direction end where they began; cut one step late they would show -1/2.
    gradients = torch.randn(30, 200, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    gradients -= gradients.mean(dim=0)
    path = sgd_over_epochs(gradients, 40, learning_rate=1.0, seed=0)
    drifting = path + torch.randn(40, 200, dtype=torch.float64).mul(0.5).cumsum(0).repeat_interleave(30, dim=0)
    found = measured(drifting, steps_per_epoch=30)
    assert abs(float(found.persistence.mean())) < 4 / math.sqrt(38 * 200)


def test_a_free_walk_is_never_resolved_along_fixed_directions():
    found = measured(random_walk(3000, 500, seed=0))
    assert not found.resolved.any()


def test_short_windows_and_still_modes_are_flagged():
    path = torch.cat([random_walk(50, 1, seed=0), torch.zeros(50, 1, dtype=torch.float64)], dim=1)
    found = measured(path, steps_per_epoch=100)
    assert torch.isnan(found.persistence).all()
    assert torch.isnan(found.correlation_time[1])
    assert torch.isnan(found.autocorrelation[:, 1]).all()
    assert not found.resolved[0]


def test_uneven_rows_are_refused():
    path = Trajectory.of(torch.randn(5, 2), steps=torch.tensor([1, 2, 3, 5, 6]))
    with pytest.raises(InputError, match="equal distances"):
        ls.noise.velocity_statistics(path, along_axes(torch.randn(5, 2).double()))
    with pytest.raises(InputError, match="max_lag"):
        measured(torch.randn(5, 2).double(), max_lag=4)
