"""A risk that follows a model in training is that of the model as it is now."""

import pytest
import torch
from torch import nn

import landscope as ls
from landscope.risk.following import FollowingRisk

X, Y = torch.randn(20, 3, generator=torch.Generator().manual_seed(0)), torch.arange(20) % 2


class Scaled(nn.Module):
    """A buffer of the user's own, beside those of batch normalisation."""

    def __init__(self):
        super().__init__()
        self.register_buffer("scale", torch.ones(1))
        self.norm, self.last = nn.BatchNorm1d(3), nn.Linear(3, 2)

    def forward(self, x):
        return self.last(self.norm(x) * self.scale)


@pytest.mark.parametrize("select", [None, "last.weight"])
def test_buffers_and_other_weights_are_those_of_now(select):
    torch.manual_seed(0)
    model = Scaled()
    space = ls.ParameterSpace.of(model, select)
    risk = ls.EmpiricalRisk(model, nn.CrossEntropyLoss(), (X, Y), space=space)
    following, at_first = FollowingRisk(risk, model), float(risk(risk.w0))
    with torch.no_grad():
        model.scale.fill_(2.0)
        model.last.bias.add_(0.5)
        model.norm(X)  # moves the running statistics
        model.last.weight.mul_(1.5)
    w = space.flatten(model)
    expected = ls.EmpiricalRisk(model, nn.CrossEntropyLoss(), (X, Y), space=space)
    with following.now() as now:
        assert float(now(w)) == pytest.approx(float(expected(w)), rel=1e-6)
        assert torch.allclose(now.gradient(w), expected.gradient(w), rtol=1e-5, atol=1e-7)
    assert float(risk(risk.w0)) == at_first  # the risk itself is as it was


def test_it_is_as_before_after_an_error():
    model = Scaled()
    risk = ls.EmpiricalRisk(model, nn.CrossEntropyLoss(), (X, Y))
    following, at_first = FollowingRisk(risk, model), float(risk(risk.w0))
    model.scale.fill_(3.0)
    with pytest.raises(KeyboardInterrupt), following.now():
        raise KeyboardInterrupt
    assert float(following.risk(risk.w0)) == pytest.approx(at_first, rel=1e-6)
