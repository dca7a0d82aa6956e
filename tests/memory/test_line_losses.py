"""The mean loss along a line, prepared once: the same numbers as with a landscape for each point."""

import copy

import pytest
import torch
from torch import nn

import landscope as ls
from landscope.memory import interpolated, interpolation
from landscope.memory.report.task_loss import TaskLoss
from own_model import CE, X, Y, net


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(4, 4), nn.Linear(4, 4)
        self.last.weight = self.first.weight

    def forward(self, x):
        return self.last(torch.tanh(self.first(x)))


class Mixed(nn.Module):
    """Weights of two dtypes are no one vector."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(4, 4), nn.Linear(4, 4).double()

    def forward(self, x):
        return self.last(self.first(x).double()).float()


@pytest.fixture(autouse=True)
def without_page(monkeypatch):
    """What is measured, without the figures, which cost more than all evaluations."""
    monkeypatch.setattr("landscope.memory.report.page.write_report", lambda path, *_, **__: path)


def frozen():
    model = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 4))
    model[0].requires_grad_(False)
    return model


MODELS = {
    "plain": net,
    "tied": Tied,
    "frozen": frozen,
    "batch normalisation": lambda: nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Linear(6, 4)),
    "two dtypes": Mixed,
    "half precision": lambda: net().bfloat16(),
}


def moved(model):
    """A copy whose weights and floating-point buffers are others."""
    other, generator = copy.deepcopy(model), torch.Generator().manual_seed(1)
    for tensor in other.state_dict().values():
        if tensor.is_floating_point():
            tensor.add_(0.1 * torch.rand(tensor.shape, generator=generator).to(tensor))
    return other


@pytest.mark.parametrize("name", MODELS)
def test_each_point_has_the_loss_of_the_model_there(name):
    torch.manual_seed(0)
    old = MODELS[name]()
    model = moved(old)
    found = interpolation(model, old, {"a": (X, Y), "b": (X[:7], Y[:7])}, CE, points=4)
    at = copy.deepcopy(model).eval()
    for share, values in zip(found.share.tolist(), found.values.tolist(), strict=True):
        at.load_state_dict(interpolated(model, old, share))
        whole = copy.deepcopy(at).float() if name == "half precision" else at
        with torch.no_grad():
            expected = [CE(whole(X[rows]), Y[rows]).item() for rows in (slice(None), slice(7))]
        assert values == pytest.approx(expected, rel=1e-5)


def test_a_point_more_is_one_evaluation_more():
    torch.manual_seed(0)
    old, calls = net(), []
    model = moved(old)

    def counted(outputs, targets):
        calls.append(len(targets))
        return nn.functional.cross_entropy(outputs, targets, reduction="none")

    numbers = []
    for points in (2, 12):
        calls.clear()
        interpolation(model, old, {"a": (X, Y)}, counted, points=points)
        numbers.append(sum(calls))
    assert numbers[1] - numbers[0] == 10 * len(X)


def test_a_report_measures_both_ends_once(tmp_path, monkeypatch):
    risks = []
    risk = TaskLoss.risk
    monkeypatch.setattr(TaskLoss, "risk", lambda self, *rest: risks.append(self) or risk(self, *rest))
    torch.manual_seed(0)
    model = net()
    memory = ls.TaskMemory(model, method="l2", strength=0.0)
    memory.consolidate(CE, (X, Y))
    before = CE(model(X), Y).item()
    model.load_state_dict(moved(model).state_dict())
    risks.clear()
    data = {"a": (X, Y), "b": (X[:7], Y[:7])}
    found = memory.report(data, CE, path=tmp_path / "report.html", points=3)
    assert len(risks) == 2  # one for each task
    assert found.matrix.values[0, 0].item() == pytest.approx(before)
    torch.testing.assert_close(found.matrix.values, found.line.values[[0, -1]])
    later = memory.report({**data, "c": (X[:9], Y[:9])}, CE, path=tmp_path / "report.html", points=3)
    torch.testing.assert_close(later.matrix.values[:, :2], found.matrix.values)
    assert later.matrix.values[1, 2].item() == pytest.approx(CE(model(X[:9]), Y[:9]).item())


def test_an_integer_that_the_model_reads_is_that_of_each_end(tmp_path):
    class Counting(nn.Linear):
        def __init__(self):
            super().__init__(4, 4)
            self.register_buffer("n", torch.tensor(0))

        def forward(self, x):
            return super().forward(x) * (1 + self.n)

    torch.manual_seed(0)
    model = Counting()
    memory = ls.TaskMemory(model, method="l2", strength=0.0)
    memory.consolidate(CE, (X, Y))
    before = CE(model(X), Y).item()
    model.weight.data.mul_(0.5)
    model.n.add_(1)
    found = memory.report({"a": (X, Y), "b": (X, Y)}, CE, path=tmp_path / "report.html", points=2)
    assert found.matrix.values[:, 0].tolist() == pytest.approx([before, CE(model(X), Y).item()])


def test_a_mean_with_its_count_is_reported_as_its_losses_are(tmp_path):
    torch.manual_seed(0)
    old = net()
    model, data = moved(old), {"a": [(X[:8], Y[:8]), (X[8:], Y[8:])]}

    def mean(model, batch):
        return CE(model(batch[0]), batch[1])

    options = {"count": lambda batch: len(batch[0])}
    found = interpolation(model, old, data, losses=mean, loss_options=options, points=2)
    assert found.values.flatten().tolist() == pytest.approx([CE(m(X), Y).item() for m in (old, model)])
    memory = ls.TaskMemory(model, method="l2", strength=0.0)
    memory.consolidate(data=data["a"], losses=mean, loss_options=options)
    report = memory.report(data, losses=mean, loss_options=options, path=tmp_path / "report.html")
    assert report.matrix.values.item() == pytest.approx(CE(model(X), Y).item())
