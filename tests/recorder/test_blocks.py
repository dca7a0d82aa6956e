"""Memory of the recorder: allocated once, and read later than it is written."""

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

import landscope as ls
from landscope.recorder.blocks import Block, BlockPool
from landscope.recorder.transfer import Transfer
from landscope.trajectory import BlockRows

_OPS_THAT_WAIT = ("_local_scalar_dense", "is_nonzero", "nonzero")  # and equal, which is used on the CPU alone


class Waiting(TorchDispatchMode):
    """Counts the operations for which a program waits for its device."""

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function._schema.name.removeprefix("aten::")
        if name in _OPS_THAT_WAIT:
            self.found.append(name)
        return function(*args, **(kwargs or {}))


def training(n_inputs=500, n_outputs=200):
    model = nn.Linear(n_inputs, n_outputs, bias=False)
    nn.init.zeros_(model.weight)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.125)  # small integers times this: every row is exact
    model.weight.grad = torch.randint(-3, 4, model.weight.shape, generator=torch.Generator().manual_seed(0)).float()
    return model, optimizer


def addresses(recorder):
    return {rows.weights.data_ptr() for rows in recorder._sink._kept}


def test_the_last_rows_stay_in_memory_that_is_allocated_once():
    model, optimizer = training()
    recorder = ls.TrajectoryRecorder(model, optimizer, last=25)
    used = set()
    with recorder:
        for _ in range(200):
            optimizer.step()
            used |= addresses(recorder)
    assert len(used) <= 25 // recorder._pool.rows + 2
    assert recorder.trajectory().steps.tolist() == list(range(176, 201))


def test_rows_that_a_trajectory_reads_are_not_written_over():
    model, optimizer = training()
    with ls.TrajectoryRecorder(model, optimizer, last=25) as recorder:
        for _ in range(40):
            optimizer.step()
        early = recorder.trajectory()
        before = early.weights.clone()
        for _ in range(100):
            optimizer.step()
        assert torch.equal(early.weights, before)
        assert early.steps.tolist() == list(range(16, 41))
        assert recorder.trajectory().steps.tolist() == list(range(116, 141))


def test_blocks_that_were_written_are_filled_again(tmp_path, monkeypatch):
    model, optimizer = training()
    taken = []
    take = BlockPool.take

    def noted(pool, like):
        taken.append(take(pool, like))
        return taken[-1]

    monkeypatch.setattr(BlockPool, "take", noted)
    with ls.TrajectoryRecorder(model, optimizer, path=tmp_path / "rows") as recorder:
        for _ in range(300):
            optimizer.step()
    assert len(taken) == 300 // recorder._pool.rows
    assert len({memory.data_ptr() for memory in taken}) <= 4
    steps = torch.arange(1.0, 301.0)[:, None]
    assert torch.equal(ls.open_trajectory(tmp_path / "rows").weights, -0.125 * steps * model.weight.grad.reshape(-1))


def test_a_recorded_step_waits_for_nothing(monkeypatch):
    monkeypatch.setattr(Transfer, "has_arrived", False)  # as of a device that is still at work
    model, optimizer = training()
    with ls.TrajectoryRecorder(model, optimizer):
        for _ in range(12):  # the watches compare more in the first steps
            optimizer.step()
        with Waiting() as waiting:
            for _ in range(5):
                optimizer.step()
    assert waiting.found == []


@pytest.mark.parametrize(("bad", "kept"), [(None, 4), (2, 2), (0, 0), (3, 3)])
def test_a_row_that_is_not_finite_is_found_among_large_ones(bad, kept):
    weights = torch.full((4, 4), 3e38)  # finite, though their sum is not
    if bad is not None:
        weights[bad, 1] = torch.nan
    block = Block(torch.empty(5, 4))
    for step, row in enumerate(weights):
        block.add([row[:1], row[1:]], step, 0.1)
    block.leave_device()
    rows, good = block.rows(torch.float32)
    assert good == kept
    assert torch.equal(rows.first(good).weights, weights[:kept])


def test_rows_of_blocks_are_those_of_one_tensor():
    whole = torch.randn(23, 5)
    rows = BlockRows(whole.split([4, 1, 7, 11]))
    assert rows.shape == (23, 5)
    for start in range(24):
        for stop in range(start, 24):
            assert torch.equal(rows.read(start, stop), whole[start:stop])
            assert torch.equal(rows.read(start, stop, slice(1, 4)), whole[start:stop, 1:4])
    same = rows.read(5, 12)
    assert same.data_ptr() == whole[5:].data_ptr()  # within one block: nothing is copied
