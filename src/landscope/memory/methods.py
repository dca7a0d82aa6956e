"""The methods that keep a task: each makes a penalty of a finished task."""

from __future__ import annotations

import abc
import dataclasses
import math
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, get_args

import torch
from torch import Tensor, nn

from landscope._checks import check_choice, check_count, check_kind, check_positive, check_seed
from landscope.errors import InputError
from landscope.memory.accumulate import accumulate
from landscope.memory.inverted import widths_to_hold_by
from landscope.memory.snapshot import TaskSnapshot
from landscope.parameters import ParameterSpace
from landscope.penalties.basin import basin_penalty
from landscope.penalties.blocks import PenaltySum
from landscope.penalties.compression.factored import factored_penalty
from landscope.penalties.compression.moved import moved_penalty
from landscope.penalties.fisher import (
    distance_penalty,
    elastic_weight_consolidation,
    kronecker_elastic_weight_consolidation,
    memory_aware_synapses,
)
from landscope.penalties.ldc import flatness_from_variance, landscape_dependent_constraint
from landscope.penalties.quadratic import QuadraticPenalty
from landscope.protocols import Penalty
from landscope.risk.fisher import FisherKind
from landscope.risk.kronecker import KroneckerKind, check_layers

__all__ = ["EWC", "Basin", "KFAC", "L2", "LDC", "MAS", "METHODS", "Method", "measured_ranks", "resolve_method"]

_MEASURED_RANKS = (2, 5, 10, 20, 50, 100, 200)
"""Modes whose measured flatness sets the scale where the flatness comes from the variance."""

FlatnessSource = Literal["measured", "variance"]


@dataclasses.dataclass(frozen=True)
class Method(abc.ABC):
    """A method that keeps a task. Subclasses are frozen dataclasses whose fields are the options of the method."""

    name: ClassVar[str]
    """The string that stands for the method with its default options."""
    needs_recording: ClassVar[bool] = False
    """Whether the method needs the recorded weights of the task."""

    unit_of_rise: ClassVar[float | None] = None
    """The strength at which the penalty predicts the rise of ln L; None where it predicts none."""

    follows_outputs: ClassVar[bool] = False
    """Whether the strength follows how far the outputs move, where nothing is said."""

    @property
    def default_strength(self) -> float | None:
        """Default lambda; None where a strength must be given."""
        return None

    def check(self, model: nn.Module, space: ParameterSpace) -> None:  # noqa: B027 - most methods work for every layer
        """Raise where the method does not work for the layers of the selected weights."""

    @abc.abstractmethod
    def penalty(self, task: TaskSnapshot, count: int) -> Penalty:
        """Make the penalty of a finished task, at strength 1.

        Args:
            task: Snapshot of the finished task.
            count: Number of directions to hold, see :meth:`n_directions`, or of single weights (0 for all).
        """

    def added(self, earlier: Penalty | None, latest: Penalty, rank: int | None, w1: Tensor) -> Penalty:  # noqa: ARG002
        """The penalty of all tasks, from that of the earlier ones and that of the latest one, which ended at w1."""
        return accumulate(earlier, latest, rank)

    def n_directions(self, task: TaskSnapshot, n_modes: int) -> int:
        """Number of directions to hold: ``n_modes``, or fewer where the weights moved along fewer."""
        return min(n_modes, task.modes.n_moving) if self.needs_recording else 0

    def predicted_rise(self, value: float, ratio: float) -> float:  # noqa: ARG002 - of the basin
        """The rise of ln L that the penalty predicts.

        Args:
            value: The penalty, at the strength :attr:`unit_of_rise`.
            ratio: Loss at the edge of the valley over that at its bottom.
        """
        return value

    def settings(self) -> dict[str, Any]:
        """Name and options, as plain values for a checkpoint."""
        return {"name": self.name, **dataclasses.asdict(self)}


