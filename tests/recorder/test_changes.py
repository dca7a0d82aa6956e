"""Weights that change outside of the steps of the recorded optimiser are said once, and the way on holds."""

import warnings

import pytest
import torch
from torch import nn

import landscope as ls
from landscope.errors import LandscopeWarning

X = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2))


def sgd(model):
    return torch.optim.SGD(model.parameters(), lr=0.1)


def step(model, optimizer, n_steps=1, after=lambda number: None):
    for number in range(1, n_steps + 1):
        optimizer.zero_grad()
        model(X).square().mean().backward()
        optimizer.step()
        after(number)


@torch.no_grad()
def project(model):
    for weights in model.parameters():
        weights.div_(weights.norm() + 1)


def by_data(model):
    for weights in model.parameters():
        weights.data.clamp_(-0.01, 0.01)


def study_of(folder, model):
    return ls.Study(folder, model, nn.MSELoss(), (X, X[:, :2]), batch_size=3)


def recorder_of(kind, tmp_path, model, optimizer, **options):
    if kind == "study":
        return study_of(tmp_path / "s", model).record(optimizer, **options)
    return ls.TrajectoryRecorder(model, optimizer, **options)


@pytest.mark.parametrize("change", [project, by_data])
@pytest.mark.parametrize(("kind", "every"), [("memory", 1), ("memory", 5), ("memory", 50), ("study", 1)])
def test_a_change_after_steps_is_said_once(kind, change, every, tmp_path):
    """A change after every 5th or 50th step is met at the latest when a multiple of seven comes together with it."""
    model = network()
    optimizer = sgd(model)
    recorder = recorder_of(kind, tmp_path, model, optimizer)

    def train():
        with recorder:
            step(model, optimizer, 8 * every, lambda n: change(model) if n % every == 0 and n < 8 * every else None)

    with pytest.warns(LandscopeWarning, match=r"changed between step \d+.*register_step_post_hook") as said:
        train()
    assert len([one for one in said if one.category is LandscopeWarning]) == 1


@pytest.mark.parametrize("kind", ["memory", "study"])
def test_a_change_after_the_last_step_is_said(kind, tmp_path):
    model = network()
    optimizer, other = sgd(model), sgd(model)
    recorder = recorder_of(kind, tmp_path, model, optimizer)

    def train():
        with recorder:
            step(model, optimizer, 6)
            step(model, other, 4)  # a second optimiser of the same weights takes over

    with pytest.warns(LandscopeWarning, match=r"no longer those of step 6, the last row.*ends at the weights"):
        train()


def test_a_change_as_a_hook_before_the_recording_is_in_the_rows():
    model = network()
    optimizer = sgd(model)
    optimizer.register_step_post_hook(lambda *_: project(model))
    kept = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with ls.TrajectoryRecorder(model, optimizer) as recorder:
            step(model, optimizer, 20, lambda _: kept.append(recorder.space.flatten(model)))
    assert torch.equal(recorder.trajectory().weights, torch.stack(kept))


@pytest.mark.parametrize("every", [1, 3])
def test_weights_that_come_back_before_the_next_step_are_no_change(every):
    """As averages of weights that are swapped in for an evaluation."""
    model = network()
    optimizer = sgd(model)

    def swapped(_):
        own = [weights.detach().clone() for weights in model.parameters()]
        project(model)
        for weights, value in zip(model.parameters(), own, strict=True):
            weights.data.copy_(value)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with ls.TrajectoryRecorder(model, optimizer, every=every) as recorder:
            step(model, optimizer, 21, swapped)
    assert len(recorder.trajectory()) == 21 // every
