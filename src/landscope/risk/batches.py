"""The data of a risk: read once, kept, and cut into blocks that fit the cache."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Generator, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from landscope.errors import InputError

__all__ = ["Block", "blocks_of", "materialised", "read_once"]

Block = tuple[Any, Any]
"""Inputs and targets of some samples."""


def materialised(data: Any, device: torch.device) -> tuple[list[Block], int]:
    """Read ``data`` once: ``(inputs, targets)``, or an iterable of such pairs like a ``DataLoader``.

    Pairs of tensors of one shape a sample are joined, so that they can be cut into blocks of any size.

    Returns:
        The pairs, and the batch size of the loader: how much the user finds fit to evaluate at once.

    Raises:
        InputError: If the data are empty, or a batch is not a pair of inputs and targets.
    """
    if isinstance(data, tuple | list) and len(data) == 2 and all(isinstance(part, Tensor) for part in data):
        pairs: list[Block] = [(data[0], data[1])]
    elif isinstance(data, Iterable):
        pairs = [_pair(batch) for batch in read_once(data)]
    else:
        raise InputError(
            expected="data as (inputs, targets) tensors or an iterable of such batches",
            got=type(data).__name__,
            hint="Pass a DataLoader, or use EmpiricalRisk.from_closure for other batches.",
        )
    pairs = [(_to(inputs, device), _to(targets, device)) for inputs, targets in pairs]
    if not pairs or not any(_length(inputs) for inputs, _ in pairs):
        raise InputError(expected="at least one sample", got="no data", hint="Check the loader or the tensors.")
    for inputs, targets in pairs:
        if isinstance(inputs, Tensor) and isinstance(targets, Tensor) and len(inputs) != len(targets):
            raise InputError(
                expected="as many targets as inputs",
                got=f"{len(inputs)} inputs, {len(targets)} targets",
                hint="Pass pairs.",
            )
    largest = max(_length(inputs) for inputs, _ in pairs)
    return ([_joined(pairs)] if _can_join(pairs) else pairs), largest


def _pair(batch: Any) -> Block:
    if isinstance(batch, Sequence) and len(batch) == 2:
        if isinstance(batch[1], int | float):
            raise InputError(
                expected="batches of inputs and targets",
                got="single samples",
                hint="Wrap the Dataset in a torch.utils.data.DataLoader.",
            )
        return batch[0], batch[1]
    raise InputError(
        expected="batches of (inputs, targets)",
        got=f"{type(batch).__name__}" + (f" of {len(batch)} parts" if isinstance(batch, Sequence) else ""),
        hint="Use EmpiricalRisk.from_closure(model, batch_losses, data) for batches of any other structure.",
    )


def _to(value: Any, device: torch.device) -> Any:
    """A copy: what the user does to the data later changes nothing here, nor the other way round."""
    return value.detach().to(device, copy=True) if isinstance(value, Tensor) else copy.deepcopy(value)


@contextlib.contextmanager
def _random_state_kept(data: Any) -> Generator[None]:
    """A loader draws random numbers even where it does not shuffle; they come back."""
    own = getattr(data, "generator", None)
    state = own.get_state() if isinstance(own, torch.Generator) else None
    with torch.random.fork_rng(devices=[]):
        yield
    if isinstance(own, torch.Generator) and state is not None:
        own.set_state(state)


def read_once(data: Iterable[Any]) -> list[Any]:
    """The batches of a loader, with the random state as it was before."""
    with _random_state_kept(data):
        return list(data)


def _length(value: Any) -> int:
    return len(value) if hasattr(value, "__len__") else 1


def _can_join(pairs: list[Block]) -> bool:
    shapes = {
        (inputs.shape[1:], inputs.dtype, targets.shape[1:], targets.dtype)
        if isinstance(inputs, Tensor) and isinstance(targets, Tensor) and inputs.ndim and targets.ndim
        else None
        for inputs, targets in pairs
    }
    return len(shapes) == 1 and None not in shapes


def _joined(pairs: list[Block]) -> Block:
    if len(pairs) == 1:
        return pairs[0]
    return torch.cat([inputs for inputs, _ in pairs]), torch.cat([targets for _, targets in pairs])


def blocks_of(pairs: list[Block], rows: int) -> list[Block]:
    """Cut joined data into blocks of ``rows`` samples; batches that could not be joined stay as they are."""
    if len(pairs) > 1 or not isinstance(pairs[0][0], Tensor):
        return pairs
    inputs, targets = pairs[0]
    return list(zip(inputs.split(rows), targets.split(rows), strict=True))
