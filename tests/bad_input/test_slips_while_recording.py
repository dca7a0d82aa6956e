"""What looks like a slip while a model is recorded or measured: it is said by a warning, or served as it is meant."""

import contextlib

import pytest
import torch
from torch import nn

import landscope as ls
from landscope.errors import LandscopeWarning
from own_model import ONE_HOT, X, Y, losses_of, net, of, of_closure, recorded, sgd, step


def test_frozen_weights_and_missing_steps_are_said():
    model = net()
    optimizer = sgd(model.requires_grad_(False))
    with pytest.warns(LandscopeWarning, match=r"requires a gradient.*nothing to analyse"):
        recorder = ls.TrajectoryRecorder(model, optimizer, "0.weight")
    with pytest.warns(LandscopeWarning, match=r"No optimiser step was recorded. Call step"), recorder:
        pass


def test_what_only_looks_like_a_slip_is_served():
    """The values are those of the usual form."""
    usual, w = of(), torch.randn(43, generator=torch.Generator().manual_seed(1))
    model, value = net(), usual(w)
    with torch.inference_mode():
        frozen_inputs = X + 0
    outer = of_closure(lambda _, batch: losses_of(model, batch), model=model)
    for risk in (of(data=(X, Y.int())), of(data=(X, ONE_HOT.float())), of(data=(frozen_inputs, Y)), outer):
        torch.testing.assert_close(risk(w), value, rtol=1e-6, atol=0)
    with torch.no_grad():
        torch.testing.assert_close(of().gradient(w), usual.gradient(w))


def test_rows_survive_what_happens_within_the_training():
    """Two trainings, frozen layers and new groups are recorded on; an exception is the user's own."""

    def changed(model, optimizer, _):
        model[0].requires_grad_(False)
        extra = nn.Linear(2, 2)
        optimizer.add_param_group({"params": list(extra.parameters()), "lr": 0.5})
        step(model, optimizer)

    rows = recorded(changed)
    assert rows.steps.tolist() == [1, 2]
    assert rows.learning_rate.tolist() == [0.1, 0.1]  # the new group holds no recorded weight
    assert torch.equal(rows.weights[0, :20], rows.weights[1, :20])
    assert not torch.equal(rows.weights[0, 25:], rows.weights[1, 25:])

    model = net()
    optimizer = sgd(model)
    recorder = ls.TrajectoryRecorder(model, optimizer)
    with recorder:
        step(model, optimizer)
    with contextlib.suppress(KeyError), recorder:
        step(model, optimizer)
        {}["mine"]
    assert recorder.trajectory().steps.tolist() == [1, 2]
    assert torch.equal(recorder.trajectory().weights[-1], recorder.space.flatten(model))
