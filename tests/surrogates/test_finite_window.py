"""The finite-window process: exact variances in windows of any length, and a law that no dynamics made."""

import math

import pytest
import torch

import landscope as ls
from landscope.directions import Directions
from landscope.errors import InputError
from landscope.noise import StepRule, stationary_variance, window_factor, window_time
from landscope.surrogates.finite_window import finite_window_process, rest_curvature
from landscope.synthetic import InverseGaussian, autoregressive, sgd_over_epochs


def run_of(path, rate):
    return ls.Trajectory.of(path, learning_rate=torch.full((len(path),), rate).double())


def axes(curvature):
    return Directions.of(torch.eye(len(curvature)).double(), values=curvature)


@pytest.mark.parametrize("relaxations", [1e-3, 9.9e-3, 0.0101, 0.5, 3.0, 40.0])
def test_the_window_factor_is_the_mean_variance_of_a_centred_window(relaxations):
    """AR(1) at a = 1 - x/T: 1 - (1 + 2 sum (1 - h/T) a^h)/T, exactly; kappa is its limit of many rows."""
    rows = 20_000
    a = 1 - relaxations / rows
    lag = torch.arange(1, rows, dtype=torch.float64)
    # Written with a^h - 1, which keeps the digits that the sum of a^h loses.
    exact = -2 / rows * ((1 - lag / rows) * torch.expm1(lag * math.log(a))).sum()
    assert float(window_factor(torch.tensor(relaxations))) == pytest.approx(float(exact), rel=2e-3)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_variance_and_velocity_variance_are_those_of_the_formula(momentum):
    """200 axes for each of four relaxation rates; white velocities of variance 1."""
    rows, copies, rate = 1000, 200, 0.1
    curvature = torch.tensor([1e-3, 1e-2, 0.1, 1.0]).double().repeat_interleave(copies) * (1 - momentum)
    walk = torch.randn(rows, len(curvature), generator=torch.Generator().manual_seed(0)).double().cumsum(0)
    made = finite_window_process(
        run_of(walk, rate), axes(curvature), rest=0.0, rule=StepRule(momentum=momentum), seed=0
    ).weights
    strength = made.diff(dim=0).square().mean(dim=0)
    limit = stationary_variance(torch.ones(4), curvature[::copies], learning_rate=rate, momentum=momentum)
    expected = limit * window_factor(rate * curvature[::copies] / (1 - momentum) * rows)
    found = made.var(dim=0, correction=0).reshape(4, copies)
    # Momentum smooths over 1/(1 - beta) = 10 steps, a share of the fastest relaxation of 100 steps.
    error = 4 * found.std(dim=1) / math.sqrt(copies) + (0.1 if momentum else 0.01) * expected
    assert ((found.mean(dim=1) - expected).abs() < error).all()
    # The signs are of the same 999 increments: the velocity variance is that of the walk.
    assert strength.mean() == pytest.approx(1.0, rel=0.02 if momentum == 0 else 0.1)


def test_reshuffled_noise_of_a_flat_direction_has_the_time_of_kuehn_and_rosenow():
    """sigma^2/D = (M+1)/6 (1 - 1/(2E)), of reshuffled SGD and of the process alike."""
    batches, epochs, dim = 30, 20, 300
    gradients = torch.randn(batches, dim, generator=torch.Generator().manual_seed(0)).double()
    gradients -= gradients.mean(dim=0)
    path = sgd_over_epochs(gradients, epochs, learning_rate=0.1, seed=0)
    run = run_of(path, 0.1)
    flat = axes(torch.full((dim,), 1e-9).double())
    made = finite_window_process(run, flat, rest=0.0, steps_per_epoch=batches, seed=1).weights
    expected = (batches + 1) / 6 * (1 - 1 / (2 * epochs))
    for rows in (path, made):
        time = rows.var(dim=0, correction=0).mean() / rows.diff(dim=0).square().mean()
        assert float(time) == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("first", [0, 13])
