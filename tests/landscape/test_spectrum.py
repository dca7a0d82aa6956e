"""Density, trace and diagonal of a matrix from products, against the dense matrix and the theory of their errors."""

import math

import pytest
import torch

import landscope as ls
from dense import Quadratic, network, with_spectrum
from landscope.landscape import diagonal, spectral_density, trace

DECAYING = 1 / torch.arange(1.0, 301) ** 1.5
SIGNED = torch.cat([torch.linspace(-1, 0, 100), torch.linspace(0, 3, 200)])


def z_scores(estimates, exact):
    return (estimates - exact).mean(dim=0) / (estimates.std(dim=0) / math.sqrt(len(estimates)))


def hutchinson(landscape, n_products, seed):
    """The slow twin: the mean of w'Aw over Gaussian vectors."""
    probes = torch.randn(n_products, len(landscape.matrix), generator=torch.Generator().manual_seed(seed)).double()
    return float(((probes @ landscape.matrix) * probes).sum(dim=1).mean())


@pytest.mark.parametrize("matrix", ["hessian", "gauss-newton"])
def test_sums_over_the_spectrum_of_a_network(matrix):
    risk, dense = network()
    landscape, values = Quadratic(dense[matrix]), torch.linalg.eigvalsh(dense[matrix])
    found = spectral_density(landscape, landscape.origin, n_probes=40, n_steps=30)
    assert found.largest[0] == pytest.approx(float(values[-1]), rel=1e-9)
    torch.testing.assert_close(found.weights.sum(dim=1), torch.ones(40).double())
    for power in range(1, 5):
        moments = values**power
        estimate, stderr = found.sum_over(lambda x, p=power: x**p)
        # Four standard errors, as the theory has them for unit vectors.
        theory = len(values) * math.sqrt(2 / (len(values) + 2) * float(moments.var(correction=0)) / 40)
        assert abs(estimate - float(moments.sum())) < 4 * theory
        assert stderr == pytest.approx(theory, rel=8 / math.sqrt(2 * 40))
    few = spectral_density(risk, risk.w0, matrix=matrix, n_probes=2, n_steps=8)
    same = spectral_density(landscape, landscape.origin, n_probes=2, n_steps=8)
    torch.testing.assert_close(few.nodes, same.nodes, rtol=0, atol=1e-9)
    torch.testing.assert_close(few.weights, same.weights, rtol=0, atol=1e-9)


def test_moments_of_one_probe_are_exact_up_to_degree_2m_minus_1():
    landscape = with_spectrum(SIGNED)
    found = spectral_density(landscape, landscape.origin, n_probes=2, n_steps=6, seed=3)
    assert found.n_products == landscape.n_products == 12
    generator = torch.Generator().manual_seed(3)
    for nodes, weights in zip(found.nodes, found.weights, strict=True):
        vector = torch.randn(300, dtype=torch.float64, generator=generator)
        vector, image = vector / vector.norm(), vector / vector.norm()
        for power in range(1, 12):
            image = landscape.matrix @ image
            assert float(weights @ nodes**power) == pytest.approx(float(vector @ image), rel=1e-9, abs=1e-12)


def test_residuals_of_the_ends_are_those_of_the_matrix():
    landscape = with_spectrum(SIGNED)
    found = spectral_density(landscape, landscape.origin, n_probes=3, n_steps=40)
    for (value, residual), exact in ((found.largest, 3.0), (found.smallest, -1.0)):
        assert abs(value - exact) <= residual
        assert value == pytest.approx(exact, abs=1e-2)
    assert found.smallest[0] >= -1
    assert found.largest[0] <= 3


def test_bounds_of_the_share_below_hold_and_close():
    landscape = with_spectrum(SIGNED)
    limits = torch.tensor([-2.0, -0.5, 0.001, 1.5, 4.0]).double()
    exact = torch.stack([(limit > SIGNED).double().mean() for limit in limits])
    widths = []
    for n_steps in (10, 40):
        found = spectral_density(landscape, landscape.origin, n_probes=20, n_steps=n_steps)
        low, high, stderr = found.share_below(limits)
        assert bool((low - 4 * stderr <= exact).all())
        assert bool((exact <= high + 4 * stderr).all())
        widths.append(float((high - low)[2]))
    assert widths[1] < 0.1 < widths[0]


def test_a_probe_that_ends_early_has_missing_nodes_without_weight():
    landscape = Quadratic(torch.diag(torch.tensor([2.0, 2.0, -1.0, 0.0, 0.0])).double())
    found = spectral_density(landscape, landscape.origin, n_probes=3, n_steps=5)
    assert found.n_products == 9
    assert (found.weights > 0).sum(dim=1).tolist() == [3, 3, 3]
    for row in found.nodes:
        torch.testing.assert_close(row[:3], torch.tensor([-1.0, 0.0, 2.0]).double(), rtol=0, atol=1e-12)
    low, high, _ = found.share_below(torch.tensor([5.0]))
    assert high.tolist() == [pytest.approx(1)]
    assert float(low) < 1


