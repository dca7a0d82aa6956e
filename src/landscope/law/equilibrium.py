"""What isotropic noise and noise proportional to curvature show in a window as long as the run's."""

from __future__ import annotations

import dataclasses
import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from landscope._checks import check_count, check_momentum, check_positive, check_seed
from landscope.landscape.flatness import Flatness
from landscope.noise.displacement import velocity_variance
from landscope.noise.step_rule import StepRule
from landscope.noise.window_time import window_time
from landscope.power_law import fit_power_law, fit_power_laws_resampled
from landscope.results import Result, stamp
from landscope.surrogates.equilibrium import relaxing_process

__all__ = ["Equilibrium", "equilibrium"]

_FEWEST = 3


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Equilibrium(
    Result,
    kind="equilibrium",
    dims={
        **dict.fromkeys(("curvature", "expected", "width", "used"), ("mode",)),
        **dict.fromkeys(("psi", "psi_proportional"), ("draw",)),
    },
):
    """Exponents of two relaxing processes in a window of given length; NaN where fewer than three directions fit.

    Args:
        curvature: lambda_k, ``[k]``; negative ones diffuse freely.
        expected: Variance of isotropic noise of unit strength in the window,
            kappa(alpha lambda_k T/(1 - beta)) D_k (1 + beta)/(2 alpha lambda_k).
        width: Flatness F_k; NaN where it is not within reach.
        used: Directions fitted: a flatness within reach, and alpha lambda_k below 2(1 + beta), the limit of stability.
        psi_expected: Exponent of ``expected``; -2 in a bowl in a window without end.
        psi: Exponents of isotropic noise, thermal equilibrium, one for each draw.
        psi_proportional_expected: The same as ``psi_expected`` for noise proportional to the curvature, C ~ H, in the
            order of minibatches of ``steps_per_epoch``.
        psi_proportional: Exponents of noise proportional to the curvature.
        anharmonic: How much psi of a short walk in the loss itself differs from that of its twin in the bowl, with the
            same kicks; NaN if it was not measured.
        n_walked: Steps of that walk.
        n_steps: Steps of the window.
    """

    curvature: Float[Tensor, " k"]
    expected: Float[Tensor, " k"]
    width: Float[Tensor, " k"]
    used: Bool[Tensor, " k"]
    psi_expected: float
    psi: Float[Tensor, " draws"]
    psi_proportional_expected: float
    psi_proportional: Float[Tensor, " draws"]
    anharmonic: float
    n_walked: int
    n_steps: int


