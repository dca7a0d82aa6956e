"""One class for all directions: what principal modes have and others refuse, and how a window is measured along any."""

import math

import pytest
import torch

import landscope as ls
from landscope import directions
from landscope.errors import InputError
from landscope.synthetic import InverseGaussian, QuadraticBowl, RandomSprings, random_walk
from landscope.trajectory import Trajectory


def window(rows=60, dim=6):
    return Trajectory.of(random_walk(rows, dim, seed=0))


def others():
    bowl, origin = QuadraticBowl(torch.arange(1.0, 7).double()), torch.zeros(6).double()
    return {
        "Hessian eigenvectors": directions.hessian(bowl, origin, 3),
        "gradient-noise eigenvectors": directions.gradient_noise(
            RandomSprings.draw(torch.arange(1.0, 7), 50, seed=0), origin, 3
        ),
        "random directions": directions.random(6, 3, seed=0),
        "axes": directions.Directions.of(torch.eye(6)[:3], name="axes"),
    }


def test_principal_modes_have_the_variance_of_their_window():
    rows = window()
    modes = ls.principal_modes(rows)
    assert (modes.name, len(modes), modes.n_steps, modes.n_moving) == ("principal modes", 6, 60, 6)
    assert torch.equal(modes.variance, modes.values)
    assert modes.total_variance == pytest.approx(float(modes.variance.sum()))
    part = modes.part(slice(1, 3))
    assert torch.equal(part.variance, modes.variance[1:3])
    assert part.total_variance == modes.total_variance


@pytest.mark.parametrize("name", list(others()))
def test_other_directions_say_how_to_measure_their_variance(name):
    found = others()[name]
    assert found.name == name
    for ask in (lambda: found.variance, lambda: found.total_variance, lambda: found.n_moving):
        with pytest.raises(InputError, match=r"mode_statistics\(directions, window\)"):
            ask()


@pytest.mark.parametrize("name", list(others()))
def test_any_directions_are_measured_about_the_windows_own_mean(name):
    found, rows = others()[name], window()
    measured = ls.noise.mode_statistics(found, rows)
    exact = ((rows.weights - rows.weights.mean(dim=0)) @ found.directions.T).square().mean(dim=0)
    torch.testing.assert_close(measured.variance, exact, rtol=1e-10, atol=0)
    assert measured.total_variance == pytest.approx(float(rows.weights.var(dim=0, correction=0).sum()))


def test_the_total_is_known_where_it_can_be():
    world = RandomSprings.draw(torch.arange(1.0, 7), 50, seed=0)
    every = directions.gradient_noise(world, torch.zeros(6).double(), 6)
    assert every.total == pytest.approx(float(every.values.sum()))
    assert math.isnan(others()["Hessian eigenvectors"].total)


def test_directions_are_saved_and_loaded(tmp_path):
    for number, found in enumerate((ls.principal_modes(window()), *others().values())):
        ls.save(found, tmp_path / f"{number}.zarr.zip")
        again = ls.load(tmp_path / f"{number}.zarr.zip", directions.Directions)
        assert (again.name, again.n_steps, again.parameters) == (found.name, found.n_steps, found.parameters)
        assert torch.equal(again.directions, found.directions)
        assert torch.equal(again.mean, found.mean)


def test_a_tensor_becomes_directions():
    with pytest.raises(InputError, match="zero row"):
        directions.Directions.of(torch.zeros(2, 3))
    well = InverseGaussian(torch.arange(1.0, 7).double())
    axes = directions.Directions.of(torch.eye(6))
    assert ls.flatness(well, torch.zeros(6).double(), axes.directions).bracketed.all()


def test_gauss_newton_eigenvectors_are_those_of_the_matrix_made_of_its_parts():
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 3)).double()
    inputs, targets = torch.randn(30, 3).double(), torch.arange(30) % 3
    risk = ls.EmpiricalRisk(model, torch.nn.CrossEntropyLoss(), (inputs, targets))

    def logits(w):
        return torch.func.functional_call(model, risk.space.unflatten(w), inputs)

    jacobian = torch.func.jacrev(logits)(risk.w0)
    chances = logits(risk.w0).softmax(dim=1)
    middle = torch.diag_embed(chances) - chances[:, :, None] * chances[:, None, :]
    matrix = torch.einsum("kcn,kcd,kdm->nm", jacobian, middle, jacobian) / len(inputs)
    found = ls.directions.gauss_newton(risk, risk.w0, 4)
    values, vectors = torch.linalg.eigh(matrix)
    torch.testing.assert_close(found.values, values.flip(0)[:4], rtol=1e-4, atol=0)
    overlap = (found.directions * vectors.T.flip(0)[:4]).sum(dim=1).abs()
    torch.testing.assert_close(overlap, torch.ones(4).double(), rtol=1e-3, atol=0)


def test_eigenvectors_in_a_null_space_have_the_same_bits_in_every_call():
    # Five of the nine lie in the null space, where the iterations restart from random vectors.
    matrix = torch.diag(torch.cat([torch.arange(1.0, 5), torch.zeros(56)]).double())
    first, second = (
        directions.hessian_eigenvectors.leading_eigenvectors(
            lambda v: matrix @ v, torch.zeros(60).double(), 9, name="eigenvectors", seed=3
        )
        for _ in range(2)
    )
    assert torch.equal(first.directions, second.directions)
    assert torch.equal(first.values, second.values)
