"""Tasks in sequence: what is learnt, forgotten, protected and measured."""

import copy
import dataclasses

import pytest
import torch
from torch import nn

import landscope as ls
from clusters import PAIR, THREE, learn_all, learn_first, prepared
from landscope.errors import InputError
from landscope.memory.methods.accumulate import accumulate
from landscope.reproduction.experiment.networks import mlp
from landscope.reproduction.experiment.settings import Settings
from landscope.reproduction.sequential.continual_result import ContinualResult
from landscope.reproduction.sequential.methods import COMPARED, HeldPenalty, MethodSettings
from landscope.reproduction.sequential.preparation import prepare_class_tasks, unchanged
from landscope.reproduction.sequential.trainer import task_errors, train_sequentially
from landscope.sampling import MinibatchOrder


def learn_second(setup, rows, watch, penalty=None):
    """The result and the weights at the watched steps, from the end of the first task."""
    space, weights = ls.ParameterSpace.of(setup.model), []
    training = dataclasses.replace(setup.training, max_steps=max(watch))
    with unchanged(setup.model):
        result = train_sequentially(
            setup.model, setup.tasks, MethodSettings("none"), training, memory=HeldPenalty(setup.model, penalty),
            earlier=rows, watch=watch, on_observation=lambda *_: weights.append(space.flatten(setup.model)),
        )  # fmt: skip
    return result, torch.stack(weights)


def test_learning_from_one_state_depends_on_nothing_but_its_seed():
    setup = prepared()
    task, rows = learn_first(setup)
    first, weights = learn_second(setup, rows, [0, 1, 5, 30])
    again, same = learn_second(setup, rows, [0, 1, 5, 30])
    assert torch.equal(ls.ParameterSpace.of(setup.model).flatten(setup.model), task.w1)
    assert first.watched_step.tolist() == [0, 1, 5, 30]
    assert torch.equal(first.watched_error, again.watched_error)
    assert torch.equal(weights, same)
    assert torch.equal(weights[0], task.w1)
    assert torch.equal(first.error[0], first.watched_error[0]), "the row of the first task is carried over"


def test_learning_with_a_penalty_is_plain_descent_and_an_implicit_step():
    setup = prepared()
    task, rows = learn_first(setup)
    penalty = COMPARED["ldc-floor"].method.penalty(task, 5)
    _, weights = learn_second(setup, rows, [3], penalty)
    twin = copy.deepcopy(setup.model)
    parameter = dict(twin.named_parameters())["2.weight"]
    inputs, labels = setup.tasks[1].train
    order = MinibatchOrder(len(labels), 10, "reshuffled", setup.training.order(1))
    for batch in order.epoch(0)[:3]:
        (slope,) = torch.autograd.grad(nn.functional.cross_entropy(twin(inputs[batch]), labels[batch]), parameter)
        with torch.no_grad():
            parameter.sub_(0.1 * slope)
            parameter.copy_(penalty.proximal_step(parameter.flatten(), 0.1).view(12, 12))
    assert torch.allclose(weights[-1], parameter.detach().flatten(), atol=1e-6)


def test_the_library_method_is_its_penalty_by_hand():
    """The modes of a task are those of its own window, however long that is."""
    setup = prepared()
    task, rows = learn_first(setup)
    assert len(task.trajectory) == setup.training.window(setup.tasks[0].train) == 64
    by_hand, _ = learn_second(setup, rows, [40], COMPARED["ldc-floor"].method.penalty(task, 5).with_strength(4.0))
    result = learn_all(prepared(), "ldc-floor", 4.0, 5, watch=[40])
    assert result.watched_task.tolist() == [0, 1]
    assert torch.equal(result.watched_error[1], by_hand.watched_error[0])
    assert int(result.n_stored[0]) == COMPARED["ldc-floor"].method.penalty(task, 5).n_stored


def test_the_leading_fisher_directions_are_eigenvectors():
    task, _ = learn_first(prepared())
    penalty = COMPARED["fisher"].method.penalty(task, 3)
    fisher, values = task.risk.fisher_information(), 2 * penalty.stiffness.double()
    for direction, value in zip(penalty.directions, values, strict=True):
        product = fisher.product(task.w1, direction.to(task.w1))
        assert torch.allclose(product.double(), value * direction.double(), atol=1e-3 * float(values[0]))


