"""Reads data to their end: through a copy that leaves the user's random generators alone, and no more than fits."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, Dataset

from landscope.errors import InputError
from landscope.resources import total_memory
from landscope.risk.random_data import with_own_state

__all__ = ["read_to_the_end", "with_own_generators"]

_LEAST = 64
"""Bytes that every batch counts, so that a stream of small things ends too."""


def read_to_the_end(data: Iterable[Any]) -> list[Any]:
    """The batches of data; random generators that a data set, a sampler or a loader holds stay where they are.

    Raises:
        InputError: If the batches would not fit into memory, as those of a generator without an end.

    Example:
        >>> import itertools
        >>> read_to_the_end(itertools.islice(itertools.count(), 3))
        [0, 1, 2]
    """
    found, size, most = [], 0, total_memory() // 2  # every risk holds a copy of its data
    for batch in with_own_generators(data):
        found.append(batch)
        size += max(_LEAST, _bytes_of(batch))
        if size > most:
            raise InputError(
                expected=f"data that end, and take at most half the memory of this machine, {most / 2**30:.3g} GiB",
                got=f"more than that in the first {len(found)} batches",
                hint="A landscape is that of a fixed set of samples. Pass some batches of a generator without an end: "
                "list(itertools.islice(generator, 100)).",
            )
    return found


def _bytes_of(value: Any) -> int:
    if isinstance(value, Tensor):
        return value.numel() * value.element_size()
    if isinstance(value, np.ndarray):
        return value.nbytes
    if isinstance(value, Mapping):
        return sum(map(_bytes_of, value.values()))
    if isinstance(value, list | tuple):
        return sum(map(_bytes_of, value))
    return len(value) if isinstance(value, str | bytes) else 0


def with_own_generators(data: Iterable[Any]) -> Iterable[Any]:
    """The same data; a data set and a plain loader draw from copies of their random generators."""
    try:
        if type(data) is DataLoader:
            return _loader_with_own_generators(data)
        return with_own_state(data) if isinstance(data, Dataset) else data
    except Exception:  # noqa: BLE001 - a data set that cannot be copied is read as it is
        return data


def _loader_with_own_generators(loader: DataLoader) -> DataLoader:
    own, sampler = copy.copy(loader), _sampler_with_own_generator(loader.sampler)
    parts: dict[str, Any] = {
        "dataset": with_own_state(loader.dataset), "collate_fn": with_own_state(loader.collate_fn), "sampler": sampler,
        "generator": with_own_state(loader.generator), "_iterator": None,
    }  # fmt: skip
    if type(loader.batch_sampler) is BatchSampler and loader.batch_sampler.sampler is loader.sampler:
        parts["batch_sampler"] = copy.copy(loader.batch_sampler)
        parts["batch_sampler"].sampler = sampler
    vars(own).update(parts)  # a loader forbids to set them one by one
    return own


def _sampler_with_own_generator(sampler: Any) -> Any:
    if not isinstance(getattr(sampler, "generator", None), torch.Generator):
        return sampler
    own = copy.copy(sampler)
    own.generator = with_own_state(sampler.generator)
    return own
