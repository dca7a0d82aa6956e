"""The equilibrium control: isotropic Langevin noise around the solution of the network."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from landscope._checks import check_count, check_directions, check_point, check_positive, generator_of
from landscope.derivatives import gradient_function
from landscope.errors import NonFiniteError
from landscope.protocols import LossLandscape, ProgressCallback
from landscope.results import stamp
from landscope.trajectory import Trajectory

__all__ = ["langevin"]


def langevin(
    landscape: LossLandscape,
    w0: Float[Tensor, " N"],
    *,
    temperature: float,
    step: float,
    n_steps: int,
    seed: int,
    within: Float[Tensor, "k N"] | None = None,
    progress: ProgressCallback | None = None,
) -> Trajectory:
    r"""Gradient descent with isotropic noise about a point that is made a minimum.

    .. math:: w_{t+1} = w_t - \eta \left(\nabla L(w_t) - \nabla L(w_0)\right)
              + \sqrt{\eta T/2}\, (\xi_t + \xi_{t+1})

    In a bowl :math:`\sigma_i^2 = T / \lambda_i` for any step: the Einstein relation, sigma^2 ~ F^(+2), the opposite
    sign of Eq. 8. Adding up two successive kicks is what makes the variance exact (Leimkuhler & Matthews, Appl. Math.
    Res. Express 2013, 34); with one kick a step it would be :math:`T/(\lambda_i(1 - \eta\lambda_i/2))`. Subtracting the
    gradient at w0 is needed as the end of a training run is no exact minimum.

    Args:
        landscape: Any landscape; every step takes the gradient of all data, and the noise is added by hand.
        w0: Start of the walk, which becomes its minimum.
        temperature: T, in units of the loss; small against L(w0)/k, or the walk leaves the basin.
        step: eta; below 2/lambda_max.
        n_steps: Rows of the result.
        seed: Seed of the noise.
        within: Orthonormal directions to stay in, ``[k, N]``; all of R^N by default. Directions without curvature
            never equilibrate and only heat the others through the rest of the landscape.
        progress: Callback for the number of completed steps.

    Returns:
        The walk, in memory, in the dtype of ``w0``.

    Raises:
        InputError: If a number is not positive or a shape does not fit.
        NonFiniteError: If the walk diverges.

    Example:
        >>> import torch
        >>> from landscope.synthetic import QuadraticBowl
        >>> bowl = QuadraticBowl(torch.tensor([1.0, 4.0]).double())
        >>> walk = langevin(bowl, torch.zeros(2).double(), temperature=0.01, step=0.1, n_steps=5000, seed=0)
        >>> ratio = walk.weights.var(0) * torch.tensor([1.0, 4.0]) / 0.01
        >>> bool(((ratio - 1).abs() < 0.3).all())
        True
    """
    check_positive("temperature", temperature)
    check_positive("step", step)
    check_count("n_steps", n_steps, minimum=1)
    w0 = check_point(w0)
    if within is not None:
        within = check_directions(within, dim=len(w0)).to(w0)
    gradient = gradient_function(landscape)
    at_start = gradient(w0).to(w0)
    generator = generator_of(seed)

    def draw() -> Tensor:
        kick = torch.randn(len(w0), dtype=torch.float64, generator=generator)
        return (math.sqrt(step * temperature / 2) * kick).to(w0)

    rows, w, last = torch.empty(n_steps, len(w0), dtype=w0.dtype), w0.clone(), draw()
    for row in range(n_steps):
        kick = draw()
        move = last + kick - step * (gradient(w).to(w0) - at_start)
        last = kick
        w = w + (move if within is None else (within @ move) @ within)
        rows[row] = w
        if progress is not None:
            progress(row + 1, n_steps)
    if not bool(torch.isfinite(rows[-1]).all()):
        raise NonFiniteError(expected="a walk that stays finite", got="one that diverged", hint="Take a smaller step.")
    return Trajectory.of(
        rows,
        provenance=stamp(control="isotropic Langevin", temperature=temperature, step=step, seed=seed),
    )
