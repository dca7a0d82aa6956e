"""The local learning coefficient: how fast the volume of low loss about a point shrinks with the loss."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from landscope._checks import (
    check_count,
    check_landscape,
    check_point,
    check_positive,
    check_seed,
    check_strength,
    generator_of,
)
from landscope.derivatives import gradient_function
from landscope.errors import NonFiniteError
from landscope.protocols import LossLandscape, ProgressCallback, silent
from landscope.results import Result, described, stamp

__all__ = ["LearningCoefficient", "learning_coefficient"]

GradientEstimate = Callable[[Tensor, torch.Generator], Tensor]
"""``estimate(w[N], generator) -> gradient[N]``: unbiased, from a random minibatch, for example."""

_SIGMAS = 5.0
_RARE = 1000


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class LearningCoefficient(
    Result,
    kind="learning_coefficient",
    dims={
        "by_chain": ("chain",), "diverged": ("chain",), "losses": ("chain", "draw"), "steps": ("draw",),
    },
):  # fmt: skip
    """A local learning coefficient with its chains.

    Args:
        coefficient: Estimate of lambda, mean over chains; NaN if a chain diverged.
        stderr: Its standard error, from the spread over chains.
        by_chain: Estimate of each chain; NaN for one that diverged.
        diverged: Whether a chain left for infinity, for losses higher than any convex valley can hold, or for a while
            for losses that hardly any draw of one coefficient has: its steps are too long there.
        losses: Loss at the draws, burn-in included, ``[chains, draws]``.
        steps: Step of each draw.
        change: Estimate of the later half of the counted draws minus that of the earlier half; not zero within errors
            if the chains are too short.
        change_stderr: Standard error of the change, from the spread over chains.
        loss0: Loss L0 at w0.
        n_samples: Number n of samples.
        inverse_temperature: beta.
        localisation: gamma, the pull to w0.
        step: Step size eta.
        burn_in: Number of steps left out.
    """

    coefficient: float
    stderr: float
    by_chain: Float[Tensor, " chains"]
    diverged: Bool[Tensor, " chains"]
    losses: Float[Tensor, "chains draws"]
    steps: Int[Tensor, " draws"]
    change: float
    change_stderr: float
    loss0: float
    n_samples: int
    inverse_temperature: float
    localisation: float
    step: float
    burn_in: int


def learning_coefficient(
    landscape: LossLandscape,
    w0: Float[Tensor, " N"],
    *,
    n_samples: int,
    step: float,
    localisation: float,
    seed: int,
    inverse_temperature: float | None = None,
    n_steps: int = 1000,
    burn_in: int | None = None,
    n_chains: int = 4,
    n_draws: int = 50,
    gradient: GradientEstimate | None = None,
    progress: ProgressCallback = silent,
) -> LearningCoefficient:
    r"""Estimate the local learning coefficient by Langevin chains about w0 (Lau et al., arXiv 2308.12108).

    .. math:: \hat\lambda = n\beta\left(\langle L \rangle - L(w_0)\right), \qquad
              p(w) \propto \exp\left[-n\beta L(w) - \tfrac\gamma2 |w - w_0|^2\right], \qquad \beta = \frac1{\ln n}

    The volume with a loss below L0 + e goes as e^lambda: d/2 for a bowl in d dimensions, 1/(2k) for w^(2k), nothing for
    a flat direction, and sums for independent directions. A bowl gives
    :math:`\sum_i \frac{n\beta\lambda_i}{2(n\beta\lambda_i + \gamma)}`: directions with a curvature below
    gamma/(n beta) do not count, so gamma sets what is flat. lambda is invariant under any change of coordinates; its
    estimate is so as far as no direction is near that limit. Such a volume makes n beta (L - L0) of a draw a Gamma
    variable of shape lambda, which exceeds lambda + sqrt(2 lambda t) + t with a probability below e^-t. A draw beyond
    this limit, t = ln(1000 x draws) and lambda at most 1/3 above the median, has another cause: mostly steps that are
    too long where a chain finds a higher curvature than at w0.

    .. math:: w_{t+1} = w_t - \eta \left[n\beta \nabla L + \gamma (w_t - w_0)\right] + \sqrt{\eta/2}\,
              (\xi_t + \xi_{t+1})

    exact in a bowl for any step (Leimkuhler & Matthews). A direction without curvature needs 1/(eta gamma) steps. The
    cost is n_chains x n_steps gradients and n_chains x n_draws losses.

    Args:
        landscape: Any landscape, the mean loss of n samples.
        w0: The point, where the chains start.
        n_samples: Number n of samples, at least 3.
        step: eta, below 2/(n beta lambda_max + gamma).
        localisation: gamma, at least 0.
        seed: Seed of the first chain; the others have the next ones.
        inverse_temperature: beta; 1/ln n by default.
        n_steps: Steps of a chain.
        burn_in: Steps left out at its start; half of them by default.
        n_chains: Number of chains, at least 2.
        n_draws: Number of evenly spaced steps at which the loss of all data is taken, burn-in included.
        gradient: Estimate of the gradient, ``gradient(w, generator)``; the exact gradient by default. The noise of an
            estimate heats the chain.
        progress: Callback for the number of completed steps.

    Returns:
        The estimate; NaN if a chain diverged.

    Raises:
        InputError: If a number is out of its range or a shape does not fit.
        NonFiniteError: If the loss at w0 is not finite.

    Example:
        >>> import torch
        >>> from landscope.synthetic import QuadraticBowl
        >>> bowl = QuadraticBowl(torch.tensor([1.0, 4.0]).double())
        >>> found = learning_coefficient(
        ...     bowl, torch.zeros(2).double(), n_samples=1000, step=1e-3, localisation=1.0, n_steps=2000, n_draws=400,
        ...     seed=0,
        ... )
        >>> abs(found.coefficient - 1) < 0.2
        True
    """
    check_seed(seed)
    check_count("n_samples", n_samples, minimum=3)
    check_count("n_chains", n_chains, minimum=2, hint="The error comes from their spread.")
    check_count("n_steps", n_steps, minimum=10)
    burn_in = check_count("burn_in", n_steps // 2 if burn_in is None else burn_in, minimum=0, maximum=n_steps - 4)
    check_count("n_draws", n_draws, minimum=4, maximum=n_steps)
    check_positive("step", step)
    check_strength("localisation", localisation)
    beta = 1 / math.log(n_samples) if inverse_temperature is None else inverse_temperature
    check_positive("inverse_temperature", beta)
    w0 = check_point(w0)
    loss0 = float(check_landscape(landscape)(w0))
    if not math.isfinite(loss0):
        raise NonFiniteError(expected="a finite loss at w0", got=f"{loss0}", hint="Choose another point.")
    exact = gradient_function(landscape)
    slope = gradient or (lambda w, _: exact(w))
    chains = _Chains(
        landscape, w0, lambda w, generator: n_samples * beta * slope(w, generator), float(step), float(localisation)
    )
    drawn = _steps_drawn(n_steps, burn_in, n_draws)
    losses = chains.losses(range(seed, seed + n_chains), drawn, progress)
    excess = n_samples * beta * (losses[:, drawn > burn_in] - loss0)
    diverged = ~((excess.mean(dim=1) <= _most(len(w0))) & (excess.amax(dim=1) <= _highest(excess)))  # NaN too
    excess, half = torch.where(diverged[:, None], math.nan, excess), excess.shape[1] // 2
    (coefficient, stderr), (change, change_stderr) = (
        _mean_and_error(excess.mean(dim=1)),
        _mean_and_error(excess[:, -half:].mean(dim=1) - excess[:, :half].mean(dim=1)),
    )
    return LearningCoefficient(
        coefficient=coefficient, stderr=stderr, by_chain=excess.mean(dim=1), diverged=diverged, losses=losses,
        steps=drawn, change=change, change_stderr=change_stderr, loss0=loss0, n_samples=n_samples,
        inverse_temperature=beta, localisation=float(localisation), step=step, burn_in=burn_in,
        provenance=stamp(n_steps=n_steps, seed=seed, minibatches=gradient is not None, landscape=described(landscape)),
    )  # fmt: skip


def _steps_drawn(n_steps: int, burn_in: int, n_draws: int) -> Int[Tensor, " draws"]:
    """Evenly spaced steps, the last one included; every step after the burn-in where fewer than two would count."""
    drawn = torch.linspace(0, n_steps, n_draws + 1, dtype=torch.float64)[1:].round().long()
    return drawn if int((drawn > burn_in).sum()) >= 2 else torch.arange(burn_in + 1, n_steps + 1)


def _mean_and_error(by_chain: Float[Tensor, " chains"]) -> tuple[float, float]:
    return float(by_chain.mean()), float(by_chain.std() / math.sqrt(len(by_chain)))


def _most(dim: int) -> float:
    """The most that a convex valley holds: <w.grad U> = N, which bounds U, and what few draws may scatter."""
    return dim + _SIGMAS * math.sqrt(dim)


def _highest(excess: Float[Tensor, "chains draws"]) -> float:
    """What no draw of a Gamma variable exceeds, but for one in ``_RARE`` sets of as many draws.

    The median of a Gamma variable is less than 1/3 below its mean lambda. Its tail is that of Boucheron et al.,
    Concentration Inequalities (2013), section 2.4, with variance lambda and scale 1.
    """
    mean = float(excess.nanmedian().clamp(min=0)) + 1 / 3
    t = math.log(_RARE * excess.numel())
    return mean + math.sqrt(2 * mean * t) + t


@dataclasses.dataclass
class _Chains:
    landscape: LossLandscape
    w0: Tensor
    slope: GradientEstimate
    step: float
    localisation: float

    def losses(
        self, seeds: Sequence[int], drawn: Int[Tensor, " draws"], progress: ProgressCallback
    ) -> Float[Tensor, "chains draws"]:
        """The losses of one chain for each seed at the steps drawn."""
        n_steps = int(drawn[-1])
        chains = []
        for number, seed in enumerate(seeds):
            before = number * n_steps
            chains.append(
                self._chain(seed, drawn, lambda done, before=before: progress(before + done, len(seeds) * n_steps))
            )
        return torch.stack(chains)

    def _chain(self, seed: int, drawn: Tensor, progress: Callable[[int], None]) -> Float[Tensor, " draws"]:
        """The losses of one chain; NaN from where its weights are not finite."""
        generator = generator_of(seed)
        found = torch.full((len(drawn),), math.nan, dtype=torch.float64)
        places = {step: place for place, step in enumerate(drawn.tolist())}
        w, last = self.w0.clone(), self._noise(generator)
        for number in range(1, int(drawn[-1]) + 1):
            noise = self._noise(generator)
            pull = self.slope(w, generator).to(w) + self.localisation * (w - self.w0)
            w = w - self.step * pull + last + noise
            last = noise
            if number in places:
                if not bool(torch.isfinite(w).all()):
                    break
                with torch.no_grad():
                    found[places[number]] = float(self.landscape(w))
                progress(number)
        return found

    def _noise(self, generator: torch.Generator) -> Tensor:
        drawn = torch.randn(len(self.w0), dtype=torch.float64, generator=generator)
        return (math.sqrt(self.step / 2) * drawn).to(self.w0)
