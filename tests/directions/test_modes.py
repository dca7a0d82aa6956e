import math

import numpy as np
import pytest
import torch

import landscope as ls
from landscope.directions import principal, room
from landscope.directions.directions import Directions
from landscope.errors import InputError, StorageError
from landscope.noise.mode_statistics import mode_statistics
from landscope.recorder import TrajectoryRecorder
from landscope.storage.rows import RowStore
from landscope.surrogates.shuffled import shuffled_increments
from landscope.synthetic import autoregressive, random_walk, random_walk_shares, sgd_in_bowl
from landscope.trajectory import Trajectory, open_trajectory, trajectory_columns


def with_spectrum(count, dim, decades, seed=0):
    """Rows whose centred singular values fall over the given decades of variance."""
    generator = torch.Generator().manual_seed(seed)
    rank = min(count - 1, dim)
    left = torch.randn(count, rank, dtype=torch.float64, generator=generator)
    left = torch.linalg.qr(left - left.mean(dim=0)).Q
    right = torch.linalg.qr(torch.randn(dim, rank, dtype=torch.float64, generator=generator)).Q
    values = torch.logspace(0, -decades / 2, rank, dtype=torch.float64)
    return 3.0 + (left * values) @ right.T


def naive_variances(rows):
    """Float64 SVD of the centred rows, the slow and accurate way."""
    centred = rows.double().numpy() - rows.double().numpy().mean(axis=0)
    return np.linalg.svd(centred, compute_uv=False) ** 2 / len(rows)


@pytest.mark.parametrize(("count", "dim"), [(300, 60), (60, 300), (100, 100), (101, 100)])
def test_variances_agree_with_a_float64_svd_however_far_they_fall(count, dim):
    rows = with_spectrum(count, dim, decades=16)
    modes = ls.principal_modes(Trajectory.of(rows))
    exact = naive_variances(rows)[: len(modes.variance)]
    assert exact[-1] < 1e-12 * exact[0]
    # The SVD itself carries an error near eps sqrt(first/this); ours one near eps/_TOLD times a small factor.
    tolerance = 1e-8 + 10 * np.finfo(np.float64).eps * np.sqrt(exact[0] / exact)
    told = exact > 1e-14 * exact[0]
    assert told.sum() > 0.8 * len(exact)
    assert (np.abs(modes.variance.numpy()[told] / exact[told] - 1) < tolerance[told]).all()
    products = modes.directions @ modes.directions.T
    assert torch.allclose(products, torch.eye(len(products)).double(), atol=1e-12)


@pytest.mark.parametrize(("count", "dim"), [(300, 60), (60, 300)])
def test_modes_far_below_the_first_are_those_of_a_float64_svd(count, dim):
    rows = with_spectrum(count, dim, decades=10)
    modes = ls.principal_modes(Trajectory.of(rows))
    _, _, exact = np.linalg.svd((rows - rows.mean(dim=0)).numpy(), full_matrices=False)
    cosines = np.abs((modes.directions.numpy() * exact[: len(modes.directions)]).sum(axis=1))
    assert cosines.min() > 1 - 1e-8


def test_a_window_with_fewer_directions_than_rows_is_completed():
    for rows in (torch.randn(3, 40).repeat(4, 1).double(), torch.randn(12, 2).double() @ torch.randn(2, 6).double()):
        modes = ls.principal_modes(Trajectory.of(rows))
        products = modes.directions @ modes.directions.T
        assert torch.allclose(products, torch.eye(len(products)).double(), atol=1e-12)
        assert bool((modes.variance[2:] <= 1e-24 * modes.variance[0]).all())


@pytest.mark.parametrize(("count", "dim"), [(300, 60), (60, 300)])
def test_float32_weights_are_summed_in_float64(count, dim):
    rows = with_spectrum(count, dim, decades=8).float()
    modes = ls.principal_modes(Trajectory.of(rows))
    exact = naive_variances(rows)[: len(modes.variance)]
    told = exact > 1e-10 * exact[0]
    assert np.allclose(modes.variance.numpy()[told], exact[told], rtol=1e-6)


