"""TaskMemory in a plain training loop."""

import contextlib
import copy

import pytest
import torch
from torch import nn

import landscope as ls
from blobs import CRITERION, accuracy, learn, network, sgd, task
from landscope.errors import InputError, NonFiniteError


def through_two_tasks(memory, model, steps=1500):
    optimizer, generator = sgd(model), torch.Generator().manual_seed(1)
    for number in range(2):
        with memory.training(optimizer):
            learn(model, optimizer, task(number), steps, generator)
        memory.consolidate(CRITERION, task(number))
    return [accuracy(model, task(number)) for number in range(2)]


def test_the_memory_preserves_a_task_that_is_lost_without_it():
    lost = network()
    optimizer, generator = sgd(lost), torch.Generator().manual_seed(1)
    for number in range(2):
        learn(lost, optimizer, task(number), 1500, generator)
    kept = network()
    old, new = through_two_tasks(ls.TaskMemory(kept, method="ldc"), kept)
    assert accuracy(lost, task(0)) < 0.75
    assert old > 0.95
    assert new > 0.8


def test_the_penalty_equals_the_one_made_by_hand_from_modes_and_flatness():
    model, by_hand = network(), network()
    memory = ls.TaskMemory(model, n_modes=9, window=60, method="ldc")
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


def test_several_trainings_of_a_task_form_one_window():
    windows = []
    for pieces in ((50,), (13, 0, 37), (49, 1)):
        model = network()
        memory, generator = ls.TaskMemory(model, every=3, window=7, method="ldc"), torch.Generator().manual_seed(3)
        for steps in pieces:
            optimizer = sgd(model)  # a new one each time
            empty = pytest.warns(UserWarning, match="took no step") if steps == 0 else contextlib.nullcontext()
            with empty, memory.training(optimizer):
                learn(model, optimizer, task(0), steps, generator)
        windows.append(memory.state_dict()["rows"])
    assert windows[0]["steps"].tolist() == [30, 33, 36, 39, 42, 45, 48]
    for other in windows[1:]:
        assert all(torch.equal(windows[0][name], other[name]) for name in ("steps", "weights"))


