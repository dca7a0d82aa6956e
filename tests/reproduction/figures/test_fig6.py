"""Fig. 6: small widths, and claims that can come out either way."""

import pytest
import torch

from landscope.progress import QuietReporter
from landscope.reproduction.experiment.run import ExperimentRun
from landscope.reproduction.figures import fig6
from landscope.reproduction.figures.fig6 import CLAIMS, EffectiveDimension, dimension_measurements
from landscope.reproduction.reproduce import reproduce
from verdicts import verdicts


def solution(weights, sharp, learning, null, *, is_bound=False):
    return EffectiveDimension(
        n_weights=weights, norm=1.0, width=torch.ones(3), n_sharp=sharp, is_bound=is_bound,
        n_learning=(1, 2, learning, learning), n_null=(1, null), loss0=0.1, test_error=0.1, start_epoch=3,
    )  # fmt: skip


def solutions(sharp, learning=lambda n: 60, **facts):
    return {
        w: [solution(w * w, int(sharp(w * w)) + s, int(learning(w * w)) + s, w, **facts) for s in range(3)]
        for w in (20, 40, 50, 100)
    }


@pytest.mark.parametrize(
    ("sharp", "learning", "expected"),
    [
        (lambda n: 40, lambda n: 60, ("reproduced", "reproduced")),
        (lambda n: n / 40, lambda n: n / 10, ("not reproduced", "not reproduced")),
    ],
)
def test_dimensions(sharp, learning, expected):
    found = solutions(sharp, learning)
    found[400] = [solution(160_000, 3, 9, 9, is_bound=True)]  # all three directions there were
    measured = dimension_measurements(found)
    assert "D_s is at least 3 at width 400" in measured["sharp_dimension"].note
    assert (verdicts(measured, CLAIMS)["sharp_dimension"], verdicts(measured, CLAIMS)["learning_dimension"]) == expected
    assert verdicts(measured, CLAIMS)["few_sharp"] == "reproduced"


def test_a_width_where_most_directions_are_sharp_does_not_count():
    """D_s = 450 at every width above the narrowest, which has N = 400: bound by N, it would give an exponent."""
    found = solutions(lambda n: 400 - 3 if n == 400 else 450)
    measured = dimension_measurements(found)["sharp_dimension"]
    assert abs(measured.value) < 1e-12  # equal at widths 40, 50 and 100, up to the seed's number
    assert "left out: 20 (more than half of N)" in measured.note
    assert "widths 40, 50, 100" in measured.note


def test_a_lower_bound_does_not_count_and_two_widths_are_too_few():
    found = solutions(lambda n: 40)
    found[50] = [solution(2500, 90, 60, 50, is_bound=True)] * 3
    measured = dimension_measurements(found)["sharp_dimension"]
    assert abs(measured.value) < 1e-12
    assert "left out: 50 (only a lower bound)" in measured.note
    found[100] = [solution(10_000, 90, 60, 50, is_bound=True)] * 3
    measured = dimension_measurements(found)
    assert verdicts(measured, CLAIMS)["sharp_dimension"] == "not measured"
    assert "fewer than three widths count" in measured["sharp_dimension"].note
    assert verdicts(measured, CLAIMS)["learning_dimension"] == "reproduced"  # a bound of D_s says nothing of D_l


@pytest.mark.slow
def test_small_widths(plan, monkeypatch):
    monkeypatch.setattr(fig6, "_QUICK_WIDTHS", ((30, 2), (10, 2), (8, 2)))
    (section,) = reproduce(plan, [fig6], QuietReporter()).sections
    assert [row[0] for row in section.rows] == ["8", "10", "30"]
    assert [judgement.claim.key for judgement in section.judgements] == [claim.key for claim in CLAIMS]
    assert section.values["width 8"][0]["n_weights"] == 64
    assert all(plot.draw().data for plot in section.plots)
    assert not (plan.run_path("width8-seed0") / "trajectory").exists()  # gigabytes at large widths
    (again,) = reproduce(plan, [fig6], QuietReporter()).sections
    assert again.rows == section.rows


def test_the_start_of_a_window_does_not_depend_on_the_rows_that_are_kept(plan, tmp_path):
    for every in (1, 15):
        settings = plan.settings_with(record_every=every, start=3, window_epochs=21, seed=0)
        run = ExperimentRun.create(tmp_path / f"{every}", settings)
        assert run.experiment.order.batches_per_epoch == 15
        run.analyse(QuietReporter(), until="train")
        assert run.start_epoch == 3
