"""Which layers have running statistics, and which of them follow the minibatches."""

import pytest
import torch
from torch import nn

import landscope as ls
from landscope.penalties.warnings import warn_of_statistics
from landscope.risk.running_statistics import layers_with_statistics, updating_layers
from landscope.risk.training_minibatches import TrainingMinibatches


class OfAnotherPackage(nn.Module):
    """Normalises by the mean so far; frozen ones have no momentum."""

    def __init__(self, momentum=None):
        super().__init__()
        self.register_buffer("running_mean", torch.zeros(2))
        self.weight = nn.Parameter(torch.ones(2))
        if momentum is not None:
            self.momentum = momentum

    def forward(self, x):
        if self.training and hasattr(self, "momentum"):
            self.running_mean.lerp_(x.detach().mean(0), self.momentum)
        return (x - self.running_mean) * self.weight


def no_longer_tracked():
    norm = nn.BatchNorm1d(2)
    norm.track_running_stats = False
    return norm


LAYERS = {
    "batch": (lambda: nn.BatchNorm1d(2), True, True),
    "instance": (lambda: nn.InstanceNorm1d(2, affine=True, track_running_stats=True), True, True),
    "own": (lambda: OfAnotherPackage(0.1), True, True),
    "frozen": (OfAnotherPackage, True, False),
    "no longer tracked": (no_longer_tracked, True, False),
    "minibatch": (lambda: nn.BatchNorm1d(2, track_running_stats=False), False, False),
    "of each sample": (lambda: nn.LayerNorm(2), False, False),
}


@pytest.mark.parametrize("kind", LAYERS)
def test_layers_that_follow_the_minibatches_are_those_whose_statistics_move(kind):
    make, has, updates = LAYERS[kind]
    model = nn.Sequential(make())
    assert layers_with_statistics(model) == list(model) * has
    assert updating_layers(model) == list(model) * updates
    before = {name: value.clone() for name, value in model.named_buffers() if name != "0.num_batches_tracked"}
    model(torch.tensor([[[1.0, 4.0], [3.0, 2.0]]]).expand(3, 2, 2) if kind == "instance" else torch.ones(3, 2) * 5)
    moved = any(not torch.equal(before[name], value) for name, value in model.named_buffers() if name in before)
    assert moved is updates


@pytest.mark.parametrize("kind", LAYERS)
def test_a_penalty_names_the_layers_that_update_statistics(kind, recwarn):
    model = nn.Sequential(nn.Linear(2, 2), LAYERS[kind][0]())
    warn_of_statistics(model)
    warn_of_statistics(model.eval())
    assert [str(warning.message)[:10] for warning in recwarn] == ["layers '1'"] * LAYERS[kind][2]


def test_statistics_of_another_package_are_named_around_other_weights_unless_frozen(recwarn):
    data = torch.randn(8, 2), torch.randn(8, 2)
    for layer in (OfAnotherPackage(), OfAnotherPackage(0.1)):
        risk = ls.EmpiricalRisk(nn.Sequential(nn.Linear(2, 2), layer), nn.MSELoss(), data)
        ls.flatness(risk, 1.01 * risk.w0, torch.eye(risk.space.dim)[:1])
    assert ["running statistics of the model" in " ".join(str(w.message).split()) for w in recwarn] == [True]


def test_minibatches_are_normalised_as_in_the_training():
    """With the statistics 0, eval mode would leave the inputs as they are; two samples become -1 and 1."""
    norm = nn.InstanceNorm1d(1, affine=True, track_running_stats=True, eps=1e-12)
    data = torch.tensor([[[1.0, 3.0]]]), torch.zeros(1, 1, 2)
    ensemble = TrainingMinibatches(norm, nn.MSELoss(), data, 1)
    assert ensemble.batch_losses(ensemble.w0).item() == pytest.approx(1.0)
