"""What a recorder sees beside the weights: replaced layers, steps it missed, halves of steps."""

import contextlib
import gc
import warnings
import weakref

import pytest
import torch
from torch import nn

import landscope as ls
from landscope.errors import InputError, LandscopeWarning
from landscope.trajectory import open_trajectory

X = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2))


def backward(model, optimizer):
    optimizer.zero_grad()
    model(X).square().mean().backward()


def train(model, optimizer, steps=1):
    for _ in range(steps):
        backward(model, optimizer)
        optimizer.step()


def sgd(model, lr=0.1):
    return torch.optim.SGD(model.parameters(), lr=lr)


def replace_parameter(model):
    model[0].weight = nn.Parameter(torch.zeros(3, 4))


def replace_layer(model):
    model[0] = nn.Linear(4, 3)


def replace_block(model):
    model[1] = nn.Sequential(nn.Linear(3, 3), nn.Tanh())


@pytest.mark.parametrize("every", [1, 2])
@pytest.mark.parametrize("change", [replace_parameter, replace_layer, replace_block])
def test_a_parameter_that_is_no_longer_in_the_model_stops_the_recording(change, every):
    model = network()
    model[1] = nn.Sequential(nn.Linear(3, 3), nn.Tanh())
    optimizer = sgd(model)
    recorder = ls.TrajectoryRecorder(model, optimizer, every=every)

    def changed():
        with recorder:
            train(model, optimizer, 3 if every == 1 else 2)
            change(model)
            train(model, optimizer, 2)

    with pytest.raises(InputError, match=r"in the model at step 4; got a model in which \w.*was replaced"):
        changed()
    assert recorder.trajectory().steps.tolist() == ([1, 2, 3] if every == 1 else [2])
    with pytest.raises(InputError, match="was replaced"):
        recorder.__enter__()


def new_values(model):
    model[0].weight.data = torch.full((3, 4), 5.0)


def wrapped_layer(model):
    model[0] = nn.Sequential(model[0], nn.Identity())


def same_object(model):
    model[0].weight = model[0].weight


def parametrized(model):
    nn.utils.parametrize.register_parametrization(model[0], "weight", nn.Identity())


@pytest.mark.filterwarnings("ignore:The weights changed between step 2")
@pytest.mark.parametrize("change", [new_values, wrapped_layer, same_object, parametrized])
def test_new_values_and_layers_that_move_are_followed(change):
    """The rows are those that plain code reads from the optimiser's parameters."""
    model = network()
    optimizer = sgd(model)
    own, seen = list(model.parameters()), []
    with ls.TrajectoryRecorder(model, optimizer) as recorder:
        for number in range(4):
            if number == 2:
                change(model)
            train(model, optimizer)
            seen.append(torch.cat([tensor.detach().flatten() for tensor in own]))
    assert torch.equal(recorder.trajectory().weights, torch.stack(seen))
    assert seen[2][0] != seen[1][0]


def test_a_tied_parameter_and_a_compiled_model_are_recorded_as_before():
    model = nn.ModuleDict({"a": nn.Linear(4, 4, bias=False), "b": nn.Linear(4, 4, bias=False)})
    model["b"].weight = model["a"].weight
    optimizer = sgd(model)
    with ls.TrajectoryRecorder(torch.compile(model, backend="eager"), optimizer) as recorder:
        model["a"](X).sum().backward()
        optimizer.step()
    assert recorder.trajectory().weights.shape == (1, 16)


@pytest.mark.parametrize("on_disk", [False, True])
def test_a_recorder_entered_within_its_own_block_is_refused_and_the_rows_stay(on_disk, tmp_path):
    model = network()
    optimizer = sgd(model)
    recorder = ls.TrajectoryRecorder(model, optimizer, path=tmp_path / "t" if on_disk else None)

    def nested():
        with recorder:
            train(model, optimizer, 2)
            with recorder:
                train(model, optimizer)

    with pytest.raises(InputError, match="entered once at a time; got a second `with` block inside the first"):
        nested()
    assert recorder.trajectory().steps.tolist() == [1, 2]
    assert not optimizer._optimizer_step_post_hooks
    assert not optimizer._optimizer_step_pre_hooks


