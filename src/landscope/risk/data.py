"""The data of a risk: they are read once, stored, and cut into blocks that fit the processor cache."""

from __future__ import annotations

import contextlib
import copy
import inspect
import weakref
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset

from landscope._checks import explained
from landscope.errors import InputError
from landscope.risk.drawing_loaders import warn_of_draws, with_all_samples
from landscope.risk.random_data import warn_of_random_samples
from landscope.risk.reading import read_to_the_end
from landscope.risk.samples import Counted, check_has_values, counted_by, rows_of
from landscope.seeded import kept_random_state

__all__ = [
    "OTHER_BATCHES",
    "Block",
    "are_classes",
    "check_no_bare_batch",
    "cut_blocks_by_label",
    "cut_blocks",
    "first_pair",
    "call_arguments",
    "call_model",
    "can_join",
    "fits",
    "is_pair_of_tensors",
    "read_data",
    "read_batches",
    "rows_at_once",
    "signature_of",
]

_INPUT_ELEMENTS = 2**21
"""Number of elements in the inputs of one evaluation of a whole model."""

OTHER_BATCHES = (
    "for other batches pass losses=f to ls.Study or ls.keep, or call EmpiricalRisk.from_closure(model, f, data); "
    "f(model, batch) gives the losses."
)
"""What to do with batches that are no pairs."""

Block = tuple[Any, Any]
"""Inputs and targets of some samples."""

_READING_HINT = (
    "The data themselves raise this, also in `for batch in data: ...`. Samples of different sizes, or of other types "
    "than tensors, need DataLoader(..., collate_fn=...)."
)
"""What to do where the data cannot be read."""

_ONCE = "A generator is empty after its first use: pass a list of its batches."
"""What may be wrong where there are no data."""

_FEWEST_ROWS = 1000
"""Mean number of samples for each label from which on blocks with one label each are faster."""

_CONTAINERS = (Mapping, list, tuple)
_TARGETS = ("labels", "label", "targets", "target")
_DATASET_BATCH = 256
_FIRST_ROWS = 32


def read_data(data: Any, device: torch.device, count: Callable[[Any], Any] | None = None) -> tuple[list[Block], int]:
    """Read ``data`` once: ``(inputs, targets)``, a ``Dataset``, or an iterable of batches like a ``DataLoader``.

    A batch is a pair of inputs and targets; several inputs followed by the targets; or a mapping with the targets under
    ``labels``, ``label``, ``targets`` or ``target``.

    Batches of tensors with equal shapes are concatenated, so that they can be cut into blocks of any size. Batches that
    ``count`` counts stay as they are.

    Returns:
        The pairs, and the batch size of the loader, which limits the number of samples in one evaluation.

    Raises:
        InputError: If the data are empty, or a batch is not a pair of inputs and targets.
    """
    check_no_bare_batch(data)
    if isinstance(data, tuple | list) and len(data) == 2 and all(isinstance(part, Tensor) for part in data):
        batches: list[Any] = [(data[0], data[1])]
    elif isinstance(data, Dataset | Iterable) and not isinstance(data, Mapping | str | bytes):
        batches = read_batches(with_all_samples(_loader_of(data)))
    else:
        raise InputError(
            expected="data as (inputs, targets) tensors or an iterable of such batches",
            got=type(data).__name__,
            hint=f"Pass a DataLoader, or {OTHER_BATCHES}"
            + (" One batch is [batch]." if isinstance(data, Mapping) else ""),
        )
    pairs = [tuple(_to(part, device) for part in _pair(batch)) for batch in batches]
    if not pairs or not any(_length(inputs) for inputs, _ in pairs):
        raise InputError(
            expected="at least one sample", got="no data", hint=f"Check the loader or the tensors. {_ONCE}"
        )
    if any(isinstance(targets, Tensor) and targets.ndim == 0 for _, targets in pairs):
        raise InputError(
            expected="batches of inputs and targets",
            got="single samples",
            hint="Pass torch.utils.data.DataLoader(samples, batch_size=100).",
        )
    for inputs, targets in pairs:
        if count is None and isinstance(inputs, Tensor) and isinstance(targets, Tensor) and len(inputs) != len(targets):
            raise InputError(
                expected="as many targets as inputs",
                got=f"{len(inputs)} inputs, {len(targets)} targets",
                hint="Pass one target for each input.",
            )
    if count is not None:
        counts = [counted_by(count, batch) for batch in batches]
        pairs = [
            (inputs, Counted(targets, n, is_whole=True)) for (inputs, targets), n in zip(pairs, counts, strict=True)
        ]
    largest = max(_length(inputs) for inputs, _ in pairs)
    return ([_joined(pairs)] if can_join(pairs) else pairs), largest