def equilibrium(
    curvature: Float[Tensor, " k"],
    flatness: Flatness,
    n_rows: int,
    *,
    learning_rate: float,
    momentum: float = 0.0,
    every: int = 1,
    steps_per_epoch: int | None = None,
    n_draws: int = 10,
    seed: int,
) -> Equilibrium:
    r"""The variance-flatness relation of isotropic noise, and of noise proportional to curvature, in a finite window.

    .. math:: \sigma_k^2(T) = \frac{D_k (1+\beta)}{2\alpha\lambda_k}\,
              \kappa\!\left(\frac{\alpha\lambda_k T}{1-\beta}\right), \qquad
              \langle\zeta_k^2\rangle = 1 \;\text{or}\; \lambda_k

    at the learning rate and in the length of the window of the run, along all of its directions: a window makes the
    -2 of the Einstein relation smaller, and the 0 of C ~ H positive. Each draw goes through the same fit as a run.

    Args:
        curvature: lambda_k.
        flatness: Flatness along the same directions.
        n_rows: Rows of the window.
        learning_rate: alpha.
        momentum: beta.
        every: Steps between rows.
        steps_per_epoch: M, where the minibatches of the run were reshuffled: the noise proportional to curvature then
            sums to zero over each epoch. Isotropic noise does not come from minibatches.
        n_draws: Draws of each process, two at least, for a band; k numbers a step each.
        seed: Seed of the first draw.

    Returns:
        The exponents.

    Raises:
        InputError: If a number is too small.

    Example:
        >>> import landscope as ls
        >>> from landscope.synthetic import InverseGaussian
        >>> stiff = torch.logspace(0, -3, 30).double()
        >>> F = ls.flatness(InverseGaussian(stiff), torch.zeros(30).double(), torch.eye(30).double())
        >>> found = equilibrium(stiff, F, 1000, learning_rate=0.1, n_draws=3, seed=0)
        >>> -2 < found.psi_expected < -0.5, found.psi_proportional_expected > 0.5
        (True, True)
    """
    check_count("n_draws", n_draws, minimum=2)
    check_count("n_rows", n_rows, minimum=2)
    check_count("every", every)
    check_seed(seed)
    check_momentum(momentum)
    check_positive("learning_rate", learning_rate)
    if steps_per_epoch is not None:
        check_count("steps_per_epoch", steps_per_epoch, minimum=2)
    pull = curvature.double().clamp(min=0)
    used = flatness.bracketed & (learning_rate * pull < 2 * (1 + momentum))
    steps = (n_rows - 1) * every + 1
    found: dict[str, tuple[Tensor, Tensor]] = {}
    for name, noise, epoch in (
        ("isotropic", torch.ones_like(pull), None),
        ("proportional", pull, steps_per_epoch),
    ):
        fitted = used & (noise > 0)
        kept = torch.where(used, pull, 0.0)
        expected, width = _expected(kept, noise, steps, learning_rate, momentum, epoch), flatness.width[fitted]
        if int(fitted.sum()) < _FEWEST:
            found[name] = expected, torch.full((n_draws + 1,), math.nan).double()
            continue
        variance = torch.stack([
            relaxing_process(
                pull[fitted], noise[fitted], n_rows, learning_rate=learning_rate, momentum=momentum, every=every,
                steps_per_epoch=epoch, seed=seed + draw,
            ).var(dim=0, correction=0)
            for draw in range(n_draws)
        ])  # fmt: skip
        found[name] = expected, -fit_power_laws_resampled(width, torch.cat([expected[fitted][None], variance]))
    (expected, psi), (_, proportional) = found["isotropic"], found["proportional"]
    return Equilibrium(
        curvature=curvature.double(),
        expected=torch.where(used, expected, math.nan),
        width=torch.where(flatness.bracketed, flatness.width, math.nan),
        used=used,
        psi_expected=float(psi[0]),
        psi=psi[1:].clone(),
        psi_proportional_expected=float(proportional[0]),
        psi_proportional=proportional[1:].clone(),
        anharmonic=math.nan,
        n_walked=0,
        n_steps=steps,
        provenance=stamp(
            learning_rate=learning_rate, momentum=momentum, every=every, steps_per_epoch=steps_per_epoch, seed=seed
        ),
    )


def difference_of_exponents(
    width: Float[Tensor, " n"], first: Float[Tensor, "rows n"], second: Float[Tensor, "rows n"]
) -> float:
    """Psi of the first walk minus psi of the second; NaN where fewer than three directions fit or one diverged."""
    if len(width) < _FEWEST:
        return math.nan
    both = [rows.var(dim=0, correction=0) for rows in (first, second)]
    if not all(bool((torch.isfinite(part) & (part > 0)).all()) for part in both):
        return math.nan
    return fit_power_law(width, both[1]).exponent - fit_power_law(width, both[0]).exponent


def _expected(
    pull: Tensor, noise: Tensor, steps: int, learning_rate: float, momentum: float, steps_per_epoch: int | None
) -> Tensor:
    """Variance in the window for noise zeta of these variances."""
    strength = velocity_variance(StepRule(momentum=momentum), learning_rate * pull, 0.0, steps_per_epoch)
    end = torch.tensor([steps], dtype=torch.float64)
    time = window_time(pull, end, learning_rate=learning_rate, momentum=momentum, steps_per_epoch=steps_per_epoch)
    return noise * strength * time[0]
