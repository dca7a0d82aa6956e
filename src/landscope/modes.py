"""Principal modes of a trajectory (paper, Eq. 5): the directions a run wanders along, and how far."""

from __future__ import annotations

import dataclasses
import math

import torch
from jaxtyping import Float
from torch import Tensor

from landscope._checks import check_count, check_vector
from landscope.errors import InputError
from landscope.protocols import ProgressCallback, silent
from landscope.results import Result, stamp
from landscope.trajectory import Trajectory

__all__ = ["PrincipalModes", "cosine_content", "principal_modes", "subspace_overlap"]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class PrincipalModes(
    Result,
    kind="principal_modes",
    dims={"mean": ("weight",), "directions": ("mode", "weight"), "variance": ("mode",)},
):
    """Orthonormal directions p_i, in the order of falling variance.

    Args:
        mean: Mean weights of the window, ``[N]``.
        directions: Unit vectors p_i, ``[k, N]``; each points the way the run went from first to last row.
        variance: Variance sigma_i^2 along each, in squared weight units, divided by T, ``[k]``.
        total_variance: Sum of the variances of all N directions.
        n_steps: Rows T of the window.
        parameters: Names of the parameters, where the trajectory knew them.
    """

    mean: Float[Tensor, " N"]
    directions: Float[Tensor, "k N"]
    variance: Float[Tensor, " k"]
    total_variance: float
    n_steps: int
    parameters: tuple[str, ...] = ()

    def project(self, w: Float[Tensor, "*points N"]) -> Float[Tensor, "*points k"]:
        r"""Principal coordinates :math:`\theta_i = (w - \langle w \rangle) \cdot p_i` (paper, Eq. 5).

        Args:
            w: Weights, any number of leading axes.

        Returns:
            Coordinates in float64.

        Raises:
            InputError: If the last axis is not N.
        """
        w = check_vector("w", w, dim=len(self.mean))
        return (w.double() - self.mean) @ self.directions.T

    def part(self, which: slice) -> PrincipalModes:
        """Some of the modes, with the mean and total variance of all."""
        return dataclasses.replace(self, directions=self.directions[which], variance=self.variance[which])

    def project_trajectory(self, trajectory: Trajectory) -> Float[Tensor, "T k"]:
        """Principal coordinates of every row of a trajectory, read a block at a time."""
        names = trajectory.space.names if trajectory.space is not None else ()
        if trajectory.dim != len(self.mean) or (names and self.parameters and names != self.parameters):
            raise InputError(
                expected=f"a trajectory of {len(self.mean)} weights ({', '.join(self.parameters) or 'unnamed'})",
                got=f"one of {trajectory.dim} ({', '.join(names) or 'unnamed'})",
                hint="Measure along modes of the same model and selection.",
            )
        return torch.cat([self.project(block) for block in trajectory.blocks()])


def principal_modes(
    trajectory: Trajectory, n_modes: int | None = None, *, progress: ProgressCallback | None = None
) -> PrincipalModes:
    r"""Principal component analysis of the rows of a trajectory (paper, Eq. 5 and Methods).

    .. math:: C = \frac1T \sum_t (w_t - \bar w)(w_t - \bar w)^\top, \qquad C p_i = \sigma_i^2 p_i

    The covariance is used where T > N and the Gram matrix where N >= T; all sums are float64. Each
    variance is then measured again by projecting the rows on its direction: an eigenvalue of C carries an
    absolute error near 1e-16 of the first, a projection a relative one, so that small modes are right too.
    The trajectory is read a piece at a time and may lie on disk.

    Args:
        trajectory: Rows w_t, any floating dtype.
        n_modes: How many modes; min(T - 1, N), all there are, by default.
        progress: Told how many passes over the trajectory are done.

    Returns:
        The modes, in float64.

    Raises:
        InputError: If the trajectory has fewer than two rows, or fewer than ``n_modes + 1``.
        NonFiniteError: If a weight is NaN or infinite.

    Example:
        A straight walk has all its variance along the way it goes, (T^2 - 1)/12 squared steps.

        >>> import torch
        >>> way = torch.tensor([0.6, 0.8])
        >>> modes = principal_modes(Trajectory.of(torch.arange(5.0)[:, None] * way), n_modes=1)
        >>> [round(x, 6) for x in modes.directions[0].tolist()], round(float(modes.variance[0]), 6)
        ([0.6, 0.8], 2.0)
    """
    count, dim = len(trajectory), trajectory.dim
    trajectory.check()
    available = min(count - 1, dim)
    wanted = available if n_modes is None else check_count("n_modes", n_modes, minimum=1)
    if wanted > available:
        raise InputError(
            expected=f"n_modes of at most min(T - 1, N) = {available} for a window of T = {count} rows, N = {dim}",
            got=f"{wanted}",
            hint="Record longer or ask for fewer modes.",
        )
    report = progress or silent
    mean = _mean(trajectory)
    report(1, 3)
    basis, total = (_by_covariance if count > dim else _by_gram)(trajectory, mean, wanted)
    report(2, 3)
    coordinates = _coordinates(trajectory, mean, basis)
    variance = coordinates.square().mean(dim=0)
    order = torch.argsort(variance, descending=True, stable=True)
    sign = torch.where(coordinates[-1] < coordinates[0], -1.0, 1.0).double()
    report(3, 3)
    return PrincipalModes(
        mean=mean,
        directions=(basis * sign[:, None])[order],
        variance=variance[order],
        total_variance=total,
        n_steps=count,
        parameters=trajectory.space.names if trajectory.space is not None else (),
        provenance=stamp(n_modes=wanted, source=dict(trajectory.provenance)),
    )


