"""A risk at the running statistics that its model has now is what a plain evaluation of the model gives."""

import pytest
import torch
from torch import nn

import landscope as ls


class Branching(nn.Module):
    """Not traced, because its calls depend on the values."""

    def __init__(self):
        super().__init__()
        self.first, self.norm, self.last = nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)

    def forward(self, x):
        z = self.norm(self.first(x))
        return self.last(z if float(x.detach().abs().sum()) > 0 else -z)


def traced():
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2))


def losses(model, batch):
    return nn.functional.cross_entropy(model(batch[0]), batch[1], reduction="none")


@pytest.mark.filterwarnings("ignore:landscope evaluates the whole model")
@pytest.mark.parametrize("last_alone", [True, False])  # the first layers are then evaluated once
@pytest.mark.parametrize(("make", "closure"), [(traced, False), (Branching, False), (traced, True)])
def test_a_risk_at_a_model_has_its_statistics(make, closure, last_alone):
    torch.manual_seed(0)
    model = make()
    x, y = torch.randn(40, 3), torch.randint(2, (40,))
    names = [name for name, _ in model.named_parameters()]
    space = ls.ParameterSpace.of(model, names[-2:] if last_alone else names)
    if closure:
        risk = ls.EmpiricalRisk.from_closure(model, losses, [(x, y)], space=space)
    else:
        risk = ls.EmpiricalRisk(model, nn.CrossEntropyLoss(), (x, y), space=space)
    at_start = float(risk(risk.w0))
    model.train()(3 * torch.randn(40, 3) + 1)  # moves the statistics
    with torch.no_grad():
        expected = float(nn.functional.cross_entropy(model.eval()(x), y))
    few = risk.random_subset(40)
    assert risk.at_model(model) == pytest.approx(expected, rel=1e-6)
    assert few.at_model(model) == pytest.approx(expected, rel=1e-6)
    assert abs(expected / at_start - 1) > 1e-3  # so that the check says something
    assert float(risk(risk.w0)) == at_start  # the risk itself keeps its own