@pytest.mark.parametrize(("stop", "rank"), [(25, None), (60, 6), (80, 6)])
def test_a_run_resumed_from_a_checkpoint_gives_the_same_bits(tmp_path, stop, rank):
    """Two tasks of 60 steps each; a run that stops early is resumed by new objects."""

    def begun():
        model = network()
        return model, torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9), ls.TaskMemory(
            model, n_modes=5, window=30, rank=rank, method="ldc"
        )  # fmt: skip

    def steps(model, optimizer, memory, first, last):
        for step in range(first, last):
            with memory.training(optimizer):
                learn(model, optimizer, task(step // 60), 1, torch.Generator().manual_seed(step))
            if step % 60 == 59:
                memory.consolidate(CRITERION, task(step // 60))

    whole = begun()
    steps(*whole, 0, 120)
    first = begun()
    steps(*first, 0, stop)
    torch.save([part.state_dict() for part in first], tmp_path / "checkpoint.pt")
    second = begun()
    for part, state in zip(second, torch.load(tmp_path / "checkpoint.pt", weights_only=True), strict=True):
        part.load_state_dict(state)
    steps(*second, stop, 120)
    assert torch.equal(whole[2].space.flatten(whole[0]), second[2].space.flatten(second[0]))
    w = torch.randn(3, whole[2].space.dim)
    assert torch.equal(whole[2].held(w), second[2].held(w))


def test_a_rank_bounds_the_memory_of_many_tasks():
    model = network()
    memory, optimizer, generator = (
        ls.TaskMemory(model, n_modes=8, rank=16, window=60, method="ldc"),
        sgd(model),
        torch.Generator(),
    )
    stored = []
    for number in range(5):
        with memory.training(optimizer):
            learn(model, optimizer, task(number), 80, generator)
        memory.consolidate(CRITERION, task(number))
        stored.append(memory.held.n_stored)
    dim = memory.space.dim
    assert stored[0] <= 9 * dim + 8
    assert max(stored) <= 17 * dim + 16
    assert memory.n_tasks == 5


def test_a_rank_bounds_the_memory_of_one_task():
    model = network()
    memory, optimizer = ls.TaskMemory(model, n_modes=8, rank=3, window=60, method="ldc"), sgd(model)
    with memory.training(optimizer):
        learn(model, optimizer, task(0), 80, torch.Generator())
    memory.consolidate(CRITERION, task(0))
    assert memory.n_stored == 4 * memory.space.dim + 3


@pytest.mark.parametrize("method", ["ewc", "kfac", "l2"])
def test_methods_that_look_at_the_loss_alone_record_nothing(method):
    model = network()
    memory, optimizer = ls.TaskMemory(model, method=method, strength=1.0), sgd(model)
    with memory.training(optimizer):
        learn(model, optimizer, task(0), 3, torch.Generator())
    assert memory.state_dict()["rows"] is None
    memory.consolidate(CRITERION, task(0))
    assert memory.held.dim == memory.space.dim


def test_a_penalty_in_the_loss_has_the_gradient_of_the_penalty():
    model = network()
    memory, optimizer = ls.TaskMemory(model, implicit=False, n_modes=5, window=30, method="ldc"), sgd(model)
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


def test_a_shared_trunk_is_protected_under_one_head_a_task():
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
    memory, generator = ls.TaskMemory(model, "trunk", method="ldc"), torch.Generator()
    for number in range(2):
        model.head = number
        optimizer = torch.optim.Adam([*model.trunk.parameters(), *model.heads[number].parameters()], lr=0.01)
        with memory.training(optimizer):
            learn(model, optimizer, task(number), 300, generator)
        memory.consolidate(CRITERION, task(number))
    assert memory.space.names == ("trunk.0.weight", "trunk.0.bias")
    assert accuracy(model, task(1)) > 0.9
    model.head = 0
    assert accuracy(model, task(0)) > 0.9


def test_misuse_is_refused_and_changes_nothing():
    model = network()
    memory, optimizer = ls.TaskMemory(model, n_modes=4, window=30, method="ldc"), sgd(model)
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
    assert memory.n_tasks == 1
    with pytest.raises(InputError, match="a strength for ewc"):
        ls.TaskMemory(network(), method="ewc")
    with pytest.raises(InputError, match="method to be one of"):
        ls.TaskMemory(network(), method="magic")


def test_an_optimiser_that_does_not_fit_is_refused_before_training():
    model = network()
    memory = ls.TaskMemory(model, method="ldc")
    first, *others = model.parameters()
    with (
        pytest.raises(InputError, match=r"an optimiser without 0\.weight"),
        memory.training(torch.optim.SGD(others, lr=0.1)),
    ):
        pass
    loose, optimizer = ls.TaskMemory(model, implicit=False, method="ldc"), torch.optim.SGD([first, *others], lr=0.1)
    with loose.training(optimizer):
        learn(model, optimizer, task(0), 1, torch.Generator())


@pytest.mark.parametrize("method", ["kfac", "l2"])
def test_layers_may_have_learning_rates_of_their_own(method):
    """What is held is the same; a layer with a smaller rate moves less, toward the new task and back alike."""
    model = network()
    memory = ls.TaskMemory(model, method=method, strength=1e6)
    first, *others = model.parameters()
    optimizer = torch.optim.AdamW([{"params": [first], "lr": 1e-4}, {"params": others}], lr=1e-2, weight_decay=0.0)
    with memory.training(optimizer):
        learn(model, optimizer, task(0), 200, torch.Generator())
    memory.consolidate(CRITERION, task(0))
    before = accuracy(model, task(0))
    with memory.training(optimizer):
        learn(model, optimizer, task(1), 50, torch.Generator())
    assert before > 0.9
    assert accuracy(model, task(0)) > before - 0.05


def test_a_model_on_two_devices_is_refused():
    model = network()
    model[2].to("meta")
    with pytest.raises(InputError, match="one dtype on one device"):
        ls.TaskMemory(model, method="ldc")
    assert model[2].weight.device.type == "meta"
    assert ls.TaskMemory(model, "0.weight", method="ldc").space.names == ("0.weight",)


def test_nan_weights_raise_and_the_rows_before_are_kept():
    model = network()
    memory, optimizer = ls.TaskMemory(model, window=30, method="ldc"), sgd(model)

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


def test_rows_of_several_trainings_need_no_more_memory_than_the_window():
    model = network()
    memory, optimizer = ls.TaskMemory(model, window=20, method="ldc"), sgd(model)
    for _ in range(2):
        with memory.training(optimizer):
            learn(model, optimizer, task(0), 20, torch.Generator())
    weights = memory.state_dict()["rows"]["weights"]
    assert weights.untyped_storage().nbytes() == 20 * memory.space.dim * weights.element_size()


def test_rows_before_a_training_outside_are_left_out():
    """Joined, the 30 steps outside would be a single step, and its jump the first direction."""
    model = network()
    memory, optimizer = ls.TaskMemory(model, window=40, method="ldc"), sgd(model)
    for outside in (0, 30):
        with memory.training(optimizer):
            learn(model, optimizer, task(0), 10, torch.Generator())
        learn(model, optimizer, task(0), outside, torch.Generator())
    assert memory.state_dict()["rows"]["steps"].tolist() == list(range(1, 21))
    with pytest.warns(UserWarning, match="moved since the last .* at step 20, .* left out"), memory.training(optimizer):
        learn(model, optimizer, task(0), 5, torch.Generator())
    assert memory.state_dict()["rows"]["steps"].tolist() == list(range(21, 26))


class LowRank(nn.Module):
    """A frozen layer and a learnt change of low rank, as in LoRA."""

    def __init__(self, layer, rank=2):
        super().__init__()
        self.layer = layer.requires_grad_(requires_grad=False)
        self.a = nn.Parameter(torch.randn(rank, layer.in_features) / 10)
        self.b = nn.Parameter(torch.zeros(layer.out_features, rank))

    def forward(self, x):
        return self.layer(x) + x @ self.a.T @ self.b.T


def test_low_rank_adapters_with_schedule_scaler_and_accumulation():
    accumulate = 2
    model = network()
    learn(model, sgd(model), task(5), 500, torch.Generator())
    before = {name: value.clone() for name, value in model.state_dict().items()}
    for place in (0, 2, 4):
        model[place] = LowRank(model[place])
    memory = ls.TaskMemory(model, strength=20.0, method="ldc")
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
        kept.append(accuracy(model, task(number)))
    assert kept[0] > 0.9
    assert accuracy(model, task(0)) > kept[0] - 0.05  # 0.5 without
    for place in (0, 2, 4):
        assert torch.equal(model[place].layer.weight, before[f"{place}.weight"])
