"""A quadratic penalty along a few directions, with a floor along all others (paper, Eq. 14)."""

from __future__ import annotations

import dataclasses

import torch
from jaxtyping import Float
from torch import Tensor

from landscope._checks import check_finite, check_number, check_strength, check_vector
from landscope.errors import InputError
from landscope.full_precision import in_full_precision
from landscope.penalties.metric import asking_step_size
from landscope.penalties.questions import Asking, answered
from landscope.penalties.state import StoredPenalty

__all__ = ["QuadraticPenalty"]

_ORTHONORMAL = 1e-3
"""Largest allowed entry of P P' - 1; float32 modes of any length are well below."""
_COLUMNS = 65_536
"""Number of weights whose products are formed together."""


@in_full_precision
@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class QuadraticPenalty(
    StoredPenalty,
    kind="quadratic_penalty",
    dims={"anchor": ("weight",), "directions": ("direction", "weight"), "stiffness": ("direction",)},
):
    r"""A quadratic penalty of low rank plus an isotropic floor, smallest at its anchor.

    .. math:: V(w) = V_0 + \lambda \Big[ k_0\, |w - w_1|^2
              + \sum_{i=1}^{k} (k_i - k_0) \big(p_i \cdot (w - w_1)\big)^2 \Big]

    so that the stiffness is :math:`k_i` along :math:`p_i` and :math:`k_0` along all orthogonal directions. With
    :math:`k_0 = 0` and :math:`k_i = 1/F_i^2` it is the paper's landscape-dependent constraint (Eq. 14, without a
    factor 1/2). It stores (k + 1) N + k values. Without directions, each weight has its own stiffness and it stores
    2 N values. The penalty of one task is zero at its anchor; only merged penalties have an offset V_0, see
    :func:`landscope.penalties.merged_penalty`.

    Args:
        anchor: Weights w_1 at the end of the task, ``[N]``.
        stiffness: Stiffness k_i along each direction ``[k]``, or of each weight ``[N]`` without directions; at least 0.
        directions: Orthonormal directions p_i, ``[k, N]``.
        floor: Stiffness k_0 of all other directions; must be 0 without directions.
        strength: Factor lambda.
        stiffness_source: What the stiffness was computed from, in words.
        offset: Smallest value V_0.
        parameters: Names of the parameters that make up w, if known.

    Raises:
        InputError: If shapes, dtypes or devices do not fit, directions are not orthonormal, or a number is negative.
        NonFiniteError: If a number is NaN or infinite.

    Example:
        >>> import torch
        >>> penalty = QuadraticPenalty(
        ...     anchor=torch.zeros(3), directions=torch.eye(3)[:1], stiffness=torch.tensor([3.5]), floor=0.5
        ... )
        >>> penalty(torch.tensor([1.0, 2.0, 0.0])).item()
        5.5
        >>> penalty.proximal_step(torch.tensor([8.0, 2.0, 0.0]), step_size=1.0).tolist()
        [1.0, 1.0, 0.0]
    """

    anchor: Float[Tensor, " N"]
    stiffness: Float[Tensor, " k"]
    directions: Float[Tensor, "k N"] | None = None
    floor: float = 0.0
    offset: float = 0.0
    parameters: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        dim = len(check_vector("anchor", self.anchor, dim=self.anchor.shape[-1]))
        check_finite("stiffness", self.stiffness, hint="Leave out directions without a flatness; the floor holds them.")
        check_number("offset", self.offset)
        for name, value in (("floor", self.floor), ("strength", self.strength)):
            check_strength(name, value)
        if bool((self.stiffness < 0).any()):
            raise InputError(
                expected="stiffnesses of at least 0",
                got=f"{float(self.stiffness.min()):.3g}",
                hint="Clamp the negative ones to 0, or leave their directions out.",
            )
        expected = dim if self.directions is None else len(self.directions)
        if self.stiffness.shape != (expected,):
            raise InputError(
                expected=f"{expected} stiffnesses, one a {'weight' if self.directions is None else 'direction'}",
                got=f"shape {tuple(self.stiffness.shape)}",
                hint="Pass one stiffness a direction or, without directions, one a weight.",
            )
        if self.directions is not None:
            self._check_directions(self.directions, dim)
        elif self.floor:
            raise InputError(
                expected="no floor without directions",
                got=f"{self.floor}",
                hint="Add the floor to the stiffness of each weight.",
            )

    def _check_directions(self, directions: Tensor, dim: int) -> None:
        check_vector("directions", directions, dim=dim, device=self.anchor.device)
        rows = directions.to(torch.promote_types(directions.dtype, torch.float32))
        products = rows @ rows.T
        error = float((products - torch.eye(len(products)).to(products)).abs().max()) if len(products) else 0.0
        if error > max(_ORTHONORMAL, 4 * torch.finfo(directions.dtype).eps):
            raise InputError(
                expected="orthonormal directions",
                got=f"products that differ from the identity by {error:.2g}",
                hint="Pass modes.directions, or orthonormalise them with torch.linalg.qr.",
            )

    def __call__(self, w: Float[Tensor, "*points N"]) -> Float[Tensor, "*points"]:
        """The penalty V(w); differentiable by torch."""
        return self._value(self._checked(w))

    def _value(self, w: Tensor) -> Tensor:
        z = self._from_anchor(w)
        if self.directions is None:
            return self.offset + self.strength * (self.stiffness.to(z) * z.square()).sum(dim=-1)
        along = z @ self.directions.to(z).T
        stretched = ((self.stiffness.to(z) - self.floor) * along.square()).sum(dim=-1)
        return self.offset + self.strength * (stretched + self.floor * z.square().sum(dim=-1))

    def hessian_vector_product(self, w: Float[Tensor, "*points N"], vector: Tensor) -> Float[Tensor, "*points N"]:  # noqa: ARG002
        r"""Hessian at any ``w`` times ``vector`` z: :math:`2 \lambda [k_0 z + \sum_i (k_i - k_0) p_i p_i \cdot z]`."""
        return self._scaled(vector, 2 * self.strength * self.stiffness, 2 * self.strength * self.floor)

    def proximal_step(
        self,
        w: Float[Tensor, "*points N"],
        step_size: float | Float[Tensor, " N"],
        start: Float[Tensor, "*points N"] | None = None,
    ) -> Float[Tensor, "*points N"]:
        r"""The exact implicit step, stable at any strength; explicit descent diverges where alpha lambda k_i > 1.

        .. math:: \arg\min_u V(u) + \frac{|u - w|^2}{2 \alpha}
                  = w_1 + a_0 z + \sum_i (a_i - a_0)\, p_i (p_i \cdot z),
                  \qquad a_i = \frac{1}{1 + 2 \alpha \lambda k_i}

        It costs two products with the directions, 4 k N operations. With a step size for each weight,
        :math:`|u - w|^2 / \alpha` becomes :math:`\sum_j (u_j - w_j)^2 / \alpha_j`. The directions are then coupled, and
        their k equations cost 2 k^2 N operations more.

        Args:
            w: Weights before the step.
            step_size: Step size alpha, above 0, or one for each weight, at least 0.
            start: Not used: the step needs no iterations.

        Returns:
            Weights after the step; the anchor is a fixed point.

        Raises:
            InputError: If the shape or device does not fit, or a step size is negative or not finite.
        """
        return answered(self._asking_step(self._checked(w), step_size, start))

    def _asking_step(self, w: Tensor, step_size: float | Tensor, start: Tensor | None) -> Asking[Tensor]:  # noqa: ARG002
        z = self._from_anchor(w)
        sizes = yield from asking_step_size(step_size, dim=self.dim, like=z)
        if isinstance(sizes, Tensor):
            return (w.to(z) + self._moved(z.to(sizes), 2 * self.strength * sizes)).to(z.dtype)
        rate = 2 * sizes * self.strength
        return self.anchor.to(z) + self._scaled(z, 1 / (1 + rate * self.stiffness), 1 / (1 + rate * self.floor))

    def _moved(self, z: Tensor, rate: Tensor) -> Tensor:
        r"""The change of w at distance z from the anchor, with :math:`2 \alpha_j \lambda` for each weight.

        With directions it is :math:`(1 + A H) x = z` solved by the identity of Woodbury: the k unknowns are
        :math:`p_i \cdot x`.
        """
        if self.directions is None:
            pull = rate * self.stiffness.to(z)
            return -pull / (1 + pull) * z
        directions, above = self.directions.to(z), (self.stiffness.to(z) - self.floor).double()
        shrunk = 1 + rate * self.floor
        among = _among(directions, rate / shrunk)
        system = torch.eye(len(above), dtype=above.dtype, device=z.device) + among * above
        right = (directions @ (z / shrunk).reshape(-1, self.dim).T).double()
        # Not solve(): a GPU would be asked whether the system is singular, and its eigenvalues are at least 1.
        along = torch.linalg.solve_ex(system, right).result
        pushed = (above[:, None] * along).to(z).T @ directions
        return -rate / shrunk * (self.floor * z + pushed.view(z.shape))

    def _scaled(self, z: Tensor, along: Tensor, otherwise: float) -> Tensor:
        """Scale ``z`` by a factor along each direction, and by another factor along everything orthogonal."""
        if self.directions is None:
            return along.to(z) * z
        directions = self.directions.to(z)
        return otherwise * z + ((along.to(z) - otherwise) * (z @ directions.T)) @ directions


def _among(directions: Float[Tensor, "k N"], scale: Float[Tensor, " N"]) -> Float[Tensor, "k k"]:
    """The products of all pairs of directions with a scale for each weight, in float64; some columns at a time."""
    parts = zip(directions.split(_COLUMNS, dim=1), scale.split(_COLUMNS), strict=True)
    total = torch.zeros(len(directions), len(directions), dtype=torch.float64, device=directions.device)
    for columns, factors in parts:
        total += (columns * factors) @ columns.T
    return total
