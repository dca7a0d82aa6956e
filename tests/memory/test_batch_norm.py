"""Batch normalisation under a memory: a budget holds what running statistics do, and a memory may keep them."""

import contextlib
import copy
import math

import lightning
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from transformers import Trainer, TrainingArguments

import landscope as ls
from landscope.adapters import huggingface
from landscope.adapters import lightning as pl
from landscope.memory import Budget

CRITERION = nn.MSELoss()
OLD = torch.tensor([[1.0], [3.0]]), torch.zeros(2, 1)
"""Mean 2 and variance 1."""
NEW = torch.tensor([[-math.sqrt(2.0)], [math.sqrt(2.0)]]), torch.zeros(2, 1)
"""Mean 0 and unbiased variance 4, which the running statistics become in one step."""


def one_layer():
    """A layer whose loss on OLD is (1 + (2 - m)^2) / v with the running mean m and variance v: 1 at its end."""
    model = nn.Sequential(nn.BatchNorm1d(1, eps=1e-12, momentum=1.0, affine=False), nn.Linear(1, 1, bias=False))
    nn.init.ones_(model[1].weight)
    model[0].running_mean.fill_(2.0)
    return model


def held(model, **options):
    return ls.keep(model, CRITERION, OLD, method="l2", strength=1.0, **options)


def sgd(model):
    return torch.optim.SGD(model.parameters(), lr=1e-30)  # moves no weight


def one_step(model, optimizer, data=NEW):
    model.train()
    further_step(model, optimizer, data)


def further_step(model, optimizer, data=NEW):
    optimizer.zero_grad()
    CRITERION(model(data[0]), data[1]).backward()
    optimizer.step()


def plain_loss(model):
    with torch.no_grad():
        return float(CRITERION(copy.deepcopy(model).eval()(OLD[0]), OLD[1]))


def test_the_measured_rise_is_that_of_a_plain_evaluation():
    model = one_layer()
    memory, optimizer = held(model, batch_norm="updated", budget=0.5, absolute=100.0, samples=2), sgd(model)
    with memory.training(optimizer):
        one_step(model, optimizer)
    assert (model[0].running_mean.item(), model[0].running_var.item()) == pytest.approx((0.0, 4.0), abs=1e-6)
    assert memory.rise.measured == pytest.approx(math.log(1.25), abs=1e-6)  # (1 + 4) / 4, in float32
    assert memory.rise.measured == pytest.approx(math.log(plain_loss(model)), abs=1e-6)


@pytest.mark.parametrize("at_end", [True, False])
def test_statistics_that_raise_the_loss_too_far_go_back(at_end):
    """At the share t of the way, the loss is (1 + 4 t^2) / (1 + 3 t); six halvings find t = 51 / 64 for 5 %."""
    model = one_layer()
    memory, optimizer = held(model, batch_norm="updated", budget=0.05, samples=2, at_end=at_end), sgd(model)
    with memory.training(optimizer):
        one_step(model, optimizer)
    share = 51 / 64
    found = model[0].running_mean.item(), model[0].running_var.item()
    assert found == pytest.approx((2 - 2 * share, 1 + 3 * share), rel=1e-5)
    expected = math.log((1 + 4 * share**2) / (1 + 3 * share))
    assert memory.rise.measured == pytest.approx(expected, rel=1e-5)
    assert memory.rise.measured == pytest.approx(math.log(plain_loss(model)), rel=1e-5)
    assert memory.rise.measured <= memory.rise.allowed


def test_a_stored_budget_knows_the_statistics_at_the_end_of_the_task():
    model = one_layer()

    def loss(model):
        return CRITERION(model(OLD[0]), OLD[1])

    first = held(model)
    first.budget(0.05, samples=loss)
    state = first.state_dict()
    model[0].running_mean.fill_(0.0)
    memory = ls.TaskMemory(model, method="l2", strength=1.0, batch_norm="updated")
    memory.budget(0.05, samples=loss)
    memory.load_state_dict(state)
    optimizer = sgd(model)
    with memory.training(optimizer):
        one_step(model, optimizer)
    assert model[0].running_mean.item() == pytest.approx(2 - 2 * 51 / 64, rel=1e-5)


def test_a_rise_that_no_weights_undo_is_measured_as_it_is():
    """As where a layer that is not held moved."""
    loss, model, w = [1.0], nn.Linear(1, 1), torch.zeros(2)
    budget = Budget(0.05, measure=lambda _: loss[0], every=1)
    budget.start(model, w, loss1=1.0)
    loss[0] = 2.0
    kept = budget.follow(1.0, w + 1, at=lambda _: contextlib.nullcontext(model))
    assert torch.equal(kept, w)
    assert budget.measured == pytest.approx(math.log(2))


