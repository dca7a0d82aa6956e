"""What a network remembers of its tasks, in a plain loop."""

import contextlib
import copy
import dataclasses
import warnings

import pytest
import torch
from torch import nn

import landscope as ls
from blobs import CRITERION, learn, network, right, sgd, task
from landscope.errors import InputError, NonFiniteError, StorageError
from landscope.memory import LDC
from landscope.memory.accumulate import task_penalty
from landscope.memory.snapshot import TaskSnapshot
from landscope.memory.warnings import UnusedContextWarning
from landscope.reproduction.sequential.ablations import COMPARED, FreshVarianceLDC, LowFloorLDC, RandomDirections


def through_two_tasks(memory, model, steps=1500):
    optimizer, generator = sgd(model), torch.Generator().manual_seed(1)
    for number in range(2):
        with memory.training(optimizer):
            learn(model, optimizer, task(number), steps, generator)
        memory.consolidate(CRITERION, task(number))
    return [right(model, task(number)) for number in range(2)]


def test_the_first_task_is_kept_where_it_is_lost_without():
    lost = network()
    optimizer, generator = sgd(lost), torch.Generator().manual_seed(1)
    for number in range(2):
        learn(lost, optimizer, task(number), 1500, generator)
    kept = network()
    old, new = through_two_tasks(ls.TaskMemory(kept), kept)
    assert right(lost, task(0)) < 0.75
    assert old > 0.95
    assert new > 0.8


def test_it_is_the_penalty_that_the_parts_make_by_hand():
    model, by_hand = network(), network()
    memory = ls.TaskMemory(model, n_modes=9, window=60)
    for one, around in ((model, memory.training), (by_hand, None)):
        optimizer, generator = sgd(one), torch.Generator().manual_seed(2)
        if around is None:
            learn(one, optimizer, task(0), 140, generator)
            with ls.TrajectoryRecorder(one, optimizer) as recorder:
                learn(one, optimizer, task(0), 60, generator)
        else:
            with around(optimizer):
                learn(one, optimizer, task(0), 200, generator)
    held = memory.consolidate(CRITERION, task(0))
    risk = ls.EmpiricalRisk(by_hand, CRITERION, task(0))
    modes = ls.principal_modes(recorder.trajectory())
    widths = ls.flatness(risk, risk.w0, modes.directions[:9])
    expected = ls.penalties.landscape_dependent_constraint(risk.w0, modes, widths, n_modes=9)
    assert torch.equal(held.anchor, expected.anchor)
    w = risk.w0 + torch.randn(5, risk.space.dim)
    assert torch.allclose(held(w), expected(w), rtol=1e-4)


def test_pieces_of_a_training_are_one_window():
    windows = []
    for pieces in ((50,), (13, 0, 37), (49, 1)):
        model = network()
        memory, generator = ls.TaskMemory(model, every=3, window=7), torch.Generator().manual_seed(3)
        for steps in pieces:
            optimizer = sgd(model)  # a new one each time
            empty = pytest.warns(UserWarning, match="took no step") if steps == 0 else contextlib.nullcontext()
            with empty, memory.training(optimizer):
                learn(model, optimizer, task(0), steps, generator)
        windows.append(memory.state_dict()["rows"])
    assert windows[0]["steps"].tolist() == [30, 33, 36, 39, 42, 45, 48]
    for other in windows[1:]:
        assert all(torch.equal(windows[0][name], other[name]) for name in ("steps", "weights"))


