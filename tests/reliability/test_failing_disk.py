"""A full disk and a read-only folder give the house's errors, and the same work ends once there is space."""

import errno

import pytest
import torch
from torch import nn

import landscope as ls
from failing_disk import FailingDisk
from landscope.errors import StorageError
from landscope.files.plain_yaml import read_yaml, write_yaml
from landscope.storage import ResultFolder

ERRORS = {"a full disk": errno.ENOSPC, "a read-only folder": errno.EROFS, "no rights": errno.EACCES}


def save(folder):
    ls.save(ls.directions.random(5, 2, seed=0), folder / "d.zarr.zip", overwrite=True)
    return ls.load(folder / "d.zarr.zip").directions


def note(folder):
    results = ResultFolder(folder / "deep" / "results")
    with results.locked():
        results.note("facts", {"a": 1})
        results.save("d", ls.directions.random(5, 2, seed=0))
    return torch.tensor(results.read_note("facts")["a"])


def settings(folder):
    write_yaml(folder / "s.yaml", {"a": 1})
    return torch.tensor(read_yaml(folder / "s.yaml", "settings")["a"])


def record(folder):
    """A study of twelve steps, from its beginning or from where it stopped."""
    torch.manual_seed(0)
    model = nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    data = torch.arange(12.0).reshape(4, 3) / 12, torch.ones(4, 1)
    study = ls.Study(folder / "study", model, nn.MSELoss(), data)
    with study.record(optimizer, first_step=1, checkpoints=lambda step: step == 6) as recorder:
        for step in range(12):
            optimizer.zero_grad()
            nn.functional.mse_loss(model(data[0]), data[1]).backward()
            optimizer.step()
            if step == 5:
                recorder.flush()
    return study.trajectory.weights


@pytest.mark.parametrize("work", [save, note, settings, record])
@pytest.mark.parametrize("kind", ERRORS)
def test_whatever_write_fails_the_error_is_the_house_s(tmp_path, work, kind):
    check_some_writes(tmp_path, work, ERRORS[kind], (3 if work is record else 6) if kind == "a full disk" else 1)


@pytest.mark.slow
@pytest.mark.parametrize("work", [save, note, settings, record])
@pytest.mark.parametrize("kind", ERRORS)
def test_every_write_that_fails_gives_the_house_s_error(tmp_path, work, kind):
    check_some_writes(tmp_path, work, ERRORS[kind], 150)


def check_some_writes(tmp_path, work, number, most):
    (tmp_path / "whole").mkdir()
    with FailingDisk(tmp_path / "whole", begin=10**6) as disk:
        wanted = work(tmp_path / "whole")
    assert disk.writes >= 2
    for begin in range(1, disk.writes + 1, -(-disk.writes // most)):
        folder = tmp_path / f"{begin}"
        folder.mkdir()
        with FailingDisk(folder, begin, number), pytest.raises(StorageError) as caught:
            work(folder)
        assert str(folder) in str(caught.value), begin
        assert torch.equal(work(folder), wanted), begin
