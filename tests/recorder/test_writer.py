"""The thread that writes: errors reach the training, and no rows are missing between others."""

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
import torch
from torch import nn

import landscope as ls
from landscope.errors import NonFiniteError, StorageError
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


def errors_of(kind, model, optimizer, path):
    """The errors of a training that catches them and goes on, and its recorder."""
    errors = []
    with ls.TrajectoryRecorder(model, optimizer, path=path) as recorder:
        for _ in range(100):
            try:
                optimizer.step()
            except kind as error:
                errors.append((recorder.step, str(error)))
    return errors, recorder


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
    errors, recorder = errors_of(StorageError, *training(), tmp_path / "rows")
    ((_, said),) = errors
    assert "No space left" in said
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


def is_slow(monkeypatch, seconds):
    append = RowStore.append

    def slow(store, **blocks):
        time.sleep(seconds)
        append(store, **blocks)

    monkeypatch.setattr(RowStore, "append", slow)


@contextlib.contextmanager
def interruptible():
    """Ctrl-C raises KeyboardInterrupt, also in a process that runs tests for another and ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.skipif(sys.platform == "win32", reason="signals of another kind")
@pytest.mark.parametrize("goes_on", [False, True])
def test_ctrl_c_while_the_training_waits_for_the_disk_loses_no_row(goes_on, tmp_path, monkeypatch):
    is_slow(monkeypatch, 0.2)
    model, optimizer = training()
    timer = threading.Timer(0.5, lambda: os.kill(os.getpid(), signal.SIGINT))
    recorder = ls.TrajectoryRecorder(model, optimizer, path=tmp_path / "rows")
    with contextlib.suppress(KeyboardInterrupt), interruptible(), recorder:
        timer.start()
        try:
            for _ in range(100):
                optimizer.step()
        except KeyboardInterrupt:
            if not goes_on:
                raise
            for _ in range(15):
                optimizer.step()
    assert recorder.step < 100
    assert ls.open_trajectory(tmp_path / "rows").steps.tolist() == list(range(1, recorder.step + 1))


def test_rows_before_one_that_is_not_finite_are_written_when_its_error_comes(tmp_path, monkeypatch):
    is_slow(monkeypatch, 0.3)
    model, optimizer = training()
    optimizer.register_step_post_hook(lambda *_: model.weight.grad.mul_(1e10))  # infinite in the fifth step
    with pytest.raises(NonFiniteError, match="step 5"):
        record(model, optimizer, tmp_path / "rows", 6)
    assert len(ls.open_trajectory(tmp_path / "rows")) == 4


def test_any_error_of_the_thread_stops_the_recording(tmp_path, monkeypatch):
    def append(store, **_):
        raise MemoryError("no memory")

    monkeypatch.setattr(RowStore, "append", append)
    errors, recorder = errors_of(MemoryError, *training(), tmp_path / "rows")
    ((step, _),) = errors
    assert recorder.step == step


def test_a_recorder_that_is_closed_when_python_ends_writes_its_rows(tmp_path):
    code = f"""
import atexit, torch, landscope as ls
model = torch.nn.Linear(2, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
recorder = ls.TrajectoryRecorder(model, optimizer, path={str(tmp_path / "rows")!r})
recorder.__enter__()
atexit.register(recorder.close)
for _ in range(3):
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
    assert len(ls.open_trajectory(tmp_path / "rows")) == 3


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_recorder_goes_on_in_a_forked_process(tmp_path):
    model, optimizer = training()
    recorder = ls.TrajectoryRecorder(model, optimizer, path=tmp_path / "rows")
    with recorder:
        for _ in range(15):
            optimizer.step()
    process = multiprocessing.get_context("fork").Process(target=take_steps_with, args=(recorder, optimizer, 15))
    process.start()
    process.join(60)
    if process.exitcode is None:
        process.kill()
    assert process.exitcode == 0
    assert len(ls.open_trajectory(tmp_path / "rows")) == 30


def take_steps_with(recorder, optimizer, n_steps):
    torch.set_num_threads(1)  # those of the parent are not here
    with recorder:
        for _ in range(n_steps):
            optimizer.step()
