"""Methods that remove from every gradient the directions that earlier tasks use."""

from __future__ import annotations

import abc
import contextlib
from collections.abc import Callable, Generator, Iterable
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from landscope._checks import generator_of
from landscope.parameters import ParameterSpace, Selection
from landscope.risk.empirical import EmpiricalRisk

__all__ = ["GradientProjectionMemory", "OrthogonalGradientDescent"]

_INDEPENDENT = 1e-6
"""Share of the longest row that must be new for a direction to count: the resolution of float32 gradients."""
_ROUNDED = 1e-6
"""Relative amount by which a basis in float32 may miss the share."""


class _Projection(abc.ABC):
    """Projects the gradient before every step of an optimiser."""

    def __init__(self, model: nn.Module, select: Selection | Iterable[Selection] | None) -> None:
        self.model, self.space = model, ParameterSpace.of(model, select)

    @contextlib.contextmanager
    def training(self, optimizer: torch.optim.Optimizer) -> Generator[None]:
        """Project every gradient."""
        tensors = self.space.tensors(self.model)

        def project(*_: object) -> None:
            slopes = [torch.zeros_like(p) if p.grad is None else p.grad for p in tensors]
            free = self.space.unflatten(self.projected(torch.cat([slope.reshape(-1) for slope in slopes])))
            for slope, value in zip(slopes, free.values(), strict=True):
                slope.copy_(value)

        handle = optimizer.register_step_pre_hook(project)
        try:
            yield
        finally:
            handle.remove()

    @abc.abstractmethod
    def projected(self, gradient: Float[Tensor, " N"]) -> Float[Tensor, " N"]:
        """The part of a gradient that earlier tasks leave free."""


class GradientProjectionMemory(_Projection):
    r"""Gradient projection memory (Saha, Garg & Roy, ICLR 2021, arXiv 2103.09762).

    .. math:: \nabla_W L \leftarrow \nabla_W L\, (1 - M M^\top)

    for the weight matrix W of every layer, with M the leading left singular vectors of the inputs that entered the
    layer at the end of earlier tasks: as few as hold a share of their squares. A bias is a weight of a constant input.
    For plain SGD with or without momentum; an adaptive optimiser leaves the subspace again.

    Args:
        model: The model in training.
        select: Weights of linear and convolutional layers.
        threshold: Share of the squares to hold, at most 1.

    Example:
        >>> import torch
        >>> model = torch.nn.Linear(2, 2, bias=False)
        >>> memory = GradientProjectionMemory(model, threshold=0.9)
        >>> data = (torch.tensor([[1.0, 0.0]] * 4), torch.tensor([0, 1, 0, 1]))
        >>> memory.consolidate(torch.nn.CrossEntropyLoss(), data)
        >>> memory.projected(torch.ones(4)).tolist()  # outputs for inputs along the first axis stay
        [0.0, 1.0, 0.0, 1.0]
    """

    def __init__(
        self,
        model: nn.Module,
        select: Selection | Iterable[Selection] | None = None,
        *,
        threshold: float = 0.97,
    ) -> None:
        super().__init__(model, select)
        self.threshold = threshold
        self._layers: list[tuple[Int[Tensor, "m n"], Float[Tensor, "n k"]]] = []

    def consolidate(self, criterion: Callable[..., Tensor], data: Any) -> None:
        """Add the inputs that this task uses."""
        risk = EmpiricalRisk(self.model, criterion, data, space=self.space)
        layers = risk.kronecker_factors(risk.w0)
        known = [basis for _, basis in self._layers] or [
            layer.inputs.new_zeros(len(layer.inputs), 0) for layer in layers
        ]
        self._layers = [
            (layer.columns, _grown(basis.to(layer.inputs), layer.inputs, self.threshold).to(risk.w0))
            for layer, basis in zip(layers, known, strict=True)
        ]

    def projected(self, gradient: Float[Tensor, " N"]) -> Float[Tensor, " N"]:
        """The part of a gradient that earlier tasks leave free."""
        left = gradient.clone()
        for columns, basis in self._layers:
            part, basis = gradient[columns], basis.to(gradient)
            left[columns] = part - (part @ basis) @ basis.T
        return left

    @property
    def n_stored(self) -> int:
        """Number of values stored for earlier tasks."""
        return sum(basis.numel() for _, basis in self._layers)


