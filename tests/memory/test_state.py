"""States of a task memory: what is refused, and what comes back."""

import pytest
import torch

import landscope as ls
from blobs import CRITERION, learn, network, sgd, task
from landscope.errors import InputError, StorageError
from landscope.memory import LDC


def test_states_of_other_settings_are_refused():
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


def test_a_state_is_not_loaded_in_a_training_and_restores_the_number_of_directions():
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


def test_a_state_of_another_method_or_of_other_options_is_refused():
    state = ls.TaskMemory(network()).state_dict()
    assert state["settings"]["method"]["name"] == "ldc"
    for other in (LDC(floor=False), LDC("variance"), LDC(factored=True)):
        with pytest.raises(StorageError, match=r"method.*floor"):
            ls.TaskMemory(network(), method=other, strength=4.0).load_state_dict(state)
    with pytest.raises(StorageError, match=r"method.*ewc"):
        ls.TaskMemory(network(), method="ewc", strength=4.0).load_state_dict(state)
    ls.TaskMemory(network(), method=LDC(floor=True)).load_state_dict(state)
