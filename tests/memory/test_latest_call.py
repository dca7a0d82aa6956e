"""What a model was last called with in training, and its outputs at other weights."""

from __future__ import annotations

import copy
import io
import types

import pytest
import torch
from torch import nn

from landscope.memory import KFAC, Replay, TaskMemory
from landscope.memory.strength.latest_call import LatestCall

CRITERION = nn.CrossEntropyLoss()


def kept(**options):
    """A memory that holds a task, its model, an optimiser, and a batch of a second task."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2))
    memory = TaskMemory(model, strength=1.0, **options)
    memory.consolidate(CRITERION, (torch.randn(20, 3), torch.randint(2, (20,))))
    return memory, model, torch.optim.SGD(model.parameters(), lr=0.5), (torch.randn(7, 3), torch.randint(2, (7,)))


def learn(call, optimizer, batch, steps):
    for _ in range(steps):
        optimizer.zero_grad()
        CRITERION(call(batch[0]), batch[1]).backward()
        optimizer.step()


def watched(model, *args, **kwargs):
    latest = LatestCall()
    with latest.watching(model):
        latest.wanted = True
        model(*args, **kwargs)
        return latest.outputs(model)


def test_replayed_samples_are_not_the_batch_of_the_training():
    memory, model, optimizer, batch = kept(replay=Replay(5))
    latest, seen = memory._tasks.outputs._latest, []
    outputs = latest.outputs
    latest.outputs = lambda model: seen.append(latest.call[0][0]) or outputs(model)
    with memory.training(optimizer):
        learn(model, optimizer, batch, 20)
    assert len(seen) == 3
    assert all(each is batch[0] for each in seen)


def test_a_batch_is_kept_for_the_next_measurement_alone():
    memory, model, optimizer, batch = kept()
    latest = memory._tasks.outputs._latest
    with memory.training(optimizer):
        for step in range(1, 23):
            assert latest.call is None
            CRITERION(model(batch[0]), batch[1]).backward()
            assert (latest.call is None) == (step % 20 != 0)
            optimizer.step()
    assert latest.call is None


@pytest.mark.parametrize("copied", ["copy", "file"])
def test_copies_of_a_model_in_training_keep_nothing_of_the_memory(copied):
    memory, model, optimizer, batch = kept()
    with memory.training(optimizer):
        learn(model, optimizer, batch, 19)
        if copied == "copy":
            other = copy.deepcopy(model)
        else:
            torch.save(model, file := io.BytesIO())
            file.seek(0)
            other = torch.load(file, weights_only=False)
        (hook,) = other._forward_pre_hooks.values()
        other(batch[0])
        assert hook.__self__.call is None
        assert memory._tasks.outputs._latest.call is None


@pytest.mark.parametrize("outer", [True, False])
def test_a_compiled_model_is_measured_where_the_memory_has_it(outer):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2))
    compiled = torch.compile(model, backend="eager")
    batch = torch.randn(7, 3), torch.randint(2, (7,))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    learn(compiled, optimizer, batch, 1)  # from now on its graph has no hook
    memory = TaskMemory(compiled if outer else model, strength=1.0)
    memory.consolidate(CRITERION, batch)
    training = memory.training(optimizer)
    if outer:
        with training:
            learn(compiled, optimizer, (batch[0], 1 - batch[1]), 20)
        assert memory.output_ratio > 1
        return
    with pytest.warns(UserWarning, match="make the memory with the compiled model"), training:
        learn(compiled, optimizer, (batch[0], 1 - batch[1]), 20)


def test_keyword_arguments_and_logits_alone():
    class Model(nn.Linear):
        def forward(self, *, x, labels):
            logits = super().forward(x)
            hidden = {"hidden": torch.ones(9, requires_grad=True)}
            return types.SimpleNamespace(loss=logits.sum() + labels, logits=logits, other=hidden)

    model, x = Model(2, 3), torch.randn(4, 2)
    (found,) = watched(model, x=x, labels=torch.ones(()))
    assert torch.equal(found, x @ model.weight.T + model.bias)


def test_outputs_have_the_precision_of_the_weights_in_spite_of_autocast():
    """Also of a batch that autocast made coarser, and where accelerate put the autocast into the model."""
    model, x = nn.Linear(30, 3), torch.randn(4, 30)
    right = (x.bfloat16().float() @ model.weight.T + model.bias).detach()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        (found,) = watched(model, x.bfloat16())
    torch.testing.assert_close(found, right)

    method = model.forward
    model._original_forward, model.forward = method, torch.autocast("cpu", dtype=torch.bfloat16)(method)
    wrapped = model.forward
    assert model(x).dtype == torch.bfloat16
    torch.testing.assert_close(watched(model, x)[0], (x @ model.weight.T + model.bias).detach())
    assert model.forward is wrapped


def test_weights_of_several_precisions_keep_the_autocast_that_they_need():
    model, x = nn.Sequential(nn.Linear(3, 4).bfloat16(), nn.Linear(4, 2)), torch.randn(5, 3).bfloat16()
    latest = LatestCall()
    with latest.watching(model):
        latest.wanted = True
        with torch.autocast("cpu", dtype=torch.bfloat16):
            right = model(x).detach()
        assert torch.equal(latest.outputs(model)[0], right)
        assert latest.precision(model) == torch.finfo(torch.bfloat16).eps
    assert latest.call is None


def test_half_weights_have_a_ratio():
    memory, model, optimizer, batch = kept()
    model.to(torch.bfloat16)
    with memory.training(optimizer):
        learn(model, optimizer, (10 * batch[0].bfloat16(), batch[1]), 20)
    assert 1 <= memory.output_ratio < float("inf")


def test_a_call_that_fails_ends_no_training_and_is_said():
    class Model(nn.Linear):
        fails = False

        def forward(self, x):
            if self.fails and not self.training:
                raise RuntimeError("only in train mode")
            return super().forward(x)

    model, batch = Model(3, 2), (torch.randn(7, 3), torch.randint(2, (7,)))
    memory = TaskMemory(model, strength=1.0)
    memory.consolidate(CRITERION, batch)
    model.fails = True
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.warns(UserWarning, match="only in train mode"), memory.training(optimizer):
        learn(model, optimizer, batch, 20)
    assert memory.output_ratio == 1
    assert model.training


@pytest.mark.parametrize("options", [{"method": "basin"}, {"method": KFAC(), "follow_outputs": True}])
def test_budgets_follow_outputs_only_where_these_correct_them(options):
    memory, model, optimizer, batch = kept(**options)
    for at_end in (False, True):
        memory.budget(0.1, samples=lambda model: float(CRITERION(model(batch[0]), batch[1])), at_end=at_end)
        with memory.training(optimizer):
            assert len(model._forward_pre_hooks) == at_end
            learn(model, optimizer, batch, 1)
    assert not model._forward_pre_hooks


def test_a_budget_too_says_that_outputs_could_not_be_compared():
    memory, model, optimizer, batch = kept()
    memory.budget(0.1)
    with pytest.warns(UserWarning, match="no outputs of the model could be compared"), memory.training(optimizer):
        learn(lambda x: model[2](model[1](model[0](x))), optimizer, batch, 20)
