"""The sixth stage: trainings that go on from w0, kicks along modes, the edge of stability, and invariant geometry."""

from __future__ import annotations

import functools
from typing import get_args

from landscope._names import Sampling
from landscope.law.exponents import Exponents, fit_exponents
from landscope.study import saved
from landscope.study.analysis import Analysis
from landscope.study.parts import Part, Stage
from landscope.study.same_training import lost_note
from landscope.study.stages.continued import continued_parts, continued_statistics, fitted_flatness, fitted_modes
from landscope.study.stages.edge import edge_parts
from landscope.study.stages.invariant import invariant_parts
from landscope.study.stages.response import response_parts
from landscope.study.stages.run_limit import run_limit_parts

__all__ = ["DYNAMICS", "ROWS"]

ROWS = {f"sampling-{name}": f"continued, {name}, same modes" for name in get_args(Sampling)}
"""Rows of the table of exponents that this stage adds, by the name of their result."""


def _sampling_row(sampling: str, analysis: Analysis) -> Exponents:
    return fit_exponents(
        ROWS[f"sampling-{sampling}"], continued_statistics(analysis, sampling), fitted_flatness(analysis),
        fitted_modes(analysis), spectrum_ranks=analysis.spectrum_ranks,
    )  # fmt: skip


def _parts(analysis: Analysis) -> tuple[Part, ...]:
    samplings = [
        Part(saved.sampling(name), functools.partial(_sampling_row, name), needs=("train_on",), is_optional=True,
             lost_note=functools.partial(lost_note, name))
        for name in get_args(Sampling)
    ]  # fmt: skip
    return (
        *samplings,
        *continued_parts(analysis),
        *run_limit_parts(),
        *response_parts(),
        *edge_parts(),
        *invariant_parts(),
    )


DYNAMICS = Stage("dynamics", "Dynamics", _parts)
