"""Loaders that leave samples out, or draw them: which samples a landscape is of."""

from __future__ import annotations

from typing import Any

from torch.utils.data import (
    BatchSampler,
    DataLoader,
    RandomSampler,
    Sampler,
    Subset,
    SubsetRandomSampler,
    WeightedRandomSampler,
)

from landscope.errors import LandscopeWarning
from landscope.notices import warn

__all__ = ["warn_of_draws", "with_dropped_samples"]


def with_dropped_samples(data: Any) -> Any:
    """A loader of all samples where a shuffling loader leaves out others in each epoch; other data unchanged.

    A training with ``shuffle=True, drop_last=True`` sees all samples, though not all in the same epoch.
    """
    if _n_dropped(data):
        indices = data.sampler.indices if isinstance(data.sampler, SubsetRandomSampler) else None
        samples = data.dataset if indices is None else Subset(data.dataset, list(indices))
        return DataLoader(samples, batch_size=data.batch_size, collate_fn=data.collate_fn)
    return data


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
