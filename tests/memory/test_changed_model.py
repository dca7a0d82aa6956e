"""Models whose parameters change between tasks: more words, another head, merged adapters."""

import contextlib
import copy
import math

import pytest
import torch
from torch import nn

import landscope as ls
from blobs import CRITERION, learn, network, sgd, task
from landscope.errors import InputError, LandscopeWarning, StorageError
from landscope.memory import EWC, Replay
from landscope.memory.between_tasks.fingerprint import Fingerprint

METHODS = ["basin", EWC("empirical"), "ldc"]


def kept(model, method="basin", **options):
    memory, optimizer = ls.TaskMemory(model, method=method, strength=1.0, n_modes=4, window=30, **options), sgd(model)
    with memory.training(optimizer):
        learn(model, optimizer, task(0), 60, torch.Generator().manual_seed(0))
    memory.consolidate(CRITERION, task(0))
    return memory


def with_more_classes(model, count=5):
    """A head with further rows; the first ones stay."""
    head = nn.Linear(24, count)
    with torch.no_grad():
        head.weight[:3], head.bias[:3] = model[4].weight, model[4].bias
    model[4] = head


def train(memory, steps=5):
    optimizer = sgd(memory.model)
    with memory.training(optimizer):
        learn(memory.model, optimizer, task(1), steps, torch.Generator())


@pytest.mark.parametrize("method", METHODS, ids=["basin", "ewc", "ldc"])
@pytest.mark.parametrize("loaded", [False, True])
def test_a_head_of_more_classes_is_held_in_the_part_that_it_had(method, loaded):
    model = network()
    memory = kept(model, method)
    old, w1 = memory.held, memory.space.flatten(model)
    state = memory.state_dict()
    with_more_classes(model)
    words = r"changed since .*held in the part that both shapes have: 4\.weight, 4\.bias"
    if loaded:
        memory = ls.TaskMemory(model, method=method, strength=1.0, n_modes=4, window=30)
        with pytest.warns(UserWarning, match=words):
            memory.load_state_dict(state)
    else:
        with pytest.warns(UserWarning, match=words):
            train(memory, steps=1)
    assert memory.held.dim == memory.space.dim == len(w1) + 2 * 25
    before, after = (torch.randn(len(w1)) * 0.1 for _ in range(2))
    shared = torch.cat([torch.arange(len(w1) - 75), len(w1) - 75 + torch.arange(72), len(w1) + 45 + torch.arange(3)])
    point = memory.space.flatten(model)
    point[shared] = w1 + before
    assert float(memory.held(point)) == pytest.approx(float(old(w1 + before)), rel=1e-3)
    other = point.clone()
    other[len(w1) - 3 : len(w1) + 45] += 1.0  # the rows of the new classes
    assert float(memory.held(other)) == pytest.approx(float(memory.held(point)), rel=1e-6)
    train(memory)
    memory.consolidate(CRITERION, task(1))
    assert memory.n_tasks == 2
    assert float(memory.held(memory.space.flatten(model) + after.new_ones(memory.space.dim))) > 0


def test_further_tasks_of_the_default_add_to_one_product_a_layer():
    model = network()
    memory = kept(model)
    with_more_classes(model)
    with pytest.warns(UserWarning, match="changed since"):
        train(memory)
    memory.consolidate(CRITERION, task(1))
    assert len(memory.held.parts) == 3


def test_a_new_head_of_another_size_is_not_held_and_that_is_said():
    model = network()
    memory = kept(model)
    model[4] = nn.Linear(24, 7)
    with pytest.warns(UserWarning, match=r"no longer held, as shape and values are others: 4\.weight, 4\.bias"):
        train(memory)
    pushed = memory.held.gradient(memory.space.flatten(model) + 1.0)
    assert float(pushed[memory.space.columns(["4.weight", "4.bias"])].abs().max()) == 0
    assert float(pushed[memory.space.columns(["0.weight"])].abs().max()) > 0


