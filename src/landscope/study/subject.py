"""What a study looks at: a model, its loss and data, and optional callables that go beyond a recording."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import sys
import warnings
from collections.abc import Callable, Generator, Iterator, Mapping
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, RandomSampler

from landscope._names import BatchNorm
from landscope.errors import InputError, NondeterministicLossError
from landscope.parameters import ParameterSpace, inner_model, plain_name
from landscope.risk import EmpiricalRisk
from landscope.risk.checks import UnusedWeightsError
from landscope.risk.data import is_pair_of_tensors
from landscope.risk.drawing_loaders import is_shard, warn_of_draws, with_all_samples
from landscope.risk.own_copy import OwnCopies
from landscope.risk.own_loss import own_criterion
from landscope.risk.reading import read_to_the_end
from landscope.seeded import seeded
from landscope.study.checkpoints import fresh_copy
from landscope.study.data_identity import DataIdentity, identity_of_data
from landscope.study.first_samples import first_samples
from landscope.study.subject_checks import check_subject, n_samples, number_of
from landscope.study.train_on import TrainOn

__all__ = ["Evaluate", "Subject"]

MEASURES = ("train_loss", "train_error", "test_loss", "test_error", "margin")
"""Names of what ``evaluate`` may give."""

Evaluate = Callable[[nn.Module], Mapping[str, float]]
"""``evaluate(model)`` gives any of train_loss, train_error, test_loss, test_error and margin."""


@dataclasses.dataclass
class Subject:
    """A model with the loss that it was trained on.

    Args:
        model: The model; it is never changed.
        criterion: ``criterion(outputs, targets)``, see :class:`landscope.EmpiricalRisk`; None with ``losses``, or for
            the loss that the model itself computes from ``labels``.
        losses: ``losses(model, batch)`` gives per-sample losses or ``(sum, count)``; None with ``criterion``.
        data: The training data that the landscape is measured on.
        evaluate: Gives errors and losses of a model in eval mode; None where they are not wanted.
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
        check_subject(self)
        if isinstance(self.data, Iterator):  # it could be read only once
            self.data = read_to_the_end(self.data)
        if self.criterion is None and self.losses is None:
            self.criterion = own_criterion(self.model, self.data)

    @property
    def data_identity(self) -> DataIdentity:
        """What tells the data from others, without reading all of them."""
        return identity_of_data(self.data, collated=self.losses is None)

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
        count = n_samples(self.data)
        return None if batch_size is None or count is None else max(1, count // batch_size)

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

        Warns:
            LandscopeWarning: If a loader draws the samples.
        """
        shared = torch.distributed.is_available() and torch.distributed.is_initialized()
        if shared and torch.distributed.get_world_size() > 1:
            return
        data = _in_order(self.data)
        warn_of_draws(with_all_samples(data) if self.losses is None else data)
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
        return {name: number_of(name, found[name]) if name in found else math.nan for name in MEASURES}


@contextlib.contextmanager
def _nothing_compiled() -> Generator[None]:
    """Let no function of torch.compile see a batch of another size: it would compile the training in another way."""
    with torch.compiler.set_stance("force_eager") if "torch._dynamo" in sys.modules else contextlib.nullcontext():
        yield


def _in_order(data: Any) -> Any:
    """The samples of a shuffling loader in the order of their data set, all of them; other data unchanged."""
    if is_shard(data):
        return with_all_samples(data)
    if not isinstance(data, DataLoader) or data.batch_size is None or not isinstance(data.sampler, RandomSampler):
        return data
    if data.sampler.replacement or len(data.sampler) != len(data.dataset):
        return data
    return DataLoader(data.dataset, batch_size=data.batch_size, collate_fn=data.collate_fn)
