"""Trainers record into studies: what is kept is what the optimiser did, also after a kill and a resumed training."""

import lightning
import pytest
import torch
import torch.nn.functional as F
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from transformers import Trainer, TrainerCallback, TrainingArguments

import landscope as ls
from landscope.adapters import huggingface
from landscope.adapters import lightning as adapter
from landscope.errors import InputError, StorageError
from small_language_model import gpt2, sentences, token_losses
from small_run import assert_same

pytestmark = [
    # Lightning asks torch and the system in ways that newer ones no longer like, and advises on speed.
    pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning"),
    pytest.mark.filterwarnings("ignore::lightning.fabric.utilities.warnings.PossibleUserWarning"),
    pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*several inputs:UserWarning"),
]

C_FC = "*.c_fc.weight"
SETTINGS = {
    "fit_modes": (2, 20), "spectrum_ranks": (2, 12), "flatness_modes": 10, "n_nulls": 1, "n_processes": 1,
    "curvature_modes": 5,
}  # fmt: skip


def hf_study(folder, model, **settings):
    data = DataLoader(sentences(), batch_size=6)
    return ls.Study(folder, model, losses=token_losses, data=data, **{**SETTINGS, **settings})


def hf_train(folder, model, *callbacks, resume=None, **arguments):
    settings = {
        "max_steps": 100, "per_device_train_batch_size": 6, "learning_rate": 1e-2, "save_strategy": "steps",
        "save_steps": 30, "report_to": [], "disable_tqdm": True, "use_cpu": True, "seed": 3,
        "dataloader_pin_memory": False,
    }  # fmt: skip
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    trainer = Trainer(
        model, TrainingArguments(str(folder), **{**settings, **arguments}), train_dataset=sentences(),
        callbacks=list(callbacks), optimizers=(optimizer, None),
    )  # fmt: skip
    trainer.train(resume_from_checkpoint=resume)


class Kill(TrainerCallback, lightning.Callback):
    """Stops a training by an error, under either framework."""

    def __init__(self, step):
        self.step = step

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            raise RuntimeError("killed")

    def on_train_batch_end(self, trainer, *_):
        if trainer.global_step == self.step:
            raise RuntimeError("killed")


def kept(study, model):
    """Rows and saved models of a study."""
    found = {"rows": study.trajectory.weights, "steps": study.trajectory.steps, "saved": study.saved_steps}
    for step in study.saved_steps:
        study._analysis.checkpoints.load(step, model)
        found |= {f"{step} {name}": value.clone() for name, value in model.state_dict().items()}
    return found


@pytest.fixture(scope="module")
def language(tmp_path_factory):
    """A language model that was trained with a study, without a stop."""
    folder, model = tmp_path_factory.mktemp("gpt2"), gpt2()
    study = hf_study(folder / "study", model)
    hf_train(folder, model, huggingface.StudyCallback(study, C_FC))
    return study, model


def test_a_language_model_is_recorded_and_analysed(language):
    study, model = language
    assert study.trajectory.steps.tolist() == list(range(1, 101))
    assert study.trajectory.space.names == ("transformer.h.0.mlp.c_fc.weight",)
    assert study.saved_steps == [0, *range(8, 97, 8), 100]
    assert study.window.steps[[0, -1]].tolist() == [76, 100]
    study.analyse(progress=False)
    model.eval()
    with torch.no_grad():
        batch = {name: torch.stack([text[name] for text in sentences()]) for name in ("input_ids", "labels")}
        assert study.flatness.loss0 == pytest.approx(float(model(**batch).loss), rel=1e-5)
    assert ls.Study(study.path).report().exists()


@pytest.mark.parametrize("killed", [45, 62])
def test_a_killed_training_goes_on_from_its_checkpoint_with_the_same_rows(language, tmp_path, killed):
    model = gpt2()
    with pytest.raises(RuntimeError, match="killed"):
        hf_train(tmp_path, model, huggingface.StudyCallback(hf_study(tmp_path / "s", model), C_FC), Kill(killed))
    model = gpt2()
    study = hf_study(tmp_path / "s", model)
    resume = str(tmp_path / f"checkpoint-{killed // 30 * 30}")
    hf_train(tmp_path, model, huggingface.StudyCallback(study, C_FC), resume=resume)
    assert_same(kept(language[0], gpt2()), kept(study, gpt2()))


def test_an_interrupted_training_keeps_no_model_of_its_own(tmp_path):
    model = gpt2()
    study = hf_study(tmp_path / "s", model)
    callback = huggingface.StudyCallback(study, C_FC)
    with pytest.raises(RuntimeError, match="killed"):
        hf_train(tmp_path, model, callback, Kill(45))
    with pytest.raises(InputError, match=r"close\(\) of its callback"):
        study.analyse(progress=False)
    callback.close()
    assert study.saved_steps == [0, *range(4, 45, 4)]
    assert len(study.trajectory) == 45
    with pytest.warns(ls.errors.LandscopeWarning, match="did not end"):
        study.analyse(until="modes", progress=False)


class Adapted(nn.Module):
    """A frozen layer beside a small trainable product, as in LoRA."""

    def __init__(self, base):
        super().__init__()
        self.base = base.requires_grad_(False)
        rows, columns = base.weight.shape
        self.lora_a = nn.Parameter(0.1 * torch.randn(rows, 2))
        self.lora_b = nn.Parameter(torch.zeros(2, columns))

    def forward(self, x):
        return self.base(x) + x @ self.lora_a @ self.lora_b


