import dataclasses
import math

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from scipy import stats

import landscope as ls
from known import statistics_of
from landscope.claims.statements import CLAIMS
from landscope.claims.verdict import Claim, Control, Measurement, judge
from landscope.law.intervals import prediction_band, seed_interval
from landscope.noise.mode_statistics import drift_share, random_walk_drift_share
from landscope.synthetic import InverseGaussian, sgd_in_bowl


@hypothesis.given(exponent=st.floats(-6, 6), prefactor=st.floats(1e-6, 1e6))
def test_an_exact_power_law_is_found_exactly(exponent, prefactor):
    x = torch.logspace(-2, 2, 30, dtype=torch.float64)
    law = ls.law.fit_power_law(x, prefactor * x**exponent)
    assert law.exponent == pytest.approx(exponent, abs=1e-9)
    assert law.prefactor == pytest.approx(prefactor, rel=1e-8)
    assert torch.allclose(law(x), prefactor * x**exponent, rtol=1e-7)


def test_noisy_slopes_and_their_interval_agree_with_textbook_formulas():
    x = torch.logspace(0, 2, 40, dtype=torch.float64)
    y = x**-2 * torch.exp(0.3 * torch.randn(40, dtype=torch.float64))
    law = ls.law.fit_power_law(x, y)
    log_x, log_y = np.log(x.numpy()), np.log(y.numpy())
    design = np.stack([np.ones(40), log_x], axis=1)
    coefficients, residual, *_ = np.linalg.lstsq(design, log_y, rcond=None)
    stderr = math.sqrt(residual[0] / 38 * np.linalg.inv(design.T @ design)[1, 1])
    assert law.exponent == pytest.approx(coefficients[1], rel=1e-10)
    assert law.stderr == pytest.approx(stderr, rel=1e-10)
    reach = stats.t.ppf(0.975, 38) * stderr
    assert law.confidence_interval == pytest.approx((coefficients[1] - reach, coefficients[1] + reach))


def test_the_interval_holds_the_truth_as_often_as_it_says():
    x, inside, trials = torch.logspace(0, 1, 12, dtype=torch.float64), 0, 400
    for _ in range(trials):
        y = x**-3 * torch.exp(0.5 * torch.randn(12, dtype=torch.float64))
        low, high = ls.law.fit_power_law(x, y, confidence_level=0.9).confidence_interval
        inside += low <= -3 <= high
    assert abs(inside / trials - 0.9) < 4 * math.sqrt(0.09 / trials)


def test_a_fit_range_leaves_points_out_and_counts_them():
    x = torch.tensor([0.1, 1.0, 2.0, 4.0, 100.0])
    y = torch.tensor([math.nan, 1.0, 4.0, 16.0, -1.0])
    law = ls.law.fit_power_law(x, y, (0.5, 10.0))
    assert law.exponent == pytest.approx(2.0)
    assert (law.n_points, law.n_outside, law.fit_range) == (3, 2, pytest.approx((1.0, 4.0)))


def wells(count=12):
    """A well with flatness from 0.3 to 3 along its axes."""
    width = torch.logspace(-0.5, 0.5, count, dtype=torch.float64)
    well = InverseGaussian(8 / width**2)
    found = ls.flatness(well, torch.zeros(count).double(), torch.eye(count).double(), rtol=1e-8)
    return well, found


def test_a_known_law_is_found_and_censored_modes_are_counted():
    _, found = wells()
    variance = found.width**-4
    law = ls.law.fit_exponents("known", statistics_of(variance), found, (2, 12))
    assert law.psi == pytest.approx(4.0, abs=1e-6)
    assert (law.n_used, law.n_censored, law.n_still, law.mode_range) == (11, 0, 0, (2, 12))
    bracketed = found.bracketed.clone()
    bracketed[[3, 4]] = False
    variance[6] = 0.0
    partial = dataclasses.replace(found, bracketed=bracketed)
    partly = ls.law.fit_exponents("known", statistics_of(variance), partial, (2, 500))
    assert partly.psi == pytest.approx(4.0, abs=1e-6)
    assert (partly.n_used, partly.n_censored, partly.n_still, partly.mode_range) == (8, 2, 1, (2, 12))


