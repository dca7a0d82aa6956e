"""Minibatch losses of weighted, ignored and token losses, against torch's own criterion in a plain loop."""

import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import landscope as ls
from landscope.risk.language_model import language_model_losses
from landscope.surrogates.noisy_descent import gradient_noise_like

CLASS_WEIGHTS = torch.tensor([0.2, 1.0, 3.0], dtype=torch.float64)
B = 4


class Tokens(nn.Module):
    """A language model without attention: each token predicts the next; two tokens are known."""

    def __init__(self):
        super().__init__()
        self.embed, self.head = nn.Embedding(2, 3), nn.Linear(3, 2)

    def forward(self, tokens):
        return self.head(self.embed(tokens).cumsum(1))


class Named(nn.Module):
    """A model of a dict of inputs that returns an output with logits, as those of transformers."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, input_ids):
        return {"logits": self.network(input_ids)}


def vectors():
    torch.manual_seed(0)
    labels = torch.arange(22) % 3
    return torch.randn(22, 5, dtype=torch.float64), labels


def ignored():
    inputs, labels = vectors()
    labels[torch.randperm(22)[:9]] = -100
    return inputs, labels


def maps():
    torch.manual_seed(0)
    labels = torch.randint(0, 3, (22, 2, 3))
    labels[torch.rand(22, 2, 3) < 0.4] = 255
    labels[7] = 255
    return torch.randn(22, 5, 2, 3, dtype=torch.float64), labels


def texts():
    torch.manual_seed(0)
    tokens = torch.randint(0, 2, (22, 6))
    labels = tokens.clone()
    labels[torch.rand(22, 6) < 0.4] = -100
    labels[:, -1] = tokens[:, -1]
    return tokens, labels


def shifted(logits, labels):
    """The loss of transformers' causal language models."""
    return F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())


def mlp():
    return nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 3))


def convolution():
    return nn.Sequential(nn.Conv2d(5, 3, 1), nn.Tanh(), nn.Conv2d(3, 3, 1))


def summed(outputs, targets):
    """A user's criterion that returns a sum and a number, from which single samples cannot be told."""
    return F.cross_entropy(outputs, targets, CLASS_WEIGHTS, reduction="sum"), CLASS_WEIGHTS[targets].sum()


def balanced(outputs, targets):
    """Weights that happen to add up to the number of all samples."""
    weights = CLASS_WEIGHTS[targets] * 22 / float(CLASS_WEIGHTS[torch.arange(22) % 3].sum())
    return F.cross_entropy(outputs, targets, reduction="none") * weights, float(weights.sum())


CASES = {
    "class weights": (mlp, vectors, nn.CrossEntropyLoss(CLASS_WEIGHTS), nn.CrossEntropyLoss(CLASS_WEIGHTS)),
    "nll": (
        lambda: nn.Sequential(mlp(), nn.LogSoftmax(1)), vectors, nn.NLLLoss(CLASS_WEIGHTS), nn.NLLLoss(CLASS_WEIGHTS)
    ),
    "ignored": (mlp, ignored, nn.CrossEntropyLoss(), nn.CrossEntropyLoss()),
    "ignored maps": (
        convolution, maps, nn.CrossEntropyLoss(CLASS_WEIGHTS, ignore_index=255),
        nn.CrossEntropyLoss(CLASS_WEIGHTS, ignore_index=255),
    ),
    "language": (Tokens, texts, language_model_losses, shifted),
    "sum and number": (mlp, vectors, summed, nn.CrossEntropyLoss(CLASS_WEIGHTS)),
    "balanced": (mlp, vectors, balanced, nn.CrossEntropyLoss(CLASS_WEIGHTS)),
    "mean": (mlp, vectors, lambda o, y: F.cross_entropy(o, y), nn.CrossEntropyLoss()),
}  # fmt: skip
FORMS = ["tensors", "batches", "mappings", "closure"]


