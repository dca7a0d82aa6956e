"""psi beside what could make it: the tables of tiny runs, and a spread over seeds that can come out either way."""

import math

import pytest

from landscope.claims.statements import judged
from landscope.progress import QuietReporter
from landscope.reproduction.figures import findings
from landscope.reproduction.reproduce import reproduce


@pytest.mark.parametrize(
    ("psi", "verdict"),
    [
        ([4.0, 4.05, 4.1, 4.0, 3.95], "reproduced"),
        ([4.0, 5.0, 3.0, 6.0, 2.0], "not reproduced"),
        ([4.0, 4.5], "undecided"),  # two seeds leave the deviation open
    ],
)
def test_the_spread_over_seeds_decides(psi, verdict):
    measured = findings.spread_measurements(psi, [2.5] * len(psi))
    assert {j.claim.key: j.verdict for j in judged(measured, findings.CLAIMS)}["same_psi"] == verdict


def test_the_interval_of_a_deviation_is_that_of_chi_squared():
    # With 9 degrees of freedom the factors are sqrt(9/19.02) and sqrt(9/2.70).
    values = [4.0 + 0.1 * n for n in range(10)]
    found = findings.spread_measurements(values, values)["same_psi"]
    assert found.interval[0] / found.value == pytest.approx(0.688, abs=1e-3)
    assert found.interval[1] / found.value == pytest.approx(1.826, abs=1e-3)


@pytest.mark.slow
def test_tiny_runs_fill_every_table(plan):
    sections = reproduce(plan, [findings], QuietReporter()).sections
    modes, curvature, amplitude, *claims = sections
    assert [len(one.rows) for one in (modes, curvature, amplitude)] == [2, 2, 2]
    assert len(claims) == 2
    assert not any(math.isnan(row["process"]) for rows in modes.values.values() for row in rows)
    assert modes.plots[0].draw().data
