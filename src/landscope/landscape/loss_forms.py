"""The form of the loss along a line: exponential, straight, or quadratic (paper, text on Fig. 1 and section S2)."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from landscope.errors import InputError
from landscope.shown import ShownByField

__all__ = ["LossForms", "loss_forms"]

_FEWEST = 5


@dataclasses.dataclass(frozen=True, repr=False)
class LossForms(ShownByField):
    """How well three forms of the loss along a line predict points that were left out.

    Args:
        exponential: Share of the variance of ln L predicted by L = L_0 exp(beta d).
        straight: The same of L = a + b d.
        quadratic: The same of L = a + b d + c d^2.
        beta: Slope of ln L.
    """

    exponential: float
    straight: float
    quadratic: float
    beta: float


def loss_forms(displacements: Float[Tensor, " S"], loss: Float[Tensor, " S"]) -> LossForms:
    r"""Compare :math:`L = L_0 e^{\beta\delta}` along a line with a straight and with a quadratic L.

    Each point is predicted from a fit to all the others, so a form with more parameters has no advantage. Each form is
    fitted by least squares on its own scale, and all are judged on ln L:

    .. math:: Q^2 = 1 - \frac{\sum_j (\ln L_j - \ln \hat L_{-j})^2}{\sum_j (\ln L_j - \overline{\ln L})^2}

    A predicted loss below a hundredth of the smallest one counts as that hundredth, as it has no logarithm.

    Args:
        displacements: Displacements along the line.
        loss: Losses, positive.

    Returns:
        The three shares; NaN where the loss does not change. They are negative where the mean predicts better.

    Raises:
        InputError: If there are fewer than five points, or a loss is not positive.

    Example:
        >>> d = torch.linspace(0, 1, 11).double()
        >>> forms = loss_forms(d, 0.1 * torch.exp(-2 * d))
        >>> round(forms.exponential, 6), forms.straight < forms.quadratic < forms.exponential, round(forms.beta, 6)
        (1.0, True, -2.0)
    """
    if len(loss) < _FEWEST or not bool((loss > 0).all()):
        raise InputError(
            expected=f"at least {_FEWEST} positive losses along a line",
            got=f"{len(loss)}, the smallest {float(loss.min()) if len(loss) else math.nan:.3g}",
            hint="Sample more displacements, of a positive loss.",
        )
    x, losses = displacements.double(), loss.double()
    x = (x - x.mean()) / (x.max() - x.min() or 1.0)
    log_loss, floor = torch.log(losses), losses.min() / 100

    def share(values: Tensor, degree: int, logarithm: Callable[[Tensor], Tensor]) -> float:
        total = float((log_loss - log_loss.mean()).square().sum())
        missed = float((log_loss - logarithm(_left_out(x, values, degree))).square().sum())
        return 1 - missed / total if total > 0 else math.nan

    along = displacements.double() - displacements.double().mean()
    return LossForms(
        exponential=share(log_loss, 1, lambda predicted: predicted),
        straight=share(losses, 1, lambda predicted: torch.log(predicted.clamp(min=floor))),
        quadratic=share(losses, 2, lambda predicted: torch.log(predicted.clamp(min=floor))),
        beta=float((along * log_loss).sum() / along.square().sum()),
    )


def _left_out(x: Float[Tensor, " S"], y: Float[Tensor, " S"], degree: int) -> Float[Tensor, " S"]:
    """Each value as the polynomial through all others predicts it: y - e/(1 - h), h the diagonal of the hat matrix."""
    basis, _ = torch.linalg.qr(torch.stack([x**power for power in range(degree + 1)], dim=1))
    leverage = basis.square().sum(dim=1)
    return y - (y - basis @ (basis.T @ y)) / (1 - leverage)
