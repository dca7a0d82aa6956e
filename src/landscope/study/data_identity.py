"""What the data of a study are known by: numbers of a few samples, and the reason where there are none."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    RandomSampler,
    SequentialSampler,
    default_collate,
)

from landscope.risk.data import is_pair_of_tensors
from landscope.risk.random_data import with_own_state
from landscope.risk.reading import with_own_generators
from landscope.seeded import seeded
from landscope.study.first_samples import is_stream

__all__ = ["DataIdentity", "draws_at_each_reading", "identity_of_data"]

_SPREAD = 16
"""Samples that are looked at, from the first to the last."""
_VALUES = 2**16
"""Values of each part of these samples that are looked at."""
_RTOL = 1e-4
"""Relative difference below which two parts are the same: data that are prepared again may be rounded otherwise."""
_STREAM = "they are a stream, which is read only by the analysis: they are known by their loss at three points"


@dataclasses.dataclass(frozen=True)
class DataIdentity:
    """What tells data from others.

    Args:
        count: Number of samples, or of batches where the data are a list of batches; None where the data do not say it.
        unit: ``"samples"`` or ``"batches"``: what was counted and looked at.
        parts: For each part of a few samples, such as inputs and targets, the number of its values, their norm, and
            their components along two drawn directions. Parts that differ when they are read again are left out.
        unknown: What cannot be known without reading all of the data, or not at all; empty where nothing is.
        is_random: Whether a sample that is read twice differs, as with random augmentation by a generator of the data
            set. The analysis seeds the global generators, so that what they draw is the same each time.
    """

    count: int | None = None
    unit: str = "samples"
    parts: Mapping[str, Sequence[float]] = dataclasses.field(default_factory=dict)
    unknown: str = ""
    is_random: bool = False

    @classmethod
    def of(cls, kept: Any) -> DataIdentity:
        """The identity that a folder keeps, as JSON reads it; an unknown one where there is none."""
        fields = {field.name for field in dataclasses.fields(cls)}
        return cls(**kept) if isinstance(kept, Mapping) and kept.keys() == fields else cls()

    @property
    def may_be_random(self) -> bool:
        """Whether another reading may draw other samples: it does, or that is not known."""
        return self.is_random or (bool(self.unknown) and not self.parts)

    def differs(self, other: DataIdentity) -> bool:
        """Whether two data sets are certainly not the same; what one of them does not say is not compared."""
        if self.unit != other.unit:
            return False
        if None not in (self.count, other.count) and self.count != other.count:
            return True
        both = self.parts.keys() & other.parts.keys()
        return any(not _are_close(self.parts[name], other.parts[name]) for name in both)


def identity_of_data(data: Any, *, collated: bool) -> DataIdentity:
    """What data are known by, from 16 samples between the first and the last.

    Nothing is read to its end, no iterator is advanced, no worker process starts, and samples are read through a copy
    with random generators of its own: the random states of the user stay as they are.

    Args:
        data: The data of a study.
        collated: Whether the samples of a data set make a batch, or each is one.

    Example:
        >>> inputs, targets = torch.arange(12.0).reshape(6, 2), torch.arange(6)
        >>> first = identity_of_data((inputs, targets), collated=True)
        >>> first.count, sorted(first.parts)
        (6, ['0', '1'])
        >>> first.differs(identity_of_data((inputs, targets.flip(0)), collated=True))
        True
        >>> identity_of_data(iter([]), collated=True).unknown.split(",")[0]
        'they are a stream'
    """
    try:
        with seeded(0):
            return _identity(data, collated=collated)
    except Exception as error:  # noqa: BLE001 - a data set of another kind; the analysis reads it in its own way
        return DataIdentity(
            unknown=f"samples of the {type(data).__name__} cannot be read by number ({type(error).__name__})"
        )


def _identity(data: Any, *, collated: bool) -> DataIdentity:
    if is_pair_of_tensors(data):
        places = _places(len(data[0]))
        return DataIdentity(len(data[0]), "samples", _parts([part[places] for part in data]))
    if isinstance(data, DataLoader):
        return _of_loader(data)
    if isinstance(data, Dataset):
        return _of_samples(data, default_collate if collated else list)
    if isinstance(data, Sequence):
        return DataIdentity(len(data), "batches", _parts([data[place] for place in _places(len(data)).tolist()]))
    return DataIdentity(unknown=_STREAM)


def _of_loader(loader: DataLoader) -> DataIdentity:
    batches, sampler = loader.batch_sampler, loader.sampler
    found = _of_samples(loader.dataset, with_own_state(loader.collate_fn) if loader.batch_size else list)
    chooses = batches if type(batches) not in (BatchSampler, type(None)) else sampler
    is_all = isinstance(chooses, RandomSampler | SequentialSampler) and chooses is sampler
    if found.unknown or is_all:
        return found
    why = f"their {type(chooses).__name__} chooses samples of the data set: these are known by their loss"
    return dataclasses.replace(found, unknown=why)


def _of_samples(samples: Any, collate: Any) -> DataIdentity:
    """The identity of a data set; each sample is read twice with one seed, and the parts that differ are random."""
    if is_stream(samples):
        return DataIdentity(unknown=_STREAM)
    own, places = with_own_state(samples), _places(len(samples)).tolist()
    first, second = (_seeded_parts(lambda: collate([own[place] for place in places])) for _ in range(2))
    same = {name: numbers for name, numbers in first.items() if second.get(name) == numbers}
    if same.keys() == first.keys() == second.keys():
        return DataIdentity(len(samples), "samples", same)
    what = "the parts that differ are" if same else "they are"
    return DataIdentity(
        len(samples), "samples", same,
        f"each reading draws other samples, as random augmentation does, and {what} not compared", is_random=True,
    )  # fmt: skip


def draws_at_each_reading(data: Any) -> bool:
    """Whether the first batch of a stream that the analysis has read already differs when it is read again."""
    own = with_own_generators(data)
    first, second = (_seeded_parts(lambda: next(iter(own), None)) for _ in range(2))
    return first != second


def _seeded_parts(read: Callable[[], Any]) -> dict[str, list[float]]:
    """The parts of what is read; what is drawn from the global generators is the same each time."""
    with seeded(0):
        return _parts(read())


def _places(count: int, most: int = _SPREAD) -> Tensor:
    return torch.linspace(0, count - 1, min(count, most), dtype=torch.float64).round().long()


def _parts(value: Any) -> dict[str, list[float]]:
    return {name: _numbers(leaf) for name, leaf in _leaves(value, "")}


def _leaves(value: Any, name: str) -> Iterator[tuple[str, Tensor]]:
    """The numbers and texts in containers of any depth, by their place."""
    if isinstance(value, Tensor):
        yield name, value.detach().flatten()
    elif isinstance(value, np.ndarray | np.generic) and value.dtype.kind in "biuf":
        yield name, torch.from_numpy(np.array(value)).flatten()
    elif isinstance(value, bool | int | float):
        yield name, torch.tensor([float(value)])
    elif isinstance(value, str | bytes):
        digest = hashlib.sha256(value.encode() if isinstance(value, str) else value).digest()
        yield name, torch.tensor(list(digest[:8]))
    elif isinstance(value, Mapping):
        for key in value:
            yield from _leaves(value[key], f"{name}/{key}" if name else str(key))
    elif isinstance(value, list | tuple):
        for number, part in enumerate(value):
            yield from _leaves(part, f"{name}/{number}" if name else str(number))


def _numbers(leaf: Tensor) -> list[float]:
    """How many values there are, and of some of them the norm and the components along two drawn directions."""
    values = leaf[_places(len(leaf), _VALUES).to(leaf.device)].cpu()
    values = torch.view_as_real(values).flatten() if values.is_complex() else values
    values = values.double().nan_to_num(0.5, 0.5, -0.5)
    draw = torch.randn(2, len(values), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return [float(len(leaf)), float(torch.linalg.vector_norm(values)), *(draw @ values).tolist()]


def _are_close(one: Sequence[float], other: Sequence[float]) -> bool:
    if one[0] != other[0]:
        return False
    most = _RTOL * max(one[1], other[1])
    return all(math.isclose(a, b, rel_tol=0, abs_tol=most) for a, b in zip(one[1:], other[1:], strict=True))