def first_pair(data: Any, device: torch.device) -> Block:
    """Inputs and targets of the first batch of data that :func:`read_data` takes, but for iterators.

    Raises:
        InputError: If there is none, or the batch is not a pair of inputs and targets.
    """
    check_no_bare_batch(data)
    if is_pair_of_tensors(data):
        batch = tuple(part[:_FIRST_ROWS] for part in data)
    elif isinstance(data, Dataset | Iterable) and not isinstance(data, Mapping | str | bytes):
        batch = _first_of(_loader_of(data))
    else:
        raise InputError(
            expected="the data as an iterable of batches, like a DataLoader", got=type(data).__name__,
            hint="Pass a DataLoader, or a list of batches; one batch is [batch].",
        )  # fmt: skip
    inputs, targets = (_to(part, device) for part in _pair(batch))
    return inputs, targets


def _first_of(batches: Any) -> Any:
    """The first batch; a loader draws random numbers for it, so random states are restored."""
    with _kept_random_states(batches), explained("data that can be read", _READING_HINT):
        first = next(iter(batches), None)
    if first is None:
        raise InputError(expected="at least one sample", got="no data", hint=f"Check the loader or the list. {_ONCE}")
    return first


def is_pair_of_tensors(data: Any) -> bool:
    """Whether data are inputs and targets as two tensors."""
    return (
        isinstance(data, tuple | list)
        and len(data) == 2
        and all(isinstance(part, Tensor) and part.ndim for part in data)
    )


def _loader_of(data: Any) -> Iterable[Any]:
    """A loader of a data set with a length; any other data unchanged."""
    if isinstance(data, Dataset) and hasattr(data, "__len__") and not isinstance(data, IterableDataset):
        return DataLoader(data, batch_size=_DATASET_BATCH)
    return data


def _pair(batch: Any) -> Block:
    if isinstance(batch, Mapping):
        named = [name for name in _TARGETS if name in batch]
        if not named or len(batch) < 2:
            raise InputError(
                expected=f"batches with inputs, and targets under one of {', '.join(_TARGETS)}",
                got=", ".join(map(str, batch)) or "an empty mapping",
                hint=f"Rename the targets, or {OTHER_BATCHES}",
            )
        return {name: value for name, value in batch.items() if name != named[0]}, batch[named[0]]
    if isinstance(batch, Sequence) and not isinstance(batch, str) and len(batch) > 2:
        return tuple(batch[:-1]), batch[-1]
    if isinstance(batch, Sequence) and len(batch) == 2:
        if isinstance(batch[1], int | float):
            raise InputError(
                expected="batches of inputs and targets",
                got="single samples",
                hint="Wrap the Dataset in a torch.utils.data.DataLoader.",
            )
        return batch[0], batch[1]
    raise InputError(
        expected="batches of (inputs, targets), or mappings",
        got=f"{type(batch).__name__}" + (f" of {len(batch)} parts" if isinstance(batch, Sequence) else ""),
        hint=f"Pass data=(inputs, targets) or a DataLoader, or {OTHER_BATCHES}",
    )


def _to(value: Any, device: torch.device) -> Any:
    """A copy on the device, independent of the data of the user."""
    if isinstance(value, Tensor):
        check_has_values(value)
        return value.detach().to(device, copy=True)
    if isinstance(value, Mapping):
        return {name: _to(part, device) for name, part in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_to(part, device) for part in value)
    return copy.deepcopy(value)


def call_model(model: nn.Module, inputs: Any) -> Any:
    """Call ``model(inputs)``; if ``forward`` accepts them, pass the parts of a mapping or tuple as single arguments."""
    positional, keywords = call_arguments(model, inputs)
    return model(*positional, **keywords)


def call_arguments(model: nn.Module, inputs: Any) -> tuple[tuple[Any, ...], Mapping[Any, Any]]:
    """The arguments by position and by name with which :func:`call_model` calls a model."""
    if isinstance(inputs, Mapping) and fits(model, (), inputs):
        return (), inputs
    if isinstance(inputs, tuple) and fits(model, inputs, {}):
        return inputs, {}
    return (inputs,), {}


def fits(model: nn.Module, positional: tuple[Any, ...], keywords: Mapping[Any, Any]) -> bool:
    """Whether ``model.forward`` accepts these arguments."""
    if (signature := signature_of(model)) is None:
        return False
    try:
        signature.bind(*positional, **keywords)
    except TypeError:
        return False
    return True


def signature_of(model: nn.Module) -> inspect.Signature | None:
    """The signature of ``model.forward``; None where it has none, as in TorchScript."""
    try:
        return _signature(model)
    except (TypeError, ValueError):
        return None


def _signature(model: nn.Module) -> inspect.Signature:
    """The signature of ``model.forward``, read once as long as the function stays the same."""
    function = inspect.unwrap(model.forward)
    function = getattr(function, "__func__", function)  # a bound method would keep the model alive
    known = _SIGNATURES.get(model)
    if known is not None and known[0]() is function:
        return known[1]
    signature = inspect.signature(model.forward)
    with contextlib.suppress(TypeError):  # a compiled function may have no weak references
        _SIGNATURES[model] = weakref.ref(function), signature
    return signature


_SIGNATURES: weakref.WeakKeyDictionary[nn.Module, tuple[Callable[[], Any], inspect.Signature]] = (
    weakref.WeakKeyDictionary()
)


