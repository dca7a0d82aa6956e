"""What cannot serve a model is said when its training begins."""

import contextlib
import types

import lightning
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset
from transformers import Trainer, TrainingArguments
from transformers.utils import ModelOutput

import landscope as ls
from landscope.adapters import avalanche, huggingface
from landscope.adapters import lightning as pl
from landscope.errors import InputError
from own_model import CE, X, Y, net, sgd


def test_avalanche_says_before_the_training_that_labels_do_not_fit():
    model = net()
    plugin = avalanche.TaskMemoryPlugin(ls.TaskMemory(model, n_modes=2, method="ldc"))

    for shift in (7, 0):
        samples = [(x, int(y) + shift, 0) for x, y in zip(X, Y, strict=True)]
        strategy = types.SimpleNamespace(
            model=model, optimizer=sgd(model), _criterion=CE, experience=types.SimpleNamespace(dataset=samples)
        )
        if shift:
            with pytest.raises(InputError, match="labels from 0 to 2"):
                plugin.before_training_exp(strategy)
    assert plugin.memory.n_tasks == 0
    plugin.before_training_exp(strategy)  # with labels that fit
    with pytest.warns(UserWarning, match="took no step"):
        plugin._end()


class Lit(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.net, self.steps = net(), 0

    def forward(self, x):
        return self.net(x)

    def training_step(self, batch, _):
        self.steps += 1
        return CE(self(batch[0]), batch[1])

    def configure_optimizers(self):
        return sgd(self)


class Called(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.net, self.calls = net(), 0

    def forward(self, x, labels=None):
        self.calls += self.training
        logits = self.net(x)
        return logits if labels is None else ModelOutput(loss=CE(logits, labels), logits=logits)


def fitted(callback, model):
    trainer = lightning.Trainer(
        max_steps=2, accelerator="cpu", barebones=True, enable_progress_bar=False, callbacks=[callback]
    )
    trainer.fit(model, DataLoader(TensorDataset(X, Y), batch_size=8, shuffle=True))


def trained(callback, model, folder):
    rows = [{"x": x, "labels": y} for x, y in zip(X, Y, strict=True)]
    arguments = TrainingArguments(str(folder), max_steps=2, use_cpu=True, disable_tqdm=True, report_to=[])
    Trainer(model, arguments, train_dataset=rows, callbacks=[callback]).train()


def other_labels(outputs, targets):
    return CE(outputs, targets + 7)


@pytest.mark.filterwarnings("ignore::lightning.fabric.utilities.warnings.PossibleUserWarning")
@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")
def test_trainers_try_the_criterion_on_their_own_data_before_the_first_step(tmp_path):
    for criterion, is_right in ((other_labels, False), (CE, True)):
        for data in (None, (X, Y)):
            model = Lit()
            callback = pl.TaskMemoryCallback(ls.TaskMemory(model, n_modes=2, method="ldc"), criterion, data)
            expected = contextlib.nullcontext() if is_right else pytest.raises(InputError)
            with expected:
                fitted(callback, model)
            assert model.steps == (2 if is_right else 0)
            own = Called()
            memory = ls.TaskMemory(own, n_modes=2, method="ldc")
            given = data if data is None else [{"x": X, "labels": Y}]
            expected = contextlib.nullcontext() if is_right else pytest.raises(InputError)
            with expected:
                trained(huggingface.TaskMemoryCallback(memory, criterion=criterion, data=given), own, tmp_path)
            assert own.calls == (2 if is_right else 0)


class Doubled(Called):
    """Its loss is no usual criterion of its logits."""

    def forward(self, x, labels=None):
        outputs = super().forward(x, labels)
        return outputs if labels is None else ModelOutput(loss=2 * outputs.loss, logits=outputs.logits)


@pytest.mark.filterwarnings("ignore:landscope evaluates the whole model")
def test_the_loss_inside_a_model_is_looked_for_before_the_first_step(tmp_path):
    for model in (Called(), Doubled()):
        memory = ls.keep(model, CE, (X, Y))
        is_known = type(model) is Called
        told = contextlib.nullcontext() if is_known else pytest.warns(UserWarning, match="needs a criterion: .*Doubled")
        with told:  # warnings are errors here
            trained(huggingface.TaskMemoryCallback(memory), model, tmp_path)
        assert model.calls == 2
        data = [{"x": X, "labels": Y}]
        if is_known:
            memory.consolidate(data=data)
            continue
        with pytest.raises(InputError, match="one usual criterion of the logits"):
            memory.consolidate(data=data)
        with pytest.raises(InputError, match="one usual criterion of the logits"):  # asked for by name
            trained(huggingface.TaskMemoryCallback(memory, data=data), model, tmp_path)
        trained(huggingface.TaskMemoryCallback(memory, criterion=CE), model, tmp_path)
        assert model.calls == 4
