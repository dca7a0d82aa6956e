"""A corrected loss, evaluate or train_on is noticed, and what was made with the faulty one is measured again."""

import warnings

import pytest
import torch
from torch import nn

import small_study as small
from landscope.errors import LandscopeWarning
from landscope.study.changed import _differs

FEW = {"n_nulls": 0, "n_processes": 0, "flatness_modes": 12, "fit_modes": (2, 12), "spectrum_ranks": (3, 12)}


def smoothed(outputs, targets):
    return nn.functional.cross_entropy(outputs, targets, label_smoothing=0.1)


def halved(model):
    return {**small.evaluate(model), "train_loss": 0.5 * small.evaluate(model)["train_loss"]}


def analysed(folder, **options):
    study = small.opened(folder, **FEW, **options)
    study.analyse(progress=False, dynamics="train_on" in options)
    return study


def test_another_criterion_is_measured_with_again_also_where_everything_was_done(recorded, monkeypatch):
    first = analysed(recorded)
    modes, loss0 = first.modes.directions, first.flatness.loss0
    monkeypatch.setattr(small, "CRITERION", smoothed)
    with pytest.warns(LandscopeWarning, match="The data or the loss are others now.*All results but the modes"):
        second = analysed(recorded)
    assert torch.equal(second.modes.directions, modes)
    assert second.flatness.loss0 > 1.1 * loss0
    assert second.flatness.loss0 == pytest.approx(float(second.risk()(second.risk().w0)), rel=1e-6)
    with warnings.catch_warnings():
        warnings.simplefilter("error", LandscopeWarning)
        analysed(recorded)


def test_a_corrected_evaluation_is_called_again(recorded):
    first = analysed(recorded, evaluate=halved)
    wrong = first._analysis.history.train_loss
    with pytest.warns(LandscopeWarning, match="evaluate gives other numbers"):
        second = analysed(recorded, evaluate=small.evaluate)
    torch.testing.assert_close(second._analysis.history.train_loss, 2 * wrong)
    assert second.flatness.loss0 == first.flatness.loss0
    with warnings.catch_warnings():
        warnings.simplefilter("error", LandscopeWarning)
        analysed(recorded, evaluate=small.evaluate)
        analysed(recorded)  # without it nothing is compared, and nothing is lost
    assert second.folder.has("training")


def test_a_corrected_train_on_trains_again(recorded):
    def later(model, record, *, sampling, n_steps, seed):
        small.train_on(model, record, sampling=sampling, n_steps=n_steps, seed=seed + 7)

    first = analysed(recorded, train_on=later)
    name = "exponents-sampling-reshuffled"
    before = first._analysis.folder.file(name).read_bytes()
    with pytest.warns(LandscopeWarning, match="train_on takes other steps than for the results"):
        second = analysed(recorded, train_on=small.train_on)
    assert second._analysis.folder.file(name).read_bytes() != before
    assert second.folder.has("controls-response")


def test_numbers_that_are_not_there_are_not_compared():
    assert not _differs(None, [1.0], 1e-4)
    assert not _differs([1.0, None], [1.0 + 1e-6, float("nan")], 1e-4)
    assert _differs([1.0, None], [1.0, 2.0], 1e-4)
    assert _differs([1.0], [1.001], 1e-4)
