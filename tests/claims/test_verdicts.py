"""Every verdict of the noise and the controls can come out both ways: worlds with the effect, and without."""

import dataclasses
import math

import pytest
import torch

import landscope as ls
from landscope.claims.controls import control_measurements
from landscope.claims.fig3 import spring_measurements
from landscope.claims.fig5 import temperature_measurements
from landscope.claims.sec_s2 import drift_measurements
from landscope.claims.statements import CLAIMS
from landscope.claims.verdict import Control, Measurement, judge
from landscope.law.exponents import Exponents
from landscope.law.sensitivity import Sensitivity
from landscope.law.window_growth import Growth
from landscope.noise.drift import drift_law, learning_phases
from landscope.noise.drift_path import DriftPath
from landscope.noise.gradient import GradientNoise
from landscope.noise.springs import measure_springs
from landscope.noise.stationarity import LyapunovResidual, YaidaRelation
from landscope.noise.temperature import ActiveTemperature
from landscope.noise.temperature_over_training import TemperatureOverTraining
from landscope.reproduction.pooling import _pooled_control
from landscope.synthetic import RandomSprings, random_walk

BY_KEY = {claim.key: claim for claim in CLAIMS}
NOTHING = (math.nan, math.nan)
EMPTY = torch.zeros(0)


def verdict(key, measurements):
    return judge(BY_KEY[key], measurements[key]).verdict


def drift(loss):
    t = torch.arange(0.0, 200, 10).double()
    line = torch.linspace(0, 1, 5).double()
    along = DriftPath(
        displacements=line, loss=1 - 0.1 * line, margin=1 + line, relative_margin=1 + 0.1 * line, train_error=0 * line,
        test_loss=line, test_error=0 * line, window_displacement=1.0, beta_slope=-0.5, beta_ensemble=-0.5,
    )  # fmt: skip
    law = drift_law(t, loss(t), beta=-0.5, learning_rate=0.1)
    return drift_measurements(law, along, learning_phases(1 / (1 + t), t))


def test_a_logarithmic_drift_and_an_exponential_fall_are_told_apart():
    assert verdict("logarithmic_drift", drift(lambda t: 1 / (5 + 0.02 * t))) == "reproduced"
    assert verdict("logarithmic_drift", drift(lambda t: torch.exp(-0.002 * t))) == "contested"
    assert verdict("logarithmic_drift", drift(lambda t: 1 + torch.sin(t) / 2)) == "not reproduced"


def row(psi, psi_tau=0.0, half=0.05):
    around = {key: (value - half, value + half) for key, value in (("psi", psi), ("psi_tau", psi_tau))}
    return Exponents(
        name="", psi=psi, psi_interval=around["psi"], psi_D=2.0, psi_D_interval=(1.9, 2.1), psi_tau=psi_tau,
        psi_tau_interval=around["psi_tau"], gamma=1.0, gamma_interval=NOTHING, modes_for_90_percent=3, variance=EMPTY,
        velocity_variance=EMPTY, width=EMPTY, bracketed=EMPTY.bool(), used=EMPTY.bool(), total_variance=1.0,
        prefactor=1.0, residual=0.1, rank_correlation=1.0, mode_range=(1, 2), flatness_range=NOTHING, n_used=2,
        n_censored=0, n_still=0,
    )  # fmt: skip


def controls(*, hessian=1.0, thermal=-2.0, replaced=-1.0, reshuffled=-1.0, ratio=1.0, momentum=0.0, flat=0.0):
    rows = {
        "hessian": row(hessian), "hessian-next": row(hessian), "langevin": row(thermal),
        "sampling-with-replacement": row(0, replaced), "sampling-reshuffled": row(0, reshuffled),
    }  # fmt: skip
    growth = Growth(
        epochs=torch.tensor([1.0, 2.0]), variance=torch.zeros(2, 0), width=EMPTY, flat_exponent=flat, sharp_exponent=0.0
    )
    sensitivity = Sensitivity(choices=("as reported",), exponents=torch.full((1, 3), 4.0))
    ratios = torch.full((5,), ratio)
    yaida = YaidaRelation(restoring=ratios, driving=ratios, ratio=ratios, stderr=ratios, n_points=5)
    nothing = torch.zeros(0, 0)
    lyapunov = LyapunovResidual(restoring=nothing, driving=nothing, ratio=EMPTY, residual=0.1)
    return control_measurements(rows, growth, sensitivity, yaida, lyapunov, curvature=EMPTY, plain=momentum == 0)


@pytest.mark.parametrize(
    ("key", "world", "expected"),
    [
        ("inverse_einstein", {"hessian": 1.0}, "reproduced"),
        ("inverse_einstein", {"hessian": -1.0}, "not reproduced"),
        ("inverse_einstein", {"hessian": 0.9, "thermal": 0.9}, "contested"),
        ("inverse_einstein", {"thermal": math.nan}, "not measured"),
        ("tau_by_sampling", {}, "reproduced"),
        ("tau_by_sampling", {"replaced": -2.0}, "not reproduced"),
        ("tau_by_sampling", {"replaced": -1.3}, "undecided"),
        ("psi_hessian", {"hessian": 4.0}, "reproduced"),
        ("psi_hessian", {"hessian": 1.0}, "not reproduced"),
        ("stationary", {"ratio": 1.0}, "reproduced"),
        ("stationary", {"ratio": 0.1}, "not reproduced"),
        ("stationary", {"momentum": 0.9}, "not measured"),
        ("flat_modes_stationary", {"flat": 0.0}, "reproduced"),
        ("flat_modes_stationary", {"flat": 1.0}, "not reproduced"),
    ],
)
def test_the_controls_decide(key, world, expected):
    assert verdict(key, controls(**world)) == expected