def test_a_study_recorder_entered_within_its_own_block_is_refused(tmp_path):
    model = network()
    optimizer = sgd(model)
    study = ls.Study(tmp_path / "s", model, nn.MSELoss(), (X, torch.zeros(6, 2)))
    recorder = study.record(optimizer)
    with recorder:
        train(model, optimizer, 2)
        with pytest.raises(InputError, match="entered once at a time"), recorder:
            pass
        train(model, optimizer)
    assert open_trajectory(tmp_path / "s" / "trajectory").steps.tolist() == [1, 2, 3]


@pytest.mark.parametrize("every", [1, 3])
@pytest.mark.parametrize("on_disk", [False, True])
def test_a_recorder_entered_again_goes_on_and_refuses_a_gap(on_disk, every, tmp_path):
    """The rows of two blocks are those of one block around the same steps."""
    whole, halves = network(), network()
    optimizer = sgd(whole)
    with ls.TrajectoryRecorder(whole, optimizer, every=every) as expected:
        train(whole, optimizer, 7)
    optimizer = sgd(halves)
    recorder = ls.TrajectoryRecorder(halves, optimizer, every=every, path=tmp_path / "t" if on_disk else None)
    with recorder:
        train(halves, optimizer, 4)
    halves.eval()
    with recorder:
        train(halves, optimizer, 3)
    assert recorder.trajectory().steps.tolist() == expected.trajectory().steps.tolist()
    assert torch.equal(recorder.trajectory().weights, expected.trajectory().weights)
    kept = {name: value.clone() for name, value in halves.state_dict().items()}
    train(halves, optimizer)  # outside
    with pytest.raises(InputError, match=r"the weights of step 7, .*; got other weights.*first_step="), recorder:
        train(halves, optimizer)
    assert len(recorder.trajectory()) == 7 // every
    assert not optimizer._optimizer_step_post_hooks
    halves.load_state_dict(kept)  # what was done outside is undone: nothing is missing
    with recorder:
        train(halves, optimizer, 2)
    assert recorder.step == 9


def test_a_recorder_leaves_nothing_behind():
    model = network()
    optimizer = sgd(model)
    recorder = ls.TrajectoryRecorder(model, optimizer)
    with recorder:
        train(model, optimizer, 2)
    assert not optimizer._optimizer_step_post_hooks
    assert not optimizer._optimizer_step_pre_hooks
    gone = weakref.ref(recorder)
    del recorder
    gc.collect()
    assert gone() is None


class Clipped(torch.optim.SGD):
    """A class of a user: the step of its base class, and something after it."""

    def step(self, closure=None):
        loss = super().step(closure)
        with torch.no_grad():
            for group in self.param_groups:
                for parameter in group["params"]:
                    parameter.clamp_(-0.1, 0.1)
        return loss


def test_a_step_that_calls_the_step_of_its_base_class_is_one_row(tmp_path):
    """Torch runs the hooks of both classes, once the base class was used; the row is after the whole step."""
    model = network()
    sgd(model)  # from now on the step of SGD itself has hooks
    optimizer, seen = Clipped(model.parameters(), lr=0.1), []
    study = ls.Study(tmp_path / "s", model, nn.MSELoss(), (X, torch.zeros(6, 2)))
    with ls.TrajectoryRecorder(model, optimizer) as recorder, study.record(optimizer, checkpoints=lambda step: True):
        for number in range(4):
            with contextlib.suppress(ZeroDivisionError):  # a step that fails leaves no trace
                optimizer.step(lambda number=number: 1 / (number - 1))
            if number == 1:
                continue
            seen.append(recorder.space.flatten(model))
    rows = recorder.trajectory()
    assert rows.steps.tolist() == [1, 2, 3]
    assert torch.equal(rows.weights, torch.stack(seen))
    assert rows.weights.abs().max() <= 0.1
    assert study.trajectory.steps.tolist() == [1, 2, 3]


def perturb(parameters, rho=0.05):
    norm = torch.stack([parameter.grad.norm() for parameter in parameters]).norm()
    for parameter in parameters:
        parameter.add_(parameter.grad, alpha=float(rho / norm))


class TwoCalls(torch.optim.SGD):
    """Sharpness-aware, with one method for both halves: the first call climbs, the second goes back and descends."""

    @torch.no_grad()
    def step(self, closure=None):
        parameters = self.param_groups[0]["params"]
        if not hasattr(self, "kept"):
            self.kept = [parameter.clone() for parameter in parameters]
            perturb(parameters)
            return None
        for parameter, kept in zip(parameters, self.kept, strict=True):
            parameter.copy_(kept)
        del self.kept
        return super().step(closure)


