"""Numbers, ranges and errors in words, as a person reads them: no NaN, no range beyond what is possible."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

__all__ = [
    "accepted_text",
    "band_text",
    "cut",
    "dash_for_nan",
    "drawn_text",
    "error_text",
    "first_lines",
    "number_text",
    "without_nan",
]

_NAN = re.compile(r"(?<![\w.])(?:\[[-+]?nan, [-+]?nan\]|[-+]?nan(?: to [-+]?nan)?)(?!\w)(?: %)?")
Range = tuple[float, float]
_FAR = 100.0
"""An edge of an accepted range as far from zero as this stands for no edge."""


def cut(band: Range, possible: Range) -> Range:
    """The part of a band that is possible; a band that is not known stays so.

    Example:
        >>> cut((-0.2, 0.7), (0.0, 1.0))
        (0.0, 0.7)
    """
    if any(math.isnan(end) for end in band):
        return band
    low, high = (min(max(end, possible[0]), possible[1]) for end in band)
    return low, high


def number_text(value: float, form: str = ".3g") -> str:
    """A number, or "not measured" in place of NaN.

    Example:
        >>> number_text(0.25), number_text(math.nan)
        ('0.25', 'not measured')
    """
    return "not measured" if math.isnan(value) else f"{value:{form}}"


def without_nan(text: str) -> str:
    """Text whose numbers may be NaN, with "not measured" in their place.

    Example:
        >>> without_nan("exponents nan over ranks 2 to 3, 3.30 over 3 to 20"), without_nan("psi [nan, nan]")
        ('exponents not measured over ranks 2 to 3, 3.30 over 3 to 20', 'psi not measured')
        >>> without_nan("the nanometre"), without_nan("+nan %")
        ('the nanometre', 'not measured')
    """
    return _NAN.sub("not measured", text)


def dash_for_nan(value: float, form: str = ".4g") -> str:
    """A number in a table, or a dash in place of NaN.

    Example:
        >>> dash_for_nan(0.25), dash_for_nan(math.nan)
        ('0.25', '–')
    """
    return "–" if math.isnan(value) else f"{value:{form}}"


def band_text(band: Range) -> str:
    """A band in words; an end without limit is named as such.

    Example:
        >>> band_text((1.0, 2.5)), band_text((-math.inf, 0.3)), band_text((2.0, 2.0))
        ('1 to 2.5', 'at most 0.3', '2')
    """
    low, high = band
    if math.isnan(low) or math.isnan(high):
        return "not measured"
    if math.isinf(low) or math.isinf(high):
        return _one_sided(band, ("at most", "at least"))
    first, last = f"{low:.3g}", f"{high:.3g}"
    return first if first == last else f"{first} to {last}"


def accepted_text(accepted: Range, possible: Range = (-math.inf, math.inf), *, is_sign: bool = False) -> str:
    """What counts as the same as the paper's number, in words.

    Args:
        accepted: Smallest and largest value that counts.
        possible: Smallest and largest possible value: an edge there is no edge.
        is_sign: Whether only the sign counts.

    Example:
        >>> accepted_text((-100.0, 0.0), is_sign=True), accepted_text((0.5, 1.0), (0.0, 1.0)), accepted_text((2.0, 3.0))
        ('below 0', 'at least 0.5', '2 to 3')
    """
    low = -math.inf if accepted[0] <= max(possible[0], -_FAR) or (is_sign and accepted[0] < 0) else accepted[0]
    high = math.inf if accepted[1] >= min(possible[1], _FAR) or (is_sign and accepted[1] > 0) else accepted[1]
    if math.isinf(low) and math.isinf(high):
        return band_text(accepted)
    if is_sign and (math.isinf(low) or math.isinf(high)):
        return _one_sided((low, high), ("below", "above"))
    return band_text((low, high))


def drawn_text(values: Sequence[float], band: Range) -> str:
    """What draws of a null gave, and the range of one further draw, where both are known.

    Args:
        values: The draws.
        band: Where one further draw lies with 95 %.

    Example:
        >>> drawn_text([0.31, 0.38, 0.35], (0.1, 0.6))
        'gives 0.31 to 0.38 in 3 draws, and one more would give 0.1 to 0.6 (95 %)'
    """
    known = [value for value in values if not math.isnan(value)]
    if not known:
        return "was not measured"
    count = f"{len(known)} draw{'s' * (len(known) > 1)}"
    said = f"gives {band_text((min(known), max(known)))} in {count}"
    return said if math.isnan(band[0]) else f"{said}, and one more would give {band_text(band)} (95 %)"


def first_lines(error: BaseException, count: int = 1) -> str:
    r"""The first lines of what an error says, in one line without the full stop; its kind where it says nothing.

    Example:
        >>> first_lines(ValueError("size 3\nin layer 2."), 2), first_lines(AssertionError())
        ('size 3 in layer 2', 'AssertionError')
    """
    said = " ".join(line.strip() for line in str(error).splitlines()[:count])
    return said.strip().removesuffix(".") or type(error).__name__


def error_text(error: BaseException) -> str:
    r"""The kind of an error with the first line of what it says.

    Example:
        >>> error_text(ValueError("size 3\nin layer 2")), error_text(AssertionError())
        ('ValueError: size 3', 'AssertionError')
    """
    kind, said = type(error).__name__, first_lines(error)
    return kind if said == kind else f"{kind}: {said}"


def _one_sided(band: Range, words: tuple[str, str]) -> str:
    low, high = band
    if math.isinf(low) and math.isinf(high):
        return "any number"
    return f"{words[0]} {high:.3g}" if math.isinf(low) else f"{words[1]} {low:.3g}"
