"""Calls of modules that the selected weights do not change are skipped, and every value is that of the whole model."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import landscope as ls
from naive import points, slow_loss


class Parts(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.other, self.gate = nn.Linear(4, 6), nn.Linear(6, 6), nn.Linear(6, 6)
        self.head = nn.Linear(6, 3)


class Routed(Parts):
    """The largest gate, which has no derivative, chooses what a layer without selected weights reads."""

    def forward(self, x):
        h = self.stem(x)
        return self.head(self.other(h.gather(1, self.gate(h).argsort(dim=1))) + self.gate(h))


class Decides(Parts):
    """Python decides by a number that depends on the selected weights."""

    def forward(self, x):
        h = self.stem(x)
        factor = float(self.gate.weight.detach().norm())
        return self.head(self.other(h * factor) + self.gate(h))


class OverwritesStored(Parts):
    def forward(self, x):
        h = self.stem(x)
        h.mul_(1.5)
        return self.head(self.gate(h) + h)


class OverwritesInput(Parts):
    def __init__(self):
        super().__init__()
        self.activation = nn.ReLU(inplace=True)

    def forward(self, x):
        h = self.stem(x)
        y = self.activation(h)
        return self.head(self.gate(y) + h)


class SharesMemory(Parts):
    """A layer returns its input, which later code changes."""

    def __init__(self):
        super().__init__()
        self.nothing = nn.Dropout(0.5)

    def forward(self, x):
        h = self.stem(x)
        y = self.nothing(h)
        y.mul_(1.5)
        return self.head(y + self.gate(h))


class Keeper(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.kept = nn.Linear(6, 6), None

    def forward(self, x):
        self.kept = self.layer(x)
        return self.kept.tanh()


class KeepsActivation(Parts):
    """A layer keeps its activation as an attribute, and the model reads it there."""

    def __init__(self):
        super().__init__()
        self.keeper = Keeper()

    def forward(self, x):
        h = self.keeper(self.stem(x))
        return self.head(self.gate(h) + self.keeper.kept)


class CalledTwice(Parts):
    def forward(self, x):
        h = self.other(self.stem(x))
        return self.head(self.other(self.gate(h)))


class SeveralResults(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 6)

    def forward(self, x):
        h = self.layer(x)
        return {"h": h, "rest": (h * 2, None, "text", 3)}


class Structured(Parts):
    def __init__(self):
        super().__init__()
        self.several = SeveralResults()

    def forward(self, x):
        found = self.several(x)
        h, _, _, three = found["h"], *found["rest"][1:]
        return self.head(self.gate(h) + found["rest"][0] * three)


class Sums(nn.Module):
    def forward(self, several):
        several.append(several[0] + 1)
        return several[0] * 2


class ChangesItsArgument(Parts):
    def __init__(self):
        super().__init__()
        self.sums = Sums()

    def forward(self, x):
        several = [self.stem(x)]
        out = self.gate(self.sums(several))
        return self.head(out + several[-1])


class Hooked(Parts):
    def __init__(self):
        super().__init__()
        self.block = nn.Sequential(nn.Linear(4, 6), nn.Tanh())
        self.block[0].register_forward_hook(lambda module, inputs, output: output * 3)

    def forward(self, x):
        return self.head(self.gate(self.block(x)))


class Looks(Parts):
    """The data decide which layers a batch uses."""

    def forward(self, x):
        h = self.stem(x)
        return self.head(self.gate(self.other(h)) if float(x[0, 0]) > 0 else self.other(self.gate(h)))


AWKWARD = [
    Routed, Decides, OverwritesStored, OverwritesInput, SharesMemory, KeepsActivation, CalledTwice, Structured,
    ChangesItsArgument, Hooked, Looks,
]  # fmt: skip


def sample_losses(model, batch):
    return F.cross_entropy(model(batch["x"]), batch["y"], reduction="none")


def batches_of(sign=(1, -1, 1)):
    generator = torch.Generator().manual_seed(5)
    batches = [
        {"x": torch.randn(size, 4, generator=generator), "y": torch.randint(3, (size,), generator=generator)}
        for size in (7, 4, 6)
    ]
    for batch, first in zip(batches, sign, strict=True):
        batch["x"][0, 0] = first
    return batches


@pytest.mark.parametrize("kind", AWKWARD)
def test_awkward_models_give_the_losses_of_the_whole_model(kind):
    torch.manual_seed(0)
    model, batches = kind(), batches_of()
    kept = copy.deepcopy(batches)
    space = ls.ParameterSpace.of(model, "gate.*")
    risk = ls.EmpiricalRisk.from_closure(model, sample_losses, batches, space=space)
    expected = slow_loss(model, kept, sample_losses)
    for repeat in range(2):
        for w in points(risk):
            assert float(risk(w)) == pytest.approx(expected(space, w), rel=2e-6), repeat
    for batch, before in zip(batches, kept, strict=True):
        assert torch.equal(batch["x"], before["x"])


@pytest.mark.parametrize(("kind", "skips"), [(Decides, False), (Structured, True), (Looks, True), (Routed, True)])
def test_calls_are_skipped_unless_python_decides_by_the_weights(kind, skips):
    model = kind()
    risk = ls.EmpiricalRisk.from_closure(
        model, sample_losses, batches_of(), space=ls.ParameterSpace.of(model, "gate.*")
    )
    assert (risk._blocks.stored is not None) == skips


def test_blocks_beyond_the_memory_limit_are_evaluated_as_a_whole():
    model, batches = Structured(), batches_of()
    space = ls.ParameterSpace.of(model, "gate.*")
    all_stored = ls.EmpiricalRisk.from_closure(model, sample_losses, batches, space=space)
    first_only = 2 * 7 * 6 * 4  # two results of 6 numbers for 7 samples
    some = ls.EmpiricalRisk.from_closure(model, sample_losses, batches, space=space, cache_bytes=first_only + 8)
    none = ls.EmpiricalRisk.from_closure(model, sample_losses, batches, space=space, cache_bytes=1)
    w = points(all_stored)[1]
    assert float(some(w)) == pytest.approx(float(all_stored(w)), rel=1e-6)
    assert float(none(w)) == pytest.approx(float(all_stored(w)), rel=1e-6)
    assert [some._blocks.stored(block) is not None for block in range(3)] == [True, False, False]
    assert none._blocks.stored is None


def test_only_results_that_are_used_later_take_memory():
    """Of the chain a, b, c only the result of c is read by the selected layer."""
    model = nn.Sequential(*(nn.Linear(4, 4) for _ in range(4)))
    space = ls.ParameterSpace.of(model, "3.*")
    batch = {"x": torch.randn(100, 4), "y": torch.randint(4, (100,))}
    risk = ls.EmpiricalRisk.from_closure(model, sample_losses, [batch], space=space, cache_bytes=100 * 4 * 4 + 12)
    assert risk._blocks.stored is not None


def test_the_first_use_may_be_a_derivative_along_lines():
    torch.manual_seed(0)
    model, batches = Structured(), batches_of()
    risk = ls.EmpiricalRisk.from_closure(model, sample_losses, batches, space=ls.ParameterSpace.of(model, "gate.*"))
    direction = torch.randn(1, risk.space.dim)
    losses, slopes = risk.sample_lines(risk.w0, direction).slopes(torch.tensor([0]), torch.tensor([0.2]))
    w = (risk.w0 + 0.2 * direction[0]).requires_grad_()
    twin = [
        F.cross_entropy(
            torch.func.functional_call(copy.deepcopy(model).eval(), risk.space.unflatten(w), (batch["x"],)),
            batch["y"],
            reduction="none",
        )
        for batch in batches
    ]
    torch.testing.assert_close(losses[0], torch.cat(twin).detach().double(), rtol=1e-5, atol=1e-6)
    assert float(slopes[0].mean()) == pytest.approx(
        float(torch.autograd.grad(torch.cat(twin).mean(), w)[0] @ direction[0]), rel=1e-4
    )