def risk_of(case, form):
    """A risk of 22 samples, the model, the data, and the criterion that a training would use."""
    network, data, criterion, plain = CASES[case]
    torch.manual_seed(1)
    model, (inputs, targets) = network().double(), data()
    cut = zip(inputs.split(6), targets.split(6), strict=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # which models are traced is tested elsewhere
        if form == "tensors":
            risk = ls.EmpiricalRisk(model, criterion, (inputs, targets))
        elif form == "batches":
            risk = ls.EmpiricalRisk(model, criterion, list(cut))
        elif form == "mappings":
            batches = [{"input_ids": x, "labels": y} for x, y in cut]
            of_logits = criterion if not hasattr(criterion, "__code__") else lambda o, y: criterion(o["logits"], y)
            risk = ls.EmpiricalRisk(Named(model), of_logits, batches)
        else:
            wrapped = ls.EmpiricalRisk(model, criterion, (inputs, targets))._blocks.sample_losses
            risk = ls.EmpiricalRisk.from_closure(
                model, lambda m, b: _sum_and_number(*wrapped(m(b["x"]), b["y"])), [{"x": x, "y": y} for x, y in cut]
            )
    return risk, model, inputs, targets, plain


def _sum_and_number(losses, weight):
    return losses.sum(), float(torch.as_tensor(weight).sum())


def loop(risk, model, inputs, targets, plain, w, batches):
    """The losses and the gradients of minibatches as a training computes them."""
    losses, gradients = [], []
    names = [name.removeprefix("network.") for name in risk.space.names]
    for rows in batches:
        leaf = w.clone().requires_grad_()
        values = dict(zip(names, risk.space.unflatten(leaf).values(), strict=True))
        loss = plain(torch.func.functional_call(model, values, inputs[rows]), targets[rows])
        losses.append(loss.detach())
        gradients.append(torch.autograd.grad(loss, leaf)[0])
    return torch.stack(losses), torch.stack(gradients)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("case", CASES)
def test_minibatch_losses_are_those_of_a_training_loop(case, form):
    risk, *training = risk_of(case, form)
    ensemble = risk.minibatches(B, seed=3)
    w = risk.w0 + 0.1
    losses, gradients = loop(risk, *training, w, ensemble.batches)
    close = {"rtol": 1e-10, "atol": 1e-13}
    torch.testing.assert_close(ensemble.batch_losses(w), losses, **close)
    torch.testing.assert_close(torch.stack(list(ensemble.batch_gradients(w))), gradients, **close)
    directions = torch.linalg.qr(torch.randn(len(w), 2, dtype=torch.float64)).Q.T.contiguous()
    along, slopes = ensemble.batch_lines(w, directions).slopes(torch.tensor([0, 1]), torch.zeros(2).double())
    torch.testing.assert_close(along[0], losses, **close)
    torch.testing.assert_close(slopes, directions @ gradients.T, **close)
    profiles = ensemble.batch_lines(w - 0.2 * directions[0], directions).losses(
        torch.zeros(1).long(), torch.tensor([0.2])
    )
    torch.testing.assert_close(profiles[0], losses, rtol=1e-6, atol=0)  # 0.2 in float32
    noise = ls.noise.gradient_noise(ensemble, w, directions)
    torch.testing.assert_close(noise.covariance, torch.cov((gradients @ directions.T).T, correction=0), **close)


@pytest.mark.parametrize("case", CASES)
def test_the_mean_over_minibatches_differs_from_the_risk_by_their_weights(case):
    risk, *training = risk_of(case, "tensors")
    ensemble, w = risk.minibatches(11, seed=0), risk.w0 + 0.1
    losses, weights = ensemble.batch_losses(w), ensemble.weights
    covariance = ((weights - weights.mean()) * (losses - losses.mean())).mean()
    torch.testing.assert_close(ensemble(w) - risk(w), -covariance / weights.mean(), rtol=1e-9, atol=1e-14)
    _, gradients = loop(risk, *training, w, ensemble.batches)
    torch.testing.assert_close(ensemble.gradient(w), gradients.mean(dim=0), rtol=1e-10, atol=1e-13)
    direction = torch.randn(len(w), dtype=torch.float64)
    ahead, behind = (loop(risk, *training, w + h * direction, ensemble.batches)[1].mean(dim=0) for h in (1e-5, -1e-5))
    product = ensemble.hessian_vector_product(w, direction)
    torch.testing.assert_close(product, (ahead - behind) / 2e-5, rtol=0, atol=1e-7)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("case", ["class weights", "ignored maps", "language", "mean"])
def test_the_loss_of_a_sample_is_that_of_a_minibatch_of_one(case, form):
    risk, *training = risk_of(case, form)
    expected, gradients = loop(risk, *training, risk.w0, torch.arange(22)[:, None])
    found, weights = risk.sample_losses(risk.w0), risk.sample_weights()
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-13, equal_nan=True)
    torch.testing.assert_close((found.nan_to_num() * weights).sum() / weights.sum(), risk(risk.w0), rtol=1e-10, atol=0)
    direction = torch.ones(1, len(risk.w0), dtype=torch.float64)
    _, slopes = risk.sample_lines(risk.w0, direction).slopes(torch.zeros(1).long(), torch.zeros(1))
    counted = weights > 0  # a loss of 0/0 has any derivative
    torch.testing.assert_close(slopes[0, counted], gradients.sum(dim=1)[counted], rtol=1e-9, atol=1e-13)


