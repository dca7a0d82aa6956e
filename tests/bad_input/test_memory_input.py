"""What is no memory, optimiser or criterion at all, in a run without type checks."""

import pytest
import torch
from torch import nn

import landscope as ls
from landscope.adapters import huggingface, lightning
from landscope.errors import InputError, StorageError
from landscope.memory import EWC, LDC


def test_wrong_kinds_are_named():
    model = nn.Linear(3, 2)
    memory = ls.TaskMemory(model, method="ldc")
    for state in (None, []):
        with pytest.raises(StorageError, match="the state of a TaskMemory, of format 8; got"):
            memory.load_state_dict(state)
    with pytest.raises(InputError, match="optimizer of type Optimizer"), memory.training("adam"):
        pass
    data = (torch.randn(4, 3), torch.tensor([0, 1, 0, 1]))
    for criterion in ("cross_entropy", nn.CrossEntropyLoss):
        with pytest.raises(InputError, match="a criterion that can be called"):
            ls.EmpiricalRisk(model, criterion, data)


def test_arguments_of_a_wrong_kind_are_named():
    model = nn.Linear(3, 2)
    for wrong in (None, model.state_dict(), list(model.parameters())):
        with pytest.raises(InputError, match="the model of type Module; got"):
            ls.TaskMemory(wrong, method="ldc")
    for wrong in (3, LDC):
        with pytest.raises(InputError, match=r'a method, or one of the names basin.*Pass "basin"'):
            ls.TaskMemory(model, method=wrong)
    for select in (3, [3]):
        with pytest.raises(InputError, match="a glob over names or a class of modules"):
            ls.TaskMemory(model, select, method="ldc")
    with pytest.raises(InputError, match=r"parameters with a shape; got 0.weight"):
        ls.TaskMemory(nn.Sequential(nn.LazyLinear(2)), method="ldc")
    for ratio in ("e", True, 1.0):
        with pytest.raises(InputError, match="a ratio above 1"):
            ls.TaskMemory(model, ratio=ratio, method="ldc")
    for flag in ({"per_layer": "yes"}, {"implicit": None}):
        with pytest.raises(InputError, match="of type bool"):
            ls.TaskMemory(model, **{"method": "ldc", **flag})
    with pytest.raises(InputError, match=r"an integer of at least 1; got 2\.5\. Pass an integer"):
        ls.TaskMemory(model, n_modes=2.5, method="ldc")
    for callback in (huggingface.TaskMemoryCallback, lightning.TaskMemoryCallback):
        with pytest.raises(InputError, match="the memory of type TaskMemory; got Linear"):
            callback(model)


def test_options_of_a_wrong_kind_are_named():
    for wrong in ({"flatness": "guessed"}, {"floor": "last-mode"}, {"factored": 1}):
        with pytest.raises(InputError, match=next(iter(wrong))):
            LDC(**wrong)
    with pytest.raises(InputError, match="fisher to be one of"):
        EWC("diagonal")


def test_samples_that_are_neither_a_number_nor_a_function_are_refused():
    memory = ls.TaskMemory(nn.Linear(3, 2))
    with pytest.raises(InputError, match="samples"):
        memory.budget(0.1, samples="few")


@pytest.mark.parametrize(("arguments", "options", "said"), [
    ("model", {"strenght": 3.0}, "an argument of ls.keep to be one of .*strength"),
    ("swapped", {}, "the first argument"),
    ("model", {"at_end": True}, "a budget that at_end=True holds"),
    ("model", {"budget": "5%"}, "budget to be positive and finite; got '5%'. Pass the share"),
])  # fmt: skip
def test_slips_in_the_call_that_keeps_a_model_are_named(arguments, options, said):
    model, criterion = nn.Linear(2, 2), nn.CrossEntropyLoss()
    data = (torch.randn(8, 2), torch.randint(2, (8,)))
    first = (model, criterion) if arguments == "model" else (criterion.forward, model)
    with pytest.raises(InputError, match=said):
        ls.keep(*first, data, **options)


def test_a_name_that_is_no_text_is_refused_before_anything_is_held():
    memory = ls.TaskMemory(nn.Linear(3, 2))
    with pytest.raises(InputError, match="the name of the task of type str; got int"):
        memory.consolidate(nn.CrossEntropyLoss(), (torch.randn(4, 3), torch.tensor([0, 1, 0, 1])), name=1)
    assert memory.tasks == ()
