"""The Fisher information of every kind of answer against a plain sum over samples and answers, or by hand."""

import dataclasses
import math

import pytest
import torch
from torch import nn
from torch.distributions import Normal

import landscope as ls
from landscope.risk.answers import answers_of
from landscope.risk.language_model import language_model_losses
from landscope.risk.outputs import Outputs

SAMPLES = 6


def jacobians(model, x, space):
    """The derivative of the outputs of every sample, one sample and one output at a time: [M, D, N]."""
    tensors = space.tensors(model)
    rows = []
    for one in x:
        out = model(one[None])
        out = torch.cat([part.flatten() for part in out]) if isinstance(out, tuple) else out.flatten()
        each = [torch.autograd.grad(value, tensors, retain_graph=True, allow_unused=True) for value in out]
        parts = [
            torch.cat([(torch.zeros_like(t) if g is None else g).flatten() for g, t in zip(row, tensors, strict=True)])
            for row in each
        ]
        rows.append(torch.stack(parts))
    return torch.stack(rows)


class Pair(nn.Module):
    """A mean and a variance of two numbers."""

    def __init__(self):
        super().__init__()
        self.mean, self.log_variance = nn.Linear(3, 2), nn.Linear(3, 2)

    def forward(self, x):
        return self.mean(x), self.log_variance(x).exp()


class Tokens(nn.Module):
    """Logits [b, t, C] of tokens."""

    def __init__(self):
        super().__init__()
        self.embedding, self.last = nn.Embedding(5, 3), nn.Linear(3, 5)

    def forward(self, x):
        return self.last(self.embedding(x).cumsum(dim=1).tanh())


def softmax_information(logits):
    p = logits.softmax(dim=-1)
    return torch.diag(p) - torch.outer(p, p)


def case(name):
    """(model, criterion, x, targets, information of the outputs of a sample, weight)."""
    torch.manual_seed(5)
    x = torch.randn(SAMPLES, 3).double()
    linear = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 3)).double()
    if name == "soft labels":
        targets = torch.rand(SAMPLES, 3).double().softmax(dim=1)
        return linear, nn.CrossEntropyLoss(), x, targets, lambda k, out: softmax_information(out), SAMPLES
    if name == "smoothed labels":
        targets = torch.randint(3, (SAMPLES,))
        criterion = nn.CrossEntropyLoss(label_smoothing=0.1)
        return linear, criterion, x, targets, lambda k, out: softmax_information(out), SAMPLES
    if name == "ignored labels":
        targets = torch.tensor([0, 1, 9, 2, 9, 0])
        counted = (targets != 9).double()
        criterion = nn.CrossEntropyLoss(ignore_index=9)
        return linear, criterion, x, targets, lambda k, out: counted[k] * softmax_information(out), 4
    if name == "pixels":
        model = nn.Conv1d(2, 3, 2).double()
        x, targets = torch.randn(SAMPLES, 2, 3).double(), torch.randint(3, (SAMPLES, 2))
        return model, nn.CrossEntropyLoss(), x, targets, of_pixels, 2 * SAMPLES
    if name == "tokens":
        x = torch.randint(5, (SAMPLES, 4))
        targets = x.masked_fill(torch.rand(SAMPLES, 4) < 0.3, -100)

        def of_tokens(k, out):
            parts = [softmax_information(row) * float(i < 3 and targets[k, min(i + 1, 3)] != -100)
                     for i, row in enumerate(out.view(4, 5))]  # fmt: skip
            return torch.block_diag(*parts)

        weight = int((targets[:, 1:] != -100).sum())
        return Tokens().double(), language_model_losses, x, targets, of_tokens, weight
    if name == "bits":
        targets = torch.randint(2, (SAMPLES, 3)).double()
        return linear, nn.BCEWithLogitsLoss(), x, targets, of_bits, SAMPLES
    if name == "chances":
        targets = torch.randint(2, (SAMPLES, 3)).double()
        model = nn.Sequential(linear, nn.Sigmoid())
        return model, nn.BCELoss(), x, targets, lambda k, q: torch.diag(1 / (q * (1 - q))) / 3, SAMPLES
    if name == "squares":
        return (
            linear,
            nn.MSELoss(),
            x,
            torch.randn(SAMPLES, 3).double(),
            lambda k, out: torch.eye(3).double() * 2 / 3,
            SAMPLES,
        )
    if name == "predicted variance":
        targets = torch.randn(SAMPLES, 2).double()
        return Pair().double(), nn.GaussianNLLLoss(), x, targets, lambda k, out: of_pair(out) / 2, SAMPLES
    assert name == "distribution"
    criterion = ls.NegativeLogLikelihood(lambda out: Normal(out[0], out[1].sqrt()))
    return Pair().double(), criterion, x, torch.randn(SAMPLES, 2).double(), lambda k, out: of_pair(out), SAMPLES


