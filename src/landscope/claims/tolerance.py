"""The one tolerance of all exponents: the only spread that the paper prints for one, as a share."""

from __future__ import annotations

import math

__all__ = ["SAME_EXPONENT", "exponent_range", "exponent_tolerance"]

_PRINTED = (2.0, 3.0)
"""Range of gamma in the caption of Fig. 1A. The paper prints no other spread of an exponent; psi about 4 and its 3.8
from two parts differ by less, and count there as the same."""
_SHARE = (_PRINTED[1] - _PRINTED[0]) / sum(_PRINTED)
SAME_EXPONENT = f"{100 * _SHARE:.0f} %, the spread that the paper prints for gamma, 2 to 3, as for every exponent"
"""The reason beside the accepted range of an exponent."""


def exponent_tolerance(printed: float) -> float:
    r"""How far an exponent may be from the printed one and count as the same.

    .. math:: |\psi - \psi_0| \le \frac{3 - 2}{3 + 2}\, |\psi_0| = 0.2\, |\psi_0|

    with the range 2 to 3 of gamma (paper, Fig. 1A), the only spread printed for an exponent.

    Args:
        printed: The exponent psi_0 that the paper prints.

    Returns:
        The largest difference.

    Example:
        >>> round(exponent_tolerance(1.8), 2)
        0.36
    """
    return _SHARE * math.fabs(printed)


def exponent_range(printed: float) -> tuple[float, float]:
    """The exponents that count as the printed one, see :func:`exponent_tolerance`.

    Args:
        printed: The exponent that the paper prints.

    Returns:
        Smallest and largest.

    Example:
        >>> [round(end, 2) for end in exponent_range(4.0)], exponent_range(2.5)
        ([3.2, 4.8], (2.0, 3.0))
    """
    reach = exponent_tolerance(printed)
    return printed - reach, printed + reach
