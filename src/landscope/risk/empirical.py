"""EmpiricalRisk: the loss of a model on its data as a function of the selected weights (paper, Eq. 1)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn

from landscope._checks import (
    check_choice,
    check_count,
    check_directions,
    check_one_point,
    check_vector,
    device_with_float64,
    for_float64,
    generator_of,
)
from landscope._names import BatchNorm
from landscope.full_precision import in_full_precision
from landscope.parameters import ParameterSpace, inner_model
from landscope.plain_lines import PlainLines
from landscope.protocols import Lines, ProgressCallback, silent
from landscope.risk import checks, derivatives
from landscope.risk.answers import Answers, answers_of
from landscope.risk.batch_norm import warn_of_other_statistics
from landscope.risk.conditions import Conditions, Mode
from landscope.risk.copied import copied
from landscope.risk.evaluation import BlockLosses, TracedLosses, evaluated, on_all_data
from landscope.risk.fisher import FisherInformation
from landscope.risk.kronecker import KroneckerKind, LayerFactors, kronecker_factors, layers_with_factors
from landscope.risk.lines import TracedLines
from landscope.risk.losses import is_plain_cross_entropy
from landscope.risk.metrics import HasModel
from landscope.risk.other_weights import other_weights, with_weights
from landscope.risk.own_loss import criterion_and_data
from landscope.risk.prepared import prepared_closure, prepared_data
from landscope.risk.running_statistics import running_statistics, updating_layers, with_statistics
from landscope.risk.sampled import SampledRisk
from landscope.risk.traced_blocks import fastest_losses, traced_lines
from landscope.risk.weighted_losses import total_weight
from landscope.shown import name_of

__all__ = ["EmpiricalRisk"]

_FEW = 8
"""Samples by which layers are tried."""
_OF_SAMPLES = ("samples", "samples_of_batches", "_single")
"""What a risk keeps about its samples."""


@in_full_precision
class EmpiricalRisk(SampledRisk, HasModel):
    r"""The loss of a network on a data set, as a landscape over its selected weights.

    .. math:: L(w) = \frac1M \sum_{k=1}^M d(Y_k(w), Z_k)

    (paper, Eq. 1). The risk copies all weights, also those of models that the criterion holds, and reads the data once.
    It evaluates the model in eval mode, and changes neither the model nor the data nor the random state of the user. It
    sums the losses of the samples in float64, on the host where the device has no float64.

    The part of the model that the selected weights do not change is evaluated once and stored (``cache_bytes`` limits
    the memory). A wrapper (``torch.compile``, data parallelism) is left out, and a model in half precision is evaluated
    in float32, because a loss with 3 digits makes staircases of lines. For the same reason ``torch.autocast`` is off in
    the risk, wherever it is made or called; where ``forward`` switches it on itself, a warning says so.

    Derivatives are those of the backward pass of the model, with its ``autograd.Function``, its ``torch.no_grad()`` and
    its hooks. Forward hooks may change outputs, so they run at every evaluation; what else they do, such as filling a
    list, they do then too. Remove them before, if that does harm.

    Args:
        model: The network. It reads the selected weights as attributes of its layers, not from a list or a closure.
        criterion: ``criterion(outputs, targets)``: a ``torch.nn`` loss, its functional form, or any callable that
            returns one loss for each sample, their mean, or ``(losses, weight)`` with one weight for each loss or one
            for all; the risk is then the sum of all losses over the sum of all weights. With ``reduction="mean"`` a
            loss of torch with class weights or ignored labels has these weights; with ``"sum"`` or ``"none"`` every
            sample counts once, as in a training on the sum, or the losses, divided by the number of samples. Leave it
            out for a model that computes its loss itself, ``model(**batch).loss``, as those of transformers do.
        data: ``(inputs, targets)`` tensors, a ``Dataset``, or an iterable of batches, like a ``DataLoader``. A batch
            is a pair; several inputs followed by the targets; or a mapping with the targets under ``labels`` and the
            keywords of the model. Of a loader with ``shuffle=True, drop_last=True`` all samples are taken, as a
            training sees them over its epochs; of a sampler that draws with replacement or with weights, one draw.
        space: Parameters that are the coordinates; by default all that require a gradient.
        cache_bytes: Memory limit for stored activations.
        batch_norm: Statistics of batch normalisation: ``"kept"`` uses the statistics of the model in eval mode;
            ``"re-estimated"`` averages them at every point over batches of nearly equal size, at most 1,024 samples
            each. This needs one more pass for each point, and the loss then has no derivatives.
        count: ``count(batch)`` gives the number of samples that a custom criterion takes its mean over, where a batch
            does not say it, as with graphs. Such batches stay as they are.

    Raises:
        InputError: If the data are empty or not pairs, no target is counted, the loss does not depend on the selected
            weights, the model reads them past its layers or lets samples of a batch depend on each other, or it has no
            statistics to estimate. An evaluation raises it if weights changed that the model uses, but does not hold.
        NonFiniteError: If the loss is NaN.
        NondeterministicLossError: If two evaluations at the same weights differ.

    Example:
        The squared error of one weight is a parabola.

        >>> import torch
        >>> model = torch.nn.Linear(1, 1, bias=False)
        >>> data = (torch.ones(4, 1), torch.zeros(4, 1))
        >>> risk = EmpiricalRisk(model, torch.nn.MSELoss(), data)
        >>> risk(torch.tensor([[1.0], [2.0], [3.0]])).tolist()
        [1.0, 4.0, 9.0]
        >>> risk.gradient(torch.tensor([3.0])).tolist()
        [6.0]
    """

    def __init__(
        self,
        model: nn.Module,
        criterion: Callable[..., Any] | None = None,
        data: Any = None,
        *,
        space: ParameterSpace | None = None,
        cache_bytes: int = 2**30,
        batch_norm: BatchNorm = "kept",
        count: Callable[[Any], Any] | None = None,
    ) -> None:
        criterion, data = criterion_and_data(model, criterion, data)
        self._start(model, space, cache_bytes, criterion)
        self._batch_norm = check_choice("batch_norm", batch_norm, get_args(BatchNorm))
        self._class_major = is_plain_cross_entropy(criterion)
        found = prepared_data(model, self._model, self.space, criterion, data, count)
        self._set_model(found.model)
        self._keeps_statistics = self._keeps_statistics and batch_norm == "kept"
        self._answers = None if found.uses_weights else answers_of(criterion)
        if self._batch_norm == "re-estimated":
            self._blocks: BlockLosses = found.reestimated()
        else:
            self._blocks = fastest_losses(
                found, self.space, inner_model(model), class_major=self._class_major, cache_bytes=self._cache_bytes
            )
        with on_all_data():
            checks.check_losses(self._blocks, self.space, self.w0)

    @classmethod
    def from_closure(
        cls,
        model: nn.Module,
        batch_losses: Callable[[nn.Module, Any], Tensor | tuple[Tensor, Any]],
        data: Iterable[Any],
        *,
        space: ParameterSpace | None = None,
        cache_bytes: int = 2**30,
        count: Callable[[Any], Any] | None = None,
        seed: int | None = None,
        mode: Mode = "eval",
    ) -> EmpiricalRisk:
        """Create a risk for batches of any structure.

        Args:
            model: The network.
            batch_losses: Function ``batch_losses(model, batch)`` that returns the loss of each sample, ``(sum, n)``,
                ``(losses, weights)`` with one weight for each loss, by which the losses are multiplied already (the
                risk is sum over sum), or, with ``count``, their mean. It should use the model in its argument; the same
                model held by the function becomes the same copy.
            data: The batches; they are read once, and kept on the device of the model.
            space: Parameters that are the coordinates.
            cache_bytes: Memory limit for stored activations.
            count: ``count(batch)`` gives the number of samples that a mean is taken over.
            seed: Seed of the random numbers of a loss that draws them, as of a variational or a diffusion model. Each
                batch has its own, the same at every point, so that the loss is a smooth function of the weights.
            mode: ``"train"`` for a model that returns losses only in train mode, such as a detector; its normalisation
                keeps its statistics, and its dropout stays off.

        Returns:
            The risk.

        Raises:
            InputError: If the closure returns another type, a mean in place of a sum, or a loss that does not depend on
                the selected weights, as that of another model.
            NondeterministicLossError: If two evaluations at the same weights differ.

        Example:
            >>> import torch
            >>> model = torch.nn.Linear(1, 1, bias=False)
            >>> batches = [{"x": torch.tensor([[1.0], [2.0]]), "weight": torch.tensor([3.0, 1.0])}]
            >>> def batch_losses(model, batch):
            ...     return batch["weight"] * model(batch["x"]).square().squeeze(1), batch["weight"]
            >>> EmpiricalRisk.from_closure(model, batch_losses, batches)(torch.tensor([1.0])).item()  # (3 + 4)/(3 + 1)
            1.75
        """
        risk = cls.__new__(cls)
        risk._start(model, space, cache_bytes, batch_losses)
        private, risk._blocks = prepared_closure(
            model, risk._model, risk.space, batch_losses, data, count=count, conditions=Conditions(mode, seed),
            cache_bytes=risk._cache_bytes,
        )  # fmt: skip
        risk._set_model(private)
        return risk

    def _start(self, model: nn.Module, space: ParameterSpace | None, cache_bytes: int, loss: Any) -> None:
        derivatives.check_autograd()
        self._loss_name, self._class_major, self._batch_norm = name_of(loss), False, "kept"
        self.space = ParameterSpace.of(model, space)
        self._answers: Answers | None = None
        self._cache_bytes = check_count("cache_bytes", cache_bytes, minimum=0, hint="Pass a number of bytes: 2**30.")
        self._set_model(copied(model))

    def _set_model(self, model: nn.Module) -> None:
        self._model, self.w0 = model, self.space.flatten(model)
        self._device, self._dtype = self.w0.device, self.w0.dtype
        self._keeps_statistics = bool(updating_layers(model))

    def random_subset(self, n_samples: int, *, seed: int = 0) -> EmpiricalRisk:
        """The risk on a part of the data, for estimates that need no more.

        Args:
            n_samples: Number of samples; of a function of a batch, whole batches until they hold as many.
            seed: Seed of the choice.

        Returns:
            A risk of the same model on these samples, or on all where the data have no more.

        Raises:
            InputError: If the number is below 1.

        Example:
            >>> import torch
            >>> model = torch.nn.Linear(1, 1, bias=False)
            >>> risk = EmpiricalRisk(model, torch.nn.MSELoss(), (torch.ones(100, 1), torch.zeros(100, 1)))
            >>> len(risk.random_subset(10).sample_losses(torch.ones(1)))
            10
        """
        check_count("n_samples", n_samples, minimum=1)
        other = EmpiricalRisk.__new__(type(self))
        other.__dict__ = {name: value for name, value in self.__dict__.items() if name not in _OF_SAMPLES}
        other._blocks = self._blocks.random_subset(n_samples, generator_of(seed))
        return other

    @property
    def provenance(self) -> dict[str, Any]:
        """Description of the landscape in the provenance of results."""
        return {"parameters": list(self.space.names), "traced": self.is_traced, "batch_norm": self._batch_norm}

    @property
    def is_traced(self) -> bool:
        """Whether the model is traced; if not, stored layers are skipped, and the rest runs as it is."""
        return isinstance(self._blocks, TracedLosses)

    @property
    def keeps_statistics(self) -> bool:
        """Whether the model has running statistics, which stay the same at all weights."""
        return self._batch_norm == "kept" and bool(updating_layers(self._model))

    def __call__(self, w: Float[Tensor, "*points N"]) -> Float[Tensor, "*points"]:
        """The risk at ``w``.

        Args:
            w: Selected weights with any number of leading axes; the result has a graph if ``w`` requires a gradient.

        Returns:
            The loss L in float64.

        Raises:
            InputError: If the last axis is not N.
            NonFiniteError: If ``w`` contains NaN or infinity.
        """
        w = self.checked("w", w)
        with torch.set_grad_enabled(torch.is_grad_enabled() and w.requires_grad):
            points = [self._risk(point) for point in w.reshape(-1, self.space.dim)]
            return torch.stack(points).reshape(w.shape[:-1]) if points else w.new_empty(w.shape[:-1]).double()

    def at_model(self, model: nn.Module, *, whole: bool = False) -> float:
        """The risk with the selected weights and the running statistics that a model has now.

        Args:
            model: The model of this risk, or a copy; what else it has stays as the risk copied it.
            whole: Whether all other weights that require a gradient are those of the model too.

        Example:
            >>> import torch
            >>> model = torch.nn.Sequential(torch.nn.BatchNorm1d(1, eps=1e-12))
            >>> risk = EmpiricalRisk(model, torch.nn.MSELoss(), (torch.ones(4, 1), torch.zeros(4, 1)))
            >>> _ = model[0].running_mean.fill_(3.0)
            >>> float(risk(risk.w0)), risk.at_model(model)
            (1.0, 4.0)
        """
        ours, theirs = running_statistics(self._model), running_statistics(model)
        with torch.no_grad():
            w = self.space.flatten(model)
            others = other_weights(model, self.space) if whole else {}
            if not others and all(
                name not in theirs or torch.equal(value, theirs[name].to(value)) for name, value in ours.items()
            ):
                return float(self(w))
            with with_statistics(self._model, theirs), with_weights(self._model, others):
                return float(self.without_stored()(w))

    def without_stored(self) -> EmpiricalRisk:
        """The same risk, of the same copy of the model, that stores no activations: for other buffers or weights."""
        other = EmpiricalRisk.__new__(type(self))
        other.__dict__ = {name: value for name, value in self.__dict__.items() if name not in _OF_SAMPLES}
        other._blocks, other._keeps_statistics = self._blocks.without_stored(), False
        return other

    def checked(self, name: str, w: Tensor) -> Tensor:
        """The weights ``w`` ``[N]`` in device and dtype of the model; an InputError of another size has ``name``."""
        return check_vector(name, w, dim=self.space.dim, device=self._device, dtype=self._dtype)

    def _losses(self, w: Tensor) -> Iterator[tuple[Tensor, Tensor | float]]:
        parameters = self.space.unflatten(w)
        for block in range(self._blocks.n_blocks):
            with evaluated(block, self._blocks.n_blocks):
                found = self._blocks.losses(parameters, block)
            yield found

    def _risk(self, w: Tensor) -> Tensor:
        total, weight = torch.zeros((), dtype=torch.float64, device=device_with_float64(self._device)), 0.0
        for losses, block_weight in self._losses(w):
            total = total + for_float64(losses).sum(dtype=torch.float64)
            weight = weight + total_weight(block_weight)
        return total / weight

    def gradient(self, w: Float[Tensor, " N"], *, progress: ProgressCallback = silent) -> Float[Tensor, " N"]:
        """The gradient at ``w`` ``[N]`` (else an InputError), summed in float64; ``progress`` counts blocks."""
        return derivatives.gradient(self._blocks, self.space, check_one_point("w", self.checked("w", w)), progress)

    def hessian_vector_product(
        self, w: Float[Tensor, " N"], vector: Float[Tensor, " N"], *, progress: ProgressCallback = silent
    ) -> Float[Tensor, " N"]:
        r"""Product :math:`\nabla^2 L(w)\, v`; ``w``, ``vector`` ``[N]`` (else InputError); ``progress`` as above."""
        w = check_one_point("w", self.checked("w", w))
        vector = check_one_point("vector", self.checked("vector", vector))
        return derivatives.hessian_vector_product(self._blocks, self.space, w, vector, progress)

    def fisher_information(self) -> FisherInformation:
        """The Fisher information of the outputs about the selected weights, for elastic weight consolidation."""
        return FisherInformation(self._blocks, self._model, self.space, self.w0, self._answers)

    def gauss_newton_product(self, w: Float[Tensor, " N"], vector: Float[Tensor, " N"]) -> Float[Tensor, " N"]:
        """The Gauss-Newton matrix at ``w`` ``[N]`` times ``vector`` ``[N]``, see :meth:`fisher_information`."""
        return self.fisher_information().gauss_newton_product(w, vector)

    def kronecker_factors(
        self,
        w: Float[Tensor, " N"],
        kind: KroneckerKind = "auto",
        *,
        n_draws: int = 10,
        seed: int = 0,
        layers: Sequence[str] | None = None,
    ) -> list[LayerFactors]:
        """Kronecker factors of the Fisher information at ``w``, one pair for each layer.

        Args:
            w: Selected weights.
            kind: Kind of Fisher information, see :class:`landscope.risk.fisher.FisherInformation`.
            n_draws: Answers or random signs drawn for each sample.
            seed: Seed of the draws.
            layers: Names of the layers, see :meth:`layers_with_factors`; by default all that hold selected weights.

        Returns:
            For each layer its ``name``, the ``columns`` of its weights in w, and the factors ``inputs`` and
            ``outputs``, whose Kronecker product approximates the Fisher information of the layer.

        Raises:
            InputError: If a selected weight is of another layer than a linear one or a 2-d convolution, or a layer is
                called twice.
        """
        w = check_one_point("w", self.checked("w", w))
        return kronecker_factors(self.fisher_information(), w, kind, n_draws=n_draws, seed=seed, names=layers)

    def layers_with_factors(self) -> list[str]:
        """Names of the layers for which :meth:`kronecker_factors` works: those that see each sample on its own, once.

        Example:
            >>> import torch
            >>> model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.LayerNorm(2), torch.nn.Linear(2, 1))
            >>> risk = EmpiricalRisk(model, torch.nn.MSELoss(), (torch.ones(4, 2), torch.ones(4, 1)))
            >>> risk.layers_with_factors()
            ['0', '2']
        """
        return layers_with_factors(self.random_subset(_FEW).fisher_information(), self.w0)

    def lines(self, w0: Float[Tensor, " N"], directions: Float[Tensor, "k N"]) -> Lines:
        """Prepare lines from ``w0`` along ``directions``, for every analysis along lines."""
        w0, directions = self.checked_lines(w0, directions)
        if isinstance(self._blocks, TracedLosses):
            return self._lines_of(self._blocks, w0, directions)
        return PlainLines(self, w0, directions)

    def checked_lines(self, w0: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
        """``w0`` ``[N]`` and ``directions`` ``[k, N]`` (else an InputError) in device and dtype of the model."""
        w0 = self.checked("w0", w0)
        if self._keeps_statistics and not torch.equal(w0, self.w0):
            self._keeps_statistics = False  # said once
            warn_of_other_statistics()
        return w0, check_directions(directions, dim=self.space.dim, device=self._device, dtype=self._dtype)

    def _lines_of(self, losses: TracedLosses, w0: Tensor, directions: Tensor) -> TracedLines:
        return traced_lines(
            losses, self.space, w0, directions, class_major=self._class_major, cache_bytes=self._cache_bytes
        )
