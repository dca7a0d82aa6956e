"""Baselines beside slow and obvious twins, and every method in every scenario."""

import pytest
import torch
from torch import nn

import landscope as ls
from blobs import CRITERION, learn, network, sgd, task
from landscope.reproduction.sequential.baselines.interpolation import WeightInterpolation
from landscope.reproduction.sequential.baselines.path_integral import SynapticIntelligence
from landscope.reproduction.sequential.baselines.projection import GradientProjectionMemory, OrthogonalGradientDescent
from landscope.reproduction.sequential.baselines.protocol import Memory
from landscope.reproduction.sequential.baselines.replay import Replay
from landscope.reproduction.sequential.methods import MethodSettings, method_label
from landscope.reproduction.sequential.scenarios import n_outputs, permuted_scenario, split_scenario
from landscope.reproduction.sequential.task_data import SelectedOutputs
from landscope.reproduction.sequential.trainer import train_sequentially
from landscope.reproduction.sequential.training import TaskTraining

MEMORIES = {
    "task memory": ls.TaskMemory,
    "si": lambda model: SynapticIntelligence(model, strength=100.0),
    "gpm": lambda model: GradientProjectionMemory(model, threshold=0.99),
    "ogd": lambda model: OrthogonalGradientDescent(model, n_samples=200),
    "replay": lambda model: Replay(model, n_samples=50, batch_size=16),
    "interpolation": lambda model: WeightInterpolation(model, share=0.5),
}


def loss_of_the_first_task(model):
    inputs, labels = task(0)
    with torch.no_grad():
        return float(CRITERION(model(inputs), labels))


@pytest.fixture(scope="module")
def forgotten():
    """The loss of the first task after the second one, learnt without a memory."""
    model, generator = network(), torch.Generator().manual_seed(1)
    optimizer = sgd(model)
    for number, steps in enumerate((800, 100)):
        learn(model, optimizer, task(number), steps, generator)
    return loss_of_the_first_task(model)


@pytest.mark.parametrize("name", list(MEMORIES))
def test_all_keep_something_behind_one_protocol(name, forgotten):
    model = network()
    memory, optimizer, generator = MEMORIES[name](model), sgd(model), torch.Generator().manual_seed(1)
    assert isinstance(memory, Memory)
    assert memory.n_stored == 0
    for number, steps in enumerate((800, 100)):
        with memory.training(optimizer):
            learn(model, optimizer, task(number), steps, generator)
        memory.consolidate(CRITERION, task(number))
    assert not optimizer._optimizer_step_pre_hooks
    assert not optimizer._optimizer_step_post_hooks
    assert loss_of_the_first_task(model) < 0.7 * forgotten
    assert memory.n_stored > 0


def test_synaptic_intelligence_is_the_path_integral():
    model, twin = network(), network()
    memory, ours, theirs = SynapticIntelligence(model, strength=2.0, damping=0.3), sgd(model), sgd(twin)
    with memory.training(ours):
        learn(model, ours, task(0), 20, torch.Generator().manual_seed(2))
    memory.consolidate()
    done, path = 0.0, [memory.space.flatten(twin)]
    generator = torch.Generator().manual_seed(2)
    for _ in range(20):
        learn(twin, theirs, task(0), 1, generator)  # leaves its gradient
        slope = torch.cat([p.grad.flatten() for p in twin.parameters()])
        path.append(memory.space.flatten(twin))
        done = done - slope * (path[-1] - path[-2])
    expected = done.clamp(min=0) / ((path[-1] - path[0]) ** 2 + 0.3)
    assert torch.allclose(memory.held.stiffness, expected, rtol=1e-5)
    assert torch.equal(memory.held.anchor, path[-1])
    assert memory.held.strength == 2.0