def test_weights_say_how_many_tokens_count():
    risk, *_, targets, _ = risk_of("language", "tensors")
    assert torch.equal(risk.sample_weights(), (targets[:, 1:] != -100).sum(1).double())


def test_springs_and_temperatures_of_a_language_model():
    """Of two tokens; T(0) is alpha/2 times the variance of the slopes, and the log-sum-exp identity is exact."""
    risk, *training = risk_of("language", "mappings")
    ensemble = risk.minibatches(B, seed=0)
    directions = torch.linalg.qr(torch.randn(len(risk.w0), 2, dtype=torch.float64)).Q.T.contiguous()
    losses, gradients = loop(risk, *training, risk.w0, ensemble.batches)
    temperature = ls.noise.active_temperature(ensemble, risk.w0, directions, torch.zeros(1), learning_rate=0.1)
    expected = 0.05 * (gradients @ directions.T).var(dim=0, correction=0)
    torch.testing.assert_close(temperature.temperature[:, 0], expected, rtol=1e-9, atol=0)
    springs = ls.noise.minibatch_ensemble(ensemble, risk.w0, directions, torch.linspace(-0.1, 0.1, 7))
    torch.testing.assert_close(springs.loss0, losses, rtol=1e-10, atol=0)
    hessian = ls.noise.log_hessian(ensemble, risk.w0, directions)
    product = torch.stack([ensemble.hessian_vector_product(risk.w0, d) for d in directions]) @ directions.T
    slope = directions @ gradients.mean(dim=0) / losses.mean()
    torch.testing.assert_close(
        hessian.log_hessian, product / losses.mean() - slope[:, None] * slope, rtol=1e-8, atol=1e-11
    )


def test_losses_of_tokens_in_a_closure_belong_to_their_text():
    """Each text is a sample with as many losses as tokens, not each token."""
    torch.manual_seed(0)
    model, tokens = Tokens().double(), torch.randint(0, 2, (12, 5))
    risk = ls.EmpiricalRisk.from_closure(
        model, lambda m, b: F.cross_entropy(m(b).transpose(1, 2), b, reduction="none"), list(tokens.split(4))
    )
    assert risk.sample_weights().tolist() == [5.0] * 12
    expected = F.cross_entropy(model(tokens[6:]).flatten(0, 1), tokens[6:].flatten()).detach()
    torch.testing.assert_close(risk.minibatches(6).batch_losses(risk.w0)[1], expected)


def test_noise_like_that_of_weighted_minibatches():
    """To first order, grad L^mu - grad L is the mean of c_k/<c> (grad d_k - grad L) over the minibatch."""
    risk, *training = risk_of("class weights", "tensors")
    found = gradient_noise_like("covariance", risk, batch_size=B, seed=5)(risk.w0)
    _, gradients = loop(risk, *training, risk.w0, torch.arange(22)[:, None])
    shares = CLASS_WEIGHTS[training[2]] / CLASS_WEIGHTS[training[2]].mean()
    mean = (shares[:, None] * gradients).mean(dim=0)
    white = torch.randn(22, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    expected = (white * shares) @ (gradients - mean) / (B * 22) ** 0.5
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-14)
