"""Whether the number of modes that remember a task is a capacity can come out either way."""

from types import SimpleNamespace
from unittest.mock import NonCallableMock

import pytest

from landscope.claims.verdict import judge
from landscope.reproduction.figures.capacity import CLAIMS, measurements
from landscope.reproduction.figures.two_task_experiment import TwoTaskResults


def seeds(fewest, moving):
    """Two seeds whose errors are small from a number of modes on."""
    errors = {fewest // 2: 0.5, fewest: 0.01, moving: 0.01}
    reported = [SimpleNamespace(n_moving=moving)] * 2
    return NonCallableMock(TwoTaskResults, reported=reported, error_by_count=lambda _: [errors] * 2)


@pytest.mark.parametrize(("few", "many", "expected"), [
    ((20, 100), (60, 100), "reproduced"),
    ((20, 100), (60, 300), "contested"),  # three times as many modes moved, and the same share of them is held
    ((20, 100), (20, 300), "not reproduced"),
])  # fmt: skip
def test_more_modes_remember_more_unless_there_are_as_many_more(few, many, expected):
    results = {(50, 2): seeds(*few), (50, 5): seeds(*many), (20, 2): seeds(10, 20)}
    (claim,) = CLAIMS
    assert judge(claim, measurements(results)[claim.key]).verdict == expected
