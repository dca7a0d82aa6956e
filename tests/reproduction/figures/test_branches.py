"""Branches: short ones, and claims that can come out either way."""

import math

import pytest

from landscope.errors import StorageError
from landscope.progress import QuietReporter
from landscope.reproduction.figures import branches
from landscope.reproduction.figures.branches import CLAIMS, Branch, branch_measurements
from landscope.reproduction.reproduce import reproduce
from verdicts import verdicts


@pytest.mark.parametrize(("early", "expected"), [(2.0, "reproduced"), (0.1, "not reproduced")])
def test_freezing(early, expected):
    def branch(parent, step, size, barrier):
        return Branch(
            parent=parent, step=step, batch_size=size, learning_rate=0.1, loss=0.1, train_error=0.0, test_error=0.1,
            flatness=1.0 / size if early > 1 else float(size), distance=1.0, barrier=barrier,
        )  # fmt: skip

    found = [
        branch(parent, step, size, (early if step == 10 else 1.0 if step == 100 else 0.5 + (early < 1)) + 0.01 * parent)
        for parent in (0, 1, 2)
        for step in (10, 100, 1000)
        for size in (50, 500)
    ]
    measured = branch_measurements(found)
    assert verdicts(measured, CLAIMS)["freezing"] == expected
    assert verdicts(measured, CLAIMS)["noise_chooses_flat"] == expected


@pytest.mark.parametrize(
    ("rise", "expected"),
    [(1.0, "reproduced"), (9.0, "reproduced"), (100.0, "contested"), (1e4, "contested")],
)
def test_a_higher_loss_that_explains_the_flatness_is_the_null(rise, expected):
    """F is ten times larger: half of ln 100 at the same curvature. A loss that is higher still makes more of it."""
    found = [
        Branch(
            parent=parent, step=10, batch_size=size, learning_rate=0.1, loss=0.01 if size == 500 else 0.01 * rise,
            train_error=0.0, test_error=0.1, flatness=1.0 if size == 500 else 10.0 + 0.3 * parent, distance=1.0,
            barrier=1.0,
        )
        for parent in (0, 1, 2) for size in (50, 500)
    ]  # fmt: skip
    measured = branch_measurements(found)["noise_chooses_flat"]
    assert verdicts({"noise_chooses_flat": measured}, CLAIMS)["noise_chooses_flat"] == expected
    assert measured.controls[0].band == (-math.inf, pytest.approx(math.log(rise) / 2))


def test_parents_without_barriers_say_nothing():
    found = [
        Branch(parent=parent, step=step, batch_size=50, learning_rate=0.1, loss=0.1, train_error=0.0, test_error=0.1,
               flatness=1.0 + parent, distance=1.0, barrier=0.0 if parent == 0 else 1.0 / step)
        for parent in (0, 1, 2) for step in (10, 100, 1000)
    ]  # fmt: skip
    measured = branch_measurements(found)["freezing"]
    assert measured.value == -1.0
    assert "1 of 3 parents do not say" in measured.note


@pytest.mark.slow
def test_short_branches(plan, monkeypatch):
    monkeypatch.setattr(branches, "_LENGTH", 4.0)
    (section,) = reproduce(plan, [branches], QuietReporter()).sections
    assert len(section.rows) == 2 * 3 * 3  # parents, checkpoints, strengths of the noise
    assert [judgement.claim.key for judgement in section.judgements] == [claim.key for claim in CLAIMS]
    assert section.plots[0].draw().data
    monkeypatch.setattr(branches, "_LENGTH", 5.0)
    job = branches.jobs(plan)[0]
    with pytest.raises(StorageError, match=r"results of epochs 5\.0"):
        job.call(QuietReporter(), *job.arguments)
