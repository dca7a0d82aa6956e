"""Noise that does not come from minibatches, at the run's own learning rate: a relaxing process, and its twin."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from landscope._checks import check_count, check_momentum, check_point, check_positive, generator_of
from landscope.derivatives import gradient_function
from landscope.errors import InputError
from landscope.noise.displacement import stationary_state
from landscope.noise.step_rule import StepRule
from landscope.protocols import LossLandscape, ProgressCallback, silent

__all__ = ["relaxing_process", "walk_beside"]


def relaxing_process(
    curvature: Float[Tensor, " k"],
    noise: Float[Tensor, " k"],
    n_rows: int,
    *,
    learning_rate: float,
    momentum: float = 0.0,
    every: int = 1,
    steps_per_epoch: int | None = None,
    seed: int,
) -> Float[Tensor, "rows k"]:
    r"""A window of heavy-ball descent in a bowl with constant noise, from its stationary distribution on.

    .. math:: v_{t+1} = \beta v_t - \alpha\lambda_k\theta_t + \zeta_t, \qquad \theta_{t+1} = \theta_t + v_{t+1}, \qquad
              \langle\theta_k^2\rangle = \frac{D_k(1+\beta)}{2\alpha\lambda_k}, \qquad
              D_k = \frac{\langle\zeta_k^2\rangle}{(1-\beta)(1+\beta-\alpha\lambda_k/2)}

    The formula replaces the full gradients that a walk in the loss would take at every step. Equal noise in all
    directions is thermal equilibrium, sigma^2 = T/lambda for small alpha lambda. Directions of curvature 0 diffuse
    freely from 0. With ``steps_per_epoch`` the noise sums to zero over each epoch, as that of reshuffled minibatches
    does, and the window begins between two epochs.

    Args:
        curvature: lambda_k, at least 0.
        noise: Variance of zeta_k in a step; with ``steps_per_epoch``, before the mean of the epoch is taken off.
        n_rows: Rows.
        learning_rate: alpha.
        momentum: beta.
        every: Steps between rows.
        steps_per_epoch: M, for noise that sums to zero over reshuffled epochs; None for independent noise.
        seed: Seed of the noise.

    Returns:
        theta, float64. One row costs ``every`` steps of k numbers.

    Raises:
        InputError: If a curvature is negative, or alpha lambda is at least 2(1 + beta): nothing is stationary there.

    Example:
        >>> stiff = torch.tensor([1.0, 4.0]).double()
        >>> rows = relaxing_process(stiff, torch.ones(2), 20_000, learning_rate=0.1, seed=0)
        >>> bool(((rows.var(0) * 0.1 * stiff * (2 - 0.1 * stiff) - 1).abs() < 0.2).all())
        True
    """
    check_momentum(momentum)
    check_count("every", every)
    pull = check_positive("learning_rate", learning_rate) * curvature.double()
    check_count("n_rows", n_rows, minimum=1)
    if len(pull) and not 0 <= float(pull.min()) <= float(pull.max()) < 2 * (1 + momentum):
        raise InputError(
            expected=f"a learning rate times curvature of at least 0 and below {2 * (1 + momentum):g}",
            got=f"{float(pull.min()):.3g} to {float(pull.max()):.3g}",
            hint="Leave the other directions out: nothing is stationary there.",
        )
    if steps_per_epoch is not None:
        check_count("steps_per_epoch", steps_per_epoch, minimum=2)
    generator = generator_of(seed)
    first, second = noise.double().sqrt() * torch.randn(2, len(pull), dtype=torch.float64, generator=generator)
    theta, carried = stationary_state(StepRule(momentum=momentum), pull, 0.0, steps_per_epoch, (first, second))
    velocity = -carried
    kicks = _kicks(noise.double().sqrt(), every, steps_per_epoch, generator)
    rows = torch.empty(n_rows, len(pull), dtype=torch.float64)
    rows[0] = theta
    for row in range(1, n_rows):
        for kick in itertools.islice(kicks, every):
            velocity = momentum * velocity - pull * theta + kick
            theta = theta + velocity
        rows[row] = theta
    return rows


def _kicks(
    scale: Tensor, every: int, steps_per_epoch: int | None, generator: torch.Generator
) -> Iterator[Float[Tensor, " k"]]:
    """The noise of one step after another, without end."""
    while True:
        kicks = torch.randn(steps_per_epoch or every, len(scale), dtype=torch.float64, generator=generator)
        if steps_per_epoch is not None:
            kicks -= kicks.mean(dim=0)
        yield from kicks * scale


def walk_beside(
    landscape: LossLandscape,
    w0: Float[Tensor, " N"],
    directions: Float[Tensor, "k N"],
    curvature: Float[Tensor, " k"],
    start: Float[Tensor, " k"],
    noise: Float[Tensor, " k"],
    n_steps: int,
    *,
    learning_rate: float,
    momentum: float = 0.0,
    seed: int,
    progress: ProgressCallback = silent,
) -> tuple[Float[Tensor, "rows k"], Float[Tensor, "rows k"]]:
    r"""Two walks with the same kicks from the same point: in the loss itself, and in the bowl of the curvature.

    The first feels the force :math:`P (\nabla L(w_0 + P^\top\theta) - \nabla L(w_0))`, the second
    :math:`\lambda_k\theta_k`. What differs between them is what the loss has beyond the bowl.

    Args:
        landscape: Any landscape; a step takes one gradient of all data.
        w0: The point that is made a minimum.
        directions: Orthonormal directions P to stay in.
        curvature: lambda_k of the bowl.
        start: theta at the start.
        noise: Variance of the kick in a step.
        n_steps: Rows of both.
        learning_rate: alpha.
        momentum: beta.
        seed: Seed of the kicks.
        progress: Callback for the number of completed steps.

    Returns:
        theta in the loss and in the bowl, float64.

    Raises:
        InputError: If a number is not positive or a shape does not fit.

    Example:
        >>> from landscope.synthetic import QuadraticBowl
        >>> stiff, axes = torch.tensor([1.0, 4.0]).double(), torch.eye(2).double()
        >>> loss, bowl = walk_beside(
        ...     QuadraticBowl(stiff), torch.zeros(2).double(), axes, stiff, torch.ones(2).double(), torch.ones(2), 20,
        ...     learning_rate=0.1, seed=0)
        >>> torch.allclose(loss, bowl)
        True
    """
    check_momentum(momentum)
    check_positive("learning_rate", learning_rate)
    check_count("n_steps", n_steps, minimum=1)
    w0 = check_point(w0)
    gradient, axes = gradient_function(landscape), directions.double()
    at_start = axes @ gradient(w0).double()
    generator = generator_of(seed)
    kicks = torch.randn(n_steps, len(curvature), dtype=torch.float64, generator=generator) * noise.double().sqrt()

    def force_of_loss(theta: Tensor) -> Tensor:
        return axes @ gradient((w0.double() + theta @ axes).to(w0)).double() - at_start

    walks = []
    for force, told in ((force_of_loss, progress), (lambda theta: curvature.double() * theta, silent)):
        theta, velocity = start.double(), torch.zeros_like(start, dtype=torch.float64)
        rows = torch.empty(n_steps, len(curvature), dtype=torch.float64)
        for step, kick in enumerate(kicks):
            velocity = momentum * velocity - learning_rate * force(theta) + kick
            theta = theta + velocity
            rows[step] = theta
            told(step + 1, n_steps)
        walks.append(rows)
    return walks[0], walks[1]
