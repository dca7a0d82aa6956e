"""The notice about a model that is evaluated as a whole: once, and with the line to change."""

import warnings
from pathlib import Path

import pytest
import torch
from torch import nn

import landscope as ls
from landscope.errors import NondeterministicLossError

X, Y = torch.randn(12, 6, generator=torch.Generator().manual_seed(0)), torch.arange(12) % 3


class Plain(nn.Module):
    def __init__(self):
        super().__init__()
        self.last = nn.Linear(6, 3)


class Length(Plain):
    def forward(self, x):
        return self.last(x) + torch.zeros(len(x), 1)


class Decision(Plain):
    def forward(self, x):
        return self.last(x) if x.sum() > -1e9 else x


class Loop(Plain):
    def forward(self, x):
        return torch.stack([self.last(row) for row in x])


class Range(Plain):
    def forward(self, x):
        return self.last(x) + sum(x[:, place : place + 1] for place in range(x.shape[1]))


class Float(Plain):
    def forward(self, x):
        return self.last(x) * float(torch.ones_like(x).max())


class Writing(Plain):
    def forward(self, x):
        x = x * 1
        x[:, 0] = 0
        return self.last(x)


class Array(Plain):
    def forward(self, x):
        return self.last(torch.from_numpy(2 * x.numpy()))


def notices(model, **options):
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        ls.EmpiricalRisk(model, nn.CrossEntropyLoss(), (X, Y), **options)
    return [str(one.message) for one in told]


@pytest.mark.parametrize(
    ("kind", "line", "words"),
    [
        (Length, "return self.last(x) + torch.zeros(len(x), 1)", "calls len(...) of a tensor; write x.shape[0]"),
        (Decision, "return self.last(x) if x.sum() > -1e9 else x", "makes a decision by the values"),
        (Loop, "for row in x", "loops over a tensor; write a loop over a fixed number"),
        (Range, "range(x.shape[1])", "needs a plain number, as range(...) does"),
        (Float, "return self.last(x) * float(torch.ones_like(x).max())", "turns a tensor into a plain number"),
        (Writing, "x[:, 0] = 0", "writes into a tensor, as `x[0] = 1` does"),
        (Array, "2 * x.numpy()", "does what torch.fx cannot trace"),
    ],
)
def test_the_line_is_named_with_what_it_does(kind, line, words):
    (notice,) = notices(kind())
    assert line in notice
    assert words in notice
    assert "of test_untraced.py" in notice
    assert "select weights of later layers" in notice


def test_the_notice_comes_once_for_a_model_and_its_task():
    model = Length()
    memory, optimizer = ls.TaskMemory(model, method="l2", strength=1.0), torch.optim.SGD(model.parameters(), lr=0.1)
    with memory.training(optimizer):
        optimizer.step()
    assert len(notices(model)) == 1
    assert notices(model) == []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", "the model does not know the data")
        memory.consolidate(nn.CrossEntropyLoss(), (X, Y))
    assert len(notices(Length())) == 1


def test_the_notice_of_averaged_weights_comes_once():
    """They are loaded into copies of the model, a copy for each task."""
    model = Length()
    memory, optimizer = ls.TaskMemory(model, method="l2", strength=1.0), torch.optim.SGD(model.parameters(), lr=0.1)
    average = torch.optim.swa_utils.AveragedModel(model)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for _ in range(2):
            with memory.training(optimizer):
                optimizer.step()
            memory.consolidate(nn.CrossEntropyLoss(), (X, Y), w0=average)
    assert sum("evaluates the whole model" in str(one.message) for one in told) == 1
    assert notices(model) == []


def test_the_notice_of_a_model_at_several_steps_comes_once():
    model = Length()
    rows = ls.Trajectory.of(torch.randn(3, 21), space=ls.ParameterSpace.of(model))
    assert [len(notices(rows.model_at(step, model))) for step in rows.steps.tolist()] == [1, 0, 0]
    assert notices(model) == []


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors", "ignore:landscope evaluates the whole model")
def test_an_encoder_that_treats_padding_otherwise_without_gradients_is_named():
    class Pooled(nn.Module):
        def __init__(self, **options):
            super().__init__()
            layer = nn.TransformerEncoderLayer(6, 2, 8, batch_first=True)
            self.encoder, self.last = nn.TransformerEncoder(layer, 1, **options), nn.Linear(6, 3)

        def forward(self, x):
            padded = (torch.arange(4) == 3).expand(x.shape[0], 4)
            return self.last(self.encoder(x, src_key_padding_mask=padded).mean(dim=1))

    torch.manual_seed(0)
    data = torch.randn(12, 4, 6), Y
    with pytest.raises(NondeterministicLossError, match=r"in torch.no_grad.*enable_nested_tensor=False"):
        ls.EmpiricalRisk(Pooled(), nn.CrossEntropyLoss(), data)
    model = Pooled(enable_nested_tensor=False)
    risk = ls.EmpiricalRisk(model, nn.CrossEntropyLoss(), data)
    with torch.no_grad():
        expected = float(nn.functional.cross_entropy(model.eval()(data[0]), Y))
    assert float(risk(risk.w0)) == pytest.approx(expected, rel=1e-5)


def test_the_warning_stands_at_the_line_of_the_user():
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        ls.EmpiricalRisk(Length(), nn.CrossEntropyLoss(), (X, Y))
    assert [Path(one.filename).name for one in told] == ["test_untraced.py"]


class TwoInputs(nn.Module):
    def __init__(self):
        super().__init__()
        self.last = nn.Linear(6, 3)

    def forward(self, x, scale):
        return self.last(x) * scale


@pytest.mark.parametrize(("name", "count"), [("several inputs", 0), ("a line of the user", 1)])
def test_a_memory_gives_only_advice_about_a_line_of_the_user(name, count, tmp_path):
    """It holds all layers, so that it cannot select later ones."""
    model, data = (TwoInputs(), [(X, torch.ones(len(X), 1), Y)]) if name == "several inputs" else (Length(), (X, Y))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        memory = ls.keep(model, nn.CrossEntropyLoss(), data, method="l2", strength=1.0)
        memory.consolidate(nn.CrossEntropyLoss(), data, name="again")
        model.last.bias.data.add_(1.0)
        memory.report(dict.fromkeys("abc", data), nn.CrossEntropyLoss(), path=tmp_path / "report.html", points=2)
    assert sum("evaluates the whole model" in str(one.message) for one in told) == count


def test_a_risk_of_several_inputs_is_told_to_select_later_layers_and_of_no_code():
    with pytest.warns(UserWarning, match="To make it faster, select weights of later layers"):
        ls.EmpiricalRisk(TwoInputs(), nn.CrossEntropyLoss(), [(X, torch.ones(len(X), 1), Y)])


def test_code_of_landscope_is_not_named():
    class Named(Plain):
        def forward(self, x):
            return {"out": self.last(x), "inputs": x}

    def loss(outputs, targets):
        return nn.functional.cross_entropy(outputs["out"], targets, reduction="none")

    with pytest.warns(UserWarning, match="evaluates the whole model") as told:
        ls.EmpiricalRisk(Named(), loss, (X, Y))
    assert "full_precision.py" not in str(told[0].message)
