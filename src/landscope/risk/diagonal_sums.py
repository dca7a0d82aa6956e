"""The diagonal of the Fisher information, added up over several points."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from landscope.full_precision import in_full_precision
from landscope.risk.evaluation import on_all_data
from landscope.risk.fisher import FisherInformation, FisherKind
from landscope.risk.sample_gradients import Ways

__all__ = ["DiagonalSums"]


@in_full_precision
class DiagonalSums:
    """The diagonal of the Fisher information of some parameters, added up over points.

    How the gradients of single samples are found is tested at the first point only.

    Args:
        fisher: The Fisher information.
        names: Names of the parameters.
        kind: Kind of Fisher information, see ``FisherInformation.diagonal``; not ``"batch-mean"``.
        n_draws: Answers or random signs drawn for each sample.
    """

    def __init__(self, fisher: FisherInformation, names: Sequence[str], kind: FisherKind, *, n_draws: int = 10) -> None:
        self._fisher, self._kind, self._n_draws = fisher, kind, n_draws
        self._gradients = fisher.sample_gradients(names=names)
        self._ways: Ways | None = None
        self._n_points, self._weight, self._total = 0, 0.0, torch.zeros(0)

    @on_all_data()
    def add(self, w: Float[Tensor, " N"], *, seed: int = 0) -> None:
        """Add the diagonal at a point.

        Args:
            w: The point.
            seed: Seed of the draws.
        """
        gradients = self._gradients
        slopes = self._fisher.slopes(gradients.source, w, self._kind, n_draws=self._n_draws, seed=seed)
        self._ways = self._ways or gradients.tested_on_all(w, slopes)
        self._weight = self._weight or self._fisher.weight(w)  # of the data: the same at all points
        total = gradients.sums(w, slopes, ways=self._ways)
        self._total = self._total + total if self._n_points else total
        self._n_points += 1

    def mean(self) -> Float[Tensor, " n"]:
        """The mean over all points, in float64."""
        return self._total / (self._n_points * self._weight)