def test_the_inputs_of_earlier_tasks_give_what_they_gave():
    """With all directions of the inputs held, no step changes the outputs on them."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))
    inputs, labels = torch.randn(3, 6), torch.tensor([0, 1, 2])  # fewer samples than inputs
    memory, optimizer = GradientProjectionMemory(model, threshold=1.0), torch.optim.SGD(model.parameters(), lr=0.1)
    memory.consolidate(CRITERION, (inputs, labels))
    before = model(inputs).detach()
    others = torch.randn(64, 6), torch.randint(3, (64,))
    at_start = model(others[0]).detach()
    with memory.training(optimizer):
        learn(model, optimizer, others, 50, torch.Generator().manual_seed(3))
    assert torch.allclose(model(inputs), before, atol=1e-4)
    assert not torch.allclose(model(others[0]), at_start, atol=1e-2)


@pytest.mark.parametrize("threshold", [0.6, 0.9, 0.999])
def test_a_projection_keeps_as_few_directions_as_hold_the_share(threshold):
    torch.manual_seed(0)
    model = nn.Linear(8, 2, bias=False)
    data = [(torch.randn(40, 8) * torch.logspace(0, -2, 8), torch.randint(2, (40,))) for _ in range(2)]
    memory = GradientProjectionMemory(model, threshold=threshold)
    memory.consolidate(CRITERION, data[0])
    first = memory._layers[0][1]
    u, s, _ = torch.linalg.svd(data[0][0].T)
    share = (s.square() / s.square().sum()).cumsum(0)
    count = int((share < threshold).sum()) + 1
    assert first.shape[1] == count
    assert torch.allclose(first @ first.T, u[:, :count] @ u[:, :count].T, atol=1e-4)
    memory.consolidate(CRITERION, data[1])
    both = memory._layers[0][1]
    held = (both.T @ data[1][0].T).square().sum() / data[1][0].square().sum()
    assert float(held) >= threshold - 1e-5
    assert torch.allclose(both.T @ both, torch.eye(both.shape[1]), atol=1e-5)
    assert torch.allclose(both @ (both.T @ first), first, atol=1e-5)


def test_all_directions_of_two_tasks_can_be_held_and_the_others_are_left():
    model = nn.Linear(6, 3)
    memory, generator = GradientProjectionMemory(model, threshold=1.0), torch.Generator().manual_seed(0)
    known = []
    for columns in ((0, 1), (2, 3)):
        inputs = torch.zeros(20, 6)
        inputs[:, columns] = torch.randn(20, 2, generator=generator)
        known.append(inputs)
        memory.consolidate(CRITERION, (inputs, torch.arange(20) % 3))
    slope = memory.projected(torch.randn(memory.space.dim, generator=generator))[:18].view(3, 6)
    for inputs in known:
        assert float((inputs @ slope.T).abs().max()) < 1e-5
    assert float(slope[:, 4:].abs().min()) > 0.01


def test_orthogonal_gradients_span_what_dependent_samples_span():
    model = nn.Linear(2, 2, bias=False)
    memory = OrthogonalGradientDescent(model)
    inputs = torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    memory.consolidate(None, (inputs, torch.zeros(4, dtype=torch.int64)))
    assert torch.allclose(memory.projected(torch.ones(4)), torch.tensor([0.0, 0.0, 1.0, 1.0]), atol=1e-6)
    assert memory.n_stored == 2 * 4


def test_orthogonal_gradients_leave_the_logits_to_first_order():
    model = network()
    memory = OrthogonalGradientDescent(model, n_samples=20, seed=1)
    inputs, labels = task(0, samples=20)
    memory.consolidate(None, (inputs, labels))
    assert model.training
    slope = memory.projected(torch.randn(memory.space.dim))
    for x, y in zip(inputs, labels, strict=True):
        own = torch.autograd.grad(model(x[None])[0, y], list(model.parameters()))
        own = torch.cat([part.flatten() for part in own])
        assert abs(float(own @ slope)) < 1e-3 * float(own.norm() * slope.norm())


def test_replay_adds_the_gradient_of_what_it_kept():
    model, twin = network(), network()
    inputs, labels = task(0)
    memory, ours, theirs = Replay(model, n_samples=4, batch_size=64, seed=0), sgd(model), sgd(twin)
    memory.consolidate(CRITERION, (inputs[:4], labels[:4]))
    with memory.training(ours):
        learn(model, ours, task(1), 1, torch.Generator().manual_seed(5))
    chosen = torch.randperm(4, generator=(drawn := torch.Generator().manual_seed(0)))
    rows = torch.randint(4, (64,), generator=drawn)
    batch = torch.randint(256, (16,), generator=torch.Generator().manual_seed(5))
    new_inputs, new_labels = task(1)
    loss = CRITERION(twin(new_inputs[batch]), new_labels[batch])
    loss = loss + CRITERION(twin(inputs[:4][chosen][rows]), labels[:4][chosen][rows])
    theirs.zero_grad()
    loss.backward()
    theirs.step()
    for a, b in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-6)


def test_memory_aware_synapses_are_the_mean_slopes_of_the_outputs():
    model = network().double()
    inputs, labels = task(0, samples=12)
    risk = ls.EmpiricalRisk(model, CRITERION, (inputs.double(), labels))
    penalty = ls.penalties.memory_aware_synapses(risk, risk.w0, strength=3.0)
    total = 0.0
    for x in inputs.double():
        own = torch.autograd.grad(model(x[None]).square().sum(), list(model.parameters()))
        total = total + torch.cat([part.flatten() for part in own]).abs()
    assert torch.allclose(penalty.stiffness, total / 12, rtol=1e-9)
    assert penalty.strength == 3.0


@pytest.mark.parametrize("make", [lambda model: SynapticIntelligence(model, strength=1.0), Replay])
def test_a_scaler_and_a_fused_optimiser_change_nothing(make):
    ends = []
    for fused in (False, True):
        model = network()
        memory = make(model)
        optimizer, scaler = torch.optim.SGD(model.parameters(), lr=0.05, fused=fused), torch.amp.GradScaler("cpu")
        for number in range(2):
            generator = torch.Generator().manual_seed(number)
            with memory.training(optimizer):
                for _ in range(20):
                    inputs, labels = task(number)
                    batch = torch.randint(len(labels), (16,), generator=generator)
                    optimizer.zero_grad()
                    scaler.scale(CRITERION(model(inputs[batch]), labels[batch])).backward()
                    scaler.step(optimizer)
                    scaler.update()
            memory.consolidate(CRITERION, task(number))
        ends.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    assert torch.allclose(*ends, rtol=1e-3, atol=1e-5)


def blobs(samples, seed):
    """Six classes on a circle, in four dimensions."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(6, (samples,), generator=generator)
    angle = labels * (torch.pi / 3)
    clean = torch.stack([angle.cos(), angle.sin(), (2 * angle).cos(), (2 * angle).sin()], dim=1)
    return clean + 0.1 * torch.randn(samples, 4, generator=generator), labels