@pytest.mark.parametrize("stop", [0, 40, 100, 130])
@pytest.mark.parametrize("rank", [None, 6])
def test_saved_killed_and_resumed_it_gives_the_same_bits(tmp_path, stop, rank):
    """Two tasks of 100 steps; stopped after some of all 200 and gone on with by new objects."""

    def begun():
        model = network()
        return model, torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9), ls.TaskMemory(
            model, n_modes=5, window=30, rank=rank
        )  # fmt: skip

    def steps(model, optimizer, memory, first, last):
        for step in range(first, last):
            with memory.training(optimizer):
                learn(model, optimizer, task(step // 100), 1, torch.Generator().manual_seed(step))
            if step % 100 == 99:
                memory.consolidate(CRITERION, task(step // 100))

    whole = begun()
    steps(*whole, 0, 200)
    first = begun()
    steps(*first, 0, stop)
    torch.save([part.state_dict() for part in first], tmp_path / "checkpoint.pt")
    second = begun()
    for part, state in zip(second, torch.load(tmp_path / "checkpoint.pt", weights_only=True), strict=True):
        part.load_state_dict(state)
    steps(*second, stop, 200)
    assert torch.equal(whole[2].space.flatten(whole[0]), second[2].space.flatten(second[0]))
    w = torch.randn(3, whole[2].space.dim)
    assert torch.equal(whole[2].held(w), second[2].held(w))


def test_many_tasks_take_the_memory_of_one():
    model = network()
    memory, optimizer, generator = ls.TaskMemory(model, n_modes=8, rank=16, window=60), sgd(model), torch.Generator()
    stored = []
    for number in range(8):
        with memory.training(optimizer):
            learn(model, optimizer, task(number), 80, generator)
        memory.consolidate(CRITERION, task(number))
        stored.append(memory.held.n_stored)
    dim = memory.space.dim
    assert stored[0] <= 9 * dim + 8
    assert max(stored) <= 17 * dim + 16
    assert memory.n_tasks == 8


@pytest.mark.parametrize("method", ["ewc", "kfac", "l2"])
def test_methods_that_look_at_the_loss_alone_record_nothing(method):
    model = network()
    memory, optimizer = ls.TaskMemory(model, method=method, strength=1.0), sgd(model)
    with memory.training(optimizer):
        learn(model, optimizer, task(0), 3, torch.Generator())
    assert memory.state_dict()["rows"] is None
    memory.consolidate(CRITERION, task(0))
    assert memory.held.dim == memory.space.dim


def test_a_penalty_in_the_loss_has_the_slope_of_the_penalty():
    model = network()
    memory, optimizer = ls.TaskMemory(model, implicit=False, n_modes=5, window=30), sgd(model)
    assert float(memory.penalty()) == 0
    with memory.training(optimizer):
        learn(model, optimizer, task(0), 40, torch.Generator())
    memory.consolidate(CRITERION, task(0))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.01)
    model.zero_grad()
    memory.penalty().backward()
    slope = torch.cat([parameter.grad.flatten() for parameter in model.parameters()])
    assert torch.allclose(slope, memory.held.gradient(memory.space.flatten(model)), rtol=1e-4, atol=1e-6)
    twin, before = copy.deepcopy(model), memory.space.flatten(model)
    with pytest.warns(UserWarning, match="no gradient of it was taken"), memory.training(optimizer):
        learn(model, optimizer, task(1), 1, torch.Generator().manual_seed(5))
    learn(twin, sgd(twin), task(1), 1, torch.Generator().manual_seed(5))
    assert torch.equal(memory.space.flatten(model), memory.space.flatten(twin))  # no implicit step on top
    assert not torch.equal(before, memory.space.flatten(model))
    with memory.training(optimizer):
        (CRITERION(model(task(1)[0]), task(1)[1]) + memory.penalty()).backward()
        optimizer.step()


def test_a_penalty_in_the_loss_beside_implicit_steps_is_told_once():
    model = network()
    memory, optimizer = ls.TaskMemory(model, method="l2", strength=0.1), sgd(model)
    memory.consolidate(CRITERION, task(0))
    with memory.training(optimizer):
        assert memory.penalty() == 0  # a look at it is no gradient
        with pytest.warns(UserWarning, match="count twice"):
            memory.penalty().backward()
        memory.penalty().backward()  # warnings are errors here
        optimizer.step()


def test_weights_of_its_own_and_a_head_a_task():
    class Headed(nn.Module):
        def __init__(self):
            super().__init__()
            self.trunk = nn.Sequential(nn.Linear(2, 24), nn.ReLU())
            self.heads = nn.ModuleList(nn.Linear(24, 3) for _ in range(2))
            self.head = 0

        def forward(self, x):
            return self.heads[self.head](self.trunk(x))

    torch.manual_seed(0)
    model = Headed()
    memory, generator = ls.TaskMemory(model, "trunk"), torch.Generator()
    for number in range(2):
        model.head = number
        optimizer = torch.optim.Adam([*model.trunk.parameters(), *model.heads[number].parameters()], lr=0.01)
        with memory.training(optimizer):
            learn(model, optimizer, task(number), 300, generator)
        memory.consolidate(CRITERION, task(number))
    assert memory.space.names == ("trunk.0.weight", "trunk.0.bias")
    assert right(model, task(1)) > 0.9
    model.head = 0
    assert right(model, task(0)) > 0.9


def test_what_does_not_fit_is_refused_and_changes_nothing():
    model = network()
    memory, optimizer = ls.TaskMemory(model, n_modes=4, window=30), sgd(model)
    with pytest.raises(InputError, match="recorded since the last task"):
        memory.consolidate(CRITERION, task(0))
    with memory.training(optimizer):
        learn(model, optimizer, task(0), 20, torch.Generator())
        with pytest.raises(InputError, match="one training at a time"), memory.training(optimizer):
            pass
        with pytest.raises(InputError, match="a training that has ended"):
            memory.consolidate(CRITERION, task(0))
    with pytest.raises(InputError, match="a risk on"):
        memory.consolidate_at(
            ls.EmpiricalRisk(model, CRITERION, task(0), space=ls.ParameterSpace.of(model, "2.weight"))
        )
    memory.consolidate(CRITERION, task(0))
    stranger = network()
    with pytest.raises(InputError, match="an optimiser without"), memory.training(sgd(stranger)):
        pass
    model[2] = nn.Linear(24, 12)
    with pytest.raises(InputError, match="2"), memory.training(sgd(model)):
        pass
    assert memory.n_tasks == 1
    with pytest.raises(InputError, match="a strength for ewc"):
        ls.TaskMemory(network(), method="ewc")
    with pytest.raises(InputError, match="method to be one of"):
        ls.TaskMemory(network(), method="magic")


def test_an_optimiser_that_does_not_fit_is_refused_before_anything_is_learnt():
    model = network()
    memory = ls.TaskMemory(model)
    first, *others = model.parameters()
    groups = [{"params": [first]}, {"params": others, "lr": 0.01}]
    for optimizer, message in (
        (torch.optim.SGD(others, lr=0.1), "an optimiser without 0.weight"),
        (torch.optim.SGD(groups, lr=0.1), "one learning rate for the selected weights"),
    ):
        with pytest.raises(InputError, match=message), memory.training(optimizer):
            pass
    loose, optimizer = ls.TaskMemory(model, implicit=False), torch.optim.SGD(groups, lr=0.1)
    with loose.training(optimizer):
        learn(model, optimizer, task(0), 1, torch.Generator())


def test_an_optimiser_that_takes_no_step_and_a_wrapper_are_told():
    class Wrapper(torch.optim.Optimizer):
        def __init__(self, optimizer):
            self.optimizer, self.param_groups = optimizer, optimizer.param_groups

    model = network()
    memory, optimizer = ls.TaskMemory(model, n_modes=4, window=30), sgd(model)
    for begin in (memory.training, lambda wrapper: ls.TrajectoryRecorder(model, wrapper)):
        with pytest.raises(InputError, match=r"a wrapper, Wrapper.*optimizer\.optimizer"), begin(Wrapper(optimizer)):
            pass
    with pytest.warns(UserWarning, match="took no step"), memory.training(optimizer):
        learn(model, sgd(model), task(0), 5, torch.Generator())


def test_layers_that_were_frozen_when_it_was_made_are_named():
    model = network()
    model[0].requires_grad_(requires_grad=False)
    default, chosen = ls.TaskMemory(model), ls.TaskMemory(model, "2.weight")
    model[0].requires_grad_(requires_grad=True)
    told = pytest.warns(UserWarning, match=r"moves 0.weight, 0.bias, which the memory does not protect")
    for memory, expected in ((default, told), (chosen, contextlib.nullcontext())):
        optimizer = sgd(model)
        with expected, memory.training(optimizer):
            learn(model, optimizer, task(0), 1, torch.Generator())


def test_short_and_still_windows_are_told():
    model = network()
    memory, generator = ls.TaskMemory(model, n_modes=20), torch.Generator()
    with pytest.warns(UserWarning, match="took no step"), memory.training(sgd(model)):
        pass
    with pytest.raises(InputError, match="recorded since the last task"):
        memory.consolidate(CRITERION, task(0))
    still = torch.optim.SGD(model.parameters(), lr=0.0)
    with memory.training(still):
        learn(model, still, task(0), 30, generator)
    with pytest.raises(InputError, match="30 identical rows"):
        memory.consolidate(CRITERION, task(0))
    few, optimizer = ls.TaskMemory(model, n_modes=20), sgd(model)
    with few.training(optimizer):
        learn(model, optimizer, task(0), 6, generator)
    with pytest.warns(UserWarning, match="6 recorded steps span at most 5 of"):
        few.consolidate(CRITERION, task(0))


def test_a_training_that_nobody_enters_is_told():
    model = network()
    memory, optimizer = ls.TaskMemory(model, n_modes=4, window=30), sgd(model)
    with pytest.warns(UnusedContextWarning, match="never entered, so nothing was recorded"):
        memory.training(optimizer)
    with memory.training(optimizer):
        learn(model, optimizer, task(0), 30, torch.Generator())


def test_weights_that_are_not_where_the_recording_ended_are_told():
    model, elsewhere = network(), network(seed=1)
    memory, optimizer = ls.TaskMemory(model, n_modes=4, window=30), sgd(model)
    with memory.training(optimizer):
        learn(model, optimizer, task(0), 60, torch.Generator())
    within = memory.state_dict()["rows"]["weights"][10]
    model.load_state_dict(memory.space.unflatten(within))  # such as the best of the last steps
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        memory.consolidate(CRITERION, task(0))
    with memory.training(optimizer):
        learn(model, optimizer, task(1), 60, torch.Generator())
    model.load_state_dict(elsewhere.state_dict())
    with pytest.warns(UserWarning, match="times farther from the last recorded weights"):
        memory.consolidate(CRITERION, task(1))
    assert torch.equal(memory.space.flatten(model), memory.space.flatten(elsewhere))


def test_layers_without_kronecker_factors_are_refused_before_anything_is_learnt():
    model = nn.Sequential(nn.Linear(2, 4), nn.LayerNorm(4), nn.Linear(4, 3))
    with pytest.raises(InputError, match=r"1.bias, 1.weight of LayerNorm"):
        ls.TaskMemory(model, method="kfac", strength=1.0)
    assert ls.TaskMemory(model, nn.Linear, method="kfac", strength=1.0).space.dim == 27


@pytest.mark.filterwarnings("ignore:the step size of Adafactor:UserWarning")
def test_an_optimiser_whose_steps_are_not_known_is_named():
    model = network()
    penalty = ls.penalties.distance_penalty(ls.ParameterSpace.of(model).flatten(model))
    optimizer = torch.optim.Rprop(model.parameters())
    with ls.ProximalSteps(penalty, model, optimizer), pytest.warns(UserWarning, match="the step size of Rprop"):
        learn(model, optimizer, task(0), 2, torch.Generator())
    for known in (sgd(model), torch.optim.NAdam(model.parameters()), torch.optim.RMSprop(model.parameters())):
        with ls.ProximalSteps(penalty, model, known):
            learn(model, known, task(0), 2, torch.Generator())
    loose = torch.optim.Adafactor(model.parameters())  # its eps is a pair
    with ls.ProximalSteps(penalty, model, loose):
        learn(model, loose, task(0), 2, torch.Generator())


def test_a_rank_bounds_one_task_too():
    model = network()
    memory, optimizer = ls.TaskMemory(model, n_modes=8, rank=3, window=60), sgd(model)
    with memory.training(optimizer):
        learn(model, optimizer, task(0), 80, torch.Generator())
    memory.consolidate(CRITERION, task(0))
    assert memory.n_stored == 4 * memory.space.dim + 3


def test_a_model_on_two_devices_is_refused():
    model = network()
    model[2].to("meta")
    with pytest.raises(InputError, match="one dtype on one device"):
        ls.TaskMemory(model)
    assert model[2].weight.device.type == "meta"
    assert ls.TaskMemory(model, "0.weight").space.names == ("0.weight",)


def test_weights_that_became_nan_are_told_and_the_rows_before_kept():
    model = network()
    memory, optimizer = ls.TaskMemory(model, window=30), sgd(model)

    def broken():
        with memory.training(optimizer):
            learn(model, optimizer, task(0), 5, torch.Generator())
            with torch.no_grad():
                model[0].weight.fill_(float("nan"))
            learn(model, optimizer, task(0), 2, torch.Generator())

    with pytest.raises(NonFiniteError, match="step 6"):
        broken()
    assert memory.state_dict()["rows"]["steps"].tolist() == [1, 2, 3, 4, 5]
    assert not optimizer._optimizer_step_post_hooks
    with pytest.raises(NonFiniteError, match="step 8"), memory.training(optimizer):
        learn(model, optimizer, task(0), 1, torch.Generator())
    assert memory.state_dict()["rows"]["steps"].tolist() == [1, 2, 3, 4, 5]


def test_rows_of_pieces_take_no_more_than_the_window():
    model = network()
    memory, optimizer = ls.TaskMemory(model, window=20), sgd(model)
    for _ in range(2):
        with memory.training(optimizer):
            learn(model, optimizer, task(0), 20, torch.Generator())
    weights = memory.state_dict()["rows"]["weights"]
    assert weights.untyped_storage().nbytes() == 20 * memory.space.dim * weights.element_size()


@pytest.mark.parametrize("method", [LDC(floor=False), LowFloorLDC(), RandomDirections()])
def test_a_loss_that_cannot_rise_that_far_holds_nothing_and_says_so(method):
    """At uniform answers to random labels no weights of this reach make the loss 1e6 times as large."""
    model = network()
    strength = 1.0 if method == RandomDirections() else None
    memory, optimizer = ls.TaskMemory(model, method=method, strength=strength, ratio=1e6, n_modes=3), sgd(model)
    with memory.training(optimizer):
        learn(model, optimizer, task(0), 20, torch.Generator())
    with pytest.raises(InputError, match="none within reach"):
        memory.consolidate(lambda outputs, _: outputs.tanh().mean(dim=1) + 2, task(0))
    assert memory.held is None


def test_states_of_something_else_are_refused():
    memory = ls.TaskMemory(network())
    with pytest.raises(StorageError, match="the state of a TaskMemory"):
        memory.load_state_dict({"weights": torch.zeros(2)})
    with pytest.raises(StorageError, match="n_modes"):
        memory.load_state_dict(ls.TaskMemory(network(), n_modes=3).state_dict())
    with pytest.raises(StorageError, match="parameters"):
        memory.load_state_dict(ls.TaskMemory(network(), "2.weight").state_dict())


def test_damaged_states_are_refused_and_change_nothing():
    memory = ls.TaskMemory(network(), n_modes=4, window=30)
    good = memory.state_dict()
    missing = {name: value for name, value in good.items() if name != "penalty"}
    wrong = ({"rows": "x"}, {"step": "x"}, {"format": 99}, {"n_tasks": 1}, {"step": -5})  # a task without its penalty
    for state in (missing, *(good | change for change in wrong)):
        with pytest.raises(StorageError, match="the state of a TaskMemory"):
            memory.load_state_dict(state)
    with pytest.raises(StorageError, match="the same settings"):
        memory.load_state_dict(good | {"settings": None})
    assert memory.state_dict() == good


def test_damaged_rows_and_penalties_are_refused():
    model = network()
    memory, optimizer = ls.TaskMemory(model, n_modes=4, window=30), sgd(model)
    for _ in range(2):
        with memory.training(optimizer):
            learn(model, optimizer, task(0), 30, torch.Generator())
        good = memory.state_dict()
        if memory.n_tasks == 0:
            memory.consolidate(CRITERION, task(0))
    rows, penalty = good["rows"], good["penalty"]
    for change in (
        {"rows": rows | {"weights": rows["weights"] * float("nan")}}, {"rows": {"weights": rows["weights"]}},
        {"rows": rows | {"weights": "x"}}, {"penalty": penalty | {"anchor": "x"}}, {"penalty": {}},
    ):  # fmt: skip
        with pytest.raises(StorageError):
            memory.load_state_dict(good | change)
    memory.load_state_dict(good)


def test_every_method_serves():
    model = network()
    optimizer = sgd(model)
    learn(model, optimizer, task(0), 400, torch.Generator())
    with ls.TrajectoryRecorder(model, optimizer) as recorder:
        learn(model, optimizer, task(0), 60, torch.Generator())
    finished = TaskSnapshot(ls.EmpiricalRisk(model, CRITERION, task(0)), recorder.trajectory())
    for method in COMPARED.values():
        penalty = task_penalty(finished, method, 2.0, 6)
        assert float(penalty(finished.w1)) == pytest.approx(0.0, abs=1e-9), method


@pytest.mark.parametrize("method", [LDC(), LDC(factored=True), FreshVarianceLDC()])
def test_layer_by_layer_it_is_the_sum_of_what_each_alone_gives(method):
    """With all but one layer frozen, the modes and the loss along them are those of that layer."""
    model = network()
    memory, optimizer = ls.TaskMemory(model, method=method, n_modes=4, window=60, per_layer=True), sgd(model)
    learn(model, optimizer, task(0), 200, torch.Generator().manual_seed(4))
    with memory.training(optimizer), ls.TrajectoryRecorder(model, optimizer, last=60) as recorder:
        learn(model, optimizer, task(0), 80, torch.Generator().manual_seed(5))
    held = memory.consolidate(CRITERION, task(0))
    w = memory.space.flatten(model) + 0.1 * torch.randn(memory.space.dim, generator=torch.Generator().manual_seed(6))
    alone = []
    for layer in ("0", "2", "4"):
        space = memory.space.part(layer)
        risk = ls.EmpiricalRisk(model, CRITERION, task(0), space=space)
        finished = TaskSnapshot(risk, recorder.trajectory().of_parameters(layer))
        alone.append((task_penalty(finished, method, 4.0, 4), w[memory.space.columns(space.names)]))
    if method != LDC(factored=True):  # no direction of any layer is held more softly than the floor of the stiffest
        floor = max(own.floor for own, _ in alone)
        alone = [
            (dataclasses.replace(own, floor=floor, stiffness=own.stiffness.clamp(min=floor)), v) for own, v in alone
        ]
    expected = sum(float(own(v)) for own, v in alone)
    assert float(held(w)) == pytest.approx(expected, rel=1e-3)
    slope = torch.autograd.grad(held(w.requires_grad_()), w)[0]
    assert torch.allclose(held.gradient(w.detach()), slope, rtol=1e-4, atol=1e-6)
    step = held.proximal_step(w.detach(), 0.1)
    assert torch.allclose(step + 0.1 * held.gradient(step), w.detach(), atol=1e-5)
    again = ls.penalties.load_penalty(held.state_dict())
    assert float(again(w.detach())) == float(held(w.detach()))


@pytest.mark.parametrize("per_layer", [False, True])
def test_layer_by_layer_a_task_is_kept_as_along_modes_of_all_weights(per_layer):
    """A direction of one layer is flat only while the others are at rest; held by its own floor alone, 70 % stay."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(256, 8, generator=generator)
    tasks = [(inputs, inputs[:, :3].argmax(1)), (moved := inputs + 6 * torch.eye(8)[7], moved[:, 3:6].argmax(1))]
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 12), nn.ReLU(), nn.Linear(12, 12), nn.ReLU(), nn.Linear(12, 3))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    memory = ls.TaskMemory(model, n_modes=20, window=200, per_layer=per_layer)
    with memory.training(optimizer):
        learn(model, optimizer, tasks[0], 1200, generator)
    memory.consolidate(CRITERION, tasks[0])
    with memory.training(optimizer):
        learn(model, optimizer, tasks[1], 600, generator)
    assert right(model, tasks[0]) > 0.9


def test_a_head_that_no_task_used_yet_is_told():
    model = network()
    model.add_module("unused", nn.Identity())
    model.unused.weight = nn.Parameter(torch.zeros(3))
    memory, optimizer = ls.TaskMemory(model, n_modes=4, window=30), sgd(model)
    with memory.training(optimizer):
        learn(model, optimizer, task(0), 30, torch.Generator())
    with pytest.warns(UserWarning, match=r"^unused.weight did not move.*pass select="):
        memory.consolidate(CRITERION, task(0))


def test_a_state_of_fewer_tasks_is_told():
    model = network()
    memory = ls.TaskMemory(model, method="l2", strength=1.0)
    before = memory.state_dict()
    memory.consolidate(CRITERION, task(0))
    with pytest.warns(UserWarning, match="has 0 tasks and the memory had 1"):
        memory.load_state_dict(before)


def test_layer_by_layer_many_tasks_are_merged_layer_by_layer():
    model = network()
    memory, optimizer = ls.TaskMemory(model, n_modes=4, rank=6, window=60, per_layer=True), sgd(model)
    for number in range(3):
        with memory.training(optimizer):
            learn(model, optimizer, task(number), 80, torch.Generator().manual_seed(number))
        memory.consolidate(CRITERION, task(number))
    assert len(memory.held.parts) == 3
    assert memory.held.n_stored <= 7 * memory.space.dim + 18
    with pytest.raises(InputError, match="holds modes"):
        ls.TaskMemory(model, method="ewc", strength=1.0, per_layer=True)


class LowRank(nn.Module):
    """A frozen layer and a learnt change of low rank, as in LoRA."""

    def __init__(self, layer, rank=2):
        super().__init__()
        self.layer = layer.requires_grad_(requires_grad=False)
        self.a = nn.Parameter(torch.randn(rank, layer.in_features) / 10)
        self.b = nn.Parameter(torch.zeros(layer.out_features, rank))

    def forward(self, x):
        return self.layer(x) + x @ self.a.T @ self.b.T


@pytest.mark.parametrize("accumulate", [1, 3])
def test_low_rank_changes_of_a_frozen_network_with_schedule_scaler_and_accumulation(accumulate):
    model = network()
    learn(model, sgd(model), task(5), 500, torch.Generator())
    before = {name: value.clone() for name, value in model.state_dict().items()}
    for place in (0, 2, 4):
        model[place] = LowRank(model[place])
    memory = ls.TaskMemory(model, strength=20.0)
    assert set(memory.space.names) == {f"{place}.{part}" for place in (0, 2, 4) for part in "ab"}
    kept = []
    for number in range(2):
        optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.02, momentum=0.5)
        schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.3, total_iters=900)
        scaler = torch.amp.GradScaler("cpu")
        inputs, labels = task(number)
        generator = torch.Generator().manual_seed(number)
        with memory.training(optimizer):
            for step in range(900 * accumulate):
                batch = torch.randint(len(labels), (16,), generator=generator)
                with torch.autocast("cpu", dtype=torch.bfloat16):
                    loss = CRITERION(model(inputs[batch]), labels[batch]) / accumulate
                scaler.scale(loss).backward()
                if step % accumulate == accumulate - 1:
                    scaler.step(optimizer)
                    scaler.update()
                    optimizer.zero_grad()
                    schedule.step()
        memory.consolidate(CRITERION, task(number))
        kept.append(right(model, task(number)))
    assert kept[0] > 0.9
    assert right(model, task(0)) > kept[0] - 0.05  # 0.5 without
    for place in (0, 2, 4):
        assert torch.equal(model[place].layer.weight, before[f"{place}.weight"])


def test_the_width_does_not_depend_on_the_ratio_where_ln_l_is_quadratic():
    """L = exp(2 w^2) of a model of one weight: F at e is sqrt(2), at any ratio after rescaling."""

    class Bowl(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.zeros(1, dtype=torch.float64))

        def forward(self, x):
            return (2 * self.w.square()).exp() * x

    model = Bowl()
    path = ls.Trajectory.of(torch.randn(20, 1, dtype=torch.float64), space=ls.ParameterSpace.of(model))
    data = (torch.ones(4, 1, dtype=torch.float64), torch.zeros(4, 1, dtype=torch.float64))
    risk = ls.EmpiricalRisk(model, lambda outputs, _: outputs.flatten(), data)
    for ratio in (1.01, 1.1, 2.718281828):
        finished = TaskSnapshot(risk, path, ratio=ratio)
        assert float(finished.widths(finished.flatness(1))) == pytest.approx(2**0.5, rel=3e-3), ratio
    with pytest.raises(InputError, match="a ratio above 1"):
        ls.TaskMemory(model, ratio=1.0)


def test_a_state_is_not_loaded_into_a_training_and_what_is_held_is_counted():
    model = network()
    memory, optimizer = ls.TaskMemory(model, n_modes=4, window=30), sgd(model)
    state = memory.state_dict()
    with memory.training(optimizer):
        learn(model, optimizer, task(0), 20, torch.Generator())
        with pytest.raises(InputError, match="a memory outside of a training"):
            memory.load_state_dict(state)
    memory.consolidate(CRITERION, task(0))
    assert memory.n_held == 4
    again = ls.TaskMemory(model, n_modes=4, window=30)
    again.load_state_dict(memory.state_dict())
    assert again.n_held == 4


@pytest.mark.parametrize(
    "method", [LDC("variance", floor=False), LDC("variance"), LDC("variance", factored=True), FreshVarianceLDC()]
)
def test_one_mode_alone_sets_its_own_scale(method):
    model = network()
    memory, optimizer = ls.TaskMemory(model, method=method, n_modes=1, window=30), sgd(model)
    with memory.training(optimizer):
        learn(model, optimizer, task(0), 30, torch.Generator())
    memory.consolidate(CRITERION, task(0))
    assert memory.n_held == 1
