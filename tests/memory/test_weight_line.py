import copy

import pytest
import torch
from torch import nn

import landscope as ls
from landscope.errors import InputError
from landscope.memory import interpolated, interpolation
from own_model import CE, X, Y, net, sgd, step


def trained(steps=3):
    model = net()
    old = copy.deepcopy(model)
    step(model, sgd(model), times=steps)
    return model, old


def test_quadratic_losses_have_their_known_curves():
    old, new = torch.tensor([1.0, 2.0]), torch.tensor([4.0, -2.0])
    model = nn.Linear(2, 1, bias=False)
    model.weight.data.copy_(new)

    def loss(at, factor):
        return lambda m: factor * ((m.weight[0] - at) ** 2).sum()

    functions = {"old": loss(old, 1.0), "new": loss(new, 3.0)}
    found = interpolation(model, {"weight": old[None]}, functions, higher_is_better=False, points=21)
    a, d = torch.linspace(0, 1, 21).double(), 25.0  # the squared distance is 3^2 + 4^2
    torch.testing.assert_close(found.values, torch.stack([d * a**2, 3 * d * (1 - a) ** 2], 1), rtol=1e-6, atol=1e-5)
    assert found.best == pytest.approx(0.75)  # a^2 + 3 (1 - a)^2 has its minimum at 3/4
    torch.testing.assert_close(found.mean, found.values.sum(1) / 2)


def test_the_ends_are_the_old_and_the_new_weights_exactly():
    model, old = trained()
    for share, expected in ((0.0, old), (1.0, model)):
        state = interpolated(model, old, share)
        assert all(torch.equal(state[name], value) for name, value in expected.state_dict().items())
    found = interpolation(model, old.state_dict(), {"a": (X, Y)}, CE, points=2)
    expected = [CE(m(X), Y).item() for m in (old, model)]
    assert found.values[:, 0].tolist() == pytest.approx(expected, rel=1e-6)


def test_every_entry_of_the_state_has_its_rule():
    class Several(nn.Module):
        def __init__(self, value):
            super().__init__()
            self.norm = nn.BatchNorm1d(2)
            self.norm.running_mean.fill_(value)
            self.norm.num_batches_tracked.fill_(int(value))
            self.short = nn.Parameter(torch.full((2,), value, dtype=torch.bfloat16))
            self.register_buffer("mask", torch.tensor([0.0, float("-inf")]))

    state = interpolated(Several(8.0), Several(4.0), 0.25)
    assert state["norm.running_mean"].tolist() == [5.0, 5.0]
    assert state["norm.num_batches_tracked"] == 8
    assert (state["short"].dtype, state["short"].tolist()) == (torch.bfloat16, [5.0, 5.0])
    assert state["mask"].tolist() == [0.0, float("-inf")]


def test_the_model_and_the_state_that_was_given_stay_as_they_are():
    model, old = trained()
    model.train()
    state = old.state_dict()
    before = [{name: value.clone() for name, value in s.items()} for s in (model.state_dict(), state)]
    between = interpolated(model, state, 1.0)
    for value in between.values():
        value.zero_()  # what is returned shares no memory with the model
    interpolation(model, state, {"a": lambda m: m[0].weight.data.zero_().sum()}, higher_is_better=True, points=3)
    for now, then in zip((model.state_dict(), state), before, strict=True):
        assert all(torch.equal(value, then[name]) for name, value in now.items())
    assert model.training


def test_an_evaluation_that_changes_its_model_does_not_change_the_next_point():
    model, old = trained()

    def spoiled(m):
        value = float(m[0].weight.sum())
        m[0].weight.zero_()
        return value

    found = interpolation(model, old, {"a": spoiled}, higher_is_better=True, points=3)
    expected = [float(interpolated(model, old, a)["0.weight"].sum()) for a in (0.0, 0.5, 1.0)]
    assert found.values[:, 0].tolist() == expected


def test_a_file_of_a_compiled_or_wrapped_model_is_an_old_state(tmp_path):
    model, old = trained()
    torch.save({f"_orig_mod.{name}": value for name, value in old.state_dict().items()}, tmp_path / "old.pt")
    state = interpolated(nn.DataParallel(model), tmp_path / "old.pt", 0.0)
    assert all(torch.equal(state[name], value) for name, value in old.state_dict().items())


def test_points_without_a_number_do_not_count():
    model, old = trained()
    values = iter([float("nan"), 2.0, 1.0])
    found = interpolation(model, old, {"a": lambda m: next(values)}, higher_is_better=True, points=3)
    assert found.best == 0.5
    found = interpolation(model, old, {"a": lambda m: float("nan")}, higher_is_better=True, points=2)
    with pytest.raises(InputError, match="NaN at every point"):
        _ = found.best


def test_a_line_is_saved_and_drawn(tmp_path):
    model, old = trained()
    found = interpolation(model, old, {"a": (X, Y)}, CE, points=3)
    ls.save(found, tmp_path / "line.zip")
    assert torch.equal(ls.load(tmp_path / "line.zip").values, found.values)
    assert [trace.name for trace in found.plot().data] == ["a"]


def test_another_model_is_refused():
    model, _ = trained()
    with pytest.raises(InputError, match="for the old weights"):
        interpolated(model, nn.Linear(4, 5), 0.5)
    with pytest.raises(InputError, match="points"):
        interpolation(model, model, {"a": (X, Y)}, CE, points=1)
    with pytest.raises(InputError, match="share"):
        interpolated(model, model, float("nan"))
