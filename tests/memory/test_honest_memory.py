"""A memory says what it holds, refuses to hold it twice, and names a model that was not loaded."""

import copy
import warnings

import pytest
import torch
from torch import nn

import landscope as ls
from blobs import CRITERION, learn, network, sgd, task
from landscope.errors import InputError, LandscopeWarning
from landscope.memory.between_tasks.loaded_weights import _apart
from own_model import MSE

XY = torch.ones(2, 2), torch.zeros(2, 1)


def memory_at(weights, **options):
    model = nn.Linear(2, 1, bias=False)
    model.weight.data.copy_(torch.tensor([weights]))
    return ls.TaskMemory(model, **{"method": "l2", "strength": 1.0} | options)


def step(memory, learning_rate=0.1):
    optimizer = torch.optim.SGD(memory.model.parameters(), lr=learning_rate)
    with memory.training(optimizer):
        MSE(memory.model(XY[0]), XY[1]).backward()
        optimizer.step()


@pytest.fixture
def silent():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def test_a_task_is_not_counted_twice():
    memory = memory_at([3.0, 4.0])
    memory.consolidate(MSE, XY)
    held = memory.held
    with pytest.raises(InputError, match="trained since 'task 1' was consolidated; got the same weights"):
        memory.consolidate(MSE, XY)
    with pytest.raises(InputError, match="would count twice"):
        memory.consolidate_at(ls.EmpiricalRisk(memory.model, MSE, XY, space=memory.space))
    assert memory.held is held
    assert memory.tasks == ("task 1",)
    other = memory_at([3.0, 4.0])
    other.load_state_dict(memory.state_dict())
    with pytest.raises(InputError, match="would count twice"):
        other.consolidate(MSE, XY)


def test_other_data_at_the_same_weights_have_a_name():
    memory = memory_at([3.0, 4.0])
    memory.consolidate(MSE, XY, name="old")
    memory.consolidate(MSE, (2 * XY[0], XY[1]), name="older")
    assert memory.tasks == ("old", "older")
    with pytest.raises(InputError, match=r"a name that no earlier task has; got 'old'. Tasks so far: old, older"):
        memory.consolidate(MSE, XY, name="old")
    with pytest.raises(InputError, match="a name with letters"):
        memory.consolidate(MSE, XY, name=" ")


def test_a_training_that_moved_nothing_ends_a_task():
    """As one that a budget took back to where it began."""
    memory = memory_at([3.0, 4.0])
    memory.consolidate(MSE, XY)
    step(memory, learning_rate=0.0)
    memory.consolidate(MSE, XY)
    memory.model.weight.data.add_(1.0)  # trained elsewhere
    memory.consolidate(MSE, XY)
    assert memory.tasks == ("task 1", "task 2", "task 3")


def test_a_default_name_is_never_taken():
    memory = memory_at([3.0, 4.0])
    memory.consolidate(MSE, XY, name="task 2")
    step(memory)
    memory.consolidate(MSE, XY)
    assert memory.tasks == ("task 2", "task 3")
    assert ls.keep(memory.model, MSE, XY, method="l2", strength=1.0, name="base").tasks == ("base",)


def test_a_model_that_was_not_loaded_is_named_with_its_distance():
    """At saving, (3, 4) was held and the weights were (3, 5): |(6, 10) - (3, 5)| = |(3, 5)|, and |(3, 6)| / 5 = 1.3."""
    memory = memory_at([3.0, 4.0])
    memory.consolidate(MSE, XY)
    memory.model.weight.data.copy_(torch.tensor([[3.0, 5.0]]))
    other = memory_at([6.0, 10.0])
    with pytest.warns(UserWarning, match=r"differ by 1 times .* is 1\.3 times .* it was 0\.2 times at saving. .* load"):
        other.load_state_dict(memory.state_dict())
    assert other.tasks == ("task 1",)


def test_a_few_values_estimate_the_distance():
    """Each parameter counts by its size: a weight of 48 values at 1 that is now 2 and two biases that stay at 1."""
    model, other = network(), network()
    for parameter in model.parameters():
        parameter.data.fill_(1.0)
    other.load_state_dict(model.state_dict())
    memory = ls.TaskMemory(model, method="l2", strength=1.0)
    memory.consolidate(CRITERION, task(0))
    other[2].weight.data.fill_(2.0)
    share = (other[2].weight.numel() / memory.space.dim) ** 0.5
    with pytest.warns(UserWarning, match=f"differ by {share:.2g} times"):
        ls.TaskMemory(other, method="l2", strength=1.0).load_state_dict(memory.state_dict())


