"""Models in several files, in folders of accelerate and of FSDP, and adapters without their model."""

import json
import pickle
import warnings

import pytest
import torch
import torch.distributed.checkpoint as dcp
from safetensors.torch import save_file
from torch import nn
from torch.distributed.checkpoint.filesystem import _StorageInfo
from torch.distributed.checkpoint.metadata import (
    ChunkStorageMetadata,
    Metadata,
    MetadataIndex,
    TensorProperties,
    TensorStorageMetadata,
)

import landscope as ls
from landscope.errors import InputError, StorageError
from landscope.trajectory.checkpoints import load_weights

STEPS = [2, 10]


def network():
    return nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2), nn.Linear(2, 1))


def state_of(step):
    """Every value of the state is known: the step, and 1000 more for buffers."""
    model = network()
    buffers = {name for name, _ in model.named_buffers()}
    return {name: torch.full_like(v, step + 1000 * (name in buffers)) for name, v in model.state_dict().items()}


def save_shards(folder, state, suffix="safetensors", stem="model", index=True):
    names = list(state)
    files = {name: f"{stem}-{1 + (i % 3):05d}-of-00003.{suffix}" for i, name in enumerate(names)}
    for file in set(files.values()):
        part = {name: state[name] for name in names if files[name] == file}
        (save_file if suffix == "safetensors" else torch.save)(part, folder / file)
    if index:
        text = json.dumps({"metadata": {"total_size": 1}, "weight_map": files})
        (folder / f"{stem}.{suffix}.index.json").write_text(text)


def save_distributed(folder, content):
    with warnings.catch_warnings():  # of one process
        warnings.simplefilter("ignore")
        dcp.save(content, checkpoint_id=folder, no_dist=True)


def of_shards(folder, state):
    save_shards(folder, state)


def of_torch_shards(folder, state):
    save_shards(folder, state, "bin", "pytorch_model")


def of_other_shards(folder, state):
    save_shards(folder, state, stem="diffusion_pytorch_model")


def without_index(folder, state):
    save_shards(folder, state, index=False)


def of_accelerate(folder, state):
    save_file(state, folder / "model.safetensors")
    for name in ("optimizer.bin", "scheduler.bin", "sampler.bin", "random_states_0.pkl", "scaler.pt"):
        torch.save({"state": {0: torch.ones(2)}}, folder / name)
    save_file({"other": torch.ones(1)}, folder / "model_1.safetensors")


def of_accelerate_torch(folder, state):
    of_accelerate(folder, state)
    (folder / "model.safetensors").unlink()
    torch.save(state, folder / "pytorch_model.bin")


def of_fsdp(folder, state):
    optimizer = {"state": {"0": {"exp_avg": torch.ones(3, 2)}}, "param_groups": [{"lr": 0.1}]}
    save_distributed(folder, {"model": state, "optimizer": optimizer})


def of_fsdp_alone(folder, state):
    save_distributed(folder, state)


def of_fsdp_in_trainer(folder, state):
    save_distributed(folder / "pytorch_model_fsdp_0", {"model": state})
    save_distributed(folder / "optimizer_0", {"optimizer": {"state": torch.ones(3)}})


def whole_beside_adapters(folder, state):
    of_accelerate(folder, state)
    save_file({"lora_A.weight": torch.ones(1)}, folder / "adapter_model.safetensors")


FORMS = [
    of_shards, of_torch_shards, of_other_shards, without_index, of_accelerate, of_accelerate_torch, of_fsdp,
    of_fsdp_alone, of_fsdp_in_trainer, whole_beside_adapters,
]  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("given", ["folder", "list"])
def test_folders_of_trainers_become_rows(form, given, tmp_path):
    folders = [tmp_path / f"checkpoint-{step}" for step in STEPS]
    for step, folder in zip(STEPS, folders, strict=True):
        folder.mkdir()
        form(folder, state_of(step))
    model = network()
    path = ls.Trajectory.from_checkpoints(tmp_path if given == "folder" else folders, model, "*.weight")
    assert path.steps.tolist() == STEPS
    assert torch.equal(path.weights, torch.tensor(STEPS).float()[:, None].expand(2, 10))
    whole = path.model_at(10, model)
    assert whole[1].running_mean.tolist() == [1010.0, 1010.0]
    assert whole[2].bias.tolist() == [10.0]


def test_an_index_stands_for_its_model(tmp_path):
    save_shards(tmp_path, state_of(2))
    path = ls.Trajectory.from_checkpoints({7: tmp_path / "model.safetensors.index.json"}, network())
    assert path.weights.unique().tolist() == [2.0]
    assert path.steps.tolist() == [7]


