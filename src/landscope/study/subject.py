"""What a study looks at: a model, its loss and data, and optional callables that go beyond a recording."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import inspect
import math
import sys
import warnings
from collections.abc import Callable, Generator, Iterator, Mapping
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, RandomSampler

from landscope._names import BatchNorm
from landscope.errors import InputError, NondeterministicLossError
from landscope.parameters import ParameterSpace, inner_model, plain_name
from landscope.risk import EmpiricalRisk
from landscope.risk.checks import UnusedWeightsError, described
from landscope.risk.data import is_pair_of_tensors
from landscope.risk.own_copy import OwnCopies
from landscope.seeded import seeded
from landscope.study.checkpoints import fresh_copy
from landscope.study.first_samples import first_samples

__all__ = ["Evaluate", "Subject", "TrainOn"]

MEASURES = ("train_loss", "train_error", "test_loss", "test_error", "margin")
"""Names of what ``evaluate`` may give."""

Evaluate = Callable[[nn.Module], Mapping[str, float]]
"""``evaluate(model)`` gives any of train_loss, train_error, test_loss, test_error and margin."""


@runtime_checkable
class TrainOn(Protocol):
    """Trains a model on from the end of the window."""

    def __call__(self, model: nn.Module, record: Callable[..., Any], *, sampling: str, n_steps: int, seed: int) -> None:
        """Make an optimiser of ``model`` and train ``n_steps`` steps inside ``with record(optimizer):``.

        Args:
            model: A copy of the model at the end of the window.
            record: Context manager that records; call it with the optimiser.
            sampling: Order of the minibatches: ``"reshuffled"``, ``"shuffled-once"``, ``"fixed"`` or
                ``"with-replacement"``. Raise NotImplementedError for an order you do not offer.
            n_steps: Steps to take; a training that takes fewer is not measured.
            seed: Seed of the minibatches.
        """
        ...


@dataclasses.dataclass
class Subject:
    """A model with the loss that it was trained on.

    Args:
        model: The model; it is never changed.
        criterion: ``criterion(outputs, targets)``, see :class:`landscope.EmpiricalRisk`; None with ``losses``.
        losses: ``losses(model, batch)`` gives per-sample losses or ``(sum, count)``; None with ``criterion``.
        data: The training data that the landscape is measured on.
        evaluate: Gives errors and losses of a model; None where they are not wanted.
        train_on: Trains on from the end of the window; None where that is not offered.
        loss_options: How the loss is evaluated: arguments of :class:`landscope.EmpiricalRisk`, ``count`` and
            ``cache_bytes``, or, with ``losses``, of its ``from_closure``: ``count``, ``seed`` and ``mode``.
    """

    model: nn.Module
    criterion: Callable[..., Any] | None
    losses: Callable[[nn.Module, Any], Any] | None
    data: Any
    evaluate: Evaluate | None = None
    train_on: TrainOn | None = None
    loss_options: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.model, nn.Module):
            raise InputError(
                expected="a model (torch.nn.Module)",
                got=type(self.model).__name__,
                hint='ls.Study("folder", model, ...)',
            )
        if next(self.model.parameters(), None) is None:
            raise InputError(
                expected="a model with parameters",
                got=f"{type(self.model).__name__}, which has none",
                hint='ls.Study("folder", model, criterion, data)',
            )
        if (self.criterion is None) == (self.losses is None):
            raise InputError(
                expected="either a criterion or losses=",
                got="both" if self.criterion is not None else "neither",
                hint="Pass criterion(outputs, targets), or losses=f with f(model, batch).",
            )
        if self.data is None:
            raise InputError(
                expected="the training data", got="none", hint="Pass data=, a DataLoader or (inputs, targets)."
            )
        if isinstance(self.data, Mapping | str | bytes):
            raise InputError(
                expected="the training data as batches",
                got=f"one {type(self.data).__name__}",
                hint="Pass a DataLoader, (inputs, targets), or a list of batches; one batch is [batch].",
            )
        for name in ("criterion", "losses", "evaluate", "train_on"):
            if getattr(self, name) is not None and not callable(getattr(self, name)):
                raise InputError(
                    expected=f"{name} as a function",
                    got=type(getattr(self, name)).__name__,
                    hint='ls.Study("folder", model, criterion, data)',
                )
            _check_takes(name, getattr(self, name))
        if self.criterion is not None and is_pair_of_tensors(self.data) and len(self.data[0]) != len(self.data[1]):
            raise InputError(
                expected="as many targets as inputs",
                got=f"{len(self.data[0])} inputs and {len(self.data[1])} targets",
                hint="Pass (inputs, targets) with one target for each input.",
            )
        _check_options(self.loss_options, _CLOSURE_OPTIONS if self.criterion is None else _CRITERION_OPTIONS)
        if isinstance(self.data, Iterator):  # it could be read only once
            self.data = list(self.data)

    @property
    def data_fingerprint(self) -> str:
        """What tells tensors of data from others: the first samples, hashed; empty for data of another form."""
        if not is_pair_of_tensors(self.data):
            return ""
        few = [part[:16].detach().cpu().contiguous() for part in self.data]
        return hashlib.sha256(b"".join(part.flatten().view(torch.uint8).numpy().tobytes() for part in few)).hexdigest()

    @property
    def batch_size(self) -> int | None:
        """Samples in a minibatch, where the data are a DataLoader that says so."""
        return self.data.batch_size if isinstance(self.data, DataLoader) else None

    @property
    def has_loader(self) -> bool:
        """Whether the data are a DataLoader, which says how minibatches are made."""
        return isinstance(self.data, DataLoader)

    @property
    def weight_matrices(self) -> list[str]:
        """Names of the trained parameters with more than one axis."""
        return [
            plain_name(name)
            for name, tensor in inner_model(self.model).named_parameters()
            if tensor.ndim > 1 and tensor.requires_grad
        ]

    def batches_in_an_epoch(self, batch_size: int | None) -> int | None:
        """Number of minibatches in an epoch, where the data say so."""
        if isinstance(self.data, DataLoader) and batch_size in (None, self.data.batch_size):
            with contextlib.suppress(TypeError):  # a stream has no length
                return len(self.data)
            return None
        samples = self.data.dataset if isinstance(self.data, DataLoader) else self.data
        samples = samples[0] if is_pair_of_tensors(samples) else samples
        if batch_size is None or not isinstance(samples, Tensor | Dataset) or not hasattr(samples, "__len__"):
            return None
        return max(1, len(samples) // batch_size)

    def copy(self) -> nn.Module:
        """A copy of the model, to load other weights into."""
        return fresh_copy(self.model)

    def risk(self, model: nn.Module, space: ParameterSpace, *, batch_norm: BatchNorm = "kept") -> EmpiricalRisk:
        """The loss landscape of a model over some of its weights."""
        # A loss that holds the model of the study, as a penalty on its weights does, looks at this one.
        own = OwnCopies(self.model, model, space.names) if model is not self.model else lambda function: function
        with seeded(0):  # a loader that draws its order draws the same one every time
            if self.losses is not None:
                if batch_norm != "kept":
                    raise InputError(
                        expected="batch_norm='kept' with losses=",
                        got=f"batch_norm={batch_norm!r}",
                        hint="Pass a criterion in place of losses=, or leave batch_norm out.",
                    )
                data = [self.data] if is_pair_of_tensors(self.data) else _in_order(self.data)
                return EmpiricalRisk.from_closure(model, own(self.losses), data, space=space, **self.loss_options)
            assert self.criterion is not None  # noqa: S101 - checked when the subject was made
            return EmpiricalRisk(
                model,
                own(self.criterion),
                _in_order(self.data),
                space=space,
                batch_norm=batch_norm,
                **self.loss_options,
            )

    def check_loss(self, space: ParameterSpace, *, batch_norm: BatchNorm = "kept") -> None:
        """Raise if the loss of some first samples cannot be evaluated; a training that follows stays the same.

        Nothing is evaluated where several processes share the model, or where the samples cannot be taken without a
        change to the training.

        Args:
            space: The selected parameters.
            batch_norm: Statistics of batch normalisation.

        Raises:
            InputError: If the model, the loss and the data do not fit.
            NondeterministicLossError: If two evaluations at the same weights differ.
        """
        shared = torch.distributed.is_available() and torch.distributed.is_initialized()
        if shared and torch.distributed.get_world_size() > 1:
            return
        with seeded(0), warnings.catch_warnings(), _nothing_compiled():
            warnings.simplefilter("ignore")  # the analysis says it again, of all data
            few = first_samples(self.data, collated=self.losses is None)
            if few is None:
                return
            try:
                dataclasses.replace(self, data=few).risk(self.model, space, batch_norm=batch_norm)
            except (InputError, NondeterministicLossError) as error:
                # Other samples may use the weights, as with experts; a function may need all samples at once.
                unused = isinstance(error, UnusedWeightsError)
                if not unused and (self.losses is None or not is_pair_of_tensors(few)):
                    raise
                self.risk(self.model, space, batch_norm=batch_norm)
            except Exception:  # noqa: BLE001 - no memory for a copy of the model: the training goes first
                return

    def measure(self, model: nn.Module, *, seed: int = 0) -> dict[str, float]:
        """Losses and errors of a model in eval mode, from ``evaluate``; NaN for a quantity that it does not give.

        Args:
            model: The model.
            seed: Seed of what ``evaluate`` draws.

        Raises:
            InputError: If ``evaluate`` gives no mapping, or a name that is not known.
        """
        with torch.no_grad(), seeded(seed):
            found = self.evaluate(model.eval()) if self.evaluate is not None else {}
        if not isinstance(found, Mapping) or not set(found) <= set(MEASURES):
            raise InputError(
                expected=f"evaluate(model) to give a mapping with any of {', '.join(MEASURES)}",
                got=", ".join(map(str, found)) if isinstance(found, Mapping) else type(found).__name__,
                hint="For example return {'train_loss': 0.1, 'test_error': 0.02}.",
            )
        return {name: _number(name, found[name]) if name in found else math.nan for name in MEASURES}


_CRITERION_OPTIONS, _CLOSURE_OPTIONS = ("count", "cache_bytes"), ("count", "seed", "mode")


def _check_options(options: Any, known: tuple[str, ...]) -> None:
    if not isinstance(options, Mapping) or not set(options) <= set(known):
        raise InputError(
            expected=f"loss_options with any of {', '.join(known)}",
            got=", ".join(map(str, options)) if isinstance(options, Mapping) else type(options).__name__,
            hint="seed and mode belong to losses=f. For example loss_options={'count': lambda batch: len(batch[0])}.",
        )


def _number(name: str, value: Any) -> float:
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


@contextlib.contextmanager
def _nothing_compiled() -> Generator[None]:
    """Let no function of torch.compile see a batch of another size: it would compile the training in another way."""
    with torch.compiler.set_stance("force_eager") if "torch._dynamo" in sys.modules else contextlib.nullcontext():
        yield


def _in_order(data: Any) -> Any:
    """The samples of a shuffling loader in the order of their data set, all of them; other data unchanged."""
    if not isinstance(data, DataLoader) or data.batch_size is None or not isinstance(data.sampler, RandomSampler):
        return data
    if data.sampler.replacement or len(data.sampler) != len(data.dataset):
        return data
    return DataLoader(data.dataset, batch_size=data.batch_size, collate_fn=data.collate_fn)


@torch.no_grad()
def set_weights(model: nn.Module, space: ParameterSpace, w: Tensor) -> None:
    """Write a vector of selected weights into a model."""
    for tensor, value in zip(space.tensors(model), space.unflatten(w).values(), strict=True):
        tensor.copy_(value)
