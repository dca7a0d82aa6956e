"""Checkpoints of trainers become rows: every form of file, its steps, and the whole model of each row."""

import json
import os
import re
import shutil
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import landscope as ls
from landscope.errors import InputError, NonFiniteError, StorageError
from landscope.trajectory import open_trajectory
from landscope.trajectory.checkpoints import load_checkpoint

STEPS = [2, 10, 100]  # as texts they are in another order


def network():
    return nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2), nn.Linear(2, 1))


def states():
    """State dicts whose values are known without a model: step s has weights s, buffers 1000 + s."""
    model, found = network(), {}
    buffers = {name for name, _ in model.named_buffers()}
    for step in STEPS:
        found[step] = {
            name: torch.full_like(value, step + 1000 * (name in buffers)) for name, value in model.state_dict().items()
        }
    return found


def as_torch(folder):
    for step, state in states().items():
        torch.save(state, folder / f"net_{step}.pt")
    torch.save({"state": {}}, folder / "optimizer.pt")


def nested_in(key, prefix=""):
    def write(folder):
        for step, state in states().items():
            content = {key: {prefix + name: value for name, value in state.items()}, "optimizer": {"lr": 0.1}}
            torch.save(content, folder / f"epoch=3-step={step}.ckpt")

    return write


def lightning(folder):
    """The step is in the file, the names count epochs, and the newest is there twice."""
    for epoch, (step, state) in enumerate(states().items()):
        weights = {f"model.{name}": value for name, value in state.items()}
        content = {"state_dict": {**weights, "metric.total": torch.ones(1)}, "global_step": step, "epoch": epoch}
        torch.save(content, folder / f"epoch={epoch}.ckpt")
    torch.save(content, folder / "last.ckpt")


def as_safetensors(folder):
    for step, state in states().items():
        save_file(state, folder / f"step{step:06d}.safetensors")


def hugging_face(folder):
    """Folders of a Trainer, and its final model beside them; the second is in two files, the third of torch.save."""
    first, second, third = (folder / f"checkpoint-{number}" for number in STEPS)
    for part in (first, second, third):
        part.mkdir()
    (one, two, three) = states().values()
    save_file(one, first / "model.safetensors")
    (first / "trainer_state.json").write_text(json.dumps({"global_step": 2}))
    files = {name: f"model-0000{1 + (name > '1')}-of-00002.safetensors" for name in two}
    for file in set(files.values()):
        save_file({name: two[name] for name in two if files[name] == file}, second / file)
    (second / "model.safetensors.index.json").write_text(json.dumps({"weight_map": files}))
    torch.save(three, third / "pytorch_model.bin")
    torch.save({}, third / "training_args.bin")
    save_file(three, folder / "model.safetensors")


def wrapped(folder):
    for step, state in states().items():
        torch.save({f"module._orig_mod.{name}": value for name, value in state.items()}, folder / f"iter_{step}.pth")


WRITERS = {
    "torch": as_torch, "under state_dict": nested_in("state_dict"), "under model": nested_in("model"),
    "under model_state_dict, of DDP": nested_in("model_state_dict", "module."), "lightning": lightning,
    "safetensors": as_safetensors, "hugging face": hugging_face, "compiled under DDP": wrapped,
}  # fmt: skip


@pytest.mark.parametrize("form", WRITERS)
def test_every_form_gives_the_same_rows_and_models(tmp_path, form):
    WRITERS[form](tmp_path)
    model = network()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    path = ls.Trajectory.from_checkpoints(tmp_path, model, "*.weight")
    assert path.steps.tolist() == STEPS
    assert path.every is None
    rows = torch.tensor(STEPS, dtype=torch.float32)[:, None].expand(3, 10)
    assert torch.equal(path.weights, rows)
    assert path.space is not None
    assert path.space.names == ("0.weight", "1.weight", "2.weight")
    whole = path.model_at(10, model)
    assert {value.flatten()[0].item() for value in whole.parameters()} == {10.0}
    assert torch.equal(whole[1].running_mean, torch.full((2,), 1010.0))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_list_and_a_mapping_have_the_steps_given(tmp_path):
    as_torch(tmp_path)
    files = [tmp_path / f"net_{step}.pt" for step in STEPS]
    given = ls.Trajectory.from_checkpoints(files, network(), steps=[5, 6, 7])
    assert given.steps.tolist() == [5, 6, 7]
    assert given.every == 1
    in_memory = ls.Trajectory.from_checkpoints({9: states()[2], 3: files[1]}, network())
    assert in_memory.steps.tolist() == [3, 9]
    assert in_memory.weights[:, 0].tolist() == [10.0, 2.0]
    assert in_memory.model_at(9, network())[1].running_var[0].item() == 1002.0


