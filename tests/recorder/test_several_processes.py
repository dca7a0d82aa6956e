"""Processes that train one model together record it once."""

import os

import pytest
import torch
from torch import nn

import landscope as ls
from landscope.errors import StorageError
from landscope.recorder import sinks
from processes import in_processes

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked")


def begun():
    torch.manual_seed(0)
    torch.set_num_threads(1)
    net = nn.Linear(4, 3)
    model = nn.parallel.DistributedDataParallel(net)
    return net, model, torch.optim.SGD(model.parameters(), lr=0.1)


def train(model, optimizer, rank, n_steps):
    generator = torch.Generator().manual_seed(rank)
    for _ in range(n_steps):
        optimizer.zero_grad()
        model(torch.randn(5, 4, generator=generator)).square().mean().backward()
        optimizer.step()


def test_one_folder_holds_the_rows_of_all(tmp_path):
    folder = tmp_path / "rows"

    def record(rank):
        net, model, optimizer = begun()
        with ls.TrajectoryRecorder(model, optimizer, path=folder) as recorder:
            train(model, optimizer, rank, 7)
            early = recorder.trajectory().steps.tolist()
            train(model, optimizer, rank, 6)
        assert early == list(range(1, 8))
        w = recorder.space.flatten(net)
        with ls.TrajectoryRecorder(model, optimizer, path=folder, first_step=14, resume=True) as more:
            train(model, optimizer, rank, 5)
        return recorder.trajectory().weights[:13], w, more.trajectory().weights, more.space.flatten(net)

    (first, w, longer, end), (second, _, also, _) = in_processes(record, tmp_path)
    assert torch.equal(first, second)
    assert torch.equal(longer, also)
    assert torch.equal(first[12], w)
    assert torch.equal(longer[17], end)


def test_each_process_may_have_a_folder_or_memory_of_its_own(tmp_path):
    def record(rank):
        _, model, optimizer = begun()
        with (
            ls.TrajectoryRecorder(model, optimizer, path=tmp_path / f"rows-{rank}") as own,
            ls.TrajectoryRecorder(model, optimizer) as memory,
        ):
            train(model, optimizer, rank, 7)
        return own.trajectory().weights, memory.trajectory().weights

    found = in_processes(record, tmp_path)
    rows = [weights for of_rank in found for weights in of_rank]
    assert all(torch.equal(rows[0], other) for other in rows[1:])


def test_a_process_whose_rows_nobody_writes_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(sinks, "_SECONDS", 0.2)
    sink = sinks.FollowingSink(tmp_path / "rows")
    assert sink.trajectory() is None
    rows = sinks.Rows(torch.zeros(2, 3), torch.tensor([1, 2]), torch.zeros(2), torch.zeros(2))
    sink.add(rows)
    with pytest.raises(StorageError, match=r"rows up to step 2 in .* which another process of this training writes"):
        sink.trajectory()


def test_a_folder_that_was_there_before_is_refused_in_the_process_that_writes(tmp_path, capfd):
    (tmp_path / "rows").mkdir()

    def record(rank):
        _, model, optimizer = begun()
        ls.TrajectoryRecorder(model, optimizer, path=tmp_path / "rows")

    with pytest.raises(AssertionError):
        in_processes(record, tmp_path)
    assert "Expected a new folder" in capfd.readouterr().err
