"""Whether the modes of a task follow the inverse relation that the paper's constraints rest on."""

from __future__ import annotations

import torch
from jaxtyping import Float
from scipy import stats
from torch import Tensor

from landscope.penalties.warnings import warn

__all__ = ["widths_to_hold_by"]

_LEVEL = 0.01
_FEWEST = 5


def widths_to_hold_by(widths: Float[Tensor, " k"]) -> Float[Tensor, " k"]:
    """The widths of modes in the order of their variance; one width for all where the order is inverted.

    The paper's constraints hold those modes hardest that moved most, because these are the sharpest. Where the modes
    that moved most are the flattest ones, by Spearman's rank correlation at a level of 1 %, the constraints would hold
    the wrong directions: then all modes are held by the geometric mean of the widths.

    Args:
        widths: Flatness of the modes, from the largest variance to the smallest; NaN where it is not known.

    Warns:
        UserWarning: If the order is inverted.
    """
    known = ~torch.isnan(widths)
    if int(known.sum()) < _FEWEST or bool((widths[known] == widths[known][0]).all()):
        return widths
    ranks = torch.arange(len(widths))[known].numpy()
    found = stats.spearmanr(ranks, widths[known].numpy(), alternative="less")
    if float(found.pvalue) > _LEVEL:
        return widths
    warn(
        f"the modes that moved most are the flattest ones (rank correlation of order and width {found.statistic:.2f}), "
        'so all modes are held alike, by the mean of their widths; the default method "basin" needs no such relation'
    )
    return torch.where(known, widths[known].log().mean().exp(), widths)
