"""A loader that gives each process a part of the samples stands for all of them."""

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, DistributedSampler, IterableDataset, Subset, SubsetRandomSampler, TensorDataset

import landscope as ls
from landscope.errors import InputError


def samples():
    generator = torch.Generator().manual_seed(0)
    return TensorDataset(torch.randn(23, 4, generator=generator), torch.randn(23, 2, generator=generator))


def of_torch(data):
    return DataLoader(data, 5, sampler=DistributedSampler(data, 3, 1, shuffle=True))


def of_accelerate(data):
    shards = pytest.importorskip("accelerate.data_loader")
    return DataLoader(data, batch_sampler=shards.BatchSamplerShard(DataLoader(data, 5).batch_sampler, 3, 1))


def prepared(data):
    shards = pytest.importorskip("accelerate.data_loader")
    return shards.prepare_data_loader(DataLoader(data, 5, shuffle=True), num_processes=3, process_index=1)


@pytest.mark.parametrize("loader", [of_torch, of_accelerate, prepared])
def test_the_loss_is_that_of_all_samples(loader, recwarn):
    model, data = nn.Linear(4, 2), samples()
    whole = ls.EmpiricalRisk(model, nn.functional.mse_loss, data)
    assert sum(len(inputs) for inputs, _ in loader(data)) < 23
    part = ls.EmpiricalRisk(model, nn.functional.mse_loss, loader(data))
    torch.testing.assert_close(part(part.w0), whole(whole.w0))
    assert not recwarn.list
    memories = [ls.keep(model, nn.functional.mse_loss, one) for one in (loader(data), data)]
    with torch.no_grad():
        model.weight.add_(1.0)
    found, wanted = (memory.penalty() for memory in memories)
    torch.testing.assert_close(found, wanted)


def test_samples_that_a_sampler_holds_out_stay_out():
    shards = pytest.importorskip("accelerate.data_loader")
    model, data, used = nn.Linear(4, 2), samples(), list(range(3, 20))
    loader = DataLoader(data, 5, sampler=SubsetRandomSampler(used))
    whole = ls.EmpiricalRisk(model, nn.functional.mse_loss, Subset(data, used))
    part = ls.EmpiricalRisk(
        model, nn.functional.mse_loss, shards.prepare_data_loader(loader, num_processes=3, process_index=1)
    )
    torch.testing.assert_close(part(part.w0), whole(whole.w0))


def test_a_study_takes_all_samples(tmp_path):
    model, data = nn.Linear(4, 2), samples()
    study = ls.Study(tmp_path / "study", model, nn.functional.mse_loss, of_torch(data))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with study.record(optimizer):
        optimizer.zero_grad()
        nn.functional.mse_loss(model(data[:][0]), data[:][1]).backward()
        optimizer.step()
    risk = study.risk(1)
    whole = ls.EmpiricalRisk(model, nn.functional.mse_loss, data)
    torch.testing.assert_close(risk(risk.w0), whole(whole.w0))


def test_a_stream_in_parts_is_refused():
    shards = pytest.importorskip("accelerate.data_loader")

    class Stream(IterableDataset):
        def __iter__(self):
            return iter(samples())

    loader = DataLoader(shards.IterableDatasetShard(Stream(), batch_size=5, num_processes=3, process_index=1), 5)
    with pytest.raises(InputError, match="a stream, of which each process gets a part"):
        ls.EmpiricalRisk(nn.Linear(4, 2), nn.functional.mse_loss, loader)
