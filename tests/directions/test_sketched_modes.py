"""Modes by a sketch: variances within the bounds of a count sketch, directions from one pass over the rows."""

import math

import pytest
import torch
from torch import nn

import landscope as ls
from landscope.directions import room, subspace_overlap
from landscope.directions.one_pass import best_in_span
from landscope.errors import InputError, NonFiniteError
from landscope.reproduction.experiment.datasets.loading import load_data
from landscope.reproduction.experiment.networks import mlp
from landscope.sketch import CountSketch
from landscope.trajectory import Trajectory
from landscope.trajectory.rows import MemoryRows

T, N, M = 40, 3000, 256


def rows_with(variances, count=T, dim=N, seed=0):
    """Centred rows with these variances along random modes, and an offset."""
    generator = torch.Generator().manual_seed(seed)
    k = len(variances)
    left = torch.randn(count, k, dtype=torch.float64, generator=generator)
    left = torch.linalg.qr(left - left.mean(dim=0)).Q
    right = torch.linalg.qr(torch.randn(dim, k, dtype=torch.float64, generator=generator)).Q
    return 0.3 + left * (variances * count).sqrt() @ right.T


def sketches_of(rows, size=M, seed=0):
    sketch = CountSketch(rows.shape[1], size, seed)
    return Trajectory(**{**vars(Trajectory.of(sketch(rows))), "sketch": sketch})


def shifts(variances, size):
    """What the other modes add to each variance, relative to it: (1/m) sum_j v_j / (v_i - v_j)."""
    apart = variances[:, None] - variances
    return (variances / apart).fill_diagonal_(0).sum(dim=1) / size


def left_out(variances, n_modes, n_formed, size):
    """The expected squared sine of each mode with the span that one pass finds, of modes beyond what it forms."""
    beyond = variances[n_formed:]
    return ((beyond / (variances[:n_modes, None] - beyond)) ** 2).sum(dim=1) / size


def test_variances_are_those_of_the_weights_within_the_error_of_a_sketch():
    """Over seeds: the spread is sqrt(2/m), the mean what second-order perturbation gives."""
    variances, n_seeds = 0.5 ** torch.arange(8.0).double(), 150
    rows = rows_with(variances)
    found = torch.stack([ls.principal_modes(sketches_of(rows, seed=seed), 8).variance for seed in range(n_seeds)])
    errors, expected = found / variances - 1, math.sqrt(2 / M)
    spread = errors.std(dim=0)
    # Second order adds some of the first order to the spread of modes that are a factor of two apart.
    assert bool(((spread / expected - 1).abs() < 4 / math.sqrt(2 * n_seeds) + 0.05).all())
    assert bool(((errors.mean(dim=0) - shifts(variances, M)).abs() < 4 * expected / math.sqrt(n_seeds)).all())


def test_no_variance_is_off_by_more_than_the_sketch_stretches():
    """Ostrowski: every relative error lies between the extreme eigenvalues of the sketch of the modes."""
    variances = torch.linspace(1, 0.9, 30).double()  # nearly equal: perturbation theory says nothing
    errors = ls.principal_modes(sketches_of(rows_with(variances)), 30).variance / variances - 1
    assert float(errors.abs().max()) < 2 * math.sqrt(30 / M) + 30 / M


def test_coordinates_are_those_of_the_weights():
    variances = 0.25 ** torch.arange(6.0).double()
    rows = rows_with(variances)
    sketch = sketches_of(rows)
    exact = ls.principal_modes(Trajectory.of(rows), 6).project(rows)
    found = ls.principal_modes(sketch, 6).project_trajectory(sketch)
    cosines = nn.functional.cosine_similarity(exact, found, dim=0).abs()
    apart = variances[:, None] - variances
    expected = (variances[:, None] * variances / apart**2).fill_diagonal_(0).sum(dim=1) / M
    assert bool((1 - cosines**2 < 8 * expected).all())


@pytest.mark.parametrize("count", [40, 400])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_one_pass_finds_the_modes(count, dtype):
    variances = torch.arange(1.0, 31).double() ** -2.5
    rows = rows_with(variances, count).to(dtype)
    window, sketch, exact = Trajectory.of(rows), sketches_of(rows), ls.principal_modes(Trajectory.of(rows), 8)
    modes = ls.principal_modes(window, 8, sketch=sketch)
    expected = left_out(variances, 8, 18, M)
    cosines = (modes.directions * exact.directions).sum(dim=1)
    assert bool((1 - cosines**2 < 4 * expected + 1e-10).all())
    assert subspace_overlap(modes.directions, exact.directions) > 1 - 2 * float(expected.mean())
    assert bool((cosines > 0).all())  # they point the way the run went
    assert torch.allclose(modes.directions @ modes.directions.T, torch.eye(8).double(), atol=1e-12)
    # The variances are those of the rows along these directions, below those of the modes by the share left out.
    along = modes.project_trajectory(window).var(dim=0, unbiased=False)
    assert torch.allclose(modes.variance, along, rtol=1e-9)
    assert torch.allclose(modes.variance, exact.variance, rtol=4 * float(expected.max()))
    assert torch.allclose(modes.mean, exact.mean, atol=1e-12)
    assert modes.total_variance == pytest.approx(exact.total_variance, rel=1e-10)
    assert modes.n_steps == count