def test_lightning_files_of_a_compiled_model_and_its_folders(tmp_path):
    for step in STEPS:
        weights = {f"model._orig_mod.{name}": value for name, value in state_of(step).items()}
        torch.save({"state_dict": weights, "global_step": step}, tmp_path / f"epoch={step}.ckpt")
    path = ls.Trajectory.from_checkpoints(tmp_path, network())
    assert path.weights[:, 0].tolist() == [2.0, 10.0]
    (tmp_path / "more").mkdir()
    for step in STEPS:  # of FSDP: a folder for a file, with the step in its name
        content = {"state_dict": {f"model.{name}": value for name, value in state_of(step).items()}}
        save_distributed(tmp_path / "more" / f"epoch=1-step={step}.ckpt", content)
    path = ls.Trajectory.from_checkpoints(tmp_path / "more", network())
    assert path.steps.tolist() == STEPS
    assert path.weights[:, 0].tolist() == [2.0, 10.0]


def test_distributed_tensors_are_joined_from_the_pieces_of_all_processes(tmp_path):
    """An index written by hand: two processes, each with one row of the weight."""
    weight, bias, entries, places = torch.arange(6.0).view(2, 3), torch.tensor([7.0, 8.0]), {}, {}
    pieces = {("weight", (row, 0), row): weight[row : row + 1] for row in range(2)}
    pieces |= {("bias", (row,), row): bias[row : row + 1] for row in range(2)}
    content = [b"", b""]
    for (name, offset, process), piece in pieces.items():
        torch.save(piece.clone(), tmp_path / "piece")
        written = (tmp_path / "piece").read_bytes()
        info = _StorageInfo(f"__{process}_0.distcp", len(content[process]), len(written))
        places[MetadataIndex(name, offset)] = info
        content[process] += written
    (tmp_path / "piece").unlink()
    for name, whole in (("weight", weight), ("bias", bias)):
        chunks = [ChunkStorageMetadata(torch.Size(o), p.shape) for (n, o, _), p in pieces.items() if n == name]
        entries[name] = TensorStorageMetadata(TensorProperties(torch.float32), whole.shape, chunks)
    for process, written in enumerate(content):
        (tmp_path / f"__{process}_0.distcp").write_bytes(written)
    (tmp_path / ".metadata").write_bytes(pickle.dumps(Metadata(entries, None, places)))
    path = ls.Trajectory.from_checkpoints({1: tmp_path}, nn.Linear(3, 2))
    assert path.weights.tolist() == [[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 7.0, 8.0]]
    (tmp_path / "__1_0.distcp").unlink()
    (tmp_path / "filling").write_bytes(bytes(1000))
    with pytest.raises(StorageError, match=r"no __1_0\.distcp\. Copy the files of all processes"):
        ls.Trajectory.from_checkpoints({1: tmp_path}, nn.Linear(3, 2))


def test_the_step_in_a_distributed_checkpoint_comes_before_its_name(tmp_path):
    save_distributed(tmp_path / "latest", {"model": state_of(2), "step": 40})
    assert ls.Trajectory.from_checkpoints([tmp_path / "latest"], network()).steps.tolist() == [40]