def check_no_bare_batch(data: Any) -> None:
    """Raise if data are the parts of one batch where batches belong: a tensor beside a mapping or a list of tensors.

    Raises:
        InputError: If they are, or if they are two arrays.
    """
    if not isinstance(data, tuple | list) or len(data) != 2:
        return
    if all(isinstance(part, np.ndarray) for part in data):
        raise InputError(
            expected="data as (inputs, targets) tensors", got="two arrays of numpy",
            hint="Pass (torch.as_tensor(inputs).float(), torch.as_tensor(targets)); class labels are integers.",
        )  # fmt: skip
    if sum(isinstance(part, Tensor) for part in data) == 1 and any(isinstance(part, _CONTAINERS) for part in data):
        raise InputError(
            expected="the data as a pair of tensors (inputs, targets), or as a list of batches",
            got=f"one batch: a {type(data[0]).__name__} and a {type(data[1]).__name__}",
            hint="Pass data=[(inputs, targets)], a list with this one batch; smaller batches, as of a DataLoader, need "
            "less memory.",
        )


def read_batches(data: Iterable[Any]) -> list[Any]:
    """The batches of a loader; it draws random numbers even without shuffling, so the random state is restored."""
    check_no_bare_batch(data)
    if isinstance(data, Mapping | str | bytes) or not isinstance(data, Iterable | Dataset):
        raise InputError(
            expected="data as an iterable of batches, like a DataLoader",
            got=type(data).__name__,
            hint="Pass a DataLoader, or a list of batches; one batch is [batch].",
        )
    warn_of_random_samples(data)
    warn_of_draws(data)
    with _kept_random_states(data), explained("data that can be read to their end", _READING_HINT):
        return read_to_the_end(data)


@contextlib.contextmanager
def _kept_random_states(data: Any) -> Generator[None]:
    """Restore the random states of the user afterwards, also that of the generator of a loader."""
    generator = getattr(data, "generator", None)
    state = generator.get_state() if isinstance(generator, torch.Generator) else None
    try:
        with kept_random_state():
            yield
    finally:
        if isinstance(generator, torch.Generator) and state is not None:
            generator.set_state(state)


def _length(value: Any) -> int:
    return len(value) if hasattr(value, "__len__") else 1


def can_join(pairs: Sequence[Block]) -> bool:
    """Whether the pairs are tensors that differ only in their number of samples."""
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


def cut_blocks(pairs: list[Block], rows: int, *, even: bool = False) -> list[Block]:
    """Cut concatenated data into blocks of at most ``rows`` samples, of nearly equal size if ``even``.

    Separate batches are not changed.
    """
    if len(pairs) > 1 or not isinstance(pairs[0][0], Tensor):
        return pairs
    inputs, targets = pairs[0]
    if isinstance(targets, Counted):
        return _cut_structure(inputs, targets, rows)
    if even:
        count = -(-len(targets) // rows)
        return list(zip(inputs.tensor_split(count), targets.tensor_split(count), strict=True))
    return list(zip(inputs.split(rows), targets.split(rows), strict=True))


def _cut_structure(inputs: Tensor, targets: Counted, rows: int) -> list[Block]:
    """Blocks of a batch whose targets are no tensor; the whole batch if it cannot be cut."""
    count = targets.count
    if count is None or count != len(inputs):
        return [(inputs, targets)]
    try:
        parts = [slice(start, start + rows) for start in range(0, count, rows)]
        return [(inputs[part], rows_of(targets, count, part)) for part in parts]
    except ValueError:
        return [(inputs, targets)]


def cut_blocks_by_label(pairs: list[Block], rows: int) -> tuple[list[Block], Tensor] | None:
    """Cut concatenated data into blocks of samples with the same label, if each label has enough samples.

    Returns:
        The blocks, of at most ``rows`` samples, and the index of each of their samples in the data; None if the targets
        are not labels, or the labels have too few samples.
    """
    inputs, targets = pairs[0]
    if len(pairs) > 1 or not isinstance(inputs, Tensor) or not are_classes(targets):
        return None
    order = torch.argsort(targets, stable=True)
    labels, counts = targets.unique(return_counts=True)
    if len(targets) < _FEWEST_ROWS * len(labels):
        return None
    parts = [part for same in order.split(counts.tolist()) for part in same.tensor_split(-(-len(same) // rows))]
    return [(inputs[part], targets[part]) for part in parts], order


def are_classes(targets: Any) -> bool:
    """Whether the targets are class labels: one integer for each sample, and no ignored ones."""
    return (
        isinstance(targets, Tensor) and targets.ndim == 1 and targets.dtype == torch.int64 and int(targets.min()) >= 0
    )


def rows_at_once(pairs: list[Block], most: int) -> int:
    """Number of samples in one evaluation of the whole model."""
    inputs = pairs[0][0]
    each = inputs[0].numel() if isinstance(inputs, Tensor) and inputs.ndim and len(inputs) else 1
    return max(1, min(most, _INPUT_ELEMENTS // max(1, each)))
