"""Whether the parts of a study are what they must be: the model, its loss, the data, and the functions of a user."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from landscope.errors import InputError
from landscope.risk.checks import described
from landscope.risk.data import check_no_bare_batch, is_pair_of_tensors

if TYPE_CHECKING:
    from landscope.study.subject import Subject

__all__ = ["check_batch_size", "check_subject", "n_samples", "number_of"]


def check_subject(subject: Subject) -> None:
    """Raise if a part of a subject is not what it must be.

    Raises:
        InputError: If it is not.
    """
    if not isinstance(subject.model, nn.Module):
        raise InputError(
            expected="a model (torch.nn.Module)",
            got=type(subject.model).__name__,
            hint='ls.Study("folder", model, ...)',
        )
    if next(subject.model.parameters(), None) is None:
        raise InputError(
            expected="a model with parameters",
            got=f"{type(subject.model).__name__}, which has none",
            hint='ls.Study("folder", model, criterion, data)',
        )
    if subject.criterion is not None and subject.losses is not None:
        raise InputError(
            expected="either a criterion or losses=",
            got="both",
            hint="Pass criterion(outputs, targets), or losses=f with f(model, batch).",
        )
    if subject.criterion is None and subject.losses is None and subject.data is None:
        raise InputError(
            expected="either a criterion or losses=, and data",
            got="neither",
            hint="Pass criterion(outputs, targets), or losses=f with f(model, batch); a model that computes its loss "
            "itself needs data alone.",
        )
    if subject.data is None:
        raise InputError(
            expected="the training data", got="none", hint="Pass data=, a DataLoader or (inputs, targets)."
        )
    if isinstance(subject.data, Mapping | str | bytes):
        raise InputError(
            expected="the training data as batches",
            got=f"one {type(subject.data).__name__}",
            hint="Pass a DataLoader, (inputs, targets), or a list of batches; one batch is [batch].",
        )
    for name in ("criterion", "losses", "evaluate", "train_on"):
        if getattr(subject, name) is not None and not callable(getattr(subject, name)):
            raise InputError(
                expected=f"{name} as a function",
                got=type(getattr(subject, name)).__name__,
                hint='ls.Study("folder", model, criterion, data)',
            )
        _check_takes(name, getattr(subject, name))
    if (
        subject.criterion is not None
        and is_pair_of_tensors(subject.data)
        and len(subject.data[0]) != len(subject.data[1])
    ):
        raise InputError(
            expected="as many targets as inputs",
            got=f"{len(subject.data[0])} inputs and {len(subject.data[1])} targets",
            hint="Pass (inputs, targets) with one target for each input.",
        )
    _check_options(subject.loss_options, _CRITERION_OPTIONS if subject.losses is None else _CLOSURE_OPTIONS)
    check_no_bare_batch(subject.data)


def n_samples(data: Any) -> int | None:
    """Number of samples of the data, where they say it without being read."""
    samples = data.dataset if isinstance(data, DataLoader) else data
    samples = samples[0] if is_pair_of_tensors(samples) else samples
    return len(samples) if isinstance(samples, Tensor | Dataset) and hasattr(samples, "__len__") else None


def check_batch_size(data: Any, batch_size: Any) -> None:
    """Raise if minibatches are larger than the data.

    Args:
        data: Data of a study.
        batch_size: Samples in a minibatch; anything that is no integer is the business of the settings.

    Raises:
        InputError: If the data have fewer samples.
    """
    count = n_samples(data)
    if count is None or not isinstance(batch_size, int) or batch_size <= count:
        return
    raise InputError(
        expected=f"a batch size of at most {count}, the samples of the data", got=f"batch_size={batch_size}",
        hint="Pass the batch size of the training, and all of its data; the noise is that of minibatches drawn from "
        f"them. Where every step took all samples, pass batch_size={count}.",
    )  # fmt: skip


_CRITERION_OPTIONS, _CLOSURE_OPTIONS = ("count", "cache_bytes"), ("count", "seed", "mode")


def _check_options(options: Any, known: tuple[str, ...]) -> None:
    if not isinstance(options, Mapping) or not set(options) <= set(known):
        raise InputError(
            expected=f"loss_options with any of {', '.join(known)}",
            got=", ".join(map(str, options)) if isinstance(options, Mapping) else type(options).__name__,
            hint="seed and mode belong to losses=f. For example loss_options={'count': lambda batch: len(batch[0])}.",
        )


def number_of(name: str, value: Any) -> float:
    """A measure that ``evaluate`` gave, as a number.

    Raises:
        InputError: If it is none, or an error that is no share.
    """
    try:
        if isinstance(value, str | bytes):
            raise TypeError
        number = float(value)
    except (TypeError, ValueError, RuntimeError):
        raise InputError(
            expected=f"evaluate(model) to give {name} as a number",
            got=f"a value {described(value)}",
            hint="For example return {'train_loss': 0.1, 'test_error': 0.02}.",
        ) from None
    if math.isnan(number):
        raise InputError(
            expected=f"evaluate(model) to give {name} as a number", got="NaN",
            hint="Leave out what cannot be measured.",
        )  # fmt: skip
    if name.endswith("_error") and not 0 <= number <= 1:
        raise InputError(
            expected=f"evaluate(model) to give {name} as a share between 0 and 1", got=f"{number:g}",
            hint="Divide per cent by 100.",
        )  # fmt: skip
    return number


_CALLS = {
    "criterion": (("outputs", "targets"), ()),
    "losses": (("model", "batch"), ()),
    "evaluate": (("model",), ()),
    "train_on": (("model", "record"), ("sampling", "n_steps", "seed")),
}
"""How each function is called: by position, and by name."""


def _check_takes(name: str, function: Callable[..., Any] | None) -> None:
    """Raise if a function does not take the arguments that it will be called with."""
    if function is None:
        return
    by_position, by_name = _CALLS[name]
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # of C code
        return
    try:
        signature.bind(*by_position, **dict.fromkeys(by_name))
    except TypeError as error:
        raise InputError(
            expected=f"{name}({', '.join((*by_position, *(f'{name}=...' for name in by_name)))})",
            got=f"a function of {signature}",
            hint=f"Give it these arguments ({error})." + (" See help(ls.study.TrainOn)." if by_name else ""),
        ) from None
