"""The paper's claims on forgetting: Fig. 4, sec-S7 and sec-S8."""

from __future__ import annotations

import math

from landscope.claims.verdict import Claim

__all__ = ["ON_TASKS"]

_PERCENT = (0.0, 100.0)

ON_TASKS = (
    Claim(
        "forgetting",
        "Fig. 4A",
        "Learning a second task without constraints destroys the first (its test error after an epoch, per cent).",
        "increases fast",
        (20.0, 100.0),
        "clearly more than the error of about 0.1 before",
        "digits 0 and 1, then 2 and 3, one epoch; ten seeds",
        stage="fig4",
        possible=_PERCENT,
    ),
    Claim(
        "constraint_keeps",
        "Fig. 4C",
        "Constraints on 200 modes at lambda = 10 keep the first task (its test error after an epoch, per cent).",
        "roughly the same as before",
        (0.0, 3.0),
        "an error of 0.1 may rise by as much as the second task's own error, about 2",
        "measured flatness, no floor, as an implicit step; beside as many random directions, as stiff",
        stage="fig4",
        possible=_PERCENT,
    ),
    Claim(
        "constraint_learns",
        "Fig. 4C",
        "With them the second task is still learnt (its test error after an epoch, minus that without, in points).",
        "comparable",
        (-1.0, 1.0),
        "a point",
        "seed by seed",
        stage="fig4",
    ),
    Claim(
        "constraint_lasts",
        "Fig. 4E",
        "The first task stays kept when the second is learnt to the end (its test error after five epochs, per cent).",
        "saturated errors are low",
        (0.0, 3.0),
        "as for one epoch",
        "the same runs, trained on",
        stage="fig4",
        possible=_PERCENT,
    ),
    Claim(
        "displacement_bound",
        "Fig. 4D",
        "The displacement along each constrained mode is bounded by its flatness (95th percentile of q/F).",
        "0.008",
        (0.0, 0.016),
        "twice the paper's bound",
        "95th percentile over 200 modes after an epoch; beside that without constraint",
        stage="fig4",
        possible=(0.0, math.inf),
    ),
    Claim(
        "better_than_ewc",
        "Fig. 4E",
        "Constraints on modes do better than elastic weight consolidation (difference of summed errors, in points).",
        "better",
        (-100.0, 0.0),
        "the sign",
        "each at the strength that other seeds found best, after an epoch; EWC with the exact Fisher information",
        stage="fig4",
    ),
    Claim(
        "few_modes_suffice",
        "Fig. 4F",
        "About 200 modes suffice (fewest modes within a tenth of the smallest summed error).",
        "about 200",
        (100.0, 300.0),
        "a factor near 1.5 to 2",
        "lambda = 10, after an epoch, no floor",
        stage="fig4",
    ),
    Claim(
        "memory_in_modes",
        "Fig. 4F, text",
        "The number of modes that remember a task, N_c*, says how much a network holds (N_c* for five classes a task"
        " over that for two).",
        "an estimate of the capacity",
        (1.25, math.inf),
        "more to remember must take clearly more modes",
        "three seeds, seed by seed, one width; N_c* within a tenth of the smallest error; also as a share of all modes",
        stage="capacity",
        possible=(0.0, math.inf),
    ),
    Claim(
        "ewc_needs_all",
        "Fig. 4F",
        "Elastic weight consolidation is best when all weights are held (share of weights at its best).",
        "all",
        (0.9, 1.0),
        "a tenth may be missing",
        "the weights of largest exact Fisher information, lambda chosen on other seeds for each number",
        stage="fig4",
        possible=(0.0, 1.0),
    ),
    Claim(
        "better_on_larger_tasks",
        "sec-S8",
        "The same holds for five digits a task and for CIFAR-10 (largest difference of summed errors from EWC, in"
        " points).",
        "better",
        (-100.0, 0.0),
        "the sign",
        "each at the strength that other seeds found best, after an epoch",
        stage="sec-S8",
    ),
    Claim(
        "any_psi",
        "sec-S7",
        "It does not matter whether flatness comes from the variance with psi = 3, 4 or 5 (spread of summed errors, in"
        " points).",
        "no dependence",
        (0.0, 1.0),
        "a point",
        "scale set by seven measured modes, lambda = 10, 200 modes, after an epoch",
        stage="sec-S7",
        possible=(0.0, math.inf),
    ),
)
"""Claims on tasks learnt one after another."""
