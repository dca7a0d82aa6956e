"""A wrapper around a model changes no name and no number."""

import copy
import warnings

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel

import landscope as ls
from landscope.errors import InputError


@pytest.fixture
def one_process():
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3))


def with_compiled_layer(model):
    model[0] = torch.compile(model[0], backend="eager")
    return model


WRAPPERS = {
    "compiled": lambda model: torch.compile(model, backend="eager"),
    "a compiled layer": with_compiled_layer,
    "data parallel": nn.DataParallel,
    "averaged": AveragedModel,
    "distributed": nn.parallel.DistributedDataParallel,
    "compiled and distributed": lambda model: torch.compile(
        nn.parallel.DistributedDataParallel(model), backend="eager"
    ),
}
INPUTS = torch.randn(30, 4, generator=torch.Generator().manual_seed(1))
TARGETS = torch.randint(3, (30,), generator=torch.Generator().manual_seed(2))


@pytest.mark.usefixtures("one_process")
@pytest.mark.parametrize("name", WRAPPERS)
def test_names_recording_and_risk_are_those_of_the_inner_model(name):
    bare = network()
    wrapped = WRAPPERS[name](copy.deepcopy(bare))
    space = ls.ParameterSpace.of(bare)
    assert ls.ParameterSpace.of(wrapped) == space
    assert ls.ParameterSpace.of(wrapped, "0.weight").names == ("0.weight",)
    assert ls.ParameterSpace.of(wrapped, nn.Linear) == space
    assert torch.equal(space.flatten(wrapped), space.flatten(bare))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        risk = ls.EmpiricalRisk(wrapped, nn.CrossEntropyLoss(), (INPUTS, TARGETS))
    expected = ls.EmpiricalRisk(bare, nn.CrossEntropyLoss(), (INPUTS, TARGETS))
    assert risk.is_traced
    w = risk.w0 + 0.1
    assert float(risk(w)) == float(expected(w))
    closure = ls.EmpiricalRisk.from_closure(
        wrapped, lambda model, batch: F.cross_entropy(model(batch[0]), batch[1], reduction="none"), [(INPUTS, TARGETS)]
    )
    assert float(closure(w)) == pytest.approx(float(expected(w)), rel=1e-6)


@pytest.mark.usefixtures("one_process")
@pytest.mark.parametrize("name", WRAPPERS)
def test_kronecker_factors_find_the_layers_inside_a_wrapper(name):
    bare = network()
    penalties = []
    for model in (bare, WRAPPERS[name](copy.deepcopy(bare))):
        memory = ls.TaskMemory(model, method="kfac", strength=1.0)
        penalties.append(memory.consolidate(nn.CrossEntropyLoss(), (INPUTS, TARGETS)))
    w = torch.ones(memory.space.dim)
    assert float(penalties[0](w)) == float(penalties[1](w)) > 0


def test_a_loss_that_holds_a_compiled_layer_follows_the_weights_and_one_that_holds_its_tensor_is_refused():
    model = with_compiled_layer(network())
    inner, tensor = model[0]._orig_mod, model[0]._orig_mod.weight

    def decayed(layer):
        return lambda outputs, targets: (
            F.cross_entropy(outputs, targets, reduction="none") + layer.weight.square().sum()
        )

    for layer in (model[0], inner):
        risk = ls.EmpiricalRisk(model, decayed(layer), (INPUTS, TARGETS))
        plain = ls.EmpiricalRisk(model, nn.CrossEntropyLoss(), (INPUTS, TARGETS))
        w = risk.w0 + 0.1
        assert float(risk(w)) == pytest.approx(
            float(plain(w)) + float((tensor.detach() + 0.1).square().sum()), rel=1e-6
        )
    with pytest.raises(InputError, match=r"a function that holds 0\.weight itself"):
        ls.EmpiricalRisk(
            model, lambda o, t: F.cross_entropy(o, t, reduction="none") + tensor.square().sum(), (INPUTS, TARGETS)
        )


@pytest.mark.usefixtures("one_process")
@pytest.mark.parametrize("name", WRAPPERS)
def test_a_wrapped_model_is_trained_recorded_and_protected(name):
    wrapped = WRAPPERS[name](network())
    optimizer = torch.optim.SGD(wrapped.parameters(), lr=0.1)
    memory = ls.TaskMemory(wrapped, method="ewc", strength=1.0)
    eager = torch.compiler.set_stance("force_eager")  # to compile takes a second, and changes no name
    with eager, ls.TrajectoryRecorder(wrapped, optimizer) as recorder, memory.training(optimizer):
        for _ in range(3):
            optimizer.zero_grad()
            F.cross_entropy(wrapped(INPUTS), TARGETS).backward()
            optimizer.step()
    memory.consolidate(nn.CrossEntropyLoss(), (INPUTS, TARGETS))
    space = ls.ParameterSpace.of(network())
    assert recorder.space == space
    assert torch.equal(recorder.trajectory().row(-1), space.flatten(wrapped))