@pytest.mark.parametrize(("strength", "pulls"), [(1.0, True), (0.0, False)])
def test_only_a_strength_pulls_weights_that_were_not_loaded(strength, pulls):
    memory = memory_at([3.0, 4.0])
    memory.consolidate(MSE, XY)
    with pytest.warns(UserWarning, match="load its weights before") as caught:
        memory_at([6.0, 8.0], strength=strength).load_state_dict(memory.state_dict())
    assert ("will pull untrained weights" in str(caught[0].message)) is pulls


def test_replay_alone_pulls_no_weights():
    options = {"method": None, "replay": 2}
    memory = ls.TaskMemory(network(), **options)
    memory.consolidate(CRITERION, task(0))
    with pytest.warns(UserWarning, match="load its weights before") as caught:
        ls.TaskMemory(network(seed=1), **options).load_state_dict(memory.state_dict())
    assert "pull" not in str(caught[0].message)


class Elsewhere(torch.Tensor):
    """As on another device: it meets no other tensor, and ``cpu`` alone brings it here."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        if func is torch.Tensor.cpu:
            with torch._C.DisableTorchFunctionSubclass():
                return args[0].as_subclass(torch.Tensor)
        if any(isinstance(value, torch.Tensor) and not isinstance(value, cls) for value in args):
            raise RuntimeError("Expected all tensors to be on the same device")
        return super().__torch_function__(func, types, args, kwargs or {})


@pytest.mark.parametrize("moved", [0, 1])
def test_a_checkpoint_read_onto_another_device_is_compared(moved):
    """|(3, 4) - (6, 8)| is half of |(6, 8)|."""
    vectors = [{"w": torch.tensor([3.0, 4.0])}, {"w": torch.tensor([6.0, 8.0])}]
    vectors[moved] = {"w": vectors[moved]["w"].as_subclass(Elsewhere)}
    assert _apart(*vectors, {"w": 2}) == pytest.approx(0.5)


@pytest.mark.usefixtures("silent")
def test_a_model_without_values_yet_is_not_compared():
    memory = memory_at([3.0, 4.0])
    memory.consolidate(MSE, XY)
    with torch.device("meta"):
        model = nn.Linear(2, 1, bias=False)
    other = ls.TaskMemory(model, method="l2", strength=1.0)
    other.load_state_dict(memory.state_dict())
    model.to_empty(device="cpu").load_state_dict(memory.model.state_dict())
    assert other.tasks == ("task 1",)
    assert other.penalty().item() == 0.0  # at the weights that are held


@pytest.mark.usefixtures("silent")
def test_a_training_that_goes_on_in_the_middle_of_a_task_is_no_surprise():
    model = network()
    memory, optimizer = ls.TaskMemory(model, method="l2", strength=1e-6), sgd(model)
    memory.consolidate(CRITERION, task(0))
    with memory.training(optimizer):
        learn(model, optimizer, task(1), 30, torch.Generator())
    weights, state = model.state_dict(), memory.state_dict()
    for dtype in (torch.float32, torch.bfloat16):
        again = network(seed=1)
        again.load_state_dict(weights)
        ls.TaskMemory(again.to(dtype), method="l2", strength=1e-6).load_state_dict(state)
    ls.TaskMemory(network(seed=1), method="l2", strength=1e-6).load_state_dict(
        ls.TaskMemory(network(), method="l2", strength=1e-6).state_dict()
    )  # no task pulls


def test_print_says_what_a_memory_holds():
    memory = memory_at([3.0, 4.0])
    assert repr(memory).splitlines() == [
        "TaskMemory of 2 weights in 1 parameters",
        "  method    l2, implicit steps",
        "  tasks     none held yet",
        "  strength  1",
        "  budget    none",
        "  stored    0 numbers, 0 for each weight",
        "  replay    none",
    ]
    memory.budget(0.05, samples=10)
    memory.consolidate(MSE, XY, name="digits")
    lines = repr(memory).splitlines()
    assert lines[2] == "  tasks     1 held: digits"
    assert lines[3] == "  strength  1, multiplied by 1 now, by the budget"
    assert lines[4] == "  budget    each loss may rise by 5 %, or by 0.01, measured on up to 10 samples of each task"
    assert lines[5] == "  spent     loss of digits +0 % of +5 % allowed"
    assert lines[6] == f"  stored    {memory.n_stored} numbers, {memory.n_stored / 2:.3g} for each weight"


def test_print_names_replay_and_what_is_not_held():
    model = network()
    memory = ls.TaskMemory(model, method=None, replay=64)
    lines = repr(memory).splitlines()
    assert lines[1] == "  method    no weight is held"
    assert lines[-1] == "  replay    64 samples a step, Samples"
    assert "memory.penalty() in the loss" in repr(ls.TaskMemory(model, implicit=False))
    many = memory_at([3.0, 4.0])
    for name in "abcdefghijkl":
        many.consolidate(MSE, XY, name=name)
    assert repr(many).splitlines()[2] == "  tasks     12 held: a, b, c, d, e, f, g, h, i, j, ..."


def test_print_says_how_a_budget_is_known():
    memory = memory_at([3.0, 4.0], method="basin")
    for samples, said in (
        (0, "predicted"),
        (lambda _: 1.0, "measured by samples=f"),
        (5, "measured on up to 5 samples"),
    ):
        memory.budget(0.2, absolute=0.0, samples=samples)
        assert f"each loss may rise by 20 %, {said}" in repr(memory).splitlines()[4]
    memory.budget(0.2, samples=5, at_end=True)
    assert (
        repr(memory).splitlines()[4].endswith(", measured on up to 5 samples of each task, at the end of each training")
    )


def test_print_says_whether_each_loss_or_their_mean_is_held():
    for measure, said in ((lambda _: {"task 1": 1.0}, "each loss"), (lambda _: 1.0, "their mean loss")):
        memory = memory_at([3.0, 4.0], method="basin")
        memory.budget(0.2, samples=measure)
        memory.consolidate(MSE, XY)
        assert f"{said} may rise by 20 %" in repr(memory)


@pytest.mark.parametrize("share", [1.0, 1e-3])
def test_weights_before_a_task_are_not_taken_for_those_in_its_middle(share):
    """Also where a fine-tuning moves the weights by less than bfloat16 rounds them."""
    model, before = network(), network()
    memory, optimizer = ls.TaskMemory(model, method="l2", strength=1e-6), sgd(model)
    memory.consolidate(CRITERION, task(0))
    with memory.training(optimizer):
        learn(model, optimizer, task(1), 30, torch.Generator())
    for old, parameter in zip(before.parameters(), model.parameters(), strict=True):
        parameter.data.lerp_(old.data, 1 - share)
    state = memory.state_dict()
    with pytest.warns(LandscopeWarning, match=r"the weights that the memory holds, and not .* differ by \d.* load"):
        ls.TaskMemory(before, method="l2", strength=1e-6).load_state_dict(state)
    before[0].weight.data.mul_(1.0 + 1e-4)
    with pytest.warns(UserWarning, match="the model has other weights than when this state was saved: they differ by"):
        ls.TaskMemory(before, method="l2", strength=1e-6).load_state_dict(state)


@pytest.mark.usefixtures("silent")
@pytest.mark.parametrize("kind", [torch.float64, torch.float16, torch.bfloat16])
def test_weights_that_went_through_another_precision_are_the_same(kind):
    model, again = network(), network(seed=1)
    memory = ls.TaskMemory(model, method="l2", strength=1.0)
    memory.consolidate(CRITERION, task(0))
    again.load_state_dict({name: value.to(kind) for name, value in model.state_dict().items()})
    for one in (again, copy.deepcopy(again).to(kind)):
        ls.TaskMemory(one, method="l2", strength=1.0).load_state_dict(memory.state_dict())


def test_print_says_what_multiplies_a_strength():
    """A budget adapts no strength of 0, nor any where it measures at the end alone."""
    replayed = ls.keep(network(), CRITERION, task(0), method=None, replay=8, budget=0.05)
    assert repr(replayed).splitlines()[3] == "  strength  0"
    at_end = ls.keep(network(), CRITERION, task(0), budget=0.05, at_end=True)
    assert repr(at_end).splitlines()[3] == "  strength  1"
