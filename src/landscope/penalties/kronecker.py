"""A quadratic penalty on one matrix of weights whose stiffness is a Kronecker product."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import torch
from jaxtyping import Float
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
    dims={"anchor": ("output", "input"), "inputs": ("input", "input_"), "outputs": ("output", "output_")},
):
    r"""A quadratic penalty on a weight matrix W, zero at its anchor; :class:`PartPenalty` places it in a network.

    .. math:: V(w) = \lambda \sum Z \circ (G Z A), \qquad w = \mathrm{vec}(W), \quad Z = W - W_1

    with G over outputs and A over inputs: the stiffness of the weights is the Kronecker product of G and A. It stores
    m n + m^2 + n^2 values. The rows of W follow each other in w.

    Args:
        anchor: Weight matrix W_1 at the end of the task, ``[m, n]``, with one more column if the layer has a bias.
        inputs: Symmetric matrix A without negative eigenvalues, ``[n, n]``.
        outputs: Symmetric matrix G without negative eigenvalues, ``[m, m]``.
        strength: Factor lambda.

    Raises:
        InputError: If shapes do not fit, a factor is not symmetric, or the strength is negative.
        NonFiniteError: If a number is NaN or infinite.

    Example:
        >>> import torch
        >>> penalty = KroneckerPenalty(
        ...     anchor=torch.zeros(1, 2), inputs=torch.diag(torch.tensor([1.0, 3.0])), outputs=torch.eye(1)
        ... )
        >>> penalty(torch.tensor([1.0, 2.0])).item()
        13.0
    """

    anchor: Float[Tensor, "m n"]
    inputs: Float[Tensor, "n n"]
    outputs: Float[Tensor, "m m"]
    strength: float = 1.0

    def __post_init__(self) -> None:
        if self.anchor.ndim != 2:
            raise InputError(
                expected="an anchor of shape [m, n]", got=f"{tuple(self.anchor.shape)}", hint="Pass a weight matrix."
            )
        check_vector("anchor", self.anchor, dim=self.anchor.shape[1])
        for name, size in zip(("outputs", "inputs"), self.anchor.shape, strict=True):
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
        check_strength("strength", self.strength)

    def __call__(self, w: Float[Tensor, "*points N"]) -> Float[Tensor, "*points"]:
        """The penalty V(w); differentiable by torch."""
        z = self._from_anchor(w)
        return self.strength * (z * self._multiplied(z)).sum(dim=(-2, -1))

    def gradient(self, w: Float[Tensor, "*points N"]) -> Float[Tensor, "*points N"]:
        r"""The gradient :math:`2 \lambda\, G Z A`."""
        return 2 * self.strength * self._multiplied(self._from_anchor(w)).flatten(-2)

    def hessian_vector_product(self, w: Float[Tensor, "*points N"], vector: Tensor) -> Float[Tensor, "*points N"]:  # noqa: ARG002
        """The Hessian, the same everywhere, times a vector."""
        return 2 * self.strength * self._multiplied(vector.unflatten(-1, self.anchor.shape)).flatten(-2)

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
        return (self.anchor.to(z) + u @ (inner / (1 + rate * g[:, None] * a)) @ v.T).flatten(-2)

    @property
    def dim(self) -> int:
        """Number of weights N = m n."""
        return self.anchor.numel()

    @property
    def parameters(self) -> tuple[str, ...]:
        """No names: the matrix may be one of several parameters."""
        return ()

    @property
    def n_stored(self) -> int:
        """Number of stored values."""
        return sum(tensor.numel() for tensor in self.tensors().values())

    def state_dict(self) -> dict[str, Any]:
        """The fields, for ``torch.save``; :func:`landscope.penalties.load_penalty` rebuilds the penalty."""
        return fields_of(self)

    def with_strength(self, strength: float) -> KroneckerPenalty:
        """The same penalty with another lambda."""
        return dataclasses.replace(self, strength=strength)

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> KroneckerPenalty:
        """The same penalty on another device or in another dtype."""
        return dataclasses.replace(self, **{name: x.to(device, dtype) for name, x in self.tensors().items()})

    @functools.cached_property
    def _eigen(self) -> list[tuple[Tensor, Tensor]]:
        """Eigenvalues and eigenvectors of G and A."""
        pairs = [torch.linalg.eigh(factor.double()) for factor in (self.outputs, self.inputs)]
        return [(values.clamp(min=0).to(self.anchor), vectors.to(self.anchor)) for values, vectors in pairs]

    def _from_anchor(self, w: Tensor) -> Tensor:
        w = check_vector("w", w, dim=self.dim, device=self.anchor.device)
        return w.unflatten(-1, self.anchor.shape) - self.anchor

    def _multiplied(self, z: Tensor) -> Tensor:
        return self.outputs.to(z) @ z @ self.inputs.to(z)
