"""The judgements of a study as a list that prints as a short table."""

from __future__ import annotations

from typing import ClassVar

from landscope.claims.multiplicity import false_verdicts
from landscope.claims.verdict import Judgement
from landscope.law.intervals import with_interval
from landscope.study.text_table import TextTable

__all__ = ["ClaimTable"]


class ClaimTable(TextTable, list[Judgement]):
    """The paper's claims with verdicts. Printed, it is a table; ``judgement.sentence`` of an element says why.

    Example:
        >>> from landscope.claims.statements import judged
        >>> from landscope.claims.verdict import Measurement
        >>> claims = ClaimTable(judged({"psi": Measurement(1.5, (1.4, 1.6))}))
        >>> claims
        claim  verdict         measured        claimed
        psi    not reproduced  1.5 [1.4, 1.6]  about 4
        Chance: 1 verdicts of reproduced or not reproduced, 1 of them on a 95 % interval. Among the claims...
        >>> claims[0].verdict
        'not reproduced'
    """

    headings: ClassVar[tuple[str, ...]] = ("claim", "verdict", "measured", "claimed")

    def cells(self) -> list[list[str]]:
        """Key, verdict, number with interval, and the paper's number or word of each claim."""
        return [
            [judgement.claim.key, judgement.verdict,
             with_interval(judgement.measurement.value, judgement.measurement.interval, ".3g"), judgement.claim.quoted]
            for judgement in self
        ]  # fmt: skip

    def notes(self) -> list[str]:
        """How many verdicts chance may have made."""
        return [str(false_verdicts(self))]
