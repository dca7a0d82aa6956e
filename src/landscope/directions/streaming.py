"""Principal modes of rows that come one after another, in constant memory."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from landscope._checks import check_count, check_vector, device_with_float64
from landscope.directions.directions import Directions
from landscope.directions.moving import ROUNDING
from landscope.errors import InputError
from landscope.results import stamp
from landscope.shown import in_lines

__all__ = ["StreamingModes"]

_MORE = 8
"""Modes that are kept beyond those asked for."""
_BLOCK = 4
"""Rows that are merged at once."""
_PART = 2**16
"""Columns that are in float64 at once."""


class StreamingModes:
    r"""The leading principal modes of weights that are seen once, in constant memory.

    .. math:: \bar w = \frac{\sum_t f^{T-t} w_t}{\sum_t f^{T-t}}, \qquad
              C = \frac{\sum_t f^{T-t} (w_t - \bar w)(w_t - \bar w)^\top}{\sum_t f^{T-t}}, \qquad
              C p_i = \sigma_i^2 p_i, \qquad f = 1 - \frac1m

    with memory m. Every four rows, the modes kept so far, the rows and the change of the mean are joined to one matrix,
    whose singular vectors are the next modes (Ross et al., Int. J. Comput. Vision 77, 2008, with the weights f). The
    ``n_modes + 8`` largest are kept. The mean and the total variance are exact. What is left out only lowers
    variances: with :attr:`left_out`, the sum over all merges of the largest variance that each left out,

    .. math:: \sigma_i^2 - \mathrm{left\_out} \le \hat\sigma_i^2 \le \sigma_i^2.

    Where the rows move along at most ``n_modes + 8`` directions, the modes are those of
    :func:`landscope.principal_modes`, up to rounding. Of 2,000 rows of Ornstein-Uhlenbeck processes, whose variances
    fall with rank as :math:`i^{-2}`, :math:`i^{-1}` and :math:`i^{-1/2}`, the fourth variance was 0.1 %, 3 % and 14 %
    too small, and the fourth mode had a cosine of 1.00, 0.99 and 0.75 with that of all rows. The memory is
    ``n_modes + 12`` vectors in the dtype of the rows and one in float64.

    Args:
        n_modes: Number of modes.
        memory: Rows m after which the weight of a row has fallen to 1/e; None weights all rows alike.

    Raises:
        InputError: If a number is not a positive integer, or rows differ in length.

    Example:
        A straight walk varies only along its own direction; the variance is (T^2 - 1)/12 squared steps.

        >>> stream = StreamingModes(1, memory=None)
        >>> for step in range(8):
        ...     _ = stream.add(step * torch.tensor([0.6, 0.8]))
        >>> modes = stream.modes()
        >>> [round(abs(x), 6) for x in modes.directions[0].tolist()], round(float(modes.variance[0]), 6)
        ([0.6, 0.8], 5.25)
    """

    def __init__(self, n_modes: int, *, memory: int | None = 100) -> None:
        self.n_modes = check_count("n_modes", n_modes)
        self._memory = None if memory is None else check_count("memory", memory, minimum=2)
        self._keep = 1.0 if self._memory is None else 1 - 1 / self._memory
        self._rows: list[Tensor] = []
        self._scaled: Tensor | None = None
        """Modes times the square roots of their sums of squares, ``[kept, N]``."""
        self._mean: Tensor | None = None
        self._squares = torch.zeros(0, dtype=torch.float64)
        self._weight = self._left_out = self._other = 0.0
        self._merged = 0

    def __repr__(self) -> str:
        return in_lines("StreamingModes", n_modes=self.n_modes, memory=self._memory, n_rows=self.n_rows)

    @property
    def n_rows(self) -> int:
        """Rows that the modes are made of: all but up to three that wait for the next merge."""
        return self._merged

    @property
    def left_out(self) -> float:
        """Bound of what is missing from each variance, in squared weight units."""
        return self._left_out / self._weight if self._weight else 0.0

    @torch.no_grad()
    def add(self, w: Float[Tensor, " N"]) -> bool:
        """Take the next row.

        Args:
            w: The weights; they are copied.

        Returns:
            Whether the modes changed, which happens with every fourth row.

        Raises:
            InputError: If there are not as many weights as in the first row.
        """
        dim = w.shape[-1] if not self._rows and self._mean is None else self._dim
        self._rows.append(check_vector("w", w, dim=dim).detach().clone())
        if len(self._rows) < _BLOCK:
            return False
        rows, self._rows = torch.stack(self._rows), []
        self._merge(rows)
        return True

    @property
    def _dim(self) -> int:
        return len(self._rows[0]) if self._rows else len(self._mean) if self._mean is not None else 0

    def _merge(self, rows: Float[Tensor, "b N"]) -> None:
        """Join the rows with what is kept; exact but for the directions that are then left out."""
        count, faded = len(rows), self._keep ** len(rows)
        ages = torch.arange(count - 1, -1, -1, dtype=torch.float64)
        weights = self._keep**ages
        before, new = self._weight * faded, float(weights.sum())
        host = device_with_float64(rows.device)
        rows = rows.to(host)
        if self._mean is None:
            self._mean = rows[0].double()  # any origin: it has no weight yet
        old = rows[:0] if self._scaled is None else self._scaled
        left = _Stack(old, rows, self._mean, faded, weights.to(host), before * new / (before + new))
        squares, vectors = torch.linalg.eigh(left.products().cpu())
        order = torch.arange(len(squares) - 1, -1, -1)
        squares, vectors = squares[order].clamp(min=0), vectors[:, order]
        kept = min(self.n_modes + _MORE, int((squares > ROUNDING * squares[0]).sum()))
        self._scaled = left.combined(vectors[:, :kept].T.to(host), new / (before + new))
        self._squares = squares[:kept]
        self._left_out = faded * self._left_out + float(squares[kept : kept + 1].sum())
        self._other = faded * self._other + float(squares[kept:].sum())
        self._weight = before + new
        self._merged += count

    def directions(self, like: Float[Tensor, " N"]) -> Float[Tensor, "k N"]:
        """The unit vectors p_i alone, in the dtype and on the device of ``like``; none before the first merge."""
        if self._scaled is None:
            return like.new_zeros(0, len(like))
        rows = self._scaled[: self.n_modes]
        return (rows / torch.linalg.vector_norm(rows, dim=1, keepdim=True)).to(like)

    @property
    def variance(self) -> Float[Tensor, " k"]:
        """Variances sigma_i^2 of the modes, largest first, in squared weight units; fewer where fewer moved."""
        return self._squares[: self.n_modes] / self._weight if self._weight else self._squares

    def modes(self) -> Directions:
        """The modes of the rows that were merged.

        Returns:
            As many as moved, up to ``n_modes``, in float64 on the CPU.

        Raises:
            InputError: If there were fewer than four rows, or the rows do not move.
        """
        if self._mean is None or not len(self._squares):
            raise InputError(
                expected=f"at least {_BLOCK} rows that move", got=f"{len(self._rows) + self._merged} rows",
                hint="Add more rows.",
            )  # fmt: skip
        values = self.variance
        return Directions(
            name="running principal modes",
            directions=self.directions(self._mean).cpu(),
            values=values,
            residuals=torch.full_like(values, math.nan),
            mean=self._mean.cpu(),
            total=(float(self._squares.sum()) + self._other) / self._weight,
            n_steps=self._merged,
            provenance=stamp(n_modes=self.n_modes, memory=self._memory),
        )


class _Stack:
    r"""The matrix whose squares are the sum of squares about the new mean, formed some columns at a time.

    .. math:: \left[ \sqrt{f^b} A;\; \sqrt{f^{b-j}} (x_j - \bar x);\; \sqrt{c}\, (\bar x - \bar w) \right]
    """

    def __init__(self, old: Tensor, rows: Tensor, mean: Tensor, faded: float, weights: Tensor, between: float) -> None:
        self._old, self._rows, self._mean = old, rows, mean
        self._faded, self._weights, self._between = math.sqrt(faded), weights, math.sqrt(between)

    def _part(self, columns: slice) -> tuple[Tensor, Tensor]:
        rows = self._rows[:, columns].double()
        mean = self._weights @ rows / self._weights.sum()
        change = mean - self._mean[columns]
        centred = (rows - mean) * self._weights.sqrt()[:, None]
        return torch.cat([self._faded * self._old[:, columns].double(), centred, self._between * change[None]]), change

    def _parts(self) -> list[slice]:
        return [slice(first, first + _PART) for first in range(0, len(self._mean), _PART)]

    def products(self) -> Tensor:
        """The products of its rows."""
        found = torch.zeros((), dtype=torch.float64, device=self._rows.device)
        for columns in self._parts():
            part = self._part(columns)[0]
            found = found + part @ part.T
        return found

    def combined(self, combinations: Tensor, share: float) -> Tensor:
        """Combinations of its rows, in the dtype of the rows; the mean moves on by a share of its change."""
        found = self._rows.new_empty(len(combinations), self._rows.shape[1])
        for columns in self._parts():
            part, change = self._part(columns)
            found[:, columns] = (combinations @ part).to(found.dtype)
            self._mean[columns] += share * change
        return found
