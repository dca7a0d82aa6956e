"""Units of networks that were shuffled by hand come back to their places."""

import copy
import itertools

import pytest
import torch
from torch import nn

import landscope as ls
from landscope.errors import InputError
from landscope.landscape import align_units, loss_between


class Residual(nn.Module):
    """A stem, a block of two convolutions beside a skip, and a block of one that reads what it makes."""

    def __init__(self, width=6):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(1, width, 3, padding=1), nn.BatchNorm2d(width)
        self.inner, self.outer = nn.Conv2d(width, 4, 3, padding=1), nn.Conv2d(4, width, 3, padding=1)
        self.loop, self.each = nn.Conv2d(width, width, 1), nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.head = nn.Linear(width, 3)

    def forward(self, x):
        x = torch.relu(self.norm(self.stem(x)))
        x = x + self.outer(torch.relu(self.inner(x)))
        x = x + self.loop(torch.tanh(self.each(x)))
        return self.head(x.mean((2, 3)))


def deep():
    return nn.Sequential(
        nn.Linear(5, 8), nn.Tanh(), nn.LayerNorm(8), nn.Linear(8, 7), nn.ReLU(), nn.Linear(7, 6), nn.ReLU(),
        nn.Linear(6, 3),
    )  # fmt: skip


def convolutional():
    return nn.Sequential(
        nn.Conv2d(1, 5, 3), nn.BatchNorm2d(5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(45, 6),
        nn.BatchNorm1d(6), nn.GELU(), nn.Dropout(), nn.Linear(6, 3),
    )  # fmt: skip


def shuffled(tensors, order):
    """Change places along an axis of some tensors, in place."""
    for tensor, axis in tensors:
        tensor.data = tensor.data.index_select(axis, order)


def shuffle_deep(model):
    for place, reader, extra in ((0, 3, 2), (3, 5, None), (5, 7, None)):
        order = torch.randperm(len(model[place].bias))
        own = [(model[place].weight, 0), (model[place].bias, 0), (model[reader].weight, 1)]
        own += [] if extra is None else [(model[extra].weight, 0), (model[extra].bias, 0)]
        shuffled(own, order)


def shuffle_convolutional(model):
    order = torch.randperm(5)
    norm = [(value, 0) for value in (model[1].weight, model[1].bias, model[1].running_mean, model[1].running_var)]
    shuffled([(model[0].weight, 0), (model[0].bias, 0), *norm], order)
    shuffled([(model[5].weight, 1)], (9 * order[:, None] + torch.arange(9)).flatten())
    norm = [(value, 0) for value in (model[6].weight, model[6].bias, model[6].running_mean, model[6].running_var)]
    shuffled([(model[5].weight, 0), (model[5].bias, 0), *norm, (model[9].weight, 1)], torch.randperm(6))


def shuffle_residual(model):
    norm, both = model.norm, [(model.loop.weight, 0), (model.loop.weight, 1)]
    makes = [(value, 0) for layer in (model.stem, model.outer, model.each) for value in (layer.weight, layer.bias)]
    makes += [(value, 0) for value in (norm.weight, norm.bias, norm.running_mean, norm.running_var, model.loop.bias)]
    order = torch.randperm(6)
    shuffled([*makes, (model.inner.weight, 1), (model.head.weight, 1), both[0]], order)
    shuffled(both[1:], order)
    shuffled([(model.inner.weight, 0), (model.inner.bias, 0), (model.outer.weight, 1)], torch.randperm(4))


CASES = {
    "linear layers": (deep, shuffle_deep, (20, 5)),
    "convolutions that are flattened": (convolutional, shuffle_convolutional, (20, 1, 8, 8)),
    "residual blocks": (Residual, shuffle_residual, (20, 1, 6, 6)),
}


def made(build):
    """A network whose norms have entries of their own."""
    torch.manual_seed(0)
    model = build()
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d | nn.LayerNorm):
            entries = [layer.weight, layer.bias]
            entries += [] if isinstance(layer, nn.LayerNorm) else [layer.running_mean, layer.running_var]
            for value in entries:
                value.data = torch.rand(value.shape) + 0.5
    return model.eval()