def test_pooled_controls_do_not_depend_on_the_order_of_seeds():
    bands = [(1.2, 1.4), NOTHING, (1.3, 1.6)]
    for must, expected in (("differ", (1.2, 1.6)), ("agree", None)):
        same = [Control("c", band, must) for band in bands]
        first, second = (_pooled_control("x", order, {}, [], 3).band for order in (same, same[::-1]))
        assert first == pytest.approx(second)
        if expected:
            assert first == expected
    nothing = _pooled_control("x", [Control("c", NOTHING, "differ")], {}, [], 3)
    assert math.isnan(nothing.band[0])


def test_a_measurement_is_judged_with_what_it_carries():
    claim = dataclasses.replace(BY_KEY["psi_D"])
    isotropic = Control("isotropic noise", (0.0, 0.0), "differ")
    assert judge(claim, Measurement(2.1, (2.0, 2.2), (isotropic,))).verdict == "reproduced"
    assert judge(claim, Measurement(0.0, (-0.1, 0.1), (isotropic,))).verdict == "not reproduced"


def temperatures(*, profile=1.0, slope=-2.0, correlation=0.97, narrowing=0.5, checkpoints=6):
    width = torch.logspace(0, 1, 20, dtype=torch.float64)
    line = torch.linspace(-1, 1, 11, dtype=torch.float64)[None]
    along = ActiveTemperature(
        displacements=line, temperature=torch.exp(profile * line.square()), loss=torch.exp(line.square()),
        learning_rate=0.1, n_left_out=0,
    )  # fmt: skip
    variance = width**slope
    noise = GradientNoise(
        mean=0 * width, covariance=torch.diag(variance), variance=variance, mean_square=variance,
        minibatches_needed=width, n_batches=9, n_left_out=0,
    )  # fmt: skip
    cooling = TemperatureOverTraining(
        steps=torch.arange(float(checkpoints)), loss=torch.ones(checkpoints), ranks=torch.tensor([2]),
        temperature=torch.ones(checkpoints, 1), displacements=line[0], profiles=line, drawn_steps=torch.zeros(1),
        noise_dimension=torch.linspace(100, 100 * narrowing, checkpoints), drawn_rank=2, first_counted=0,
        correlation=correlation, correlation_from_start=0.0,
    )  # fmt: skip
    return temperature_measurements(along, noise, width, cooling, (2, 20))


@pytest.mark.parametrize(
    ("key", "world", "expected"),
    [
        ("temperature_profile", {}, "reproduced"),
        ("temperature_profile", {"profile": -1.0}, "not reproduced"),
        ("temperature_by_flatness", {}, "reproduced"),
        ("temperature_by_flatness", {"slope": 2.0}, "not reproduced"),
        ("cooling", {}, "reproduced"),
        ("cooling", {"correlation": 0.2}, "not reproduced"),
        ("cooling", {"checkpoints": 3}, "not measured"),
        ("frozen", {}, "reproduced"),
        ("frozen", {"narrowing": 1.1}, "not reproduced"),
    ],
)
def test_the_temperatures_decide(key, world, expected):
    assert verdict(key, temperatures(**world)) == expected


def springs(*, coupled):
    """Independent springs, or springs whose minima lie far where their loss at w0 is large."""
    flatness = torch.logspace(0, 0.6, 30, dtype=torch.float64)
    world = RandomSprings.draw(flatness, 300, seed=0)
    if coupled:
        size = torch.linspace(0.2, 2, 300, dtype=torch.float64)
        world = RandomSprings(world.stiffness, world.centre * size[:, None], world.minimum)
    origin, axes = torch.zeros(30, dtype=torch.float64), torch.eye(30, dtype=torch.float64)
    modes, window = ls.directions.Directions.of(axes, name="axes"), random_window(flatness)
    widths = ls.flatness(world, origin, axes)
    velocity = ls.noise.velocity_statistics(window, modes, 2, steps_per_epoch=20)
    found = measure_springs(world, origin, axes, widths, velocity, learning_rate=0.1, n_modes=30)
    noise, hessian = ls.noise.gradient_noise(world, origin, axes), ls.noise.log_hessian(world, origin, axes[:3])
    return spring_measurements(
        found, velocity, noise, hessian, (2, 30), learning_rate=0.1, null_persistence=0.0, fresh_persistence=1.0
    )


def random_window(scale):
    return ls.Trajectory.of(random_walk(400, len(scale), seed=0) / scale)


def test_the_springs_decide():
    free, bound = springs(coupled=False), springs(coupled=True)
    for key in ("minibatch_springs", "spring_flatness", "stiffness_exponent", "centre_exponent", "mean_field"):
        assert verdict(key, free) == "reproduced", key
    assert verdict("mean_field", bound) == "not reproduced"
    assert verdict("spring_noise", free) == "reproduced"
    assert verdict("spring_noise", bound) == "not reproduced"
