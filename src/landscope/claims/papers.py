"""Judgements by the paper whose claim they judge."""

from __future__ import annotations

from collections.abc import Sequence

from landscope.claims.verdict import FENG_TU, Judgement

__all__ = ["by_paper"]

_OWN = f"Against {FENG_TU}"
_OTHERS = "From other papers"


def by_paper(judgements: Sequence[Judgement]) -> list[tuple[str, list[Judgement]]]:
    """Judgements on claims of Feng & Tu, and those on claims of other papers, each with a heading.

    Args:
        judgements: Judgements in any order.

    Returns:
        Heading and judgements of each group that is not empty.

    Example:
        >>> from landscope.claims.statements import judged
        >>> from landscope.claims.verdict import Measurement
        >>> found = judged({"psi": Measurement(1.5), "noise_by_curvature": Measurement(1.2)})
        >>> [(heading, [judgement.claim.key for judgement in group]) for heading, group in by_paper(found)]
        [('Against Feng & Tu, PNAS 2021', ['psi']), ('From other papers', ['noise_by_curvature'])]
    """
    groups = {
        _OWN: [judgement for judgement in judgements if judgement.claim.paper == FENG_TU],
        _OTHERS: [judgement for judgement in judgements if judgement.claim.paper != FENG_TU],
    }
    return [(heading, group) for heading, group in groups.items() if group]