def test_layers_that_came_or_went_are_named():
    model = network()
    memory = kept(model)
    model[4] = nn.Sequential(nn.Linear(24, 8), nn.Linear(8, 3))
    words = r"gone or not selected: 4\.weight, 4\.bias; new, so not held by earlier tasks: 4\.0\.weight"
    with pytest.warns(UserWarning, match=words):
        train(memory)
    stranger = ls.TaskMemory(nn.Linear(3, 4), strength=1.0, n_modes=4, window=30)
    with pytest.raises(StorageError, match="parameters"):
        stranger.load_state_dict(memory.state_dict())


def test_nothing_shared_is_an_error_and_leaves_the_memory():
    model = nn.Sequential(nn.Linear(2, 3))
    memory = kept(model)
    model[0] = nn.Sequential(nn.Linear(2, 3))
    with pytest.raises(InputError, match=r"a model with some of the weights 0\.weight"):
        train(memory)
    assert memory.n_tasks == 1


def test_a_budget_goes_on_and_says_what_it_lost():
    model = network()
    memory = ls.TaskMemory(model)
    memory.budget(0.1, samples=20)
    memory.consolidate(CRITERION, task(0))
    state = memory.state_dict()
    model[4] = nn.Linear(24, 5)  # other values: its outputs for the old labels say nothing
    again = ls.TaskMemory(copy.deepcopy(model))
    words = (
        r"left out: the samples of the budget, as 4\.weight, 4\.bias no longer contain the values with which these "
        "were learnt: the rise of 'task 1' can no longer be measured, so the rise is predicted from now on"
    )
    with pytest.warns(UserWarning, match=words):
        train(memory)
    assert memory.rise.measured is None
    assert memory.rise.predicted > 0
    lost = pytest.warns(UserWarning, match="no samples of its tasks, so the rise is predicted from now on")
    with lost, pytest.warns(UserWarning, match="no longer held, as shape"):
        again.load_state_dict(state)
    train(again)
    assert len(again.state_dict()["budget"]["w1"]) == again.space.dim


def loss_of_first(model):
    return loss_on(model, task(0))


def loss_on(model, data):
    with torch.no_grad():
        return float(CRITERION(model(data[0]), data[1]))


def by_losses(model, batch):
    return nn.functional.cross_entropy(model(batch[0]), batch[1], reduction="none")


def learnt_with_budget(is_closure=False, **options):
    model = network()
    learn(model, sgd(model), task(0), 150, torch.Generator().manual_seed(1))
    loss = {"losses": by_losses, "data": [task(0)]} if is_closure else {"criterion": CRITERION, "data": task(0)}
    return ls.keep(model, **loss, **{"budget": 0.2, "absolute": 0.0, "samples": 10_000} | options)


@pytest.mark.parametrize("is_closure", [False, True])
def test_the_samples_of_a_budget_stay_where_a_head_grew(is_closure):
    memory = learnt_with_budget(is_closure)
    before = loss_of_first(memory.model)
    with_more_classes(memory.model)
    with torch.no_grad():
        memory.model[4].bias[3:] = -10.0
    with pytest.warns(UserWarning, match=r"changed since .*held in the part") as told:
        train(memory, steps=40)
    assert "left out" not in str(told[0].message)
    assert memory.rise.measured == pytest.approx(math.log(loss_of_first(memory.model) / before), abs=1e-5)
    assert 0 < memory.rise.measured <= memory.rise.allowed == pytest.approx(math.log(1.2))
    memory.consolidate(CRITERION, task(1))
    train(memory, steps=5)
    assert memory.rise.by_task.keys() == {"task 1", "task 2"}


