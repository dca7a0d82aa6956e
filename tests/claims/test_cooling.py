"""Verdicts on how the temperature falls can come out both ways."""

import itertools
import math

import pytest
import torch
from scipy import stats

from landscope.claims import cooling as cooling_claims
from landscope.claims.cooling import _chance, cooling_measurements, temperature_exponent_measurements
from landscope.noise.gradient import GradientNoise
from landscope.noise.temperature_decay import power_law_break
from landscope.noise.temperature_over_training import TemperatureOverTraining
from verdicts import verdicts

WIDTH = torch.logspace(0, 1, 30).double()
TIME = torch.logspace(0, 4, 41).double()


def noise(slope):
    variance = WIDTH**slope
    return GradientNoise(
        mean=0 * WIDTH, covariance=torch.diag(variance), variance=variance, mean_square=variance,
        minibatches_needed=WIDTH, n_batches=9, n_left_out=0,
    )  # fmt: skip


@pytest.mark.parametrize(("slope", "expected"), [(-2.0, "reproduced"), (-1.0, "not reproduced")])
def test_the_exponent_of_the_temperature(slope, expected):
    found = temperature_exponent_measurements(noise(slope), WIDTH, (2, 30), WIDTH.rsqrt())
    assert verdicts(found) == {"temperature_exponent": expected}


def test_noise_proportional_to_curvature_has_the_exponent_too():
    scatter = torch.randn(30, generator=torch.Generator().manual_seed(0)).double().mul(0.1).exp()
    curvature = 8 * WIDTH**-2 * scatter
    found = temperature_exponent_measurements(noise(-2.0), WIDTH, (2, 30), curvature)
    assert verdicts(found) == {"temperature_exponent": "contested"}
    x, y = WIDTH[1:].log(), curvature[1:].log()
    fit = stats.linregress(x.numpy(), y.numpy())
    band = next(c.band for c in found["temperature_exponent"].controls if c.name.startswith("noise proportional"))
    assert band == pytest.approx((-fit.slope - 1.96 * fit.stderr, -fit.slope + 1.96 * fit.stderr))


def cooling(*, rate=None, at=100.0, loss_at=100.0, profile=-1.0, drawn=5, checkpoints=TIME):
    """T_i ~ t^-0.1 up to ``at`` and t^-r_i later; the loss breaks at ``loss_at``."""
    rates = 1 + WIDTH.log() if rate is None else rate

    def broken(slope, place):
        early = checkpoints[:, None] ** -0.1
        late = place ** (slope - 0.1) * checkpoints[:, None] ** -slope
        return torch.where(checkpoints[:, None] < place, early, late)

    steps = torch.arange(1.0, drawn + 1).double()
    line = torch.linspace(-1, 1, 5).double()
    return TemperatureOverTraining(
        steps=checkpoints, loss=broken(torch.ones(1).double(), loss_at)[:, 0], ranks=torch.arange(1, 31),
        temperature=broken(rates, at), displacements=line,
        profiles=(1 + line.square()) * steps[:, None] ** profile, drawn_steps=steps, drawn_rank=10,
        first_counted=min(int((checkpoints < 200).sum()), len(checkpoints) - 1), correlation=1.0,
        correlation_from_start=1.0, noise_dimension=checkpoints, noise_scale=checkpoints,
        noise_scale_interval=torch.stack([checkpoints, checkpoints], dim=1), batch_size=50,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("key", "world", "expected"),
    [
        ("temperature_profile_falls", {}, "reproduced"),
        ("temperature_profile_falls", {"profile": 1.0}, "not reproduced"),
        ("temperature_profile_falls", {"drawn": 4}, "contested"),  # one order in 24 falls so
        ("temperature_profile_falls", {"drawn": 3}, "not measured"),
        ("cooling_changes_with_loss", {}, "reproduced"),
        ("cooling_changes_with_loss", {"at": 1000.0}, "not reproduced"),
        ("cooling_changes_with_loss", {"loss_at": 0.5}, "not measured"),  # one phase
        ("flat_directions_freeze", {}, "reproduced"),
        ("flat_directions_freeze", {"rate": 2 - WIDTH.log() / 3}, "not reproduced"),
        ("flat_directions_freeze", {"checkpoints": TIME[:20]}, "not measured"),
    ],
)
def test_each_claim_can_come_out_either_way(key, world, expected):
    assert verdicts(cooling_measurements(cooling(**world), WIDTH))[key] == expected


def test_the_rates_by_quarter_stand_in_the_note():
    note = cooling_measurements(cooling(), WIDTH)["flat_directions_freeze"].note
    sharp, flat = 1 + float(WIDTH[:7].log().median()), 1 + float(WIDTH[-7:].log().median())
    assert f"r is {sharp:.2f} in the sharpest quarter and {flat:.2f} in the flattest" in note


@pytest.mark.parametrize("count", [4, 5, 6])
def test_chance_is_the_rank_correlation_that_few_orders_exceed(count):
    found = [stats.spearmanr(range(count), order).statistic for order in itertools.permutations(range(count))]
    level = _chance(count)
    beyond = sum(value > level + 1e-9 for value in found) / len(found)
    reached = sum(value > level - 1e-9 for value in found) / len(found)
    assert beyond <= 0.025 < reached


def share_of_false_breaks(count, memory, trials=200):
    """Share of single power laws, with errors of 20 % of that correlation from one checkpoint to the next."""
    steps = torch.logspace(0, 4, count).double()
    draws = torch.randn(count, trials, generator=torch.Generator().manual_seed(0)).double()
    errors = draws.clone()
    for row in range(1, count):
        errors[row] = memory * errors[row - 1] + math.sqrt(1 - memory**2) * draws[row]
    made = steps[:, None] ** -1 * (0.2 * errors).exp()
    return sum(power_law_break(steps, values)[1] for values in made.T) / trials


@pytest.mark.parametrize(("count", "memory", "said"), [(12, 0.0, 0.02), (12, 0.5, 0.11), (20, 0.0, 0.02)])
def test_one_power_law_has_a_break_as_often_as_the_module_says(count, memory, said):
    """Each count is refuted at 1 in 1000; independent errors have the stated rate at most."""
    false = round(200 * share_of_false_breaks(count, memory))
    assert false <= stats.binom.ppf(0.999, 200, said)
    if memory:
        assert false >= stats.binom.ppf(0.001, 200, said)
        assert f"{100 * said:.0f}" in cooling_claims.__doc__
