"""Controls of several runs become one."""

import math
from types import SimpleNamespace
from unittest import mock

import pytest

from landscope.claims.exponents import NULL_NAME
from landscope.claims.verdict import Control, Measurement
from landscope.law.intervals import prediction_band
from landscope.reproduction.experiment.run import ExperimentRun
from landscope.reproduction.seed_summary import SeedSummary, _note_of_all, pooled_control
from landscope.study import saved
from landscope.study.exponents import EXPONENTS

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


def test_surrogates_of_one_run_count_once_in_an_interval_over_seeds():
    """Two runs whose surrogates agree within a run: the interval is that of two values, not of six."""
    names = ("in-sample", "shuffled increments", "shuffled increments", "shuffled increments")
    results = [saved.IN_SAMPLE, *map(saved.null, range(3))]
    psi = {0: (4.0, 4.4, 4.5, 4.6), 1: (4.2, 5.4, 5.5, 5.6)}

    def run(seed):
        rows = [SimpleNamespace(name=name, **dict.fromkeys(EXPONENTS, value))
                for name, value in zip(names, psi[seed], strict=True)]  # fmt: skip
        kept = dict(zip([result.name for result in results], rows, strict=True))
        made = mock.MagicMock(spec=ExperimentRun)
        made.has.side_effect = kept.__contains__
        made.load.side_effect = lambda name, kind: kept[name]
        made.settings, made.results = SimpleNamespace(n_nulls=3, n_processes=0), SimpleNamespace(measurements={})
        return made

    summary = SeedSummary([run(0), run(1)])
    assert summary.rows["shuffled increments"]["psi"] == pytest.approx([4.5, 5.5])
    assert summary.rows["in-sample"]["psi"] == [4.0, 4.2]


def test_a_value_that_some_seeds_lack_has_the_reason():
    single = [Measurement(math.nan, note="the weights drift"), Measurement(1.0, note="3 modes"), Measurement(2.0)]
    assert _note_of_all(single) == "not measured for 1 of 3 seeds: the weights drift"
    assert _note_of_all(single[1:]) == ""
    assert _note_of_all(single[:1] * 2) == "the weights drift"


def test_a_note_has_the_means_of_its_numbers_over_seeds():
    single = [Measurement(50.0 + seed, note=f"without the largest 1.{seed}; 499 modes") for seed in (2, 4)]
    assert _note_of_all(single) == "without the largest 1.3; 499 modes (means over seeds)"
    assert _note_of_all([Measurement(1.0, note=note) for note in ("one thing", "another")]) == ""


@pytest.mark.parametrize(("values", "expected"), [((0.6, 0.6, 0.6), "undecided"), ((0.6, 0.7, 0.6), "not reproduced")])
def test_seeds_that_all_give_the_same_coarse_count_have_no_interval(values, expected):
    """Fig. 5C: rank correlations of five checkpoints, in steps of a tenth."""
    key = "temperature_profile_falls"

    def run(value):
        made = mock.MagicMock(spec=ExperimentRun)
        made.has.return_value = False
        made.settings = SimpleNamespace(n_nulls=0, n_processes=0)
        made.results = SimpleNamespace(measurements={key: Measurement(value)})
        return made

    (judgement,) = SeedSummary([run(value) for value in values]).judgements_on([key])
    assert judgement.verdict == expected
    assert judgement.measurement.has_interval == (len(set(values)) > 1)
