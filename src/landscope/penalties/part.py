"""A penalty on some of the weights."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from landscope._checks import check_vector
from landscope.errors import InputError
from landscope.protocols import Penalty

__all__ = ["PART", "PartPenalty"]

PART = "part_penalty"
"""Kind of its state."""


@dataclasses.dataclass(frozen=True)
class PartPenalty:
    """A penalty on some columns of w, such as the weights of a layer; the others are free.

    Args:
        part: On these weights alone.
        columns: Where they lie in w.
        dim: Length N of w.
        parameters: Names of the parameters that w is made of, where they are known.

    Raises:
        InputError: If there is not one column for each weight of the part, below ``dim``.

    Example:
        >>> import torch
        >>> from landscope.penalties import distance_penalty
        >>> penalty = PartPenalty(distance_penalty(torch.zeros(2)), torch.tensor([0, 2]), dim=3)
        >>> penalty(torch.tensor([1.0, 5.0, 2.0])).item(), penalty.gradient(torch.tensor([1.0, 5.0, 2.0])).tolist()
        (5.0, [2.0, 0.0, 4.0])
    """

    part: Penalty
    columns: Int[Tensor, " n"]
    dim: int
    parameters: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.columns.shape != (self.part.dim,) or int(self.columns.max()) >= self.dim:
            raise InputError(
                expected=f"{self.part.dim} columns, each below {self.dim}",
                got=f"shape {tuple(self.columns.shape)}, up to {int(self.columns.max())}",
                hint="They are the places of these weights in w.",
            )

    def __call__(self, w: Float[Tensor, "*points N"]) -> Float[Tensor, "*points"]:
        """V of these weights; differentiable by torch."""
        return self.part(self._own(w))

    def gradient(self, w: Float[Tensor, "*points N"]) -> Float[Tensor, "*points N"]:
        """The gradient; zero for the others."""
        return self._spread(self.part.gradient(self._own(w)))

    def hessian_vector_product(self, w: Float[Tensor, "*points N"], vector: Tensor) -> Float[Tensor, "*points N"]:
        """The Hessian, the same everywhere, times a vector."""
        return self._spread(self.part.hessian_vector_product(self._own(w), vector[..., self.columns]))

    def proximal_step(self, w: Float[Tensor, "*points N"], step_size: float) -> Float[Tensor, "*points N"]:
        """The implicit step of the part; the others stay where they are."""
        end = check_vector("w", w, dim=self.dim, device=self.columns.device).clone()
        end[..., self.columns] = self.part.proximal_step(self._own(w), step_size).to(end.dtype)
        return end

    @property
    def n_stored(self) -> int:
        """Numbers it holds, without the places."""
        return self.part.n_stored

    def state_dict(self) -> dict[str, Any]:
        """Its fields, for ``torch.save``; :func:`landscope.penalties.load_penalty` makes a penalty of them."""
        return {
            "kind": PART, "part": self.part.state_dict(), "columns": self.columns, "dim": self.dim,
            "parameters": list(self.parameters),
        }  # fmt: skip

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> PartPenalty:
        """The same on another device or in another dtype."""
        return dataclasses.replace(self, part=self.part.to(device, dtype), columns=self.columns.to(device))

    def _own(self, w: Tensor) -> Tensor:
        return check_vector("w", w, dim=self.dim, device=self.columns.device)[..., self.columns]

    def _spread(self, own: Tensor) -> Tensor:
        whole = torch.zeros(*own.shape[:-1], self.dim, dtype=own.dtype, device=own.device)
        whole[..., self.columns] = own
        return whole