@dataclasses.dataclass(frozen=True)
class LDC(Method):
    """Landscape-dependent constraints: hold the principal modes of the recorded weights (paper, Eq. 14).

    Args:
        flatness: Source of the flatness F of every mode: ``"measured"`` along all modes, or ``"variance"``, from the
            variance-flatness relation, with a few measured modes for the scale.
        psi: Exponent of the variance-flatness relation; only for ``flatness="variance"``.
        floor: Whether all other directions are held as stiffly as the flattest held mode. The paper has no floor.
            True by default; a factored penalty has none.
        factored: Store one Kronecker product a layer instead of all directions.

    Raises:
        InputError: If an option is unknown, or ``floor`` and ``factored`` are both asked for.

    Example:
        >>> LDC().floor, LDC(factored=True).floor, LDC(floor=False).default_strength
        (True, False, 10.0)
    """

    flatness: FlatnessSource = "measured"
    psi: float = 4.0
    floor: bool | None = None
    factored: bool = False

    name: ClassVar[str] = "ldc"
    needs_recording: ClassVar[bool] = True
    unit_of_rise: ClassVar[float | None] = 4.0

    def __post_init__(self) -> None:
        check_choice("flatness", self.flatness, get_args(FlatnessSource))
        check_positive("psi", self.psi)
        check_kind("factored", self.factored, bool, hint="Pass True or False.")
        if self.floor is None:
            object.__setattr__(self, "floor", not self.factored)
        check_kind("floor", self.floor, bool, hint="Pass True or False.")
        if self.floor and self.factored:
            raise InputError(
                expected="no floor with factored=True", got="floor=True",
                hint="Leave floor out: a factored penalty already spreads its stiffness over all directions.",
            )  # fmt: skip
        if self.flatness == "measured" and self.psi != LDC.psi:
            raise InputError(
                expected='flatness="variance" with psi', got='flatness="measured"',
                hint="Leave psi out, or take the flatness from the variance.",
            )  # fmt: skip

    @property
    def default_strength(self) -> float:
        """4, where V is about the rise of ln L; 10 without a floor, as in the paper."""
        return 4.0 if self.floor or self.factored else 10.0

    def penalty(self, task: TaskSnapshot, count: int) -> Penalty:
        """The constraints along the first ``count`` modes."""
        if self.flatness == "measured":
            widths = task.widths(count)
            _check_reached(widths, task.ratio)
            widths = widths_to_hold_by(widths)
        else:
            ranks = measured_ranks(count)
            measured = task.widths_along(task.modes.directions[[rank - 1 for rank in ranks]])
            _check_reached(measured, task.ratio)
            widths = flatness_from_variance(task.modes.variance[:count], self.psi, measured, ranks)
        constraint = landscape_dependent_constraint(
            task.w1, task.modes, widths, n_modes=count, floor="last-mode" if self.floor else "none", strength=1.0
        )
        return factored_penalty(constraint, task.space) if self.factored else constraint


def _check_reached(widths: Tensor, ratio: float) -> None:
    """Raise where the loss reaches the edges of the valley along no mode."""
    if bool(torch.isnan(widths).all()):
        raise InputError(
            expected=f"a loss that rises to {ratio:.3g} times its value along at least one mode",
            got="none within reach",
            hint="Make the memory with a lower ratio, such as TaskMemory(..., ratio=1.1): a large loss, as at the "
            "start of a training or of a language model, cannot rise by e.",
        )


def measured_ranks(n_modes: int) -> list[int]:
    """The modes whose flatness sets the scale; the drift mode only where no other mode moved."""
    return [rank for rank in _MEASURED_RANKS if rank <= n_modes] or [1]


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
        """Every weight by its information, or the ``count`` weights of largest information."""
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
        """Raise unless every selected weight belongs to a linear or convolutional layer."""
        check_layers(model, space)

    def penalty(self, task: TaskSnapshot, count: int) -> PenaltySum:  # noqa: ARG002 - the protocol's argument
        """One Kronecker product a layer."""
        return kronecker_elastic_weight_consolidation(
            task.risk, task.w1, fisher=self.fisher, n_draws=self.n_draws, seed=self.seed
        )


