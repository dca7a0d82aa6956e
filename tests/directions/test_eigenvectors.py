"""Eigenvectors at both ends of a spectrum against dense answers: values, residuals, copies, and products spent."""

import numpy as np
import pytest
import torch
from scipy.sparse.linalg import LinearOperator, eigsh

from dense import Quadratic, network, with_spectrum
from landscope import directions
from landscope.directions.lanczos import Lanczos

BULK = torch.cat(
    [torch.tensor([10.0, 7, 5, 4, 3, 2]), 0.1 * torch.randn(194, generator=torch.Generator().manual_seed(1))]
)
SPECTRA = {
    "outliers and a bulk": BULK,
    "a power law": 1 / torch.arange(1.0, 201),
    "a power law of both signs": (-1.0) ** torch.arange(200) / torch.arange(1.0, 201),
}
FINE = {"largest": 0.0, "smallest": 0.01}
"""What residuals are relative to where a value is nearer to zero, as a share of the largest."""


def outermost(matrix, count, which):
    values, vectors = torch.linalg.eigh(matrix)
    order = values.argsort(descending=which == "largest")[:count]
    return values[order], vectors[:, order].T


@pytest.mark.parametrize("which", ["largest", "smallest"])
@pytest.mark.parametrize("spectrum", SPECTRA)
def test_pairs_are_those_of_the_matrix(spectrum, which):
    landscape = with_spectrum(SPECTRA[spectrum])
    matrix, largest = landscape.matrix, float(SPECTRA[spectrum].abs().max())
    found = directions.hessian(landscape, landscape.origin, 5, which=which)
    exact, _ = outermost(matrix, 5, which)
    allowed = 1e-4 * exact.abs().clamp(min=FINE[which] * largest)
    # The distance to an eigenvalue is at most the residual; the extreme ones come in order.
    assert bool(((found.values - exact).abs() <= allowed).all())
    residuals = torch.linalg.vector_norm(found.directions @ matrix - found.values[:, None] * found.directions, dim=1)
    assert bool((residuals <= 1.01 * allowed).all())
    torch.testing.assert_close(found.residuals, residuals / largest, rtol=1e-2, atol=1e-12)
    torch.testing.assert_close(found.directions @ found.directions.T, torch.eye(5).double(), rtol=0, atol=1e-12)
    assert found.provenance["settings"]["n_products"] == landscape.n_products


@pytest.mark.parametrize(("count", "which"), [(1, "largest"), (5, "largest"), (5, "smallest"), (10, "smallest")])
def test_fewer_products_than_arpack_at_equal_residual(count, which):
    ours, theirs = with_spectrum(BULK), with_spectrum(BULK)
    directions.hessian(ours, ours.origin, count, which=which)
    operator = LinearOperator(
        theirs.matrix.shape, dtype=float,
        matvec=lambda v: theirs.hessian_vector_product(None, torch.from_numpy(v.ravel().copy())).numpy(),
    )  # fmt: skip
    ends = {"largest": "LA", "smallest": "SA"}
    eigsh(operator, count, which=ends[which], tol=1e-4, v0=np.random.default_rng(0).standard_normal(200))
    assert ours.n_products < theirs.n_products


@pytest.mark.parametrize("matrix", ["hessian", "gauss_newton"])
@pytest.mark.parametrize("which", ["largest", "smallest"])
def test_a_network(matrix, which):
    risk, dense = network()
    found = getattr(directions, matrix)(risk, risk.w0, 3, which=which)
    dense = dense[matrix.replace("_", "-")]
    exact, _ = outermost(dense, 3, which)
    assert float((found.values - exact).abs().max()) <= 1e-4 * float(dense.norm())
    residuals = torch.linalg.vector_norm(found.directions @ dense - found.values[:, None] * found.directions, dim=1)
    norm = torch.linalg.matrix_norm(dense, ord=2)
    assert bool((found.residuals >= 0.99 * residuals / norm - 1e-12).all())


def test_the_hessian_of_a_network_has_negative_curvature_along_the_smallest():
    risk, dense = network()
    found = directions.hessian(risk, risk.w0, 1, which="smallest")
    assert float(found.values[0]) == pytest.approx(float(torch.linalg.eigvalsh(dense["hessian"])[0]), rel=1e-4)
    assert float(found.values[0]) < 0


