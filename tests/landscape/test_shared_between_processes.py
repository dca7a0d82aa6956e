"""Processes share the directions of a flatness, and all get what one finds."""

import os

import pytest
import torch
import torch.distributed as dist

import landscope as ls
from landscope.processes import shared_work
from processes import in_processes
from sharded_models import INPUTS, LABELS, LOSS, network

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked"),
    pytest.mark.skipif(not dist.is_available(), reason="torch without processes"),
]


def found(count, noted=None):
    risk = ls.EmpiricalRisk(network(), LOSS, (INPUTS, LABELS))
    directions = torch.linalg.qr(torch.randn(len(risk.w0), count, generator=torch.Generator().manual_seed(1)))[0].T
    return ls.flatness(risk, risk.w0, directions, progress=noted)


@pytest.mark.parametrize(("count", "n_processes"), [(9, 2), (3, 4)])  # of three directions one process has none
def test_widths_are_those_of_one_process(count, n_processes, tmp_path):
    def shared(rank):
        torch.set_num_threads(1)
        with shared_work():
            flat = found(count)
        return flat.left, flat.right, flat.width, flat.bracketed, flat.evaluations

    wanted = found(count)
    for one in in_processes(shared, tmp_path, n_processes):
        for tensor, name in zip(one, ("left", "right", "width", "bracketed", "evaluations"), strict=True):
            assert torch.equal(tensor.nan_to_num(-1), getattr(wanted, name).nan_to_num(-1)), name


def test_each_process_measures_its_part(tmp_path):
    def shared(rank):
        torch.set_num_threads(1)
        done = []
        with shared_work():
            found(9, lambda number, total: done.append((number, total)))
        return done[-1]

    assert in_processes(shared, tmp_path) == [(9, 9), (8, 9)]
