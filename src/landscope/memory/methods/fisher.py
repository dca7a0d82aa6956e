"""Elastic weight consolidation: the Fisher information of each weight, or of each layer as Kronecker factors."""

from __future__ import annotations

import dataclasses
from typing import ClassVar, get_args

from torch import nn

from landscope._checks import check_choice, check_count, check_seed
from landscope.memory.methods.method import Method
from landscope.memory.methods.snapshot import TaskSnapshot
from landscope.parameters import ParameterSpace
from landscope.penalties.blocks import PenaltySum
from landscope.penalties.fisher import (
    elastic_weight_consolidation,
    kronecker_elastic_weight_consolidation,
)
from landscope.penalties.quadratic import QuadraticPenalty
from landscope.risk.fisher import FisherKind
from landscope.risk.kronecker import KroneckerKind, check_layers

__all__ = ["EWC", "KFAC"]


@dataclasses.dataclass(frozen=True)
class EWC(Method):
    """Elastic weight consolidation: hold every weight by its Fisher information.

    It has no default strength: pass ``TaskMemory(..., method="ewc", strength=...)``.

    Args:
        fisher: Kind of Fisher information, see :func:`landscope.penalties.elastic_weight_consolidation`: by default
            exact where that is cheap, by draws where it is not, and of the targets of the data (``"empirical"``) where
            the distribution of the answers is not known, as with ``losses=``. The penalty's ``stiffness_source`` says
            which was taken.
        n_draws: Answers drawn for each sample, where answers are drawn.
        seed: Seed of the draws.
        batch_size: Samples of a minibatch, for ``"batch-mean"``; there must be as many.

    Raises:
        InputError: If the kind is unknown.

    Example:
        >>> EWC(fisher="empirical").settings()
        {'name': 'ewc', 'fisher': 'empirical', 'n_draws': 10, 'seed': 0, 'batch_size': 50}
    """

    fisher: FisherKind = "auto"
    n_draws: int = 10
    seed: int = 0
    batch_size: int = 50

    name: ClassVar[str] = "ewc"

    def __post_init__(self) -> None:
        check_choice("fisher", self.fisher, get_args(FisherKind))
        check_count("n_draws", self.n_draws, minimum=1)
        check_count("batch_size", self.batch_size, minimum=1)
        check_seed(self.seed)

    def penalty(self, task: TaskSnapshot, count: int) -> QuadraticPenalty:
        """Every weight of ``task`` by its information, or the ``count`` weights of largest information."""
        return elastic_weight_consolidation(
            task.risk, task.w1, fisher=self.fisher, n_draws=self.n_draws, seed=self.seed, n_weights=count or None,
            batch_size=self.batch_size,
        )  # fmt: skip


@dataclasses.dataclass(frozen=True)
class KFAC(Method):
    """Elastic weight consolidation with one Kronecker-factored Fisher information a layer.

    It has no default strength: pass ``TaskMemory(..., method="kfac", strength=...)``.

    Args:
        fisher: Kind of Fisher information, see :func:`landscope.penalties.kronecker_elastic_weight_consolidation`; the
            default is that of :class:`EWC`.
        n_draws: Answers drawn for each sample, where answers are drawn.
        seed: Seed of the draws.

    Raises:
        InputError: If the kind is unknown.

    Example:
        >>> KFAC(fisher="monte-carlo", n_draws=100).settings()
        {'name': 'kfac', 'fisher': 'monte-carlo', 'n_draws': 100, 'seed': 0}
    """

    fisher: KroneckerKind = "auto"
    n_draws: int = 10
    seed: int = 0

    name: ClassVar[str] = "kfac"

    def __post_init__(self) -> None:
        check_choice("fisher", self.fisher, get_args(KroneckerKind))
        check_count("n_draws", self.n_draws, minimum=1)
        check_seed(self.seed)

    def check(self, model: nn.Module, space: ParameterSpace) -> None:
        """Raise unless every weight that ``space`` selects of ``model`` is of a linear or convolutional layer."""
        check_layers(model, space)

    def penalty(self, task: TaskSnapshot, count: int) -> PenaltySum:  # noqa: ARG002 - the protocol's argument
        """One Kronecker product for each layer, from the snapshot ``task``; ``count`` is not used."""
        return kronecker_elastic_weight_consolidation(
            task.risk, task.w1, fisher=self.fisher, n_draws=self.n_draws, seed=self.seed
        )
