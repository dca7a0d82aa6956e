"""Directions in weight space: one class for principal modes, eigenvectors and random directions."""

from __future__ import annotations

import dataclasses
import math

import torch
from jaxtyping import Float
from torch import Tensor

from landscope._checks import check_directions, check_kind, check_trajectory, check_vector
from landscope.directions.moving import moving
from landscope.errors import InputError
from landscope.results import Result, stamp
from landscope.trajectory import Trajectory

__all__ = ["Directions", "check_is_directions", "rows_of"]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Directions(
    Result,
    kind="directions",
    dims={"directions": ("mode", "weight"), "values": ("mode",), "residuals": ("mode",), "mean": ("weight",)},
):
    """Orthonormal directions p_i in weight space, largest value first.

    Every analysis takes any ``Directions``: :func:`landscope.principal_modes` finds those of a recorded window;
    ``directions.hessian``, ``directions.gradient_noise`` and ``directions.random`` make others; :meth:`of` takes a
    tensor.

    Args:
        name: What they are, for example "principal modes" or "Hessian eigenvectors".
        directions: Unit vectors, ``[k, N]``.
        values: Eigenvalues, ``[k]``: the variance of principal modes, the curvature of Hessian eigenvectors, the
            gradient covariance of gradient-noise eigenvectors; NaN for random directions.
        residuals: Norm of A p - value p over the largest eigenvalue in absolute value, ``[k]``: 0 for an exact
            eigenvector; NaN where it was not computed.
        mean: Origin of the coordinates, ``[N]``: the mean of the window for principal modes, w0 or zeros otherwise.
        total: Sum of the values over all N directions; NaN where it is not known.
        n_steps: Rows T of the window the directions were found on; 0 where there was none.
        parameters: Names of the parameters, where they are known.
    """

    name: str
    directions: Float[Tensor, "k N"]
    values: Float[Tensor, " k"]
    residuals: Float[Tensor, " k"]
    mean: Float[Tensor, " N"]
    total: float
    n_steps: int = 0
    parameters: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        directions: Float[Tensor, "k N"],
        *,
        name: str = "given directions",
        values: Float[Tensor, " k"] | None = None,
        mean: Float[Tensor, " N"] | None = None,
        parameters: tuple[str, ...] = (),
    ) -> Directions:
        """Take the rows of a tensor as directions.

        Args:
            directions: Orthonormal rows.
            name: What they are.
            values: Their eigenvalues; unknown (NaN) by default.
            mean: Origin of the coordinates; zeros by default.
            parameters: Names of the parameters the columns belong to.

        Returns:
            The directions in float64.

        Raises:
            InputError: If the tensor is not a matrix, or a row is zero or occurs twice.

        Example:
            >>> axes = Directions.of(torch.eye(3), name="axes")
            >>> len(axes), axes.project(torch.tensor([1.0, 2.0, 3.0])).tolist()
            (3, [1.0, 2.0, 3.0])
        """
        directions = check_directions(directions, dtype=torch.float64).cpu()
        unknown = torch.full((len(directions),), torch.nan, dtype=torch.float64)
        return cls(
            name=name,
            directions=directions,
            values=unknown if values is None else values.double().cpu(),
            residuals=unknown,
            mean=torch.zeros(directions.shape[1], dtype=torch.float64) if mean is None else mean.double().cpu(),
            total=math.nan,
            parameters=parameters,
            provenance=stamp(name=name),
        )

    def __len__(self) -> int:
        return len(self.directions)

    @property
    def variance(self) -> Float[Tensor, " k"]:
        """Variance sigma_i^2 of the window along its principal modes, in squared weight units, divided by T."""
        self._check_found_on_a_window()
        return self.values

    @property
    def total_variance(self) -> float:
        """Sum of the variances of the window over all N directions."""
        self._check_found_on_a_window()
        return self.total

    @property
    def n_moving(self) -> int:
        """Principal modes along which the weights moved by more than rounding: the rank of the window."""
        return int(moving(self.variance).sum())

    def part(self, which: slice | list[int]) -> Directions:
        """The directions that ``which`` picks, a slice or a list from 0, with the mean and total of all."""
        return dataclasses.replace(
            self, directions=self.directions[which], values=self.values[which], residuals=self.residuals[which]
        )

    def project(self, w: Float[Tensor, "*points N"]) -> Float[Tensor, "*points k"]:
        r"""Coordinates :math:`\theta_i = (w - \langle w \rangle) \cdot p_i` (paper, Eq. 5).

        Args:
            w: Weights, any number of leading axes.

        Returns:
            Coordinates in float64, in main memory.

        Raises:
            InputError: If the last axis is not N.
        """
        # In main memory first: some devices have no float64.
        w = check_vector("w", w, dim=len(self.mean)).cpu()
        return (w.double() - self.mean) @ self.directions.T

    def project_trajectory(self, trajectory: Trajectory) -> Float[Tensor, "T k"]:
        """Coordinates ``[T, k]`` of every row of ``trajectory``, in weight units, read a block at a time.

        Raises:
            InputError: If the trajectory has other weights.
        """
        check_trajectory(trajectory)
        names = trajectory.space.names if trajectory.space is not None else ()
        if trajectory.dim != len(self.mean) or (names and self.parameters and names != self.parameters):
            raise InputError(
                expected=f"a trajectory of {len(self.mean)} weights ({', '.join(self.parameters) or 'unnamed'})",
                got=f"one of {trajectory.dim} ({', '.join(names) or 'unnamed'})",
                hint="Measure along directions of the same model and selection.",
            )
        if len(trajectory) > trajectory.dim:
            return torch.cat([self.project(block) for block in trajectory.blocks()])
        # Rows that are encoded, or made of others, are read once over their columns.
        found = torch.zeros(len(trajectory), len(self), dtype=torch.float64)
        for columns, panel in trajectory.panels():
            found.addmm_(panel.double() - self.mean[columns], self.directions[:, columns].T)
        return found

    def _check_found_on_a_window(self) -> None:
        if not self.n_steps:
            raise InputError(
                expected="principal modes, which have a variance of their own",
                got=self.name,
                hint="Measure it on a window: noise.mode_statistics(directions, window).variance.",
            )


def rows_of(directions: Directions | Float[Tensor, "k N"]) -> Float[Tensor, "k N"]:
    """The directions as a tensor; a tensor is returned as it is."""
    return directions.directions if isinstance(directions, Directions) else directions


def check_is_directions(value: object) -> Directions:
    """Return ``value`` if it is a :class:`Directions` object.

    Raises:
        InputError: If it is something else, such as a tensor or a window.
    """
    return check_kind(
        "the directions", value, Directions,
        hint="Pass what principal_modes(window) returned, or directions.Directions.of(tensor).",
    )  # fmt: skip
