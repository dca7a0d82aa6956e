"""Processes that share work and do not do the same all say so; none waits for one that failed."""

import datetime
import os
import time

import pytest
import torch
import torch.distributed as dist

import landscope as ls
from landscope.errors import InputError, StorageError
from landscope.processes import in_first_process, shared_work
from landscope.storage.folder import ResultFolder
from landscope.synthetic import InverseGaussian
from processes import in_processes

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked"),
    pytest.mark.skipif(not dist.is_available(), reason="torch without processes"),
]
ROWS = torch.randn(8, 40, generator=torch.Generator().manual_seed(0)).cumsum(dim=0)


def modes(n_modes=3, rows=ROWS, **options):
    return ls.principal_modes(ls.Trajectory.of(rows), n_modes, **options)


def flatness(curvature=8.0, at=0.0, count=2):
    well = InverseGaussian(torch.tensor([curvature, 2.0]), minimum=1e-3)
    return ls.flatness(well, torch.full((2,), at), torch.eye(2)[:count])


def other_order(rank):
    for call in (modes, flatness)[:: 1 - 2 * rank]:
        call()


SLIPS = {
    "another number of modes": (lambda rank: modes(3 + rank), "same number of modes .* got 3 in process 0; 4 in"),
    "other rows": (lambda rank: modes(rows=ROWS + rank), "same size of the last row"),
    "fewer rows": (lambda rank: modes(rows=ROWS[: 8 - rank]), "same number of rows .* 8 in process 0; 7 in process 1"),
    "another order": (other_order, "same call .* got principal_modes in process 0; flatness in process 1"),
    "other data": (lambda rank: flatness(at=0.1 * rank), r"same loss at w0 .* model\.buffers\(\)"),
    "fewer directions": (lambda rank: flatness(count=2 - rank), "same number of directions"),
    "a call more": (lambda rank: modes() if rank else None, r"same call .* the end of shared_work\(\) in process 0"),
}


def test_what_differs_is_said_in_all_and_the_work_can_go_on(tmp_path):
    def share(rank):
        torch.set_num_threads(1)
        for slip, words in SLIPS.values():
            with pytest.raises(InputError, match=words), shared_work():
                slip(rank)
        with shared_work(), shared_work():
            return modes().variance

    first, second = in_processes(share, tmp_path)
    assert torch.equal(first, second)


def test_the_error_of_one_comes_in_all(tmp_path):
    def share(rank):
        torch.set_num_threads(1)
        kind, words = (KeyError, "mine") if rank else (StorageError, "error in process 1, KeyError: 'mine'")
        for n_before in (0, 1):  # also where the others wait for its part
            with pytest.raises(kind, match=words), shared_work():  # noqa: PT012
                for _ in range(n_before):
                    modes()
                if rank:
                    raise KeyError("mine")
                modes()

    in_processes(share, tmp_path)


def test_one_that_does_not_come_is_named(tmp_path):
    def alone(rank):
        dist.destroy_process_group()
        store, wait = dist.FileStore(str(tmp_path / "other"), 2), datetime.timedelta(seconds=0.5)
        dist.init_process_group("gloo", store=store, rank=rank, world_size=2, timeout=wait)
        if rank == 0:
            with (
                pytest.raises(StorageError, match=r"process 1 in principal_modes.* nothing from it within"),
                shared_work(),
            ):
                modes()
            store.set("done", "")
        store.get("done")

    in_processes(alone, tmp_path)


def test_one_file_for_the_modes_of_two_processes_is_refused(tmp_path):
    def share(rank):
        torch.set_num_threads(1)
        path = tmp_path / "modes.npy"
        with pytest.raises(StorageError, match=r"file of its own|error in process"), shared_work():
            modes(path=path)
        with shared_work():
            return modes(path=tmp_path / f"own-{rank}.npy").directions.clone()

    wanted = modes().directions
    for found in in_processes(share, tmp_path):
        assert torch.allclose(found, wanted, atol=1e-12)


def test_the_error_of_the_worker_is_not_lost_with_the_store(monkeypatch):
    def gone():
        raise dist.DistNetworkError("broken pipe")

    def work():
        raise KeyError("mine")

    monkeypatch.setattr("landscope.processes.store_of_all", gone)
    monkeypatch.setattr("landscope.processes.n_processes", lambda: 2)
    monkeypatch.setattr("landscope.processes.is_first_to_claim", lambda name: True)
    with pytest.raises(KeyError, match="mine"):
        in_first_process("work of a test", work)
    monkeypatch.setattr("landscope.processes.is_first_to_claim", lambda name: False)
    with pytest.raises(StorageError, match="keeps what all say, broken pipe"):
        in_first_process("work of a test", work)


def test_a_process_waits_for_the_folder_that_another_one_of_its_training_records_to(tmp_path):
    def works(rank):
        if rank == 0:
            with ResultFolder(tmp_path / "study").locked():
                dist.barrier()
                time.sleep(0.2)
            return
        dist.barrier()
        with ResultFolder(tmp_path / "study").locked():
            pass

    in_processes(works, tmp_path)
