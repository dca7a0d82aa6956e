"""A quadratic penalty on one layer whose stiffness is a Kronecker product."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from landscope._checks import check_finite, check_positive, check_strength, check_vector
from landscope.errors import InputError
from landscope.penalties.state import fields_of
from landscope.results import Result

__all__ = ["KroneckerPenalty"]

_ASYMMETRY = 1e-4


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class KroneckerPenalty(
    Result,
    kind="kronecker_penalty",
    dims={
        "anchor": ("output", "input"), "columns": ("output", "input"), "inputs": ("input", "input_"),
        "outputs": ("output", "output_"),
    },
):  # fmt: skip
    r"""A quadratic penalty on the weight matrix W of one layer, zero at its anchor.

    .. math:: V(w) = \lambda \sum Z \circ (G Z A), \qquad Z = W - W_1

    with G over outputs and A over inputs: the stiffness of the weights is the Kronecker product of G and A. Weights of
    other layers are free. It stores m n + m^2 + n^2 values and m n integer indices.

    Args:
        anchor: Weight matrix W_1 at the end of the task, ``[m, n]``, with one more column if the layer has a bias.
        columns: Indices of these weights in w, ``[m, n]``.
        inputs: Symmetric matrix A without negative eigenvalues, ``[n, n]``.
        outputs: Symmetric matrix G without negative eigenvalues, ``[m, m]``.
        dim: Length N of w.
        strength: Factor lambda.
        parameters: Names of the parameters that make up w, if known.

    Raises:
        InputError: If shapes do not fit, a factor is not symmetric, or the strength is negative.
        NonFiniteError: If a number is NaN or infinite.

    Example:
        >>> import torch
        >>> penalty = KroneckerPenalty(
        ...     anchor=torch.zeros(1, 2), columns=torch.tensor([[0, 1]]), dim=2,
        ...     inputs=torch.diag(torch.tensor([1.0, 3.0])), outputs=torch.eye(1),
        ... )
        >>> penalty(torch.tensor([1.0, 2.0])).item()
        13.0
    """

    anchor: Float[Tensor, "m n"]
    columns: Int[Tensor, "m n"]
    inputs: Float[Tensor, "n n"]
    outputs: Float[Tensor, "m m"]
    dim: int
    strength: float = 1.0
    parameters: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_vector("anchor", self.anchor, dim=self.columns.shape[-1])
        sizes = {"outputs": self.columns.shape[0], "inputs": self.columns.shape[1]}
        for name, size in sizes.items():
            factor = check_finite(
                name, getattr(self, name), hint="Check the data and the weights that the factor was computed from."
            )
            if factor.shape != (size, size):
                raise InputError(
                    expected=f"{name} of shape {(size, size)}", got=f"{tuple(factor.shape)}",
                    hint="Pass one row for each row (outputs) or column (inputs) of the weight matrix.",
                )  # fmt: skip
            if float((factor - factor.T).abs().max()) > _ASYMMETRY * float(factor.abs().max()):
                raise InputError(
                    expected=f"symmetric {name}", got="a matrix that is not symmetric", hint="Pass a covariance matrix."
                )
        if self.anchor.shape != self.columns.shape or int(self.columns.max()) >= self.dim:
            raise InputError(
                expected=f"as many columns as weights, each below {self.dim}",
                got=f"{tuple(self.columns.shape)} for {tuple(self.anchor.shape)}, up to {int(self.columns.max())}",
                hint="Pass the indices of these weights in w.",
            )
        check_strength("strength", self.strength)

    def __call__(self, w: Float[Tensor, "*points N"]) -> Float[Tensor, "*points"]:
        """The penalty V(w); differentiable by torch."""
        z = self._from_anchor(w)
        return self.strength * (z * self._multiplied(z)).sum(dim=(-2, -1))

    def gradient(self, w: Float[Tensor, "*points N"]) -> Float[Tensor, "*points N"]:
        r"""The gradient :math:`2 \lambda\, G Z A` at the weights of the layer; zero for all other weights."""
        return self._scattered(self._from_anchor(w))

    def hessian_vector_product(self, w: Float[Tensor, "*points N"], vector: Tensor) -> Float[Tensor, "*points N"]:  # noqa: ARG002
        """The Hessian, the same everywhere, times a vector."""
        return self._scattered(vector[..., self.columns])

    def _scattered(self, z: Tensor) -> Tensor:
        gradient = torch.zeros(*z.shape[:-2], self.dim, dtype=z.dtype, device=z.device)
        gradient[..., self.columns] = 2 * self.strength * self._multiplied(z)
        return gradient

    def proximal_step(self, w: Float[Tensor, "*points N"], step_size: float) -> Float[Tensor, "*points N"]:
        r"""The exact implicit step: in the eigenvectors of G and A, each entry shrinks on its own.

        Args:
            w: Weights before the step.
            step_size: Step size alpha, above 0.

        Returns:
            Weights after the step.

        Raises:
            InputError: If the shape or device does not fit, or the step size is not positive.
        """
        rate = 2 * check_positive("step_size", step_size) * self.strength
        z = self._from_anchor(w)
        (g, u), (a, v) = (pair.to(z) for pair in self._eigen[0]), (pair.to(z) for pair in self._eigen[1])
        inner = u.T @ z @ v
        end = w.to(z, copy=True)
        end[..., self.columns] = self.anchor.to(z) + u @ (inner / (1 + rate * g[:, None] * a)) @ v.T
        return end

    @property
    def n_stored(self) -> int:
        """Number of stored values, without the indices."""
        return self.anchor.numel() + self.inputs.numel() + self.outputs.numel()

    def state_dict(self) -> dict[str, Any]:
        """The fields, for ``torch.save``; :func:`landscope.penalties.load_penalty` rebuilds the penalty."""
        return fields_of(self)

    def with_strength(self, strength: float) -> KroneckerPenalty:
        """The same penalty with another lambda."""
        return dataclasses.replace(self, strength=strength)

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> KroneckerPenalty:
        """The same penalty on another device or in another dtype."""
        floats = {name: tensor.to(device, dtype) for name, tensor in self.tensors().items() if name != "columns"}
        return dataclasses.replace(self, **floats, columns=self.columns.to(device))

    @functools.cached_property
    def _eigen(self) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Eigenvalues and eigenvectors of G and A."""
        g, a = (torch.linalg.eigh(factor.double()) for factor in (self.outputs, self.inputs))
        dtype = self.anchor.dtype
        return (
            (g.eigenvalues.clamp(min=0).to(dtype), g.eigenvectors.to(dtype)),
            (a.eigenvalues.clamp(min=0).to(dtype), a.eigenvectors.to(dtype)),
        )

    def _from_anchor(self, w: Tensor) -> Tensor:
        return check_vector("w", w, dim=self.dim, device=self.anchor.device)[..., self.columns] - self.anchor

    def _multiplied(self, z: Tensor) -> Tensor:
        return self.outputs.to(z) @ z @ self.inputs.to(z)