def _grown(basis: Float[Tensor, "n k"], inputs: Float[Tensor, "n n"], threshold: float) -> Float[Tensor, "n k2"]:
    """The basis with the fewest more directions that make it hold the share of the mean square of the inputs."""
    outside = torch.eye(len(inputs)).to(inputs) - basis @ basis.T
    held = float((basis.T @ inputs @ basis).trace())
    values, vectors = torch.linalg.eigh(outside @ inputs @ outside)
    values, vectors = values.flip(0).clamp(min=0), vectors.flip(1)
    shares = (held + torch.cat([values.new_zeros(1), values.cumsum(0)])) / float(inputs.trace())
    enough = (shares >= threshold * (1 - _ROUNDED)).nonzero()
    count = int(enough[0]) if len(enough) else len(values)
    count = min(count, len(inputs) - basis.shape[1])
    return torch.linalg.qr(torch.cat([basis, vectors[:, :count]], dim=1)).Q


class OrthogonalGradientDescent(_Projection):
    r"""Orthogonal gradient descent (Farajtabar et al., AISTATS 2020, arXiv 1910.07104), with ground-truth logits.

    .. math:: g \leftarrow g - \sum_i (g \cdot v_i)\, v_i

    with v_i an orthonormal basis of the gradients of the logit of the right class, at some samples of each earlier
    task and the weights at its end. For plain SGD with or without momentum.

    Args:
        model: The model in training; its outputs are logits ``[b, classes]``.
        select: Weights to project.
        n_samples: Samples of each task; N numbers are stored for each.
        seed: Seed of their choice.

    Example:
        >>> import torch
        >>> model = torch.nn.Linear(2, 2, bias=False)
        >>> memory = OrthogonalGradientDescent(model, n_samples=1, seed=0)
        >>> memory.consolidate(None, (torch.tensor([[0.0, 2.0]]), torch.tensor([1])))
        >>> memory.projected(torch.ones(4)).tolist()
        [1.0, 1.0, 1.0, 0.0]
    """

    def __init__(
        self,
        model: nn.Module,
        select: Selection | Iterable[Selection] | None = None,
        *,
        n_samples: int = 200,
        seed: int = 0,
    ) -> None:
        super().__init__(model, select)
        self.n_samples = n_samples
        self._generator = generator_of(seed)
        self._basis = self.space.flatten(model)[None][:0]

    def consolidate(self, criterion: Any, data: tuple[Tensor, Tensor]) -> None:  # noqa: ARG002 - the protocol's
        """Add the gradients of some samples ``(inputs, labels)`` of this task."""
        inputs, labels = data
        chosen = torch.randperm(len(labels), generator=self._generator)[: self.n_samples]
        was_training = self.model.training
        self.model.eval()
        try:
            rows = torch.stack([self._gradient(inputs[k : k + 1], int(labels[k])) for k in chosen.tolist()])
        finally:
            self.model.train(was_training)
        self._basis = torch.cat([self._basis.to(rows), _new_directions(self._basis.to(rows), rows)])

    def _gradient(self, inputs: Tensor, label: int) -> Float[Tensor, " N"]:
        slopes = torch.autograd.grad(
            self.model(inputs)[0, label], self.space.tensors(self.model), allow_unused=True, materialize_grads=True
        )
        return torch.cat([slope.reshape(-1) for slope in slopes])

    def projected(self, gradient: Float[Tensor, " N"]) -> Float[Tensor, " N"]:
        """The part of a gradient that earlier tasks leave free."""
        basis = self._basis.to(gradient)
        return gradient - (basis @ gradient) @ basis

    @property
    def n_stored(self) -> int:
        """Number of values stored for earlier tasks."""
        return self._basis.numel()


def _new_directions(basis: Float[Tensor, "k N"], rows: Float[Tensor, "n N"]) -> Float[Tensor, "n2 N"]:
    """Orthonormal directions that an orthonormal basis needs to span some rows too."""
    known, left = basis.double(), rows.double()
    longest = torch.linalg.vector_norm(left, dim=1).max()
    for _ in range(2):  # twice, because rounding leaves a part of a row nearly within the basis
        left = left - (left @ known.T) @ known
    _, lengths, directions = torch.linalg.svd(left, full_matrices=False)
    return directions[lengths > _INDEPENDENT * longest].to(rows)