def test_the_residuals_are_those_of_eigenvectors():
    variances = torch.arange(1.0, 31).double() ** -1.5
    rows = rows_with(variances)
    modes = ls.principal_modes(Trajectory.of(rows), 8, sketch=sketches_of(rows))
    centred = rows - rows.mean(dim=0)
    products = modes.directions @ centred.T @ centred / T
    exact = (products - modes.values[:, None] * modes.directions).norm(dim=1) / modes.values[0]
    # Squared lengths in the span of 29 moving combinations; half the error of the squares.
    assert torch.allclose(modes.residuals, exact, rtol=math.sqrt(30 / M))
    assert float(exact.max()) < 0.05


def test_small_modes_are_accurate_where_all_are_formed():
    variances = 10.0 ** -torch.arange(0.0, 12).double()
    rows = rows_with(variances)
    modes = ls.principal_modes(Trajectory.of(rows), 8, sketch=sketches_of(rows))
    assert torch.allclose(modes.variance, variances[:8], rtol=1e-6)
    assert float(modes.residuals.max()) < 1e-10


@pytest.mark.parametrize("offset", [0.0, 100.0])
def test_float32_rows_that_move_along_few_directions(offset):
    rows = torch.full((T, N), offset)
    rows[:, :3] += torch.randn(T, 3, generator=torch.Generator().manual_seed(0))
    window = Trajectory.of(rows)
    modes, exact = ls.principal_modes(window, 3, sketch=sketches_of(rows)), ls.principal_modes(window, 3)
    assert torch.allclose(modes.variance, exact.variance, rtol=1e-6)
    assert subspace_overlap(modes.directions, exact.directions) > 1 - 1e-10
    with pytest.raises(InputError, match="n_modes of at most 3, along which the sketches move; got 5"):
        ls.principal_modes(window, 5, sketch=sketches_of(rows))


def test_combinations_that_depend_on_each_other_count_once():
    rows = rows_with(torch.ones(3).double())
    combinations = torch.linalg.qr(torch.randn(T, 6, dtype=torch.float64)).Q  # of rows that span three directions
    found = best_in_span(Trajectory.of(rows), combinations - combinations.mean(dim=0))
    assert len(found.values) == 3
    assert torch.allclose(found.values, torch.ones(3).double())
    assert torch.allclose(found.directions @ found.directions.T, torch.eye(3).double(), atol=1e-8)


class CountedRows(MemoryRows):
    """Rows that count the numbers that are read."""

    read_so_far = 0

    def read(self, start, stop, columns=slice(None)):
        found = super().read(start, stop, columns)
        CountedRows.read_so_far += found.numel()
        return found


def test_the_rows_are_read_once(monkeypatch):
    rows = rows_with(torch.arange(1.0, 31).double() ** -2.5)
    window = Trajectory(**{**vars(Trajectory.of(rows)), "_rows": CountedRows(rows)})
    panels = Trajectory.panels
    monkeypatch.setattr(
        Trajectory, "panels", lambda self, columns=slice(None): panels(self, 8 * T * 700, columns=columns)
    )
    monkeypatch.setattr(CountedRows, "read_so_far", 0)
    ls.principal_modes(window, 8, sketch=sketches_of(rows))
    assert CountedRows.read_so_far == rows.numel() + 2 * N  # and its ends, to see that the sketches are of these rows


