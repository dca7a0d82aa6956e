"""Small classifiers of several kinds, and their Fisher information by sums over samples and labels in float64."""

import contextlib

import pytest
import torch
from torch import nn

import landscope as ls
from landscope.reproduction.experiment.networks import mlp

SAMPLES, CLASSES = 12, 3


class Twisted(nn.Module):
    """Cannot be traced: its path depends on the data."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(6, 4), nn.Linear(4, CLASSES)

    def forward(self, x):
        hidden = self.first(x)
        return self.last(torch.relu(hidden) if x.shape[0] >= 0 and bool(torch.ones(1).sum() > 0) else hidden)


def convolutional():
    return nn.Sequential(
        nn.Conv2d(2, 3, 2, stride=1, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(12, CLASSES, bias=False),
    )  # fmt: skip


MODELS = {
    "perceptron": (lambda: mlp([6, 5, 4, CLASSES]), (6,), "2.weight"),
    "with bias": (lambda: mlp([6, 5, 4, CLASSES], bias=True), (6,), ["2.*", "4.*"]),
    "convolution": (convolutional, (2, 3, 3), ["0.*", "4.weight"]),
    "untraced": (Twisted, (6,), "first.*"),
}


def small_classifier(name):
    """(model, data, risk) of a kind of :data:`MODELS`."""
    make, shape, select = MODELS[name]
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = make().double()
        data = (torch.randn(SAMPLES, *shape).double(), torch.randint(CLASSES, (SAMPLES,)))
    with (
        pytest.warns(UserWarning, match="evaluates the whole model") if name == "untraced" else contextlib.nullcontext()
    ):
        risk = ls.EmpiricalRisk(model, nn.CrossEntropyLoss(), data, space=ls.ParameterSpace.of(model, select))
    return model, data, risk


def slopes_of_answers(model, data, risk):
    """Gradient of ln p_c of every sample and class, one at a time, and the probabilities: [M, C, N], [M, C]."""
    tensors = risk.space.tensors(model)
    slopes, chances = [], []
    for x in data[0]:
        logs = model(x[None]).log_softmax(dim=1)[0]
        rows = [torch.autograd.grad(log, tensors, retain_graph=True) for log in logs]
        slopes.append(torch.stack([torch.cat([part.flatten() for part in row]) for row in rows]))
        chances.append(logs.exp().detach())
    return torch.stack(slopes), torch.stack(chances)


def fisher_matrix(model, data, risk):
    slopes, chances = slopes_of_answers(model, data, risk)
    return torch.einsum("kc,kci,kcj->ij", chances, slopes, slopes) / SAMPLES
