"""Samples that meet in the model have no losses of their own: a criterion of torch then refuses."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import landscope as ls
from landscope.errors import InputError

GENERATOR = torch.Generator().manual_seed(0)
X, Y = torch.randn(12, 4, generator=GENERATOR), torch.arange(12) % 3
BATCHES = list(zip(X.split(4), Y.split(4), strict=True))


class Centred(nn.Module):
    def __init__(self, strength=1.0):
        super().__init__()
        self.first, self.last, self.strength = nn.Linear(4, 4), nn.Linear(4, 3), strength

    def forward(self, x):
        values = torch.tanh(self.first(x))
        return self.last(values - self.strength * values.mean(0))


def normed():
    return nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3, track_running_stats=False))


@pytest.mark.parametrize("criterion", [nn.CrossEntropyLoss(), F.cross_entropy, nn.CrossEntropyLoss(reduction="none")])
@pytest.mark.parametrize("data", [(X, Y), BATCHES, [{"x": X, "labels": Y}]])
@pytest.mark.parametrize("model", [Centred, lambda: Centred(0.01), normed])
def test_a_model_that_compares_samples_is_refused(model, data, criterion):
    with pytest.raises(InputError, match=r"what else is in its batch.*from_closure.*minibatches\(None\)"):
        ls.EmpiricalRisk(model() if not isinstance(data[0], dict) else Named(model()), criterion, data)


class Named(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x)


def test_a_normalisation_by_the_batch_is_named():
    with pytest.raises(InputError, match=r"These layers take the statistics of the batch.*: 1\. Make them with track"):
        ls.EmpiricalRisk(normed(), nn.CrossEntropyLoss(), (X, Y))


def test_the_way_on_takes_the_batches_of_the_user():
    model = Centred()
    risk = ls.EmpiricalRisk.from_closure(
        model, lambda m, batch: F.cross_entropy(m(batch[0]), batch[1], reduction="none"), BATCHES
    )
    expected = [float(F.cross_entropy(model(x), y).detach()) for x, y in BATCHES]
    assert risk.minibatches(None).batch_losses(risk.w0).tolist() == pytest.approx(expected, rel=1e-5)
    assert float(risk(risk.w0)) == pytest.approx(sum(expected) / 3, rel=1e-5)


@pytest.mark.parametrize("norm", [nn.BatchNorm1d(3), nn.InstanceNorm1d(3), nn.LayerNorm(3), nn.Softmax(dim=1)])
def test_layers_that_keep_samples_apart_are_accepted(norm):
    model = nn.Sequential(nn.Linear(4, 3), norm).eval()
    if isinstance(norm, nn.InstanceNorm1d):
        model = nn.Sequential(nn.Linear(4, 12), nn.Unflatten(1, (3, 4)), norm, nn.Flatten())
    risk = ls.EmpiricalRisk(model, nn.CrossEntropyLoss(), (X, Y))
    with torch.no_grad():
        assert float(risk(risk.w0)) == pytest.approx(float(F.cross_entropy(model(X), Y)), rel=1e-5)


@pytest.mark.filterwarnings("ignore:landscope evaluates the whole model")
def test_a_shift_of_all_logits_by_the_batch_changes_no_loss():
    class Shifted(nn.Linear):
        def forward(self, x):
            logits = super().forward(x)
            return logits - logits.detach().max()

    model = Shifted(4, 3)
    risk = ls.EmpiricalRisk(model, nn.CrossEntropyLoss(), (X, Y))
    assert float(risk(risk.w0)) == pytest.approx(float(F.cross_entropy(model(X), Y).detach()), rel=1e-5)
