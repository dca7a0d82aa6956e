"""How claims are shown: the main ones first, further ones, those of other papers; and how many have an interval."""

from __future__ import annotations

from collections.abc import Sequence

from landscope.claims.papers import by_paper
from landscope.claims.verdict import FENG_TU, Judgement

__all__ = ["MAIN", "claim_groups", "verdict_counts"]

MAIN = (
    "psi", "psi_D", "psi_tau", "gamma", "psi_hessian", "psi_infinity_of_run", "inverse_einstein", "first_mode",
    "drift_share", "modes_for_90_percent", "flatness_rises", "temperature_by_flatness",
)  # fmt: skip
"""Keys of the main claims of Feng & Tu, in the order in which they are shown."""
_FEW = 15
"""As many claims of one paper stand in one table."""
_ORDER = ("reproduced", "contested", "undecided", "not reproduced", "not measured")


def claim_groups(judgements: Sequence[Judgement]) -> list[tuple[str, list[Judgement]]]:
    """Judgements in tables, each with a heading: every judgement stands in one of them.

    Args:
        judgements: Judgements in any order.

    Example:
        >>> from landscope.claims.statements import CLAIMS, judged
        >>> from landscope.claims.verdict import Measurement
        >>> found = judged({claim.key: Measurement(1.5) for claim in CLAIMS})
        >>> [heading for heading, group in claim_groups(found)]
        ['Main claims of Feng & Tu, PNAS 2021', 'Further claims of Feng & Tu, PNAS 2021', 'From other papers']
    """
    groups = []
    for heading, group in by_paper(judgements):
        main = [one for key in MAIN for one in group if one.claim.key == key]
        if len(group) <= _FEW or not main or group[0].claim.paper != FENG_TU:
            groups.append((heading, group))
            continue
        groups.append((f"Main claims of {FENG_TU}", main))
        groups.append((f"Further claims of {FENG_TU}", [one for one in group if one.claim.key not in MAIN]))
    return [(heading, group) for heading, group in groups if group]


def verdict_counts(judgements: Sequence[Judgement]) -> list[tuple[str, int, int, int]]:
    """Each verdict with its number of claims, how many have a 95 % interval, and how many have none; then the sums.

    Args:
        judgements: Judgements in any order.

    Example:
        >>> from landscope.claims.statements import judged
        >>> from landscope.claims.verdict import Measurement
        >>> verdict_counts(judged({"psi": Measurement(1.5, (1.4, 1.6)), "psi_D": Measurement(2.0)}))
        [('reproduced', 1, 0, 1), ('not reproduced', 1, 1, 0), ('all', 2, 1, 1)]
    """
    rows = []
    for verdict in (*_ORDER, "all"):
        some = [one for one in judgements if verdict in ("all", one.verdict)]
        known = sum(one.measurement.has_interval and one.measurement.value == one.measurement.value for one in some)
        rows += [(verdict, len(some), known, len(some) - known)] if some else []
    return rows
