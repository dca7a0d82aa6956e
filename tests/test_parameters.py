"""Selection of weights by name, layer and class, in a model and in a recording."""

import pytest
import torch
from torch import nn

import landscope as ls
from landscope.errors import InputError


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.ModuleList([nn.Linear(3, 3), nn.Linear(3, 3)])
        self.norm = nn.LayerNorm(3)
        self.head = nn.Linear(3, 2, bias=False)
        self.scale = nn.Parameter(torch.ones(3))

    def forward(self, x):
        for layer in self.encoder:
            x = torch.relu(layer(x))
        return self.head(self.norm(x) * self.scale)


@pytest.mark.parametrize(
    ("select", "names"),
    [
        ("head.weight", ["head.weight"]),
        ("*.bias", ["encoder.0.bias", "encoder.1.bias", "norm.bias"]),
        ("encoder.1", ["encoder.1.weight", "encoder.1.bias"]),
        ("encoder", ["encoder.0.weight", "encoder.0.bias", "encoder.1.weight", "encoder.1.bias"]),
        ("encoder.?", ["encoder.0.weight", "encoder.0.bias", "encoder.1.weight", "encoder.1.bias"]),
        (nn.LayerNorm, ["norm.weight", "norm.bias"]),
        ([nn.LayerNorm, "head"], ["norm.weight", "norm.bias", "head.weight"]),
        (Net, ["scale"]),
    ],
)
def test_by_name_layer_and_kind(select, names):
    # A model keeps its own parameters first.
    found = ls.ParameterSpace.of(Net(), select).names
    assert sorted(found) == sorted(names)
    everything = [name for name, _ in Net().named_parameters()]
    assert list(found) == sorted(found, key=everything.index)


def test_a_name_goes_before_a_layer():
    """A glob selects matching parameters; if there are none, it selects matching layers."""
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    assert ls.ParameterSpace.of(model, "0*").names == ("0.weight", "0.bias")
    assert ls.ParameterSpace.of(model, "*").names == tuple(dict(model.named_parameters()))


@pytest.mark.parametrize(("select", "asked"), [("heads", "heads"), (nn.Conv2d, "Conv2d"), ([], "empty")])
def test_a_pattern_without_a_match_is_refused(select, asked):
    with pytest.raises(InputError, match=asked):
        ls.ParameterSpace.of(Net(), select)


def recorded(tmp_path=None):
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with ls.TrajectoryRecorder(model, optimizer, path=tmp_path) as recorder:
        for _ in range(7):
            optimizer.zero_grad()
            model(torch.randn(5, 3)).square().mean().backward()
            optimizer.step()
    return model, recorder.trajectory()


@pytest.mark.parametrize("on_disk", [False, True])
@pytest.mark.parametrize("select", ["encoder.1.*", ["head.weight", "scale"], "*"])
def test_a_part_of_a_trajectory_is_that_of_its_parameters(tmp_path, on_disk, select):
    model, path = recorded(tmp_path / "path" if on_disk else None)
    part = path.of_parameters(select)
    assert part.space == ls.ParameterSpace.of(model, select)
    expected = torch.stack([part.space.flatten(path.space.unflatten(row)) for row in path.weights])
    assert torch.equal(part.weights, expected)
    assert torch.equal(part.window(3, 6).weights, expected[2:5])
    assert torch.equal(torch.cat([panel for _, panel in part.panels(max_bytes=7 * 8 * 2)], dim=1), expected)
    scale = torch.rand(part.dim, dtype=torch.float64) + 0.5
    assert torch.equal(part.scaled(scale).weights, expected * scale.float())
    assert torch.equal(part.scaled(scale).rows(1, 4, slice(1, 3)), (expected * scale.float())[1:4, 1:3])


def test_a_part_needs_names():
    with pytest.raises(InputError, match="without a space"):
        ls.Trajectory.of(torch.zeros(3, 2)).of_parameters("weight")
    _, path = recorded()
    with pytest.raises(InputError, match="nothing"):
        path.of_parameters("nothing")
    with pytest.raises(InputError, match="scales"):
        path.scaled(torch.ones(2))
