"""The callbacks of the Trainers measure what a monitor around a loop of one's own measures."""

import lightning
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from transformers import Trainer, TrainingArguments

import landscope as ls
from landscope.adapters import huggingface
from landscope.adapters import lightning as adapter
from landscope.errors import InputError
from small_language_model import gpt2, sentences, token_losses

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning"),
    pytest.mark.filterwarnings("ignore::lightning.fabric.utilities.warnings.PossibleUserWarning"),
    pytest.mark.filterwarnings("ignore:.*several inputs:UserWarning"),
]
NAMES = ["loss", "noise_scale", "motion"]


def risk_of(model):
    return ls.EmpiricalRisk.from_closure(model, token_losses, list(DataLoader(sentences(), batch_size=6)))


@pytest.mark.filterwarnings("ignore:landscope evaluates the whole model")
def test_the_callback_of_hugging_face(tmp_path):
    def train(model, *callbacks, **settings):
        arguments = TrainingArguments(
            str(tmp_path), max_steps=4, per_device_train_batch_size=3, gradient_accumulation_steps=2, use_cpu=True,
            report_to=[], disable_tqdm=True, save_strategy="no", dataloader_pin_memory=False, seed=3,
        )  # fmt: skip
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        trainer = Trainer(
            model, arguments, train_dataset=sentences(), callbacks=list(callbacks), optimizers=(optimizer, None)
        )
        trainer.train()

    watched, recorded, got = gpt2(), gpt2(), []
    callback = huggingface.MonitorCallback(
        risk_of, every=1, quantities=NAMES, to=lambda name, value, step: got.append(name), path=tmp_path / "monitor"
    )
    recorder = huggingface.RecorderCallback()
    train(watched, callback)
    train(recorded, recorder)
    for name, value in watched.state_dict().items():
        assert torch.equal(value, recorded.state_dict()[name])
    steps, loss = callback.history.curve("loss")
    assert steps.tolist() == [1, 2, 3, 4]
    assert "noise_scale" in got
    risk = risk_of(recorded)
    expected = [float(risk(row)) for row in recorder.trajectory().weights]
    assert loss.tolist() == pytest.approx(expected, rel=1e-6)
    assert callback.monitor._measurements._ensemble.batches.shape[1] == 6
    assert ls.load(tmp_path / "monitor" / "history.zarr.zip").names == callback.history.names


class Module(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))

    def forward(self, x):
        return self.net(x)

    def training_step(self, batch, _):
        return nn.functional.mse_loss(self(batch[0]), batch[1])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


X, Y = torch.randn(24, 3, generator=torch.Generator().manual_seed(0)), torch.ones(24, 1)


def fit(module, callback, tmp_path):
    trainer = lightning.Trainer(
        default_root_dir=tmp_path, max_steps=5, accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, callbacks=[callback],
    )  # fmt: skip
    trainer.fit(module, DataLoader(TensorDataset(X, Y), batch_size=6))


def test_the_callback_of_lightning(tmp_path):
    module = Module()
    callback = adapter.MonitorCallback(
        lambda model: ls.EmpiricalRisk(model, nn.MSELoss(), (X, Y)), every=2, quantities=NAMES
    )
    fit(module, callback, tmp_path)
    assert callback.history.curve("loss")[0].tolist() == [2, 4]
    assert callback.monitor.step == 5
    assert callback.monitor._measurements._ensemble.batches.shape[1] == 6


def test_an_exception_in_lightning_ends_the_monitoring(tmp_path):
    class Broken(Module):
        def training_step(self, batch, index):
            if index == 2:
                raise RuntimeError("broken")
            return super().training_step(batch, index)

    module = Broken()
    callback = adapter.MonitorCallback(
        ls.EmpiricalRisk(module, nn.MSELoss(), (X, Y)), every=1, quantities=["loss"], path=tmp_path / "monitor"
    )
    with pytest.raises(RuntimeError, match="broken"):
        fit(module, callback, tmp_path)
    assert ls.load(tmp_path / "monitor" / "history.zarr.zip").steps.tolist() == [1, 2]


def test_a_loader_of_unknown_batch_size_needs_one(tmp_path):
    class Stream(torch.utils.data.IterableDataset):
        def __iter__(self):
            return iter([(X[:6], Y[:6])] * 9)

    module = Module()
    with pytest.raises(InputError, match="got Module"):
        adapter.MonitorCallback(module)
    callback = adapter.MonitorCallback(ls.EmpiricalRisk(module, nn.MSELoss(), (X, Y)), every=1)
    trainer = lightning.Trainer(
        default_root_dir=tmp_path, max_steps=2, accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, callbacks=[callback],
    )  # fmt: skip
    with pytest.raises(InputError, match="batch_size= to the callback"):
        trainer.fit(module, DataLoader(Stream(), batch_size=None))
