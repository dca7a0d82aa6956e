"""The null of every exponent: a process that relaxes as the landscape says, in a window of the run's length."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from landscope._checks import (
    check_count,
    check_kind,
    check_number,
    check_positive,
    check_seed,
    generator_of,
)
from landscope.directions.directions import Directions
from landscope.errors import InputError
from landscope.noise.step_rule import StepRule
from landscope.surrogates.building import increments_of, outside_of, surrogate_of
from landscope.surrogates.stationary_walk import stationary_walk
from landscope.trajectory import Trajectory
from landscope.trajectory.spacing import check_every_step

__all__ = ["finite_window_process", "rest_curvature"]

_MOST_BYTES = 2**33
"""The most that the increments of the window and the rows of the process may take in memory."""
_COLUMNS = 512
"""Weights that walk at once."""


def rest_curvature(
    window: Trajectory,
    curvature: Directions,
    product: Callable[[Float[Tensor, " N"]], Float[Tensor, " N"]],
    *,
    n_samples: int = 64,
    seed: int,
) -> float:
    r"""Mean curvature that the noise meets outside the given directions.

    .. math:: \lambda_r = \frac{\sum_t r_t^\top G\, r_t}{\sum_t |r_t|^2}, \qquad
              r_t = \Delta w_t - \sum_k u_k\, (u_k \cdot \Delta w_t)

    over increments drawn at random, so that each direction counts by its share of the noise.

    Args:
        window: The window.
        curvature: Eigenvectors u_k of the curvature.
        product: Product v -> G v with the matrix the eigenvectors are of.
        n_samples: Increments drawn; all where the window has fewer.
        seed: Seed of the draw.

    Returns:
        The mean, 0 where nothing moves outside the directions.

    Raises:
        InputError: If the window has other weights or fewer than three rows.

    Example:
        >>> import torch
        >>> window = Trajectory.of(torch.randn(20, 3, generator=torch.Generator().manual_seed(0)))
        >>> sharp = Directions.of(torch.tensor([[1.0, 0.0, 0.0]]))
        >>> round(rest_curvature(window, sharp, lambda v: torch.tensor([9.0, 2.0, 2.0]) * v, seed=0), 6)
        2.0
    """
    check_count("n_samples", n_samples)
    _, increments = increments_of(window)
    drawn = torch.randperm(len(increments), generator=generator_of(seed))[:n_samples]
    beyond = outside_of(increments[drawn], curvature.directions)
    power = float(beyond.square().sum())
    if power <= 1e-20 * float(increments[drawn].square().sum()):
        return 0.0
    return sum(float(row @ product(row.to(window.row(0))).to(row)) for row in beyond) / power


def finite_window_process(
    window: Trajectory,
    curvature: Directions,
    *,
    rest: float,
    seed: int,
    learning_rate: float | None = None,
    rule: StepRule | None = None,
    steps_per_epoch: int | None = None,
    n_windows: int = 1,
) -> Trajectory:
    r"""A stationary process with the curvature of the landscape and the noise of the run, as long as the window.

    .. math:: b_{t+1} = \beta b_t + \gamma\,(\lambda_k \theta_t + n_t), \qquad
              \theta_{t+1} = (1 - \alpha_t w)\,\theta_t - \alpha_t b_{t+1}

    along each eigenvector u_k, and with one curvature in the rest of R^N (:class:`landscope.noise.StepRule`; Nesterov's
    momentum too). The noise is the window's own increments in random order with random signs, so it has their
    covariance and no memory; it is scaled so that the velocity variance of the process is that of the run in every
    direction. Where the learning rate changes, each step relaxes and fluctuates at its own: over the window a direction
    relaxes by the sum of :math:`\alpha_t \lambda_k`. With ``steps_per_epoch`` the noise sums to zero over each epoch,
    as that of reshuffled minibatches does. The process starts from its stationary distribution: for reshuffled epochs
    that between two of them (``landscope.noise.displacement``), from which it walks to the first row.

    What its modes, flatness and exponents show comes from the curvature, the noise covariance and the length of the
    window. An exponent of the run that it shows too says nothing about dynamics beyond these.

    It takes (1 + ``n_windows``) T N numbers of 8 bytes in memory, and a few multiplications for each.

    Args:
        window: The window, with a row for every step.
        curvature: Eigenvectors of the Gauss-Newton matrix or the Hessian, their eigenvalues as values.
        rest: Curvature of the directions that are left, from :func:`rest_curvature`.
        seed: Seed of the noise.
        learning_rate: alpha; the recorded one of each step by default.
        rule: Step of the optimiser; plain SGD by default.
        steps_per_epoch: Minibatches in an epoch whose noise sums to zero; independent noise by default.
        n_windows: Length of the process in windows; further windows serve as its fresh data.

    Returns:
        A trajectory about the mean of the window, from its first step on, in memory.

    Raises:
        InputError: If steps are missing, the learning rate is not known, the process takes more than 8 GiB, or alpha
            lambda is so large that it is not stable.

    Example:
        >>> import torch
        >>> from landscope.synthetic import sgd_in_bowl
        >>> stiff = torch.tensor([1.0, 4.0]).double()
        >>> window = Trajectory.of(sgd_in_bowl(stiff, 20_000, learning_rate=0.1, noise_variance=1.0, seed=0))
        >>> axes = Directions.of(torch.eye(2), values=stiff)
        >>> made = finite_window_process(window, axes, rest=0.0, learning_rate=0.1, seed=0)
        >>> bool(((made.weights.var(0) / window.weights.var(0)).log().abs() < 0.2).all())
        True
    """
    check_kind("curvature", curvature, Directions, hint="Pass directions.hessian(risk, w0, k), for example.")
    if len(curvature.directions[0]) != window.dim:
        raise InputError(
            expected=f"directions of {window.dim} weights", got=f"{curvature.directions.shape[1]}",
            hint="Take the eigenvectors of the recorded weights.",
        )  # fmt: skip
    check_number("rest", rest)
    if learning_rate is not None:
        check_positive("learning_rate", learning_rate)
    check_count("n_windows", n_windows, minimum=1)
    first = int(window.steps[0])
    before = 0 if steps_per_epoch is None else first % check_count("steps_per_epoch", steps_per_epoch, minimum=2)
    _check_memory(window, n_windows, before)
    rule, recorded = StepRule() if rule is None else rule, _rates(window, learning_rate)
    # The steps from the begin of the epoch on, and one between two windows.
    ends = recorded[:1].expand(before), recorded[-1:].expand(n_windows - 1)
    rates = torch.cat([ends[0], recorded.repeat(n_windows), ends[1]])
    steps = first - before + torch.arange(len(rates) + 1)
    pulls = torch.cat([curvature.values.double().clamp(min=0), torch.tensor([max(rest, 0.0)]).double()])
    top = float(rates.max())
    if not rule.is_stable(top * pulls, top * rule.decoupled_decay):
        raise InputError(
            expected="a learning rate times curvature at which the optimiser is stable",
            got=f"{top * float(pulls.max()):.3g}",
            hint="There is no stationary process at these values.",
        )
    _, increments = increments_of(window)
    generator = generator_of(check_seed(seed) + 1)
    draws = torch.randn(2, len(increments), dtype=torch.float64, generator=generator) @ increments
    draws /= math.sqrt(len(increments))
    rows = _noise(increments, recorded, rates, steps_per_epoch, steps, seed)
    del increments
    sharp, draws_along = curvature.directions.double(), draws @ curvature.directions.double().T
    # One curvature pulls alike in every direction, so that a walk of all weights with it needs a correction along the
    # eigenvectors only.
    noise_along = rows[1:] @ sharp.T
    along = stationary_walk(noise_along, draws_along, pulls[:-1], rates, rule, steps_per_epoch)
    along -= stationary_walk(noise_along, draws_along, pulls[-1:], rates, rule, steps_per_epoch)
    for columns in torch.arange(window.dim).split(_COLUMNS):
        part = slice(int(columns[0]), int(columns[-1]) + 1)
        rows[:, part] = stationary_walk(rows[1:, part], draws[:, part], pulls[-1:], rates, rule, steps_per_epoch)
    rows.addmm_(along, sharp)
    rows, steps = rows[before:], steps[before:]
    rows += sum(block.double().sum(dim=0) for block in window.blocks()) / len(window) - rows.mean(dim=0)
    return surrogate_of(window, rows, "finite-window process", seed, steps=steps)


def _check_memory(window: Trajectory, n_windows: int, before: int) -> None:
    size = 8 * ((1 + n_windows) * len(window) + before) * window.dim
    if size > _MOST_BYTES:
        raise InputError(
            expected=f"a process of at most {_MOST_BYTES / 2**30:g} GiB in memory",
            got=f"{size / 2**30:.1f} GiB: {len(window)} rows of {window.dim} weights",
            hint="Choose a shorter window, or record fewer weights with select=.",
        )


def _rates(window: Trajectory, learning_rate: float | None) -> Float[Tensor, " steps"]:
    """Learning rate of each increment."""
    check_every_step(window, "a process of single steps")
    rates = window.learning_rate[1:] if learning_rate is None else torch.full((len(window) - 1,), float(learning_rate))
    if not bool(((rates > 0) & torch.isfinite(rates)).all()):
        raise InputError(
            expected="one positive learning rate at every step",
            got="none, or several",
            hint="Pass learning_rate=.",
        )
    return rates.double()


def _noise(
    increments: Tensor, recorded: Tensor, rates: Tensor, steps_per_epoch: int | None, steps: Tensor, seed: int
) -> Float[Tensor, "rows N"]:
    """The increments in random order with random signs, each at the learning rate of its new step; row 0 is empty."""
    generator = generator_of(seed)
    repeats = -(-len(rates) // len(increments))
    order = torch.cat([torch.randperm(len(increments), generator=generator) for _ in range(repeats)])[: len(rates)]
    signs = 2.0 * torch.randint(0, 2, (len(rates),), generator=generator).double() - 1
    rows = torch.zeros(len(rates) + 1, increments.shape[1], dtype=torch.float64)
    noise = torch.index_select(increments, 0, order, out=rows[1:])
    noise *= (signs * rates / recorded[order])[:, None]
    if steps_per_epoch is None:
        return rows
    epoch = (steps[1:] - 1) // steps_per_epoch
    for part in noise.split(torch.unique_consecutive(epoch, return_counts=True)[1].tolist()):
        # Of n minibatches of an epoch the sum has the variance n (1 - n/M), nothing for all M.
        part -= part.mean(dim=0) * (1 - math.sqrt(max(0.0, 1 - len(part) / steps_per_epoch)))
    return rows
