"""How far outputs move beyond first order: a network of two weights has known answers."""

import dataclasses

import pytest
import torch
from torch import nn

from landscope.progress import QuietReporter
from landscope.reproduction.figures import FIGURES, output_change
from landscope.reproduction.figures.output_change import second_task
from landscope.reproduction.reproduce import reproduce
from landscope.reproduction.sequential.task_data import Task


class Product(nn.Module):
    """Outputs (0, a b x)."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)

    def forward(self, x):
        z = self.b(self.a(x))
        return torch.cat([torch.zeros_like(z), z], dim=1)


def test_the_linear_network_of_two_weights_is_known():
    """From (1, 1) to (2, 3): a b x goes from x to 6 x, and to first order to 4 x."""
    x = torch.tensor([[1.0], [-2.0]])
    data = (x, torch.tensor([1, 0]))
    tasks = [Task("first", data, data), Task("second", *2 * ((2 * x, data[1]),))]
    model = Product()

    def learn(memory, number):
        for layer, value in zip((model.a, model.b), ((1.0, 1.0), (2.0, 3.0))[number], strict=True):
            layer.weight.data.fill_(value)
        if number == 0:
            memory.consolidate(nn.CrossEntropyLoss(), data)

    found = second_task(model, tasks, learn)
    torch.testing.assert_close(found.change, torch.tensor([25.0, 100.0]) * 5 / 4)  # mean of x^2 is 5/2, half of it zero
    torch.testing.assert_close(found.ratio, torch.tensor([25 / 9, 25 / 9]))

    def loss(slope):
        return float(nn.functional.cross_entropy(torch.cat([torch.zeros_like(x), slope * x], dim=1), data[1]))

    assert [found.loss_before, found.loss_after, found.loss_of_linear] == pytest.approx([loss(1), loss(6), loss(4)])
    assert found.penalty > 0


def test_the_figure_has_a_row_for_each_benchmark(plan, monkeypatch):
    small = [dataclasses.replace(each, epochs=1) for each in output_change.benchmarks(plan)]
    monkeypatch.setattr(output_change, "benchmarks", lambda plan: small)
    (section,) = reproduce(plan, [FIGURES["output-change"]], QuietReporter()).sections
    assert [row[0] for row in section.rows] == [each.name for each in small]
    assert all(" ± " in cell for row in section.rows for cell in row[1:])
