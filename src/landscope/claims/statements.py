"""The claims that one study decides, in the order of the paper's figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from landscope.claims import (
    controls,
    cooling,
    correlation_time,
    edge,
    fig1,
    fig2,
    fig3,
    fig5,
    first_mode,
    growth,
    ratio_two,
    regimes,
    response,
    run_limit,
    sec_s2,
    sec_s3,
    stationarity,
)
from landscope.claims.verdict import Claim, Judgement, Measurement, judge

__all__ = ["CLAIMS", "judged"]

CLAIMS: tuple[Claim, ...] = (
    *fig1.CLAIMS,
    *regimes.CLAIMS,
    *first_mode.CLAIMS,
    *fig2.CLAIMS,
    *ratio_two.CLAIMS,
    *fig3.CLAIMS,
    *correlation_time.CLAIMS,
    *fig5.CLAIMS,
    *cooling.CLAIMS,
    *sec_s2.CLAIMS,
    *sec_s3.CLAIMS,
    *controls.CLAIMS,
    *growth.CLAIMS,
    *stationarity.CLAIMS,
    *run_limit.CLAIMS,
    *edge.CLAIMS,
    *response.CLAIMS,
)
"""The claims that a study measures; a figure that needs many runs has its own beside it, in the reproduction."""


def judged(measured: Mapping[str, Measurement], claims: Sequence[Claim] = CLAIMS) -> list[Judgement]:
    """Judge the claims that have a measurement, in the order of the claims; by default those of a study."""
    return [judge(claim, measured[claim.key]) for claim in claims if claim.key in measured]