class Wrapper(torch.optim.Optimizer):
    """The same around another optimiser."""

    def __init__(self, parameters, lr):
        self.base_optimizer = torch.optim.SGD(parameters, lr=lr, momentum=0.9)
        super().__init__(self.base_optimizer.param_groups, {"lr": lr})
        self.param_groups = self.base_optimizer.param_groups

    @torch.no_grad()
    def step(self, closure=None):
        parameters = self.param_groups[0]["params"]
        if not hasattr(self, "kept"):
            self.kept = [parameter.clone() for parameter in parameters]
            perturb(parameters)
            return
        for parameter, kept in zip(parameters, self.kept, strict=True):
            parameter.copy_(kept)
        del self.kept
        self.base_optimizer.step(closure)


@pytest.mark.parametrize(
    ("kind", "message"),
    [(TwoCalls, r"TwoCalls seems to call step\(\) twice .*every=2"), (Wrapper, r"Wrapper seems .*base_optimizer")],
)
def test_steps_in_two_halves_are_said_and_the_way_on_is_right(kind, message):
    """One descent for two calls: the rows of the way that the warning names are the weights after each descent."""
    descents = 4

    def trained(every, chosen=lambda optimizer: optimizer):
        model, seen = network(), []
        optimizer = kind(model.parameters(), lr=0.1)
        with ls.TrajectoryRecorder(model, chosen(optimizer), every=every) as recorder:
            for _ in range(descents):
                train(model, optimizer, 2)
                seen.append(recorder.space.flatten(model))
        return recorder.trajectory(), torch.stack(seen)

    with pytest.warns(LandscopeWarning, match=message):
        rows, seen = trained(1)
    assert torch.equal(rows.weights[1::2], seen)
    assert not torch.equal(rows.weights[::2], seen)
    rows, seen = trained(2) if kind is TwoCalls else trained(1, lambda optimizer: optimizer.base_optimizer)
    assert torch.equal(rows.weights, seen)


def closure_of(model, optimizer):
    def closure():
        backward(model, optimizer)
        return model(X).square().mean().detach()

    return closure


@pytest.mark.parametrize("maximize", [False, True])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_usual_optimisers_are_not_taken_for_halves(momentum, maximize):
    """A large learning rate lets the weights jump to and fro across the valley: no step is uphill."""
    for lr in (0.1, 3.0):
        model = network()
        optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=momentum, maximize=maximize)
        with warnings.catch_warnings(), ls.TrajectoryRecorder(model, optimizer) as recorder:
            warnings.simplefilter("error")
            train(model, optimizer, 8)
        assert len(recorder.trajectory()) == 8


def test_lbfgs_calls_its_closure_often_and_has_one_row_a_step():
    model = network()
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=4)
    calls, seen = [], []
    with ls.TrajectoryRecorder(model, optimizer) as recorder:
        for _ in range(3):
            optimizer.step(lambda: (calls.append(1), closure_of(model, optimizer)())[1])
            seen.append(recorder.space.flatten(model))
    assert torch.equal(recorder.trajectory().weights, torch.stack(seen))
    assert len(calls) > 3


def test_learning_rates_of_several_groups_are_marked():
    """One number for all recorded weights, or NaN: a row has one learning rate."""
    model = network()
    groups = [{"params": model[0].parameters(), "lr": 0.1}, {"params": model[2].parameters(), "lr": 0.5}]
    optimizer = torch.optim.SGD(groups)
    with (
        ls.TrajectoryRecorder(model, optimizer) as both,
        ls.TrajectoryRecorder(model, optimizer, "2") as last,
    ):
        train(model, optimizer)
        optimizer.param_groups[0]["lr"] = 0.5
        train(model, optimizer)
        optimizer.add_param_group({"params": [nn.Parameter(torch.zeros(1))], "lr": 9.0})
        train(model, optimizer)
    assert both.trajectory().learning_rate.isnan().tolist() == [True, False, False]
    assert both.trajectory().learning_rate[1:].tolist() == [0.5, 0.5]
    assert last.trajectory().learning_rate.tolist() == [0.5, 0.5, 0.5]
