"""The paper's claims that need many runs: other networks and data, other widths, other noise."""

from __future__ import annotations

import math

from landscope.paper.claims import Claim

__all__ = ["ACROSS"]

ACROSS = (
    Claim(
        "universal",
        "text, Figs. S3 and S10",
        "The variance falls with flatness for every optimiser, network and data set (smallest psi of all cases).",
        "holds in all cases",
        (0.0, math.inf),
        "the sign",
        "every case in-sample, in the next window, and under shuffled increments",
        stage="sec-S6",
    ),
    Claim(
        "sharp_dimension",
        "Fig. 6B",
        "The number of sharp directions D_s hardly grows with the number of weights (exponent of D_s on N).",
        "roughly constant, a weak increase",
        (-0.2, 0.2),
        "less than a doubling over the paper's widths, where N grows 25-fold",
        "ten seeds of equal initial norm at each width",
        stage="fig6",
    ),
    Claim(
        "few_sharp",
        "Fig. 6B",
        "There are far fewer sharp directions than weights (D_s over N, at the paper's width of 50).",
        "much smaller",
        (0.0, 0.1),
        "a tenth",
        "ten seeds of equal initial norm",
        stage="fig6",
        possible=(0.0, 1.0),
    ),
    Claim(
        "learning_dimension",
        "text, Fig. S17",
        "The number of modes with 99 % of the variance, D_l, hardly grows with the number of weights (exponent on N).",
        "a weak dependence, like that of D_s",
        (-0.2, 0.2),
        "less than a doubling over the paper's widths, where N grows 25-fold",
        "the same modes' number in shuffled increments of each window",
        stage="fig6",
    ),
)
"""Claims that recipes decide, each over runs of their own."""
