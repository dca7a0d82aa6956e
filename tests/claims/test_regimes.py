"""The three ranges of the spectrum and its first mode: bent and straight spectra, with nulls that bend or not."""

import dataclasses
import math
import statistics

import pytest
import torch

import landscope as ls
from known import flatness_of, statistics_of
from landscope.claims.one_sided import one_sided
from landscope.claims.regimes import last_rank, regime_measurements, spectrum_regimes
from landscope.claims.verdict import Control
from landscope.law.exponents import fit_exponents
from landscope.law.spectrum import ranks_like_the_paper, spectrum
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
    # Variances that every block has alike: another run has them too.
    same = tuple(statistics_of(each) for each in (variance, variance if fresh is None else fresh))
    measured = regime_measurements(shown, row(variance), later, nulls, [], 100, same)
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


def test_one_run_decides_nothing_without_its_blocks_and_reaches_as_far_as_they_scatter(shown):
    own = row(bent())
    for each in regime_measurements(shown, own, own, [], [], 100).values():
        assert (each.no_interval, math.isnan(each.reach)) == ("one run", True)
    # One block of ten has all variances of ranks 2 to 10 twice as large: only the plateau's exponent may move.
    still, scattered = statistics_of(bent()), statistics_of(bent(), bent())
    factor = torch.ones(10, 100).double()
    factor[0, 1:5] = 2.0
    moments = torch.stack([torch.zeros(10, 100).double(), bent() * factor], dim=1)
    scattered = dataclasses.replace(scattered, moments=moments, variance=moments[:, 1].mean(dim=0))
    found = regime_measurements(shown, own, own, [], [], 100, (scattered, still))
    # Without the block the exponent is the true one, without each other that of variances 1 + 1/9 times as large.
    other = torch.where((RANK > 1) & (RANK <= 5), 10 / 9, 1.0) * bent()
    apart = spectrum_regimes(other, other > 0, RANGES)[0] - spectrum_regimes(bent(), bent() > 0, RANGES)[0]
    stderr = math.sqrt(0.9 * (9 * (apart / 10) ** 2 + (0.9 * apart) ** 2))
    # R = 1 - 1/y nearly, y = 2 * 100/(1/2): 0.9975 of the variance.
    assert found["plateau"].reach == pytest.approx(2.262 * stderr, rel=0.005)
    assert found["faster_decay"].reach == pytest.approx(0.0, abs=1e-9)
    assert found["plateau"].controls[-1].band[0] == found["plateau"].controls[-1].band[1]  # fresh data, alike in blocks


@pytest.mark.parametrize(("n_modes", "ranks", "last"), [(2500, (20, 200), 500), (1250, (10, 100), 250),
                                                        (300, (2, 24), 60), (20, (2, 2), 5)])  # fmt: skip
def test_ranges_go_with_the_number_of_modes_and_are_the_papers_at_its_size(n_modes, ranks, last):
    assert (ranks_like_the_paper(n_modes), last_rank(ranks, 500)) == (ranks, last)


def test_too_few_modes_for_a_range_are_not_measured_and_say_why(shown):
    """Of 120 modes the plateau of the paper is ranks 2 to 2; the faster decay is 10 to 25."""
    small = dataclasses.replace(shown, spectrum_ranks=ranks_like_the_paper(120))
    own = row(bent())
    found = regime_measurements(small, own, own, [], [], last_rank((2, 10), 500))
    assert math.isnan(found["plateau"].value)
    assert "ranks 2 to 2 of the 120 modes" in found["plateau"].note
    assert math.isfinite(found["faster_decay"].value)


def test_the_band_of_a_share_lies_within_0_and_1(shown):
    """Student's band of 0.55, 0.75, 0.95 would end at 1.74; on the scale of the logit it ends below 1."""
    nulls = [dataclasses.replace(row(bent()), total_variance=1 / share) for share in (0.55, 0.75, 0.95)]
    control = regime_measurements(shown, row(bent()), row(bent()), nulls, [], 100)["first_mode"].controls[1]
    logits = [math.log(share / (1 - share)) for share in (0.55, 0.75, 0.95)]
    spread = 4.302653 * statistics.stdev(logits) * math.sqrt(4 / 3)
    assert control.band[1] == pytest.approx(1 / (1 + math.exp(-statistics.fmean(logits) - spread)), rel=1e-6)
