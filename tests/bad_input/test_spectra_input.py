"""Slips with eigenvectors, spectra, traces and diagonals are named, with the way on."""

import math

import pytest
import torch

import landscope as ls
from landscope.directions import orthonormal_rows
from landscope.errors import InputError, NonFiniteError
from landscope.landscape import diagonal, spectral_density, trace
from landscope.synthetic import QuadraticBowl

BOWL, W0 = QuadraticBowl(torch.tensor([2.0, 8.0, 1.0, 0.5])), torch.zeros(4)
hessian = ls.directions.hessian
MEASURES = (spectral_density, trace, diagonal)


@pytest.mark.parametrize("measure", MEASURES)
class TestEveryMeasure:
    def test_wants_a_known_matrix(self, measure):
        with pytest.raises(InputError, match=r"matrix to be one of gauss-newton, hessian; got 'fisher'"):
            measure(BOWL, W0, matrix="fisher")

    def test_wants_a_risk_for_the_gauss_newton_matrix(self, measure):
        with pytest.raises(InputError, match=r'EmpiricalRisk; got QuadraticBowl.*matrix="hessian"'):
            measure(BOWL, W0, n_probes=2, matrix="gauss-newton")

    def test_wants_a_landscape(self, measure):
        with pytest.raises(InputError, match="a landscape, a function of weights"):
            measure(torch.nn.Linear(2, 2), W0, n_probes=2)

    def test_wants_one_point(self, measure):
        with pytest.raises(InputError, match=r"w0 as one vector \[N\]; got shape \(1, 4\)"):
            measure(BOWL, W0[None])
        with pytest.raises(InputError, match="w0 of type Tensor; got list"):
            measure(BOWL, W0.tolist())

    def test_wants_two_probes(self, measure):
        with pytest.raises(InputError, match=r"n_probes to be an integer .*spread"):
            measure(BOWL, W0, n_probes=1)

    def test_refuses_products_that_are_not_finite(self, measure):
        with pytest.raises(NonFiniteError, match="a product with NaN or infinity"):
            measure(QuadraticBowl(torch.tensor([1.0, math.nan])), torch.zeros(2), n_probes=2)

    def test_says_what_would_not_fit_into_memory(self, measure, monkeypatch):
        monkeypatch.setattr(orthonormal_rows, "free_memory", lambda: 20)
        with pytest.raises(InputError, match=r"free memory, 20 bytes; got .* vectors of 4 weights"):
            measure(BOWL, W0, n_probes=2)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"which": "bottom"}, "which to be one of largest, smallest; got 'bottom'"),
        ({"n_vectors": 3}, "n_vectors to be an integer of at least 4; got 3"),
        ({"rtol": 0.0}, "rtol"),
    ],
)
def test_settings_of_eigenvectors(settings, message):
    with pytest.raises(InputError, match=message):
        hessian(BOWL, W0, 2, **settings)


def test_eigenvectors_are_taken_at_one_point():
    with pytest.raises(InputError, match=r"w0 as one vector \[N\]"):
        hessian(BOWL, W0[None], 1)


def test_eigenvectors_of_products_that_are_not_finite():
    with pytest.raises(NonFiniteError, match="a product with NaN or infinity at step 1"):
        hessian(QuadraticBowl(torch.tensor([1.0, math.inf])), torch.ones(2), 1)


def test_eigenvectors_that_do_not_converge(monkeypatch):
    monkeypatch.setattr("landscope.directions.lanczos._MOST_PRODUCTS", 0)
    bowl = QuadraticBowl(torch.linspace(0, 1, 2000).double())
    with pytest.raises(InputError, match=r"3 eigenvectors to converge; got . after 500 products"):
        hessian(bowl, torch.zeros(2000).double(), 3, n_vectors=5, rtol=1e-12)


def test_a_width_of_the_density_is_positive():
    with pytest.raises(InputError, match="width to be positive"):
        spectral_density(BOWL, W0, n_probes=2, n_steps=2).density(width=0.0)


@pytest.mark.parametrize(("values", "got"), [(0.01, "float"), ([0.01], "list"), (torch.tensor(0.01), "one number")])
def test_points_of_a_density_are_a_vector(values, got):
    density = spectral_density(BOWL, W0, n_probes=2, n_steps=2)
    for call in (density.share_below, density.density):
        with pytest.raises(InputError, match=f"(values|grid) .*got {got}"):
            call(values)


def test_directions_are_a_tensor():
    with pytest.raises(InputError, match="directions of type Tensor; got list"):
        ls.directions.Directions.of([[1.0, 0.0]], name="axes")
