"""Parameters are replaced in every place that holds them, and restored."""

import torch
from torch import nn

from landscope.risk.closure_module import ClosureModule


class TwoNames(nn.Module):
    """One module has two names, and another module holds the same weight."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(1, 1, bias=False)
        self.again, self.other = self.first, nn.Linear(1, 1, bias=False)
        self.other.weight = self.first.weight

    def forward(self, x):
        return self.other(self.again(self.first(x)))


def test_a_weight_in_several_places_is_replaced_and_restored():
    model = TwoNames()
    before = model.first.weight
    call = ClosureModule(model, lambda model, batch: model(batch))
    found = call.with_parameters({"first.weight": torch.tensor([[3.0]])}, torch.ones(1, 1))
    assert float(found) == 27.0  # 3^3
    assert model.first.weight is before
    assert model.other.weight is before
    assert isinstance(before, nn.Parameter)