def _mean(trajectory: Trajectory) -> Tensor:
    total = torch.zeros(trajectory.dim, dtype=torch.float64)
    for block in trajectory.blocks():
        total += block.double().sum(dim=0)
    return total / len(trajectory)


def _by_covariance(trajectory: Trajectory, mean: Tensor, wanted: int) -> tuple[Tensor, float]:
    covariance = torch.zeros(trajectory.dim, trajectory.dim, dtype=torch.float64)
    for block in trajectory.blocks():
        centred = block.double() - mean
        covariance.addmm_(centred.T, centred)
    covariance /= len(trajectory)
    _, vectors = torch.linalg.eigh(covariance)
    return vectors.flip(1)[:, :wanted].T.contiguous(), float(covariance.trace())


def _by_gram(trajectory: Trajectory, mean: Tensor, wanted: int) -> tuple[Tensor, float]:
    count = len(trajectory)
    gram = torch.zeros(count, count, dtype=torch.float64)
    for columns, panel in trajectory.panels():
        centred = panel.double() - mean[columns]
        gram.addmm_(centred, centred.T)
    _, vectors = torch.linalg.eigh(gram)
    leading = vectors.flip(1)[:, :wanted].T
    basis = torch.empty(wanted, trajectory.dim, dtype=torch.float64)
    for columns, panel in trajectory.panels():
        basis[:, columns] = leading @ (panel.double() - mean[columns])
    return _orthonormalised(basis), float(gram.trace()) / count


def _orthonormalised(basis: Tensor) -> Tensor:
    """Rows made orthonormal in order; rows of a window without that many directions are completed."""
    # Householder, not Gram-Schmidt: stays orthonormal where rows are nearly dependent.
    q, r = torch.linalg.qr(basis.T)
    return (q * torch.where(r.diagonal() < 0, -1.0, 1.0).double()).T.contiguous()


def _coordinates(trajectory: Trajectory, mean: Tensor, basis: Tensor) -> Tensor:
    if len(trajectory) > trajectory.dim:
        return torch.cat([(block.double() - mean) @ basis.T for block in trajectory.blocks()])
    coordinates = torch.zeros(len(trajectory), len(basis), dtype=torch.float64)
    for columns, panel in trajectory.panels():
        coordinates.addmm_(panel.double() - mean[columns], basis[:, columns].T)
    return coordinates


def subspace_overlap(first: Float[Tensor, "k N"], second: Float[Tensor, "k N"]) -> float:
    r"""How much two k-dimensional subspaces coincide: 1 for the same, 0 for orthogonal ones, k/N by chance.

    .. math:: \frac1k \sum_{ij} (p_i \cdot q_j)^2

    Args:
        first: Orthonormal directions.
        second: As many orthonormal directions.

    Returns:
        The mean squared cosine of the principal angles.

    Raises:
        InputError: If the shapes differ.

    Example:
        >>> import torch
        >>> subspace_overlap(torch.eye(4)[:2], torch.eye(4)[1:3])
        0.5
    """
    if first.shape != second.shape:
        raise InputError(
            expected="two subspaces of one shape [k, N]",
            got=f"{tuple(first.shape)} and {tuple(second.shape)}",
            hint="Compare as many modes of the same parameters.",
        )
    return float((first.double() @ second.double().T).square().sum() / len(first))


def cosine_content(coordinates: Float[Tensor, "T k"]) -> Float[Tensor, " k"]:
    r"""How much principal coordinate k resembles the cosine of a random walk (Hess, Phys. Rev. E 62, 8438).

    .. math:: c_k = \frac2T \frac{\left(\sum_t \cos(\pi k (t + 1/2)/T)\, \theta_k(t)\right)^2}
              {\sum_t \theta_k(t)^2}

    A value near 1 says that the mode cannot be told from the k-th mode of free diffusion in many dimensions.

    Args:
        coordinates: Principal coordinates, mode k in column k - 1.

    Returns:
        The content of each mode, between 0 and 1.

    Raises:
        InputError: If there are fewer than two rows.

    Example:
        >>> import torch
        >>> t = (torch.arange(100) + 0.5) / 100
        >>> [round(c, 6) for c in cosine_content(torch.cos(torch.pi * t)[:, None].double()).tolist()]
        [1.0]
    """
    count, modes = coordinates.shape
    check_count("rows of coordinates", count, minimum=2)
    time = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    rank = torch.arange(1, modes + 1, dtype=torch.float64)
    cosines = torch.cos(math.pi * time[:, None] * rank)
    theta = coordinates.double()
    return 2 / count * (cosines * theta).sum(dim=0).square() / theta.square().sum(dim=0)
