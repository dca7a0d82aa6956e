"""Minibatch losses along checked lines through one point, for every analysis of the noise."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import torch
from torch import Tensor

from landscope._checks import check_finite, check_start, device_with_float64
from landscope.errors import InputError, NonFiniteError
from landscope.plain_lines import PlainBatchLines
from landscope.protocols import BatchLines, Ensemble, ProgressCallback

__all__ = ["count_left_out", "each_gradient", "gradients_of", "start_batch_lines"]

_MIN_BATCHES = 3


def _check_ensemble(ensemble: Ensemble) -> None:
    if not isinstance(ensemble, Ensemble):
        raise InputError(
            expected="an ensemble of minibatch losses",
            got=type(ensemble).__name__,
            hint="Pass risk.minibatches(batch_size), or a landscape with batch_losses(w[..., N]) -> L[..., batches].",
        )


def start_batch_lines(ensemble: Ensemble, w0: Tensor, directions: Tensor) -> tuple[BatchLines, Tensor]:
    """Check the start and the directions; return the lines and the minibatch losses at the start.

    Raises:
        InputError: If a shape, dtype or device is wrong, directions are zero or parallel, or there are fewer
            than three minibatches.
        NonFiniteError: If a minibatch loss at ``w0`` is NaN or infinite.
    """
    _check_ensemble(ensemble)
    w0, directions = check_start(w0, directions)
    start = getattr(ensemble, "batch_lines", functools.partial(PlainBatchLines, ensemble.batch_losses))
    lines = start(w0, directions)
    at_start = lines.losses(torch.zeros(1, dtype=torch.long), torch.zeros(1, dtype=torch.float64))[0]
    if len(at_start) < _MIN_BATCHES:
        raise InputError(
            expected=f"an ensemble of at least {_MIN_BATCHES} minibatches",
            got=f"{len(at_start)}",
            hint="Use a smaller batch size.",
        )
    if not bool(torch.isfinite(at_start).all()):
        raise NonFiniteError(
            expected="finite minibatch losses at w0",
            got=f"{int((~torch.isfinite(at_start)).sum())} of {len(at_start)} NaN or infinite",
            hint="Choose a w0 with finite losses, or check the data.",
        )
    return lines, at_start


def each_gradient(ensemble: Ensemble, w: Tensor) -> Iterator[Tensor]:
    """The gradients ``[N]`` of the minibatch losses, one after another, in float64 on the host.

    Raises:
        InputError: If the landscape has no minibatch losses.
        NonFiniteError: If a gradient is not finite.
    """
    _check_ensemble(ensemble)
    for gradient in getattr(ensemble, "batch_gradients", torch.func.jacrev(ensemble.batch_losses))(w):
        yield check_finite(
            "minibatch gradients", gradient.detach().cpu().double(),
            hint="Choose a w0 with finite losses, or check the data.",
        )  # fmt: skip


def gradients_of(
    ensemble: Ensemble, w: Tensor, directions: Tensor | None, progress: ProgressCallback | None = None
) -> Tensor:
    """Gradients of all minibatch losses, ``[batches, N]``, or their components along directions, ``[batches, k]``.

    Products are made in float64, on the host where the device has no float64. The progress is the number of completed
    minibatches.
    """
    _check_ensemble(ensemble)
    gradients = getattr(ensemble, "batch_gradients", torch.func.jacrev(ensemble.batch_losses))(w)
    host = device_with_float64(w.device)
    basis = None if directions is None else directions.to(host).double()
    total = len(gradients) if isinstance(gradients, Tensor) else getattr(ensemble, "n_batches", 0)
    rows = []
    for gradient in gradients:
        double = gradient.to(host).double()
        rows.append(double if basis is None else basis @ double)
        if progress is not None:
            progress(len(rows), max(total, len(rows)))
    return check_finite(
        "minibatch gradients",
        torch.stack(rows).detach().cpu(),
        hint="Choose a w0 with finite losses, or check the data.",
    )


def count_left_out(ensemble: Ensemble) -> int:
    """Number of samples outside all minibatches; 0 if the ensemble does not know it."""
    return getattr(ensemble, "n_left_out", 0)
