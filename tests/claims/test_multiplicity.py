"""How many verdicts chance makes: truths at an edge of what is accepted are the worst that can be."""

import dataclasses
import math

import pytest
import torch
from scipy import stats

from landscope.claims.multiplicity import _p_value, false_verdicts
from landscope.claims.verdict import Claim, Measurement, judge
from landscope.study.claim_table import ClaimTable

CLAIM = Claim("psi", "", "", "about 1", (0.5, 1.5), "")


def judgements(values, half):
    return [judge(CLAIM, Measurement(value, (value - half, value + half))) for value in values]


def test_chance_makes_as_many_false_verdicts_as_are_expected_where_the_truth_is_at_an_edge():
    """Values of standard error 0.1 about the edge 1.5: 2.5 % of the intervals lie on the wrong side of it."""
    count = 20_000
    values = 1.5 + 0.1 * torch.randn(count, generator=torch.Generator().manual_seed(0)).double()
    made = judgements(values.tolist(), 1.959964 * 0.1)
    for false in ("reproduced", "not reproduced"):  # the truth is just outside, or just inside
        n_false = sum(judgement.verdict == false for judgement in made)
        expected = false_verdicts(made).expected
        assert expected == pytest.approx(0.025 * count)
        assert n_false == pytest.approx(expected, abs=4 * math.sqrt(expected))  # four standard deviations of a count


def test_verdicts_remain_if_their_false_discovery_rate_allows_it():
    """p of an interval that ends at an edge is 0.025; of twice the distance Phi(-3.92) = 4e-5."""
    (alone,) = judgements([1.7], 0.199)  # just outside
    assert false_verdicts([alone]).n_kept == 1
    # Among 19 that are at the edge with p = 1/2, 0.025 becomes 0.025 * 20 and is not kept; 4e-5 * 20 is.
    crowd = judgements([1.5] * 19, 0.2)
    assert false_verdicts([alone, *crowd]).n_kept == 0
    found = false_verdicts([*judgements([1.9], 0.199), *crowd])
    assert (found.n_decided, found.n_kept, found.n_tested) == (1, 1, 20)
    inside = false_verdicts([*judgements([1.1], 0.199), *crowd])
    assert (inside.n_decided, inside.n_kept) == (1, 1)


def test_an_interval_without_width_is_none():
    same = judge(CLAIM, Measurement.over_seeds([1.8, 1.8, 1.8]))
    found = false_verdicts([same, *judgements([1.9], 0.199)])
    assert (found.n_tested, found.n_decided, found.n_without_interval, found.n_kept) == (1, 1, 1, 1)


@pytest.mark.parametrize("values", [[1.7, 1.9, 1.8], [0.7, 0.9, 0.8], [1.1, 1.3, 1.0, 1.2, 1.25]])
def test_p_values_of_seeds_are_those_of_students_test(values):
    """Twin: scipy's test of one sample against each edge; inside, the larger of two one-sided tests."""
    below, above = (stats.ttest_1samp(values, edge, alternative=side).pvalue
                    for edge, side in ((0.5, "greater"), (1.5, "less")))  # fmt: skip
    outside = stats.ttest_1samp(values, 1.5, alternative="greater").pvalue
    expected = outside if sum(values) / len(values) > 1.5 else max(below, above)
    assert _p_value(judge(CLAIM, Measurement.over_seeds(values))) == pytest.approx(expected, rel=1e-9)


def test_three_seeds_keep_fewer_verdicts_than_a_normal_law_would():
    """An edge at twice the half width: 4e-5 by the normal law; of t with 2 degrees of freedom P(t > 8.6) = 0.0066."""
    crowd = judgements([1.5] * 19, 0.2)
    known, three = (
        judge(CLAIM, dataclasses.replace(Measurement(1.9, (1.7, 2.1)), freedom=freedom)) for freedom in (math.inf, 2)
    )
    assert _p_value(three) == pytest.approx(float(stats.t.sf(2 * stats.t.ppf(0.975, 2), 2)))
    assert (false_verdicts([known, *crowd]).n_kept, false_verdicts([three, *crowd]).n_kept) == (1, 0)


def test_numbers_without_an_interval_and_edges_of_the_possible():
    bare = judge(CLAIM, Measurement(1.0))
    share = Claim("share", "", "", "large", (0.9, 1.0), "", possible=(0.0, 1.0))
    sure = judge(share, Measurement(0.99, (0.97, 1.01)))  # nothing lies above 1
    found = false_verdicts([bare, sure, judge(CLAIM, Measurement(math.nan))])
    assert (found.n_without_interval, found.n_tested, found.n_decided, found.n_kept) == (1, 1, 1, 1)
    assert false_verdicts([]).expected == 0
    assert "1 of them on a 95 % interval" in repr(ClaimTable([bare, sure]))
