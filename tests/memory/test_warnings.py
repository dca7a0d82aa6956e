"""Warnings of a task memory that would silently protect less or more than intended."""

import contextlib
import copy
import gc
import re
import warnings

import pytest
import torch
from torch import nn

import landscope as ls
from blobs import CRITERION, learn, network, sgd, task
from landscope.adapters.huggingface import language_model_losses
from landscope.errors import InputError, LandscopeWarning
from landscope.penalties.warnings import UnusedContextWarning


def test_a_penalty_in_the_loss_beside_implicit_steps_warns_once():
    model = network()
    memory, optimizer = ls.TaskMemory(model, method="l2", strength=0.1), sgd(model)
    memory.consolidate(CRITERION, task(0))
    with memory.training(optimizer):
        assert memory.penalty() == 0  # a look at it is no gradient
        with pytest.warns(UserWarning, match="count twice"):
            memory.penalty().backward()
        memory.penalty().backward()  # warnings are errors here
        optimizer.step()


def test_an_optimiser_without_a_step_warns_and_a_wrapper_is_refused():
    class Wrapper(torch.optim.Optimizer):
        def __init__(self, optimizer):
            self.optimizer, self.param_groups = optimizer, optimizer.param_groups

    model = network()
    memory, optimizer = ls.TaskMemory(model, n_modes=4, window=30, method="ldc"), sgd(model)
    for begin in (memory.training, lambda wrapper: ls.TrajectoryRecorder(model, wrapper)):
        with pytest.raises(InputError, match=r"a wrapper, Wrapper.*optimizer\.optimizer"), begin(Wrapper(optimizer)):
            pass
    with pytest.warns(UserWarning, match="took no step"), memory.training(optimizer):
        learn(model, sgd(model), task(0), 5, torch.Generator())


def test_layers_that_were_frozen_when_the_memory_was_made_are_named():
    model = network()
    model[0].requires_grad_(requires_grad=False)
    default, chosen = ls.TaskMemory(model, method="ldc"), ls.TaskMemory(model, "2.weight", method="ldc")
    model[0].requires_grad_(requires_grad=True)
    told = pytest.warns(UserWarning, match=r"moves 0.weight, 0.bias, which the memory does not protect")
    for memory, expected in ((default, told), (chosen, contextlib.nullcontext())):
        optimizer = sgd(model)
        with expected, memory.training(optimizer):
            learn(model, optimizer, task(0), 1, torch.Generator())


def test_a_short_window_warns_and_a_constant_one_is_refused():
    model = network()
    memory, generator = ls.TaskMemory(model, n_modes=20, method="ldc"), torch.Generator()
    with pytest.warns(UserWarning, match="took no step"), memory.training(sgd(model)):
        pass
    with pytest.raises(InputError, match="recorded since the last task"):
        memory.consolidate(CRITERION, task(0))
    still = torch.optim.SGD(model.parameters(), lr=0.0)
    with memory.training(still):
        learn(model, still, task(0), 30, generator)
    with pytest.raises(InputError, match="30 identical rows"):
        memory.consolidate(CRITERION, task(0))
    few, optimizer = ls.TaskMemory(model, n_modes=20, method="ldc"), sgd(model)
    with few.training(optimizer):
        learn(model, optimizer, task(0), 6, generator)
    with pytest.warns(UserWarning, match="6 recorded steps span at most 5 of"):
        few.consolidate(CRITERION, task(0))


def test_a_training_that_is_never_entered_warns():
    model = network()
    memory, optimizer = ls.TaskMemory(model, n_modes=4, window=30, method="ldc"), sgd(model)
    with pytest.warns(UnusedContextWarning, match="never entered, so nothing was recorded"):
        memory.training(optimizer)
    with memory.training(optimizer):
        learn(model, optimizer, task(0), 30, torch.Generator())


def test_weights_far_from_the_end_of_the_recording_warn():
    model, elsewhere = network(), network(seed=1)
    memory, optimizer = ls.TaskMemory(model, n_modes=4, window=30, method="ldc"), sgd(model)
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


def test_a_head_that_never_moved_warns():
    model = network()
    model.add_module("unused", nn.Identity())
    model.unused.weight = nn.Parameter(torch.zeros(3))
    memory, optimizer = ls.TaskMemory(model, n_modes=4, window=30, method="ldc"), sgd(model)
    with memory.training(optimizer):
        learn(model, optimizer, task(0), 30, torch.Generator())
    with pytest.warns(UserWarning, match=r"^unused.weight did not move.*pass select="):
        memory.consolidate(CRITERION, task(0))


def test_a_state_with_fewer_tasks_warns():
    model = network()
    memory = ls.TaskMemory(model, method="l2", strength=1.0)
    before = memory.state_dict()
    memory.consolidate(CRITERION, task(0))
    with pytest.warns(UserWarning, match="has 0 tasks and the memory had 1"):
        memory.load_state_dict(before)


