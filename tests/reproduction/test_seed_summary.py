"""Controls of several runs become one."""

import math

import pytest

from landscope.claims.exponents import NULL_NAME
from landscope.claims.verdict import Control
from landscope.law.intervals import prediction_band
from landscope.reproduction.seed_summary import pooled_control

NOTHING = (math.nan, math.nan)


def test_pooled_controls_do_not_depend_on_the_order_of_seeds():
    bands = [(1.2, 1.4), NOTHING, (1.3, 1.6)]
    for must, expected in (("differ", (1.2, 1.6)), ("agree", None)):
        same = [Control("c", band, must) for band in bands]
        first, second = (pooled_control(order).band for order in (same, same[::-1]))
        assert first == pytest.approx(second)
        if expected:
            assert first == expected
    nothing = pooled_control([Control("c", NOTHING, "differ")])
    assert math.isnan(nothing.band[0])


def test_the_null_has_the_band_of_the_surrogates_of_all_runs():
    few = [Control(NULL_NAME, NOTHING, "differ", "has no band with fewer than two surrogates")] * 2
    pooled = pooled_control(few, [3.0, 4.0, 5.0])
    assert pooled.band == prediction_band([3.0, 4.0, 5.0])
    assert pooled.finding == ""