BLOBS = (blobs(600, 0), blobs(300, 1))
GROUPS = ((0, 1), (2, 3), (4, 5))
SCENARIOS = {
    **{kind: split_scenario(*BLOBS, GROUPS, kind) for kind in ("task", "domain", "class")},
    "permuted": permuted_scenario(*BLOBS, 3, seed=0),
}
TRAINING = TaskTraining(epochs=12, window_epochs=0, batch_size=20)


def body(outputs):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 20), nn.ReLU(), nn.Linear(20, outputs))


def learn_scenario(name, method, strength):
    tasks, settings = SCENARIOS[name], MethodSettings(method, strength, n_modes=10, rank=20, window=60)
    return train_sequentially(SelectedOutputs(body(n_outputs(tasks))), tasks, settings, TRAINING)


METHODS = {
    "none": None, "joint": None, "ldc-floor": 4.0, "ewc": 100.0, "mas": 1.0, "si": 10.0, "gpm": 0.97, "ogd": None,
    "replay": None,
}  # fmt: skip
SAME_HEAD = {"none", "ldc-floor", "replay"}
"""Of permuted inputs, which differ from other domains in the data alone, a few methods are enough."""


@pytest.mark.parametrize(
    ("scenario", "method", "strength"),
    [
        (scenario, method, strength)
        for scenario in SCENARIOS
        for method, strength in METHODS.items()
        if scenario != "permuted" or method in SAME_HEAD
    ],
)
def test_every_method_learns_every_scenario(scenario, method, strength):
    found = learn_scenario(scenario, method, strength)
    assert found.error.shape == (3, 3)
    assert float(found.error[0, 0]) < 0.2  # the first task is learnt, whatever follows
    assert found.label.startswith(method_label(method))
    if method == "joint":
        assert found.average_error < 0.1
    if method in ("none", "joint"):
        assert int(found.n_stored[-1]) == 0
    else:
        assert int(found.n_stored[-1]) > 0
    if (scenario, method) in (("class", "none"), ("domain", "none")):
        assert found.forgetting > 0.2
    if (scenario, method) == ("class", "replay"):
        assert found.average_error < 0.2
    if scenario == "domain":  # the first task is lost without what keeps it
        at_end = float(found.error[-1, 0])
        assert at_end > 0.3 if method == "none" else at_end < 0.1


def test_a_scenario_is_learnt_the_same_twice():
    first, second = (learn_scenario("task", "replay", None) for _ in range(2))
    assert torch.equal(first.error, second.error)


def test_where_tasks_have_heads_only_what_they_share_is_held():
    """The head of the first task is still what it was, without being held, and that of the last is free to learn."""
    found = learn_scenario("task", "ldc-floor", 1e4)
    assert int(found.n_stored[-1]) < 21 * (4 * 20 + 20) + 21
    assert float(found.error.diagonal().max()) < 0.2
    assert found.forgetting < 0.02