def test_new_classes_that_use_up_a_budget_are_told_and_it_counts_from_there():
    memory = learnt_with_budget(is_closure=False)
    with_more_classes(memory.model)
    with torch.no_grad():
        memory.model[4].bias[3:] = 2.0
    resized = loss_of_first(memory.model)
    with (
        pytest.warns(LandscopeWarning, match=r"new parameters alone.*raise the loss of task 1 by .* %"),
        pytest.warns(UserWarning, match="changed since"),
    ):
        train(memory)
    assert memory.rise.measured == pytest.approx(math.log(loss_of_first(memory.model) / resized), abs=1e-5)
    assert memory.rise.measured <= memory.rise.allowed


@pytest.mark.parametrize("method", ["basin", None])
def test_a_replaced_head_leaves_nothing_to_measure_on_beside_replay(method):
    """A budget that measured earlier tasks with the new head would hold it where it began."""
    memory = learnt_with_budget(method=method, replay=16, samples=20)
    memory.model[4] = nn.Linear(24, 5)
    begin = memory.model[4].weight.clone()
    ends = "the rise is predicted" if method else "the budget ends, and the tasks are replayed without one"
    with pytest.warns(UserWarning, match=f"rise of 'task 1' can no longer be measured, so {ends}"):
        train(memory)
    assert not torch.equal(memory.model[4].weight, begin)
    assert memory.rise is None if method is None else memory.rise.measured is None
    memory.consolidate(CRITERION, task(1))
    assert memory.state_dict()["replayed"]["held_out"] is None
    train(memory)


def test_a_state_with_samples_of_a_replaced_head_is_loaded_without_them():
    options = {"method": None, "replay": Replay(16, distillation=0.0), "samples": 20}
    memory = learnt_with_budget(**options)
    model = copy.deepcopy(memory.model)
    model[4] = nn.Linear(24, 5)
    again = ls.TaskMemory(model, method=None, replay=options["replay"])
    with pytest.warns(UserWarning, match="a state of a memory has no samples of its tasks, so the budget ends"):
        again.load_state_dict(memory.state_dict())
    assert again.rise is None
    train(again)


@pytest.mark.parametrize("by_function", [False, True])
def test_what_new_parameters_use_up_is_also_told_beside_replay_and_of_a_function(by_function):
    options = {"samples": 0} if by_function else {"method": None, "replay": 16, "samples": 20}
    memory = learnt_with_budget(**options)
    if by_function:
        memory.budget(0.2, absolute=0.0, samples=lambda model: {"birds": loss_of_first(model)})
    with_more_classes(memory.model)
    with torch.no_grad():
        memory.model[4].bias[3:] = 2.0
    name = "birds" if by_function else "task 1"
    held = pytest.warns(UserWarning, match="held in the part") if by_function else contextlib.nullcontext()  # else none
    with held, pytest.warns(LandscopeWarning, match=f"new parameters alone.*raise the loss of {name} by .* %"):
        train(memory, steps=20)
    assert memory.rise.measured <= memory.rise.allowed == pytest.approx(math.log(1.2))


def test_replay_with_a_head_of_fewer_outputs_says_what_it_needs():
    memory = learnt_with_budget(replay=16, samples=20)
    memory.model[4] = nn.Linear(24, 2)
    x, y = task(1)
    optimizer = sgd(memory.model)
    changed = pytest.warns(UserWarning, match="can no longer be measured")
    refused = pytest.raises(
        InputError, match=r"labels below the number of outputs, 2; got 2\. Earlier tasks are replayed"
    )
    with changed, refused, memory.training(optimizer):
        learn(memory.model, optimizer, (x, y % 2), 1, torch.Generator())


def test_rows_of_the_smaller_model_are_left_out():
    model = network()
    memory = kept(model, "ldc")
    train(memory)
    with_more_classes(model)
    with pytest.warns(UserWarning, match=r"both shapes have: 4\.weight, 4\.bias; left out: the rows recorded"):
        train(memory, steps=12)
    assert len(memory.state_dict()["rows"]["weights"]) == 12