@pytest.mark.parametrize("options", [{}, {"implicit": False}])
def test_kept_statistics_stay_and_others_are_named(options):
    model = one_layer()
    memory, optimizer = held(model, **options), sgd(model)  # the default
    with memory.training(optimizer):
        one_step(model, optimizer)
        if options:
            memory.penalty().backward()
    assert (model[0].running_mean.item(), model[0].running_var.item()) == (2.0, 1.0)
    assert plain_loss(model) == 1.0
    assert model[0].training
    memory, optimizer = held(model, batch_norm="updated", **options), sgd(model)
    training = memory.training(optimizer)
    with pytest.warns(UserWarning, match='layers .0. update running statistics.*batch_norm="kept".*budget'):
        training.__enter__()
    one_step(model, optimizer)
    memory.penalty().sum().backward() if options else None
    training.__exit__(None, None, None)
    assert model[0].running_mean.item() == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("at_end", [True, False])
def test_a_measured_budget_gives_kept_layers_back_in_train_mode(at_end):
    model = one_layer()
    memory, optimizer = held(model, budget=0.5, absolute=100.0, samples=2, at_end=at_end), sgd(model)
    with memory.training(optimizer):
        one_step(model, optimizer)
        assert model.training
    assert memory.rise.measured == 0.0
    assert [part.training for part in model.modules()] == [True] * 3


def test_outputs_that_are_followed_leave_kept_layers_in_train_mode():
    model = one_layer()
    memory = ls.keep(model, CRITERION, OLD)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    with memory.training(optimizer):
        for _ in range(25):
            further_step(model, optimizer)
    assert memory.output_ratio != 1.0  # outputs were compared
    assert [part.training for part in model.modules()] == [True] * 3


def test_statistics_of_the_first_task_are_learnt_and_those_of_a_stored_memory_stay():
    model = one_layer()
    memory, optimizer = ls.TaskMemory(model, method="l2", strength=1.0), sgd(model)
    with memory.training(optimizer):
        one_step(model, optimizer, OLD)
    assert model[0].running_var.item() == pytest.approx(2.0)  # unbiased
    memory.consolidate(CRITERION, OLD)
    other = ls.TaskMemory(model, method="l2", strength=1.0)
    other.load_state_dict(memory.state_dict())
    with other.training(optimizer):
        one_step(model, optimizer)
    assert model[0].running_var.item() == pytest.approx(2.0)


class Lit(lightning.LightningModule):
    def __init__(self, network):
        super().__init__()
        self.network = network

    def training_step(self, batch, _):
        assert self.network.training
        return CRITERION(self.network(batch[0]), batch[1])

    def validation_step(self, batch, _):
        self.network(batch[0])

    def configure_optimizers(self):
        return sgd(self.network)


@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")
@pytest.mark.filterwarnings("ignore::lightning.fabric.utilities.warnings.PossibleUserWarning")
def test_kept_under_lightning_with_validation_between(tmp_path):
    model = one_layer()
    loader = DataLoader(TensorDataset(*NEW), 2)
    callback = pl.TaskMemoryCallback(held(model))
    lightning.Trainer(
        max_epochs=2, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, callbacks=[callback], default_root_dir=tmp_path,
    ).fit(Lit(model), loader, loader)  # fmt: skip
    assert (model[0].running_mean.item(), model[0].running_var.item()) == (2.0, 1.0)
    assert "train" not in vars(model[0])
    assert model[0].training


class WithLoss(nn.Module):
    """As the Trainer calls it."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x, labels):
        outputs = self.network(x)
        return CRITERION(outputs, labels), outputs


def test_kept_under_the_trainer(tmp_path):
    model = one_layer()
    rows = [{"x": x, "labels": y} for x, y in zip(*NEW, strict=True)]
    arguments = TrainingArguments(
        str(tmp_path), max_steps=2, per_device_train_batch_size=2, report_to=[], disable_tqdm=True, use_cpu=True,
        save_strategy="no",
    )  # fmt: skip
    callback = huggingface.TaskMemoryCallback(held(model))
    Trainer(WithLoss(model), arguments, train_dataset=rows, callbacks=[callback]).train()
    assert (model[0].running_mean.item(), model[0].running_var.item()) == (2.0, 1.0)
    assert "train" not in vars(model[0])
    assert model[0].training
