"""Penalties built from other penalties: a penalty on some of the weights, and a sum of penalties."""

from __future__ import annotations

import dataclasses
import functools
import operator
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from landscope._checks import check_count, check_kind, check_vector
from landscope.errors import InputError
from landscope.full_precision import in_full_precision
from landscope.penalties.columns import columns_of, runs_of
from landscope.penalties.kronecker import KroneckerPenalty
from landscope.penalties.low_rank import LowRankKroneckerPenalty
from landscope.penalties.metric import (
    Habits,
    asking_conjugate_gradients,
    asking_in_metric,
    asking_step_size,
    working_dtype,
)
from landscope.penalties.products import SumOfProducts
from landscope.penalties.questions import Asking, answered, asking_step, gradient_of, together, value_of
from landscope.penalties.state import check_keys, penalty_from
from landscope.protocols import Penalty
from landscope.shown import ShownByField, counted

__all__ = ["PartPenalty", "PenaltySum", "load_penalty"]

_PART, _SUM = "part_penalty", "penalty_sum"  # kinds of their states
_RESIDUAL = {torch.float32: 1e-6, torch.float64: 1e-11}
"""Residual of an implicit step over the length of its right-hand side."""
_RESIDUAL_OF_EACH, _STEPS_OF_EACH = 1e-3, 200
"""The same with a step size for each weight, and the largest number of iterations."""


@in_full_precision
@dataclasses.dataclass(frozen=True, repr=False)
class PartPenalty(ShownByField):
    """A penalty on some entries of w, such as the weights of a layer; all other weights are free.

    Args:
        part: Penalty on these weights alone, of dimension n.
        columns: Indices of these weights in w, ``[n]``.
        dim: Length N of w.
        parameters: Names of the parameters that make up w, if known.

    Raises:
        InputError: If the columns do not match the dimension of the part, or one is not below ``dim``.

    Example:
        >>> import torch
        >>> from landscope.penalties import distance_penalty
        >>> penalty = PartPenalty(distance_penalty(torch.zeros(2)), torch.tensor([0, 2]), dim=3)
        >>> penalty(torch.tensor([1.0, 5.0, 2.0])).item(), penalty.gradient(torch.tensor([1.0, 5.0, 2.0])).tolist()
        (5.0, [2.0, 0.0, 4.0])
    """

    part: Penalty
    columns: Int[Tensor, " n"]
    dim: int
    parameters: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_count("dim", self.dim)
        columns = self.columns
        if columns.shape != (self.part.dim,) or not 0 <= int(columns.min()) <= int(columns.max()) < self.dim:
            raise InputError(
                expected=f"{self.part.dim} columns, each below {self.dim}", hint="Pass indices of these weights in w.",
                got=f"shape {tuple(self.columns.shape)}, up to {int(self.columns.max())}",
            )  # fmt: skip

    def __call__(self, w: Float[Tensor, "*points N"]) -> Float[Tensor, "*points"]:
        """The penalty V(w); differentiable by torch."""
        return self._value(self._checked(w))

    def _value(self, w: Tensor) -> Tensor:
        return value_of(self.part, w[..., self.columns])

    def gradient(self, w: Float[Tensor, "*points N"]) -> Float[Tensor, "*points N"]:
        """The gradient ``[..., N]`` at ``w`` ``[..., N]``; zero for the free weights."""
        return self._gradient(self._checked(w))

    def _gradient(self, w: Tensor) -> Tensor:
        return self._scattered(gradient_of(self.part, w[..., self.columns]))

    def hessian_vector_product(self, w: Float[Tensor, "*points N"], vector: Tensor) -> Float[Tensor, "*points N"]:
        """The Hessian, the same at every ``w`` ``[..., N]`` (else an InputError), times ``vector`` ``[..., N]``."""
        here = check_vector("w", w, dim=self.dim, device=self.columns.device, is_finite=True)[..., self.columns]
        return self._scattered(self.part.hessian_vector_product(here, vector[..., self.columns]))

    def proximal_step(
        self,
        w: Float[Tensor, "*points N"],
        step_size: float | Float[Tensor, " N"],
        start: Float[Tensor, "*points N"] | None = None,
    ) -> Float[Tensor, "*points N"]:
        """The implicit step of the part from ``w``, with ``step_size`` and ``start``; free weights stay unchanged."""
        return answered(self._asking_step(self._checked(w), step_size, start))

    def _asking_step(self, w: Tensor, step_size: float | Tensor, start: Tensor | None) -> Asking[Tensor]:
        bounds = asking_step_size(step_size, dim=self.dim, like=w)
        _, own = yield from together([bounds, self._asking_own(w, step_size, start)])
        end = w.clone()
        end[..., self.columns] = own
        return end

    def _asking_own(self, w: Tensor, step_size: float | Tensor, start: Tensor | None) -> Asking[Tensor]:
        """The implicit step of these weights alone, from finite weights w on their device, in the dtype of w."""
        is_each = isinstance(step_size, Tensor) and step_size.ndim == 1
        here = step_size.to(w.device)[self.columns] if is_each else step_size
        first = None if start is None else start.to(w.device)[..., self.columns]
        own = yield from asking_step(self.part, w[..., self.columns], here, first)
        return own.to(w.dtype)

    @property
    def n_stored(self) -> int:
        """Number of stored values, without the indices."""
        return self.part.n_stored

    def state_dict(self) -> dict[str, Any]:
        """The fields, for ``torch.save``; :func:`landscope.penalties.load_penalty` rebuilds the penalty."""
        return {
            "kind": _PART, "part": self.part.state_dict(), "runs": runs_of(self.columns), "dim": self.dim,
            "parameters": list(self.parameters),
        }  # fmt: skip

    def with_strength(self, strength: float) -> PartPenalty:
        """The same penalty with another lambda, the ``strength``, at least 0."""
        return dataclasses.replace(self, part=self.part.with_strength(strength))

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> PartPenalty:
        """The same penalty on another ``device`` or in another ``dtype``; None keeps it."""
        return dataclasses.replace(self, part=self.part.to(device, dtype), columns=self.columns.to(device))

    def _checked(self, w: Tensor) -> Tensor:
        return check_vector("w", w, dim=self.dim, device=self.columns.device)

    def _scattered(self, values: Tensor) -> Tensor:
        whole = torch.zeros(*values.shape[:-1], self.dim, dtype=values.dtype, device=values.device)
        whole[..., self.columns] = values
        return whole


