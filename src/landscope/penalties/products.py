"""Implicit steps of Kronecker products with a step size for each weight."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from landscope.penalties.metric import Habits, asking_conjugate_gradients
from landscope.penalties.questions import Asking, together

__all__ = ["Product", "SumOfProducts"]

_LEADING = (8, 24)
"""Number of leading eigenvectors of outputs and of inputs in the approximate inverse."""
_RTOL, _STEPS = 1e-3, 30
"""Accuracy of an implicit step, as a share of the pull of the penalty, and the largest number of iterations."""
_RTOL_FROM_START = 0.1
"""The same from given first weights, as a share of what is left to do there: it vanishes where the weights rest."""
_JITTER = 1e-6
"""Added to the leading part of the approximate inverse, above the rounding of float32."""


@runtime_checkable
class Product(Protocol):
    r"""A penalty :math:`\lambda \sum Z \circ (G Z A)` with :math:`Z = W - W_1`, see :class:`KroneckerPenalty`."""

    @property
    def anchor(self) -> Tensor:
        """Weight matrix W_1."""
        ...

    @property
    def outputs(self) -> Tensor:
        """Matrix G."""
        ...

    @property
    def inputs(self) -> Tensor:
        """Matrix A."""
        ...

    @property
    def strength(self) -> float:
        """Factor lambda."""
        ...

    def multiplied(self, z: Tensor) -> Tensor:
        """The product G Z A."""
        ...


@dataclasses.dataclass(frozen=True, eq=False)
class SumOfProducts:
    r"""The implicit step of a sum of Kronecker products on one weight matrix, with a step size for each weight.

    With the step sizes :math:`\alpha`, their root s, and the Hessian H, the step is :math:`u = w + s y` with

    .. math:: (1 + s H s)\, y = -s\, \nabla V(w)

    solved by conjugate gradients. From the weights before the step of the optimiser, the right-hand side is what loss
    and penalty together still pull; it vanishes where the weights rest, at the minimum of loss plus penalty, however
    few iterations there are. So a tenth of it is accuracy enough: what is left is taken up by the next step. The
    approximate inverse takes H as exact on the leading eigenvectors of the
    factors, a grid of outer products, and as diagonal on all others. So a few iterations suffice where the leading
    eigenvectors carry most of H; each costs two products with the factors.

    Args:
        products: The products.
    """

    products: tuple[Product, ...]

    def asking_steps(
        self,
        w: Float[Tensor, "*points N"],
        step_size: Float[Tensor, " N"],
        start: Float[Tensor, "*points N"] | None = None,
    ) -> Asking[Float[Tensor, "*points N"]]:
        """The weights after the implicit step from each of several points, in their dtype.

        Args:
            w: Weights before the step.
            step_size: Step sizes, at least 0.
            start: Weights before the step of the optimiser that led to w, where the iterations begin.
        """
        shape = self.products[0].anchor.shape
        rates = step_size.view(shape)
        points = w.to(step_size).reshape(-1, *shape)
        starts = points if start is None else start.to(step_size).reshape(-1, *shape)
        ends = yield from together(
            [
                self.asking_step(point, rates, None if start is None else own)
                for point, own in zip(points, starts, strict=True)
            ]
        )
        return torch.stack(ends).view(w.shape).to(w.dtype)

    def asking_step(
        self, w: Float[Tensor, "m n"], step_size: Float[Tensor, "m n"], start: Float[Tensor, "m n"] | None = None
    ) -> Asking[Float[Tensor, "m n"]]:
        """The weights after the implicit step; those with a step size of 0 stay as they are.

        Args:
            w: Weights before the step.
            step_size: Step sizes, at least 0.
            start: Where the iterations begin; by default at w.
        """
        root = step_size.sqrt()
        free = root > 0
        start = w if start is None else torch.where(free, start, w)
        pull = sum((_product(p, start - p.anchor.to(w)) for p in self.products), start=torch.zeros_like(w))
        back = torch.where(free, (w - start) / torch.where(free, root, 1.0), 0.0)

        def system(y: Tensor) -> Tensor:
            return y + root * self._hessian(root * y)

        inverse, inner, failed = self._inverse(step_size, root)
        solution = asking_conjugate_gradients(
            system,
            back - root * pull,
            precondition=inverse,
            rtol=_RTOL if start is w else _RTOL_FROM_START,
            n_steps=_STEPS,
            habits=self._habits,
        )
        askings: list[Asking[Any]] = [_asking_factor(inner, failed), solution]
        _, (y, _) = yield from together(askings)
        return start + root * y

    @functools.cached_property
    def _habits(self) -> Habits:
        return Habits()

    def _hessian(self, z: Tensor) -> Tensor:
        return sum((_product(p, z) for p in self.products), start=torch.zeros_like(z))

    def _inverse(self, step_size: Tensor, root: Tensor) -> tuple[Callable[[Tensor], Tensor], Tensor, Tensor]:
        r"""The inverse of :math:`B + s U C U^\top s`, with diagonal B, by the identity of Woodbury.

        Beside it, the matrix that was factored for it, and whether that failed.
        """
        u, v, half, rest = (tensor.to(root) for tensor in self._leading)
        diagonal = 1 + step_size * rest
        shape = (u.shape[1], v.shape[1])
        (first, second), place = _pairs(v.shape[1], v.device)
        pairs = (step_size / diagonal) @ (v[:, first] * v[:, second])  # over rows of the matrix
        outer = ((u[:, :, None] * u[:, None, :]).flatten(1).T @ pairs)[:, place]
        among = outer.view(shape[0], shape[0], shape[1], shape[1]).transpose(1, 2).reshape(half.shape)
        inner = (half.T @ among @ half).double()
        size = 1 + _JITTER * inner.diagonal().max()
        inner.diagonal().add_(size)
        cholesky, failed = torch.linalg.cholesky_ex(inner)

        def inverse(residual: Tensor) -> Tensor:
            scaled = residual / diagonal
            along = half.T @ (u.T @ (root * scaled) @ v).reshape(-1, 1)
            along = half @ torch.cholesky_solve(along.double(), cholesky).to(half)
            return scaled - root / diagonal * (u @ along.view(shape) @ v.T)

        return inverse, inner, failed

    @functools.cached_property
    def _leading(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Leading eigenvectors u of outputs and v of inputs, a root of C among them, and the diagonal of all else."""
        size = [(float(p.outputs.trace()), float(p.inputs.trace())) for p in self.products]
        pairs = list(zip(self.products, size, strict=True))
        u = _eigenvectors([p.strength * a * p.outputs.double() for p, (_, a) in pairs], _LEADING[0])
        v = _eigenvectors([p.strength * g * p.inputs.double() for p, (g, _) in pairs], _LEADING[1])
        among = sum(
            2 * p.strength * torch.kron(u.T @ p.outputs.double() @ u, v.T @ p.inputs.double() @ v)
            for p in self.products
        )
        values, vectors = torch.linalg.eigh(torch.as_tensor(among))
        half = vectors * values.clamp(min=0).sqrt()
        rest = sum(
            2 * p.strength * p.outputs.double().diagonal()[:, None] * p.inputs.double().diagonal()
            for p in self.products
        )
        for column in half.T:
            rest = rest - (u @ column.view(u.shape[1], v.shape[1]) @ v.T).square()
        return u, v, half, torch.as_tensor(rest).clamp(min=0)


def _asking_factor(matrix: Tensor, failed: Tensor) -> Asking[None]:
    """Raise if a matrix could not be factored."""
    (number,) = yield [failed]
    if number:
        torch.linalg.cholesky(matrix)  # which says why


@functools.lru_cache(maxsize=64)
def _pairs(n: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """The pairs of n columns, each once, ``[2, pairs]``; and which of them each of n x n products is."""
    pairs = torch.triu_indices(n, n, device=device)
    place = torch.empty(n, n, dtype=torch.long, device=device)
    place[pairs[0], pairs[1]] = place[pairs[1], pairs[0]] = torch.arange(pairs.shape[1], device=device)
    return pairs, place.flatten()


def _product(p: Product, z: Tensor) -> Tensor:
    return 2 * p.strength * p.multiplied(z)


def _eigenvectors(matrices: list[Tensor], n: int) -> Tensor:
    """The leading eigenvectors of a sum of symmetric matrices, as columns."""
    total = torch.stack(matrices).sum(dim=0)
    return torch.linalg.eigh(total).eigenvectors[:, -n:]
