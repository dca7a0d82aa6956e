"""Each process trains on samples of its own, as users do, and may end early."""

import os
import signal

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

import landscope as ls
from landscope.adapters.recorder_session import RecorderSession
from landscope.adapters.session import Training
from landscope.errors import InputError
from landscope.memory.methods.registry import METHODS
from landscope.recorder import recorder
from processes import exit_codes, in_processes
from sharded_models import INPUTS, LABELS, LOSS, fully_sharded, network, train

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked"),
    pytest.mark.skipif(not dist.is_available(), reason="torch without processes"),
    pytest.mark.filterwarnings("ignore"),
]


def own(rank, values):
    return values[rank::2]


def sgd(model):
    return torch.optim.SGD(model.parameters(), lr=0.1)


def gathered(model):
    return torch.cat([tensor.detach().full_tensor().flatten() for tensor in model.parameters()])


@pytest.mark.parametrize("encoding", ["exact", "delta-int8"])
def test_rows_in_a_folder_are_the_gathered_weights(encoding, tmp_path):
    def record(rank):
        model, wanted = fully_sharded(network()), []
        optimizer = sgd(model)
        data = own(rank, INPUTS), own(rank, LABELS)
        with ls.TrajectoryRecorder(model, optimizer, path=tmp_path / "rows", encoding=encoding) as recording:
            train(model, optimizer, 9, *data, after=lambda: wanted.append(gathered(model)))
        with ls.TrajectoryRecorder(
            model, optimizer, path=tmp_path / "rows", encoding=encoding, first_step=10, resume=True
        ) as recording:
            train(model, optimizer, 4, *data, after=lambda: wanted.append(gathered(model)))
        rows = recording.trajectory()
        return rows.weights, torch.stack(wanted), all(rows.holds(row, w) for row, w in enumerate(wanted))

    found = in_processes(record, tmp_path)
    assert all(holds for _, _, holds in found)
    assert torch.equal(found[0][0], found[1][0])
    if encoding == "exact":
        assert torch.equal(*found[0][:2])


def after_an_evaluation(rank):
    """FSDP leaves the weights of a root gathered after a forward pass alone."""
    model = fully_sharded(network())
    optimizer = sgd(model)
    with torch.no_grad():
        model(INPUTS)
    assert not hasattr(model[2].weight, "full_tensor")
    risk = ls.EmpiricalRisk(model, LOSS, (INPUTS, LABELS))
    with torch.no_grad():
        model(INPUTS)
    with ls.TrajectoryRecorder(model, optimizer) as recording:
        train(model, optimizer, 3)
    return risk.w0, recording.trajectory().row(-1), gathered(model)


def test_a_model_may_be_evaluated_before(tmp_path):
    begun = nn.utils.parameters_to_vector(network().parameters()).detach()
    for w0, last, end in in_processes(after_an_evaluation, tmp_path):
        assert torch.equal(w0, begun)
        assert torch.equal(last, end)


def two_tasks(method, sharded, folder, **settings):
    def of_rank(rank):
        model = network()
        model = fully_sharded(model) if sharded else nn.parallel.DistributedDataParallel(model)
        optimizer = sgd(model)
        memory = ls.TaskMemory(model, method=method, strength=0.1, n_modes=4, window=20, **settings)
        for labels in (LABELS, 2 - LABELS):
            data = TensorDataset(INPUTS, labels)
            loader = DataLoader(data, 8, sampler=DistributedSampler(data, 2, rank))
            with memory.training(optimizer):
                for _ in range(6):
                    for inputs, targets in loader:
                        optimizer.zero_grad()
                        loss = LOSS(model(inputs), targets)
                        (loss if memory.implicit else loss + memory.penalty()).backward()
                        optimizer.step()
            memory.consolidate(LOSS, loader)
        tasks = {name: (INPUTS, labels) for name, labels in zip(memory.tasks, (LABELS, 2 - LABELS), strict=True)}
        report = memory.report(tasks, LOSS, path=folder / f"{rank}.html")
        return memory.space.flatten(model), memory.penalty().detach(), report.matrix.values[-1]

    return of_rank


SLOW = [pytest.param(name, {}, marks=pytest.mark.slow) for name in sorted(METHODS) if name != "basin"]


