"""The dynamics of a study: trainings that go on with the function of a user."""

import pytest
import torch

import landscope as ls
import small_study as small
from landscope.errors import InputError


def test_a_training_that_offers_some_orders_is_continued_with_these(recorded):
    study = small.opened(recorded, train_on=small.train_on, n_nulls=0, steps_per_epoch=10)
    study.analyse(noise=True, dynamics=True, progress=False)
    assert study.folder.has("exponents-sampling-reshuffled")
    assert study.folder.has("controls-yaida")
    assert "The loop has no order fixed." in study.not_measured["exponents-sampling-fixed"]
    assert study.plots.correlation_time_by_sampling().data


def _sgd_on(rate=0.1, take=1.0, **options):
    """A training that goes on with an optimiser of its own, for a share of the steps that are asked."""

    def train_on(model, record, *, sampling, n_steps, seed):
        if sampling != "with-replacement":
            raise NotImplementedError("Independent minibatches only.")
        optimizer = torch.optim.SGD(model.parameters(), lr=rate, **options)
        with record(optimizer):
            small.train(model, optimizer, 1000 * seed, 1000 * seed + int(take * n_steps) - 1)

    return train_on


def _one_layer(model, record, *, sampling, n_steps, seed):
    """A training that goes on with some of the weights, without a word to the others."""
    optimizer = torch.optim.SGD(model[0].parameters(), lr=0.1)
    first = small.first_step(sampling, seed)
    with record(optimizer):
        small.train(model, optimizer, first, first + n_steps - 1)


def _continued(folder, train_on, *, controls=False):
    study = small.opened(folder, train_on=train_on, n_nulls=0, n_processes=0)
    study.analyse(controls=controls, dynamics=True, progress=False)
    return study


def test_stationarity_is_tested_with_the_rate_and_the_optimiser_of_the_training_that_went_on(tmp_path):
    study, model, _ = small.begin(tmp_path / "s", n_nulls=0, n_processes=0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    with study.record(optimizer, small.SELECT):
        small.train(model, optimizer)
    study = _continued(study.path, _sgd_on(rate=0.01, momentum=0.9))
    assert ls.load(study.folder.file("controls-yaida")).provenance["settings"]["learning_rate"] == 0.01
    assert ls.load(study.folder.file("controls-lyapunov")).provenance["settings"]["learning_rate"] == 0.01
    notes = {judgement.claim.key: judgement.measurement.note for judgement in study.claims}
    assert "for plain SGD, without momentum" in notes["stationary"]
    assert not list(study.path.glob(".continued*"))
    study.discard_results()
    assert not (study.path / "continued.json").exists()


def test_stationarity_is_of_the_weights_that_the_training_that_went_on_trains(recorded):
    study = _continued(recorded, _one_layer)
    assert study.folder.has("controls-yaida")
    assert study.folder.has("controls-lyapunov")


def test_a_training_that_goes_on_for_too_few_steps_is_refused_before_the_analysis(recorded):
    with pytest.raises(InputError, match=r"4 steps .*; got 2\. Let train_on take all n_steps"):
        _continued(recorded, _sgd_on(take=0.5))
    assert not (recorded / "modes.zarr.zip").exists()


def test_gradients_along_the_training_that_went_on_are_of_the_whole_model(recorded, monkeypatch):
    from landscope.study.stages import continued

    seen = []

    def watched(trajectory, landscape, modes, **options):
        seen.append((trajectory, landscape))
        return ls.noise.yaida_relation(trajectory, landscape, modes, **options)

    monkeypatch.setattr(continued, "yaida_relation", watched)
    study = _continued(recorded, _sgd_on())
    ((trajectory, landscape),) = seen
    assert trajectory.dim == landscape.w0.numel() == sum(p.numel() for p in study.model.parameters())
    notes = {judgement.claim.key: judgement.measurement.note for judgement in study.claims}
    assert "residual of the Lyapunov equation" in notes["stationary"]


def test_stationarity_alone_is_lost_where_it_cannot_be_tested_and_made_when_it_can(recorded, monkeypatch):
    from landscope.study.stages import continued

    with monkeypatch.context() as patched:
        patched.setattr(continued, "_CONTINUED_BYTES", 1000)
        study = _continued(recorded, _sgd_on())
    assert study.folder.has("exponents-sampling-with-replacement")
    assert "the whole model" in study.not_measured["controls-yaida"]
    study.analyse(dynamics=True, progress=False)
    assert study.folder.has("controls-yaida")
    assert study.folder.has("controls-lyapunov")
    assert "controls-yaida" not in study.not_measured


def test_a_thinned_recording_has_all_controls(tmp_path):
    study, model, optimizer = small.begin(tmp_path / "s", n_nulls=0, n_processes=0)
    with study.record(optimizer, small.SELECT, every=5):
        small.train(model, optimizer, last=600)
    study = _continued(study.path, _sgd_on(), controls=True)
    assert study.folder.has("exponents-sampling-with-replacement")
    assert study.folder.has("controls-yaida")