def test_the_risk_at_a_row_has_its_buffers(tmp_path):
    """One feature of mean mu and variance s^2 in the statistics: the output is g (w x - mu)/s + b."""
    model = nn.Sequential(nn.Linear(1, 1, bias=False), nn.BatchNorm1d(1, eps=1e-9))
    torch.save(
        {"0.weight": torch.tensor([[3.0]]), "1.weight": torch.ones(1), "1.bias": torch.zeros(1),
         "1.running_mean": torch.tensor([1.0]), "1.running_var": torch.tensor([4.0]),
         "1.num_batches_tracked": torch.tensor(7)},
        tmp_path / "step_40.pt",
    )  # fmt: skip
    path = ls.Trajectory.from_checkpoints(tmp_path, model, "0.weight")
    data = (torch.full((2, 1), 5.0), torch.zeros(2, 1))
    risk = ls.EmpiricalRisk(path.model_at(40, model), nn.MSELoss(), data, space=path.space)
    assert risk(path.row(0)).item() == pytest.approx(((3 * 5 - 1) / 2) ** 2)


def test_rows_on_disk_are_the_same_and_know_their_checkpoints(tmp_path):
    (tmp_path / "files").mkdir()
    as_torch(tmp_path / "files")
    model = network()
    path = ls.Trajectory.from_checkpoints(tmp_path / "files", model, "0.*", path=tmp_path / "rows")
    again = open_trajectory(tmp_path / "rows")
    assert torch.equal(path.weights, torch.tensor(STEPS, dtype=torch.float32)[:, None].expand(3, 8))
    assert torch.equal(again.weights, path.weights)
    assert again.steps.tolist() == STEPS
    assert again.window(10).model_at(100, model)[2].bias.tolist() == [100.0]
    torch.save(states()[2], tmp_path / "files" / "net_100.pt")
    with pytest.raises(StorageError, match="The checkpoint was overwritten"):
        again.model_at(100, model)
    with pytest.raises(StorageError, match="a new folder"):
        ls.Trajectory.from_checkpoints(tmp_path / "files", model, "0.*", path=tmp_path / "rows")


def test_one_whole_model_at_a_time_is_in_memory(tmp_path, monkeypatch):
    as_torch(tmp_path)
    rows = tmp_path / "rows"
    monkeypatch.setattr("landscope.trajectory.stored._MEMORY_BYTES", 3 * 15 * 4 - 1)
    with pytest.raises(InputError, match="Pass path="):
        ls.Trajectory.from_checkpoints(tmp_path, network())
    monkeypatch.setattr("landscope.trajectory.stored._BLOCK_BYTES", 1)
    appended = []
    append = ls.trajectory.stored.RowStore.append
    monkeypatch.setattr(
        "landscope.trajectory.stored.RowStore.append",
        lambda self, **blocks: (appended.append(len(blocks["weights"])), append(self, **blocks)),
    )
    assert ls.Trajectory.from_checkpoints(tmp_path, network(), path=rows).weights.shape == (3, 15)
    assert appended == [1, 1, 1]


def test_a_row_of_every_parameter_needs_no_checkpoint():
    model = nn.Linear(2, 1)
    path = ls.Trajectory.of(torch.tensor([[1.0, 2.0, 3.0]]), space=ls.ParameterSpace.of(model))
    assert path.model_at(1, model).weight.tolist() == [[1.0, 2.0]]
    part = ls.Trajectory.of(torch.ones(1, 2), space=ls.ParameterSpace.of(model, "weight"))
    with pytest.raises(InputError, match="a trajectory without bias"):
        part.model_at(1, model)
    with pytest.raises(InputError, match="the step of a row; got 2"):
        path.model_at(2, model)


def test_tied_weights_may_stand_under_one_name(tmp_path):
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.head = nn.Embedding(4, 2), nn.Linear(2, 4, bias=False)
            self.head.weight = self.embed.weight

    save_file({"embed.weight": torch.arange(8.0).view(4, 2)}, tmp_path / "step_1.safetensors")
    path = ls.Trajectory.from_checkpoints(tmp_path, Tied())
    assert path.weights.tolist() == [list(map(float, range(8)))]


def test_without_safetensors_the_error_says_what_to_install(tmp_path, monkeypatch):
    save_file({"weight": torch.ones(1, 2)}, tmp_path / "step_1.safetensors")
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    with pytest.raises(StorageError, match=r"the package safetensors.*pip install safetensors"):
        ls.Trajectory.from_checkpoints(tmp_path, nn.Linear(2, 1, bias=False))


