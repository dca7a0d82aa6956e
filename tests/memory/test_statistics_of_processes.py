"""Processes keep running statistics of their own samples; a task is held with those of the first process."""

import os

import pytest
import torch
import torch.distributed as dist
from torch import nn

import landscope as ls
from landscope.processes import take_buffers_of_first
from processes import in_processes

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked"),
    pytest.mark.skipif(not dist.is_available(), reason="torch without processes"),
]
LOSS = nn.CrossEntropyLoss()


G = torch.Generator().manual_seed(0)
INPUTS = torch.randn(80, 4, generator=G) * torch.arange(1, 81)[:, None] ** 0.5
LABELS = (INPUTS[:, 0] > 0).long()


def seen(rank):
    """A network in the same place in all processes, which has seen the samples of its own process."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    net = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 2))
    for step in range(4):
        net(INPUTS[rank + 2 * step :: 8])
    return net


def check_all_have_those_of_the_first(call, folder):
    def taken(rank):
        net = seen(rank)
        before = net[1].running_mean.clone()
        call(net)
        return before, net[1].running_mean, net[1].running_var, net[1].num_batches_tracked

    (before, *first), (other, *second) = in_processes(taken, folder)
    assert not torch.equal(before, other)  # otherwise there is nothing to see
    assert torch.equal(first[0], before)
    assert all(torch.equal(one, two) for one, two in zip(first, second, strict=True))


def test_all_take_the_buffers_of_the_first(tmp_path):
    check_all_have_those_of_the_first(take_buffers_of_first, tmp_path)


@pytest.mark.slow
def test_a_task_is_held_with_the_statistics_of_the_first_process(tmp_path):
    check_all_have_those_of_the_first(
        lambda net: ls.keep(net, LOSS, (INPUTS, LABELS), method="l2", strength=1.0), tmp_path
    )


@pytest.mark.slow
def test_the_loss_of_a_sharded_model_is_that_with_the_statistics_of_the_first_process(tmp_path):
    def loss(rank):
        from torch.distributed.fsdp import fully_shard

        net = seen(rank)
        alone = LOSS(net.eval()(INPUTS), LABELS)
        risk = ls.EmpiricalRisk(fully_shard(net), LOSS, (INPUTS, LABELS))
        return alone.item(), risk(risk.w0).item()

    (alone, first), (other, second) = in_processes(loss, tmp_path)
    assert first == second == pytest.approx(alone, rel=1e-6)
    assert other != pytest.approx(alone, rel=1e-4)
