"""Parameters of which each process holds a part are refused at once, before a training."""

import pytest
import torch
import torch.distributed as dist
from torch import nn

import landscope as ls
from landscope.errors import InputError


@pytest.fixture
def one_process(tmp_path):
    if not dist.is_available() or dist.is_initialized():
        pytest.skip("no process group of its own")
    dist.init_process_group("gloo", store=dist.FileStore(str(tmp_path / "store"), 1), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def in_parts():
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    model = nn.Sequential(nn.Linear(4, 6), nn.Linear(6, 2))
    fully_shard(model, mesh=init_device_mesh("cpu", (1,)))
    return model


def test_every_entry_says_what_to_do(one_process):
    model = in_parts()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    data = [(torch.randn(3, 4), torch.randn(3, 2))]
    for call in (
        lambda: ls.ParameterSpace.of(model),
        lambda: ls.TrajectoryRecorder(model, optimizer),
        lambda: ls.TaskMemory(model),
        lambda: ls.keep(model, nn.functional.mse_loss, data),
        lambda: ls.EmpiricalRisk(model, nn.functional.mse_loss, data),
    ):
        with pytest.raises(InputError, match=r"process holds whole; got parts of .*weight.*from_checkpoints reads"):
            call()


def test_what_is_not_sharded_can_be_selected(one_process):
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    model = nn.Sequential(nn.Linear(4, 6), nn.Linear(6, 2))
    fully_shard(model[0], mesh=init_device_mesh("cpu", (1,)))
    assert ls.ParameterSpace.of(model, "1.*").dim == 14
    with pytest.raises(InputError, match=r"parts of 0\.weight, 0\.bias"):
        ls.ParameterSpace.of(model)
