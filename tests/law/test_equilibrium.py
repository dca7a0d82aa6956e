"""Thermal equilibrium on a run's own terms: known exponents in a finite window."""

import dataclasses
import math

import pytest
import torch

import landscope as ls
from known import flatness_of, statistics_of
from landscope.claims.controls import equilibrium_measurements
from landscope.claims.statements import judged
from landscope.law.equilibrium import difference_of_exponents, equilibrium
from landscope.law.exponents import fit_exponents
from landscope.noise.displacement import velocity_variance
from landscope.surrogates import relaxing_process, walk_beside
from landscope.surrogates.langevin import langevin
from landscope.synthetic import InverseGaussian, QuadraticBowl

RATE, ROWS = 0.1, 2000
CURVATURE = torch.logspace(0, -3, 40).double()
WIDTH = (8 / CURVATURE).sqrt()


def kappa(x):
    return 1 - 2 / x * (1 - (1 - torch.exp(-x)) / x)


@pytest.mark.parametrize("momentum", [0.0, 0.5])
def test_draws_have_the_exponents_that_kappa_gives(momentum):
    found = equilibrium(CURVATURE, flatness_of(WIDTH), ROWS, learning_rate=RATE, momentum=momentum, n_draws=10, seed=0)
    # D differs from that of continuous time by alpha lambda/2, up to 0.05, over three decades of lambda: 1.5 decades of
    # F, so that the slope differs by 0.05/(1.5 ln 10) = 0.015, times the reach of least squares, 1.5.
    window = kappa(RATE * CURVATURE * ROWS / (1 - momentum))
    isotropic = -ls.law.fit_power_law(WIDTH, window / CURVATURE).exponent
    proportional = -ls.law.fit_power_law(WIDTH, window).exponent
    assert found.psi_expected == pytest.approx(isotropic, abs=0.025)
    assert found.psi_proportional_expected == pytest.approx(proportional, abs=0.025)
    for draws, expected in ((found.psi, isotropic), (found.psi_proportional, proportional)):
        # ln of the variance of a slow direction lies below ln of its mean: half its relative variance, at most 2/5 for
        # a walk that diffuses freely (its variance is T/6 +- sqrt(1/45) T); the slope takes at most that over ln 10.
        stderr = float(draws.std()) / math.sqrt(len(draws))
        assert float(draws.mean()) == pytest.approx(expected, abs=4 * stderr + 0.4 / math.log(10))
    assert found.psi_expected > -1.7  # without end it would be -2


@pytest.mark.parametrize("momentum", [0.0, 0.5])
def test_reshuffled_minibatches_show_noise_proportional_to_curvature_an_exponent_without_a_window(momentum):
    """Below alpha lambda M = 3 the variance is D (M + 1)/6, and D goes as the curvature; isotropic noise is no such."""
    batches, rows = 40, 4000
    rates = {"learning_rate": RATE, "momentum": momentum, "seed": 0}
    own, white = (
        equilibrium(CURVATURE, flatness_of(WIDTH), rows, steps_per_epoch=epoch, **rates) for epoch in (batches, None)
    )
    assert own.psi_proportional_expected > white.psi_proportional_expected + 0.2
    spread = 4 * float(own.psi_proportional.std()) / math.sqrt(len(own.psi_proportional))
    # The mean of the logarithm of few relaxations lies below that of the mean, by 2/5 at most.
    assert float(own.psi_proportional.mean()) == pytest.approx(
        own.psi_proportional_expected, abs=spread + 0.4 / math.log(10)
    )
    torch.testing.assert_close(own.psi, white.psi)


@pytest.mark.parametrize("momentum", [0.0, 0.8])
@pytest.mark.parametrize("every", [1, 3])
def test_the_reshuffled_process_has_the_variance_of_its_window(momentum, every):
    batches, rows, copies = 20, 400, 200
    stiff = torch.tensor([0.02, 0.2, 2.0]).double() * (1 - momentum)
    path = relaxing_process(
        stiff.repeat_interleave(copies), torch.ones(3 * copies), rows, learning_rate=RATE, momentum=momentum,
        every=every, steps_per_epoch=batches, seed=0,
    )  # fmt: skip
    found = path.var(dim=0, correction=0).reshape(3, copies)
    steps, rates = torch.tensor([float(rows * every)]), {"learning_rate": RATE, "momentum": momentum}
    strength = velocity_variance(ls.noise.StepRule(momentum=momentum), RATE * stiff, 0.0, batches)
    known = strength * ls.noise.window_time(stiff, steps, steps_per_epoch=batches, **rates)[0]
    assert ((found.mean(dim=1) - known).abs() < 4 * found.std(dim=1) / math.sqrt(copies) + 0.01 * known).all()


