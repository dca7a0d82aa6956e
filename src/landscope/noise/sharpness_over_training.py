"""The sharpness of the loss and of its minibatches at checkpoints of a training, beside the edge of stability."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor

from landscope.landscape.sharpness import batch_sharpness
from landscope.noise.edge_of_stability import edges, largest_curvature
from landscope.protocols import Ensemble, LossLandscape, ProgressCallback, silent
from landscope.results import Result, stamp

__all__ = ["SharpnessOverTraining", "measure_sharpness_over_training"]

Checkpoint = tuple[int, LossLandscape, Ensemble, Tensor]
"""Step, loss of all data, minibatch losses, and weights."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class SharpnessOverTraining(Result, kind="sharpness_over_training", axis="checkpoint"):
    """Sharpness at checkpoints of a training.

    Args:
        steps: Optimisation steps of the checkpoints.
        sharpness: Largest eigenvalue lambda_1 of the Hessian of the loss of all data, to one per cent.
        batch_sharpness: Batch sharpness, see :func:`landscope.landscape.batch_sharpness`.
        batch_sharpness_error: Its standard error.
        bound: Edge 2 (1 + beta)/alpha of gradient descent at each checkpoint; NaN for other optimisers than SGD.
        noise_bound: Edge 2 (1 - beta)/alpha of small noisy minibatches; the same without momentum.
    """

    steps: Float[Tensor, " c"]
    sharpness: Float[Tensor, " c"]
    batch_sharpness: Float[Tensor, " c"]
    batch_sharpness_error: Float[Tensor, " c"]
    bound: Float[Tensor, " c"]
    noise_bound: Float[Tensor, " c"]


def measure_sharpness_over_training(
    checkpoints: Iterable[Checkpoint],
    *,
    learning_rates: Float[Tensor, " c"],
    momentum: float = 0.0,
    weight_decay: float = 0.0,
    seed: int = 0,
    progress: ProgressCallback = silent,
) -> SharpnessOverTraining:
    """Measure lambda_1 and the batch sharpness at checkpoints; the bounds are those of :func:`edge_of_stability`.

    Args:
        checkpoints: Step, loss, minibatch losses and weights of each checkpoint, in order.
        learning_rates: Learning rate alpha of the step at each; NaN where the optimiser has no bound.
        momentum: beta.
        weight_decay: Weight decay, which adds to every curvature.
        seed: Seed of the iterations.
        progress: Callback for the number of completed checkpoints.

    Returns:
        The measurements.
    """
    rows = []
    for step, whole, ensemble, w in checkpoints:
        rough = batch_sharpness(ensemble, w)
        rows.append([float(step), largest_curvature(whole, w, seed=seed), rough.value, rough.standard_error])
        progress(len(rows), len(learning_rates))
    steps, sharpness, batch, error = torch.tensor(rows, dtype=torch.float64).reshape(-1, 4).T
    bound, noise_bound = edges(learning_rates.double(), momentum, weight_decay)
    return SharpnessOverTraining(
        steps=steps,
        sharpness=sharpness,
        batch_sharpness=batch,
        batch_sharpness_error=error,
        bound=bound,
        noise_bound=noise_bound,
        provenance=stamp(momentum=momentum, weight_decay=weight_decay, seed=seed),
    )
