"""A Kronecker penalty whose input factor has a low rank, beside a mean of all other directions."""

from __future__ import annotations

import dataclasses
import functools

import torch
from jaxtyping import Float
from torch import Tensor

from landscope._checks import check_count, check_finite, check_strength, check_vector
from landscope.errors import InputError
from landscope.full_precision import in_full_precision
from landscope.penalties.kronecker import KroneckerPenalty, check_factor, check_matrix
from landscope.penalties.metric import Habits, asking_in_metric
from landscope.penalties.products import SumOfProducts
from landscope.penalties.questions import Asking, answered
from landscope.penalties.state import StoredPenalty

__all__ = ["LowRankKroneckerPenalty", "low_rank_penalty"]

_LEANING = 1e-3
"""Deviation of a direction from orthonormality that is an error rather than rounding."""


@in_full_precision
@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class LowRankKroneckerPenalty(
    StoredPenalty,
    kind="low_rank_kronecker_penalty",
    dims={
        "anchor": ("output", "input"), "directions": ("direction", "input"), "values": ("direction",),
        "outputs": ("output", "output_"),
    },
):  # fmt: skip
    r"""A Kronecker penalty on a weight matrix W, with the input factor by a few of its eigenvectors.

    .. math:: V(w) = \lambda \sum Z \circ (G Z A), \qquad A = f + \sum_{i=1}^r (a_i - f)\, v_i v_i^\top,
              \qquad Z = W - W_1

    It is :class:`KroneckerPenalty` with the stiffness f, the floor, along all inputs but r. It stores
    m n + m^2 + r n + r + 1 values, and a step costs half as much.

    Args:
        anchor: Weight matrix W_1 at the end of the task, ``[m, n]``, with one more column if the layer has a bias.
        directions: Orthonormal eigenvectors v of A, ``[r, n]``.
        values: Their eigenvalues a, at least 0, ``[r]``.
        floor: Eigenvalue f of all other directions, at least 0.
        outputs: Symmetric matrix G without negative eigenvalues, ``[m, m]``.
        strength: Factor lambda.
        stiffness_source: What the stiffness was computed from, in words.

    Raises:
        InputError: If shapes do not fit, the directions are not orthonormal, or a value is negative.
        NonFiniteError: If a number is NaN or infinite.

    Example:
        >>> import torch
        >>> penalty = LowRankKroneckerPenalty(
        ...     anchor=torch.zeros(1, 2), directions=torch.eye(2)[1:], values=torch.tensor([3.0]), floor=1.0,
        ...     outputs=torch.eye(1),
        ... )
        >>> penalty(torch.tensor([1.0, 2.0])).item()
        13.0
    """

    anchor: Float[Tensor, "m n"]
    directions: Float[Tensor, "r n"]
    values: Float[Tensor, " r"]
    outputs: Float[Tensor, "m m"]
    floor: float = 0.0

    def __post_init__(self) -> None:
        check_matrix(self.anchor)
        check_factor("outputs", self.outputs, self.anchor.shape[0])
        check_strength("strength", self.strength)
        v = check_vector("directions", self.directions, dim=self.anchor.shape[1])
        if float((v @ v.T - torch.eye(len(v)).to(v)).abs().sum()) > _LEANING * max(1, len(v)):
            raise InputError(
                expected="orthonormal directions", got="others", hint="Pass the eigenvectors of a covariance matrix."
            )
        check_finite("values", self.values, hint="Pass the eigenvalues of a covariance matrix.")
        if self.values.shape != v.shape[:1] or bool((self.values < 0).any()):
            raise InputError(
                expected=f"{len(v)} values of at least 0, one a direction", got=f"{self.values.tolist()}",
                hint="Pass the eigenvalues of a covariance matrix.",
            )  # fmt: skip
        check_strength("floor", self.floor)

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
        r"""The implicit step, as :meth:`KroneckerPenalty.proximal_step`.

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
                step_size, dim=self.dim, like=z, habits=self._habits, one=lambda size: self._step(z, size),
                each=lambda sizes: self._in_metric.asking_steps(w.to(z), sizes, start),
            )
        )  # fmt: skip

    def _step(self, z: Tensor, step_size: float) -> Tensor:
        g, u = (each.to(z) for each in self._of_outputs)
        v, stiffness = self.directions.to(z), 2 * step_size * self.strength * g[:, None]
        inner, others = u.T @ z, 1 / (1 + stiffness * self.floor)
        along = 1 / (1 + stiffness * self.values.to(z)) - others
        shrunk = inner * others + (inner @ v.T * along) @ v
        return (self.anchor.to(z) + u @ shrunk).flatten(-2)

    @property
    def inputs(self) -> Float[Tensor, "n n"]:
        """The matrix A."""
        rest = self.floor * torch.eye(self.anchor.shape[1]).to(self.anchor)
        return rest + self.directions.T @ ((self.values - self.floor)[:, None] * self.directions)

    @property
    def parameters(self) -> tuple[str, ...]:
        """No names: the matrix may be one of several parameters."""
        return ()

    @property
    def n_stored(self) -> int:
        """Number of stored values, with the floor."""
        return super().n_stored + 1

    def multiplied(self, z: Tensor) -> Tensor:
        """The product G Z A, with ``z`` of the shape of the weights of the layer, ``[..., out, in]``."""
        v, left = self.directions.to(z), self.outputs.to(z) @ z
        return self.floor * left + (left @ v.T * (self.values.to(z) - self.floor)) @ v

    @functools.cached_property
    def _habits(self) -> Habits:
        return Habits()

    @functools.cached_property
    def _in_metric(self) -> SumOfProducts:
        return SumOfProducts((self,))

    @functools.cached_property
    def _of_outputs(self) -> tuple[Tensor, Tensor]:
        """Eigenvalues and eigenvectors of G."""
        values, vectors = torch.linalg.eigh(self.outputs.double())
        return values.clamp(min=0).to(self.anchor), vectors.to(self.anchor)


def low_rank_penalty(
    penalty: KroneckerPenalty | LowRankKroneckerPenalty, rank: int
) -> KroneckerPenalty | LowRankKroneckerPenalty:
    r"""Keep the leading eigenvectors of the input factor, and the mean of its other eigenvalues.

    .. math:: A \to f + \sum_{i=1}^r (a_i - f)\, v_i v_i^\top, \qquad f = \frac{\mathrm{tr} A - \sum_i a_i}{n - r}

    So the mean stiffness of all directions stays as it is, and no direction is free that was held. It is exact where
    all other eigenvalues are equal: where A has the rank r, or the rank r beside a multiple of the identity.

    Args:
        penalty: Penalty on one matrix.
        rank: Number of eigenvectors r.

    Returns:
        The penalty of low rank, or the same penalty where that stores as few values.

    Raises:
        InputError: If the rank is not an integer of at least 0.

    Example:
        >>> import torch
        >>> penalty = KroneckerPenalty(
        ...     anchor=torch.zeros(1, 4), outputs=torch.eye(1), inputs=torch.diag(torch.tensor([9.0, 1.0, 2.0, 3.0]))
        ... )
        >>> low = low_rank_penalty(penalty, 1)
        >>> low.values.tolist(), low.floor, low.n_stored
        ([9.0], 2.0, 11)
    """
    n = penalty.anchor.shape[1]
    if check_count("rank", rank, minimum=0) * (n + 1) + 1 >= n * n:
        return penalty
    found, vectors = torch.linalg.eigh(penalty.inputs.double())
    found = found.clamp(min=0)
    first = n - rank
    return LowRankKroneckerPenalty(
        anchor=penalty.anchor,
        directions=vectors[:, first:].T.to(penalty.anchor).contiguous(),
        values=found[first:].to(penalty.anchor),
        floor=float(found[:first].mean()),
        outputs=penalty.outputs,
        strength=penalty.strength,
        stiffness_source=penalty.stiffness_source,
        provenance=penalty.provenance,
    )
