"""Rates of cooling and changes of pace with known answers."""

import math

import pytest
import torch

from landscope.noise.temperature_decay import cooling_rates, power_law_break

TIME = torch.logspace(1, 4, 25).double()


def test_rates_are_the_exponents_of_time_and_of_the_loss():
    rate = torch.tensor([0.0, 0.5, 3.0]).double()
    temperature = 7 * TIME[:, None] ** -rate
    assert torch.allclose(cooling_rates(TIME, temperature), rate, atol=1e-12)  # logarithms, in float64
    assert torch.allclose(cooling_rates(TIME, temperature, TIME**-0.5), 2 * rate, atol=1e-12)


def test_a_temperature_of_zero_has_no_rate_and_the_others_have_theirs():
    temperature = torch.stack([TIME**-1, torch.where(TIME > 100, 0.0, 1.0)], dim=1)
    rates = cooling_rates(TIME, temperature)
    assert float(rates[0]) == pytest.approx(1.0)
    assert math.isnan(rates[1])
    assert bool(cooling_rates(TIME[:2], temperature[:2]).isnan().all())


@pytest.mark.parametrize("at", [60.0, 1000.0])
def test_a_break_lies_between_the_two_checkpoints_about_it(at):
    values = torch.where(at > TIME, TIME**-0.2, at**1.8 * TIME**-2.0)
    time, counts = power_law_break(TIME, values)
    # Two lines that meet: the point next to the corner may lie on either, so the break is off by one gap and a half.
    assert abs(math.log(time / at)) < 1.5 * math.log(float(TIME[1] / TIME[0]))
    assert counts


def test_noise_about_one_power_law_is_no_break():
    """The criterion errs in about 2 in 100 of these draws; six would be three standard errors more."""
    generator = torch.Generator().manual_seed(0)
    seen = [power_law_break(TIME, TIME**-1 * torch.exp(0.1 * torch.randn(25, generator=generator)))[1]
            for _ in range(100)]  # fmt: skip
    assert sum(seen) <= 6


def test_exactly_one_power_law_and_too_few_points_have_no_break():
    assert not power_law_break(TIME, TIME**-1)[1]
    assert math.isnan(power_law_break(TIME[:5], TIME[:5])[0])
    assert math.isnan(power_law_break(TIME, 0 * TIME)[0])
