"""Interfaces between the analyses and landscapes: any object with these methods works."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

__all__ = [
    "BatchLines",
    "Ensemble",
    "HasBatchGradients",
    "Described",
    "HasGradient",
    "HasHessianProduct",
    "HasStart",
    "LeavesSamplesOut",
    "LineEnsemble",
    "LineLandscape",
    "Lines",
    "LossLandscape",
    "Penalty",
    "ProgressCallback",
    "SketchableLines",
    "silent",
]


@runtime_checkable
class LossLandscape(Protocol):
    """A loss on R^N: ``landscape(w[..., N]) -> L[...]``.

    Examples are a plain function of tensors, a network with its data (:class:`landscope.EmpiricalRisk`), a formula
    (:mod:`landscope.synthetic`) and a loss with a penalty.
    """

    def __call__(self, w: Tensor, /) -> Tensor:
        """``w[..., N] -> L[...]``."""
        ...


@runtime_checkable
class Ensemble(LossLandscape, Protocol):
    """A landscape that is the mean of minibatch landscapes L^mu (paper, Eq. 3)."""

    def batch_losses(self, w: Tensor, /) -> Tensor:
        """``w[..., N] -> L^mu[..., batches]``."""
        ...


@runtime_checkable
class Penalty(LossLandscape, Protocol):
    """A landscape that penalises movement of the weights, with an implicit step that is stable at any strength."""

    @property
    def dim(self) -> int:
        """Length N of w."""
        ...

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of the parameters in w, if they are known."""
        ...

    @property
    def n_stored(self) -> int:
        """Number of stored values."""
        ...

    def gradient(self, w: Tensor, /) -> Tensor:
        """``w[..., N] -> gradient[..., N]``."""
        ...

    def hessian_vector_product(self, w: Tensor, vector: Tensor) -> Tensor:
        """The product of the constant Hessian and ``vector[..., N]``."""
        ...

    def with_strength(self, strength: float) -> Penalty:
        """The same penalty with another lambda, for all parts of a sum."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """The state as a dictionary that ``torch.save`` can write."""
        ...

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Penalty:
        """A copy on another device or in another dtype."""
        ...

    def proximal_step(self, w: Tensor, step_size: float) -> Tensor:
        """``w[..., N] -> argmin_u V(u) + |u - w|^2 / (2 step_size)``."""
        ...


@runtime_checkable
class Lines(Protocol):
    """The losses along given lines ``w0 + d p_i``, evaluated for a few points at a time."""

    group: int
    """Number of directions that are best evaluated together."""

    def __call__(self, index: Tensor, displacement: Tensor, /) -> Tensor:
        """``index[n], displacement[n] -> L(w0 + displacement p_index)[n]`` in float64."""
        ...


@runtime_checkable
class SketchableLines(Lines, Protocol):
    """Lines with a cheap approximation, which serves only to guess where to search."""

    def sketch(self) -> Lines | None:
        """An approximation along the same lines; None if no cheaper approximation exists."""
        ...


@runtime_checkable
class LineLandscape(Protocol):
    """A landscape that evaluates its loss along lines faster than by one call a point."""

    def lines(self, w0: Tensor, directions: Tensor) -> Lines:
        """Prepare the lines from ``w0[N]`` along ``directions[k, N]``."""
        ...


@runtime_checkable
class BatchLines(Protocol):
    """The losses of every minibatch along given lines, with their first and second derivatives."""

    def losses(self, index: Tensor, displacement: Tensor, /) -> Tensor:
        """``index[n], displacement[n] -> L^mu(w0 + displacement p_index)[n, batches]`` in float64."""
        ...

    def slopes(self, index: Tensor, displacement: Tensor, /) -> tuple[Tensor, Tensor]:
        """``index[n], displacement[n] -> L^mu[n, batches], dL^mu/d(displacement)[n, batches]``."""
        ...

    def curvatures(self, first: Tensor, second: Tensor, /) -> Tensor:
        """``first[n], second[n] -> p_first' (Hess L^mu)(w0) p_second[n, batches]``."""
        ...


@runtime_checkable
class LineEnsemble(Protocol):
    """An ensemble that evaluates its losses along lines faster than by one call a point."""

    def batch_lines(self, w0: Tensor, directions: Tensor) -> BatchLines:
        """Prepare the lines from ``w0[N]`` along ``directions[k, N]``."""
        ...


@runtime_checkable
class HasGradient(Protocol):
    """A landscape that computes its gradient."""

    def gradient(self, w: Tensor, /) -> Tensor:
        """``w[N] -> gradient[N]``."""
        ...


@runtime_checkable
class Described(Protocol):
    """A landscape that describes itself for the provenance of results."""

    @property
    def provenance(self) -> Mapping[str, Any]:
        """A mapping that JSON can hold."""
        ...


@runtime_checkable
class HasHessianProduct(Protocol):
    """A landscape that computes products with its Hessian."""

    def hessian_vector_product(self, w: Tensor, vector: Tensor) -> Tensor:
        """``w[N], vector[N] -> Hessian(w) vector[N]``."""
        ...


@runtime_checkable
class HasStart(Protocol):
    """A landscape that knows the weights at which it was made."""

    w0: Tensor


@runtime_checkable
class HasBatchGradients(Protocol):
    """An ensemble that computes the gradients of its minibatch losses."""

    def batch_gradients(self, w: Tensor, /) -> Iterable[Tensor]:
        """``w[N]`` -> the gradients ``[N]``, one minibatch after another."""
        ...


@runtime_checkable
class LeavesSamplesOut(Protocol):
    """An ensemble that knows the number of samples outside its minibatches."""

    n_left_out: int


@runtime_checkable
class ProgressCallback(Protocol):
    """A function that receives the progress of a long computation."""

    def __call__(self, done: int, total: int, /) -> None:
        """``done`` of ``total``."""
        ...


def silent(done: int, total: int, /) -> None:
    """A progress callback that does nothing."""