def test_a_window_without_end_gives_the_einstein_relation():
    stiff = torch.logspace(0, -1, 6).double()
    found = equilibrium(stiff, flatness_of((8 / stiff).sqrt()), 20_000, learning_rate=RATE, n_draws=2, seed=0, every=1)
    # Over one decade of lambda, which is half a decade of F: 1 - kappa up to 2/(0.01 20,000) = 0.01, and
    # alpha lambda/2 up to 0.05.
    assert found.psi_expected == pytest.approx(-2, abs=2 * 0.06 / math.log(10))
    assert found.psi_proportional_expected == pytest.approx(0, abs=2 * 0.06 / math.log(10))


def test_directions_that_are_not_stable_are_left_out_and_repelling_ones_diffuse():
    curvature = torch.tensor([30.0, 2.0, 1.0, 0.5, 0.0, -1.0]).double()
    found = equilibrium(curvature, flatness_of(torch.arange(1, 7).double()), 500, learning_rate=RATE, seed=0)
    assert found.used.tolist() == [False, True, True, True, True, True]
    assert float(found.expected[4]) == pytest.approx((500**2 - 1) / (6 * 500))
    assert found.expected[4] == found.expected[5]
    assert bool(torch.isfinite(found.psi).all() & torch.isfinite(found.psi_proportional).all())


def test_the_process_has_the_variance_of_a_walk_in_the_loss():
    """Twin: full gradients at every step. The kicks of langevin are made for T/lambda at any step."""
    stiff, steps = torch.tensor([2.0, 1.0, 0.5]).double(), 6000
    walk = langevin(
        QuadraticBowl(stiff), torch.zeros(3).double(), temperature=1.0, step=RATE, n_steps=steps, seed=0
    ).weights.double()
    rows = relaxing_process(stiff, torch.full((3,), 2 * RATE), steps, learning_rate=RATE, seed=1)
    ratio = rows.var(dim=0) * (1 - RATE * stiff / 2) / walk.var(dim=0)
    # Each variance is known to sqrt(2 tau/T), tau = 1/(alpha lambda) at most 20 rows.
    assert bool(((ratio - 1).abs() < 4 * math.sqrt(2) * math.sqrt(2 * 20 / steps)).all())


def test_a_bowl_has_nothing_beyond_it_and_a_steeper_valley_has():
    axes, stiff = torch.eye(12).double(), torch.logspace(0.5, -1, 12).double()
    width, kick = (8 / stiff).sqrt(), torch.full((12,), 0.02).double()
    start = torch.zeros(12).double()

    def shift(landscape, strength):
        walks = walk_beside(landscape, start, axes, stiff, start, kick * strength, 200, learning_rate=RATE, seed=0)
        return difference_of_exponents(width, *walks)

    assert shift(QuadraticBowl(stiff), 1.0) == pytest.approx(0, abs=1e-9)
    # L0 exp(lambda d^2/2) with L0 = 1 is its bowl for small d only.
    assert abs(shift(InverseGaussian(stiff), 1e-6)) < 1e-4
    assert abs(shift(InverseGaussian(stiff), 1.0)) > 1e-3


@pytest.mark.parametrize("within_reach", [0, 2])
def test_too_few_directions_within_reach_are_no_exponent_and_no_warning(within_reach):
    widths = flatness_of(WIDTH)
    lost = dataclasses.replace(widths, bracketed=torch.arange(len(WIDTH)) < within_reach)
    found = equilibrium(CURVATURE, lost, 21, learning_rate=RATE, n_draws=2, seed=0)
    assert bool(found.psi.isnan().all())
    assert math.isnan(found.psi_expected)
    assert math.isnan(difference_of_exponents(WIDTH[:0], torch.zeros(21, 0), torch.zeros(21, 0)))
    run = fit_exponents("", statistics_of(WIDTH**-2), widths)
    (found_claim,) = judged(equilibrium_measurements(run, found))
    assert found_claim.verdict == "not measured"
    assert (
        f"needs three directions with a flatness within reach and a stable step; {within_reach} of 40"
        in found_claim.why
    )