class LowRank(nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer.requires_grad_(False)
        self.a, self.b = nn.Parameter(torch.randn(2, layer.in_features)), nn.Parameter(torch.zeros(3, 2))

    def forward(self, x):
        return self.layer(x) + x @ self.a.T @ self.b.T

    def merge(self):
        with torch.no_grad():
            self.layer.weight += self.b @ self.a
            self.b.zero_()


def test_a_merged_adapter_is_recognised_by_its_base():
    """After a merge, fresh factors of the same names mean another model: nothing is held silently."""
    model = network().requires_grad_(False)
    model[4] = LowRank(model[4])
    memory = ls.TaskMemory(model, strength=1.0)
    optimizer = sgd(model)
    with memory.training(optimizer):
        learn(model, optimizer, task(0), 60, torch.Generator())
    memory.consolidate(CRITERION, task(0))
    state, unmerged = memory.state_dict(), copy.deepcopy(model)
    model[4].merge()
    with pytest.raises(InputError, match=r"other values of 4\.layer\.weight.*If an adapter was merged"):
        train(memory)
    fresh = ls.TaskMemory(model, strength=1.0)
    with pytest.raises(StorageError, match=r"other values of 4\.layer\.weight"):
        fresh.load_state_dict(state)
    assert fresh.n_tasks == 0
    again = ls.TaskMemory(unmerged, strength=1.0)
    again.load_state_dict(state)
    train(again)


def words_and_head(n_words=7):
    """Frozen embeddings of words, and a head; the loss of the first seven words, each a class."""
    model = nn.Sequential(nn.Embedding(n_words, 6).requires_grad_(False), nn.Linear(6, 7))
    return model, (torch.arange(7).repeat(8), torch.arange(7).repeat(8))


def with_more_words(model, count=11, changed=0.0):
    more = nn.Embedding(count, 6).requires_grad_(False)
    kept_rows = min(count, model[0].num_embeddings)
    more.weight[:kept_rows] = model[0].weight[:kept_rows] + changed
    model[0] = more


def train_words(memory, n_words=11):
    x = torch.arange(n_words).repeat(4)
    optimizer = sgd(memory.model)
    with memory.training(optimizer):
        learn(memory.model, optimizer, (x, x % 7), 10, torch.Generator())


def test_a_frozen_base_that_grew_is_no_other_base():
    """As the embeddings of more words beside adapters: what they were for the old words they still are."""
    model, old = words_and_head()
    learn(model, torch.optim.SGD(model[1].parameters(), lr=0.5), old, 60, torch.Generator())
    before = loss_on(model, old)
    memory = ls.keep(model, CRITERION, old, budget=0.2, absolute=0.0, samples=10_000)
    state, small = memory.state_dict(), copy.deepcopy(model)
    with_more_words(model)
    again = ls.TaskMemory(copy.deepcopy(model))
    assert memory.rise is None
    train_words(memory)
    assert memory.rise.measured == pytest.approx(math.log(loss_on(model, old) / before), abs=1e-5)
    with pytest.warns(UserWarning, match="a state of a memory has no samples"):
        again.load_state_dict(state)
    train_words(again)
    with_more_words(model, 15)
    train_words(memory, 15)
    for changed, count in ((0.1, 11), (0.0, 5)):
        other = copy.deepcopy(small)
        with_more_words(other, count, changed)
        fresh = ls.TaskMemory(other)
        with pytest.raises(StorageError, match=r"other values of 0\.weight.*If an adapter was merged"):
            fresh.load_state_dict(state)


@pytest.mark.parametrize("is_closure", [False, True])
def test_a_budget_measures_weights_that_were_frozen_and_learn_later(is_closure):
    """They are not held, and a warning says so; but what they do to the old task is no secret."""
    model = network()
    learn(model, sgd(model), task(0), 150, torch.Generator().manual_seed(1))
    model[0].requires_grad_(False)
    before = loss_of_first(model)
    loss = {"losses": by_losses, "data": [task(0)]} if is_closure else {"criterion": CRITERION, "data": task(0)}
    memory = ls.keep(model, **loss, budget=0.2, absolute=0.0, samples=10_000)
    model[0].requires_grad_(True)
    with pytest.warns(UserWarning, match=r"moves 0\.weight, 0\.bias, which the memory does not protect"):
        train(memory, steps=30)
    assert memory.rise.measured == pytest.approx(math.log(loss_of_first(model) / before), abs=1e-5)
    assert memory.rise.measured > memory.rise.allowed


def test_a_budget_measures_a_task_with_its_own_head_where_the_shared_weights_were_selected():
    model = network()
    learn(model, sgd(model), task(0), 150, torch.Generator().manual_seed(1))
    memory = ls.keep(model, CRITERION, task(0), select=["0.*", "2.*"], budget=0.2, absolute=0.0, samples=10_000)
    head, before = model[4], loss_of_first(model)
    model[4] = nn.Linear(24, 3)
    train(memory, steps=30)
    model[4] = head
    assert memory.rise.measured == pytest.approx(math.log(loss_of_first(model) / before), abs=1e-5)


def test_frozen_weights_that_learn_later_are_no_other_base():
    model = network()
    model[0].requires_grad_(False)
    memory = ls.TaskMemory(model, ["2", "4"], strength=1.0)
    memory.consolidate(CRITERION, task(0))
    model[0].requires_grad_(True)
    with torch.no_grad():
        model[0].weight += 1.0
    train(memory)


def test_a_fingerprint_sees_a_change_of_every_weight_in_any_precision():
    model = nn.Linear(40, 30).requires_grad_(False).half()
    model.register_parameter("w", nn.Parameter(torch.zeros(3).half()))
    space = ls.ParameterSpace.of(model)
    found = Fingerprint.of(model, space, space.flatten(model))
    assert found.changed_base(model) == []
    model.weight += 0.5
    assert found.changed_base(model) == ["weight"]
    assert Fingerprint(**found.state()).changed_base(model) == ["weight"]


def test_a_state_of_the_default_holds_little_beside_the_penalty():
    """Nothing of the window, and of every parameter at most 64 values by which it is recognised."""
    model = network()
    memory = kept(model)
    state = memory.state_dict()
    assert state["rows"] is None
    values = sum(value.numel() for value in tensors(state["penalty"]) if value.is_floating_point())
    assert values == memory.n_stored
    recognised = list(tensors(state["fingerprint"]))
    assert sum(value.numel() for value in recognised) == sum(min(p.numel(), 64) for p in model.parameters())
    positions = sum(value.numel() for value in tensors(state["penalty"]) if not value.is_floating_point())
    assert positions <= 3 * 2 * (24 + 24 + 3)  # start, step and length of two runs a row


def tensors(value):
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from tensors(each)


def test_a_changed_model_ends_a_budget_that_only_measured_at_the_end():
    memory = ls.TaskMemory(network(), strength=1.0)
    memory.budget(0.1, samples=20, at_end=True)
    memory.consolidate(CRITERION, task(0))
    memory.model[4] = nn.Linear(24, 5)
    with pytest.warns(UserWarning, match="the budget ends, and the tasks are held at the strength of the memory"):
        train(memory)
    assert memory.rise is None


def test_who_adds_adapters_to_a_held_model_is_told_to_add_them_first():
    base = nn.Sequential(nn.Linear(2, 2))
    memory = ls.keep(base, nn.CrossEntropyLoss(), (torch.randn(8, 2), torch.arange(8) % 2))
    base[0] = nn.Sequential(base[0].requires_grad_(False), nn.Linear(2, 2))  # as peft wraps a layer
    with pytest.raises(InputError, match="add the adapters first"):
        memory.training(torch.optim.SGD(base[0][1].parameters(), lr=0.1)).__enter__()
