"""The thread that writes: errors reach the training, and no rows are missing between others."""

import threading

import pytest
import torch
from torch import nn

import landscope as ls
from landscope.errors import StorageError
from landscope.storage.rows import RowStore


def training():
    model = nn.Linear(500, 200, bias=False)  # ten rows a block
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model.weight.grad = torch.ones_like(model.weight)
    return model, optimizer


def record(model, optimizer, path, n_steps):
    with ls.TrajectoryRecorder(model, optimizer, path=path):
        for _ in range(n_steps):
            optimizer.step()


def fails_once(monkeypatch, at_block):
    """The disk is full for one block, and has room again for the next ones."""
    append, calls = RowStore.append, []

    def appended(store, **blocks):
        calls.append(len(blocks["steps"]))
        if len(calls) == at_block:
            raise StorageError(expected="to add rows", got="No space left on device", hint="Make room.")
        append(store, **blocks)

    monkeypatch.setattr(RowStore, "append", appended)
    return calls


def test_an_error_of_the_disk_stops_the_recording_and_no_row_is_missing_between_others(tmp_path, monkeypatch):
    calls = fails_once(monkeypatch, at_block=3)
    model, optimizer = training()
    errors = []
    with ls.TrajectoryRecorder(model, optimizer, path=tmp_path / "rows") as recorder:
        for _ in range(100):
            try:
                optimizer.step()
            except StorageError as error:
                errors.append(str(error))
    assert len(errors) == 1
    assert "No space left" in errors[0]
    assert recorder.trajectory().steps.tolist() == list(range(1, 21))
    assert calls == [10, 10, 10]


def test_a_failed_recording_goes_on_from_a_step_whose_row_is_there(tmp_path, monkeypatch):
    fails_once(monkeypatch, at_block=3)
    model, optimizer = training()
    start = model.weight.detach().clone()
    with pytest.raises(StorageError, match="No space left"):
        record(model, optimizer, tmp_path / "rows", 100)
    with torch.no_grad():
        model.weight.copy_(start)
        for _ in range(15):
            optimizer.step()
    with ls.TrajectoryRecorder(model, optimizer, path=tmp_path / "rows", first_step=16, resume=True) as recorder:
        for _ in range(30):
            optimizer.step()
    assert recorder.trajectory().steps.tolist() == list(range(1, 46))


def test_an_error_of_the_last_block_is_raised_where_the_block_ends(tmp_path, monkeypatch):
    fails_once(monkeypatch, at_block=2)
    model, optimizer = training()
    with pytest.raises(StorageError, match="No space left"):
        record(model, optimizer, tmp_path / "rows", 14)
    assert ls.open_trajectory(tmp_path / "rows").steps.tolist() == list(range(1, 11))


def test_a_slow_disk_holds_the_training_and_few_blocks_wait(tmp_path, monkeypatch):
    append, may_write, held = RowStore.append, threading.Event(), []

    def slow(store, **blocks):
        held.append(1)
        assert may_write.wait(60)
        append(store, **blocks)

    monkeypatch.setattr(RowStore, "append", slow)
    model, optimizer = training()
    steps = []

    def train():
        with ls.TrajectoryRecorder(model, optimizer, path=tmp_path / "rows"):
            for step in range(100):
                optimizer.step()
                steps.append(step)

    thread = threading.Thread(target=train)
    thread.start()
    thread.join(2)
    assert len(steps) < 40  # one block is written, one waits, one was filled and the next was not begun
    may_write.set()
    thread.join(60)
    assert ls.open_trajectory(tmp_path / "rows").steps.tolist() == list(range(1, 101))
