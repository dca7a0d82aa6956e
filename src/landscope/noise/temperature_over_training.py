"""The active temperature at checkpoints of a training (paper, Fig. 5)."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy import stats
from torch import Tensor

from landscope.landscape.dimension import learning_dimension
from landscope.minibatch_lines import gradients_of
from landscope.noise.scale import scale_of_gradients
from landscope.noise.springs import nearest_ranks
from landscope.noise.temperature import active_temperature
from landscope.protocols import Ensemble, ProgressCallback, silent
from landscope.results import Result, stamp

__all__ = ["TemperatureOverTraining", "drawn_ranks", "measure_temperature_over_training"]

MIN_CHECKPOINTS = 4


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class TemperatureOverTraining(
    Result,
    kind="temperature_over_training",
    dims={
        "steps": ("checkpoint",), "loss": ("checkpoint",), "noise_dimension": ("checkpoint",),
        "noise_scale": ("checkpoint",), "noise_scale_interval": ("checkpoint", "end"),
        "temperature": ("checkpoint", "mode"), "ranks": ("mode",),
        "displacements": ("point",), "profiles": ("drawn", "point"), "drawn_steps": ("drawn",),
    },
):  # fmt: skip
    """Active temperature at checkpoints of a training, along the modes of its end.

    Args:
        steps: Optimisation steps of the checkpoints.
        loss: Loss L of the whole training set at each checkpoint.
        ranks: Ranks of the modes.
        temperature: Active temperature T_i(0) at each checkpoint, ``[checkpoints, k]``.
        displacements: Displacements of the profiles along one mode.
        profiles: Profiles T_i(delta theta) along this mode at a few checkpoints.
        drawn_steps: Optimisation steps of the checkpoints with profiles.
        drawn_rank: Rank of the mode of the profiles.
        first_counted: Index of the first checkpoint after one full epoch, where ``correlation`` starts.
        correlation: Pearson correlation of ln T_i(0) with ln L from ``first_counted`` on, as median over modes.
        correlation_from_start: Pearson correlation of ln T_i(0) with ln L over all checkpoints, as median over modes.
        noise_dimension: Number of directions with 99 % of the gradient noise at each checkpoint, in the eigenbasis of
            this noise. In the modes of the end of training the noise would depend on the choice of these modes.
        noise_scale: Gradient noise scale tr(Sigma)/G^2 at each checkpoint, in samples.
        noise_scale_interval: Its 95 % interval, ``[checkpoints, 2]``; see :func:`landscope.noise.noise_scale`.
        batch_size: Samples in a minibatch.
    """

    steps: Float[Tensor, " c"]
    loss: Float[Tensor, " c"]
    ranks: Int[Tensor, " k"]
    temperature: Float[Tensor, "c k"]
    displacements: Float[Tensor, " S"]
    profiles: Float[Tensor, "d S"]
    drawn_steps: Float[Tensor, " d"]
    drawn_rank: int
    first_counted: int
    correlation: float
    correlation_from_start: float
    noise_dimension: Float[Tensor, " c"]
    noise_scale: Float[Tensor, " c"]
    noise_scale_interval: Float[Tensor, "c 2"]
    batch_size: int


def drawn_ranks(ranks: Int[Tensor, " k"]) -> Int[Tensor, " drawn"]:
    """The ranks of the drawn temperature profiles, nearest to 2, 10, 50 and 200."""
    return ranks[nearest_ranks(ranks, (2, 10, 50, 200))]


def measure_temperature_over_training(
    checkpoints: Iterable[tuple[int, Ensemble, Tensor]],
    n_checkpoints: int,
    directions: Float[Tensor, "k N"],
    ranks: Int[Tensor, " k"],
    displacements: Float[Tensor, " S"],
    *,
    learning_rates: Float[Tensor, " c"],
    steps_per_epoch: int,
    batch_size: int,
    drawn: int,
    progress: ProgressCallback | None = None,
) -> TemperatureOverTraining:
    """Measure T_i(0) and L at checkpoints, and T_i(delta theta) along one mode at some of them.

    Args:
        checkpoints: Step, minibatch losses and weights of each checkpoint, in order.
        n_checkpoints: Number of checkpoints.
        directions: Modes.
        ranks: Ranks of the modes.
        displacements: Displacements of the profiles.
        learning_rates: Learning rate alpha of the step at each checkpoint.
        steps_per_epoch: Number of minibatches in an epoch.
        batch_size: Samples in a minibatch.
        drawn: Index in ``directions`` of the mode of the profiles.
        progress: Callback for the number of completed checkpoints.

    Returns:
        The measurements.
    """
    report = progress or silent
    steps, loss, rows, profiles, drawn_steps, dimensions, scales = [], [], [], [], [], [], []
    picked = set(torch.linspace(0, n_checkpoints - 1, 5).round().long().tolist())
    for number, (step, ensemble, w) in enumerate(checkpoints):
        learning_rate = float(learning_rates[number])
        gradients = gradients_of(ensemble, w, None)
        scales.append(scale_of_gradients(gradients, batch_size))
        gradients -= gradients.mean(dim=0)
        dimensions.append(learning_dimension(torch.linalg.svdvals(gradients).square(), 0.99))
        steps.append(float(step))
        loss.append(float(ensemble(w)))
        rows.append(learning_rate / 2 * (gradients @ directions.T).square().mean(dim=0))
        if number in picked:
            along = active_temperature(
                ensemble, w, directions[drawn : drawn + 1].to(w), displacements, learning_rate=learning_rate
            )
            profiles.append(along.temperature[0])
            drawn_steps.append(float(step))
        report(number + 1, n_checkpoints)
    temperature, losses = torch.stack(rows), torch.tensor(loss, dtype=torch.float64)
    first = next((number for number, step in enumerate(steps) if step >= steps_per_epoch), len(steps) - 1)
    return TemperatureOverTraining(
        steps=torch.tensor(steps, dtype=torch.float64),
        loss=losses,
        ranks=ranks,
        temperature=temperature,
        displacements=displacements.double(),
        profiles=torch.stack(profiles),
        drawn_steps=torch.tensor(drawn_steps, dtype=torch.float64),
        drawn_rank=int(ranks[drawn]),
        first_counted=first,
        correlation=_correlation(temperature[first:], losses[first:]),
        correlation_from_start=_correlation(temperature, losses),
        noise_dimension=torch.tensor(dimensions, dtype=torch.float64),
        noise_scale=torch.tensor(scales, dtype=torch.float64)[:, 0],
        noise_scale_interval=torch.tensor(scales, dtype=torch.float64)[:, 1:],
        batch_size=batch_size,
        provenance=stamp(learning_rates=learning_rates.tolist()),
    )


def _correlation(temperature: Tensor, loss: Tensor) -> float:
    """Median over modes of the correlation of ln T with ln L; NaN for fewer than three checkpoints."""
    if len(loss) < 3:
        return math.nan
    log_loss = torch.log(loss).numpy()
    return float(np.median([stats.pearsonr(torch.log(t).numpy(), log_loss).statistic for t in temperature.T]))