def test_penalties_of_different_kinds_are_added_up():
    task, _ = learn_first(prepared())
    low, diagonal, layer = (COMPARED[name].method.penalty(task, 4) for name in ("ldc-no-floor", "ewc", "kfac"))
    w = task.w1 + 0.1
    for first, second in ((low, low), (low, diagonal), (diagonal, diagonal), (layer, low), (layer, layer)):
        both = accumulate(first, second)
        assert float(both(w)) == pytest.approx(float(first(w) + second(w)), rel=1e-5)
    assert isinstance(accumulate(low, low), ls.penalties.QuadraticPenalty)


def test_metrics_are_those_of_the_literature():
    error = torch.tensor([[0.1, 0.9, 0.9], [0.5, 0.2, 0.9], [0.4, 0.6, 0.0]]).double()
    result = learn_all(prepared(THREE, epochs=1, window_epochs=0), "none")
    result = dataclasses.replace(result, error=error, tasks=("a", "b", "c"))
    assert result.average_error == pytest.approx(1 / 3)
    assert result.forgetting == pytest.approx(((0.4 - 0.1) + (0.6 - 0.2)) / 2)
    assert result.backward_transfer == pytest.approx(((0.1 - 0.4) + (0.2 - 0.6)) / 2)


@pytest.mark.parametrize("method", ["none", "ldc-floor", "ewc", "kfac", "l2", "joint"])
def test_three_tasks_in_sequence(method, tmp_path):
    setup, observations = prepared(THREE, epochs=10), []
    strength = None if method in ("none", "joint") else 4.0
    result = learn_all(setup, method, strength, 5, 6, watch=range(20, 10**6, 20),
                       on_observation=lambda *seen: observations.append(seen))  # fmt: skip
    assert result.error.shape == (3, 3)
    assert torch.equal(result.error[-1], task_errors(setup.model, setup.tasks, setup.training))
    assert len(result.watched_step) == len(observations) > 3
    assert result.learnt[0]
    if method == "ldc-floor":
        assert result.n_stored.tolist()[1] <= 7 * result.dim + 6
        lost = learn_all(prepared(THREE, epochs=10), "none")
        assert result.error[-1, 0] < lost.error[-1, 0] - 0.3
    if method == "ewc":
        assert result.n_stored.tolist()[0] == 2 * result.dim
    if method == "joint":
        assert result.average_error < 0.1
    loaded = ls.load(ls.save(result, tmp_path / "result.zarr.zip"), ContinualResult)
    assert torch.equal(loaded.error, result.error)
    assert loaded.rows()[1].n_steps == int(result.n_steps[1])


def test_pretraining_freezes_what_it_learnt_and_starts_the_rest_anew():
    settings = Settings(train_samples=300)
    setup = prepare_class_tasks(settings, PAIR, "tasks", epochs=7)
    space = ls.ParameterSpace.of(setup.model)
    assert setup.tasks[0].train[0].shape[1] == 50
    fresh = mlp([64, 50, 50, 10], seed=10_000)
    assert torch.equal(space.flatten(setup.model), fresh[2].weight.flatten().detach())
    assert space.names == ("2.weight",)
    assert setup.training.epochs == 7
    whole = prepare_class_tasks(settings, PAIR, "none")
    assert len(ls.ParameterSpace.of(whole.model).names) == 3


@pytest.mark.filterwarnings("ignore:64 recorded steps")
def test_the_label_tells_when_fewer_modes_moved_than_were_asked_for():
    result = learn_all(prepared(epochs=10), "ldc-floor", 4.0, 2000)
    assert result.n_held[0] < 2000
    assert result.label == f"LDC with floor, λ = 4, 2000 modes a task ({result.n_held[0]} held)"
    assert result.n_steps.min() > 0


def test_a_file_name_states_the_numbers_of_a_method():
    assert MethodSettings("ldc-floor", 4.0, n_modes=200, rank=600).file_name == "ldc-floor-4-200-rank600"
    assert MethodSettings("none", n_modes=200, rank=600).file_name == "none"
    with pytest.raises(InputError, match="method to be one of"):
        MethodSettings("ldc-flor", 4.0)
