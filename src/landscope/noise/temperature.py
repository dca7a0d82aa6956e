"""The active temperature, the variance of the minibatch forces along a mode (paper, Eq. 15)."""

from __future__ import annotations

import dataclasses

import torch
from jaxtyping import Float
from torch import Tensor

from landscope._checks import check_positive
from landscope.directions.directions import Directions, rows_of
from landscope.landscape.lines import steps_for
from landscope.minibatch_lines import count_left_out, start_batch_lines
from landscope.protocols import Ensemble, ProgressCallback
from landscope.results import Result, stamp

__all__ = ["ActiveTemperature", "active_temperature"]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class ActiveTemperature(
    Result,
    kind="active_temperature",
    dims=dict.fromkeys(("displacements", "temperature", "loss"), ("mode", "point")),
):
    """Active temperature and loss along modes.

    Args:
        displacements: Displacements delta theta, ``[k, S]``.
        temperature: Active temperature T_i(delta theta), in units of the loss, ``[k, S]``.
        loss: Mean loss L_i(delta theta) of the minibatches, ``[k, S]``.
        learning_rate: Learning rate alpha.
        n_left_out: Number of samples outside all minibatches.
    """

    displacements: Float[Tensor, "k S"]
    temperature: Float[Tensor, "k S"]
    loss: Float[Tensor, "k S"]
    learning_rate: float
    n_left_out: int


def active_temperature(
    ensemble: Ensemble,
    w0: Float[Tensor, " N"],
    directions: Directions | Float[Tensor, "k N"],
    displacements: Float[Tensor, "*k S"],
    *,
    learning_rate: float,
    progress: ProgressCallback | None = None,
) -> ActiveTemperature:
    r"""The active local temperature along modes (paper, Eq. 15).

    .. math:: T_i(\delta\theta) = \frac\alpha2 \left\langle \left(
              \frac{\partial\, \delta L^\mu(w_0 + \delta\theta\, p_i)}{\partial\, \delta\theta}
              \right)^2 \right\rangle_\mu, \qquad \delta L^\mu = L^\mu - L

    One pass of forward-mode differentiation for each point gives the derivatives of all minibatches. For T_i(0) along
    many directions, :func:`landscope.noise.gradient_noise` is faster.

    Args:
        ensemble: A landscape with minibatch losses.
        w0: Centre of the lines.
        directions: Directions p_i; they are not normalised.
        displacements: Displacements delta theta, ``[S]`` for all directions or ``[k, S]`` for each.
        learning_rate: Learning rate alpha.
        progress: Callback for the number of completed directions.

    Returns:
        The profiles, in float64.

    Raises:
        InputError: If a shape, dtype or device is wrong, directions are zero or parallel, or there are fewer than
            three minibatches.
        NonFiniteError: If a minibatch loss at w0 is not finite.

    Example:
        >>> import torch
        >>> from landscope.synthetic import RandomSprings
        >>> springs = RandomSprings.draw(torch.tensor([1.0, 2.0]), 100, seed=0)
        >>> w0, axes, along = torch.zeros(2).double(), torch.eye(2).double(), torch.tensor([0.0, 0.5])
        >>> profiles = active_temperature(springs, w0, axes, along, learning_rate=0.1)
        >>> bool((profiles.temperature[0] > profiles.temperature[1]).all())
        True
    """
    check_positive("learning_rate", learning_rate)
    directions = rows_of(directions)
    lines, _ = start_batch_lines(ensemble, w0, directions)
    count = len(directions)
    steps = steps_for(displacements, count)
    temperature, loss = torch.empty_like(steps), torch.empty_like(steps)
    for direction in range(count):
        losses, slopes = lines.slopes(torch.full((steps.shape[1],), direction), steps[direction])
        temperature[direction] = learning_rate / 2 * slopes.var(dim=1, correction=0)
        loss[direction] = losses.mean(dim=1)
        if progress is not None:
            progress(direction + 1, count)
    return ActiveTemperature(
        displacements=steps,
        temperature=temperature,
        loss=loss,
        learning_rate=learning_rate,
        n_left_out=count_left_out(ensemble),
        provenance=stamp(learning_rate=learning_rate),
    )