def test_reshuffled_noise_is_stationary_from_the_first_row_on(momentum, first):
    """The window is as long as 0.6 to 20 relaxations, so that a start that is not stationary would be seen in it."""
    batches, rows, copies, rate = 20, 1000, 150, 0.1
    curvature = torch.tensor([6e-3, 2e-2, 0.2]).double() * (1 - momentum)
    walk = torch.randn(rows, 3 * copies, generator=torch.Generator().manual_seed(0)).double().cumsum(0)
    window = ls.Trajectory.of(walk, steps=first + torch.arange(rows), learning_rate=torch.full((rows,), rate).double())
    made = finite_window_process(
        window, axes(curvature.repeat_interleave(copies)), rest=0.0, rule=StepRule(momentum=momentum),
        steps_per_epoch=batches, seed=0,
    )  # fmt: skip
    assert made.steps.tolist() == window.steps.tolist()
    ends, rates = torch.tensor([float(rows)]), {"learning_rate": rate, "momentum": momentum}
    expected = window_time(curvature, ends, steps_per_epoch=batches, **rates)[0]
    found = made.weights.var(dim=0, correction=0).reshape(3, copies)
    assert ((found.mean(dim=1) - expected).abs() < 4 * found.std(dim=1) / math.sqrt(copies)).all()
    # The increments of the walk have variance 1, and so have those of the process.
    strength = made.weights.diff(dim=0).square().mean(dim=0).reshape(3, copies)
    assert ((strength.mean(dim=1) - 1).abs() < 4 * strength.std(dim=1) / math.sqrt(copies)).all()


def test_a_process_with_noise_like_curvature_shows_an_inverse_law_without_one():
    """C ~ H: D/(2 alpha lambda) is the same everywhere, so psi_infinity = 0; PCA and the next window show a law."""
    curvature, rate, rows = torch.logspace(0, -3, 120).double(), 0.05, 2000
    path = autoregressive(1 - rate * curvature, 2 * rows, seed=0, noise_variance=rate**2 * curvature)
    run = run_of(path, rate)
    window, fresh = run.window(1, rows + 1), run.window(rows + 1)
    both = finite_window_process(window, axes(curvature), rest=0.0, seed=1, n_windows=2)
    made, made_fresh = both.part(slice(rows)), both.part(slice(rows, None))
    assert len(made_fresh) == rows
    well = InverseGaussian(curvature)
    psi = {}
    for name, part, other in (("run", window, fresh), ("process", made, made_fresh)):
        modes = ls.principal_modes(part)
        widths = ls.flatness(well, torch.zeros(120).double(), modes.directions)
        psi[name] = ls.variance_flatness(modes, part, widths, (2, 100)).psi
        psi[f"{name}, next"] = ls.variance_flatness(modes, other, widths, (2, 100)).psi
    limit = stationary_variance(path.diff(dim=0).square().mean(dim=0), curvature, learning_rate=rate)
    width = ls.flatness(well, torch.zeros(120).double(), torch.eye(120).double()).width
    assert -ls.power_law.fit_power_law(width, limit).exponent == pytest.approx(0.0, abs=0.1)
    assert psi["run, next"] > 0.3
    assert psi["process, next"] == pytest.approx(psi["run, next"], abs=0.3)
    assert psi["process"] == pytest.approx(psi["run"], abs=0.3)


def test_the_rest_has_the_curvature_that_the_noise_meets():
    curvature = torch.tensor([50.0, 4.0, 1.0]).double()
    steps = torch.randn(4000, 3, generator=torch.Generator().manual_seed(0)).double() * torch.tensor([1.0, 1.0, 3.0])
    window, sharp = run_of(steps.cumsum(0), 0.1), Directions.of(torch.eye(3)[:1], values=curvature[:1])
    found = rest_curvature(window, sharp, lambda v: curvature * v, n_samples=4000, seed=0)
    assert found == pytest.approx((4.0 * 1 + 1.0 * 9) / 10, rel=0.05)
    everything = Directions.of(torch.eye(3), values=curvature)
    assert rest_curvature(window, everything, lambda v: curvature * v, seed=0) == 0


def test_a_schedule_scales_noise_and_relaxation():
    """At half the rate the noise of a step is half as large: increments recorded at one rate serve at another."""
    rates = torch.cat([torch.full((1000,), 0.1), torch.full((1000,), 0.05)]).double()
    steps = torch.randn(2000, 50, generator=torch.Generator().manual_seed(0)).double() * rates[:, None]
    window = ls.Trajectory.of(steps.cumsum(0), learning_rate=rates)
    made = finite_window_process(window, axes(torch.full((50,), 0.5).double()), rest=0.0, seed=0).weights
    strength = made.diff(dim=0).square().mean(dim=1)
    assert (strength[:900].mean() / strength[1100:].mean()) == pytest.approx(4.0, rel=0.05)