def test_the_density_is_that_of_a_quadrature_and_integrates_to_one():
    landscape = with_spectrum(SIGNED)
    found = spectral_density(landscape, landscape.origin, n_probes=30, n_steps=40)
    grid, mean, stderr = found.density(width=0.15)
    assert float(torch.trapezoid(mean, grid)) == pytest.approx(1, rel=1e-6)
    exact = torch.exp(-((grid[:, None] - SIGNED) / 0.15).square() / 2).mean(dim=1) / (0.15 * math.sqrt(2 * math.pi))
    inside = exact > 0.01
    assert float(((mean - exact).abs() / stderr)[inside].max()) < 5
    name = found.plot().layout.xaxis.title.text
    assert "Hessian" in name


def test_resolved_eigenvalues_are_eigenvalues():
    landscape = with_spectrum(torch.cat([torch.tensor([10.0, 7.0, -3.0]), 0.1 * SIGNED]))
    found = spectral_density(landscape, landscape.origin, n_probes=2, n_steps=30)
    for value in (10.0, 7.0, -3.0):
        assert float((found.resolved - value).abs().min()) < 1e-6
    exact = torch.linalg.eigvalsh(landscape.matrix)
    distance = (found.resolved[:, None] - exact).abs().min(dim=1).values
    assert float(distance.max()) < 1e-3


@pytest.mark.parametrize("spectrum", [DECAYING, SIGNED], ids=["decaying", "flat"])
def test_the_trace_is_unbiased_and_its_errors_cover(spectrum):
    landscape = with_spectrum(spectrum)
    found = [trace(landscape, landscape.origin, n_probes=8, seed=seed) for seed in range(60)]
    assert landscape.n_products == 60 * 16
    exact = float(spectrum.double().sum())
    values, stderr = (torch.tensor([getattr(one, name) for one in found]) for name in ("value", "stderr"))
    assert abs(float(z_scores(values, exact))) < 4
    # Estimates that share a basis are a little dependent: two standard errors cover about 85 %. Four binomial errors.
    covered = float(((values - exact).abs() < 2 * stderr).double().mean())
    assert covered > 0.85 - 4 * math.sqrt(0.85 * 0.15 / 60)
    assert float(stderr.square().mean().sqrt()) == pytest.approx(float(values.std()), rel=0.35)


def test_the_trace_of_a_decaying_spectrum_needs_fewer_products_than_hutchinson():
    landscape = with_spectrum(DECAYING)
    exact = float(DECAYING.double().sum())
    errors = (
        torch.tensor([trace(landscape, landscape.origin, n_probes=8, seed=seed).value for seed in range(40)]) - exact
    )
    plain = torch.tensor([hutchinson(landscape, 16, seed) for seed in range(40)]) - exact
    theory = math.sqrt(2 * float(DECAYING.double().square().sum()) / 16)
    assert float(plain.square().mean().sqrt()) == pytest.approx(theory, rel=4 / math.sqrt(2 * 40))
    assert float(errors.square().mean().sqrt()) < theory / 4


def low_rank(dim=80, rank=5):
    return with_spectrum(torch.nn.functional.pad(torch.arange(1.0, rank + 1), (0, dim - rank)))


def test_trace_and_diagonal_of_a_matrix_of_low_rank_are_exact():
    landscape = low_rank()
    found = trace(landscape, landscape.origin, n_probes=8)
    assert found.value == pytest.approx(15, rel=1e-10)
    assert found.stderr < 1e-10
    estimates = diagonal(landscape, landscape.origin, n_probes=8)
    torch.testing.assert_close(estimates.values, landscape.matrix.diagonal(), rtol=0, atol=1e-10)
    assert float(estimates.stderr.max()) < 1e-10


@pytest.mark.parametrize("rank", [0, 2])
def test_signs_that_repeat_do_not_hide_a_part_of_the_matrix(rank):
    # Of two signs each pattern comes twice in four probes: some products depend on others, and not on all.
    landscape = Quadratic(torch.diag(torch.nn.functional.pad(torch.ones(rank), (0, 30 - rank))).double())
    estimates = torch.stack([diagonal(landscape, landscape.origin, n_probes=4, seed=s).values for s in range(200)])
    assert bool((z_scores(estimates, landscape.matrix.diagonal()).nan_to_num().abs() < 5).all())
    assert trace(landscape, landscape.origin, n_probes=4).value == pytest.approx(rank, abs=1e-10)


def test_as_many_probes_as_weights():
    landscape = with_spectrum(torch.tensor([3.0, 1.0, -2.0]))
    # Outside of two products is one direction, in which every vector gives the same.
    assert trace(landscape, landscape.origin, n_probes=3).value == pytest.approx(2, abs=1e-10)


