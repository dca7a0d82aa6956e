"""Rows that do not fit are refused before the training, and memory is not filled to its end."""

import warnings

import pytest
import torch
from torch import nn

import landscope as ls
from landscope import resources
from landscope.errors import LandscopeWarning, StorageError
from landscope.recorder import room


def training():
    model = nn.Linear(500, 200, bias=False)  # 400 kB a row
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model.weight.grad = torch.ones_like(model.weight)
    return model, optimizer


def take_steps(optimizer, n_steps):
    for _ in range(n_steps):
        optimizer.step()


@pytest.mark.parametrize(
    ("free", "settings", "held"),
    [
        (39.9e6, {"n_steps": 100}, 100),
        (4.1e6, {"n_steps": 113, "every": 10}, 11),
        (4.3e6, {"n_steps": 113, "every": 10, "first_step": 8}, 12),
        (7.9e6, {"last": 20}, 20),
        (7.9e6, {"last": 20, "n_steps": 1000}, 20),
    ],
)
def test_rows_that_do_not_fit_are_refused_before_the_training(free, settings, held, monkeypatch):
    monkeypatch.setattr(room, "free_memory", lambda *_: int(free))
    recorder = ls.TrajectoryRecorder(*training(), **settings)
    assert recorder.row_bytes == 400_000
    with pytest.raises(StorageError, match=rf"Expected .* for {held} rows of 400 kB; got .* free in .*every=10"):
        recorder.__enter__()
    monkeypatch.setattr(room, "free_memory", lambda *_: held * 400_000)
    with warnings.catch_warnings(action="error"):
        recorder.__enter__()
    recorder.close()


def test_a_refusal_leaves_no_folder_so_that_the_path_can_be_used_again(monkeypatch, tmp_path):
    settings = {"n_steps": 113, "every": 10, "first_step": 8, "path": tmp_path / "rows"}
    monkeypatch.setattr(room, "free_disk", lambda *_: int(4.3e6))
    with pytest.raises(StorageError, match=r"Expected .* for 12 rows of 400 kB; got .* free in .*every=10"):
        ls.TrajectoryRecorder(*training(), **settings)
    assert not settings["path"].exists()
    ls.TrajectoryRecorder(*training(), **{**settings, "every": 20}).close()


def test_little_room_is_said_where_the_number_of_steps_is_not_known(monkeypatch):
    monkeypatch.setattr(room, "free_memory", lambda: 123 * 400_000)
    model, optimizer = training()
    with (
        pytest.warns(LandscopeWarning, match=r"A row takes 400 kB, and memory has room for 123 rows\. Record on disk"),
        ls.TrajectoryRecorder(model, optimizer),
    ):
        optimizer.step()


def test_full_memory_ends_the_recording_and_not_the_process(monkeypatch):
    left = iter(range(10**9, 0, -(10**8)))
    monkeypatch.setattr(room, "free_memory", lambda: next(left, 10**6))
    model, optimizer = training()
    recorder = ls.TrajectoryRecorder(model, optimizer)
    recorder.__enter__()
    with pytest.raises(StorageError, match=r"memory for 10 more rows of 400 kB.*The rows before are kept"):
        take_steps(optimizer, 1000)
    recorder.close()
    kept = recorder.trajectory()
    assert kept.steps.tolist() == list(range(1, len(kept) + 1))
    assert len(kept) == 91  # the first row of a block for which there is memory, but not for another one


def test_a_recording_that_ends_while_memory_is_nearly_full_is_complete(monkeypatch):
    model, optimizer = training()
    with ls.TrajectoryRecorder(model, optimizer) as recorder:
        take_steps(optimizer, 15)
        monkeypatch.setattr(room, "free_memory", lambda: 10**6)
        assert len(recorder.trajectory()) == 15
        take_steps(optimizer, 0)
    assert len(recorder.trajectory()) == 15


def test_bytes_of_encoded_rows_are_compared_with_the_room_on_the_disk(monkeypatch, tmp_path):
    monkeypatch.setattr(room, "free_disk", lambda *_: 12 * 10**6)
    model, optimizer = training()
    with (
        pytest.raises(
            StorageError, match=r"40 MB for 100 rows .*one byte a weight with encoding=\"delta-int8\", or fewer"
        ),
        ls.TrajectoryRecorder(model, optimizer, path=tmp_path / "exact", n_steps=100),
    ):
        pass
    with ls.TrajectoryRecorder(
        model, optimizer, path=tmp_path / "encoded", n_steps=100, encoding="delta-int8"
    ) as recorder:
        take_steps(optimizer, 100)
    used = sum(file.stat().st_size for file in (tmp_path / "encoded").rglob("weights-*.npy"))
    used += sum(file.stat().st_size for file in (tmp_path / "encoded").glob("*.npy"))
    assert used == pytest.approx(100 * recorder._room.row_bytes, rel=0.1)


def test_a_study_says_once_that_there_is_little_room(monkeypatch, tmp_path, recwarn):
    monkeypatch.setattr(room, "free_disk", lambda *_: 123 * 400_000)
    model, optimizer = training()
    study = ls.Study(tmp_path / "study", model, nn.MSELoss(), [(torch.randn(4, 500), torch.randn(4, 200))])
    with study.record(optimizer):
        optimizer.step()
    assert len([one for one in recwarn if "has room for 123 rows" in str(one.message)]) == 1


def test_a_study_refuses_before_it_removes_rows(tmp_path, monkeypatch):
    model, optimizer = training()
    data = [(torch.randn(4, 500), torch.randn(4, 200))]
    study = ls.Study(tmp_path / "study", model, nn.MSELoss(), data)
    with study.record(optimizer, n_steps=20):
        for _ in range(20):
            optimizer.step()
    start = study.trajectory.row(9)
    with torch.no_grad():
        model.weight.copy_(start.view_as(model.weight))
    monkeypatch.setattr(room, "free_disk", lambda *_: 10**6)
    with pytest.raises(StorageError, match="free in the disk"), study.record(optimizer, first_step=11, n_steps=20):
        pass
    assert len(ls.open_trajectory(tmp_path / "study" / "trajectory")) == 20


def test_the_limit_of_a_container_counts(monkeypatch, tmp_path):
    monkeypatch.setattr(resources, "_CONTAINER", tmp_path)
    without = resources.total_memory(), resources.free_memory()
    (tmp_path / "memory.max").write_text("max")
    (tmp_path / "memory.current").write_text("1000")
    assert resources.total_memory() == without[0]
    (tmp_path / "memory.max").write_text("5000")
    assert (resources.total_memory(), resources.free_memory()) == (5000, 4000)
    (tmp_path / "memory.current").write_text("6000")
    assert resources.free_memory() == 0
    (tmp_path / "memory.stat").write_text("anon 1500\nfile 4500\nactive_file 1000\ninactive_file 3000\n")
    assert resources.free_memory() == 3000  # files that were read fill a container, and make room when asked


@pytest.mark.parametrize(
    ("size", "said"), [(0, "0 bytes"), (999, "999 bytes"), (1000, "1 kB"), (3.2e6, "3.2 MB"), (4.64e11, "464 GB")]
)
def test_sizes_are_said_in_their_unit(size, said):
    assert resources.size_in_words(size) == said


def test_the_disk_of_a_folder_that_is_not_there_yet(tmp_path):
    assert abs(resources.free_disk(tmp_path / "a" / "b") - resources.free_disk(tmp_path)) < 2**30