def of_pixels(k, out):
    """Logits [3, 2] of two pixels, class after class."""
    whole = torch.zeros(3, 2, 3, 2).double()
    for pixel in range(2):
        whole[:, pixel, :, pixel] = softmax_information(out.view(3, 2)[:, pixel])
    return whole.view(6, 6)


def of_bits(k, out):
    p = out.sigmoid()
    return torch.diag(p * (1 - p)) / 3


def of_pair(out):
    variance = out[2:]
    return torch.diag(torch.cat([1 / variance, 1 / (2 * variance**2)]))


CASES = ["soft labels", "smoothed labels", "ignored labels", "pixels", "tokens", "bits", "chances", "squares",
         "predicted variance", "distribution"]  # fmt: skip


@pytest.fixture(params=CASES)
def problem(request):
    model, criterion, x, targets, information, weight = case(request.param)
    risk = ls.EmpiricalRisk(model, criterion, (x, targets))
    slopes, whole = jacobians(model, x, risk.space), torch.zeros(risk.space.dim, risk.space.dim).double()
    with torch.no_grad():
        for k in range(SAMPLES):
            out = model(x[k : k + 1])
            out = torch.cat([part.flatten() for part in out]) if isinstance(out, tuple) else out.flatten()
            whole += slopes[k].T @ information(k, out).double() @ slopes[k]
    return risk, whole / weight


def test_the_exact_matrix_is_the_sum_over_samples_and_answers(problem):
    risk, expected = problem
    fisher = risk.fisher_information()
    assert torch.allclose(fisher.diagonal(risk.w0), expected.diagonal(), rtol=1e-8, atol=1e-14)
    slow = dataclasses.replace(fisher, by_layers=False)
    assert torch.allclose(slow.diagonal(risk.w0), expected.diagonal(), rtol=1e-8, atol=1e-14)
    vector = torch.randn(risk.space.dim).double()
    assert torch.allclose(fisher.product(risk.w0, vector), expected @ vector, rtol=1e-8, atol=1e-13)


def test_the_mixtures_with_all_signs_are_the_exact_matrix():
    """Two classes have four pairs of signs; the mean of s s' over them, with s written by hand, is exact."""
    p, chosen = torch.tensor([[0.2, 0.8]]).double(), []
    answers, outputs = answers_of(nn.CrossEntropyLoss()), Outputs.of(p.log())
    for seed in range(40):
        (slope,) = answers.mixed(outputs, torch.zeros(1).long(), torch.Generator().manual_seed(seed))
        chosen.append(slope[0])
    by_hand = [first * math.sqrt(0.2) * torch.tensor([0.8, -0.8]) + second * math.sqrt(0.8) * torch.tensor([-0.2, 0.2])
               for first in (1, -1) for second in (1, -1)]  # fmt: skip
    found = torch.stack(chosen).unique(dim=0)
    assert len(found) == 4  # 40 seeds miss a pair of signs with the probability 4e-5
    assert torch.allclose(found.sort(dim=0).values, torch.stack(by_hand).double().sort(dim=0).values, atol=1e-7)
    matrix = torch.diag(p[0]) - torch.outer(p[0], p[0])
    assert torch.allclose(found.T @ found / 4, matrix)


@pytest.mark.parametrize("kind", ["monte-carlo", "random-signs"])
def test_draws_are_without_bias_and_follow_their_seed(problem, kind):
    """An estimate is a mean over draws: repeated with other seeds, it scatters about the exact one by its own error."""
    risk, expected = problem
    fisher, n = risk.fisher_information(), 10
    drawn = [fisher.diagonal(risk.w0, kind, n_draws=8, seed=seed) for seed in range(n)]
    assert torch.equal(fisher.diagonal(risk.w0, kind, n_draws=8, seed=3), drawn[3])
    rows = torch.stack(drawn)
    error = rows.std(dim=0) / math.sqrt(n)
    # With nine degrees of freedom, 6 standard errors of the sum leave 2e-4, and 10 of a weight 4e-6.
    total, exact = rows.sum(dim=1), expected.diagonal().sum()
    assert abs(total.mean() - exact) <= 6 * total.std() / math.sqrt(n) + 1e-12 * exact  # signs may scatter by nothing
    away = ((rows.mean(dim=0) - expected.diagonal()).abs() / (error + 1e-12 * exact)).nan_to_num()
    assert float(away[expected.diagonal() > 1e-12].max()) < 10


def test_the_gauss_newton_matrix_is_the_fisher_information_of_losses_in_natural_outputs(problem, request):
    """For normal answers of predicted variance it is another matrix; see the test by hand."""
    risk, expected = problem
    name = request.node.callspec.params["problem"]
    vector = torch.randn(risk.space.dim).double()
    found = risk.gauss_newton_product(risk.w0, vector)
    natural = name not in ("predicted variance", "distribution", "chances")
    assert torch.allclose(found, expected @ vector, rtol=1e-8, atol=1e-13) == natural
    dense = torch.stack([risk.gauss_newton_product(risk.w0, row) for row in torch.eye(risk.space.dim).double()])
    diagonal = risk.fisher_information().diagonal(risk.w0, "gauss-newton")
    assert torch.allclose(diagonal, dense.diagonal(), rtol=1e-8, atol=1e-13)


