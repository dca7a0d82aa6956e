"""Curvature of the loss along directions, the local counterpart of flatness."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from landscope._checks import check_landscape, check_start, device_with_float64
from landscope.derivatives import hessian_product
from landscope.directions.directions import Directions, rows_of
from landscope.landscape.flatness import Flatness
from landscope.landscape.profile import LossProfiles, loss_profiles
from landscope.protocols import LossLandscape, ProgressCallback

__all__ = ["directional_curvature", "near_profiles", "second_differences"]

_NEAR = 0.02
"""Share of the flatness over which a second difference is taken: about as far as weights walk."""


def directional_curvature(
    landscape: LossLandscape,
    w0: Float[Tensor, " N"],
    directions: Directions | Float[Tensor, "k N"],
    *,
    progress: ProgressCallback | None = None,
) -> Float[Tensor, " k"]:
    r"""Second derivatives along directions, :math:`H_{ii} = p_i^\top \nabla^2 L(w_0)\, p_i`.

    If ln L is quadratic, :math:`F_i = \sqrt{8 L_0 / H_{ii}}` (paper, below Eq. 10, with H_ii = L0 M_ii).

    Args:
        landscape: A landscape with ``hessian_vector_product``, or one that torch can differentiate twice.
        w0: Point of the curvature.
        directions: Directions p_i; they are not normalised.
        progress: Callback for the number of completed directions.

    Returns:
        The curvatures H_ii in float64; where the device has none, products are summed on the host.

    Raises:
        InputError: If a shape, dtype or device is wrong, or directions are zero or parallel.
        NonFiniteError: If w0 or a direction is not finite.

    Example:
        >>> import torch
        >>> from landscope.synthetic import QuadraticBowl
        >>> directional_curvature(QuadraticBowl(torch.tensor([2.0, 8.0])), torch.zeros(2), torch.eye(2)).tolist()
        [2.0, 8.0]
    """
    check_landscape(landscape)
    directions = rows_of(directions)
    w0, directions = check_start(w0, directions)
    product = hessian_product(landscape)
    host = device_with_float64(w0.device)
    curvature = torch.empty(len(directions), dtype=torch.float64)
    for row, direction in enumerate(directions):
        curvature[row] = direction.to(host).double() @ product(w0, direction).to(host).double()
        if progress is not None:
            progress(row + 1, len(directions))
    return curvature


def near_profiles(
    landscape: LossLandscape, w0: Float[Tensor, " N"], directions: Directions, widths: Flatness
) -> LossProfiles:
    """Losses at w0 and at 2 % of the flatness on both sides of it, for :func:`second_differences`.

    Args:
        landscape: Any landscape.
        w0: Point of the curvature.
        directions: Directions p_i.
        widths: Their flatness F_i; the distance is 0.02 where it is not within reach.

    Returns:
        The losses, three for each direction.
    """
    step = _NEAR * torch.nan_to_num(widths.width, nan=1.0)
    displacements = step[:, None] * torch.tensor([-1.0, 0.0, 1.0], dtype=torch.float64)
    return loss_profiles(landscape, w0, directions.directions.to(w0), displacements)


def second_differences(profiles: LossProfiles) -> Float[Tensor, " k"]:
    r"""Curvature along directions from three losses, :math:`H_{ii} \approx (L_- - 2 L_0 + L_+)/\delta^2`.

    The kinks of ReLUs count in it, as they do for a walk; automatic differentiation sees none.

    Args:
        profiles: Losses at -delta, 0 and delta along each direction.

    Returns:
        The curvatures H_ii.

    Example:
        >>> import torch
        >>> from landscope.synthetic import QuadraticBowl
        >>> bowl, d = QuadraticBowl(torch.tensor([2.0, 8.0])), torch.tensor([-0.5, 0.0, 0.5])
        >>> second_differences(loss_profiles(bowl, torch.zeros(2), torch.eye(2), d)).tolist()
        [2.0, 8.0]
    """
    left, middle, right = profiles.loss.T
    return (left + right - 2 * middle) / profiles.displacements[:, 2].square()
