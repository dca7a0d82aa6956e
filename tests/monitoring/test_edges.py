"""The edge of stability that a monitor writes down is that of the optimiser of the training, or none."""

import pytest
import torch

from landscope.monitoring.edges import edges_of

WEIGHTS = [torch.nn.Parameter(torch.ones(2)), torch.nn.Parameter(torch.ones(3))]


def found(optimizer):
    return edges_of(optimizer, optimizer.param_groups)


def test_sgd_has_its_edge_and_with_momentum_two():
    assert found(torch.optim.SGD(WEIGHTS, lr=0.1)) == {"edge": 20.0}
    assert found(torch.optim.SGD(WEIGHTS, lr=0.1, weight_decay=1.0)) == {"edge": 19.0}
    heavy = found(torch.optim.SGD(WEIGHTS, lr=0.1, momentum=0.9))
    assert heavy == {"edge": pytest.approx(38.0), "noise_edge": pytest.approx(2.0)}


@pytest.mark.parametrize(
    "optimizer",
    [
        torch.optim.SGD(WEIGHTS, lr=0.1, momentum=0.9, nesterov=True),
        torch.optim.SGD(WEIGHTS, lr=0.1, momentum=0.9, dampening=0.5),
        torch.optim.SGD([{"params": WEIGHTS[:1], "lr": 0.1}, {"params": WEIGHTS[1:], "lr": 0.2}]),
        torch.optim.SGD([{"params": WEIGHTS[:1], "momentum": 0.9}, {"params": WEIGHTS[1:]}], lr=0.1),
        torch.optim.SGD(WEIGHTS, lr=0.0),
        torch.optim.AdamW(WEIGHTS),
    ],
)
def test_where_no_bound_is_known_there_is_none(optimizer):
    assert found(optimizer) == {}