@pytest.mark.parametrize(
    ("values", "count", "which"),
    [
        ([5.0, 5, 5, 3, 1], 3, "largest"),
        ([5.0, 3, -1, -1], 2, "smallest"),
        ([2.0, 2, 1], 9, "largest"),
        ([4.0, 3, 2, 1], 9, "largest"),
        ([], 4, "smallest"),
    ],
)
def test_copies_of_an_eigenvalue_are_found(values, count, which):
    spectrum = torch.nn.functional.pad(torch.tensor(values), (0, 60 - len(values)))
    landscape = Quadratic(torch.diag(spectrum).double())
    found = directions.hessian(landscape, landscape.origin, count, which=which)
    expected = spectrum.sort(descending=which == "largest").values[:count].double()
    torch.testing.assert_close(found.values, expected, rtol=0, atol=1e-9)
    torch.testing.assert_close(found.directions @ found.directions.T, torch.eye(count).double(), rtol=0, atol=1e-12)


def test_in_float32_values_have_its_accuracy_and_vectors_are_orthonormal():
    landscape = with_spectrum(BULK)
    single = Quadratic(landscape.matrix.float())
    found = directions.hessian(single, single.origin, 6, rtol=1e-6)
    torch.testing.assert_close(found.values, BULK[:6].double(), rtol=1e-5, atol=0)
    torch.testing.assert_close(found.directions @ found.directions.T, torch.eye(6).double(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("which", ["largest", "smallest"])
def test_a_null_space_in_float32(which):
    rank = torch.nn.functional.pad(torch.arange(1.0, 6), (0, 195)) * (1 if which == "largest" else -1)
    single = Quadratic(with_spectrum(rank).matrix.float())
    found = directions.hessian(single, single.origin, 9, which=which, rtol=1e-6)
    expected = rank.sort(descending=which == "largest").values[:9].double()
    torch.testing.assert_close(found.values, expected, rtol=0, atol=1e-5)
    assert single.n_products < 40


def test_restarts_lose_nothing():
    # More products than the basis has rows: 40 of them, for one eigenvector beside a dense bulk.
    values = torch.cat([torch.tensor([1.001]), torch.linspace(0, 1, 499)])
    landscape = with_spectrum(values)
    found = directions.hessian(landscape, landscape.origin, 1, rtol=1e-6)
    assert landscape.n_products > 60
    assert float(found.values[0]) == pytest.approx(1.001, abs=1e-6)
    assert float(found.residuals[0]) <= 1e-6 * 1.01


def test_the_basis_is_orthonormal_and_projects_the_matrix():
    landscape = with_spectrum(BULK)
    start = torch.randn(200, generator=torch.Generator().manual_seed(0)).double()
    space = Lanczos(lambda v: landscape.matrix @ v, start)
    for _ in range(50):
        assert space.extend()
    rows = torch.stack(list(space.rows))
    torch.testing.assert_close(rows @ rows.T, torch.eye(51).double(), rtol=0, atol=1e-13)
    exact = torch.linalg.eigvalsh(rows[:50] @ landscape.matrix @ rows[:50].T)
    torch.testing.assert_close(space.ritz().values, exact, rtol=0, atol=1e-12)


@pytest.mark.parametrize("which", ["largest", "smallest"])
@pytest.mark.parametrize("eigenvalues", [[2.0], [-3.0], [0.0], [1.0, 1.0], [0.0, 0.0, 0.0], [5.0, -1.0, 2.0, 0.0]])
def test_all_eigenvectors_of_few_weights(eigenvalues, which):
    values = torch.tensor(eigenvalues).double()
    n = len(values)
    turned, _ = torch.linalg.qr(torch.randn(n, n, generator=torch.Generator().manual_seed(n)).double())
    matrix = turned @ values.diag() @ turned.T
    found = directions.hessian(lambda w: (w * (w @ matrix)).sum(-1) / 2, torch.zeros(n).double(), n, which=which)
    expected = values.sort(descending=which == "largest").values
    torch.testing.assert_close(found.values, expected, atol=1e-12, rtol=0)
    rebuilt = found.directions.T @ found.values.diag() @ found.directions
    torch.testing.assert_close(rebuilt, matrix, atol=1e-12, rtol=0)
