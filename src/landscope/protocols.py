"""Interfaces between the analyses and landscapes: any object with these methods works."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

__all__ = ["BatchLines", "Ensemble", "Lines", "LossLandscape", "Penalty", "ProgressCallback", "silent"]

ProgressCallback = Callable[[int, int], None]
"""``callback(done, total)``: the progress of a long computation."""


@runtime_checkable
class LossLandscape(Protocol):
    """A loss on R^N: ``landscape(w[..., N]) -> L[...]``.

    Examples are a plain function of tensors, a network with its data (:class:`landscope.EmpiricalRisk`), a formula
    (:mod:`landscope.synthetic`) and a loss with a penalty. The analyses also use these where a landscape has them:

    - ``lines(w0[N], directions[k, N]) -> Lines``: faster than one call for each point;
    - ``gradient(w[N])`` and ``hessian_vector_product(w[N], vector[N])``: in place of derivatives by torch;
    - ``w0[N]``: the weights at which the landscape was made;
    - ``provenance``: its description in the provenance of results, a mapping that JSON can hold.
    """

    def __call__(self, w: Tensor, /) -> Tensor:
        """``w[..., N] -> L[...]``."""
        ...


@runtime_checkable
class Ensemble(LossLandscape, Protocol):
    """A landscape that is the mean of minibatch landscapes L^mu (paper, Eq. 3).

    The analyses also use these where an ensemble has them:

    - ``batch_lines(w0[N], directions[k, N]) -> BatchLines``: faster than one call for each point;
    - ``batch_gradients(w[N])``: the gradients ``[N]``, one minibatch after another;
    - ``batch_hessian_vector_product(w[N], number, vector[N])``: the Hessian of one minibatch times a vector;
    - ``n_batches``: the number of minibatches, to show progress;
    - ``n_left_out``: the number of samples outside all minibatches.
    """

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
        """The product of the Hessian, the same at every ``w``, and ``vector[..., N]``."""
        ...

    def with_strength(self, strength: float) -> Penalty:
        """The same penalty with another lambda, ``strength``, for all parts of a sum."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """The state as a dictionary that ``torch.save`` can write."""
        ...

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Penalty:
        """A copy on another ``device`` or in another ``dtype``; None keeps it."""
        ...

    def proximal_step(self, w: Tensor, step_size: float | Tensor, start: Tensor | None = None) -> Tensor:
        """``w[..., N] -> argmin_u V(u) + sum_j (u_j - w_j)^2 / (2 step_size_j)``.

        ``step_size`` is one number, or one for each weight, ``[N]``: an adaptive optimiser has a tensor. A step that is
        solved by iterations may begin them at ``start``, the weights before the step of the optimiser.
        """
        ...


@runtime_checkable
class Lines(Protocol):
    """The losses along given lines ``w0 + d p_i``, evaluated for a few points at a time.

    Lines with a cheap approximation, to guess where to search, offer it by ``sketch() -> Lines | None``.
    """

    group: int
    """Number of directions that are best evaluated together."""

    def __call__(self, index: Tensor, displacement: Tensor, /) -> Tensor:
        """``index[n], displacement[n] -> L(w0 + displacement p_index)[n]`` in float64."""
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


def silent(done: int, total: int, /) -> None:
    """A progress callback that does nothing.

    Args:
        done: Number of units done.
        total: Number of all units.

    Example:
        >>> silent(3, 10)
    """
