"""Deming's delta from the errors of both sides, and the slope that it gives."""

import dataclasses

import pytest
import torch

from known import flatness_of, statistics_of
from landscope.law.exponents import fit_exponents
from landscope.law.sensitivity import measured_error_ratio
from landscope.power_law import errors_in_variables_exponent

COUNT, RTOL = 4000, 1e-3


def noisy(scale, generator):
    return scale * torch.randn(COUNT, generator=generator).double()


def test_delta_is_the_ratio_of_the_error_variances_and_gives_the_true_slope():
    """Errors of ln sigma^2 of 0.1 a mode, by blocks of 0.1 sqrt(10), and of ln F of 0.05 at either ratio."""
    generator = torch.Generator().manual_seed(0)
    true = torch.linspace(0, 1, COUNT).double().exp()
    widths, smaller = (flatness_of(true * noisy(0.05, generator).exp()) for _ in range(2))
    blocks = torch.stack([noisy(0.1 * 10**0.5, generator) for _ in range(10)])
    square = true**-4 * (1 + blocks).clamp(min=0.01)
    motion = statistics_of(square.mean(dim=0))
    moments = torch.stack([torch.zeros_like(square), square], dim=1)
    motion = dataclasses.replace(motion, moments=moments)
    own = fit_exponents("", motion, widths, (1, COUNT))
    delta = measured_error_ratio(own, motion, widths, smaller, rtol=RTOL)
    # A jackknife variance of ten blocks has the relative error sqrt(2/9) a mode, 4000 modes together 0.7 %; the scatter
    # sqrt(2/4000) = 2.2 %; ln(1 + x) at x = 0.1 adds terms of x^2 = 1 %. Four standard deviations and that are 0.11.
    assert delta == pytest.approx(0.1**2 / 0.05**2, rel=0.11)
    # Least squares lose 0.05^2/(1/12) = 3 % of the slope; the residual of a point, sqrt(0.1^2 + (4 * 0.05)^2) = 0.22,
    # gives the slope the error 0.22/sqrt(4000/12) = 0.012.
    assert own.psi < 3.93
    slope = errors_in_variables_exponent(widths.width, motion.variance, error_ratio=delta)
    assert slope == pytest.approx(-4.0, abs=0.05)


def test_without_a_second_flatness_there_is_no_delta():
    width = torch.logspace(0, 1, 10).double()
    widths, motion = flatness_of(width), statistics_of(width**-4)
    nowhere = dataclasses.replace(widths, bracketed=torch.zeros(10).bool())
    own = fit_exponents("", motion, widths, (1, 10))
    delta = measured_error_ratio(own, motion, widths, nowhere, rtol=RTOL)
    assert delta != delta
