"""States of a task memory: what is refused, and what comes back."""

import copy
import pickle

import pytest
import torch
from torch import nn

import landscope as ls
from blobs import CRITERION, learn, network, sgd, task
from landscope.errors import InputError, StorageError
from landscope.memory import LDC
from landscope.storage.digests import digest_of


def test_states_of_other_settings_are_refused():
    memory = ls.TaskMemory(network(), method="ldc")
    with pytest.raises(StorageError, match="the state of a TaskMemory"):
        memory.load_state_dict({"weights": torch.zeros(2)})
    with pytest.raises(StorageError, match="n_modes"):
        memory.load_state_dict(ls.TaskMemory(network(), n_modes=3, method="ldc").state_dict())
    with pytest.raises(StorageError, match="parameters"):
        memory.load_state_dict(ls.TaskMemory(network(), "2.weight", method="ldc").state_dict())


def test_damaged_states_are_refused_and_change_nothing():
    memory = ls.TaskMemory(network(), n_modes=4, window=30, method="ldc")
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
    memory, optimizer = ls.TaskMemory(model, n_modes=4, window=30, method="ldc"), sgd(model)
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
    memory, optimizer = ls.TaskMemory(model, n_modes=4, window=30, method="ldc"), sgd(model)
    state = memory.state_dict()
    with memory.training(optimizer):
        learn(model, optimizer, task(0), 20, torch.Generator())
        with pytest.raises(InputError, match="a memory outside of a training"):
            memory.load_state_dict(state)
    memory.consolidate(CRITERION, task(0))
    assert memory.n_held == 4
    again = ls.TaskMemory(model, n_modes=4, window=30, method="ldc")
    again.load_state_dict(memory.state_dict())
    assert again.n_held == 4


def test_a_state_of_another_method_or_of_other_options_is_refused():
    state = ls.TaskMemory(network(), method="ldc").state_dict()
    assert state["settings"]["method"]["name"] == "ldc"
    for other in (LDC(floor=False), LDC("variance"), LDC(factored=True)):
        with pytest.raises(StorageError, match=r"method.*floor"):
            ls.TaskMemory(network(), method=other, strength=4.0).load_state_dict(state)
    with pytest.raises(StorageError, match=r"method.*ewc"):
        ls.TaskMemory(network(), method="ewc", strength=4.0).load_state_dict(state)
    ls.TaskMemory(network(), method=LDC(floor=True)).load_state_dict(state)


def consolidated():
    """A memory of one task with rows of the next, and its model."""
    model = network()
    memory, optimizer = ls.TaskMemory(model, n_modes=4, window=30, method="ldc"), sgd(model)
    for number in range(2):
        with memory.training(optimizer):
            learn(model, optimizer, task(number), 30, torch.Generator())
        if number == 0:
            memory.consolidate(CRITERION, task(0))
    return memory


FOREIGN = {
    "four of all weights": lambda state: cut(state, 4),
    "rows of four weights": lambda state: state | {"rows": first_columns(state["rows"], 4)},
    "other names": lambda state: with_setting(state, "parameters", ["a", "b"]),
    "other shapes": lambda state: with_setting(state, "shapes", [[1]]),
    "more tasks than were learned": lambda state: state | {"n_tasks": 99},
    "a negative count": lambda state: state | {"n_held": -1},
    "a step that is true": lambda state: state | {"step": True},
    "integer rows": lambda state: with_rows(state, weights=state["rows"]["weights"].long()),
    "rows of half precision": lambda state: with_rows(state, weights=state["rows"]["weights"].half()),
    "steps that fall": lambda state: with_rows(state, steps=state["rows"]["steps"].flip(0)),
    "one changed weight": lambda state: state | {"penalty": state["penalty"] | {"anchor": bumped(state)}},
    "a penalty of another kind": lambda state: state | {"penalty": state["penalty"] | {"kind": "trajectory"}},
    "no penalty": lambda state: state | {"penalty": None},
}  # fmt: skip


