"""Errors for invalid landscapes, weights and directions."""

import math
import warnings

import pytest
import torch
from torch import nn

import landscope as ls
from landscope._checks import check_vector, device_with_float64
from landscope.errors import InputError, NondeterministicLossError, NonFiniteError
from landscope.reproduction.experiment.networks import mlp
from landscope.synthetic import InverseGaussian, QuadraticBowl, RandomSprings


def vectors(n=200):
    return torch.randn(n, 6), torch.randint(0, 3, (n,))


@pytest.mark.parametrize(
    ("w0", "directions", "message"),
    [
        (torch.zeros(3), torch.eye(2), "directions with a last axis of 3"),
        (torch.zeros(2), torch.zeros(1, 2), "zero row at index 0"),
        (torch.zeros(2), torch.tensor([[1.0, 2.0], [0.0, 1.0], [-2.0, -4.0]]), "rows 0 and 2"),
        (torch.zeros(2), torch.eye(2)[0], r"shape \[k, N\]"),
        (torch.zeros(2), torch.eye(2).long(), "floating-point"),
        (torch.zeros(2).long(), torch.eye(2), "floating-point"),
    ],
)
def test_bad_centres_and_directions_are_refused(w0, directions, message):
    with pytest.raises(InputError, match=message):
        ls.flatness(lambda w: w.square().sum(-1) + 1, w0, directions)


def test_nan_and_infinite_losses_are_refused():
    with pytest.raises(NonFiniteError, match="finite loss at w0"):
        ls.flatness(lambda w: torch.full(w.shape[:-1], math.inf), torch.zeros(1), torch.eye(1))
    with pytest.raises(NonFiniteError, match="NaN at displacement"):
        ls.flatness(lambda w: torch.where(w[..., 0] > 0.1, math.nan, 1.0), torch.zeros(1), torch.eye(1))
    with pytest.raises(NonFiniteError, match="finite w0"):
        ls.loss_profiles(QuadraticBowl(torch.ones(1)), torch.tensor([math.nan]), torch.eye(1), torch.zeros(1))
    with pytest.raises(InputError, match="positive loss"):
        ls.flatness(QuadraticBowl(torch.ones(1), minimum=0.0), torch.zeros(1), torch.eye(1))


def test_ratio_and_tolerance_are_checked():
    for arguments in ({"ratio": 1.0}, {"ratio": math.nan}, {"rtol": 0.0}, {"max_displacement": -1.0}):
        with pytest.raises(InputError):
            ls.flatness(QuadraticBowl(torch.ones(1)), torch.zeros(1), torch.eye(1), **arguments)


def test_a_random_loss_in_eval_mode_is_refused():
    class Noisy(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(6, 3)

        def forward(self, x):
            return self.layer(x + torch.randn_like(x))

    warnings.simplefilter("ignore")  # the model cannot be traced either
    with pytest.raises(NondeterministicLossError, match="same loss at the same weights"):
        ls.EmpiricalRisk(Noisy(), nn.functional.cross_entropy, vectors())


def test_bad_data_and_weights_are_refused():
    model, other, (inputs, targets) = mlp([6, 8, 3]), mlp([6, 3]), vectors(10)
    make = ls.EmpiricalRisk
    with pytest.raises(InputError, match="as many targets"):
        make(model, nn.functional.cross_entropy, (inputs, targets[:5]))
    with pytest.raises(InputError, match="at least one sample"):
        make(model, nn.functional.cross_entropy, (inputs[:0], targets[:0]))
    with pytest.raises(InputError, match="from_closure"):
        make(model, nn.functional.cross_entropy, [{"x": inputs}])
    with pytest.raises(InputError, match="depends on"):
        ls.EmpiricalRisk.from_closure(model, lambda _, batch: batch.sum(dim=1), [inputs])
    with pytest.raises(InputError, match="depends on"):
        ls.EmpiricalRisk.from_closure(model, lambda _, batch: other(batch).square().sum(dim=1), [inputs])
    risk = make(model, nn.functional.cross_entropy, (inputs, targets))
    with pytest.raises(InputError, match="last axis"):
        risk(torch.zeros(3))
    with pytest.raises(InputError, match="floating-point"):
        risk(torch.zeros(risk.space.dim, dtype=torch.long))
    assert math.isfinite(float(risk(risk.w0.double())))  # other precisions are converted


def test_labels_without_an_output_and_bare_datasets_are_refused():
    model, (inputs, _) = mlp([6, 8, 3]), vectors(10)
    with pytest.raises(InputError, match="labels from 0 to 2"):
        ls.EmpiricalRisk(model, nn.functional.cross_entropy, (inputs, torch.full((10,), 3)))
    with pytest.raises(InputError, match="DataLoader"):
        ls.EmpiricalRisk(model, nn.functional.cross_entropy, [(row, 1) for row in inputs])
    labels = torch.randint(0, 3, (10,))
    narrow = ls.EmpiricalRisk(model, nn.functional.cross_entropy, (inputs, labels.to(torch.uint8)))
    wide = ls.EmpiricalRisk(model, nn.functional.cross_entropy, (inputs, labels))
    assert float(narrow(narrow.w0)) == float(wide(wide.w0))


@pytest.mark.parametrize("targets", [torch.rand(10), torch.rand(10, 5)])
def test_targets_that_the_criterion_does_not_take_are_named(targets):
    model, (inputs, _) = mlp([6, 8, 3]), vectors(10)
    shapes = rf"outputs \[10, 3\] of float32 with targets \[{', '.join(map(str, targets.shape))}\] of float32"
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nothing is said of tracing
        with pytest.raises(InputError, match=shapes):
            ls.EmpiricalRisk(model, nn.functional.cross_entropy, (inputs, targets))


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (
            torch.randn(10, 5),
            r"inputs that \w+ accepts; got RuntimeError: mat1 .*\. The inputs are \[1, 5\] of float32",
        ),
        (torch.randn(10, 6).double(), r"got RuntimeError: .*dtype.*\. The inputs are \[1, 6\] of float64"),
    ],
)
def test_inputs_that_the_model_does_not_take_are_named_and_its_own_error_is_the_cause(inputs, message):
    model, (_, targets) = mlp([6, 8, 3]), vectors(10)
    with pytest.raises(InputError, match=message) as raised:
        ls.EmpiricalRisk(model, nn.functional.cross_entropy, (inputs, targets))
    assert isinstance(raised.value.__cause__, RuntimeError)