@pytest.mark.parametrize(("count", "dim"), [(40, 12), (12, 40), (12, 12)])
def test_modes_are_orthonormal_and_their_variances_sum_to_the_total(count, dim):
    rows = torch.randn(count, dim, dtype=torch.float64).cumsum(0)
    modes = ls.principal_modes(Trajectory.of(rows))
    k = min(count - 1, dim)
    assert modes.directions.shape == (k, dim)
    assert torch.allclose(modes.directions @ modes.directions.T, torch.eye(k).double(), atol=1e-12)
    assert float(modes.variance.sum()) == pytest.approx(modes.total_variance, rel=1e-12)
    assert modes.total_variance == pytest.approx(float(rows.var(dim=0, correction=0).sum()), rel=1e-12)
    coordinates = modes.project(rows)
    covariance = coordinates.T @ coordinates / count
    assert torch.allclose(covariance, torch.diag(modes.variance), atol=1e-12 * modes.total_variance)
    assert bool((torch.diff(modes.variance) <= 0).all())


def test_rotating_space_leaves_variances_alone():
    rows = torch.randn(80, 10, dtype=torch.float64).cumsum(0)
    turn = torch.linalg.qr(torch.randn(10, 10, dtype=torch.float64)).Q
    plain = ls.principal_modes(Trajectory.of(rows)).variance
    assert torch.allclose(ls.principal_modes(Trajectory.of(rows @ turn)).variance, plain, rtol=1e-10)


def test_modes_point_the_way_the_run_went():
    rows = torch.randn(50, 4).cumsum(0)
    coordinates = ls.principal_modes(Trajectory.of(rows)).project(rows)
    assert bool((coordinates[-1] >= coordinates[0]).all())


def test_fewer_modes_are_the_first_of_all():
    rows = torch.randn(50, 8).cumsum(0)
    some, every = (ls.principal_modes(Trajectory.of(rows), k) for k in (3, None))
    assert torch.allclose(some.variance, every.variance[:3])
    assert some.total_variance == pytest.approx(every.total_variance)


@pytest.mark.parametrize(("count", "dim"), [(700, 40), (30, 900)])
def test_a_trajectory_on_disk_gives_the_same_modes(tmp_path, count, dim, monkeypatch):
    rows = torch.randn(count, dim).cumsum(0)
    space = ls.ParameterSpace(("w",), ((dim,),))
    store = RowStore.create(
        tmp_path / "t",
        trajectory_columns(space, torch.float32),
        rows_per_block=64,
        attributes={"names": space.names, "shapes": space.shapes},
    )
    steps = np.arange(1, count + 1)
    nans = np.full(count, np.nan)
    store.append(weights=rows.numpy(), steps=steps, learning_rate=nans, loss=nans)
    stored = open_trajectory(tmp_path / "t")
    longest = 0
    original = RowStore.read

    def read(self, name, start, stop, part=slice(None)):
        nonlocal longest
        block = original(self, name, start, stop, part)
        longest = max(longest, block.nbytes)
        return block

    monkeypatch.setattr(RowStore, "read", read)
    monkeypatch.setattr("landscope.trajectory.trajectory._BLOCK_BYTES", 2**14)
    found = ls.principal_modes(stored)
    assert torch.allclose(found.variance, ls.principal_modes(Trajectory.of(rows)).variance, rtol=1e-9, atol=1e-9)
    if count > dim:  # read a block at a time, never whole
        assert longest < rows.nbytes / 4