def trained(tmp_path, n_steps=60, **settings):
    """Encoded rows on disk, and sketches, of one training."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 60), nn.Tanh(), nn.Linear(60, 4))
    inputs, targets = torch.randn(200, 20), torch.randint(4, (200,))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2)
    with (
        ls.TrajectoryRecorder(model, optimizer, path=tmp_path / "rows", encoding="delta-int8") as rows,
        ls.TrajectoryRecorder(model, optimizer, sketch=400, **settings) as sketch,
    ):
        for step in range(n_steps):
            batch = torch.arange(10 * step, 10 * step + 10) % 200
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(inputs[batch]), targets[batch]).backward()
            optimizer.step()
    return rows.trajectory(), sketch.trajectory()


def test_rows_with_one_byte_a_weight_and_sketches_of_one_training(tmp_path):
    rows, sketch = trained(tmp_path)
    window, sketched = rows.window(21), sketch.window(21)
    modes, exact = ls.principal_modes(window, 6, sketch=sketched), ls.principal_modes(window, 6)
    assert subspace_overlap(modes.directions, exact.directions) > 0.99
    assert modes.parameters == window.space.names
    assert "CountSketch" in str(modes.provenance)
    statistics = ls.noise.mode_statistics(ls.principal_modes(sketched, 6), sketched)
    of_weights = ls.noise.mode_statistics(exact, window)
    assert torch.allclose(statistics.variance, of_weights.variance, rtol=6 * math.sqrt(2 / 400))


def test_sketches_of_other_rows_are_refused(tmp_path):
    rows, sketch = trained(tmp_path)
    other = Trajectory(**{**vars(sketch), "sketch": CountSketch(sketch.sketch.dim, 400, seed=1)})
    few = rows_with(torch.ones(3).double())
    broken = rows.weights.clone()
    broken[30, 5] = math.nan
    for use, message in (
        (lambda: ls.principal_modes(rows, 3, sketch=rows), "the sketches of the rows, .* got a trajectory of 1504"),
        (lambda: ls.principal_modes(sketch, 3, sketch=sketch), "rows of the 1504 weights"),
        (lambda: ls.principal_modes(rows.window(5), 3, sketch=sketch), "60 sketches of the steps 1 to 60 for 56 rows"),
        (lambda: ls.principal_modes(rows, 3, sketch=other), "got those of other weights"),
        (lambda: ls.principal_modes(rows, 60, sketch=sketch), r"n_modes of at most min\(T - 1, N\) = 59"),
        (lambda: ls.principal_modes(Trajectory.of(few), 5, sketch=sketches_of(few)), "n_modes of at most 3"),
    ):
        with pytest.raises(InputError, match=message):
            use()
    with pytest.raises(NonFiniteError, match="recorded weights"):
        ls.principal_modes(Trajectory.of(broken), 3, sketch=sketch)


def test_modes_that_do_not_fit_are_refused_before_the_rows_are_read(monkeypatch):
    rows = rows_with(torch.arange(1.0, 31).double() ** -2.5)
    monkeypatch.setattr(room, "free_memory", lambda: 200_000)
    with pytest.raises(InputError, match=r"18 modes of 3000 weights.*Ask for"):
        ls.principal_modes(Trajectory.of(rows), 8, sketch=sketches_of(rows))


@pytest.mark.slow
@pytest.mark.mnist
def test_the_papers_network(mnist_folder):
    """42,200 weights, 500 steps after two epochs: 4096 numbers a step give the spectrum, one pass the modes."""
    data, size, k = load_data("mnist"), 4096, 20
    inputs, generator = data.train_inputs.flatten(1), torch.Generator().manual_seed(0)
    model = mlp([784, 50, 50, 10], seed=0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def train(n_steps):
        for _ in range(n_steps):
            batch = torch.randint(len(inputs), (50,), generator=generator)
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(inputs[batch]), data.train_labels[batch]).backward()
            optimizer.step()

    train(2400)
    with ls.TrajectoryRecorder(model, optimizer) as rows, ls.TrajectoryRecorder(model, optimizer, sketch=size) as few:
        train(500)
    window, sketch = rows.trajectory(), few.trajectory()
    exact, all_variances = ls.principal_modes(window, k), ls.directions.principal_variances(window)
    by_sketch = ls.principal_modes(sketch, k).variance
    # Four standard errors, and what each other mode adds: to second order, or of a near one at most to first order.
    v = all_variances[:k, None]
    others = torch.minimum(
        all_variances / (v - all_variances).abs() / size, (all_variances / v / size).sqrt()
    ).fill_diagonal_(0)
    bound = 4 * math.sqrt(2 / size) + others.sum(dim=1)
    errors = (by_sketch / exact.variance - 1).abs()
    assert bool((errors < bound).all())
    assert float(errors.square().mean().sqrt()) < 2 * math.sqrt(2 / size)  # modes close to each other add to it
    one_pass = ls.principal_modes(window, k, sketch=sketch)
    expected = left_out(all_variances, k, k + 10, size)
    overlap = subspace_overlap(one_pass.directions, exact.directions)
    assert overlap > 0.999
    assert overlap > 1 - 2 * float(expected.mean())
    assert torch.allclose(one_pass.variance, exact.variance, rtol=4 * float(expected.max()))
