"""Twin trainings of a study: the same minibatches, a start apart by a kick, components in place of weights."""

import copy

import pytest
import torch

import small_study as small
from landscope.errors import InputError
from landscope.noise.response import DirectResponse
from landscope.recorder import TrajectoryRecorder
from landscope.study import saved
from landscope.study.stages import response

SGD_RATE = 0.1


@pytest.fixture
def analysis(recorded):
    study = small.opened(recorded, train_on=small.train_on, n_nulls=0)
    study.analyse(progress=False)
    return study._analysis


def test_components_are_those_of_the_recorded_weights(analysis):
    directions = analysis.load(saved.MODES).directions[:3].double()
    model = analysis.model_at(analysis.windows.step)
    origin = analysis.space.flatten(model).double()
    twins = response._Twins(analysis, directions, 20, lambda: None)
    kick = torch.tensor([0.1, 0.0, -0.2], dtype=torch.float64)
    found = twins.train(copy.deepcopy(model), kick, origin, seed=7)
    # The first row is the kick, to the rounding of float32 weights of size one: 6e-8 sqrt(60 weights).
    torch.testing.assert_close(found[0], kick, rtol=0, atol=5e-7)
    twin, recorders = copy.deepcopy(model), []
    with torch.no_grad():
        small_weights = dict(twin.named_parameters())[small.SELECT]
        small_weights.copy_((origin + kick @ directions).to(small_weights).view_as(small_weights))

    def record(optimizer):
        recorders.append(TrajectoryRecorder(twin, optimizer, small.SELECT))
        return recorders[0]

    small.train_on(twin, record, sampling="with-replacement", n_steps=20, seed=7)
    rows = recorders[0].trajectory().weights.double()
    torch.testing.assert_close(found[1:], (rows - origin) @ directions.T)
    assert twins.facts.learning_rate == SGD_RATE
    assert twins.facts.is_plain_sgd


def test_the_response_of_a_study_is_kept_and_its_repetitions_follow_each_other(analysis):
    found = response._response(analysis)
    assert isinstance(found, DirectResponse)
    assert found.ranks[0] == 2
    assert found.response.shape == (len(found.ranks), 20 // 4 + 1)
    torch.testing.assert_close(found.response[:, 0], torch.ones(len(found.ranks)).double(), rtol=1e-3, atol=0)
    deviation = analysis.load(saved.MODES).values[found.ranks - 1].double().sqrt()
    torch.testing.assert_close(found.kick, 0.1 * deviation)
    assert len(found.temperature_without) == 4


def _silent(model, record, *, sampling, n_steps, seed):
    """A loop that forgets to record."""


def _refuses(model, record, *, sampling, n_steps, seed):
    raise NotImplementedError("Fixed order only.")


def _stops(model, record, *, sampling, n_steps, seed):
    small.train_on(model, record, sampling=sampling, n_steps=n_steps // 2, seed=seed)


def _schedules(model, record, *, sampling, n_steps, seed):
    optimizer = small.sgd(model)
    with record(optimizer):
        for step in range(n_steps):
            optimizer.param_groups[0]["lr"] = 0.1 if step < 5 else 0.05
            small.train(model, optimizer, step, step)


@pytest.mark.parametrize(
    ("train_on", "words"),
    [(_silent, "not call record"), (_refuses, "Fixed order"), (_stops, "got 10"), (_schedules, "got 0.05")],
)
def test_a_training_that_does_not_fit_has_no_response(analysis, train_on, words):
    analysis.subject.train_on = train_on
    with pytest.raises(InputError, match=words):
        response._response(analysis)
