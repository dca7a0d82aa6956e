"""EmpiricalRisk: the loss of a model on its data as a function of the selected weights (paper, Eq. 1)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from landscope._checks import (
    check_choice,
    check_directions,
    check_positive,
    check_vector,
    device_with_float64,
    for_float64,
)
from landscope._names import BatchNorm
from landscope.errors import InputError
from landscope.parameters import ParameterSpace
from landscope.plain_lines import PlainBatchLines, PlainLines
from landscope.protocols import BatchLines, Lines
from landscope.risk import checks, derivatives
from landscope.risk.batch_norm import ReestimatedLosses, running_norms, warn_of_other_statistics
from landscope.risk.data import Block, cut_blocks, moved, read_batches, read_data
from landscope.risk.evaluation import BlockLosses, BlockOutputs, ClosureLosses, TracedLosses, whole_evaluation
from landscope.risk.fisher import FisherInformation
from landscope.risk.kronecker import LayerFactors, kronecker_factors
from landscope.risk.lines import TracedLines
from landscope.risk.losses import is_plain_cross_entropy, sample_losses_of
from landscope.risk.minibatches import MinibatchRisk, partition
from landscope.risk.model_copy import precise, private_copy
from landscope.risk.traced_blocks import fastest_losses, traced_lines

__all__ = ["EmpiricalRisk"]

_INPUT_ELEMENTS = 2**21
_NORM_ROWS = 1024
_PROBED = 32


class EmpiricalRisk:
    r"""The loss of a network on a data set, as a landscape over its selected weights.

    .. math:: L(w) = \frac1M \sum_{k=1}^M d(Y_k(w), Z_k)

    (paper, Eq. 1). The risk copies all weights and reads the data once. It evaluates the model in eval mode, and does
    not change the model, the data or the random state of the user. It sums the losses of the samples in float64, on the
    host where the device has no float64.

    The part of the model that the selected weights do not change is evaluated once and stored (``cache_bytes`` limits
    the memory). A wrapper (``torch.compile``, data parallelism) is left out, and a model in half precision is evaluated
    in float32, because a loss with 3 digits makes staircases of lines.

    Args:
        model: The network.
        criterion: ``criterion(outputs, targets)``: a ``torch.nn`` loss, its functional form, or any callable that
            returns one loss for each sample, their mean, or ``(losses, weight)``; the risk is then the sum of all
            losses over the sum of all weights.
        data: ``(inputs, targets)`` tensors, a ``Dataset``, or an iterable of batches, like a ``DataLoader``. A batch
            is a pair; several inputs followed by the targets; or a mapping with the targets under ``labels`` and the
            keywords of the model.
        space: Parameters that are the coordinates; by default all that require a gradient.
        cache_bytes: Memory limit for stored activations.
        batch_norm: Statistics of batch normalisation: ``"kept"`` uses the statistics of the model in eval mode;
            ``"re-estimated"`` averages them at every point over batches of nearly equal size, at most 1,024 samples
            each. This needs one more pass for each point, and the loss then has no derivatives.

    Raises:
        InputError: If the data are empty or not pairs, the loss does not depend on the selected weights, or the model
            has no statistics to estimate.
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
        criterion: Callable[..., Any],
        data: Any,
        *,
        space: ParameterSpace | None = None,
        cache_bytes: int = 2**30,
        batch_norm: BatchNorm = "kept",
    ) -> None:
        self._start(model, space, cache_bytes)
        self._batch_norm = check_choice("batch_norm", batch_norm, get_args(BatchNorm))
        pairs, largest_batch = read_data(data, self._device)
        sample_losses = sample_losses_of(criterion)
        evaluate = whole_evaluation(sample_losses)
        model, pairs = precise(self._model, pairs, lambda model, pair: evaluate(model, cut_blocks([pair], _PROBED)[0]))
        self._set_model(model)
        self._keeps_statistics = self._keeps_statistics and batch_norm == "kept"
        self._n_samples = sum(len(targets) for _, targets in pairs if isinstance(targets, Tensor)) or None
        checks.check_inputs(self._model, pairs[0][0])
        self._class_major = is_plain_cross_entropy(criterion)
        if self._class_major:
            checks.check_labels(self._model, pairs)
        checks.check_criterion(self._model, sample_losses, pairs[0])
        checks.check_mean(self._model, sample_losses, pairs)
        if self._batch_norm == "re-estimated":
            blocks = cut_blocks(pairs, _rows_at_once(pairs, _NORM_ROWS), even=True)
            self._blocks: BlockLosses = ReestimatedLosses(self._model, sample_losses, blocks)
        else:
            blocks = cut_blocks(pairs, _rows_at_once(pairs, largest_batch))
            self._blocks = fastest_losses(
                self._model, sample_losses, pairs, self.space, self.w0,
                whole_blocks=blocks, class_major=self._class_major, cache_bytes=self._cache_bytes,
            )  # fmt: skip
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
    ) -> EmpiricalRisk:
        """Create a risk for batches of any structure.

        Args:
            model: The network.
            batch_losses: Function ``batch_losses(model, batch)`` that returns the loss of each sample, or
                ``(sum, count)``. It must use the model in its argument.
            data: The batches; they are read once, and kept on the device of the model.
            space: Parameters that are the coordinates.
            cache_bytes: Memory limit for stored activations.

        Returns:
            The risk.

        Raises:
            InputError: If the closure returns another type or does not use the model in its argument.
            NondeterministicLossError: If two evaluations at the same weights differ.

        Example:
            >>> import torch
            >>> model = torch.nn.Linear(1, 1, bias=False)
            >>> batches = [{"x": torch.ones(2, 1), "y": torch.zeros(2, 1)}]
            >>> def batch_losses(model, batch):
            ...     return (model(batch["x"]) - batch["y"]).square().squeeze(1)
            >>> EmpiricalRisk.from_closure(model, batch_losses, batches)(torch.tensor([3.0])).item()
            9.0
        """
        risk = cls.__new__(cls)
        risk._start(model, space, cache_bytes)
        risk._class_major = False
        batches = [moved(batch, risk._device) for batch in read_batches(data)]
        private, batches = precise(risk._model, batches, batch_losses)
        risk._set_model(private)
        risk._blocks = ClosureLosses(risk._model, batch_losses, batches)
        hint = "Check the function and the batches, or the shape and the dtype of the inputs."
        with checks.explained(f"losses=f with f(model, batch) for a batch {checks.described(batches[0])}", hint):
            checks.check_losses(risk._blocks, risk.space, risk.w0)
        risk._blocks.store_calls(risk.space, risk.w0, risk._cache_bytes)
        return risk

    def _start(self, model: nn.Module, space: ParameterSpace | None, cache_bytes: int) -> None:
        derivatives.check_autograd()
        self.space = space or ParameterSpace.of(model)
        self._batch_norm, self._n_samples = "kept", None
        self._cache_bytes = cache_bytes if cache_bytes == 0 else int(check_positive("cache_bytes", cache_bytes))
        self._set_model(private_copy(model))

    def _set_model(self, model: nn.Module) -> None:
        self._model, self.w0 = model, self.space.flatten(model)
        self._device, self._dtype = self.w0.device, self.w0.dtype
        self._keeps_statistics = bool(running_norms(model))

    @property
    def provenance(self) -> dict[str, Any]:
        """Description of the landscape in the provenance of results."""
        return {"parameters": list(self.space.names), "traced": self.is_traced, "batch_norm": self._batch_norm}

    @property
    def is_traced(self) -> bool:
        """Whether the model is traced; if not, stored layers are skipped, and the rest runs as it is."""
        return isinstance(self._blocks, TracedLosses)

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
        w = self._checked("w", w)
        with torch.set_grad_enabled(torch.is_grad_enabled() and w.requires_grad):
            points = [self._risk(point) for point in w.reshape(-1, self.space.dim)]
            return torch.stack(points).reshape(w.shape[:-1]) if points else w.new_empty(w.shape[:-1]).double()

    def _checked(self, name: str, w: Tensor) -> Tensor:
        return check_vector(name, w, dim=self.space.dim, device=self._device, dtype=self._dtype)

    def _losses(self, w: Tensor) -> Iterator[tuple[Tensor, Tensor | float]]:
        parameters = self.space.unflatten(w)
        for block in range(self._blocks.n_blocks):
            yield self._blocks.losses(parameters, block)

    def _risk(self, w: Tensor) -> Tensor:
        total, weight = torch.zeros((), dtype=torch.float64, device=device_with_float64(self._device)), 0.0
        for losses, block_weight in self._losses(w):
            total = total + for_float64(losses).sum(dtype=torch.float64)
            weight = weight + float(block_weight)
        return total / weight

    @torch.no_grad()
    def sample_losses(self, w: Float[Tensor, " N"]) -> Float[Tensor, " M"]:
        """The loss of every sample at ``w``, in float64, in the order of the data.

        Raises:
            InputError: If the criterion or closure returns only sums over samples.
        """
        return self._sample_losses(self._checked("w", w))

    def _sample_losses(self, w: Tensor) -> Tensor:
        parts = list(self._losses(w))
        count = sum(len(losses) for losses, _ in parts)
        if any(len(losses) != float(weight) for losses, weight in parts) or count != (self._n_samples or count):
            raise InputError(
                expected=f"one loss for each sample{f', {self._n_samples} in total' if self._n_samples else ''}",
                got=f"{count} losses: sums over several samples, ignored targets, or several targets in each sample",
                hint="Let the criterion, or losses=f of a Study, return one loss for each sample. A language model has "
                "none: call EmpiricalRisk.from_closure with a function that gives one loss for each text.",
            )
        return self._blocks.in_data_order(torch.cat([for_float64(losses).double() for losses, _ in parts]))

    def gradient(self, w: Float[Tensor, " N"]) -> Float[Tensor, " N"]:
        """The gradient of the risk at ``w``, summed over blocks in float64, in the dtype of the model."""
        return derivatives.gradient(self._blocks, self.space, self._checked("w", w))

    def hessian_vector_product(self, w: Float[Tensor, " N"], vector: Float[Tensor, " N"]) -> Float[Tensor, " N"]:
        r"""The product :math:`\nabla^2 L(w)\, v`, as the derivative of the gradient along v."""
        w, vector = self._checked("w", w), self._checked("vector", vector)
        return derivatives.hessian_vector_product(self._blocks, self.space, w, vector)

    def minibatches(self, batch_size: int, *, seed: int | None = None) -> MinibatchRisk:
        """The risk as an ensemble of minibatch losses (paper, Eq. 3).

        To study the noise of a run, use the batch size of the run. The model is in eval mode, so the ensemble lacks the
        noise of dropout and batch statistics.

        Args:
            batch_size: Number B of samples in a minibatch; the remainder of the data is left out.
            seed: Random seed of a shuffle of the data; by default minibatches are contiguous.

        Returns:
            The ensemble.

        Raises:
            InputError: If the batch size is below 1 or above the number of samples, or samples have no single loss.
        """
        n_samples = len(self.sample_losses(self.w0))
        batches = partition(n_samples, batch_size, seed)
        return MinibatchRisk(self, batches, n_left_out=n_samples - batches.numel())

    def mean_gradient(self, w: Float[Tensor, " N"], rows: Int[Tensor, " B"]) -> Float[Tensor, " N"]:
        """The gradient at ``w`` of the mean loss of some samples, by their indices in the data."""
        return derivatives.mean_gradient(self._blocks, self.space, self._checked("w", w), rows)

    def mean_hessian_vector_product(self, w: Tensor, rows: Int[Tensor, " B"], vector: Tensor) -> Tensor:
        """The Hessian at ``w[N]`` of the mean loss of some samples, times ``vector[N]``."""
        w, vector = self._checked("w", w), self._checked("vector", vector)
        return derivatives.mean_hessian_vector_product(self._blocks, self.space, w, rows, vector)

    def weighted_gradient(self, w: Float[Tensor, " N"], weights: Float[Tensor, " M"]) -> Float[Tensor, " N"]:
        r"""The gradient :math:`\sum_k c_k \nabla d_k(w)` of a weighted sum of the losses of all samples.

        Args:
            w: Selected weights.
            weights: Weights c_k, in the order of the data.

        Returns:
            The gradient in the dtype of the model.

        Raises:
            InputError: If the weights or the losses are not one for each sample.
        """
        return derivatives.weighted_gradient(self._blocks, self.space, self._checked("w", w), weights)

    def fisher_information(self) -> FisherInformation:
        """The Fisher information of the outputs about the selected weights, for elastic weight consolidation.

        Raises:
            InputError: If the outputs of the model are not known apart from its losses.
        """
        if not isinstance(self._blocks, BlockOutputs):
            raise InputError(
                expected="a risk whose outputs are known",
                got="one made by from_closure or with re-estimated statistics",
                hint="Make it as EmpiricalRisk(model, criterion, data).",
            )
        return FisherInformation(self._blocks, self.space, self.w0, is_classifier=self._class_major)

    def kronecker_factors(self, w: Float[Tensor, " N"]) -> list[LayerFactors]:
        """Kronecker factors of the Fisher information at ``w``, for each layer with selected weights.

        Raises:
            InputError: If the model is not a classifier, or a layer is neither linear nor a plain convolution.
        """
        if not self._class_major or not isinstance(self._blocks, BlockOutputs):
            raise InputError(
                expected="a classifier with plain cross-entropy",
                got="another model or criterion",
                hint="Use another penalty.",
            )
        return kronecker_factors(self._model, self.space, self._blocks.pairs(), self._checked("w", w))

    def sample_lines(self, w0: Float[Tensor, " N"], directions: Float[Tensor, "k N"]) -> BatchLines:
        """The losses of every sample along lines from ``w0``, with their derivatives."""
        w0, directions = self._checked_lines(w0, directions)
        if isinstance(self._blocks, TracedLosses):
            return self._lines_of(self._blocks, w0, directions)
        return PlainBatchLines(self._sample_losses, w0, directions)

    def lines(self, w0: Float[Tensor, " N"], directions: Float[Tensor, "k N"]) -> Lines:
        """Prepare lines from ``w0`` along ``directions``, for every analysis along lines."""
        w0, directions = self._checked_lines(w0, directions)
        if isinstance(self._blocks, TracedLosses):
            return self._lines_of(self._blocks, w0, directions)
        return PlainLines(self, w0, directions)

    def _checked_lines(self, w0: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
        w0 = self._checked("w0", w0)
        if self._keeps_statistics and not torch.equal(w0, self.w0):
            self._keeps_statistics = False  # said once
            warn_of_other_statistics()
        return w0, check_directions(directions, dim=self.space.dim, device=self._device, dtype=self._dtype)

    def _lines_of(self, losses: TracedLosses, w0: Tensor, directions: Tensor) -> TracedLines:
        return traced_lines(
            losses, self.space, w0, directions, class_major=self._class_major, cache_bytes=self._cache_bytes
        )


def _rows_at_once(pairs: list[Block], most: int) -> int:
    """Number of samples in one evaluation of the whole model."""
    inputs = pairs[0][0]
    each = inputs[0].numel() if isinstance(inputs, Tensor) and inputs.ndim and len(inputs) else 1
    return max(1, min(most, _INPUT_ELEMENTS // max(1, each)))
