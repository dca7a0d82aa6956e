"""The linear step of an optimiser near a minimum, and the stationary motion that it gives."""

from __future__ import annotations

import dataclasses

import torch
from jaxtyping import Float
from torch import Tensor

from landscope._checks import check_count, check_number, check_strength
from landscope.errors import InputError

__all__ = ["StepRule", "stationary_covariance"]

_SMALLEST_PULL = 1e-9
"""Below it the variance is 1e9 times the noise: the equations keep half of their digits down to here."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class StepRule:
    r"""How an optimiser moves one coordinate of a quadratic bowl under independent gradient noise n.

    .. math:: g = \lambda\theta + n, \qquad b' = \beta b + \gamma g, \qquad
              \theta' = (1 - \alpha w)\,\theta - \alpha\,(\nu g + \mu b')

    SGD has gamma = 1 - dampening, nu = 0, mu = 1; Nesterov's momentum has gamma = nu = 1, mu = beta (as
    ``torch.optim.SGD`` takes its steps). Adam has gamma = 1 - beta_1 in the coordinates in which its second moments
    are 1 (:func:`landscope.landscape.adam_preconditioner`), while they stay constant.

    Args:
        momentum: beta.
        gradient_share: gamma, the share of the gradient that enters the momentum.
        nesterov: Whether the momentum is Nesterov's.
        decoupled_decay: w, the weight decay that does not pass through the momentum, as in AdamW.

    Raises:
        InputError: If the momentum is not in [0, 1), the share not in (0, 1], or the decay is negative.

    Example:
        >>> rule = StepRule(momentum=0.9)
        >>> round(rule.relaxation_rate(torch.tensor([0.01]).double())[0].item(), 6)
        0.1
        >>> ratio = rule.variance_over_velocity(torch.tensor([0.01]).double())  # (1 + beta)/(2 alpha lambda)
        >>> round(ratio[0].item(), 3)
        95.0
    """

    momentum: float = 0.0
    gradient_share: float = 1.0
    nesterov: bool = False
    decoupled_decay: float = 0.0

    def __post_init__(self) -> None:
        for name in ("momentum", "gradient_share", "decoupled_decay"):
            check_number(name, getattr(self, name))
        if not (0 <= self.momentum < 1 and 0 < self.gradient_share <= 1 and self.decoupled_decay >= 0):
            raise InputError(
                expected="a momentum in [0, 1), a share of the gradient in (0, 1], a decay of at least 0",
                got=f"momentum={self.momentum}, gradient_share={self.gradient_share}, "
                f"decoupled_decay={self.decoupled_decay}",
                hint="Other values have no stationary motion.",
            )

    @property
    def step_factor(self) -> float:
        """Length of the steps for a constant gradient, over the learning rate: gamma/(1 - beta)."""
        return self.gradient_share / (1 - self.momentum)

    def relaxation_rate(self, pull: Float[Tensor, "*k"], decay: float = 0.0) -> Float[Tensor, "*k"]:
        r"""Rate at which slow motion relaxes, in a step: :math:`\alpha\lambda\gamma/(1-\beta) + \alpha w`.

        Args:
            pull: alpha lambda, or its sum over steps.
            decay: alpha w, or its sum over the same steps.
        """
        return pull * self.step_factor + _checked_decay(decay)

    def matrices(self, pull: Float[Tensor, " k"], decay: float = 0.0) -> tuple[Tensor, Tensor]:
        """The step of the state (theta, alpha b): its matrix ``[k, 2, 2]``, and how the noise alpha n enters, ``[2]``.

        Args:
            pull: alpha lambda.
            decay: alpha w.
        """
        _checked_decay(decay)
        direct, through = (1.0, self.momentum) if self.nesterov else (0.0, 1.0)
        share = self.gradient_share if self.momentum else 1.0
        pull = pull.double()
        ones = torch.ones_like(pull)
        matrix = torch.stack(
            [
                torch.stack([1 - decay - (direct + through * share) * pull, -through * self.momentum * ones], dim=-1),
                torch.stack([share * pull, self.momentum * ones], dim=-1),
            ],
            dim=-2,
        )
        return matrix, torch.tensor([-direct - through * share, share], dtype=torch.float64)

    def is_stable(self, pull: Float[Tensor, " k"], decay: float = 0.0) -> bool:
        """Whether the motion stays bounded at every ``pull`` alpha lambda, with the weight ``decay``."""
        radius = torch.linalg.eigvals(self.matrices(pull, decay)[0]).abs().max()
        return bool(radius <= 1 + 1e-12)

    def covariance(self, pull: Float[Tensor, " k"], decay: float = 0.0) -> Float[Tensor, "k 2 2"]:
        r"""Covariance of (theta, alpha b) for noise alpha n of variance 1: :math:`S = A S A^\top + B B^\top`.

        Args:
            pull: alpha lambda; below 1e-9, where there is hardly a stationary state, 1e-9 is taken.
            decay: alpha w.
        """
        least = max(0.0, _SMALLEST_PULL - _checked_decay(decay))
        step, noise = self.matrices(pull.double().clamp(min=least), decay)
        return stationary_covariance(step, (noise[:, None] * noise).expand_as(step))

    def velocity_variance(
        self, pull: Float[Tensor, " k"], decay: float = 0.0, *, spacing: int = 1
    ) -> Float[Tensor, " k"]:
        r"""Variance of the change over some steps, for noise alpha n of variance 1: :math:`2\,[(I - A^m) S]_{11}`.

        Args:
            pull: alpha lambda.
            decay: alpha w.
            spacing: m, the steps between two rows.

        Raises:
            InputError: If the spacing is below 1, or a number is out of its range.
        """
        check_count("spacing", spacing)
        kept = pull.double().clamp(min=max(0.0, _SMALLEST_PULL - _checked_decay(decay)))
        step, _ = self.matrices(kept, decay)
        unit = torch.eye(2, dtype=torch.float64).expand_as(step)
        total, power = torch.zeros_like(step), unit
        for _ in range(spacing):  # I - A^m = (I - A)(I + A + ... + A^(m-1)), without a difference of near numbers
            total, power = total + power, power @ step
        return 2 * ((unit - step) @ total @ self.covariance(kept, decay))[:, 0, 0]

    def variance_over_velocity(
        self, pull: Float[Tensor, " k"], decay: float = 0.0, *, spacing: int = 1
    ) -> Float[Tensor, " k"]:
        r"""Stationary variance over velocity variance, :math:`\sigma^2_\infty/D`, exactly.

        It is 1/(2 alpha lambda) for plain SGD and (1 + beta)/(2 alpha lambda) with heavy-ball momentum, at any stable
        alpha lambda.

        Args:
            pull: alpha lambda.
            decay: alpha w.
            spacing: Steps between two rows, over which the velocity was measured.

        Returns:
            The ratio, float64; infinite where neither curvature nor decay pulls.
        """
        kept = self.covariance(pull, decay)[:, 0, 0] / self.velocity_variance(pull, decay, spacing=spacing)
        return torch.where((pull.double() > 0) | (decay > 0), kept, torch.inf)


def stationary_covariance(step: Float[Tensor, "k 2 2"], source: Float[Tensor, "k 2 2"]) -> Float[Tensor, "k 2 2"]:
    r"""The covariance that a linear step with noise leaves as it is: :math:`S = A S A^\top + Q`.

    Args:
        step: A.
        source: Q, the covariance of the noise of a step.
    """
    (a, b), (c, d) = (row.unbind(-1) for row in step.unbind(-2))
    rows = [
        torch.stack([a * a, 2 * a * b, b * b], dim=-1),
        torch.stack([a * c, a * d + b * c, b * d], dim=-1),
        torch.stack([c * c, 2 * c * d, d * d], dim=-1),
    ]
    system = torch.eye(3, dtype=torch.float64) - torch.stack(rows, dim=-2)
    found = torch.linalg.solve(system, torch.stack([source[:, 0, 0], source[:, 0, 1], source[:, 1, 1]], dim=-1))
    return torch.stack([found[:, :2], found[:, 1:]], dim=-2)


def _checked_decay(decay: float) -> float:
    return check_strength("decay", decay)