def test_random_walk_in_many_dimensions_has_its_exact_spectrum():
    count, dim, n_walks = 60, 4000, 6
    shares = torch.stack(
        [
            (modes := ls.principal_modes(Trajectory.of(random_walk(count, dim, seed=seed)))).variance
            / modes.total_variance
            for seed in range(n_walks)
        ]
    )
    expected = random_walk_shares(count, count - 1)
    assert float(expected.sum()) == pytest.approx(1.0, rel=1e-9)
    # A share of mode k sums ~N squared normals: relative spread sqrt(2/N); four standard errors of the mean.
    assert torch.allclose(shares.mean(0)[:10], expected[:10], rtol=4 * math.sqrt(2 / dim / n_walks) + 2 * count / dim)
    coordinates = ls.principal_modes(Trajectory.of(random_walk(count, dim, seed=0)), 5).project(
        random_walk(count, dim, seed=0)
    )
    assert bool((ls.noise.cosine_content(coordinates) > 0.97).all())


def test_random_walk_in_few_dimensions_falls_below():
    count, dim = 1000, 100
    modes = ls.principal_modes(Trajectory.of(random_walk(count, dim, seed=0)))
    k = 80
    ratio = float(modes.variance[k - 1] / modes.total_variance / random_walk_shares(count, k)[-1])
    assert 0.7 < ratio < 0.9  # 0.8 at k = 0.8 N


@pytest.mark.parametrize("a", [0.0, 0.5, 0.9])
def test_autoregressive_variance_and_what_a_centred_window_loses(a):
    count, dim = 400, 800
    rows = autoregressive(torch.full((dim,), a), count, seed=1)
    stationary = 1 / (1 - a**2)
    lost = (1 + a) / ((1 - a) * count)
    variance = mode_statistics(Directions.of(torch.eye(dim)), Trajectory.of(rows)).variance.mean()
    # Each series has count (1-a^2)/(1+a^2) independent squares; dim series; four standard errors.
    spread = 4 * math.sqrt(2 * (1 + a**2) / (1 - a**2) / (count * dim))
    assert float(variance) == pytest.approx(stationary * (1 - lost), rel=spread)
    increments = torch.diff(rows, dim=0).var(correction=0)
    assert float(increments) == pytest.approx(2 / (1 + a), rel=4 * math.sqrt(4 / (count * dim)))


def test_sgd_in_a_bowl_has_its_stationary_variance():
    curvature = torch.tensor([0.5, 2.0, 8.0], dtype=torch.float64).repeat(400)
    alpha, noise, count = 0.1, 4.0, 2000
    rows = sgd_in_bowl(curvature, count, learning_rate=alpha, noise_variance=noise, seed=2)
    measured = rows.square().mean(dim=0).view(400, 3).mean(dim=0)
    exact = alpha * noise / (curvature[:3] * (2 - alpha * curvature[:3]))
    a = 1 - alpha * curvature[:3]
    spread = 4 * torch.sqrt(2 * (1 + a**2) / (1 - a**2) / (count * 400))
    assert bool(((measured / exact - 1).abs() < spread).all())


def test_overlap_of_subspaces():
    axes = torch.linalg.qr(torch.randn(20, 6, dtype=torch.float64)).Q.T
    assert ls.directions.subspace_overlap(axes[:3], axes[:3]) == pytest.approx(1.0)
    assert ls.directions.subspace_overlap(axes[:3], axes[3:]) == pytest.approx(0.0, abs=1e-12)
    mixed = torch.linalg.qr(axes[:3].T @ torch.randn(3, 3, dtype=torch.float64)).Q.T
    assert ls.directions.subspace_overlap(axes[:3], mixed) == pytest.approx(1.0)


def test_shuffled_increments_keep_ends_and_increments(tmp_path):
    rows = torch.randn(50, 7, dtype=torch.float64).cumsum(0)
    surrogate = shuffled_increments(Trajectory.of(rows), seed=3).weights
    assert torch.equal(surrogate[0], rows[0])
    assert torch.allclose(surrogate[-1], rows[-1], atol=1e-12)
    assert not torch.allclose(surrogate, rows)
    kept = torch.sort(torch.diff(surrogate, dim=0)[:, 0]).values
    assert torch.allclose(kept, torch.sort(torch.diff(rows, dim=0)[:, 0]).values, atol=1e-12)
    again = shuffled_increments(Trajectory.of(rows), seed=3).weights
    assert torch.equal(surrogate, again)