def test_langevin_noise_in_a_bowl_gives_the_einstein_relation():
    """Isotropic noise: sigma^2 ~ F^2, the opposite sign, through the very same code."""
    curvature = torch.logspace(-1, 1, 20, dtype=torch.float64)
    rows = sgd_in_bowl(curvature, 200_000, learning_rate=0.02, noise_variance=1.0, seed=0)
    found = ls.flatness(InverseGaussian(curvature), torch.zeros(20).double(), torch.eye(20).double(), rtol=1e-6)
    axes = ls.directions.Directions.of(torch.eye(20))
    law = ls.variance_flatness(axes, ls.Trajectory.of(rows), found, (1, 20))
    low, high = law.psi_interval
    # sigma^2 = alpha s^2/(lam (2 - alpha lam)): exactly 2 for small alpha lam, here up to 0.2
    exact = ls.law.fit_power_law(found.width, 1 / (curvature * (2 - 0.02 * curvature))).exponent
    assert low <= -exact <= high
    assert law.psi < -1.8


def test_the_null_of_white_increments_is_like_itself():
    """A walk with white, anisotropic increments cannot be told from its own shuffled increments."""
    curvature = torch.logspace(0, 2, 15, dtype=torch.float64)
    well = InverseGaussian(curvature)
    rows = torch.randn(3000, 15, dtype=torch.float64).mul(curvature**0.5 * 1e-4).cumsum(0)
    window = ls.Trajectory.of(rows - rows[-1])
    modes = ls.principal_modes(window)
    found = ls.flatness(well, window.row(-1), modes.directions)
    psi = ls.variance_flatness(modes, window, found, (2, 15)).psi
    shuffled = [ls.surrogates.shuffled_increments(window, seed=seed) for seed in range(8)]
    nulls = [ls.law.measure_exponents("null", well, window.row(-1), walk, fit_modes=(2, 15)).psi for walk in shuffled]
    low, high = prediction_band(nulls, 0.999)
    assert low < psi < high


def test_intervals_over_seeds():
    values = [3.9, 4.1, 4.4, 4.0]
    t = stats.t.ppf(0.975, 3)
    mean, spread = np.mean(values), np.std(values, ddof=1)
    assert seed_interval(values) == pytest.approx((mean - t * spread / 2, mean + t * spread / 2))
    assert prediction_band(values)[1] == pytest.approx(mean + t * spread * math.sqrt(1.25))
    assert math.isnan(seed_interval([1.0])[0])


def test_drift_shares():
    steady = torch.arange(101.0)[:, None]
    assert float(drift_share(steady, 10)) == pytest.approx(1.0)
    back_and_forth = torch.tensor([0.0, 1.0, 0.0, 1.0, 0.0])[:, None]
    assert float(drift_share(back_and_forth, 4)) == 0.0
    walks = torch.randn(1000, 400, dtype=torch.float64).cumsum(0)
    share = drift_share(walks, 10)
    # Beta(1/2, 9/2): mean 1/10, variance 2 * 9 / (10^2 * 12)
    assert float(share.mean()) == pytest.approx(0.1, abs=4 * math.sqrt(18 / 1200 / 400))
    assert random_walk_drift_share() == pytest.approx(8 / math.pi**2, abs=0.01)


