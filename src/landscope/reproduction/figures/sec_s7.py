"""sec-S7: constraints with flatness from the variance, on the runs of Fig. 4."""

from __future__ import annotations

import math

from landscope.claims.statements import judged
from landscope.claims.verdict import Claim, Measurement
from landscope.law.intervals import mean_with_interval
from landscope.reproduction.figures.fig4 import EXPERIMENTS
from landscope.reproduction.figures.figure import Plan, Section
from landscope.reproduction.figures.two_task_experiment import (
    PAPER_METHOD,
    PAPER_STRENGTH,
    TwoTaskResults,
)
from landscope.reproduction.jobs import Job
from landscope.reproduction.sequential.methods import PSI_METHODS

__all__ = ["CLAIMS", "jobs", "key", "measurements", "sections", "title"]

CLAIMS = (
    Claim(
        "any_psi",
        "sec-S7",
        "It does not matter whether flatness comes from the variance with psi = 3, 4 or 5 (spread of summed errors, in"
        " points).",
        "no dependence",
        (0.0, 1.0),
        "a point",
        "scale set by seven measured modes, lambda = 10, 200 modes, after an epoch",
        possible=(0.0, math.inf),
    ),
)


key = "sec-S7"
title = "Constraints from the variance alone (sec-S7)"


def jobs(plan: Plan) -> list[Job]:
    """Those of Fig. 4; finished ones are kept."""
    return [job for experiment in EXPERIMENTS for job in experiment.jobs(plan)]


def sections(plan: Plan) -> list[Section]:
    """Errors by exponent, and the claim."""
    results = [experiment.results(plan) for experiment in EXPERIMENTS]
    methods = {"F measured": PAPER_METHOD, **{f"psi = {psi}": name for psi, name in PSI_METHODS.items()}}
    stops = [(each, stop) for each in results for stop in each.stops]
    rows = [
        [label, *(mean_with_interval(each.at(method, PAPER_STRENGTH, stop).summed) for each, stop in stops)]
        for label, method in methods.items()
    ]
    headings = ["flatness", *(f"{each.name}, {stop}" for each, stop in stops)]
    text = "Summed errors in per cent at lambda = 10 and 200 modes, no floor; Student's 95 % interval over seeds."
    judgements = judged(measurements(results[0]), CLAIMS)
    return [Section(key, title, text, headings, rows, judgements, {})]


def measurements(results: TwoTaskResults) -> dict[str, Measurement]:
    """Largest difference of summed error between the exponents, seed by seed; noted beside measured flatness."""
    step = results.epoch
    columns = {psi: results.at(name, PAPER_STRENGTH, step).summed for psi, name in PSI_METHODS.items()}
    measured = results.at(PAPER_METHOD, PAPER_STRENGTH, step).summed
    spread = [max(row) - min(row) for row in zip(*columns.values(), strict=True)]
    means = ", ".join(f"psi {psi}: {sum(errors) / len(errors):.2f}" for psi, errors in columns.items())
    note = f"summed errors {means}; F measured: {sum(measured) / len(measured):.2f}"
    return {"any_psi": Measurement.over_seeds(spread, note=note)}
