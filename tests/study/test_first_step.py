"""The first step of a training that goes on, against torch's own optimisers and the gradient of the minibatch."""

import pytest
import torch
from torch import nn

from landscope.errors import InputError
from landscope.storage.folder import ResultFolder
from landscope.study.first_step import FirstStep
from landscope.study.steps_caveat import CONTINUED_STEPS, steps_caveat
from landscope.study.subject import Subject

X, Y = torch.randn(40, 3, generator=torch.Generator().manual_seed(0)), torch.arange(40) % 2
ROWS = torch.arange(8)


def network(*more):
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(3, 6), nn.BatchNorm1d(6), *more, nn.Linear(6, 2))


def stepped(model, optimizer, criterion=None, batch_size=8, inputs=None, **options):
    subject = Subject(model, nn.CrossEntropyLoss(), None, (X, Y))
    first = FirstStep(model, subject, batch_size, **options)
    first.watch(optimizer, optimizer.param_groups)
    try:
        for _ in range(3):
            optimizer.zero_grad()
            (criterion or nn.CrossEntropyLoss())(model(X[ROWS] if inputs is None else inputs), Y[ROWS]).backward()
            optimizer.step()
    finally:
        first.close()
    return first


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"weight_decay": 0.1},
        {"momentum": 0.9, "dampening": 0.5},
        {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1},
        {"maximize": True, "weight_decay": 0.1},
    ],
)
def test_the_steps_of_sgd_are_known_and_the_buffers_of_the_model_stay_its_own(options):
    model, twin = network(), network()
    first = stepped(model, torch.optim.SGD(model.parameters(), lr=0.1, **options))
    assert first.unknown == ""
    assert first.taken == 3
    assert first.rates == {0.1}
    stepped(twin, torch.optim.SGD(twin.parameters(), lr=0.1, **options), compare=False)
    for value, expected in zip(model.state_dict().values(), twin.state_dict().values(), strict=True):
        assert torch.equal(value, expected)
    assert not model._forward_pre_hooks


def test_weights_that_are_moved_within_a_step_are_named():
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def clamped(*_):
        with torch.no_grad():
            model[0].weight.clamp_(-0.1, 0.1)

    optimizer.register_step_post_hook(clamped)
    with pytest.raises(InputError, match=r"a first step of SGD.*another step"):
        stepped(model, optimizer)


@pytest.mark.parametrize(
    ("more", "options", "words"),
    [
        ([], {"inputs": X[ROWS] + 0.1}, "its inputs are not samples of the data"),
        ([nn.Dropout(0.5)], {}, "draws random numbers"),
        (
            [],
            {"criterion": lambda o, y: 0.5 * nn.functional.cross_entropy(o, y)},
            "0.5 times as long, at a cosine of 1",
        ),
    ],
)
def test_what_cannot_be_known_is_said(more, options, words):
    model = network(*more)
    assert words in stepped(model, torch.optim.SGD(model.parameters(), lr=0.1), **options).unknown


def test_the_page_says_what_was_not_compared(tmp_path):
    folder = ResultFolder(tmp_path)
    assert steps_caveat(folder) == ""
    same = {"rule": True, "gradient": "", "length": 1.02}
    folder.note(CONTINUED_STEPS, {"with-replacement": same})
    assert steps_caveat(folder) == ""
    other = {"rule": False, "gradient": "the loss is losses=", "length": 1.02}
    folder.note(CONTINUED_STEPS, {"with-replacement": same, "reshuffled": other})
    said = steps_caveat(folder)
    assert "not known" in said
    assert "the loss is losses=" in said
    assert "1 times as long" in said
