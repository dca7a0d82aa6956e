"""What each part of the basin method gives: ln L, the basin, its depth and points, and one product for all tasks."""

from __future__ import annotations

from collections.abc import Mapping

from landscope.reproduction.figures.continual import benchmarks
from landscope.reproduction.figures.continual_benchmark import ContinualBenchmark, comparison_of
from landscope.reproduction.figures.continual_tables import continual_sections
from landscope.reproduction.figures.figure import Plan, Section
from landscope.reproduction.figures.method_comparison import MethodComparison
from landscope.reproduction.jobs import Job
from landscope.reproduction.sequential.tuning import Seeds

__all__ = ["jobs", "key", "sections", "title"]

_TUNED = (0.1, 1.0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7)
_STRENGTHS: Mapping[str, tuple[float, ...]] = {
    "basin-default": (1.0,), "basin-fixed": (1.0,), "basin-at-minimum": (1.0,), "basin-ratio-1.5": (1.0,),
    "basin-ratio-10": (1.0,), "basin-points-2": (1.0,), "basin-points-32": (1.0,), "basin-products": (1.0,),
    "basin-anchored": (1.0,), "basin-of-loss": _TUNED, "kfac-following": _TUNED,
}  # fmt: skip
_KINDS = ("task", "domain", "permuted")
_SEEDS = Seeds(reported=5, tuning=2)
_TEXT = (
    "The default of the basin method with one part changed at a time, in the protocols of the standard benchmarks. "
    "Where ln L is left out no strength is known beforehand, so that strengths of the best average accuracy over "
    "{tuning} other seeds are taken; Kronecker EWC has neither ln L nor the basin. All but the row of constant "
    "strength follow the outputs. Mean and standard deviation over {reported} seeds. Ahead and behind: of the default, "
    "seed by seed, where the 95 % interval of the mean difference does not reach zero."
)

key = "basin-ablations"
title = "What each part of the basin method gives"


def jobs(plan: Plan) -> list[Job]:
    """One job a benchmark and seed."""
    return [job for _, comparison in _comparisons(plan) for job in comparison.jobs()]


def sections(plan: Plan) -> list[Section]:
    """All benchmarks in one table, then one table each."""
    text = _TEXT.format(**_SEEDS.counts_of(plan))
    return continual_sections(key, title, text, _comparisons(plan), reference="basin-default")


def _comparisons(plan: Plan) -> list[tuple[ContinualBenchmark, MethodComparison]]:
    return [
        (each, comparison_of(plan, each, _STRENGTHS, _SEEDS, key)) for each in benchmarks(plan) if each.key in _KINDS
    ]