def test_record_save_load_analyse_equals_record_analyse(tmp_path):
    torch.manual_seed(1)
    model = torch.nn.Linear(5, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with (
        TrajectoryRecorder(model, optimizer) as memory,
        TrajectoryRecorder(model, optimizer, path=tmp_path / "t") as disk,
    ):
        for _ in range(40):
            optimizer.zero_grad()
            model(torch.randn(8, 5)).square().mean().backward()
            optimizer.step()
    direct = ls.principal_modes(memory.trajectory())
    assert torch.equal(direct.variance, ls.principal_modes(disk.trajectory()).variance)
    ls.save(direct, tmp_path / "m.zarr.zip")
    loaded = ls.load(tmp_path / "m.zarr.zip")
    assert torch.equal(loaded.directions, direct.directions)
    assert loaded.total_variance == direct.total_variance


def test_modes_that_do_not_fit_are_refused_before_the_rows_are_read(monkeypatch):
    trajectory = ls.Trajectory.of(torch.randn(50, 1000))
    monkeypatch.setattr(room, "free_memory", lambda: 24 * 50**2 + 8 * 1000 * 20 + 7)
    assert ls.principal_modes(trajectory, 20).directions.shape == (20, 1000)
    monkeypatch.setattr(principal, "_mean", None)  # no pass over the rows begins
    with pytest.raises(InputError, match=r"49 modes of 1000 weights, 392 kB\. Ask for n_modes=20 or fewer, keep"):
        ls.principal_modes(trajectory)
    monkeypatch.setattr(room, "free_memory", lambda: 1000)
    with pytest.raises(InputError, match=r"Thin the rows"):
        ls.principal_modes(trajectory, 1)


@pytest.mark.parametrize("rank", [40, 3])  # a walk along few directions is completed by others
def test_modes_are_kept_in_a_file(rank, tmp_path, monkeypatch):
    way = torch.randn(40, rank) @ torch.randn(rank, 300)
    trajectory = ls.Trajectory.of(way.cumsum(dim=0))
    wanted = ls.principal_modes(trajectory)
    monkeypatch.setattr(room, "free_memory", lambda: 0)
    modes = ls.principal_modes(trajectory, path=tmp_path / "modes.npy")
    assert torch.equal(modes.directions, wanted.directions)
    assert torch.equal(torch.from_numpy(np.load(tmp_path / "modes.npy", mmap_mode="c")), wanted.directions)
    assert modes.directions.untyped_storage().nbytes() == 39 * 300 * 8
    monkeypatch.setattr(room, "free_disk", lambda path: 8 * 300 * 5)
    with pytest.raises(
        InputError, match=r"free room on the disk, 12 kB; got 39 modes .* Ask for n_modes=5 or fewer, or"
    ):
        ls.principal_modes(trajectory, path=tmp_path / "more.npy")
    assert not (tmp_path / "more.npy").exists()


def test_a_file_of_modes_is_new_and_used(tmp_path):
    long, wide = (ls.Trajectory.of(torch.randn(shape)) for shape in ((40, 5), (5, 40)))
    (tmp_path / "there.npy").write_text("of the user")
    with pytest.raises(StorageError, match="Expected a new file"):
        ls.principal_modes(wide, path=tmp_path / "there.npy")
    assert (tmp_path / "there.npy").read_text() == "of the user"
    with pytest.raises(InputError, match=r"ends in \.npy"):
        ls.principal_modes(wide, path=tmp_path / "modes.zarr")
    with pytest.raises(InputError, match="40 rows of 5 weights"):
        ls.principal_modes(long, path=tmp_path / "modes.npy")
    with pytest.raises(InputError, match="got sketch="):
        ls.principal_modes(wide, sketch=wide, path=tmp_path / "modes.npy")
