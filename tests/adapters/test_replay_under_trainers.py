"""Samples of earlier tasks are learnt again under every Trainer as in a plain loop, and go on from a checkpoint."""

import math

import lightning
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments

import landscope as ls
from blobs import CRITERION, network, sgd, task
from landscope.adapters import huggingface
from landscope.adapters import lightning as pl
from landscope.adapters.huggingface import language_model_losses
from landscope.memory import Generated, Replay
from reliability_trainer import Classifier

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning"),
    pytest.mark.filterwarnings("ignore::lightning.fabric.utilities.warnings.PossibleUserWarning"),
    pytest.mark.filterwarnings("ignore:landscope evaluates the whole model"),
]
STEPS = 6


class Lit(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.network = network()

    def training_step(self, batch, _):
        return CRITERION(self.network(batch[0]), batch[1])

    def configure_optimizers(self):
        return sgd(self.network)


def kept(model):
    return ls.keep(model, CRITERION, task(0), method="l2", strength=1.0, replay=8)


def test_a_step_under_lightning_is_that_of_a_plain_loop(tmp_path):
    """Lightning computes the gradients in a closure of the step."""
    batches = DataLoader(TensorDataset(*task(1, 16 * STEPS)), 16)
    model = Lit()
    memory = kept(model.network)
    trainer = lightning.Trainer(
        max_steps=STEPS, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, callbacks=[pl.TaskMemoryCallback(memory)], default_root_dir=tmp_path,
    )  # fmt: skip
    trainer.fit(model, batches)
    plain = network()
    memory, optimizer = kept(plain), sgd(plain)
    with memory.training(optimizer):
        for x, y in batches:
            optimizer.zero_grad()
            CRITERION(plain(x), y).backward()
            optimizer.step()
    assert torch.equal(ls.ParameterSpace.of(model.network).flatten(model.network), memory.space.flatten(plain))


def test_a_hugging_face_training_resumed_in_a_task_gives_the_same_bits(tmp_path):
    rows = [{"x": x, "labels": y} for x, y in zip(*task(1), strict=True)]

    def trained(steps, resume=None):
        model = Classifier()
        memory = kept(model.network)
        if resume is not None:
            memory = ls.TaskMemory(model.network, method="l2", strength=1.0, replay=8)
        arguments = TrainingArguments(
            str(tmp_path), max_steps=steps, per_device_train_batch_size=16, report_to=[], disable_tqdm=True,
            use_cpu=True, seed=3, save_strategy="steps", save_steps=3, learning_rate=0.01,
            lr_scheduler_type="constant",
        )  # fmt: skip
        callback = huggingface.TaskMemoryCallback(memory)
        Trainer(model, arguments, train_dataset=rows, callbacks=[callback]).train(resume_from_checkpoint=resume)
        return memory.space.flatten(model.network)

    whole = trained(STEPS)
    assert torch.equal(trained(STEPS, str(tmp_path / "checkpoint-3")), whole)


def test_a_language_model_replays_its_own_samples_within_a_budget(tmp_path):
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=5, n_embd=8, n_layer=1, n_head=2, n_positions=8, bos_token_id=0, eos_token_id=0)
    model = GPT2LMHeadModel(config)
    orders = [(torch.arange(8) * step + torch.arange(5)[:, None]) % 5 for step in (1, 2)]
    texts = [[{"input_ids": row, "labels": row} for row in order] for order in orders]

    def train(number, steps, *callbacks):
        arguments = TrainingArguments(
            str(tmp_path), max_steps=steps, per_device_train_batch_size=5, report_to=[], disable_tqdm=True,
            use_cpu=True, save_strategy="no", learning_rate=0.03, lr_scheduler_type="constant",
        )  # fmt: skip
        Trainer(model, arguments, train_dataset=texts[number], callbacks=list(callbacks)).train()

    train(0, 25)
    data = {name: [{"input_ids": rows, "labels": rows}] for name, rows in zip(("old", "new"), orders, strict=True)}
    replay = Replay(16, Generated(count=40))
    memory = ls.keep(model, language_model_losses, data["old"], method="l2", strength=0.01, replay=replay)
    memory.budget(0.5, samples=lambda m: m(**data["old"][0]).loss)
    train(1, 15, huggingface.TaskMemoryCallback(memory, criterion=language_model_losses))
    report = memory.report(data, language_model_losses, path=tmp_path / "report.html", points=2)
    (old_before, new_before), (old_after, new_after) = report.matrix.values.tolist()
    assert math.log(old_after / old_before) <= memory.rise.allowed + 1e-4
    assert new_after < new_before
