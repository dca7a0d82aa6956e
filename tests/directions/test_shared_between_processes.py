"""Processes share the work of finding modes, and all get those of one."""

import os

import pytest
import torch
import torch.distributed as dist

import landscope as ls
from landscope.errors import NonFiniteError
from landscope.processes import shared_work
from processes import in_processes

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked"),
    pytest.mark.skipif(not dist.is_available(), reason="torch without processes"),
]
T, N = 60, 4001


def rows(decay=0.9):
    """A walk whose step lengths fall from weight to weight, so that the variances of modes are apart."""
    generator = torch.Generator().manual_seed(0)
    scale = decay ** torch.arange(N)
    return (torch.randn(T, N, generator=generator) * scale).cumsum(dim=0)


def found(decay):
    modes = ls.principal_modes(ls.Trajectory.of(rows(decay)), 20)
    return modes.variance, modes.directions, modes.mean, modes.total_variance


@pytest.mark.parametrize("decay", [0.9, 0.2])  # variances that fall below 1e-6 of the first need further passes
@pytest.mark.parametrize("n_processes", [2, 4])
def test_modes_are_those_of_one_process(n_processes, decay, tmp_path):
    def share(rank):
        torch.set_num_threads(1)
        with shared_work():
            return found(decay)

    variance, directions, mean, total = found(decay)
    gap = torch.minimum(variance[:-1] - variance[1:], torch.cat([variance[:1], variance[:-2] - variance[1:-1]]))
    gap = gap / variance[:-1]
    several = in_processes(share, tmp_path, n_processes)
    for one in several:
        assert all(torch.equal(torch.as_tensor(a), torch.as_tensor(b)) for a, b in zip(one, several[0], strict=True))
        torch.testing.assert_close(one[0], variance, rtol=1e-12 if decay == 0.9 else 1e-9, atol=0)
        away = torch.linalg.vector_norm(one[1] - directions, dim=1)[:-1]
        assert (away * gap < (1e-12 if decay == 0.9 else 1e-9)).all()
        torch.testing.assert_close(one[2], mean, rtol=1e-14, atol=0)
        assert one[3] == pytest.approx(total, rel=1e-12)


def test_each_process_reads_its_part(tmp_path, monkeypatch):
    def share(rank):
        torch.set_num_threads(1)
        columns = []

        def noted(self, start, stop, which=slice(None)):
            columns.append(which)
            return read(self, start, stop, which)

        monkeypatch.setattr(ls.Trajectory, "rows", noted)
        with shared_work():
            ls.principal_modes(ls.Trajectory.of(rows()), 3)
        return [(which.start, which.stop) for which in columns if which.stop is not None]

    read = ls.Trajectory.rows
    first, second = in_processes(share, tmp_path)
    assert set(first) == {(0, 2001)}
    assert set(second) == {(2001, 4001)}


def test_what_is_not_finite_is_said_in_all(tmp_path):
    def share(rank):
        torch.set_num_threads(1)
        bad = rows()
        bad[5, 4000] = torch.nan
        with shared_work(), pytest.raises(NonFiniteError):
            ls.principal_modes(ls.Trajectory.of(bad), 3)

    in_processes(share, tmp_path)
