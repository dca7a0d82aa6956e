"""Rows with one byte a weight: how far from the recorded ones, and what is left of them after damage."""

import numpy as np
import pytest
import torch
from torch import nn

import landscope as ls
from landscope.errors import InputError, StorageError
from landscope.storage.rows import RowStore
from landscope.trajectory import deltas
from landscope.trajectory.deltas import _GROUP, DeltaEncoder, keys_path

N = 3 * 4096 + 100


def walk(n_rows, dim=N, seed=0, dtype=torch.float32):
    """A path whose steps have very different sizes in its groups of weights."""
    generator = torch.Generator().manual_seed(seed)
    sizes = torch.logspace(-6, 0, dim)
    return torch.randn(n_rows, dim, generator=generator).mul(sizes).cumsum(0).to(dtype)


def decoded_slowly(encoded, dtype):
    """One weight at a time, by the formula."""
    rows, weights = [], None
    scales = encoded.scales.double().numpy()
    for number, row in enumerate(encoded.deltas.numpy()):
        if number in encoded.in_full:
            weights = encoded.in_full[number].numpy().copy()
        else:
            steps = np.array([scales[number, j // _GROUP] for j in range(len(row))])
            weights = (weights + (steps * row).astype(weights.dtype)).astype(weights.dtype)
        rows.append(torch.from_numpy(weights.copy()))
    return torch.stack(rows).to(dtype)


def record(rows, path, **settings):
    """Record given rows: a training whose optimiser takes exactly these weights."""
    model = nn.Linear(rows.shape[1], 1, bias=False, dtype=rows.dtype)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    optimizer.register_step_post_hook(lambda *_: model.weight.data.copy_(next(coming)))
    coming = iter(rows)
    with ls.TrajectoryRecorder(model, optimizer, path=path, encoding="delta-int8", **settings) as recorder:
        for _ in rows:
            optimizer.step()
    return recorder.trajectory()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_weight_is_within_half_a_scale_at_every_step(dtype):
    rows = walk(70, dtype=dtype)
    encoder = DeltaEncoder()
    parts = [encoder.encode(part) for part in rows.split([1, 9, 20, 40])]
    assert [list(part.in_full) for part in parts] == [[0], [], [], [64]]
    encoded = type(parts[0])(
        *(torch.cat([getattr(part, name) for part in parts]) for name in ("deltas", "scales", "key")),
        {row: values for part in parts for row, values in part.in_full.items()},
    )
    found = decoded_slowly(encoded, dtype)
    half = encoded.scales.repeat_interleave(_GROUP, dim=1)[:, :N] / 2
    rounding = 4 * torch.finfo(torch.float32).eps  # of the scale and the quotient, and of the weights
    assert ((found - rows).abs() <= half * (1 + 127 * rounding) + rounding * rows.abs()).all()
    assert encoded.key.tolist() == [0] * 64 + [64] * 6


def test_the_error_is_a_part_of_a_step_and_does_not_grow():
    steps = torch.rand(60, 4096, generator=torch.Generator().manual_seed(1)).sub(0.5).double()
    rows = steps.cumsum(0)
    encoded = DeltaEncoder().encode(rows)
    found = decoded_slowly(encoded, torch.float64)
    largest = steps[1:].abs().max()
    errors = (found - rows).abs().amax(dim=1)
    assert errors[1:].max() <= largest / 253 * (1 + 1e-4)
    assert errors[1:].min() > 0.9 * largest / 254  # so it is the bound, and not a pessimistic one


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rows_on_disk_are_those_of_the_slow_decoder(tmp_path, dtype):
    rows = walk(150, dtype=dtype)
    trajectory = record(rows, tmp_path / "rows")
    slow = decoded_slowly(DeltaEncoder().encode(rows), dtype)
    tolerance = 64 * torch.finfo(dtype).eps * float(rows.abs().max())  # 64 sums, in the order of the slow ones
    torch.testing.assert_close(trajectory.weights, slow, rtol=0, atol=tolerance)
    whole = trajectory.weights
    for start, stop, columns in [(0, 1, slice(None)), (63, 66, slice(4000, 8200)), (149, 150, slice(0, 1)),
                                 (70, 100, slice(N - 5, N)), (5, 5, slice(0, 4))]:  # fmt: skip
        assert torch.equal(trajectory.rows(start, stop, columns), whole[start:stop, columns])
    assert trajectory.provenance["settings"]["encoding"] == "delta-int8"
    assert trajectory.precision is dtype


def test_rows_one_after_another_are_decoded_once(tmp_path, monkeypatch):
    rows = walk(150)
    record(rows, tmp_path / "rows")
    whole, decoded = ls.open_trajectory(tmp_path / "rows"), []
    wanted = whole.weights

    def counted(scales, columns):
        decoded.append(columns.stop - columns.start)
        return of_weights(scales, columns)

    of_weights = deltas._of_weights
    monkeypatch.setattr(deltas, "_of_weights", counted)
    for size in (1, 7):
        decoded.clear()
        assert torch.equal(torch.cat(list(whole.blocks(size))), wanted)
        assert sum(decoded) == wanted.numel()
    decoded.clear()
    for columns, panel in whole.panels(8 * 150 * 100):
        assert torch.equal(panel, wanted[:, columns])
    assert sum(decoded) == wanted.numel()
    assert torch.equal(whole.row(70), wanted[70])
    assert torch.equal(whole.row(69), wanted[69])
    assert torch.equal(whole.rows(72, 74, slice(3, 300)), wanted[72:74, 3:300])


def test_a_row_is_decoded_some_columns_at_a_time(tmp_path, monkeypatch):
    record(walk(70), tmp_path / "rows")
    wanted, read, of_store = ls.open_trajectory(tmp_path / "rows").weights, [], RowStore.read
    monkeypatch.setattr(deltas, "_PIECE", 1024)
    monkeypatch.setattr(deltas, "_READ_BYTES", 64 * 2048)
    monkeypatch.setattr(
        RowStore, "read", lambda self, *which: read.append((*which, slice(0))[:4]) or of_store(self, *which)
    )
    whole = ls.open_trajectory(tmp_path / "rows")
    read.clear()
    assert torch.equal(whole.rows(60, 63), wanted[60:63])
    assert torch.equal(whole.rows(50, 63, slice(700, 5000)), wanted[50:63, 700:5000])
    sizes = [
        (stop - start) * (part.stop - part.start)
        for start, stop, part in (which[1:] for which in read if which[0] == "deltas")
    ]
    assert max(sizes) <= 64 * 2048
    assert len(sizes) == 7 + 3


def test_a_weight_takes_little_more_than_a_byte(tmp_path):
    record(walk(128, dim=50_000), tmp_path / "rows")
    size = sum(file.stat().st_size for file in (tmp_path / "rows").rglob("*") if file.is_file())
    assert size < 1.09 * 128 * 50_000  # a scale for 256 weights, and a row in 64 in full: 1 + 4/256 + 4/64


def test_a_recording_goes_on_and_is_cut(tmp_path):
    rows = walk(100, dim=5000)
    record(rows[:50], tmp_path / "rows")
    model = nn.Linear(5000, 1, bias=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    coming = iter(rows[30:])
    optimizer.register_step_post_hook(lambda *_: model.weight.data.copy_(next(coming)))
    settings = {"path": tmp_path / "rows", "first_step": 31, "resume": True, "encoding": "delta-int8"}
    model.weight.data.copy_(rows[28])
    with pytest.raises(InputError, match="those of step 29"), ls.TrajectoryRecorder(model, optimizer, **settings):
        pass
    model.weight.data.copy_(rows[29])
    with ls.TrajectoryRecorder(model, optimizer, **settings) as recorder:
        for _ in range(70):
            optimizer.step()
    trajectory = recorder.trajectory()
    assert trajectory.steps.tolist() == list(range(1, 101))
    largest = rows.diff(dim=0).abs().max()
    assert (trajectory.weights - rows).abs().max() <= largest / 250
    assert torch.equal(trajectory.row(30), rows[30])  # in full after a cut
    with pytest.raises(InputError, match='encoding="delta-int8", as of the rows'):
        ls.TrajectoryRecorder(model, optimizer, path=tmp_path / "rows", first_step=31, resume=True)


def test_encoded_rows_need_a_path():
    model = nn.Linear(2, 1)
    with pytest.raises(InputError, match="a path for encoded rows"):
        ls.TrajectoryRecorder(model, torch.optim.SGD(model.parameters(), lr=0.1), encoding="delta-int8")


def test_rows_whose_row_in_full_is_lost_are_not_there(tmp_path):
    rows = walk(100, dim=5000)
    record(rows, tmp_path / "rows")
    keys = ls.storage.RowStore.open(keys_path(tmp_path / "rows"), writable=True)
    keys.truncate(1)  # as after a power cut that took what was not flushed
    found = ls.open_trajectory(tmp_path / "rows")
    assert found.steps.tolist() == list(range(1, 65))


def test_a_damaged_row_in_full_is_said(tmp_path):
    record(walk(100, dim=5000), tmp_path / "rows")
    (file,) = keys_path(tmp_path / "rows").glob("weights-000001*")
    file.write_bytes(file.read_bytes()[:-4] + b"abcd")
    found = ls.open_trajectory(tmp_path / "rows")
    assert len(found.rows(0, 64)) == 64
    with pytest.raises(StorageError, match="does not fit its checksum"):
        found.rows(64, 65)


def test_variances_of_the_modes_of_a_real_training(tmp_path):
    """Fifty modes within 1e-3: the error of a weight is that of rounding to s, s/sqrt(12), in every direction."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 50), nn.ReLU(), nn.Linear(50, 50), nn.ReLU(), nn.Linear(50, 10))
    from sklearn.datasets import load_digits

    digits = load_digits()
    inputs = torch.tensor(digits.data / 16).float()
    labels = torch.tensor(digits.target)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    generator = torch.Generator().manual_seed(0)

    def train(n_steps):
        for _ in range(n_steps):
            chosen = torch.randint(len(inputs), (50,), generator=generator)
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(inputs[chosen]), labels[chosen]).backward()
            optimizer.step()

    train(1500)
    with (
        ls.TrajectoryRecorder(model, optimizer) as exact,
        ls.TrajectoryRecorder(model, optimizer, path=tmp_path / "rows", encoding="delta-int8") as coded,
    ):
        train(400)
    found, wanted = (ls.principal_modes(one.trajectory(), 50).variance for one in (coded, exact))
    assert ((found - wanted).abs() / wanted).max() < 1e-3


@pytest.mark.parametrize("size", [1e-2, 1e-4])
def test_small_steps_of_half_precision_are_within_the_bound_and_go_on(tmp_path, size):
    rows = walk(80, dim=2000).mul(size).add(torch.linspace(0, 20 * size, 2000)).half()
    trajectory = record(rows, tmp_path / "rows")
    assert trajectory.weights.dtype is torch.float16
    found, exact = trajectory.weights.double(), rows.double()
    spacing = torch.finfo(torch.float16).eps * exact.abs().clamp(min=torch.finfo(torch.float16).tiny)
    largest = torch.stack([part.abs().amax(1) for part in exact.diff(dim=0).split(_GROUP, dim=1)], dim=1)
    bound = largest.cummax(0).values.repeat_interleave(_GROUP, dim=1)[:, :2000] / 250
    assert ((found - exact).abs()[1:] <= bound + spacing[1:] / 2).all()  # a scale of float16 would be rounded, or 0
    model = nn.Linear(2000, 1, bias=False, dtype=torch.float16)
    model.weight.data.copy_(rows[69])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    settings = {"path": tmp_path / "rows", "first_step": 71, "resume": True, "encoding": "delta-int8"}
    with ls.TrajectoryRecorder(model, optimizer, **settings):
        optimizer.step()


def test_float64_as_the_default_type_changes_no_file(tmp_path):
    rows = walk(20, dim=300)
    torch.set_default_dtype(torch.float64)
    try:
        trajectory = record(rows, tmp_path / "rows")
    finally:
        torch.set_default_dtype(torch.float32)
    assert (trajectory.weights - rows).abs().max() <= rows.diff(dim=0).abs().max() / 250


def test_rows_whose_row_in_full_a_power_cut_took_are_recorded_again(tmp_path):
    rows = walk(100, dim=300)
    record(rows, tmp_path / "rows")
    RowStore.open(keys_path(tmp_path / "rows"), writable=True).truncate(1)
    assert len(ls.open_trajectory(tmp_path / "rows")) == 64
    with pytest.raises(InputError, match="first_step of at most 65"):
        record(rows[:1], tmp_path / "rows", first_step=101, resume=True)
    model = nn.Linear(300, 1, bias=False)
    model.weight.data.copy_(rows[63])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    coming = iter(rows[64:])
    optimizer.register_step_post_hook(lambda *_: model.weight.data.copy_(next(coming)))
    settings = {"path": tmp_path / "rows", "first_step": 65, "resume": True, "encoding": "delta-int8"}
    with ls.TrajectoryRecorder(model, optimizer, **settings) as recorder:
        for _ in range(36):
            optimizer.step()
    trajectory = recorder.trajectory()
    assert trajectory.steps.tolist() == list(range(1, 101))
    assert (trajectory.weights - rows).abs().max() <= rows.diff(dim=0).abs().max() / 250