def test_a_warning_names_the_line_of_the_user():
    model = network()
    memory = ls.TaskMemory(model, n_modes=4, window=30, method="ldc")
    with pytest.warns(UserWarning, match="took no step") as in_context, memory.training(sgd(model)):
        pass
    with pytest.warns(UnusedContextWarning) as of_object:
        ls.ProximalSteps(ls.penalties.distance_penalty(torch.zeros(memory.space.dim)), model, sgd(model))
    assert {seen.filename for seen in (*in_context, *of_object)} == {__file__}


def test_two_memories_of_the_same_weights_are_told_to_be_one():
    model, data = nn.Linear(2, 2), (torch.randn(8, 2), torch.arange(8) % 2)
    first, second = (ls.keep(model, nn.CrossEntropyLoss(), data) for _ in range(2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with first.training(optimizer), pytest.raises(InputError, match="a memory holds several tasks"):
            second.training(optimizer).__enter__()
        gc.collect()
    assert not [one for one in caught if issubclass(one.category, UnusedContextWarning)]


@pytest.fixture(autouse=True)
def no_pages(monkeypatch):
    """A report is measured, and its page, which tests/memory/test_page.py looks at, is not drawn."""
    monkeypatch.setattr("landscope.memory.report.page.write_report", lambda path, *_, **__: path)


def kept(**options):
    model = network()
    learn(model, sgd(model), task(0), 30, torch.Generator())
    return ls.keep(model, CRITERION, task(0), **options)


def penalised(memory, steps):
    optimizer, (inputs, targets) = sgd(memory.model), task(1)
    for _ in range(steps):
        optimizer.zero_grad()
        (CRITERION(memory.model(inputs), targets) + memory.penalty()).backward()
        optimizer.step()


def told(memory, tmp_path):
    """How often a report and a consolidation say that the memory was forgotten."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(2):
            memory.report({"old": task(0), "new": task(1)}, CRITERION, path=tmp_path / "report.html", points=2)
        memory.consolidate(CRITERION, task(1), name="new")
    return sum("no step was taken inside `with memory.training" in str(one.message) for one in caught)


@pytest.mark.parametrize("options", [{}, {"method": None, "replay": 8}])
def test_a_training_without_the_memory_is_told_once(tmp_path, options):
    memory = kept(**options)
    learn(memory.model, torch.optim.Adam(memory.model.parameters(), lr=1e-3), task(1), 30, torch.Generator())
    assert told(memory, tmp_path) == 1


@pytest.mark.parametrize("kind", [torch.optim.AdamW, torch.optim.SGD])
def test_a_fused_training_without_the_memory_is_told(tmp_path, kind):
    """As under the Hugging Face Trainer, whose default is fused: PyTorch counts no change of the weights then."""
    memory = kept()
    learn(memory.model, kind(memory.model.parameters(), lr=1e-3, fused=True), task(1), 30, torch.Generator())
    assert told(memory, tmp_path) == 1


def test_a_training_without_the_memory_after_a_restart_is_told(tmp_path):
    memory = kept()
    again = ls.TaskMemory(network(seed=1))
    again.model.load_state_dict(memory.model.state_dict())
    again.load_state_dict(memory.state_dict())
    learn(again.model, sgd(again.model), task(1), 30, torch.Generator())
    assert told(again, tmp_path) == 1


KEPT_IN_MIND = (
    "held", "held by its penalty", "loaded", "merged", "tried", "replaced", "by the loss", "by the loss alone",
    "strength 0",
)  # fmt: skip


@pytest.mark.parametrize("what", KEPT_IN_MIND)
def test_weights_that_are_changed_on_purpose_are_no_training_without_the_memory(tmp_path, what):
    memory = kept(**({"implicit": False} if what == "by the loss" else {}))
    model, before = memory.model, copy.deepcopy(memory.model.state_dict())
    other = copy.deepcopy(model)
    learn(other, sgd(other), task(1), 30, torch.Generator())
    if what == "strength 0":
        memory.strength = 0.0
    if what == "held":
        optimizer = sgd(model)
        with memory.training(optimizer):
            learn(model, optimizer, task(1), 30, torch.Generator())
    elif what == "held by its penalty":
        optimizer = sgd(model)
        with ls.ProximalSteps(memory.held, model, optimizer):
            learn(model, optimizer, task(1), 30, torch.Generator())
    elif what == "by the loss alone":
        penalised(memory, 30)
    elif what == "loaded":
        model.load_state_dict(other.state_dict())
    elif what == "merged":
        model.load_state_dict(other.state_dict())
        model.load_state_dict(ls.memory.interpolated(model, before, 0.5))
    elif what == "replaced":
        model.load_state_dict(copy.deepcopy(other).state_dict(), assign=True)
    else:
        learn(model, sgd(model), task(1), 30, torch.Generator())
        if what == "tried":
            model.load_state_dict(before)
    assert told(memory, tmp_path) == 0


def test_steps_without_the_memory_after_steps_of_its_penalty_are_told(tmp_path):
    memory = kept()
    penalised(memory, 1)
    learn(memory.model, sgd(memory.model), task(1), 30, torch.Generator())
    assert told(memory, tmp_path) == 1


def test_a_report_measures_a_budget_again_after_a_training_without_the_memory(tmp_path):
    memory, path = kept(budget=0.5, samples=20), tmp_path / "report.html"
    data = {"old": task(0), "new": task(1)}
    assert "budget: loss of old +0 % of" in str(memory.report(data, CRITERION, path=path))
    learn(memory.model, sgd(memory.model), task(1), 30, torch.Generator())
    with pytest.warns(UserWarning, match="this memory held nothing meanwhile"):
        said = str(memory.report(data, CRITERION, path=path))
    assert "budget: loss of old" in said
    assert "+0 %" not in said
    trained(memory)
    assert "budget" in str(memory.report(data, CRITERION, path=path))


def trained(memory):
    optimizer = sgd(memory.model)
    with memory.training(optimizer):
        learn(memory.model, optimizer, task(1), 2, torch.Generator())


@pytest.mark.parametrize("how", ["another layer", "new values"])
def test_a_new_head_of_the_same_shape_is_told_once(how):
    memory = kept()
    if how == "another layer":
        memory.model[4] = nn.Linear(memory.model[4].in_features, memory.model[4].out_features)
    else:
        memory.model[4].reset_parameters()
    with pytest.warns(UserWarning, match=r"4\.weight, 4\.bias have new values .* with select= of the weights"):
        trained(memory)
    trained(memory)  # warnings are errors here


@pytest.mark.parametrize("what", ["loaded", "rounded", "not selected", "strength 0"])
def test_other_values_on_purpose_are_no_new_head(what):
    memory = kept(**({"select": ["0.*", "2.*"]} if what == "not selected" else {}))
    if what == "loaded":
        memory.model.load_state_dict(network(seed=1).state_dict())
    elif what == "rounded":
        memory.model.bfloat16().float()
    else:
        memory.strength = 0.0 if what == "strength 0" else memory.strength
        memory.model[4].reset_parameters()
    trained(memory)


def test_layers_frozen_after_the_memory_was_made_are_to_be_frozen_before():
    model = network()
    memory = ls.keep(model, CRITERION, task(0))
    model[0].requires_grad_(False)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.05)
    with pytest.raises(InputError, match=r"frozen ones, 0\.weight, 0\.bias\. Freeze layers before you call ls\.keep"):
        memory.training(optimizer).__enter__()
    with ls.keep(model, CRITERION, task(0)).training(optimizer):
        learn(model, optimizer, task(1), 2, torch.Generator())
    part = torch.optim.SGD(model[4].parameters(), lr=0.05)
    with pytest.raises(InputError, match=r"freeze the others before you call ls\.keep"):
        ls.keep(model, CRITERION, task(0)).training(part).__enter__()


@pytest.mark.parametrize("is_known", [True, False])
def test_data_that_the_model_does_not_know_are_told(is_known):
    model = network()
    learn(model, sgd(model), task(0), 100, torch.Generator().manual_seed(0))
    x, y = task(0)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        ls.keep(model, CRITERION, (x, y if is_known else (y + 1) % 3), name="birds")
    if is_known:
        assert not told
        return
    assert [one.filename for one in told] == [__file__]
    assert re.search(r"does not know the data of 'birds'.*among 3 classes is 1\.099; pass .* old", str(told[0].message))


def test_a_language_model_that_knows_less_than_guessing_is_told():
    torch.manual_seed(0)
    model, tokens = nn.Sequential(nn.Embedding(11, 4), nn.Linear(4, 11)), torch.randint(11, (8, 6))
    with torch.no_grad():
        model[1].weight.mul_(10.0)
    with pytest.warns(LandscopeWarning, match=r"does not know .*among 11 classes is 2\.398"):
        ls.keep(model, language_model_losses, (tokens, tokens))


@pytest.mark.parametrize("what", ["losses", "weights", "bits"])
def test_data_that_the_model_does_not_know_are_told_for_every_cross_entropy(what):
    model = network()
    learn(model, sgd(model), task(0), 100, torch.Generator().manual_seed(0))
    x, y = task(0)
    wrong, not_one = (y + 1) % 3, 1 - nn.functional.one_hot(y, 3).float()
    given = {
        "losses": {"losses": lambda model, batch: nn.CrossEntropyLoss(reduction="none")(model(batch[0]), batch[1])},
        "weights": {"criterion": nn.CrossEntropyLoss(torch.tensor([1.0, 2.0, 5.0]))},
        "bits": {"criterion": nn.BCEWithLogitsLoss()},
    }[what]
    answers = "yes and no" if what == "bits" else "3 classes"
    loss = 0.6931 if what == "bits" else 1.099
    with pytest.warns(LandscopeWarning, match=rf"does not know the data.*guessing among {answers} is {loss}; pass"):
        ls.keep(model, data=(x, not_one if what == "bits" else wrong), **given)


def test_a_training_is_entered_once():
    model = torch.nn.Linear(2, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    training = ls.TaskMemory(model, method="l2", strength=1.0).training(optimizer)
    with training:
        model(torch.ones(1, 2)).sum().backward()
        optimizer.step()
    with pytest.raises(InputError, match="entered once"), training:
        pass
