"""The growth of the variance with the window: decided only where a stationary run would not grow as well."""

import math

import pytest
import torch

from landscope.claims.growth import growth_measurements
from landscope.law.window_growth import Growth
from landscope.noise import window_factor, window_time
from verdicts import verdicts

KEY, EPOCH = "flat_modes_stationary", 1200


def grown(flat, spread=0.05, count=32):
    """Variances that grow as a power of the length; the flattest quarter has exponents about a known one."""
    epochs = torch.tensor([1.0, 2.0, 5.0]).double()
    exponents = torch.zeros(count).double()
    exponents[-(count // 4) :] = flat + spread * torch.linspace(-1, 1, count // 4).double()
    return Growth(
        epochs=epochs, variance=epochs[:, None] ** exponents, width=torch.arange(1.0, count + 1), psi=torch.zeros(3),
        psi_interval=torch.zeros(3, 2), flat_exponent=flat, sharp_exponent=0.0,
    )  # fmt: skip


def found(growth, relaxations=1e4, reshuffled=False):
    """Every direction relaxes so many times in the longest window."""
    rates = torch.full((len(growth.width),), relaxations / (EPOCH * float(growth.epochs[-1]))).double()
    return growth_measurements(growth, rates, batches_per_epoch=EPOCH, reshuffled=reshuffled)[KEY]


@pytest.mark.parametrize(
    ("flat", "spread", "count", "expected"),
    [(0.1, 0.05, 32, "reproduced"), (0.1, 0.5, 32, "undecided"), (0.4, 0.5, 32, "undecided"),
     (0.1, 0.05, 20, "undecided"), (0.9, 0.05, 20, "undecided")],
)  # fmt: skip
def test_growth_of_one_path_is_decided_by_the_scatter_of_its_directions(flat, spread, count, expected):
    """Of eight directions the median lies between the first and the last with 99 %; five tell nothing."""
    measured = found(grown(flat, spread, count))
    assert verdicts({KEY: measured}) == {KEY: expected}
    assert measured.reach == pytest.approx(spread) if count == 32 else math.isnan(measured.reach)


@pytest.mark.parametrize(("relaxations", "slope"), [(2.5, 0.80), (4.0, 0.71), (6.0, 0.62)])
def test_a_stationary_run_grows_by_the_share_that_the_window_shows(relaxations, slope):
    """Windows of one and of ten epochs: the slope is lg of kappa(x) over kappa(x/10)."""
    epochs = torch.tensor([1.0, 10.0]).double()
    exponent = torch.full((32,), slope).double() + 0.05 * torch.linspace(-1, 1, 32).double()
    growth = Growth(
        epochs=epochs, variance=epochs[:, None] ** exponent, width=torch.ones(32), psi=torch.zeros(2),
        psi_interval=torch.zeros(2, 2), flat_exponent=slope, sharp_exponent=0.0,
    )  # fmt: skip
    kappa = [float(window_factor(torch.tensor(x))) for x in (relaxations, relaxations / 10)]
    assert math.log10(kappa[0] / kappa[1]) == pytest.approx(slope, abs=0.006)
    measured = found(growth, relaxations)
    assert measured.controls[0].band[0] == pytest.approx(slope, abs=0.006)
    assert f"{100 * kappa[0]:.2g} % of its stationary variance" in measured.controls[0].unidentified
    assert verdicts({KEY: measured}) == {KEY: "undecided"}


def test_free_diffusion_is_told_from_a_stationary_run_that_grows_less():
    assert verdicts({KEY: found(grown(1.0), 20.0)}) == {KEY: "not reproduced"}
    assert verdicts({KEY: found(grown(1.0), 0.01)}) == {KEY: "undecided"}  # nothing relaxes


def test_reshuffled_epochs_grow_as_their_order_lets_them():
    """A flat direction has nearly all of its variance after one epoch, so that a growth by 0.9 is the run's own."""
    measured = found(grown(0.9), 1.0, reshuffled=True)
    ends = torch.tensor([1.0, 2.0, 5.0]).double() * EPOCH
    times = window_time(torch.tensor([1.0 / (5 * EPOCH)]), ends, learning_rate=1.0, steps_per_epoch=EPOCH)[:, 0]
    x = ends.log() - ends.log().mean()
    slope = float((x * times.log()).sum() / x.square().sum())
    assert measured.controls[0].band == pytest.approx((slope, slope))
    assert slope < 0.5
    assert verdicts({KEY: measured}) == {KEY: "not reproduced"}
    assert verdicts({KEY: found(grown(0.9), 1.0)}) == {KEY: "undecided"}


def test_without_the_rates_nothing_is_decided():
    measured = growth_measurements(grown(0.8), None, batches_per_epoch=EPOCH, reshuffled=False)[KEY]
    assert verdicts({KEY: measured}) == {KEY: "undecided"}
    assert "is not known" in measured.note
    assert verdicts({KEY: found(grown(0.8), -1.0)}) == {KEY: "undecided"}