@pytest.mark.parametrize("name", CASES)
def test_a_shuffled_network_comes_back_exactly(name):
    build, shuffle, shape = CASES[name]
    reference = made(build)
    for value in reference.parameters():
        value.data *= 2  # sure of its answers
    model, x = copy.deepcopy(reference), torch.randn(shape)
    shuffle(model)
    assert torch.allclose(model(x), reference(x), atol=1e-5)  # shuffled well
    before = copy.deepcopy(model.state_dict())
    aligned = align_units(model, reference)
    for key, value in reference.state_dict().items():
        assert torch.equal(aligned.state_dict()[key], value), key
        assert torch.equal(model.state_dict()[key], before[key])
    if name == "linear layers":
        data = x, reference(x).argmax(1)
        risk = ls.EmpiricalRisk(reference, nn.CrossEntropyLoss(), data)
        assert loss_between(risk, risk.w0, risk.space.flatten(aligned)).barrier == 0.0
        assert loss_between(risk, risk.w0, risk.space.flatten(model)).barrier > 0.1


@pytest.mark.parametrize("name", CASES)
def test_other_networks_compute_the_same_after_alignment_and_agree_more(name):
    build, _, shape = CASES[name]
    reference, x = made(build), torch.randn(shape)
    model = made(build)
    for value in model.parameters():
        value.data += 0.3 * torch.randn(value.shape)
    aligned = align_units(model, reference)
    assert torch.allclose(aligned(x), model(x), atol=1e-5)
    agreement = [
        sum(float((a * b).detach().sum()) for a, b in zip(one.parameters(), reference.parameters(), strict=True))
        for one in (aligned, model)
    ]
    assert agreement[0] >= agreement[1]


def test_of_two_small_networks_the_order_is_the_best_of_all():
    """One hidden layer of four units: all 24 orders, one by one."""
    torch.manual_seed(3)
    reference, model = (nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)) for _ in range(2))

    def agreement(one):
        return sum(float((a * b).detach().sum()) for a, b in zip(one.parameters(), reference.parameters(), strict=True))

    def ordered(order):
        other = copy.deepcopy(model)
        shuffled([(other[0].weight, 0), (other[0].bias, 0), (other[2].weight, 1)], torch.tensor(order))
        return agreement(other)

    best = max(map(ordered, itertools.permutations(range(4))))
    assert agreement(align_units(model, reference)) == pytest.approx(best)


class Joined(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(2, 3), nn.Linear(6, 2)

    def forward(self, x):
        return self.b(torch.cat([self.a(x), self.a(x)], 1))


class Branches(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Linear(2, 2)

    def forward(self, x):
        return self.a(x) if x.sum() > 0 else x


class Own(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.scale = nn.Linear(2, 2), nn.Parameter(torch.ones(2))

    def forward(self, x):
        return self.a(x) * self.scale


def tied():
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2))
    model[2].weight = model[0].weight
    return model


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (Joined, "how units move through them.* got cat"),
        (Branches, "a model that torch.fx can trace"),
        (Own, "weights inside .* got scale outside of them"),
        (tied, "a weight that two layers share"),
        (lambda: nn.Sequential(nn.Embedding(3, 2), nn.Linear(2, 1)), "0: Embedding"),
        (lambda: nn.Sequential(nn.Conv1d(4, 4, 1), nn.Conv1d(4, 4, 1, groups=2)), "1 with 2 groups"),
        (lambda: nn.Sequential(nn.Conv2d(1, 3, 1), nn.Linear(3, 2)), "3 inputs of maps"),
        (lambda: nn.Sequential(nn.Linear(2, 4), nn.GroupNorm(2, 4), nn.Linear(4, 1)), "1: GroupNorm"),
    ],
)
def test_what_cannot_be_aligned_is_named(build, message):
    with pytest.raises(InputError, match=message):
        align_units(build(), build())


def test_models_of_other_structures_are_refused():
    with pytest.raises(InputError, match="two models of the same structure"):
        align_units(nn.Linear(2, 1), nn.Linear(3, 1))