class Evil:
    """An object whose loading would write a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (self.path, "w"))


def test_an_index_of_a_distributed_checkpoint_runs_no_code(tmp_path):
    save_distributed(tmp_path / "step-1", {"model": state_of(2)})
    index = pickle.loads((tmp_path / "step-1" / ".metadata").read_bytes())
    index.planner_data = Evil(str(tmp_path / "made"))
    (tmp_path / "step-1" / ".metadata").write_bytes(pickle.dumps(index))
    path = ls.Trajectory.from_checkpoints([tmp_path / "step-1"], network())
    assert path.weights.unique().tolist() == [2.0]
    assert not (tmp_path / "made").exists()


def lost_shard(folder):
    save_shards(folder, state_of(2))
    (folder / "model-00002-of-00003.safetensors").unlink()


def lost_shard_without_index(folder):
    save_shards(folder, state_of(2), index=False)
    (folder / "model-00002-of-00003.safetensors").unlink()


def index_of_another_folder(folder):
    save_file(state_of(2), folder.parent / "elsewhere.safetensors")
    text = json.dumps({"weight_map": dict.fromkeys(state_of(2), "../elsewhere.safetensors")})
    (folder / "model.safetensors.index.json").write_text(text)


def shards_without_a_tensor(folder):
    save_shards(folder, state_of(2))
    save_file({"more": torch.ones(1)}, folder / "model-00002-of-00003.safetensors")


def epochs_that_look_like_shards(folder):
    for epoch in (1, 2):
        save_file(state_of(epoch), folder / f"epoch-{epoch:05d}-of-00002.safetensors")


def damaged_metadata(folder):
    save_distributed(folder, state_of(2))
    (folder / ".metadata").write_bytes(b"no pickle")


def other_metadata(folder):
    save_distributed(folder, state_of(2))
    (folder / ".metadata").write_bytes(pickle.dumps({"state_dict_metadata": 3}))


def far_too_large(folder):
    save_distributed(folder, state_of(2))
    index = pickle.loads((folder / ".metadata").read_bytes())
    index.state_dict_metadata["0.weight"].size = torch.Size([2**40, 3])
    (folder / ".metadata").write_bytes(pickle.dumps(index))


def of_deepspeed(folder):
    (folder / "global_step5").mkdir()
    (folder / "zero_to_fp32.py").write_text("")


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lost_shard, "all 3 files of the model in .*; got no model-00002-of-00003.safetensors"),
        (lost_shard_without_index, "all 3 files of the model in .*; got 2"),
        (index_of_another_folder, r"got no \.\./elsewhere.safetensors"),
        (shards_without_a_tensor, r"all tensors of .*; got files without"),
        (epochs_that_look_like_shards, "each tensor in one of the 2 files"),
        (damaged_metadata, "the index of a distributed checkpoint"),
        (other_metadata, "the index of a distributed checkpoint"),
        (far_too_large, r"Expected \d{13,} bytes of weights"),
        (of_deepspeed, "Run zero_to_fp32.py in the folder"),
    ],
)
def test_folders_that_hold_less_than_a_model_are_refused(write, message, tmp_path):
    folder = tmp_path / "checkpoint-1"
    folder.mkdir()
    write(folder)
    with pytest.raises(StorageError, match=message):
        ls.Trajectory.from_checkpoints([folder], network())


class Adapted(nn.Module):
    """A layer as peft makes it: the frozen one, and factors by the name of the adapter."""

    def __init__(self, names=("default",), rank=2):
        super().__init__()
        self.base_layer = nn.Linear(4, 3).requires_grad_(False)
        self.lora_A = nn.ModuleDict({name: nn.Linear(4, rank, bias=False) for name in names})
        self.lora_B = nn.ModuleDict({name: nn.Linear(rank, 3, bias=False) for name in names})

    def forward(self, x):
        change = sum(self.lora_B[name](self.lora_A[name](x)) for name in self.lora_A)
        return self.base_layer(x) + change


class Whole(nn.Module):
    """A layer that is trained whole, as peft keeps it."""

    def __init__(self):
        super().__init__()
        self.original_module = nn.Linear(3, 2).requires_grad_(False)
        self.modules_to_save = nn.ModuleDict({"default": nn.Linear(3, 2)})

    def forward(self, x):
        return self.modules_to_save["default"](x)


def adapted(in_peft, **options):
    base = nn.ModuleDict({"layer": Adapted(**options), "head": Whole()})
    if not in_peft:
        return base
    outer, inner = nn.Module(), nn.Module()
    inner.model = base
    outer.base_model = inner
    return outer


def adapters_of(step):
    return {
        "base_model.model.layer.lora_A.weight": torch.full((2, 4), float(step)),
        "base_model.model.layer.lora_B.weight": torch.full((3, 2), 10.0 * step),
        "base_model.model.head.weight": torch.full((2, 3), 100.0 * step),
        "base_model.model.head.bias": torch.full((2,), 1000.0 * step),
    }


def save_adapters(tmp_path, change=lambda state: None, suffix="safetensors"):
    for step in STEPS:
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        state = adapters_of(step)
        change(state)
        (save_file if suffix == "safetensors" else torch.save)(state, folder / f"adapter_model.{suffix}")
        (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 2}))
        (folder / "trainer_state.json").write_text(json.dumps({"global_step": step}))


@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
@pytest.mark.parametrize("in_peft", [True, False])
@pytest.mark.parametrize("names", [("default",), ("default", "other")])
def test_adapters_without_their_model_are_rows_of_its_trained_parameters(in_peft, suffix, names, tmp_path):
    """Of the names and values of the files by hand; everything else of the model is that of the model given."""
    save_adapters(tmp_path, suffix=suffix)
    model = adapted(in_peft, names=names)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    select = ["*.default.weight", "*.default.bias"]
    path = ls.Trajectory.from_checkpoints(tmp_path, model, select)
    assert path.steps.tolist() == STEPS
    expected = [torch.cat([value.flatten() for value in adapters_of(step).values()]) for step in STEPS]
    assert torch.equal(path.weights.sort(dim=1).values, torch.stack(expected).sort(dim=1).values)
    assert path.space.names[0].endswith("layer.lora_A.default.weight")
    whole = path.model_at(10, model).state_dict()
    for name, value in whole.items():
        if ".default." in name:
            expected = adapters_of(10)[
                "base_model.model."
                + name.removeprefix("base_model.model.").replace(".modules_to_save", "").replace(".default", "")
            ]
            assert torch.equal(value, expected), name
        else:
            assert torch.equal(value, before[name]), name
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_state_of_adapters_and_a_model_of_ones_own_are_served(tmp_path):
    """As get_peft_model_state_dict returns it; and a module that names its factors as they are saved."""
    path = ls.Trajectory.from_checkpoints({3: adapters_of(3)}, adapted(in_peft=False))
    assert path.weights[0, :8].tolist() == [3.0] * 8

    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.base = nn.Linear(4, 3).requires_grad_(False)
            self.lora_A, self.lora_B = nn.Linear(4, 2, bias=False), nn.Linear(2, 3, bias=False)

    state = {"lora_A.weight": torch.full((2, 4), 5.0), "lora_B.weight": torch.full((3, 2), 6.0)}
    model = Own()
    assert ls.Trajectory.from_checkpoints({1: state}, model).weights.tolist() == [[5.0] * 8 + [6.0] * 6]
    assert ls.Trajectory.from_checkpoints({1: {**model.state_dict(), **state}}, model).dim == 14


def without_factor(state):
    del state["base_model.model.layer.lora_B.weight"]


def of_another_layer(state):
    state["base_model.model.gone.lora_A.weight"] = torch.ones(2, 4)


def of_another_rank(state):
    state["base_model.model.layer.lora_A.weight"] = torch.ones(8, 4)


def unchanged(_):
    pass


@pytest.mark.parametrize(
    ("change", "model", "select", "message"),
    [
        (without_factor, adapted(True), None, r"adapters alone, without .*layer.lora_B.default.weight. Select"),
        (of_another_layer, adapted(True), None, r"adapters alone, whose gone.lora_A.weight the model does not have"),
        (of_another_rank, adapted(True), None, r"layer.lora_A.default.weight of shape \(2, 4\).*; got \(8, 4\)"),
        (unchanged, adapted(True), "*", r"adapters alone, without .*base_layer.weight.*Select the parameters"),
        (
            unchanged,
            network(),
            None,
            "adapters alone, whose head.bias, .* and 1 more the model.*PeftModel.from_pretrained",
        ),
        (unchanged, adapted(True, names=("one", "two")), None, "adapters alone, whose layer.lora_A.weight, "),
    ],
)
def test_adapters_of_another_model_are_refused(change, model, select, message, tmp_path):
    save_adapters(tmp_path, change)
    with pytest.raises(InputError, match=message):
        ls.Trajectory.from_checkpoints(tmp_path, model, select)


def test_which_of_several_adapters_is_meant_is_asked(tmp_path):
    state = {name: value for name, value in adapters_of(1).items() if "lora" in name}
    with pytest.raises(InputError, match=r"got several: one, two. Leave one in the model"):
        ls.Trajectory.from_checkpoints({1: state}, adapted(False, names=("one", "two")))


def test_given_weights_are_a_vector_a_single_tensor_or_the_selected_ones():
    """All others stay as they are; w = 1, 2, ... in the order of the space."""
    model = network()
    space = ls.ParameterSpace.of(model, ["0.*"])
    vector = torch.arange(1.0, 9.0)
    for given in (vector, vector.double(), space.unflatten(vector)):
        target = network()
        before = {name: value.clone() for name, value in target.state_dict().items()}
        load_weights(given, target, space)
        assert torch.equal(space.flatten(target), vector)
        assert all(torch.equal(v, before[n]) for n, v in target.state_dict().items() if not n.startswith("0."))
    single = ls.ParameterSpace.of(model, "0.weight")
    for given in (vector[:6], vector[:6].view(2, 3)):
        load_weights(given, model, single)
        assert model[0].weight.flatten().tolist() == vector[:6].tolist()
    load_weights(state_of(4), model, space)
    assert model[1].running_mean.tolist() == [1004.0, 1004.0]


def test_memories_hold_and_studies_measure_at_a_vector(tmp_path):
    torch.manual_seed(0)
    model, data = nn.Linear(3, 1, bias=False), (torch.randn(12, 3), torch.randn(12, 1))
    memory = ls.TaskMemory(model, method="l2", strength=1.0)
    centre = torch.tensor([1.0, 2.0, 3.0])
    assert float(memory.consolidate(nn.MSELoss(), data, w0=centre)(centre)) == 0.0
    with_vector = ls.Study(tmp_path / "a", model, nn.MSELoss(), data, w0=centre)
    averaged = nn.Linear(3, 1, bias=False)
    averaged.weight.data = centre[None].clone()
    with_model = ls.Study(tmp_path / "b", model, nn.MSELoss(), data, w0=averaged)
    assert with_vector.folder.settings.w0 == with_model.folder.settings.w0