def test_what_has_no_such_process_is_refused():
    window = run_of(torch.randn(40, 2, generator=torch.Generator().manual_seed(0)).double(), 0.1)
    bare = ls.Trajectory.of(window.weights)
    for ask, words in (
        (lambda: finite_window_process(window.thin(2), axes(torch.ones(2)), rest=0.0, seed=0), "every step"),
        (lambda: finite_window_process(bare, axes(torch.ones(2)), rest=0.0, seed=0), "learning rate"),
        (lambda: finite_window_process(window, axes(torch.full((2,), 21.0)), rest=0.0, seed=0), "no stationary"),
        (lambda: finite_window_process(window, axes(torch.ones(3)), rest=0.0, seed=0), "2 weights"),
    ):
        with pytest.raises(InputError, match=words):
            ask()


@pytest.mark.parametrize(
    ("first", "every", "known"), [(0, 1, True), (1, 2, True), (3, 4, True), (0, 2, False), (0, 3, False)]
)
def test_rows_at_the_ends_of_epochs_tell_the_order_of_the_minibatches(first, every, known):
    """Every second or fourth of eight steps ends an epoch too, every third does not; nor do odd steps."""
    noise = torch.randn(8, 3, generator=torch.Generator().manual_seed(0)).double()
    path = sgd_over_epochs(noise - noise.mean(0), 6, learning_rate=0.1, seed=0)
    rows = ls.Trajectory.of(path, steps=torch.arange(1, 49)).part(slice(first, None)).thin(every)
    share = ls.surrogates.epoch_noise_share(rows, ls.directions.Directions.of(torch.eye(3)[:1]), 8)
    assert share < 1e-20 if known else math.isnan(share)


@pytest.mark.parametrize("reshuffled", [True, False])
def test_a_drift_does_not_hide_the_order_of_the_minibatches(reshuffled):
    """The drift of an epoch is as long as the noise of all its steps; the noise alone tells the order."""
    epochs, steps, dim = 40, 20, 30
    noise = torch.randn(epochs, steps, dim, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    if reshuffled:
        noise -= noise.mean(dim=1, keepdim=True)
    drift = torch.ones(dim, dtype=torch.float64) / math.sqrt(steps)
    increments = torch.cat([torch.zeros(1, dim).double(), (noise + drift).flatten(0, 1)])
    path = ls.Trajectory.of(increments.cumsum(0), steps=torch.arange(len(increments)))
    along = Directions.of(torch.eye(dim)[:1].double())
    share = ls.surrogates.epoch_noise_share(path, along, steps)
    # The epochs give at least 38 independent halves of squared differences in 29 directions: a relative error of
    # sqrt(2 x 1.5/(38 x 29)) = 5 %, times four; the drift adds 1/20 to the power of a step.
    assert share == pytest.approx(0 if reshuffled else 1 / 1.05, abs=1e-9 if reshuffled else 0.2)


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("reshuffled", [True, False])
def test_momentum_does_not_blur_one_epoch_with_the_next(reshuffled, nesterov):
    """Momentum carries half of an epoch's noise into the next; without what it carries over the order is seen."""
    epochs, steps, dim, beta = 60, 20, 30, 0.9
    noise = torch.randn(epochs, steps, dim, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    if reshuffled:
        noise -= noise.mean(dim=1, keepdim=True)
    buffer, increments = torch.zeros(dim).double(), [torch.zeros(dim).double()]
    for gradient in noise.flatten(0, 1):
        buffer = beta * buffer + gradient
        increments.append(gradient + beta * buffer if nesterov else buffer)
    path = ls.Trajectory.of(torch.stack(increments).cumsum(0), steps=torch.arange(len(increments)))
    along = Directions.of(torch.eye(dim)[:1].double())
    rule = StepRule(momentum=beta, nesterov=nesterov)
    share = ls.surrogates.epoch_noise_share(path, along, steps, rule=rule)
    if reshuffled:
        # Nesterov's first gradient is taken for the whole step, which the next hundred steps forget.
        assert share < (0.01 if nesterov else 1e-9)
        assert ls.surrogates.epoch_noise_share(path, along, steps) > 2
    else:
        # 58 independent halves of squared differences in 29 directions: 3 %, times four.
        assert share == pytest.approx(1.0, rel=0.12)


def test_a_few_epochs_of_large_steps_do_not_decide():
    """A quarter of the window, in which the training is not at rest, has a thousand times the noise power."""
    epochs, steps, dim = 40, 20, 30
    noise = torch.randn(epochs, steps, dim, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    noise[10:] -= noise[10:].mean(dim=1, keepdim=True)
    noise[:10] *= 30
    path = torch.cat([torch.zeros(1, dim).double(), noise.flatten(0, 1)]).cumsum(0)
    rows, along = ls.Trajectory.of(path, steps=torch.arange(len(path))), Directions.of(torch.eye(dim)[:1].double())
    assert ls.surrogates.epoch_noise_share(rows, along, steps) < 1e-9