@pytest.mark.parametrize(("method", "settings"), [("basin", {}), ("ewc", {"implicit": False}), *SLOW])
def test_every_memory_holds_as_in_data_parallelism(method, settings, tmp_path):
    (tmp_path / "whole").mkdir()
    found = in_processes(two_tasks(method, True, tmp_path, **settings), tmp_path)
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)
    wanted = in_processes(two_tasks(method, False, tmp_path, **settings), tmp_path / "whole")
    # Gradients of the two are means of two summands, and so the same bits; a sum over products may differ by rounding.
    for one, other in zip(found[0], wanted[0], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_a_memory_is_saved_and_loaded(tmp_path):
    def saved(rank):
        model = fully_sharded(network())
        memory = ls.keep(model, LOSS, (INPUTS, LABELS), budget=0.2, samples=64)
        optimizer = sgd(model)
        with memory.training(optimizer):
            train(model, optimizer, 12, own(rank, INPUTS), own(rank, 2 - LABELS))
        other = ls.TaskMemory(fully_sharded(network()))
        other.load_state_dict(memory.state_dict())
        other.space.assign(other.model, memory.space.flatten(model))
        optimizer = sgd(other.model)
        with other.training(optimizer):
            train(other.model, optimizer, 12, own(rank, INPUTS), own(rank, 2 - LABELS))
        return memory.rise.measured, memory.penalty().detach(), other.penalty().detach(), gathered(other.model)

    first, second = in_processes(saved, tmp_path)
    assert first[0] == second[0] <= 0.21
    assert all(map(torch.equal, first[1:], second[1:]))
    assert first[2] > 0


@pytest.mark.parametrize("killed", [0, 1])
@pytest.mark.parametrize("sharding", ["fully sharded", "data parallel"])
def test_a_process_that_is_killed_leaves_the_first_rows(sharding, killed, tmp_path, monkeypatch):
    monkeypatch.setattr(recorder, "rows_of_a_block", lambda row_bytes: 8)

    def record(rank):
        model, wanted = network(), []
        model = fully_sharded(model) if sharding == "fully sharded" else nn.parallel.DistributedDataParallel(model)
        optimizer = sgd(model)

        def note():
            whole = (
                gathered(model) if sharding == "fully sharded" else nn.utils.parameters_to_vector(model.parameters())
            )
            wanted.append(whole.detach())
            torch.save(torch.stack(wanted), tmp_path / f"wanted-{rank}.pt")
            if rank == killed and len(wanted) == 44:
                os.kill(os.getpid(), signal.SIGKILL)

        with ls.TrajectoryRecorder(model, optimizer, path=tmp_path / "rows"):
            train(model, optimizer, 80, own(rank, INPUTS), own(rank, LABELS), after=note)

    codes = exit_codes(record, tmp_path)
    assert codes[killed] == -signal.SIGKILL
    assert codes[1 - killed] == 1  # torch says that the other is gone
    rows, wanted = ls.open_trajectory(tmp_path / "rows"), torch.load(tmp_path / "wanted-0.pt")
    assert 32 <= len(rows) <= len(wanted) + 1  # of blocks of eight the last but one at least
    common = min(len(rows), len(wanted))
    assert torch.equal(rows.weights[:common], wanted[:common])


def test_a_callback_records_in_all_processes(tmp_path):
    def record(rank):
        model = fully_sharded(network())
        optimizer = sgd(model)
        training = Training(model, lambda space, model: optimizer, is_main_process=rank == 0)
        session = RecorderSession(None, path=tmp_path / "rows", every=1)
        with session._context(training):
            train(model, optimizer, 5, own(rank, INPUTS), own(rank, LABELS))
        return gathered(model)

    end, _ = in_processes(record, tmp_path)
    assert torch.equal(ls.open_trajectory(tmp_path / "rows").row(-1), end)


def test_the_fsdp_that_joins_parameters_is_refused(tmp_path):
    def refused(rank):
        from torch.distributed.fsdp import FullyShardedDataParallel

        try:
            model = FullyShardedDataParallel(network(), device_id=torch.device("cpu"))
        except (RuntimeError, ValueError, AttributeError):  # torch asks for an accelerator
            model = nn.Sequential(type("FullyShardedDataParallel", (nn.Linear,), {})(2, 2))
        with pytest.raises(InputError, match=r"fully_shard\(model\)"):
            ls.TrajectoryRecorder(model, sgd(model))

    in_processes(refused, tmp_path)