class TestVerdicts:
    CLAIM = Claim("x", "Fig. 0", "something", "about 4", (3.4, 4.6), "why")

    def verdict(self, value, *controls, interval=(math.nan, math.nan)):
        return judge(self.CLAIM, Measurement(value, interval, controls)).verdict

    def test_the_value_decides_first(self):
        assert self.verdict(4.0) == "reproduced"
        assert self.verdict(2.0) == "not reproduced"
        assert self.verdict(math.nan) == "not measured"

    def test_a_null_that_gives_the_same_contests(self):
        assert self.verdict(4.0, Control("null", (3.9, 4.2), "differ")) == "contested"
        assert self.verdict(4.0, Control("null", (4.2, 4.5), "differ")) == "reproduced"
        assert self.verdict(4.0, Control("null", (4.2, 4.5), "differ"), interval=(3.7, 4.3)) == "contested"

    def test_fresh_data_that_disagree_contest(self):
        assert self.verdict(4.0, Control("fresh", (1.5, 1.5), "agree")) == "contested"
        assert self.verdict(4.0, Control("fresh", (3.6, 4.1), "agree")) == "reproduced"

    def test_fresh_data_whose_interval_reaches_over_an_edge_decide_nothing(self):
        assert self.verdict(4.0, Control("fresh", (3.3, 4.1), "agree")) == "undecided"
        assert self.verdict(4.0, Control("fresh", (2.9, 3.3), "agree")) == "contested"

    def test_an_unmeasured_control_is_said_and_decides_nothing(self):
        missing = Control("null", (math.nan, math.nan), "differ")
        judgement = judge(self.CLAIM, Measurement(4.0, controls=(missing, Control("fresh", (3.6, 4.1), "agree"))))
        assert judgement.verdict == "undecided"
        assert "but null was not measured" in judgement.why
        assert "was not measured" in judge(self.CLAIM, Measurement(4.5, (4.2, 4.8), (missing,))).why

    def test_what_is_outside_or_contested_needs_no_other_control(self):
        missing = Control("null", (math.nan, math.nan), "differ")
        assert self.verdict(2.0, missing) == "not reproduced"
        assert self.verdict(4.0, missing, Control("fresh", (1.5, 1.5), "agree")) == "contested"

    @hypothesis.given(value=st.floats(-10, 10), low=st.floats(-10, 10), width=st.floats(0, 5))
    def test_reproduced_means_inside_and_apart_from_the_null(self, value, low, width):
        verdict = self.verdict(value, Control("null", (low, low + width), "differ"))
        inside, in_null = 3.4 <= value <= 4.6, low <= value <= low + width
        assert verdict == ("not reproduced" if not inside else "contested" if in_null else "reproduced")

    def test_an_interval_over_an_edge_decides_nothing(self):
        assert self.verdict(4.5, interval=(4.2, 4.8)) == "undecided"
        assert self.verdict(4.8, interval=(4.5, 5.1)) == "undecided"
        assert self.verdict(4.8, interval=(4.7, 4.9)) == "not reproduced"
        assert self.verdict(4.5, Control("fresh", (1.5, 1.5), "agree"), interval=(4.2, 4.8)) == "contested"

    def test_an_interval_may_reach_beyond_what_can_be(self):
        share = dataclasses.replace(self.CLAIM, accepted=(0.5, 1.0), possible=(0.0, 1.0))
        assert judge(share, Measurement(0.97, (0.88, 1.07))).verdict == "reproduced"
        assert judge(share, Measurement(0.6, (0.4, 1.07))).verdict == "undecided"
        assert (
            judge(share, Measurement(0.97, controls=(Control("fresh", (0.9, 1.1), "agree"),))).verdict == "reproduced"
        )

    def test_every_claim_has_a_name_of_its_own(self):
        assert len({claim.key for claim in CLAIMS}) == len(CLAIMS)

    @pytest.mark.parametrize(
        ("value", "reach", "expected"),
        [(4.0, 0.3, "reproduced"), (4.0, 1.0, "undecided"), (4.0, math.nan, "undecided"), (2.0, 0.3, "not reproduced"),
         (2.0, 1.5, "undecided"), (2.0, math.nan, "undecided")],
    )  # fmt: skip
    def test_a_number_that_was_given_no_interval_is_no_certain_one(self, value, reach, expected):
        judgement = judge(self.CLAIM, Measurement(value, no_interval="it relaxes too slowly", reach=reach))
        assert judgement.verdict == expected
        said = "it relaxes too slowly" in judgement.why and "several seeds decide" in judgement.why
        assert said == (expected == "undecided")

    def test_one_seed_decides_nothing_unless_no_value_is_outside(self):
        assert judge(self.CLAIM, Measurement.over_seeds([4.0])).verdict == "undecided"
        assert judge(self.CLAIM, Measurement.over_seeds([3.99, 4.0, 4.01])).verdict == "reproduced"
        every = dataclasses.replace(self.CLAIM, possible=(3.5, 4.5))
        assert judge(every, Measurement.over_seeds([4.0])).verdict == "reproduced"

    def test_a_null_objects_within_reach_of_a_number_without_interval(self):
        null = Control("null", (4.2, 4.5), "differ")
        for reach, expected in ((0.1, "reproduced"), (0.3, "contested")):
            measured = Measurement(4.0, controls=(null,), no_interval="one run", reach=reach)
            assert judge(self.CLAIM, measured).verdict == expected
