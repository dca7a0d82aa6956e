"""Which rows of a recording are the window and the fresh data, and which windows are refused."""

import math

import pytest
import torch

import landscope as ls
import small_study as small
from landscope.errors import InputError
from landscope.study.analysis import Analysis
from landscope.study.drift_path import walk_along_drift
from landscope.study.windows import Windows


def test_the_window_is_the_last_quarter_and_the_fresh_data_are_the_quarter_before(recorded):
    study = ls.Study(recorded)
    assert study.window.steps.tolist() == list(range(181, 241))
    assert study.fresh.steps.tolist() == list(range(121, 181))
    assert study.saved_steps == small.SAVED
    assert len(study.trajectory) == small.N_STEPS


def test_a_window_named_before_the_training_has_its_models_saved(tmp_path):
    study = small.record(tmp_path / "s", window=(101, 150), fresh=(151, 203))
    assert study.saved_steps == sorted([*small.SAVED, 150, 203])
    assert (study.window.steps[[0, -1]].tolist(), study.fresh.steps[[0, -1]].tolist()) == ([101, 150], [151, 203])
    assert torch.equal(study.risk().w0, study.window.row(-1))


def test_a_window_named_after_the_training_must_end_where_a_model_was_saved(recorded):
    study = small.opened(recorded, window=(129, 192))
    assert study.fresh.steps[[0, -1]].tolist() == [65, 128]
    with pytest.raises(InputError, match=r"the whole model was saved: 0, 16, 32, .*, 240; got step 150"):
        small.opened(recorded, window=(101, 150)).analyse(progress=False)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"window": (100, 240), "fresh": (100, 240)}, "fresh must not overlap the window"),
        ({"window": (100, 240), "fresh": (50, 100)}, "fresh must not overlap the window"),
        ({"fresh": (50, 100)}, "fresh needs a window"),
        ({"window": (240, 100)}, "first step before its last"),
    ],
)
def test_windows_that_make_no_sense_are_refused(recorded, settings, message):
    with pytest.raises(InputError, match=message):
        small.opened(recorded, **settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"window": (200, 300)}, r"window within the recorded steps 1 to 240; got steps 200 to 300"),
        ({"window": (201, 240), "fresh": (260, 300)}, r"fresh within the recorded steps 1 to 240"),
        ({"window": (231, 240)}, r"at least 21 recorded steps in window; got 10"),
    ],
)
def test_windows_beyond_the_recording_are_refused(recorded, settings, message):
    with pytest.raises(InputError, match=message):
        small.opened(recorded, **settings).analyse(progress=False)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"window": (1, 80)}, r"window within the recorded steps 41 to 120; got steps 1 to 80"),
        ({"window": (81, 120), "fresh": (1, 80)}, r"fresh within the recorded steps 41 to 120; got steps 1 to 80"),
    ],
)
def test_windows_that_begin_before_the_recording_are_refused(tmp_path, settings, message):
    study, model, optimizer = small.begin(tmp_path / "s", **settings)
    with study.record(optimizer, small.SELECT, first_step=41):
        small.train(model, optimizer, first=41, last=120)
    with pytest.raises(InputError, match=message):
        _ = study.window


def test_a_window_may_begin_within_the_interval_before_the_first_row(tmp_path):
    study, model, optimizer = small.begin(tmp_path / "s", window=(1, 120))
    with study.record(optimizer, small.SELECT, every=5):
        small.train(model, optimizer, last=120)
    assert study.window.steps[[0, -1]].tolist() == [5, 120]


def test_without_fresh_data_the_page_says_so(recorded):
    study = small.opened(recorded, fresh="none", n_nulls=0)
    study.analyse(progress=False)
    assert study.fresh is None
    assert study.not_measured["exponents-fresh"] == "needs fresh data: a second window of recorded steps"
    page = study.report().read_text()
    assert "Only one window was analysed" in page
    assert "needs fresh data" in page
    assert study.summary()["fresh"] is None


def test_a_window_that_ends_where_it_began_has_no_slope(analysed):
    analysis = Analysis(analysed.folder, analysed._subject)
    window = analysis.window
    rows = window.weights.clone()
    rows[0] = rows[-1]
    analysis.windows = Windows(ls.Trajectory.of(rows, steps=window.steps, space=window.space), None)
    still = walk_along_drift(analysis)
    assert math.isnan(still.beta_slope)
    assert set(still.random_train_error.tolist()) == {float(still.train_error[0])}
