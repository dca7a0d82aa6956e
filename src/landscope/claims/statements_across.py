"""The paper's claims that need many runs: other networks and data, other widths, other noise."""

from __future__ import annotations

import math

from landscope.claims.verdict import Claim

__all__ = ["ACROSS"]

ACROSS = (
    Claim(
        "universal",
        "text, Figs. S3 and S10",
        "The variance falls with flatness for every optimiser, network and data set (smallest psi of all cases).",
        "holds in all cases",
        (0.0, math.inf),
        "the sign",
        "every case in-sample, in fresh data, and under shuffled increments",
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
    Claim(
        "flatness_noise_error",
        "sec-S9",
        "Only noise that depends on the flatness leads gradient descent to low test error (difference from isotropic"
        " noise of the same trace, in points of a per cent).",
        "lower",
        (-100.0, 0.0),
        "the sign",
        "noise of equal trace in several shapes, from the same initial weights, seed by seed",
        stage="sec-S9",
    ),
    Claim(
        "flatness_noise_width",
        "sec-S9",
        "Only noise that depends on the flatness leads gradient descent to flat minima (difference of ln F/|w| from"
        " isotropic noise of the same trace).",
        "flatter",
        (0.0, math.inf),
        "the sign",
        "noise of equal trace in several shapes, from the same initial weights, seed by seed",
        stage="sec-S9",
    ),
    Claim(
        "freezing",
        "Yang et al., arXiv 2601.10962",
        "The valley is chosen early: the later runs part, the lower the barrier between their ends (rank correlation of"
        " barrier and step).",
        "early escapes, then freezing",
        (-1.0, -0.5),
        "a clear monotone trend",
        "branches from the same checkpoints, the barrier of ln L on the straight way between their ends",
        stage="branches",
        possible=(-1.0, 1.0),
    ),
    Claim(
        "noise_chooses_flat",
        "text; Yang et al., arXiv 2601.10962",
        "Stronger noise (smaller B, larger alpha) ends in flatter valleys (difference of ln F/|w| from the weakest,"
        " among the earliest branches).",
        "flatter",
        (0.0, math.inf),
        "the sign",
        "branches from one checkpoint with other B and alpha, trained for the same learning rate times steps",
        stage="branches",
    ),
)
"""Claims that recipes decide, each over runs of their own."""