def test_linear_regression_has_the_mean_of_x_x_over_the_variance():
    x, sigma = torch.randn(9, 3).double(), 0.3
    model = nn.Linear(3, 1, bias=False).double()
    criterion = ls.NegativeLogLikelihood(lambda out: Normal(out, sigma))
    risk = ls.EmpiricalRisk(model, criterion, (x, torch.randn(9, 1).double()))
    expected = x.T @ x / sigma**2 / 9
    found = torch.stack([risk.fisher_information().product(risk.w0, row) for row in torch.eye(3).double()])
    assert torch.allclose(found, expected, rtol=1e-9)
    assert torch.allclose(risk.fisher_information().diagonal(risk.w0), expected.diagonal(), rtol=1e-9)


def test_logistic_regression_has_p_times_one_minus_p_times_x_x():
    x, model = torch.randn(9, 3).double(), nn.Linear(3, 1, bias=False).double()
    risk = ls.EmpiricalRisk(model, nn.BCEWithLogitsLoss(), (x, torch.randint(2, (9, 1)).double()))
    p = model(x).sigmoid().detach()[:, 0]
    expected = torch.einsum("k,ki,kj->ij", p * (1 - p), x, x) / 9
    found = torch.stack([risk.fisher_information().product(risk.w0, row) for row in torch.eye(3).double()])
    assert torch.allclose(found, expected, rtol=1e-9)


def test_a_predicted_log_variance_by_hand():
    """One weight m for the mean and one s for ln variance: F = diag(e^-s, 1/2); its Hessian has (y - m) e^-s beside."""

    class Constant(nn.Module):
        def __init__(self):
            super().__init__()
            self.m, self.s = (nn.Parameter(torch.tensor(value, dtype=torch.float64)) for value in (0.5, -0.7))

        def forward(self, x):
            return {"mean": self.m * x, "log_variance": self.s * x}

    criterion = ls.NegativeLogLikelihood(lambda o: Normal(o["mean"], (o["log_variance"] / 2).exp()))
    y = torch.tensor([[1.0], [3.0]]).double()
    risk = ls.EmpiricalRisk(Constant(), criterion, (torch.ones(2, 1).double(), y))
    order = [risk.space.names.index(name) for name in ("m", "s")]
    e = math.exp(0.7)
    found = torch.stack([risk.fisher_information().product(risk.w0, row) for row in torch.eye(2).double()])
    expected = torch.diag(torch.tensor([e, 0.5], dtype=torch.float64))
    assert torch.allclose(found[order][:, order], expected, rtol=1e-9)
    r = y[:, 0] - 0.5
    cross, last = float(r.mean()) * e, float((r**2).mean()) * e / 2
    gauss_newton = torch.tensor([[e, cross], [cross, last]], dtype=torch.float64)
    found = torch.stack([risk.gauss_newton_product(risk.w0, row) for row in torch.eye(2).double()])
    assert torch.allclose(found[order][:, order], gauss_newton, rtol=1e-9)


def test_many_classes_by_draws_have_the_standard_error_of_their_fourth_moments():
    """One layer of 200 classes: the variance of an estimate is known exactly, sample by sample and class by class."""
    torch.manual_seed(0)
    model, x = nn.Linear(3, 200).double(), torch.randn(16, 3).double()
    risk = ls.EmpiricalRisk(model, nn.CrossEntropyLoss(), (x, torch.randint(200, (16,))))
    p = model(x).softmax(dim=1).detach()
    slopes = torch.eye(200).double() - p[:, None]  # [k, drawn class, output]
    inputs = torch.cat([x, torch.ones(16, 1).double()], dim=1)
    squares = torch.einsum("kyo,ki->kyoi", slopes.square(), inputs.square())
    mean = torch.einsum("ky,kyoi->koi", p, squares)
    variance = torch.einsum("ky,kyoi->koi", p, squares.square()) - mean.square()
    error = (variance.sum(dim=0) / (16**2 * 50)).sqrt()
    found = risk.fisher_information().diagonal(risk.w0, "monte-carlo", n_draws=50)
    parts = dict(zip(risk.space.names, found.split(list(risk.space.sizes)), strict=True))
    got = torch.cat([parts["weight"].view(200, 3), parts["bias"].view(200, 1)], dim=1)
    z = (got - mean.sum(dim=0) / 16) / error
    # The 200 rows are nearly independent, so that the mean square of z is 1 within a few sqrt(kurtosis / 200).
    assert float(z.abs().max()) < 7
    assert 0.5 < float(z.square().mean()) < 1.6
    exact = risk.fisher_information().diagonal(risk.w0)
    parts = dict(zip(risk.space.names, exact.split(list(risk.space.sizes)), strict=True))
    assert torch.allclose(parts["weight"].view(200, 3), mean[:, :, :3].sum(dim=0) / 16, rtol=1e-9)
