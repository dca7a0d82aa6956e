"""A study evaluates its loss as its loss_options say, and on the model of the step, wherever it makes a risk."""

import pytest
import torch
from torch import nn

import landscope as ls


class Noisy(nn.Module):
    """A linear layer whose output has noise in train mode, and is doubled in eval mode."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 1)

    def forward(self, x):
        y = self.layer(x)[:, 0]
        return y + torch.randn(len(y)) if self.training else 2 * y


def test_seed_mode_and_count_reach_every_risk_of_a_study(tmp_path):
    model, batches = Noisy(), [torch.randn(n, 2) for n in (6, 2, 1)]
    options = {"count": len, "seed": 5, "mode": "train"}
    study = ls.Study(
        tmp_path / "s", model, losses=lambda m, b: m(b).square().mean(), data=batches, loss_options=options
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    with study.record(optimizer, checkpoints=lambda step: True):
        for _ in range(3):
            optimizer.zero_grad()
            model(batches[0]).square().mean().backward()
            optimizer.step()
    noise = [torch.randn(len(b), generator=torch.Generator().manual_seed(5 + n)) for n, b in enumerate(batches)]
    with torch.no_grad():
        exact = torch.cat([model.layer(b)[:, 0] + e for b, e in zip(batches, noise, strict=True)]).square().mean()
    assert float(study.risk(3)(study.risk(3).w0)) == pytest.approx(float(exact), rel=1e-5)


def test_a_penalty_on_the_weights_of_the_model_is_that_of_the_step(tmp_path):
    model, data = nn.Linear(2, 1), (torch.randn(6, 2), torch.randn(6, 1))

    def criterion(outputs, targets):
        return (outputs - targets).square().mean() + model.weight.square().sum()

    study = ls.Study(tmp_path / "s", model, criterion, data)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with study.record(optimizer, checkpoints=lambda step: True):
        for _ in range(3):
            optimizer.zero_grad()
            criterion(model(data[0]), data[1]).backward()
            optimizer.step()
    risk = study.risk(1)
    w = risk.w0 + 0.1
    fit = (data[0] @ w[:2] + w[2] - data[1][:, 0]).square().mean()
    assert float(risk(w)) == pytest.approx(float(fit + w[:2].square().sum()), rel=1e-5)
