"""What a user passes to a monitor by mistake."""

import pytest
import torch

import landscope as ls
from landscope.adapters.monitor_session import MonitorSession
from landscope.adapters.recorder_session import RecorderSession
from landscope.errors import InputError
from own_model import CE, X, Y, net, of, sgd, step


def made(**settings):
    model = net()
    return ls.Monitor(model, sgd(model), **{"risk": of(model=model), "batch_size": 3, **settings})


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"risk": CE}, r"EmpiricalRisk\(model, criterion, data\)"),
        ({"risk": (X, Y)}, r"EmpiricalRisk\(model, criterion, data\)"),
        ({"budget": 5}, "5 % as 0.05"),
        ({"budget": "5%"}, "5 % as 0.05"),
        ({"every": 0}, "every"),
        ({"every": "10"}, "every"),
        ({"every": {"sharpnes": 10}}, "sharpness"),
        ({"every": {"loss": 0.5}}, "every"),
        ({"every": {}}, "at least one quantity"),
        ({"every": 5, "budget": 0.05}, "a budget, or every=.*Leave one"),
        ({"quantities": "los"}, "loss"),
        ({"quantities": []}, "at least one quantity"),
        ({"quantities": ["temperature"]}, '"motion" beside "temperature"'),
        ({"to": 3}, "tensorboard"),
        ({"to": [None]}, "tensorboard"),
        ({"path": 3}, "path"),
        ({"batch_size": 100}, "12"),
        ({"batch_size": 5}, "at least 3 minibatches.*got 2.*n_samples"),
        ({"batch_size": None}, "batch size"),
        ({"n_samples": 0}, "n_samples"),
        ({"memory": 1}, "memory"),
        ({"seed": -1}, "seed"),
        ({"first_step": 0}, "first_step"),
    ],
)
def test_wrong_arguments_are_named(settings, said):
    with pytest.raises(InputError, match=said):
        made(**settings)


def test_the_optimiser_of_another_model():
    model = net()
    with pytest.raises(InputError, match="parameters of this very model"):
        ls.Monitor(model, sgd(net()), of(model=model), batch_size=3)


def test_the_risk_of_another_model():
    model = torch.nn.Linear(4, 3)
    with pytest.raises(InputError, match="model from which the selection was made"):
        ls.Monitor(model, sgd(model), of(), batch_size=3)


def test_a_name_that_was_not_measured():
    monitor = made(every=1, quantities=["loss"])
    with monitor:
        step(monitor._measurements._model, monitor._optimizer)
    with pytest.raises(InputError, match=r"one of loss; got 'accuracy'.*was measured"):
        monitor.history.curve("accuracy")


def test_a_callback_with_data_in_place_of_a_risk():
    with pytest.raises(InputError, match="lambda model"):
        MonitorSession((X, Y))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"to": "tensorbord"}, "tensorboard"),
        ({"budget": 5}, "5 % as 0.05"),
        ({"every": 2, "budget": 0.1}, "Leave one"),
        ({"quantities": ["los"]}, "loss"),
        ({"path": 3}, "path"),
        ({"n_samples": 0}, "n_samples"),
        ({"batch_size": "all"}, "batch_size.*training"),
    ],
)
def test_the_settings_of_a_callback_are_checked_before_the_training(settings, said):
    with pytest.raises(InputError, match=said):
        MonitorSession(lambda model: of(model=model), **settings)
    with pytest.raises(TypeError, match="bugdet"):
        MonitorSession(lambda model: of(model=model), bugdet=0.05)


def test_a_callback_before_the_training():
    with pytest.raises(InputError, match="has begun"):
        _ = MonitorSession(of()).history


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"encoding": "delta-int4"}, "delta-int8"),
        ({"encoding": "delta-int8"}, "a path"),
        ({"sketch": 3}, "sketch"),
        ({"path": 3}, "path"),
        ({"every": 0}, "every"),
    ],
)
def test_the_settings_of_a_recording_callback_are_checked_before_the_training(settings, said):
    with pytest.raises(InputError, match=said):
        RecorderSession(**settings)
