"""Fisher information of a function that gives one sum for a batch: that of its samples, where it is their sum."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import landscope as ls
from landscope.errors import InputError
from own_model import X, Y, losses_of, net

BATCHES = [(X[:8], Y[:8]), (X[8:], Y[8:])]


def of(losses, data=BATCHES, **options):
    risk = ls.EmpiricalRisk.from_closure(net(), losses, data, **options)
    return risk, risk.fisher_information()


def summed(model, batch):
    losses = losses_of(model, batch)
    return losses.sum(), len(losses)


def averaged(model, batch):
    return losses_of(model, batch).mean()


def by_hand(inputs=X, targets=Y):
    """Mean of the squared gradients of all samples, one at a time."""
    model, squares = net(), 0.0
    for x, y in zip(inputs, targets, strict=True):
        gradients = torch.autograd.grad(F.cross_entropy(model(x[None]), y[None]), list(model.parameters()))
        squares = squares + torch.cat([gradient.flatten() for gradient in gradients]).double().square()
    return squares / len(inputs)


@pytest.mark.parametrize(
    ("losses", "options"), [(summed, {}), (averaged, {"count": lambda batch: len(batch[0])}), (losses_of, {})]
)
def test_the_diagonal_is_that_of_the_samples(losses, options):
    risk, information = of(losses, **options)
    torch.testing.assert_close(information.diagonal(risk.w0, "empirical"), by_hand(), rtol=1e-5, atol=1e-9)


def test_the_factors_are_those_of_the_samples():
    (one, _), (other, _) = of(summed), of(losses_of)
    for first, second in zip(one.kronecker_factors(one.w0), other.kronecker_factors(other.w0), strict=True):
        torch.testing.assert_close(first.inputs, second.inputs)
        torch.testing.assert_close(first.outputs, second.outputs)


def test_batches_of_one_sample_need_no_halves():
    single = [(x[None], y[None]) for x, y in zip(X, Y, strict=True)]

    def twice(model, batch):
        losses = losses_of(model, batch)
        return 2 * losses.sum(), 2 * len(losses)  # as a sequence of two tokens

    risk, information = of(twice, single)
    torch.testing.assert_close(information.diagonal(risk.w0, "empirical"), 2 * by_hand(), rtol=1e-5, atol=1e-9)


def contrast(model, batch):
    z = model(batch[0])
    return torch.logsumexp(z @ z.T, 1).sum(), len(z)


def mean_contrast(model, batch):
    total, count = contrast(model, batch)
    return total / count


def pairs(model, batch):
    """Near its mean over half of the batch: it compares each sample with its neighbour."""
    z = model(batch[0])
    return (z * z.roll(1, 0)).mean()


COUNTED = {"count": lambda batch: len(batch[0])}


@pytest.mark.parametrize(("losses", "options"), [(contrast, {}), (mean_contrast, COUNTED), (pairs, COUNTED)])
def test_a_sum_that_compares_samples_is_refused(losses, options):
    risk, information = of(losses, **options)
    with pytest.raises(InputError, match=r"not known to be the sum over its samples.*language_model_losses"):
        information.diagonal(risk.w0, "empirical")
    memory = ls.TaskMemory(net(), method="ewc", strength=1.0)
    with pytest.raises(InputError, match="not known to be the sum over its samples"):
        memory.consolidate(data=BATCHES, losses=losses, loss_options=options or None)


def test_a_mean_over_some_of_the_targets_is_a_sum_over_them():
    ignored = Y.clone()
    ignored[::3] = -100
    batches = [(X[:8], ignored[:8]), (X[8:], ignored[8:])]

    def mean(model, batch):
        return F.cross_entropy(model(batch[0]), batch[1])

    risk, information = of(mean, batches, count=lambda batch: int((batch[1] >= 0).sum()))
    kept = ignored >= 0
    expected = by_hand(X[kept], Y[kept])
    torch.testing.assert_close(information.diagonal(risk.w0, "empirical"), expected, rtol=1e-5, atol=1e-9)


class Turned(nn.Module):
    """Outputs whose samples cannot be told: each row of three has two of them."""

    def __init__(self):
        super().__init__()
        self.net = net()

    def forward(self, x):
        return self.net(x).flatten().roll(1)


def test_outputs_that_belong_to_no_sample_are_refused():
    def losses(model, batch):
        z = model(batch[0]).roll(-1).view(len(batch[0]), 3)
        return F.cross_entropy(z, batch[1], reduction="sum"), len(z)

    risk = ls.EmpiricalRisk.from_closure(Turned(), losses, BATCHES)
    with pytest.raises(InputError, match="it can be told what belongs to which sample"):
        risk.fisher_information().diagonal(risk.w0, "empirical")
