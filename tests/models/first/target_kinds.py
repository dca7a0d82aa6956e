"""Losses of torch for targets of many kinds: class weights, smoothing, variances, several labels, many classes."""

import torch
import torch.nn.functional as F
from torch import nn

from landscope.memory import EWC
from models.first.kind import Kind, M, mean_of
from models.first.own_kinds import NUMBERS, VECTORS
from models.first.transformer_kinds import CLASSES, LABELS, seeded

MANY = 120
WEIGHTS = torch.tensor([0.5, 2.0, 1.0][:CLASSES] + [1.0] * max(0, CLASSES - 3)).double()
TAGS = (NUMBERS > 0).double()
WORDS = torch.randint(MANY, (M,), generator=torch.Generator().manual_seed(4))


def network(n_outputs):
    return lambda: nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, n_outputs)).double()


class Moments(nn.Module):
    """The mean and the variance of one number."""

    def __init__(self):
        super().__init__()
        self.body = network(2)()

    def forward(self, x):
        mean, raised = self.body(x).chunk(2, dim=1)
        return mean, F.softplus(raised)


def pairs(targets):
    return lambda rows: (VECTORS[rows], targets[rows])


def weighted(model, batch):
    """The weighted sum of -log p, and the sum of the weights."""
    chosen = WEIGHTS[batch[1]]
    return -(chosen * model(batch[0]).log_softmax(1)[torch.arange(len(chosen)), batch[1]]).sum(), chosen.sum()


def smoothed(model, batch):
    """A tenth of the probability is spread over all classes."""
    logs = model(batch[0]).log_softmax(1)
    return -(0.9 * logs[torch.arange(len(logs)), batch[1]] + 0.1 * logs.mean(dim=1))


def gaussian(model, batch):
    mean, variance = model(batch[0])
    return ((variance.log() + (batch[1] - mean) ** 2 / variance) / 2).squeeze(1)


def several(model, batch):
    """-log p of each label, with the mean over the labels of a sample."""
    p = torch.sigmoid(model(batch[0]))
    return -(batch[1] * p.log() + (1 - batch[1]) * (1 - p).log()).mean(dim=1)


def one_of_many(model, batch):
    return -model(batch[0]).log_softmax(1)[torch.arange(len(batch[1])), batch[1]]


TARGETS = {
    "class weights": Kind(
        seeded(network(CLASSES)), pairs(LABELS), weighted, nn.CrossEntropyLoss(WEIGHTS), method=EWC("empirical")
    ),
    "label smoothing": Kind(
        seeded(network(CLASSES)), pairs(LABELS), mean_of(smoothed), nn.CrossEntropyLoss(label_smoothing=0.1),
        method="mas",
    ),
    "predicted variance": Kind(
        seeded(Moments), pairs(NUMBERS[:, :1]), mean_of(gaussian), nn.GaussianNLLLoss(), method="ewc"
    ),
    "several labels": Kind(
        seeded(network(2)), pairs(TAGS), mean_of(several), nn.BCEWithLogitsLoss(), method="kfac"
    ),
    "more than 100 classes": Kind(
        seeded(network(MANY)), pairs(WORDS), mean_of(one_of_many), nn.CrossEntropyLoss(), method="ewc"
    ),
}  # fmt: skip
