"""Two tasks with a TaskMemory under the Hugging Face Trainer: it goes on from its last whole checkpoint."""

import shutil
from pathlib import Path

import torch
from safetensors.torch import load_model
from torch import nn
from transformers import Trainer, TrainingArguments
from transformers.trainer_utils import get_last_checkpoint
from transformers.utils import ModelOutput

import landscope as ls
from blobs import CRITERION, network, task
from landscope.adapters import huggingface

STEPS, SAVE = 60, 20


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.network = network()

    def forward(self, x, labels=None):
        logits = self.network(x)
        return ModelOutput(loss=CRITERION(logits, labels), logits=logits)


def two_tasks(folder):
    """Train on two tasks; what a task leaves stands in a file of the user's own."""
    for number in range(2):
        if not (folder / f"{number}-end.pt").exists():
            one_task(folder, number)
    shutil.copy(folder / "1-end.pt", folder / "end.pt")


def one_task(folder, number):
    model, place = Classifier(), folder / f"{number}"
    memory = ls.TaskMemory(model.network, n_modes=6, window=30, method="ldc")
    if number:
        before = torch.load(folder / f"{number - 1}-end.pt", weights_only=True)
        model.load_state_dict(before["model"])
        memory.load_state_dict(before["memory"])
    inputs, labels = task(number)
    rows = [{"x": x, "labels": y} for x, y in zip(inputs, labels, strict=True)]
    arguments = TrainingArguments(
        str(place), max_steps=STEPS, per_device_train_batch_size=16, report_to=[], disable_tqdm=True, use_cpu=True,
        seed=3, optim="sgd", learning_rate=0.05, lr_scheduler_type="constant", save_steps=SAVE,
    )  # fmt: skip
    trainer = Trainer(model, arguments, train_dataset=rows, callbacks=[huggingface.TaskMemoryCallback(memory)])
    last = last_whole(place)
    if last == str(place / f"checkpoint-{STEPS}"):  # a Trainer that goes on from its last step takes one more
        load_model(model, f"{last}/model.safetensors")
        (stored,) = Path(last).glob("landscope_task_memory*")
        memory.load_state_dict(torch.load(stored, weights_only=True)["memory"])
    else:
        trainer.train(resume_from_checkpoint=last)
    memory.consolidate(CRITERION, task(number))
    torch.save({"model": model.state_dict(), "memory": memory.state_dict()}, folder / "new.pt")
    (folder / "new.pt").replace(folder / f"{number}-end.pt")


def last_whole(place):
    """The last checkpoint whose state file, which the Trainer writes last, is there; half-written ones are deleted."""
    while place.is_dir() and (last := get_last_checkpoint(str(place))) is not None:
        files = {file.name for file in place.joinpath(last).iterdir()}
        if any(name.startswith("landscope_task_memory") for name in files):
            return last
        shutil.rmtree(last)
    return None
