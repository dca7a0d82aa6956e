r"""A linear map of N weights to a few numbers that keeps inner products: a count sketch.

The weights are taken in runs of 61 that follow one another. Run r is multiplied by a random sign :math:`a_r` and laid
on a circle of m buckets from a random one :math:`e_r` on; the place that it takes there has a random sign of its own:

.. math:: (S x)_b = \sum_{r, q:\ e_r + q \equiv b} a_r\, c_{e_r, q}\, x_{r, q}

Two weights of one run never meet, two of different runs meet with probability 1/m, and :math:`a_r` makes the mean of
their product zero. So :math:`E\langle S x, S y\rangle = \langle x, y\rangle` and

.. math:: \mathrm{Var}\,\langle S x, S y\rangle
    \le \frac2m \Big(|x|^2 |y|^2 + \sum_{r \ne s} \langle x_r, y_s\rangle^2\Big)
    \le \frac4m |x|^2 |y|^2

The sum is that of two runs that begin at the same bucket: small unless the runs are parallel to one another, as those
of a vector of equal numbers; then 2/m is the bound of the usual count sketch (Charikar, Chen and Farach-Colton,
"Finding frequent items in data streams", 2002), in which every weight has a bucket and a sign of its own. Runs make the
map as fast as a copy of the weights, and 61 is a prime so that rows of a weight matrix do not line up with them.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from landscope._checks import check_count, check_seed, check_vector, generator_of
from landscope.errors import InputError
from landscope.sharded import whole

__all__ = ["CountSketch", "check_sketch", "sketch_of"]

_RUN = 61
"""Weights that go to successive buckets."""
_FEWEST = 64
"""Fewest buckets: with fewer a run would meet itself, and no number could be trusted to 18 %."""
_HINT = "Pass the numbers to record a step, such as 4096, which give each variance within about 2 %."
_PIECE, _RUNS_OF_A_BUCKET = 2**20 // _RUN, 4
"""Fewest runs that are added up at once, which stay in the cache; and per bucket, so that clearing sums is cheap."""


@dataclasses.dataclass(frozen=True)
class _Places:
    """Where the runs of a piece go to.

    Args:
        order: Runs in the order of their first bucket.
        starts: Place in ``order`` of the first run of each bucket.
        signs: Sign of each run, in that order.
    """

    order: Tensor
    starts: Tensor
    signs: Tensor

    def to(self, device: str) -> _Places:
        """The same on a device."""
        return _Places(self.order.to(device), self.starts.to(device), self.signs.to(device))


@dataclasses.dataclass(frozen=True)
class CountSketch:
    r"""A random linear map S of R^N to m numbers with :math:`E |S x|^2 = |x|^2`.

    An inner product of two sketches is that of the vectors, with a variance of at most :math:`2 |x|^2 |y|^2 / m` where
    the vectors are not made of parallel pieces, and twice that in any case; see ``landscope.sketch``. The same
    arguments give the same map, everywhere. It keeps 0.13 bytes a weight.

    Args:
        dim: Length N of the vectors.
        size: Number of buckets m, at least 64 and fewer than N.
        seed: Seed of the signs and buckets.

    Raises:
        InputError: If ``size`` or ``seed`` is out of range.

    Example:
        >>> sketch = CountSketch(dim=10_000, size=1000)
        >>> x = torch.ones(10_000)
        >>> sketch(x).shape, abs(float(sketch(x).square().sum()) / 10_000 - 1) < 4 * sketch.error
        (torch.Size([1000]), True)
    """

    dim: int
    size: int
    seed: int = 0

    def __post_init__(self) -> None:
        check_count("dim", self.dim)
        check_count("size", self.size, minimum=_FEWEST, hint=_HINT)
        check_seed(self.seed)
        if self.size >= self.dim:
            raise InputError(
                expected=f"a sketch of fewer numbers than the {self.dim} weights", got=f"{self.size}",
                hint="A sketch saves nothing here: record the weights themselves, without sketch=.",
            )  # fmt: skip

    @property
    def error(self) -> float:
        """Standard deviation of a squared length relative to its value: sqrt(2/m)."""
        return math.sqrt(2 / self.size)

    @staticmethod
    def dtype(weights: torch.dtype) -> torch.dtype:
        """The floating type of the sketches of weights of a type: sums in half precision would be lost."""
        return torch.promote_types(weights, torch.float32)

    def rounding(self, dtype: torch.dtype) -> float:
        """How far two sketches of one vector may be apart, as a share of their length, where devices add otherwise."""
        return 8 * torch.finfo(dtype).eps * (1 + math.sqrt(self.dim / (_RUN * self.size)))

    def __call__(self, x: Float[Tensor, "*points N"]) -> Float[Tensor, "*points m"]:
        """The sketches of vectors.

        Args:
            x: Vectors, any number of leading axes.

        Returns:
            The sketches on the same device, in float32, or in float64 where the vectors are.

        Raises:
            InputError: If the last axis is not N.
        """
        x = check_vector("x", x, dim=self.dim)
        rows = [self.of([row]) for row in x.reshape(-1, self.dim)]
        found = torch.stack(rows) if rows else x.new_empty(0, self.size)
        return found.reshape(*x.shape[:-1], self.size)

    def of(self, parts: Sequence[Tensor]) -> Float[Tensor, " m"]:
        r"""The sketch of one vector that is given in parts, such as the parameters of a model.

        The sums are float32 (float64 where the parts are). Each adds some k = N / 61m numbers one after the other; of
        numbers as large as s it is off by about :math:`2^{-24} s k / \sqrt 6`, so a bucket by :math:`\sqrt{61}` times
        that. The same parts give the same bits on the same device, also on a GPU.

        Args:
            parts: Tensors of any shape that have N elements together.

        Returns:
            The sketch on the device of the first part.
        """
        dtype = self.dtype(parts[0].dtype)
        cells = torch.zeros(self.size, _RUN, dtype=dtype, device=parts[0].device)
        pieces, signs = self._on(str(cells.device))
        for runs, places in zip(self._runs(parts, dtype), pieces, strict=True):
            cells += functional.embedding_bag(
                places.order, runs, places.starts, mode="sum", per_sample_weights=places.signs.to(dtype)
            )
        return self._laid_on_circle(cells * signs)

    def _laid_on_circle(self, cells: Tensor) -> Tensor:
        """Add the sums of the runs that begin at each bucket: place q of them to the q-th bucket from there."""
        length = self.size + _RUN - 1
        slanted = functional.pad(cells.T, (0, _RUN)).reshape(-1)[: _RUN * length].view(_RUN, length).sum(dim=0)
        slanted[: _RUN - 1] += slanted[self.size :]
        return slanted[: self.size].clone()

    @property
    def _runs_of_a_piece(self) -> int:
        return max(_PIECE, _RUNS_OF_A_BUCKET * self.size)

    def _runs(self, parts: Sequence[Tensor], dtype: torch.dtype) -> Iterator[Tensor]:
        """The vector in pieces, ``[runs, 61]``; the end of the last run is filled with zeros."""
        length = self._runs_of_a_piece * _RUN
        size = min(length, -(-self.dim // _RUN) * _RUN)
        piece, filled = torch.empty(size, dtype=dtype, device=parts[0].device), 0
        for part in parts:
            rest = whole(part.detach()).reshape(-1)
            while len(rest):
                count = min(len(rest), length - filled)
                piece[filled : filled + count].copy_(rest[:count])
                filled, rest = filled + count, rest[count:]
                if filled == length:
                    yield piece.view(-1, _RUN)
                    filled = 0
        if filled:
            n_runs = -(-filled // _RUN)
            piece[filled : n_runs * _RUN] = 0
            yield piece[: n_runs * _RUN].view(n_runs, _RUN)

    @functools.cached_property
    def _maps(self) -> dict[str, tuple[list[_Places], Tensor]]:
        """For each device, where all runs go to, and the signs of the places of runs at each bucket."""
        generator, n_runs = generator_of(self.seed), -(-self.dim // _RUN)
        cells = _signs((self.size, _RUN), generator)
        pieces = []
        for first in range(0, n_runs, self._runs_of_a_piece):
            count = min(self._runs_of_a_piece, n_runs - first)
            bucket = torch.randint(self.size, (count,), generator=generator, device="cpu")
            sign = _signs((count,), generator)
            order = bucket.argsort(stable=True)
            starts = torch.bincount(bucket, minlength=self.size).cumsum(0).roll(1)
            starts[0] = 0
            pieces.append(_Places(order.int(), starts.int(), sign[order]))
        return {"cpu": (pieces, cells)}

    def _on(self, device: str) -> tuple[list[_Places], Tensor]:
        """The map on a device, copied there once."""
        if device not in self._maps:
            pieces, cells = self._maps["cpu"]
            self._maps[device] = [one.to(device) for one in pieces], cells.to(device)
        return self._maps[device]


def check_sketch(sketch: int | CountSketch) -> None:
    """Raise unless this is a map or the size of one."""
    if not isinstance(sketch, CountSketch):
        check_count("sketch", sketch, minimum=_FEWEST, hint=_HINT)


def sketch_of(sketch: int | CountSketch, dim: int) -> CountSketch:
    """The map for vectors of a length, of its size or as it is.

    Raises:
        InputError: If it is of another length, or neither a map nor a size.
    """
    check_sketch(sketch)
    if not isinstance(sketch, CountSketch):
        return CountSketch(dim, sketch)
    if sketch.dim != dim:
        raise InputError(
            expected=f"a sketch of the {dim} selected weights", got=f"one of {sketch.dim}",
            hint=f"Pass sketch={sketch.size}, or CountSketch({dim}, {sketch.size}, seed).",
        )  # fmt: skip
    return sketch


def _signs(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.randint(2, shape, generator=generator, device="cpu").mul_(2).sub_(1).float()
