"""Processes that train one model together make one study."""

import os

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

import landscope as ls
from landscope.errors import StorageError
from landscope.processes import Turn, in_first_process, share, shared_work
from processes import exit_codes, in_processes
from sharded_models import INPUTS, LABELS, LOSS, fully_sharded, network, train

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked"),
    pytest.mark.skipif(not dist.is_available(), reason="torch without processes"),
    pytest.mark.filterwarnings("ignore"),
]
SMALL = {"n_nulls": 1, "n_processes": 0, "flatness_modes": 4}


def script(folder):
    """What a user writes; the same in all processes."""

    def of_rank(rank):
        model = nn.parallel.DistributedDataParallel(network())
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        data = TensorDataset(INPUTS, LABELS)
        loader = DataLoader(data, 8, sampler=DistributedSampler(data, 2, rank))
        study = ls.Study(folder, model, LOSS, loader, **SMALL)
        for first_step in (None, 41):  # the second part goes on with the same recording
            with study.record(optimizer, first_step=first_step) as recorder:
                for inputs, labels in [batch for _ in range(10) for batch in loader]:
                    optimizer.zero_grad()
                    loss = LOSS(model(inputs), labels)
                    recorder.note_loss(loss)
                    loss.backward()
                    optimizer.step()
                recorder.flush()
                assert recorder.step == (40 if first_step is None else 80)
            assert not recorder.is_recording
        study.analyse()
        page = study.report()
        end = nn.utils.parameters_to_vector(model.parameters()).detach()
        return study.trajectory.weights, end, study.law["in-sample"].psi, page.stat().st_size

    return of_rank


def test_a_script_runs_in_all_processes(tmp_path):
    (rows, end, psi, size), (same_rows, same_end, same_psi, same_size) = in_processes(script(tmp_path / "s"), tmp_path)
    assert rows.shape == (80, 66)
    assert torch.equal(rows[-1], end)
    assert torch.equal(rows, same_rows)
    assert torch.equal(end, same_end)
    assert (psi, size) == (same_psi, same_size)
    alone = ls.Study(tmp_path / "s", network(), LOSS, (INPUTS, LABELS))
    assert alone.law["in-sample"].psi == psi


def test_one_process_may_analyse_alone(tmp_path):
    def record(rank):
        model = nn.parallel.DistributedDataParallel(network())
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        study = ls.Study(tmp_path / "s", model, LOSS, (INPUTS, LABELS), **SMALL)
        with study.record(optimizer):
            train(model, optimizer, 40)
        if rank == 1:
            study.analyse(until="modes")
        dist.barrier()
        return len(study.trajectory), study.folder.has_results

    assert in_processes(record, tmp_path) == [(40, True)] * 2


def test_an_error_comes_in_all_processes(tmp_path, capfd):
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "of the user").write_text("")

    def begin(rank):
        ls.Study(tmp_path / "s", network(), LOSS, (INPUTS, LABELS))

    assert exit_codes(begin, tmp_path) == [1, 1]
    said = capfd.readouterr().err
    assert said.count("Expected an empty folder or a study") == 2
    assert "got an error there, StorageError: Expected an empty folder" in said


def test_a_study_of_a_sharded_model_says_what_to_do(tmp_path):
    def record(rank):
        model = fully_sharded(network())
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        study = ls.Study(tmp_path / "s", model, LOSS, (INPUTS, LABELS))
        with pytest.raises(ls.errors.InputError, match=r"one that is sharded.*use_trajectory"):
            study.record(optimizer)
        with ls.TrajectoryRecorder(model, optimizer, path=tmp_path / "rows") as recorder:
            train(model, optimizer, 40)
        return recorder.space.flatten(model)

    end, _ = in_processes(record, tmp_path)
    model = network()
    ls.ParameterSpace.of(model).assign(model, end)
    study = ls.Study(tmp_path / "t", model, LOSS, (INPUTS, LABELS), **SMALL)
    study.use_trajectory(tmp_path / "rows")
    study.analyse()
    assert len(study.trajectory) == 40


def test_work_is_done_once_and_its_error_is_told(tmp_path):
    def work(rank):
        done = []
        for _ in range(3):
            with shared_work():  # of which the work is no part: the others wait
                in_first_process("work", lambda: done.append((rank, *share())))
        turn = Turn.of("other")
        assert turn.name == "other, 1"
        if turn.is_own:
            with pytest.raises(ZeroDivisionError), turn.taken():
                raise ZeroDivisionError("no")
        else:
            with pytest.raises(StorageError, match="got an error there, ZeroDivisionError: no"), turn.taken():
                pass
        return done

    assert sorted(in_processes(work, tmp_path)) in ([[], [(0, 0, 1)] * 3], [[], [(1, 0, 1)] * 3])