@dataclasses.dataclass(frozen=True)
class Basin(Method):
    """Hold each layer by the curvature of ln L, averaged over the basin in which L is e times its minimum.

    All tasks together store one product of two factors a layer, about the weights at the end of the latest task.

    Args:
        n_points: Number of points in the basin.
        n_samples: Number of samples of the task that are used, chosen at random.
        fisher: Kind of Fisher information, see :func:`landscope.penalties.basin_penalty`: by default random signs of
            all answers, or ``"empirical"`` where their distribution is not known, as with ``losses=``.
        n_draws: Answers drawn for each sample and point, where answers are drawn.
        seed: Seed of the samples, points and draws.
        rank: Number of eigenvectors of each input factor to keep, beside the mean of the others; all by default. A
            layer of n inputs then stores about ``rank`` n numbers in place of n^2. The default is exact. Four
            permutations of MNIST in a 784-100-50-10 network end at an error of 6.3 % with all, 6.5 % with 30 and 6.7 %
            with 10, and store 8.6, 1.5 and 1.3 numbers a weight (two seeds).

    Raises:
        InputError: If the kind is unknown, or a number is out of range.

    Example:
        >>> Basin(n_points=16).n_points, Basin().default_strength
        (16, 1.0)
    """

    n_points: int = 8
    n_samples: int = 1000
    fisher: KroneckerKind = "auto"
    n_draws: int = 1
    seed: int = 0
    rank: int | None = None

    name: ClassVar[str] = "basin"
    unit_of_rise: ClassVar[float | None] = 1.0
    follows_outputs: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_choice("fisher", self.fisher, get_args(KroneckerKind))
        for name in ("n_points", "n_samples", "n_draws"):
            check_count(name, getattr(self, name), minimum=1)
        check_seed(self.seed)
        if self.rank is not None:
            check_count("rank", self.rank, minimum=0)

    @property
    def default_strength(self) -> float:
        """1, where V is about the rise of the logarithm of the smoothed loss."""
        return 1.0

    def predicted_rise(self, value: float, ratio: float) -> float:
        r"""The rise of ln L that the penalty predicts.

        .. math:: \ln \frac{L}{L_1} \approx \max\Big(V, \ln(1 + r V)\Big), \qquad
                  \langle L \rangle = r L_1

        V is the rise of L over the mean loss of the basin, so L rises by the share r V of L_1: exactly so for a
        parabola, up to r = e: 5.75 times its minimum. Beyond that V is larger, as a loss such as the cross-entropy
        rises faster than a parabola, and its logarithm is nearer to one.

        Args:
            value: The penalty V at strength 1.
            ratio: Mean loss r in the basin over the loss L_1 at the minimum.

        Example:
            >>> round(Basin().predicted_rise(0.01, math.e), 3), Basin().predicted_rise(3.0, math.e)
            (0.027, 3.0)
        """
        return max(value, math.log1p(ratio * value))

    def penalty(self, task: TaskSnapshot, count: int) -> PenaltySum:  # noqa: ARG002 - the protocol's argument
        """One Kronecker product a layer."""
        return basin_penalty(task.risk, task.w1, ratio=task.ratio, **dataclasses.asdict(self))

    def added(self, earlier: Penalty | None, latest: Penalty, rank: int | None, w1: Tensor) -> Penalty:  # noqa: ARG002
        """One product a layer for all tasks, about the latest weights: there the model knows all of them."""
        return latest if earlier is None else accumulate(moved_penalty(earlier, w1), latest, 0)


@dataclasses.dataclass(frozen=True)
class MAS(Method):
    """Memory-aware synapses: hold every weight by how much it moves the outputs."""

    name: ClassVar[str] = "mas"

    def penalty(self, task: TaskSnapshot, count: int) -> QuadraticPenalty:  # noqa: ARG002 - the protocol's argument
        """One stiffness a weight."""
        return memory_aware_synapses(task.risk, task.w1)


@dataclasses.dataclass(frozen=True)
class L2(Method):
    """Hold all weights alike, by their distance from the end of the task."""

    name: ClassVar[str] = "l2"

    def penalty(self, task: TaskSnapshot, count: int) -> QuadraticPenalty:  # noqa: ARG002 - the protocol's argument
        """One stiffness for all weights."""
        return distance_penalty(task.w1)


METHODS: Mapping[str, Method] = {method.name: method for method in (Basin(), LDC(), EWC(), KFAC(), MAS(), L2())}
"""Every method with its default options, by name."""


def resolve_method(method: str | Method) -> Method:
    """The method that a name stands for, or the method itself.

    Raises:
        InputError: If there is no method of that name.
    """
    if isinstance(method, Method):
        return method
    if isinstance(method, str):
        return METHODS[check_choice("method", method, METHODS)]
    raise InputError(
        expected=f"a method, or one of the names {', '.join(METHODS)}", got=type(method).__name__,
        hint='Pass "basin", or landscope.memory.LDC(...) with options.',
    )  # fmt: skip
