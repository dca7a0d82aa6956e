"""The logits of a model in replay, whatever it returns and however it is called."""

import copy
import dataclasses
import inspect

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import landscope as ls
from landscope.errors import InputError
from landscope.memory import Replay, Samples
from landscope.memory.replay.model_answers import ModelAnswers
from landscope.memory.replay.replayed_tasks import ReplayedTasks
from landscope.risk.checks import check_inputs
from landscope.risk.hints import inputs_hint
from own_model import CE, X, Y, net, sgd


@dataclasses.dataclass
class Found:
    """What a model may return that torch knows nothing of."""

    scores: torch.Tensor
    logits: torch.Tensor | None = None


class Returning(nn.Module):
    """Returns the logits of a network in some form, and takes its input by its name alone where that is said."""

    def __init__(self, form):
        super().__init__()
        self.net, self.form = net(), form

    def forward(self, x):
        return self.form(self.net(x), x)


class ByKeyword(Returning):
    def forward(self, *, x, labels=None):
        z = self.form(self.net(x), x)
        return z if labels is None else {"loss": CE(z, labels), "logits": z}


class NeedsLabels(Returning):
    def forward(self, x, *, labels):
        return {"loss": CE(self.net(x), labels), "logits": self.net(x)}


def plain(z, x):
    return z


FORMS = {
    "tensor": plain,
    "mapping with logits": lambda z, x: {"loss": z.sum(), "logits": z, "hidden": x},
    "mapping with one tensor": lambda z, x: {"out": z, "places": torch.arange(len(x))},
    "pair with one tensor": lambda z, _: (z, None),
    "object with logits": lambda z, _: Found(z * 0, z),
}


def tasks(model, data, **settings):
    """A finished task, whose loss was that of the labels."""
    with torch.no_grad():
        loss = CE(model.net(X), Y).item()
    return ReplayedTasks.of(Replay(8, Samples(12), **settings)).with_task(model, data, loss)


def of_tensor():
    twin = Returning(plain)
    return tasks(twin, (X, Y)).loss(twin).item()


@pytest.mark.parametrize("form", FORMS)
def test_logits_are_found_in_what_the_model_returns(form):
    model = Returning(FORMS[form])
    assert tasks(model, (X, Y)).loss(model).item() == pytest.approx(of_tensor())


def test_a_mapping_is_passed_by_keywords_without_its_labels():
    model = ByKeyword(plain)
    assert tasks(model, [{"x": X, "labels": Y}]).loss(model).item() == pytest.approx(of_tensor())


@pytest.mark.parametrize(
    ("kind", "form", "outputs"),
    [
        (Returning, lambda z, x: {"scores": z, "hidden": x}, lambda model, inputs: model(inputs)["scores"]),
        (Returning, lambda z, _: Found(z), lambda model, inputs: model(inputs).scores),
        (ByKeyword, plain, lambda model, inputs: model(x=inputs)),
        (NeedsLabels, plain, lambda model, inputs: model(inputs, labels=torch.zeros(len(inputs)).long())),
    ],
)
def test_a_function_gives_them_where_they_are_not_found(kind, form, outputs):
    model = kind(form)
    with pytest.raises(InputError, match=r"replay=Replay\(64, outputs=lambda model, inputs: "):
        tasks(model, (X, Y))
    found = tasks(model, (X, Y), outputs=outputs)
    assert found.loss(model).item() == pytest.approx(of_tensor())


def test_the_error_says_what_came():
    with pytest.raises(InputError, match=r"scores: \[12, 3\] of float32, hidden: \[12, 4\] of float32"):
        tasks(Returning(lambda z, x: {"scores": z, "hidden": x}), (X, Y))
    with pytest.raises(InputError, match=r"ByKeyword.forward takes .* its arguments are x, labels; got \[12, 4\]"):
        tasks(ByKeyword(plain), (X, Y))
    with pytest.raises(InputError, match=r"its arguments are x, labels; got \{x: .*, index: "):
        tasks(ByKeyword(plain), [{"x": X, "index": torch.arange(12), "labels": Y}])
    with pytest.raises(InputError, match=r"got \{loss: \[\] of float32\}"):
        tasks(Returning(lambda z, _: {"loss": z.sum()}), (X, Y))


def test_a_model_without_a_signature_is_called_as_it_is():
    """As one of TorchScript; what does not fit is then the error of the model itself."""
    model = nn.Module()
    model.forward = torch.tanh
    assert torch.equal(ModelAnswers()(model, X), torch.tanh(X))
    with pytest.raises(TypeError, match="must be Tensor"):
        ModelAnswers()(model, {"x": X})
    for inputs in (X, {"x": X}):
        assert "Check their shape" in inputs_hint(model, inputs)
    check_inputs(model, {"x": X})


def test_a_signature_is_read_once(monkeypatch):
    model, read = Returning(plain), []
    signature = inspect.signature
    monkeypatch.setattr(inspect, "signature", lambda function: read.append(function) or signature(function))
    for _ in range(3):
        ModelAnswers()(model, X)
    assert len(read) == 1


def test_a_memory_learns_again_with_the_function_and_its_state_goes_on():
    model = Returning(lambda z, x: {"scores": z, "hidden": x})

    def criterion(outputs, targets):
        return F.cross_entropy(outputs["scores"], targets)

    def memory_of(model):
        replay = Replay(8, Samples(12), outputs=lambda model, inputs: model(inputs)["scores"])
        return ls.TaskMemory(model, method=None, replay=replay)

    memory = memory_of(model)
    memory.check(criterion, (X, Y))
    memory.consolidate(criterion, (X, Y))
    other = memory_of(copy.deepcopy(model))
    other.load_state_dict(memory.state_dict())
    for each in (memory, other):
        optimizer = sgd(each.model)
        with each.training(optimizer):
            optimizer.zero_grad()
            criterion(each.model(X.flip(0)), Y).backward()
            optimizer.step()
    for ours, theirs in zip(model.parameters(), other.model.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_inputs_by_position_name_the_keywords_that_the_model_takes():
    with pytest.raises(
        InputError, match=r"keywords alone: x, labels. Pass .* \[\{'x': x, 'labels': y\}\], or pass losses=f"
    ):
        ls.keep(ByKeyword(plain), CE, (X, Y))
    held = ls.keep(ByKeyword(plain), CE, [{"x": X, "labels": Y}]).held
    other = ls.keep(
        ByKeyword(plain), data=[(X, Y)], losses=lambda m, b: F.cross_entropy(m(x=b[0]), b[1], reduction="none")
    )
    assert held.dim == other.held.dim
