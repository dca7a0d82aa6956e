"""What the analyses need of a landscape; anything that has these methods will do."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

__all__ = [
    "BatchLines",
    "Ensemble",
    "Lines",
    "LossLandscape",
    "Penalty",
    "SketchesLines",
    "ProgressCallback",
    "WalksBatchLines",
    "WalksLines",
    "silent",
]


@runtime_checkable
class LossLandscape(Protocol):
    """A loss on R^N: ``landscape(w[..., N]) -> L[...]``.

    A plain function of tensors is one. A network with its data (:class:`landscope.EmpiricalRisk`), a formula
    (:mod:`landscope.synthetic`) or a penalised loss is used the same way.
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
    """A landscape that holds weights back, with an implicit step that is stable at any strength."""

    @property
    def dim(self) -> int:
        """Length N of w."""
        ...

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of the parameters that w is made of, where they are known."""
        ...

    @property
    def n_stored(self) -> int:
        """Numbers it holds."""
        ...

    def gradient(self, w: Tensor, /) -> Tensor:
        """``w[..., N] -> gradient[..., N]``."""
        ...

    def hessian_vector_product(self, w: Tensor, vector: Tensor) -> Tensor:
        """The Hessian, the same everywhere, times ``vector[..., N]``."""
        ...

    def with_strength(self, strength: float) -> Penalty:
        """The same penalty with another lambda, for all parts of a sum."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """What ``torch.save`` can keep of it."""
        ...

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Penalty:
        """The same on another device or in another dtype."""
        ...

    def proximal_step(self, w: Tensor, step_size: float) -> Tensor:
        """``w[..., N] -> argmin_u V(u) + |u - w|^2 / (2 step_size)``."""
        ...


@runtime_checkable
class Lines(Protocol):
    """The losses along given lines ``w0 + d p_i``, asked for a few points at a time."""

    group: int
    """How many directions are best walked together."""

    def __call__(self, index: Tensor, displacement: Tensor, /) -> Tensor:
        """``index[n], displacement[n] -> L(w0 + displacement p_index)[n]`` in float64."""
        ...


@runtime_checkable
class SketchesLines(Lines, Protocol):
    """Lines that also know a cheap likeness of themselves, good for guessing where to look and for nothing else."""

    def sketch(self) -> Lines | None:
        """A likeness, along the same lines; None where none is cheaper."""
        ...


@runtime_checkable
class WalksLines(Protocol):
    """A landscape with a way of its own to walk lines, faster than one call a point."""

    def lines(self, w0: Tensor, directions: Tensor) -> Lines:
        """Prepare the walk from ``w0[N]`` along ``directions[k, N]``."""
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
class WalksBatchLines(Protocol):
    """An ensemble with a way of its own to walk lines, faster than one call a point."""

    def batch_lines(self, w0: Tensor, directions: Tensor) -> BatchLines:
        """Prepare the walk from ``w0[N]`` along ``directions[k, N]``."""
        ...


@runtime_checkable
class ProgressCallback(Protocol):
    """Told how much of a long computation is done."""

    def __call__(self, done: int, total: int, /) -> None:
        """``done`` of ``total``."""
        ...


def silent(done: int, total: int, /) -> None:
    """A progress callback that says nothing."""
