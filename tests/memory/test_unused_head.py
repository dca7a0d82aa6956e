"""A head for the next task is there from the beginning, and the loss of the first task does not depend on it."""

import pytest
import torch
from torch import nn

import landscope as ls

X = torch.randn(40, 4, generator=torch.Generator().manual_seed(0))
Y = torch.arange(40) % 5


class TwoHeads(nn.Module):
    """One head is used at a time."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 6), nn.ReLU())
        self.heads = nn.ModuleList([nn.Linear(6, 5), nn.Linear(6, 5)])
        self.task = 0

    def forward(self, x):
        return self.heads[self.task](self.body(x))


@pytest.mark.parametrize("method", ["basin", "ewc", "kfac", "mas"])
def test_a_head_that_the_task_does_not_use_is_free_and_the_rest_is_held(method):
    torch.manual_seed(0)
    model = TwoHeads()
    memory = ls.TaskMemory(model, method=method, strength=1.0)
    memory.consolidate(nn.CrossEntropyLoss(), (X, Y))
    with torch.no_grad():
        model.heads[1].weight[0] += 1
        assert memory.penalty().item() == 0
        model.heads[0].weight[0] += 1
        assert memory.penalty().item() > 0


@pytest.mark.parametrize("method", ["basin", "kfac"])
def test_the_next_task_learns_with_its_own_head_and_then_both_are_held(method):
    torch.manual_seed(0)
    model = TwoHeads()
    memory = ls.TaskMemory(model, method=method, strength=1.0)
    memory.consolidate(nn.CrossEntropyLoss(), (X, Y))
    before, optimizer = model.heads[1].weight.clone(), torch.optim.SGD(model.parameters(), lr=0.1)
    model.task = 1
    with memory.training(optimizer):
        for _ in range(3):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(X), Y).backward()
            optimizer.step()
    assert not torch.equal(model.heads[1].weight, before)
    memory.consolidate(nn.CrossEntropyLoss(), (X, Y))
    with torch.no_grad():
        for head in model.heads:
            head.weight[0] += 1
            assert memory.penalty().item() > 0
            head.weight[0] -= 1
