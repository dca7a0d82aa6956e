"""A process whose own loop raises says so, and asks the others for nothing on its way out."""

import os

import pytest
import torch
import torch.distributed as dist

import landscope as ls
from processes import in_processes
from sharded_models import INPUTS, LABELS, LOSS, fully_sharded, network

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked"),
    pytest.mark.skipif(not dist.is_available(), reason="torch without processes"),
]


class OwnError(Exception):
    pass


@pytest.mark.slow
@pytest.mark.parametrize("budget", [None, 0.05])
def test_no_weights_are_gathered_after_an_error(budget, tmp_path):
    def asked(rank):
        torch.set_num_threads(1)
        model = fully_sharded(network())
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        memory = ls.keep(model, LOSS, (INPUTS, LABELS), budget=budget)
        count = 0

        def counted(self, *args, **kwargs):
            nonlocal count
            count += 1
            return full(self, *args, **kwargs)

        from torch.distributed.tensor import DTensor

        full = DTensor.full_tensor
        with pytest.MonkeyPatch.context() as patch, pytest.raises(OwnError), memory.training(optimizer):  # noqa: PT012
            for _ in range(3):
                optimizer.zero_grad()
                LOSS(model(INPUTS), LABELS).backward()
                optimizer.step()
            patch.setattr(DTensor, "full_tensor", counted)
            raise OwnError
        with memory.training(optimizer):  # it can go on
            optimizer.step()
        return count

    assert in_processes(asked, tmp_path) == [0, 0]