@pytest.mark.parametrize("measure", [spectral_density, trace, diagonal])
def test_one_weight(measure):
    landscape = Quadratic(torch.tensor([[3.0]]).double())
    found = measure(landscape, landscape.origin)
    value = {"spectral_density": lambda: found.sum_over(lambda x: x)[0], "trace": lambda: found.value}
    assert value.get(found.kind, lambda: float(found.values))() == pytest.approx(3)
    assert all(bool(torch.isfinite(tensor).all()) for tensor in found.tensors().values())


@pytest.mark.parametrize("measure", [spectral_density, trace, diagonal])
def test_results_are_saved_and_loaded(measure, tmp_path):
    found = measure(with_spectrum(DECAYING), torch.zeros(300).double(), n_probes=2)
    ls.save(found, tmp_path / "found.zarr.zip")
    again = ls.load(tmp_path / "found.zarr.zip")
    assert type(again) is type(found)
    assert repr(again) == repr(found)


def leave_one_out(matrix, probes):
    """The slow twin of both: for each probe, a basis of the products with all the others."""
    dim, traces, diagonals = len(matrix), [], []
    for number, probe in enumerate(probes):
        others = torch.cat([probes[:number], probes[number + 1 :]])
        q = torch.linalg.qr((others @ matrix).T).Q
        u = probe - q @ (q.T @ probe)
        traces.append((q.T @ matrix @ q).trace() + (dim - q.shape[1]) / u.square().sum() * (u @ matrix @ u))
        rest = matrix @ probe
        diagonals.append((q @ q.T @ matrix).diagonal() + probe * (rest - q @ (q.T @ rest)))
    return torch.stack(traces), torch.stack(diagonals)


@pytest.mark.parametrize("matrix", ["hessian", "gauss-newton"])
def test_estimates_are_those_that_leave_each_probe_out(matrix):
    risk, dense = network()
    dim, generator = risk.space.dim, torch.Generator().manual_seed(4)
    normal = torch.stack([torch.randn(dim, dtype=torch.float64, generator=generator) for _ in range(6)])
    probes = normal * math.sqrt(dim) / normal.norm(dim=1, keepdim=True)
    found = trace(risk, risk.w0, matrix=matrix, n_probes=6, seed=4)
    torch.testing.assert_close(found.by_probe, leave_one_out(dense[matrix], probes)[0], rtol=1e-6, atol=1e-9)
    generator.manual_seed(4)
    signs = torch.stack([2 * torch.randint(2, (dim,), generator=generator) - 1 for _ in range(6)]).double()
    estimates = leave_one_out(dense[matrix], signs)[1]
    found = diagonal(risk, risk.w0, matrix=matrix, n_probes=6, seed=4)
    torch.testing.assert_close(found.values, estimates.mean(dim=0), rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(found.stderr, estimates.std(dim=0) / math.sqrt(6), rtol=1e-6, atol=1e-9)


def test_the_diagonal_is_unbiased_and_beats_plain_signs():
    landscape = with_spectrum(DECAYING)
    exact = landscape.matrix.diagonal()
    found = [diagonal(landscape, landscape.origin, n_probes=8, seed=seed) for seed in range(40)]
    estimates = torch.stack([one.values for one in found])
    assert float(z_scores(estimates, exact).abs().max()) < 5
    square = float((estimates - exact).square().mean())
    off = landscape.matrix - torch.diag(exact)
    assert square < float(off.square().sum(dim=1).mean()) / 16 / 4
    assert float(torch.stack([one.stderr for one in found]).square().mean()) == pytest.approx(square, rel=0.35)


@pytest.mark.parametrize("measure", [spectral_density, trace, diagonal])
def test_progress_counts_products_and_the_same_seed_has_the_same_bits(measure):
    landscape, seen = with_spectrum(DECAYING), []
    first = measure(landscape, landscape.origin, n_probes=3, progress=lambda done, total: seen.append((done, total)))
    second = measure(landscape, landscape.origin, n_probes=3)
    assert seen[-1] == (first.n_products,) * 2
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    for name, value in first.tensors().items():
        assert torch.equal(value, getattr(second, name))


def test_weights_in_float32_are_measured_in_float32():
    landscape = with_spectrum(DECAYING)
    single = Quadratic(landscape.matrix.float())
    density = spectral_density(single, single.origin, n_probes=2, n_steps=20)
    exact = spectral_density(landscape, landscape.origin, n_probes=2, n_steps=20)
    assert density.sum_over(torch.square)[0] == pytest.approx(exact.sum_over(torch.square)[0], rel=1e-5)
    assert trace(single, single.origin).value == pytest.approx(trace(landscape, landscape.origin).value, rel=1e-4)
    torch.testing.assert_close(
        diagonal(single, single.origin).values, diagonal(landscape, landscape.origin).values, rtol=0, atol=1e-4
    )
