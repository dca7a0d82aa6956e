"""The trainings of the gallery. A study trains and analyses once, and opens what it saved the next time."""

import functools
import os
from pathlib import Path

import torch
from sklearn.datasets import load_digits

import landscope as ls

FOLDER = Path(os.environ.get("GALLERY_RUNS", "runs/gallery"))
BATCH, RATE, N_STEPS = 50, 0.2, 2400
digits = load_digits()
images, labels = torch.tensor(digits.data, dtype=torch.float32) / 16, torch.tensor(digits.target)
train_set, test_set = (images[:1500], labels[:1500]), (images[1500:], labels[1500:])
criterion = torch.nn.CrossEntropyLoss()


def network(seed=0, n_classes=10):
    """A perceptron with two hidden layers."""
    torch.manual_seed(seed)
    first, second, last = torch.nn.Linear(64, 20), torch.nn.Linear(20, 20), torch.nn.Linear(20, n_classes)
    return torch.nn.Sequential(first, torch.nn.ReLU(), second, torch.nn.ReLU(), last)


def minibatches(n_steps, seed, sampling="reshuffled"):
    """Rows of the samples of each minibatch."""
    draw = torch.Generator().manual_seed(seed)
    if sampling == "with-replacement":
        return torch.randint(1500, (n_steps, BATCH), generator=draw)
    if sampling == "reshuffled":
        epochs = [torch.randperm(1500, generator=draw) for _ in range(1 + n_steps * BATCH // 1500)]
        return torch.cat(epochs).view(-1, BATCH)[:n_steps]
    raise NotImplementedError(sampling)  # not offered here, so not measured


def train(model, optimizer, batches, data=train_set):
    """The loop: nothing of landscope is in it."""
    inputs, targets = data
    for batch in batches:
        optimizer.zero_grad()
        criterion(model(inputs[batch]), targets[batch]).backward()
        optimizer.step()


def train_on(model, record, *, sampling, n_steps, seed):
    """Go on from the end of the window, for the stage ``dynamics``."""
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE)
    with record(optimizer):
        train(model, optimizer, minibatches(n_steps, seed, sampling))


@torch.no_grad()
def evaluate(model):
    """Losses and errors of the whole model, and the margin of its test answers."""
    found = {}
    for name, (inputs, targets) in (("train", train_set), ("test", test_set)):
        outputs = model(inputs)
        found[f"{name}_loss"] = float(criterion(outputs, targets))
        found[f"{name}_error"] = float((outputs.argmax(1) != targets).double().mean())
    best, second = outputs.topk(2).values.T
    return {**found, "margin": float((best - second).mean())}


@functools.cache
def digits_study():
    """The study of a training on the digits, its middle layer recorded in every step, with every stage analysed."""
    model = network()
    study = ls.Study(
        FOLDER / "digits", model, criterion, train_set, batch_size=BATCH, evaluate=evaluate, train_on=train_on,
        fit_modes=(2, 60), flatness_modes=60, n_nulls=2, n_processes=2, noise_modes=12, curvature_modes=24,
        basis_modes=30, response_modes=4, response_steps=40, learning_coefficient_steps=400, langevin_steps=100,
    )  # fmt: skip
    if not study.saved_steps:
        optimizer = torch.optim.SGD(model.parameters(), lr=RATE)
        with study.record(optimizer, select="2.weight"):
            train(model, optimizer, minibatches(N_STEPS, seed=0))
    study.analyse(noise=True, controls=True, dynamics=True, progress=False)
    return study