class Evil:
    """An object whose loading would call a function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


class Hyperparameters(dict):
    """As of Lightning: a mapping of a class of its own."""


def test_objects_beside_the_weights_are_never_made(tmp_path):
    """Trainers keep paths, hyperparameters and callbacks in the file; loading it must run none of their code."""
    made = tmp_path / "made"
    content = {
        "state_dict": states()[2], "global_step": 2, "callbacks": Evil(shutil.copyfile, __file__, str(made)),
        "hyper_parameters": Hyperparameters(path=Path("here"), callback=test_objects_beside_the_weights_are_never_made),
    }  # fmt: skip
    torch.save(content, tmp_path / "epoch=0.ckpt")
    path = ls.Trajectory.from_checkpoints(tmp_path, network())
    assert path.steps.tolist() == [2]
    assert path.weights.unique().tolist() == [2.0]
    assert not made.exists()
    torch.save({**content, "callbacks": Evil(os.mkdir, str(made))}, tmp_path / "epoch=0.ckpt")
    with pytest.raises(StorageError, match="Objects in a file are never made"):  # torch refuses such a file
        ls.Trajectory.from_checkpoints([tmp_path / "epoch=0.ckpt"], network(), steps=[2])
    assert not made.exists()


def empty(_):
    pass


def without_step(folder):
    torch.save(states()[2], folder / "model_a.pt")
    torch.save(states()[10], folder / "model_b.pt")


def in_epochs(folder):
    for step, state in states().items():
        torch.save(state, folder / f"epoch_{step}.pt")


def of_another(folder):
    torch.save(nn.Linear(2, 2).state_dict(), folder / "step_1.pt")


def twice(folder):
    torch.save(states()[2], folder / "step_1.pt")
    torch.save(states()[2], folder / "step_01.pt")


def no_weights(folder):
    torch.save({"lr": 0.1}, folder / "step_1.pt")


def adapters(folder):
    save_file({"lora": torch.ones(1)}, folder / "adapter_model.safetensors")
    torch.save({}, folder / "rng_state.pth")


def not_finite(folder):
    torch.save({name: value / 0 for name, value in states()[2].items()}, folder / "step_1.pt")


def two_of_it(folder):
    state = states()[2]
    torch.save(
        {f"{part}.{name}": value for part in ("student", "teacher") for name, value in state.items()},
        folder / "step_1.pt",
    )


@pytest.mark.parametrize(
    ("write", "kind", "message"),
    [
        (empty, StorageError, "got an empty folder"),
        (without_step, InputError, "got none in model_a. Pass steps="),
        (in_epochs, InputError, "a number of epochs in epoch_2. Pass steps_per_epoch="),
        (of_another, InputError, "a checkpoint of this model"),
        (twice, InputError, r"two at step 1: step_\d+.pt and step_\d+.pt"),
        (no_weights, StorageError, "got lr"),
        (adapters, InputError, "adapters alone, whose lora the model does not have"),
        (not_finite, NonFiniteError, "weights in the checkpoint"),
        (two_of_it, InputError, "under 'student.' and 'teacher.'"),
    ],
)
def test_what_is_no_checkpoint_is_refused(tmp_path, write, kind, message):
    write(tmp_path)
    with pytest.raises(kind, match=message):
        ls.Trajectory.from_checkpoints(tmp_path, network())


def test_epochs_count_times_their_steps(tmp_path):
    in_epochs(tmp_path)
    path = ls.Trajectory.from_checkpoints(tmp_path, network(), steps_per_epoch=7)
    assert path.steps.tolist() == [14, 70, 700]


def test_other_arguments_are_refused(tmp_path):
    with pytest.raises(StorageError, match=re.escape(f"{tmp_path / 'nowhere'}; got nothing")):
        ls.Trajectory.from_checkpoints(tmp_path / "nowhere", network())
    with pytest.raises(InputError, match="got a state dict"):
        ls.Trajectory.from_checkpoints(network().state_dict(), network())
    with pytest.raises(InputError, match="at least one checkpoint"):
        ls.Trajectory.from_checkpoints({}, network())
    with pytest.raises(InputError, match="steps for 1 checkpoints; got 2"):
        ls.Trajectory.from_checkpoints([states()[2]], network(), steps=[1, 2])


def test_a_checkpoint_of_another_model_names_both():
    said = "another model: expected bias [3], weight [3, 2]; found layer.0.w [4]."
    with pytest.raises(InputError, match=re.escape(said)):
        load_checkpoint({"layer.0.w": torch.zeros(4)}, nn.Linear(2, 3))