MAY_BE = {"more tasks than were learned", "one changed weight", "rows of half precision"}
"""What such a memory may have, so that the digest alone tells it."""


def first_columns(rows, count):
    return rows | {"weights": rows["weights"][:, :count]}


def with_rows(state, **columns):
    return state | {"rows": state["rows"] | columns}


def cut(state, count):
    length = state["penalty"]["anchor"].shape
    penalty = {
        name: value[..., :count] if isinstance(value, torch.Tensor) and value.shape[-1:] == length else value
        for name, value in state["penalty"].items()
    }
    return state | {"penalty": penalty, "rows": first_columns(state["rows"], count)}


def with_setting(state, name, value):
    return state | {"settings": state["settings"] | {name: value}}


def bumped(state):
    anchor = state["penalty"]["anchor"].clone()
    anchor[0] = torch.nextafter(anchor[0], anchor[0] + 1)
    return anchor


def digested(state):
    """The state with the digest that its own writer would give it."""
    content = {name: value for name, value in state.items() if name != "digest"}
    return {**content, "digest": digest_of(content)}


def test_foreign_content_is_refused_and_changes_nothing():
    memory = consolidated()
    good = memory.state_dict()
    for change in FOREIGN.values():
        with pytest.raises(StorageError):
            memory.load_state_dict(change(good))
        assert memory.state_dict()["digest"] == good["digest"]


def test_foreign_content_is_refused_with_a_digest_of_its_own_too():
    """Whoever makes a digest anew, by a program of their own, still meets the checks of the fields."""
    memory = consolidated()
    good = memory.state_dict()
    for name, change in FOREIGN.items():
        if name in MAY_BE:
            continue
        with pytest.raises(StorageError):
            memory.load_state_dict(digested(change(good)))
        assert memory.state_dict()["digest"] == good["digest"], name


class Sum(nn.Module):
    """A model that holds the memory that holds it, as a LightningModule may."""

    def __init__(self):
        super().__init__()
        self.layers, self.memory = network(), None

    def forward(self, x):
        return self.layers(x)


def test_a_memory_that_cannot_be_pickled_is_refused_with_the_way_to_save_it(tmp_path):
    memory = ls.keep(network(), CRITERION, task(0), budget=0.05)
    for pickled in (lambda: torch.save({"memory": memory}, tmp_path / "memory.pt"), lambda: pickle.dumps(memory)):
        with pytest.raises(InputError, match=r"the memory itself.*torch\.save\(memory\.state_dict\(\), path\)"):
            pickled()


@pytest.mark.parametrize("budget", [None, 0.05])
def test_a_copied_memory_is_held_alone(budget):
    model = Sum()
    model.memory = ls.keep(model, CRITERION, task(0), budget=budget, strength=100.0)
    copied = copy.deepcopy(model)
    assert copied.memory.model is copied
    optimizer = sgd(copied)
    with copied.memory.training(optimizer):
        learn(copied, optimizer, task(1), 5, torch.Generator())
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), network().parameters(), strict=True))
    assert budget is None or copied.memory.rise.measured != model.memory.rise.measured == 0


def test_a_copy_of_cloudpickle_in_another_package_is_not_refused():
    """Ray and joblib bring their own; it pickles functions by their code, which pickle refuses."""
    memory = ls.keep(network(), CRITERION, task(0), budget=0.05)
    module = {"__name__": "ray.cloudpickle.cloudpickle"}
    exec("def reduced(memory): return memory.__reduce_ex__(4)", module)
    assert module["reduced"](memory)[0] is not None
    module["__name__"] = "user.pickled"
    with pytest.raises(InputError, match="the memory itself"):
        module["reduced"](memory)


def test_a_memory_without_samples_still_pickles():
    model = Sum()
    model.memory = ls.keep(model, CRITERION, task(0))
    again = pickle.loads(pickle.dumps(model.memory))
    assert again.model.memory is again
    w = again.space.flatten(again.model) + 0.1
    assert torch.equal(again.held(w), model.memory.held(w))