def test_a_batch_that_losses_do_not_take_is_named():
    batch = {"x": torch.randn(10, 5), "y": ["a"] * 10}
    message = r"a batch \{x: \[10, 5\] of float32, y: of type list\}; got RuntimeError: mat1"
    with pytest.raises(InputError, match=message):
        ls.EmpiricalRisk.from_closure(mlp([6, 3]), lambda model, batch: model(batch["x"]).sum(1), [batch])


@pytest.mark.parametrize("reduction", ["none", "mean"])
def test_a_criterion_that_draws_random_numbers_is_named(reduction):
    def criterion(outputs, targets):
        return nn.functional.cross_entropy(nn.functional.dropout(outputs), targets, reduction=reduction)

    with pytest.raises(NondeterministicLossError, match=r"a criterion that gives the same .*training=False"):
        ls.EmpiricalRisk(mlp([6, 8, 3]), criterion, vectors(10))
    with pytest.raises(NondeterministicLossError, match=r"losses=f draws random numbers.*training=model\.training"):
        ls.EmpiricalRisk.from_closure(mlp([6, 8, 3]), lambda m, b: criterion(m(b[0]), b[1]).reshape(-1), [vectors(10)])


def test_inference_mode_is_named():
    risk = ls.EmpiricalRisk(mlp([6, 8, 3]), nn.functional.cross_entropy, vectors(10))
    for call in (
        lambda: ls.EmpiricalRisk(mlp([6, 8, 3]), nn.functional.cross_entropy, vectors(10)),
        lambda: risk.gradient(risk.w0),
    ):
        with torch.inference_mode(), pytest.raises(InputError, match=r"outside torch\.inference_mode\(\)"):
            call()


def test_errors_cross_processes():
    import pickle

    error = InputError(expected="a", got="b", hint="c.")
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_directions_are_taken_as_they_are_or_as_a_tensor():
    well = InverseGaussian(torch.arange(1.0, 5).double())
    w0, run = torch.zeros(4).double(), ls.Trajectory.of(torch.randn(60, 4).double().cumsum(0))
    modes = ls.principal_modes(run)
    springs = RandomSprings.draw(torch.arange(1.0, 5), 50, seed=0)
    steps = torch.linspace(-0.1, 0.1, 5).double()
    calls = {
        "flatness": lambda p: ls.flatness(well, w0, p).width,
        "loss_profiles": lambda p: ls.loss_profiles(well, w0, p, steps).loss,
        "curvature": lambda p: ls.landscape.directional_curvature(well, w0, p),
        "until_flat": lambda p: ls.landscape.flatness_until_flat(well, w0, p, 1.5).width,
        "gradient_noise": lambda p: ls.noise.gradient_noise(springs, w0, p).covariance,
        "ensemble": lambda p: ls.noise.minibatch_ensemble(springs, w0, p, steps).loss,
        "temperature": lambda p: ls.noise.active_temperature(springs, w0, p, steps, learning_rate=0.1).temperature,
        "log_hessian": lambda p: ls.noise.log_hessian(springs, w0, p).mean_curvature,
    }
    for name, call in calls.items():
        assert torch.equal(call(modes), call(modes.directions)), name


def test_a_model_is_no_landscape():
    model, w0, axes = nn.Linear(2, 1), torch.zeros(3), torch.eye(3)
    for call in (
        lambda landscape: ls.flatness(landscape, w0, axes),
        lambda landscape: ls.loss_profiles(landscape, w0, axes, torch.zeros(1)),
        lambda landscape: ls.landscape.directional_curvature(landscape, w0, axes),
        lambda landscape: ls.directions.hessian(landscape, w0, 2),
    ):
        with pytest.raises(InputError, match=r"a model, Linear.*EmpiricalRisk\(model, criterion, data\)"):
            call(model)
        with pytest.raises(InputError, match="an object of type str"):
            call("loss")
    with pytest.raises(InputError, match="w0 as a tensor"):
        ls.flatness(lambda w: w.sum(-1), [0.0, 0.0], axes)
    with pytest.raises(InputError, match="directions as a tensor"):
        ls.flatness(lambda w: w.sum(-1), w0, None)


def test_devices_without_float64_get_float32_and_sums_on_the_host():
    mps, cpu = torch.device("mps"), torch.device("cpu")
    assert device_with_float64(mps) == cpu
    assert device_with_float64(cpu) == cpu
    assert check_vector("w", torch.zeros(2).double(), dim=2, device=cpu).dtype == torch.float64


def test_a_vector_is_not_a_set_of_directions():
    with pytest.raises(InputError, match=r"directions of shape \[k, N\]"):
        ls.directions.Directions.of(torch.zeros(3))
