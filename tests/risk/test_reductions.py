"""A loss of torch with class weights or ignored labels is reduced as a training with it reduces it.

Known answers come from plain torch: a training on ``criterion.sum() / B``, or on the mean of what ``reduction="none"``
returns, counts every sample once, whatever its class weight, and also if its label is ignored. Both sides are computed
in float64, so that they agree to a few roundings of 1e-16: 1e-12 leaves room for sums of 24 terms.
"""

import functools
import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import landscope as ls
from landscope.errors import LandscopeWarning

CLOSE = {"rtol": 1e-12, "atol": 0}
M, B, C = 24, 4, 3
WEIGHT = torch.tensor([0.2, 1.0, 3.0], dtype=torch.float64)


def data(*more, ignored=False):
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(M, 5, generator=generator, dtype=torch.float64)
    labels = torch.randint(C, (M, *more), generator=generator)
    if ignored:
        labels.view(-1)[::3] = -100
    return inputs, labels


class Positions(nn.Module):
    """Logits [b, C, t] for t positions of a sample."""

    def __init__(self, t):
        super().__init__()
        self.layer, self.t = nn.Linear(5, C * t, dtype=torch.float64), t

    def forward(self, x):
        return self.layer(x).view(-1, C, self.t).log_softmax(1)


def quiet(criterion, model, pair):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LandscopeWarning)  # of reduction="sum"
        return ls.EmpiricalRisk(model, criterion, pair)


def reduced(criterion, outputs, targets):
    """What a training takes: the sum over the number of samples, or the mean of what the criterion returns."""
    returned = criterion(outputs, targets)
    return returned / len(targets) if returned.ndim == 0 else returned.mean()


KINDS = {
    "weights": ({"weight": WEIGHT}, False),
    "ignored": ({}, True),
    "both": ({"weight": WEIGHT}, True),
    "neither": ({}, False),
    "smoothed": ({"label_smoothing": 0.1, "weight": WEIGHT}, True),
}


def losses_of(options, reduction):
    yield nn.CrossEntropyLoss(reduction=reduction, **options)
    yield functools.partial(F.cross_entropy, reduction=reduction, **options)
    if "label_smoothing" not in options:
        yield nn.NLLLoss(reduction=reduction, **options)


@pytest.mark.parametrize("positions", [None, 2])
@pytest.mark.parametrize("reduction", ["sum", "none"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_sum_and_single_losses_count_every_sample_once(kind, reduction, positions):
    torch.manual_seed(1)
    options, ignored = KINDS[kind]
    model = Positions(positions) if positions else nn.Sequential(nn.Linear(5, C, dtype=torch.float64), nn.LogSoftmax(1))
    inputs, targets = data(*([positions] if positions else []), ignored=ignored)
    for criterion in losses_of(options, reduction):
        risk = quiet(criterion, model, (inputs, targets))
        expected = reduced(criterion, model(inputs), targets)
        gradient = torch.cat([g.flatten() for g in torch.autograd.grad(expected, list(model.parameters()))])
        minibatches = [reduced(criterion, model(x), y) for x, y in zip(inputs.split(B), targets.split(B), strict=True)]
        torch.testing.assert_close(risk(risk.w0), expected.detach(), **CLOSE)
        torch.testing.assert_close(risk.gradient(risk.w0), gradient, rtol=1e-12, atol=1e-15)
        torch.testing.assert_close(
            risk.minibatches(B).batch_losses(risk.w0), torch.stack(minibatches).detach(), **CLOSE
        )
        along = risk.lines(risk.w0, gradient[None])(torch.zeros(1, dtype=torch.long), torch.tensor([0.0]).double())
        torch.testing.assert_close(along[0], expected.detach(), **CLOSE)


def test_a_mean_is_over_the_weights_of_the_counted_labels_as_in_torch():
    torch.manual_seed(1)
    model, (inputs, targets) = nn.Linear(5, C, dtype=torch.float64), data(ignored=True)
    criterion = nn.CrossEntropyLoss(weight=WEIGHT)
    risk = ls.EmpiricalRisk(model, criterion, (inputs, targets))
    torch.testing.assert_close(risk(risk.w0), criterion(model(inputs), targets).detach(), **CLOSE)


@pytest.mark.parametrize("reduction", ["sum", "none"])
def test_the_fisher_information_of_positions_belongs_to_the_risk(reduction):
    """F = 1/M sum_k [1/t] sum_positions J' (diag(p) - p p') J over counted positions, by a plain loop."""
    torch.manual_seed(1)
    model, (inputs, targets) = Positions(2), data(2, ignored=True)
    fisher = quiet(nn.CrossEntropyLoss(reduction=reduction), model, (inputs, targets)).fisher_information()
    w = ls.ParameterSpace.of(model).flatten(model)
    expected, share = torch.zeros_like(w), 1 / 2 if reduction == "none" else 1.0
    for x, y in zip(inputs, targets, strict=True):
        for position in range(2):
            logp = model(x[None])[0, :, position].log_softmax(0)
            for label in range(C if y[position] >= 0 else 0):
                slopes = torch.autograd.grad(logp[label], list(model.parameters()), retain_graph=True)
                expected += share * logp[label].exp().detach() * torch.cat([s.flatten() for s in slopes]).square() / M
    torch.testing.assert_close(fisher.diagonal(w, "exact"), expected, rtol=1e-10, atol=1e-15)
    product = fisher.product(w, torch.eye(len(w), dtype=w.dtype)[0])
    assert float(product[0]) == pytest.approx(float(expected[0]), rel=1e-10)


def test_losses_of_wide_margins_are_exact_to_rounding():
    """log(1 + e^-m) and log(1 + e^m) for margins m around 20, where torch's softplus leaves out 2e-9."""
    margins = torch.tensor([-45.0, -25, -15, 15, 19, 21, 25, 35, 39, 41, 60], dtype=torch.float64)
    model = nn.Linear(1, 2, bias=False, dtype=torch.float64)
    model.weight.data = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
    risk = ls.EmpiricalRisk(model, nn.CrossEntropyLoss(), (margins[:, None], torch.zeros(len(margins)).long()))
    expected = torch.where(margins > 0, margins + torch.log1p(torch.exp(-margins)), torch.log1p(torch.exp(margins)))
    torch.testing.assert_close(risk.sample_losses(risk.w0), expected, rtol=4e-16, atol=0)
    # d2/dm2 log(1 + e^m) = p (1 - p), and the margin is x (w1 - w0)
    p = torch.sigmoid(margins)
    curvature = (margins.square() * p * torch.sigmoid(-margins)).mean()
    product = risk.hessian_vector_product(risk.w0, torch.tensor([0.0, 1.0], dtype=torch.float64))
    # 1 - p is rounded at 1, by at most 1.2e-16, and the square of the margin multiplies it.
    torch.testing.assert_close(product[1], curvature, rtol=1e-12, atol=1.2e-16 * float(margins.square().mean()))
