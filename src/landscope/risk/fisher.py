"""The Fisher information of a classifier about its selected weights: its diagonal, its products, its factors."""

from __future__ import annotations

import contextlib
import dataclasses
import io
from collections.abc import Iterator
from typing import Any, Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils._pytree import tree_map

from landscope._checks import check_choice, check_count, check_vector, device_with_float64, for_float64
from landscope.attention import plain_kernels
from landscope.errors import InputError
from landscope.parameters import ParameterSpace
from landscope.risk.derivatives import mean_gradient
from landscope.risk.evaluation import BlockOutputs

__all__ = ["FisherInformation", "FisherKind"]

FisherKind = Literal["exact", "empirical", "batch-mean"]
"""Labels drawn from the model; the labels of the data; or those, with gradients averaged before they are squared."""

_GRADIENT_NUMBERS = 2**23
"""Numbers of single-sample gradients held at once: 32 MB in float32."""


@dataclasses.dataclass(frozen=True)
class FisherInformation:
    r"""What the answers of a classifier say about its weights.

    .. math:: \mathcal F(w) = \frac1M \sum_k \sum_c p_c(x_k)\, g_{kc}\, g_{kc}^\top,
              \qquad g_{kc} = \nabla \ln p_c(x_k)

    with probabilities p = softmax(outputs). For cross-entropy it is also the generalised Gauss-Newton matrix, and near
    a solution the Hessian. Made by :meth:`landscope.EmpiricalRisk.fisher_information`.

    Args:
        blocks: Data and model.
        space: Selected weights.
        like: Weights on the device and in the dtype of the model.
        is_classifier: Whether the loss is plain cross-entropy of the outputs.

    Example:
        >>> import torch
        >>> from landscope import EmpiricalRisk
        >>> model = torch.nn.Linear(1, 2, bias=False)
        >>> risk = EmpiricalRisk(model, torch.nn.CrossEntropyLoss(), (torch.ones(4, 1), torch.tensor([0, 1, 0, 1])))
        >>> [round(x, 6) for x in risk.fisher_information().diagonal(torch.zeros(2)).tolist()]
        [0.25, 0.25]
    """

    blocks: BlockOutputs
    space: ParameterSpace
    like: Float[Tensor, " N"]
    is_classifier: bool = True

    def diagonal(
        self, w: Float[Tensor, " N"], kind: FisherKind = "exact", *, batch_size: int = 50
    ) -> Float[Tensor, " N"]:
        r"""The diagonal, :math:`\mathcal F_{jj}`.

        Args:
            w: Where.
            kind: ``"exact"``, the sum over all answers above; ``"empirical"``, the mean square of the gradients of
                single samples, by their own labels; ``"batch-mean"``, the mean square of gradients of minibatches,
                as some programs take it, smaller by up to the batch size.
            batch_size: Samples in a minibatch, for ``"batch-mean"`` only.

        Returns:
            The diagonal in float64.

        Raises:
            InputError: For ``"exact"``, if the outputs are no logits ``[b, classes]``.
        """
        check_choice("kind", kind, get_args(FisherKind))
        w = self._checked("w", w)
        if kind == "batch-mean":
            return self._mean_squares_of_batches(w, batch_size)
        squares = torch.zeros(self.space.dim, dtype=torch.float64, device=device_with_float64(w.device))
        for block in range(self.blocks.n_blocks):
            for cotangent in self._of_all_answers(w, block) if kind == "exact" else self._of_labels(w, block):
                for gradients in self._sample_gradients(w, block, cotangent):
                    squares += for_float64(gradients).square().sum(dim=0, dtype=torch.float64)
        return squares / sum(self.blocks.sizes)

    def output_sensitivity(self, w: Float[Tensor, " N"]) -> Float[Tensor, " N"]:
        r"""How much each weight moves the outputs f.

        .. math:: \Omega_j = \frac1M \sum_k \Big| \frac{\partial |f(x_k)|^2}{\partial w_j} \Big|

        It knows no labels, and any outputs will do (Aljundi et al., ECCV 2018, arXiv 1711.09601, Eq. 3 and Sec. 4.1).
        """
        w = self._checked("w", w)
        total = torch.zeros(self.space.dim, dtype=torch.float64, device=device_with_float64(w.device))
        for block in range(self.blocks.n_blocks):
            with torch.no_grad():
                outputs = _tensor(self._outputs_of(block)(w))
            for gradients in self._sample_gradients(w, block, 2 * outputs):
                total += for_float64(gradients).abs().sum(dim=0, dtype=torch.float64)
        return total / sum(self.blocks.sizes)

    def product(self, w: Float[Tensor, " N"], vector: Float[Tensor, " N"]) -> Float[Tensor, " N"]:
        r"""The product :math:`\mathcal F(w)\, v` with the exact matrix: J' (diag(p) - p p') J v, summed over samples.

        Raises:
            InputError: If the outputs are no logits ``[b, classes]``.
        """
        w, vector = self._checked("w", w), self._checked("vector", vector)
        total = torch.zeros(self.space.dim, dtype=torch.float64, device=device_with_float64(w.device))
        with plain_kernels():
            for block in range(self.blocks.n_blocks):
                total += for_float64(self._block_product(w, vector, block)).double()
        return total / sum(self.blocks.sizes)

    def _block_product(self, w: Tensor, vector: Tensor, block: int) -> Tensor:
        outputs = self._outputs_of(block)
        logits, pull, *_ = torch.func.vjp(outputs, w)
        _, change, *_ = torch.func.jvp(outputs, (w,), (vector,))
        p = self._checked_logits(logits).softmax(dim=1)
        return pull(p * change - p * (p * change).sum(dim=1, keepdim=True))[0]

    def _of_all_answers(self, w: Tensor, block: int) -> Iterator[Tensor]:
        """For each class, sqrt(p_c) times the slope of ln p_c along the outputs."""
        with torch.no_grad():
            p = self._checked_logits(self._outputs_of(block)(w)).softmax(dim=1)
        for one in torch.eye(p.shape[1], dtype=p.dtype, device=p.device):
            yield (p @ one).sqrt()[:, None] * (one - p)

    def _of_labels(self, w: Tensor, block: int) -> Iterator[Tensor]:
        """The slope of the loss of each sample along its outputs."""
        with torch.no_grad():
            outputs = _tensor(self._outputs_of(block)(w))
        with torch.enable_grad():
            losses, _ = self.blocks.losses_of(outputs.requires_grad_(), block)
            yield torch.autograd.grad(losses.sum(), outputs)[0]

    def _sample_gradients(self, w: Tensor, block: int, cotangent: Tensor) -> Iterator[Tensor]:
        """J_k' c_k of every sample k, some samples at a time: ``[b, N]``."""
        mapped = self._mapped(w, block, cotangent)
        try:
            with contextlib.redirect_stderr(io.StringIO()):  # a traced module prints where it fails
                first = next(mapped)
        except Exception:  # noqa: BLE001 - a model that knows how many samples it was given fails in any way on one
            yield from self._one_by_one(w, block, cotangent)
            return
        yield first
        yield from mapped

    def _mapped(self, w: Tensor, block: int, cotangent: Tensor) -> Iterator[Tensor]:
        """All samples at once, each as a batch of one."""
        rows, arguments = len(cotangent), self.blocks.arguments(block)
        once = max(1, _GRADIENT_NUMBERS // self.space.dim)

        def pulled(own: Tensor, *sample: Any) -> Tensor:
            single = tree_map(lambda x: x[None] if isinstance(x, Tensor) else x, sample)
            outputs = lambda w: self.blocks.outputs(self.space.unflatten(w), single)[0]  # noqa: E731
            return torch.func.vjp(outputs, w)[1](own)[0]

        axes = tree_map(lambda x: 0 if _has_rows(x, rows) else None, arguments)
        for first in range(0, rows, once):
            part = slice(first, first + once)
            few = tree_map(lambda x, part=part: x[part] if _has_rows(x, rows) else x, arguments)
            with plain_kernels():
                yield torch.func.vmap(pulled, in_dims=(0, *axes))(cotangent[part], *few)

    def _one_by_one(self, w: Tensor, block: int, cotangent: Tensor) -> Iterator[Tensor]:
        """One backward pass of the whole block for each sample."""
        w = w.detach().clone().requires_grad_()
        with torch.enable_grad():
            outputs = self._outputs_of(block)(w)
            for row, own in enumerate(cotangent):
                yield torch.autograd.grad(outputs[row], w, own, retain_graph=True)[0][None]

    def _mean_squares_of_batches(self, w: Tensor, batch_size: int) -> Tensor:
        count = sum(self.blocks.sizes)
        check_count("batch_size", batch_size, maximum=count)
        batches = torch.arange(count // batch_size * batch_size, device=w.device).view(-1, batch_size)
        squares = torch.zeros(self.space.dim, dtype=torch.float64, device=device_with_float64(w.device))
        for batch in batches:
            squares += for_float64(mean_gradient(self.blocks, self.space, w, batch)).double().square()
        return squares / len(batches)

    def _checked(self, name: str, w: Tensor) -> Tensor:
        return check_vector(name, w, dim=self.space.dim, device=self.like.device, dtype=self.like.dtype)

    def _outputs_of(self, block: int) -> Any:
        return lambda w: self.blocks.outputs(self.space.unflatten(w), self.blocks.arguments(block))

    def _checked_logits(self, outputs: Any) -> Tensor:
        if self.is_classifier and _tensor(outputs).ndim == 2:
            return outputs
        raise InputError(
            expected="a classifier: outputs [b, classes] under plain cross-entropy", got="another loss or shape",
            hint='Take another Fisher information, "empirical".',
        )  # fmt: skip


def _has_rows(value: Any, rows: int) -> bool:
    return isinstance(value, Tensor) and value.ndim > 0 and len(value) == rows


def _tensor(outputs: Any) -> Tensor:
    if isinstance(outputs, Tensor):
        return outputs
    raise InputError(
        expected="a model that returns a tensor", got=type(outputs).__name__,
        hint='Take the Fisher information "batch-mean" with a batch size of 1.',
    )  # fmt: skip