@in_full_precision
@dataclasses.dataclass(frozen=True, repr=False)
class PenaltySum:
    """A sum of quadratic penalties of any type: V(w) = sum_t V_t(w).

    It stores all of them, so it grows with the number of tasks; :func:`landscope.penalties.merged_penalty` does not.

    Args:
        parts: The penalties.

    Raises:
        InputError: If there are no penalties, or they are on different weights.

    Example:
        >>> import torch
        >>> from landscope.penalties import QuadraticPenalty
        >>> parts = [QuadraticPenalty(anchor=torch.tensor([x]), stiffness=torch.ones(1)) for x in (0.0, 2.0)]
        >>> both = PenaltySum(tuple(parts))
        >>> both(torch.tensor([1.0])).item(), round(both.proximal_step(torch.tensor([5.0]), 1e6).item(), 3)
        (2.0, 1.0)
    """

    parts: tuple[Penalty, ...]

    def __repr__(self) -> str:
        parts = [getattr(part, "part", part) for part in self.parts]
        made_of = dict.fromkeys(str(getattr(part, "stiffness_source", "unknown")) for part in parts)
        return "; ".join([f"PenaltySum over {self.dim:,} weights: {counted(parts)}", *made_of])

    def __post_init__(self) -> None:
        if not self.parts:
            raise InputError(expected="at least one penalty", got="none", hint="Pass the penalties of earlier tasks.")
        for part in self.parts:
            check_kind("each part", part, Penalty, hint="Pass a tuple of penalties.")
        kinds = {(part.dim, names) for part in self.parts for names in [part.parameters] if names}
        if len({part.dim for part in self.parts}) > 1 or len(kinds) > 1:
            found = sorted(f"{part.dim} of {'; '.join(part.parameters) or 'unnamed'}" for part in self.parts)
            raise InputError(
                expected="penalties on the same weights", got=", ".join(found),
                hint="Use the same selection of the same model for all tasks.",
            )  # fmt: skip

    def __call__(self, w: Float[Tensor, "*points N"]) -> Float[Tensor, "*points"]:
        """The penalty V(w); differentiable by torch."""
        return _added(part(w) for part in self.parts)

    def _value(self, w: Tensor) -> Tensor:
        return _added(value_of(part, w) for part in self.parts)

    def gradient(self, w: Float[Tensor, "*points N"]) -> Float[Tensor, "*points N"]:
        """The sum of the gradients at ``w`` ``[..., N]``, ``[..., N]``."""
        return _added(part.gradient(w) for part in self.parts)

    def _gradient(self, w: Tensor) -> Tensor:
        return _added(gradient_of(part, w) for part in self.parts)

    def hessian_vector_product(self, w: Float[Tensor, "*points N"], vector: Tensor) -> Float[Tensor, "*points N"]:
        """The Hessian, the same at every ``w`` ``[..., N]``, times ``vector`` ``[..., N]``."""
        return _added(part.hessian_vector_product(w, vector) for part in self.parts)

    def proximal_step(
        self,
        w: Float[Tensor, "*points N"],
        step_size: float | Float[Tensor, " N"],
        start: Float[Tensor, "*points N"] | None = None,
    ) -> Float[Tensor, "*points N"]:
        r"""The implicit step of the sum, :math:`u + \alpha \nabla V(u) = w`, by conjugate gradients.

        Penalties on different weights need no iterations: their steps in sequence are exact. If single precision does
        not converge with one step size, the step is solved in double precision.

        Args:
            w: Weights before the step.
            step_size: Step size alpha, above 0, or one for each weight, at least 0.
            start: Weights where iterations over products begin: those before the step of the optimiser.

        Returns:
            Weights after the step, to a residual of 1e-6 of the right-hand side in float32, or of 0.001 with a step
            size for each weight.

        Raises:
            InputError: If the shape or device does not fit, or a step size is negative or not finite.
        """
        return answered(self._asking_step(check_vector("w", w, dim=self.dim), step_size, start))

    def _asking_step(self, w: Tensor, step_size: float | Tensor, start: Tensor | None) -> Asking[Tensor]:
        if self._apart is not None:
            return (yield from self._asking_apart(self._apart, w, step_size, start))
        if (products := self._products) is None:
            sizes = yield from asking_step_size(step_size, dim=self.dim, like=w)
            return (yield from self._asking_solutions(w, sizes))
        return (
            yield from asking_in_metric(
                step_size, dim=self.dim, like=w, habits=self._habits,
                one=lambda size: self._asking_solutions(w, size),
                each=lambda sizes: products.asking_steps(w, sizes, start),
            )
        )  # fmt: skip

    def _asking_apart(
        self, parts: tuple[Penalty, ...], w: Tensor, step_size: float | Tensor, start: Tensor | None
    ) -> Asking[Tensor]:
        """Steps of different weights, which ask together."""
        own = [part for part in parts if isinstance(part, PartPenalty)]
        if len(own) < len(parts):  # there is one alone
            return (yield from asking_step(parts[0], w, step_size, start))
        end = w.to(own[0].columns.device, copy=True)
        steps = [part._asking_own(end, step_size, start) for part in own]
        _, *ends = yield from together([asking_step_size(step_size, dim=self.dim, like=end), *steps])
        for part, values in zip(own, ends, strict=True):
            end[..., part.columns] = values
        return end

    def _asking_solutions(self, w: Tensor, step_size: float | Tensor) -> Asking[Tensor]:
        steps = yield from together([self._asking_solution(point, step_size) for point in w.reshape(-1, self.dim)])
        return torch.stack(steps).reshape(w.shape)

    def _asking_solution(self, w: Tensor, step_size: float | Tensor) -> Asking[Tensor]:
        working = working_dtype(w)
        start = guess = w.to(working)
        for part in self.parts:
            guess = (yield from asking_step(part, guess, step_size)).to(working)
        each = isinstance(step_size, Tensor)
        root = step_size.to(working).sqrt() if isinstance(step_size, Tensor) else step_size**0.5

        def system(y: Tensor) -> Tensor:
            return y + root * self.hessian_vector_product(start, root * y).to(working)

        # Solve for (u - w) / root: the right-hand side is the gradient at w, which loses no digits to a distant anchor.
        first = (guess - start) / root
        moved, solved = yield from asking_conjugate_gradients(
            system,
            -root * self._gradient(start).to(working),
            torch.where(first.isfinite(), first, 0.0),  # a weight of step size 0 stays
            rtol=_RESIDUAL_OF_EACH if each else _RESIDUAL[working],
            n_steps=_STEPS_OF_EACH if each else 4 * len(w),
            habits=self._habits,
        )
        if solved or each or working == torch.float64:
            return (start + root * moved).to(w.dtype)
        return self._double.proximal_step(w.double(), step_size).to(w.dtype)

    @functools.cached_property
    def _apart(self) -> tuple[Penalty, ...] | None:
        """Penalties on different weights, one a set of equal columns; None if sets overlap otherwise."""
        if len(self.parts) == 1:
            return self.parts
        groups: list[list[PartPenalty]] = []
        for part in _flattened(self.parts):
            if not isinstance(part, PartPenalty):
                return None
            same = (group for group in groups if torch.equal(group[0].columns, part.columns))
            if (group := next(same, None)) is None:
                groups.append([part])
            else:
                group.append(part)
        columns = torch.cat([group[0].columns for group in groups])
        if len(columns.unique()) < len(columns):
            return None
        return tuple(
            group[0]
            if len(group) == 1
            else dataclasses.replace(group[0], part=PenaltySum(tuple(each.part for each in group)))
            for group in groups
        )

    @functools.cached_property
    def _products(self) -> SumOfProducts | None:
        """The parts as Kronecker products on one matrix, if they are."""
        products = [part for part in self.parts if isinstance(part, KroneckerPenalty | LowRankKroneckerPenalty)]
        if len(products) < len(self.parts) or len({part.anchor.shape for part in products}) > 1:
            return None
        return SumOfProducts(tuple(products))

    @functools.cached_property
    def _habits(self) -> Habits:
        return Habits()

    @functools.cached_property
    def _double(self) -> PenaltySum:
        return self.to(dtype=torch.float64)

    @property
    def dim(self) -> int:
        """Length N of w."""
        return self.parts[0].dim

    def state_dict(self) -> dict[str, Any]:
        """The fields of all parts, for ``torch.save``; :func:`load_penalty` rebuilds the penalty."""
        return {"kind": _SUM, "parts": [part.state_dict() for part in self.parts]}

    def with_strength(self, strength: float) -> PenaltySum:
        """All parts with another lambda, the ``strength``, at least 0."""
        return PenaltySum(tuple(part.with_strength(strength) for part in self.parts))

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> PenaltySum:
        """The same penalty on another ``device`` or in another ``dtype``; None keeps it."""
        return PenaltySum(tuple(part.to(device, dtype) for part in self.parts))

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of the parameters that make up w, if known."""
        return next((part.parameters for part in self.parts if part.parameters), ())

    @property
    def n_stored(self) -> int:
        """Number of stored values."""
        return sum(part.n_stored for part in self.parts)


def _flattened(parts: Iterable[Penalty]) -> Iterator[Penalty]:
    for part in parts:
        if isinstance(part, PenaltySum):
            yield from _flattened(part.parts)
        else:
            yield part


def _added(terms: Iterable[Tensor]) -> Tensor:
    return functools.reduce(operator.add, terms)


def load_penalty(state: Mapping[str, Any]) -> Penalty:
    """Rebuild a penalty from its ``state_dict()``.

    Args:
        state: The mapping, possibly read by ``torch.load``.

    Returns:
        The penalty, on the device of the tensors.

    Raises:
        StorageError: If it is not the state of a penalty.

    Example:
        >>> import torch
        >>> from landscope.penalties import QuadraticPenalty
        >>> penalty = QuadraticPenalty(anchor=torch.ones(2), stiffness=torch.ones(2))
        >>> load_penalty(penalty.state_dict())(torch.zeros(2)).item()
        2.0
    """
    check_kind("the state", state, Mapping, hint="Read a file with torch.load(path) first.")
    if state.get("kind") == _SUM:
        check_keys(state, ("parts",))
        return PenaltySum(tuple(load_penalty(part) for part in state["parts"]))
    if state.get("kind") == _PART:
        check_keys(state, ("part", "runs", "dim", "parameters"))
        part, names = load_penalty(state["part"]), tuple(state["parameters"])
        return PartPenalty(part, columns_of(state["runs"], part.dim), dim=state["dim"], parameters=names)
    return penalty_from(state)
