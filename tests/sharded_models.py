"""Small models of which several processes hold parts, and what they are trained on."""

import torch
import torch.distributed as dist
from torch import nn

G = torch.Generator().manual_seed(0)
INPUTS = torch.randn(64, 5, generator=G)
LABELS = (INPUTS[:, 0] > 0).long()
LOSS = nn.functional.cross_entropy


def network(width=7):
    """A width of 7 leaves uneven parts."""
    torch.manual_seed(3)
    torch.set_num_threads(1)
    return nn.Sequential(nn.Linear(5, width), nn.Tanh(), nn.Linear(width, 3))


def fully_sharded(model):
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    fully_shard(model[0], mesh=mesh)
    return fully_shard(model, mesh=mesh)


def tensor_parallel(model):
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    return parallelize_module(model, mesh, {"0": ColwiseParallel(), "2": RowwiseParallel()})


def train(model, optimizer, n_steps=12, inputs=INPUTS, labels=LABELS, after=lambda: None):
    for step in range(n_steps):
        at = 8 * step % len(inputs)
        optimizer.zero_grad()
        LOSS(model(inputs[at : at + 8]), labels[at : at + 8]).backward()
        optimizer.step()
        after()
