"""The methods of a task memory and their options."""

import pytest
import torch
from torch import nn

import landscope as ls
from blobs import CRITERION, learn, network, sgd, task
from landscope.errors import InputError
from landscope.memory import LDC, METHODS, Basin
from landscope.memory.methods.registry import resolve_method
from landscope.reproduction.sequential.ablations import FreshVarianceLDC, LowFloorLDC, RandomDirections


def test_layers_without_kronecker_factors_are_refused_before_training():
    model = nn.Sequential(nn.Linear(2, 4), nn.LayerNorm(4), nn.Linear(4, 3))
    with pytest.raises(InputError, match=r"1.bias, 1.weight of LayerNorm"):
        ls.TaskMemory(model, method="kfac", strength=1.0)
    assert ls.TaskMemory(model, nn.Linear, method="kfac", strength=1.0).space.dim == 27


@pytest.mark.parametrize("method", [LDC(floor=False), LowFloorLDC(), RandomDirections()])
def test_a_loss_that_cannot_rise_far_enough_is_refused(method):
    """At uniform answers to random labels no weights of this reach make the loss 1e6 times as large."""
    model = network()
    memory, optimizer = ls.TaskMemory(model, method=method, strength=1.0, ratio=1e6, n_modes=3), sgd(model)
    with memory.training(optimizer):
        learn(model, optimizer, task(0), 20, torch.Generator())
    with pytest.raises(InputError, match="none within reach"):
        memory.consolidate(lambda outputs, _: outputs.tanh().mean(dim=1) + 2, task(0))
    assert memory.held is None


@pytest.mark.parametrize(("method", "window"), [
    (LDC("variance", floor=False), 30), (LDC("variance"), 30), (LDC("variance", factored=True), 30),
    (FreshVarianceLDC(), 60),
])  # fmt: skip
def test_one_mode_sets_its_own_scale(method, window):
    model = network()
    memory, optimizer = ls.TaskMemory(model, method=method, n_modes=1, window=window), sgd(model)
    with memory.training(optimizer):
        learn(model, optimizer, task(0), window, torch.Generator())
    memory.consolidate(CRITERION, task(0))
    assert memory.n_held == 1


def test_names_stand_for_the_default_options_and_objects_for_themselves():
    assert list(METHODS) == ["basin", "ldc", "ewc", "kfac", "mas", "l2"]
    for name, method in METHODS.items():
        assert resolve_method(name) == method == type(method)()
        assert method.settings()["name"] == name
    chosen = LDC("variance", factored=True)
    assert resolve_method(chosen) is chosen
    assert ls.TaskMemory(network()).method == Basin()


def test_options_that_contradict_each_other_are_refused():
    with pytest.raises(InputError, match="no floor with factored=True"):
        LDC(factored=True, floor=True)
    with pytest.raises(InputError, match='flatness="variance" with psi'):
        LDC(psi=3.0)
    with pytest.raises(InputError, match="psi"):
        LDC("variance", psi=-1.0)