def test_adapters_on_a_frozen_model_are_studied(tmp_path):
    model = gpt2().requires_grad_(False)
    mlp = model.transformer.h[0].mlp
    frozen = mlp.c_fc.weight.clone()
    mlp.c_fc = Adapted(mlp.c_fc)
    study = hf_study(tmp_path / "s", model)
    hf_train(tmp_path, model, huggingface.StudyCallback(study, "*.lora_*"))
    assert study.trajectory.dim == 8 * 2 + 2 * 32
    assert torch.equal(mlp.c_fc.base.weight, frozen)
    study.analyse(progress=False)
    assert study.flatness.loss0 == pytest.approx(float(study.risk()(study.window.row(-1))))
    # the loss of a language model cannot rise by e: this is data, and the page says so
    assert not study.flatness.bracketed.any()
    assert "too few modes have a measurable flatness" in study.report().read_text()


class Net(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 3))

    def training_step(self, batch, batch_idx):
        return F.cross_entropy(self.net(batch[0]), batch[1])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.5)


def blobs():
    generator = torch.Generator().manual_seed(4)
    labels = torch.arange(40) % 3
    return torch.randn(3, 4, generator=generator)[labels] + torch.randn(40, 4, generator=generator), labels


def fit(folder, module, *callbacks, resume=None, max_epochs=25, **arguments):
    loader = DataLoader(TensorDataset(*blobs()), batch_size=10)
    lightning.Trainer(
        max_epochs=max_epochs, accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False,
        **arguments,
        default_root_dir=folder, callbacks=[*callbacks, ModelCheckpoint(folder, "{step}", every_n_train_steps=28,
                                                                        save_top_k=-1)],
    ).fit(module, loader, ckpt_path=resume)  # fmt: skip


def lightning_study(folder, module):
    """The study of the network inside the module."""
    return ls.Study(folder, module.net, F.cross_entropy, blobs(), batch_size=10, **SETTINGS)


def test_a_lightning_module_is_recorded_analysed_and_resumed(tmp_path):
    module = Net()
    whole = lightning_study(tmp_path / "whole", module)
    fit(tmp_path / "a", module, adapter.StudyCallback(whole, "0.weight"))
    assert whole.trajectory.steps.tolist() == list(range(1, 101))
    assert whole.saved_steps == [0, *range(8, 97, 8), 100]
    killed = Net()
    study = lightning_study(tmp_path / "killed", killed)
    with pytest.raises(RuntimeError, match="killed"):
        fit(tmp_path / "b", killed, adapter.StudyCallback(study, "0.weight"), Kill(45))
    assert 45 not in study.saved_steps
    killed = Net()
    study = lightning_study(tmp_path / "killed", killed)
    fit(tmp_path / "b", killed, adapter.StudyCallback(study, "0.weight"), resume=str(tmp_path / "b" / "step=28.ckpt"))
    assert_same(kept(whole, Net().net), kept(study, Net().net))
    study.analyse(progress=False)
    inputs, labels = blobs()
    by_hand = F.cross_entropy(killed.net.eval()(inputs), labels).item()
    assert study.flatness.loss0 == pytest.approx(by_hand, rel=1e-5)


def test_minibatches_are_those_of_the_training_and_not_of_the_data(tmp_path):
    model = gpt2()
    study = hf_study(tmp_path / "s", model)  # a loader of 6
    options = {"max_steps": 8, "per_device_train_batch_size": 5, "gradient_accumulation_steps": 2}
    hf_train(tmp_path, model, huggingface.StudyCallback(study, C_FC), **options)
    # 24 sentences are five minibatches of 5 (the last of 4), and these three steps
    assert (study._analysis.batch_size, study._analysis.steps_per_epoch) == (10, 3)
    module = Net()
    study = ls.Study(tmp_path / "l", module.net, F.cross_entropy, DataLoader(TensorDataset(*blobs()), batch_size=4))
    fit(tmp_path / "fit", module, adapter.StudyCallback(study, "0.weight"), max_epochs=2, accumulate_grad_batches=3)
    assert (study._analysis.batch_size, study._analysis.steps_per_epoch) == (30, 2)
    assert ls.Study(study.path, batch_size=20)._analysis.batch_size == 20


@pytest.mark.parametrize("module", [huggingface, adapter])
def test_slips_are_named(module, tmp_path):
    study = hf_study(tmp_path / "s", gpt2())
    with pytest.raises(InputError, match="every"):
        module.StudyCallback(study, every=0)
    with pytest.raises(InputError, match="opened by its folder alone"):
        module.StudyCallback(ls.Study(tmp_path / "s"))


def test_another_model_and_a_second_recording_are_refused(language, tmp_path):
    study, model = language
    with pytest.raises(InputError, match="the model of the study"):
        hf_train(tmp_path, gpt2(), huggingface.StudyCallback(hf_study(tmp_path / "s", gpt2()), C_FC))
    with pytest.raises(StorageError, match=r"without results|without a recording"):
        hf_train(tmp_path, model, huggingface.StudyCallback(study, C_FC))
