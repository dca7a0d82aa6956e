"""The three ranges of the spectrum and its first mode: bent and straight spectra, with nulls that bend or not."""

import dataclasses
import math

import pytest
import torch

import landscope as ls
from known import flatness_of, statistics_of
from landscope.claims.one_sided import one_sided
from landscope.claims.regimes import regime_measurements, spectrum_regimes
from landscope.claims.verdict import Control
from landscope.law.exponents import fit_exponents
from landscope.law.spectrum import spectrum
from verdicts import verdicts

RANK = torch.arange(1, 101).double()
RANGES = ((2, 10), (10, 50), (50, 100))


def bent(first=0.2, middle=2.5, last=6.0, head=1.0):
    """Power laws that meet at ranks 10 and 50; the first mode has its own variance."""
    plateau = RANK**-first
    power = 10 ** (middle - first) * RANK**-middle
    tail = 10 ** (middle - first) * 50 ** (last - middle) * RANK**-last
    variance = torch.where(RANK <= 10, plateau, torch.where(RANK <= 50, power, tail))
    return torch.cat([variance[:1] * head, variance[1:]])


def row(variance):
    width = flatness_of(RANK)
    return fit_exponents("", statistics_of(variance), width, (2, 100), spectrum_ranks=(10, 50))


@pytest.fixture(scope="module")
def shown():
    """A spectrum of the right length; only its ranks and numbers of rows are used."""
    window = ls.Trajectory.of(torch.randn(200, 120, generator=torch.Generator().manual_seed(0)).double())
    modes = ls.principal_modes(window)
    return spectrum(modes, window, ls.noise.mode_statistics(modes, window), spectrum_ranks=(10, 50))


def found(shown, variance, null=None, fresh=None):
    straight = [row(RANK ** -(2 + 0.02 * n)) for n in range(3)]
    nulls = straight if null is None else [row(null * RANK ** (0.001 * n)) for n in range(3)]
    later = row(variance if fresh is None else fresh)
    # Without the process, which has no band where it was not drawn.
    measured = regime_measurements(shown, row(variance), later, nulls, [], 100)
    return {key: dataclasses.replace(each, controls=each.controls[1:]) for key, each in measured.items()}


def test_exponents_of_three_ranges_are_those_of_the_power_laws():
    # Ranks 10 and 50 belong to both neighbours, as both laws hold there.
    assert spectrum_regimes(bent(), bent() > 0, RANGES) == pytest.approx((0.2, 2.5, 6.0), abs=1e-9)
    assert math.isnan(spectrum_regimes(bent(), bent() > 2, RANGES)[1])


@pytest.mark.parametrize(
    ("key", "world", "expected"),
    [
        ("plateau", {"variance": bent()}, "reproduced"),
        ("plateau", {"variance": bent(first=3.0)}, "not reproduced"),
        ("plateau", {"variance": bent(), "null": bent()}, "contested"),
        ("plateau", {"variance": bent(), "null": bent(first=-1.0)}, "contested"),  # more of it without the cause
        ("plateau", {"variance": bent(), "fresh": bent(first=3.0)}, "contested"),
        ("faster_decay", {"variance": bent()}, "reproduced"),
        ("faster_decay", {"variance": bent(last=1.0)}, "not reproduced"),
        ("faster_decay", {"variance": bent(), "null": bent(last=9.0)}, "contested"),
        ("first_mode", {"variance": bent(head=50.0)}, "reproduced"),
        ("first_mode", {"variance": RANK**-2.0}, "contested"),  # as much as a random walk
        ("first_mode", {"variance": bent()}, "not reproduced"),
    ],
)
def test_each_claim_can_come_out_either_way(shown, key, world, expected):
    assert verdicts(found(shown, **world))[key] == expected


def test_a_process_in_one_draw_decides_nothing(shown):
    own = row(bent())
    nulls = [row(RANK ** -(2 + 0.02 * n)) for n in range(3)]
    measured = regime_measurements(shown, own, own, nulls, [row(RANK**-2.0)], 100)
    assert verdicts(measured)["plateau"] == "undecided"
    assert "in one draw" in str(measured["plateau"].controls[0])


def test_a_null_beyond_the_value_explains_it_too():
    control = Control("null", (1.0, 2.0), "differ")
    assert one_sided("plateau", control).band == (1.0, math.inf)
    assert one_sided("faster_decay", control).band == (-math.inf, 2.0)
    assert one_sided("psi", control) == control
