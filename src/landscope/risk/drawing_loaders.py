"""Loaders that leave samples out, or draw them: which samples a landscape is of."""

from __future__ import annotations

from typing import Any

from torch.utils.data import (
    BatchSampler,
    DataLoader,
    IterableDataset,
    RandomSampler,
    Sampler,
    Subset,
    SubsetRandomSampler,
    WeightedRandomSampler,
)

from landscope.errors import InputError, LandscopeWarning
from landscope.notices import warn

__all__ = ["is_shard", "warn_of_draws", "with_all_samples"]


def with_all_samples(data: Any) -> Any:
    """A loader of all samples where a loader gives a part of them; other data unchanged.

    A training with ``shuffle=True, drop_last=True`` sees all samples, though not all in the same epoch; one in several
    processes sees them all together, each process a part of its own (``DistributedSampler``, accelerate).

    Raises:
        InputError: If a loader gives a part to each process, and its samples have no numbers.
    """
    if is_shard(data):
        return _of_all_processes(data)
    if _n_dropped(data):
        return DataLoader(_drawn_from(data), batch_size=data.batch_size, collate_fn=data.collate_fn)
    return data


def _drawn_from(loader: DataLoader[Any]) -> Any:
    """The samples that a loader draws from: a sampler may leave out those that are held out."""
    batches = loader.batch_sampler
    sampler = getattr(getattr(batches, "batch_sampler", batches), "sampler", None)  # accelerate holds torch's batches
    is_part = isinstance(sampler, SubsetRandomSampler)
    return Subset(loader.dataset, list(sampler.indices)) if is_part else loader.dataset


def is_shard(data: Any) -> bool:
    """Whether a loader gives each of several processes a part of the samples."""
    samplers = [getattr(data, name, None) for name in ("sampler", "batch_sampler", "dataset")]
    counts = [getattr(one, name, 1) for one in samplers for name in ("num_replicas", "num_processes")]
    return isinstance(data, DataLoader) and any(isinstance(count, int) and count > 1 for count in counts)


def _of_all_processes(loader: DataLoader[Any]) -> DataLoader[Any]:
    if isinstance(loader.dataset, IterableDataset):
        raise InputError(
            expected="data that each process can read whole", got="a stream, of which each process gets a part",
            hint="Pass a list with the same batches in all processes.",
        )  # fmt: skip
    size = loader.batch_size or getattr(loader.batch_sampler, "batch_size", None) or 1
    return DataLoader(_drawn_from(loader), batch_size=size, collate_fn=loader.collate_fn)


def warn_of_draws(data: Any) -> None:
    """Say that the landscape is that of one draw of the data, if a loader draws its samples or drops some by chance.

    Warns:
        LandscopeWarning: If it does.
    """
    if dropped := _n_dropped(data):
        count = len(data.sampler)
        _say(
            f"The loader leaves out {dropped} of {count} samples, others each time that it is read (shuffle=True with "
            f"drop_last=True). The landscape is that of the {count - dropped} samples that it gave now. For all of "
            "them pass a loader with drop_last=False."
        )
        return
    sampler = _sampler(data)
    if isinstance(sampler, WeightedRandomSampler):
        _say(
            f"The sampler of the loader draws its samples by weights: the landscape is that of one draw of "
            f"{len(sampler)} among {_n_samples(data)} samples, some of them perhaps several times. For the loss that "
            "the training has in the mean, pass all samples, each with its weight v: targets {'labels': y, 'weights': "
            "v}, and a criterion that returns (v * losses, v)."
        )
    elif isinstance(sampler, RandomSampler) and (sampler.replacement or len(sampler) != _n_samples(data)):
        _say(
            f"The sampler of the loader draws its samples: the landscape is that of one draw of {len(sampler)} among "
            f"{_n_samples(data)} samples. For all samples pass the data set, as DataLoader(loader.dataset, "
            "batch_size=...)."
        )


def _sampler(data: Any) -> Sampler[Any] | None:
    """The sampler of a loader with the batches of torch, whose samples are known."""
    is_known = isinstance(data, DataLoader) and type(data.batch_sampler) is BatchSampler
    return data.batch_sampler.sampler if is_known else None


def _n_dropped(data: Any) -> int:
    """Number of samples that a loader leaves out, others in each epoch; 0 for any other data."""
    sampler = _sampler(data)
    is_permutation = type(sampler) is SubsetRandomSampler or (
        type(sampler) is RandomSampler and not sampler.replacement and len(sampler) == _n_samples(data)
    )
    if not is_permutation or not data.drop_last or len(sampler) < data.batch_size:
        return 0
    return len(sampler) % data.batch_size


def _n_samples(loader: DataLoader[Any]) -> int:
    return len(loader.dataset)  # ty: ignore[invalid-argument-type] - a sampler needs a length


def _say(message: str) -> None:
    warn(message, LandscopeWarning)
