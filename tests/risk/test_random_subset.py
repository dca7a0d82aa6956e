"""A risk on a part of its data."""

import pytest
import torch
from torch import nn

import landscope as ls


def rows_found(risk, data):
    """The samples of a risk, by their losses, which all differ."""
    losses = {round(float(loss), 9): row for row, loss in enumerate(data.sample_losses(data.w0))}
    return [losses[round(float(loss), 9)] for loss in risk.sample_losses(risk.w0)]


def problem(kind):
    torch.manual_seed(0)
    model, x, y = nn.Linear(3, 2).double(), torch.randn(40, 3).double(), torch.randint(2, (40,))
    if kind == "closure":
        batches = [(x[i : i + 5], y[i : i + 5]) for i in range(0, 40, 5)]
        return ls.EmpiricalRisk.from_closure(
            model, lambda m, b: nn.functional.cross_entropy(m(b[0]), b[1], reduction="none"), batches
        )
    if kind == "whole model":
        with pytest.warns(UserWarning, match="evaluates the whole model"):
            return ls.EmpiricalRisk(Named(model), Own(), [((x, 2 * x), y)])
    return ls.EmpiricalRisk(model, nn.CrossEntropyLoss(), (x, y))


class Named(nn.Module):
    """Two inputs: it is evaluated as a whole."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x, twice):
        return self.layer(x + twice)


class Own(nn.Module):
    def forward(self, z, t):
        return nn.functional.cross_entropy(z, t, reduction="none")


@pytest.mark.parametrize("kind", ["pair of tensors", "closure", "whole model"])
def test_a_subset_holds_samples_of_the_data_at_random_each_once(kind):
    risk = problem(kind)
    few = risk.random_subset(10, seed=1)
    rows = rows_found(few, risk)
    assert len(rows) == len(set(rows)) == 10
    assert rows != rows_found(risk.random_subset(10, seed=2), risk)
    assert torch.equal(few.w0, risk.w0)
    expected = risk.sample_losses(risk.w0)[rows].mean()
    assert float(few(risk.w0)) == pytest.approx(float(expected), rel=1e-12)
    assert sorted(rows_found(risk.random_subset(1000), risk)) == list(range(40))


def test_a_subset_changes_neither_the_risk_nor_the_random_state():
    risk, random = problem("closure"), torch.get_rng_state()
    before = float(risk(risk.w0)), risk.sample_losses(risk.w0)
    risk.random_subset(7).gradient(risk.w0)
    assert torch.equal(random, torch.get_rng_state())
    assert float(risk(risk.w0)) == before[0]
    assert torch.equal(risk.sample_losses(risk.w0), before[1])


def test_batches_of_a_counted_mean_keep_their_counts():
    torch.manual_seed(0)
    x, y = torch.randn(12, 3), torch.randn(12, 1)
    batches = [(x[a:b], y[a:b]) for a, b in ((0, 3), (3, 8), (8, 12))]
    risk = ls.EmpiricalRisk.from_closure(
        nn.Linear(3, 1), lambda m, b: (m(b[0]) - b[1]).square().mean(), batches, count=lambda b: len(b[0])
    )
    some = risk.random_subset(6)
    found = float(some(risk.w0))
    means = [float((risk._model(a) - b).square().mean()) for a, b in batches]
    counts = [3, 5, 4]
    pairs = [(i, j) for i in range(3) for j in range(i)]
    possible = means + [(counts[i] * means[i] + counts[j] * means[j]) / (counts[i] + counts[j]) for i, j in pairs]
    assert min(abs(found - value) for value in possible) < 1e-6
