"""The leading eigenvectors of the covariance of minibatch gradients, as directions for the same analyses."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from landscope._checks import check_count
from landscope.directions.directions import Directions
from landscope.errors import InputError
from landscope.minibatch_lines import gradients_of
from landscope.protocols import Ensemble, ProgressCallback
from landscope.results import stamp

__all__ = ["gradient_noise_eigenvectors"]


def gradient_noise_eigenvectors(
    ensemble: Ensemble, w0: Float[Tensor, " N"], n_modes: int, *, progress: ProgressCallback | None = None
) -> Directions:
    r"""The leading eigenvectors of the covariance of the minibatch gradients at w0 (paper, below Eq. 4).

    Args:
        ensemble: A landscape that gives its minibatch losses.
        w0: Weights at which the gradients are taken.
        n_modes: Number of eigenvectors, below the number of minibatches and at most N.
        progress: Callback for the number of completed minibatches.

    Returns:
        The directions; their values are C_ii, without the factor alpha squared.

    Raises:
        InputError: If there are not that many.

    Example:
        >>> import torch
        >>> from landscope.synthetic import RandomSprings
        >>> springs = RandomSprings.draw(torch.tensor([1.0, 2.0, 4.0]), 50, seed=0)
        >>> found = gradient_noise_eigenvectors(springs, torch.zeros(3).double(), 2)
        >>> round(abs(float(found.directions[0, 0])), 1)
        1.0
    """
    rows = gradients_of(ensemble, w0, None, progress)
    available = min(len(rows) - 1, rows.shape[1])
    if not 1 <= check_count("n_modes", n_modes, minimum=1) <= available:
        raise InputError(
            expected=f"n_modes of at most {available}", got=f"{n_modes}", hint="More minibatches give more directions."
        )
    centred = rows - rows.mean(dim=0)
    _, singular, vectors = torch.linalg.svd(centred, full_matrices=False)
    values = singular[:n_modes].square() / len(rows)
    return Directions(
        name="gradient-noise eigenvectors",
        directions=vectors[:n_modes].contiguous(),
        values=values,
        residuals=torch.zeros_like(values),
        mean=w0.detach().cpu().double(),
        total=float(centred.square().sum()) / len(rows),
        provenance=stamp(n_modes=n_modes),
    )
