"""Classes as Gaussians of low rank: samples of earlier tasks can be drawn, and no real sample is stored."""

from __future__ import annotations

import dataclasses
import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from landscope.errors import InputError
from landscope.memory.replay.labelled import Labelled

__all__ = ["ClassGaussians", "leading_directions"]

_FLOOR = 1e-6
"""Directions with less than this part of the largest scale are rounding: they are left to the rest."""


@dataclasses.dataclass(frozen=True)
class ClassGaussians:
    r"""Gaussians, one for each class of each task.

    .. math:: x = \mu + \sum_{i \le k} s_i z_i v_i + \sqrt{r} \odot \zeta, \qquad z, \zeta \sim N(0, 1)

    Every mean and every variance of one number of the input is that of the samples; so are all covariances along the k
    leading directions. Draws are not clipped to the range of the inputs: clipped ones are worse.

    Args:
        mean: Mean inputs mu.
        directions: Leading directions v of the inputs, each of length 1; rows of zeros where a class has fewer.
        scales: Standard deviations s along them.
        rest: Variance r of each number of the input that the directions leave.
        labels: Class of each Gaussian, as an output of the model.
        shape: Shape of one input.
    """

    mean: Float[Tensor, "classes d"]
    directions: Float[Tensor, "classes k d"]
    scales: Float[Tensor, "classes k"]
    rest: Float[Tensor, "classes d"]
    labels: Int[Tensor, " classes"]
    shape: tuple[int, ...]

    @classmethod
    def of(cls, samples: Labelled, rank: int) -> ClassGaussians:
        """The Gaussians of the samples of one task.

        Raises:
            InputError: If the inputs are no tensor of real numbers, or have no class each.
        """
        inputs, labels = samples.inputs, samples.labels
        if samples.has_tokens or not isinstance(inputs, Tensor) or not inputs.is_floating_point():
            raise InputError(
                expected="floating-point inputs with one class each, for Gaussians",
                got=str(inputs.dtype) if isinstance(inputs, Tensor) else type(inputs).__name__,
                hint="Store real samples, Replay(source=Samples()); a language model can draw its own, Generated().",
            )  # fmt: skip
        rows, classes = inputs.flatten(1), labels.unique()
        fitted = [_fitted(rows[labels == label].double(), rank) for label in classes]
        mean, directions, scales, rest = (torch.stack(part).to(inputs.dtype) for part in zip(*fitted, strict=True))
        return cls(mean, directions, scales, rest, classes, tuple(inputs.shape[1:]))

    def joined(self, later: ClassGaussians) -> ClassGaussians:
        """These and those of a later task.

        Raises:
            InputError: If its inputs have another shape or type.
        """
        if (later.shape, later.mean.dtype) != (self.shape, self.mean.dtype):
            raise InputError(
                expected=f"inputs of shape {self.shape} and {self.mean.dtype}, as of the earlier tasks",
                got=f"{later.shape} and {later.mean.dtype}", hint="Make a memory for each kind of input.",
            )  # fmt: skip
        names = ("mean", "directions", "scales", "rest", "labels")
        return ClassGaussians(*(torch.cat([getattr(self, name), getattr(later, name)]) for name in names), self.shape)

    def draw(self, count: int, generator: torch.Generator) -> Labelled:
        """New samples, every class as likely."""
        chosen = torch.randint(len(self.labels), (count,), generator=generator)
        along = torch.randn(count, self.scales.shape[1], generator=generator, dtype=self.mean.dtype)
        beside = torch.randn(count, self.mean.shape[1], generator=generator, dtype=self.mean.dtype)
        leading = torch.einsum("bk,bkd->bd", along * self.scales[chosen], self.directions[chosen])
        rows = self.mean[chosen] + leading + self.rest[chosen].sqrt() * beside
        return Labelled(rows.reshape(count, *self.shape), self.labels[chosen])

    @property
    def n_stored(self) -> int:
        """Number of values stored."""
        return sum(part.numel() for part in (self.mean, self.directions, self.scales, self.rest, self.labels))


def _fitted(rows: Float[Tensor, "m d"], rank: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Mean, leading directions and their standard deviations filled up to the rank with zeros, and the rest."""
    mean = rows.mean(0)
    scaled = (rows - mean) / math.sqrt(max(1, len(rows) - 1))
    found, lengths = leading_directions(scaled, rank)
    directions, scales = rows.new_zeros(rank, rows.shape[1]), rows.new_zeros(rank)
    directions[: len(lengths)], scales[: len(lengths)] = found, lengths
    left = (scaled**2).sum(0) - (scales[:, None] ** 2 * directions**2).sum(0)
    return mean, directions, scales, left.clamp(min=0)


def leading_directions(rows: Float[Tensor, "m d"], rank: int) -> tuple[Float[Tensor, "k d"], Float[Tensor, " k"]]:
    """The first right singular vectors of a matrix and their singular values, from its smaller product with itself.

    Example:
        >>> directions, lengths = leading_directions(torch.tensor([[0.0, 3.0], [0.0, 4.0]]), 2)
        >>> directions.abs().tolist(), lengths.tolist()
        ([[0.0, 1.0]], [5.0])
    """
    wide = rows.shape[1] > len(rows)
    values, vectors = torch.linalg.eigh(rows @ rows.T if wide else rows.T @ rows)
    lengths, vectors = values.flip(0).clamp(min=0).sqrt()[:rank], vectors.flip(1)[:, :rank].T
    kept = lengths > _FLOOR * lengths[:1]
    lengths, vectors = lengths[kept], vectors[kept]
    return (vectors @ rows / lengths[:, None] if wide else vectors), lengths
