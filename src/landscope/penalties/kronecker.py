"""A quadratic penalty on one matrix of weights whose stiffness is a Kronecker product."""

from __future__ import annotations

import bisect
import dataclasses
import functools

import torch
from jaxtyping import Float
from torch import Tensor

from landscope._checks import check_finite, check_strength, check_vector
from landscope.errors import InputError
from landscope.full_precision import in_full_precision
from landscope.penalties.metric import Habits, asking_in_metric
from landscope.penalties.products import SumOfProducts
from landscope.penalties.questions import Asking, answered
from landscope.penalties.state import StoredPenalty

__all__ = ["KroneckerPenalty", "check_factor", "check_matrix"]

_ASYMMETRY = 1e-4


@in_full_precision
@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class KroneckerPenalty(
    StoredPenalty,
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
        stiffness_source: What the stiffness was computed from, in words.

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

    def __post_init__(self) -> None:
        check_matrix(self.anchor)
        for name, size in zip(("outputs", "inputs"), self.anchor.shape, strict=True):
            check_factor(name, getattr(self, name), size)
        check_strength("strength", self.strength)

    def __call__(self, w: Float[Tensor, "*points N"]) -> Float[Tensor, "*points"]:
        """The penalty V(w); differentiable by torch."""
        return self._value(self._checked(w))

    def _value(self, w: Tensor) -> Tensor:
        z = self._from_anchor(w).unflatten(-1, self.anchor.shape)
        return self.strength * (z * self.multiplied(z)).sum(dim=(-2, -1))

    def hessian_vector_product(self, w: Float[Tensor, "*points N"], vector: Tensor) -> Float[Tensor, "*points N"]:  # noqa: ARG002
        r"""The Hessian, the same at every ``w``, times ``vector`` v ``[..., N]``: :math:`2 \lambda\, G V A`."""
        return 2 * self.strength * self.multiplied(vector.unflatten(-1, self.anchor.shape)).flatten(-2)

    def proximal_step(
        self,
        w: Float[Tensor, "*points N"],
        step_size: float | Float[Tensor, " N"],
        start: Float[Tensor, "*points N"] | None = None,
    ) -> Float[Tensor, "*points N"]:
        r"""The implicit step: in the eigenvectors of G and A, each entry shrinks on its own.

        With one step size it is exact. With a step size for each weight it is solved by conjugate gradients, to 0.001
        of the pull of the penalty or, from given first weights, to a tenth of what is left to do there.

        Args:
            w: Weights before the step.
            step_size: Step size alpha, above 0, or one for each weight, at least 0.
            start: Weights where the iterations begin: those before the step of the optimiser.

        Returns:
            Weights after the step.

        Raises:
            InputError: If the shape or device does not fit, or a step size is negative or not finite.
        """
        return answered(self._asking_step(self._checked(w), step_size, start))

    def _asking_step(self, w: Tensor, step_size: float | Tensor, start: Tensor | None) -> Asking[Tensor]:
        z = self._from_anchor(w).unflatten(-1, self.anchor.shape)
        return (
            yield from asking_in_metric(
                step_size, dim=self.dim, like=z, habits=self._habits,
                one=lambda size: self._step(w.to(z), z, size),
                each=lambda sizes: self._in_metric.asking_steps(w.to(z), sizes, start),
            )
        )  # fmt: skip

    def _step(self, w: Tensor, z: Tensor, step_size: float) -> Tensor:
        rate = 2 * step_size * self.strength
        (g, u), (a, v) = self._eigen
        eps = torch.finfo(z.dtype).eps
        first = self._first_held(rate, eps)
        g, u, a, v = (part.to(z) for part in (g, u, a[first:], v[:, first:]))
        pull = (rate * g[:, None] * a).clamp(max=1 / eps**2)
        moved = u @ (u.T @ z @ v * (pull / (1 + pull))) @ v.T
        return w - moved.flatten(-2)

    def _first_held(self, rate: float, eps: float) -> int:
        """The first eigenvector of A that a step can move; the others, as of inputs that are always 0, are left out."""
        outputs, inputs = self._eigenvalues
        stiffest = rate * outputs[-1]
        return bisect.bisect_right(inputs, eps / stiffest) if stiffest > 0 else len(inputs)

    @functools.cached_property
    def _habits(self) -> Habits:
        return Habits()

    @functools.cached_property
    def _in_metric(self) -> SumOfProducts:
        return SumOfProducts((self,))

    @property
    def parameters(self) -> tuple[str, ...]:
        """No names: the matrix may be one of several parameters."""
        return ()

    @functools.cached_property
    def _eigen(self) -> list[tuple[Tensor, Tensor]]:
        """Eigenvalues and eigenvectors of G and A."""
        pairs = [torch.linalg.eigh(factor.double()) for factor in (self.outputs, self.inputs)]
        return [(values.clamp(min=0).to(self.anchor), vectors.to(self.anchor)) for values, vectors in pairs]

    @functools.cached_property
    def _eigenvalues(self) -> list[list[float]]:
        """Those of G and A, ascending, in main memory: a step on a GPU does not wait for them."""
        return [values.tolist() for values, _ in self._eigen]

    def multiplied(self, z: Tensor) -> Tensor:
        """The product G Z A, with ``z`` of the shape of the weights of the layer, ``[..., out, in]``."""
        return self.outputs.to(z) @ z @ self.inputs.to(z)


def check_matrix(anchor: Tensor) -> None:
    """Raise unless the anchor is a finite matrix."""
    if anchor.ndim != 2:
        raise InputError(
            expected="an anchor of shape [m, n]", got=f"{tuple(anchor.shape)}", hint="Pass a weight matrix."
        )
    check_vector("anchor", anchor, dim=anchor.shape[1])


def check_factor(name: str, factor: Tensor, size: int) -> None:
    """Raise unless a factor is a finite symmetric matrix of this size."""
    check_finite(name, factor, hint="Check the data and the weights that the factor was computed from.")
    if factor.shape != (size, size):
        raise InputError(
            expected=f"{name} of shape {(size, size)}", got=f"{tuple(factor.shape)}",
            hint="Pass one row for each row (outputs) or column (inputs) of the weight matrix.",
        )  # fmt: skip
    if float((factor - factor.T).abs().max()) > _ASYMMETRY * float(factor.abs().max()):
        raise InputError(
            expected=f"symmetric {name}", got="a matrix that is not symmetric", hint="Pass a covariance matrix."
        )
