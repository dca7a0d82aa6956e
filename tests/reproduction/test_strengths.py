"""Strengths are chosen on seeds that are not reported."""

import dataclasses
import math

import pytest

from landscope.directions.random_directions import random_directions
from landscope.errors import StorageError
from landscope.progress import QuietReporter
from landscope.reproduction.experiment.settings import Settings
from landscope.reproduction.figures.figure import Plan
from landscope.reproduction.figures.strengths import Comparison, Seeds, learnt_as
from landscope.study.folder import RunFolder

STRENGTHS = {"held": (0.1, 1.0, 10.0), "free": (math.nan,)}


def comparison(tmp_path, best=1.0, *, quick=False, asked=None):
    """Errors are least at ``best`` on tuning seeds, and at 0.1 on reported ones."""

    def load(seed, row, strength):
        if asked is not None:
            asked.append((seed, row, strength))
        return abs(math.log10(strength / (best if seed >= 100 else 0.1)))

    plan = Plan(tmp_path, Settings(), seeds=2, quick=quick)
    return Comparison(plan, Seeds(reported=3, tuning=2), STRENGTHS, load, lambda error: error)


def test_the_best_is_that_of_the_tuning_seeds_and_the_others_are_reported_with_it(tmp_path):
    asked = []
    found = comparison(tmp_path, asked=asked)
    assert found.best("held") == 1.0
    assert {seed for seed, *_ in asked} == {100, 101}
    assert found.reported("held") == pytest.approx([1.0, 1.0, 1.0])
    assert found.shown("held") == "1"
    assert comparison(tmp_path, best=10.0).shown("held") == "10 (edge)"
    assert found.shown("free") == "–"


def test_every_strength_there_is_a_choice_of_on_tuning_seeds_first_and_the_best_on_the_others(tmp_path):
    found = comparison(tmp_path)
    jobs = found.jobs(lambda seed: f"seed {seed}", print, "told")
    assert [(job.name, job.arguments, job.stage) for job in jobs] == [
        ("seed 100", ("told", 100), 0), ("seed 101", ("told", 101), 0),
        ("seed 0", ("told", 0), 1), ("seed 1", ("told", 1), 1), ("seed 2", ("told", 2), 1),
    ]  # fmt: skip
    assert found.trials(100) == [("held", 0.1), ("held", 1.0), ("held", 10.0)]
    (row, strength), (free, none) = found.trials(2)
    assert (row, strength, free) == ("held", 1.0, "free")
    assert math.isnan(none)


def test_a_quick_one_takes_the_middle_and_chooses_nothing(tmp_path):
    asked = []
    quick = comparison(tmp_path, best=10.0, quick=True, asked=asked)
    assert [job.arguments for job in quick.jobs(str, print)] == [(0,), (1,)]
    assert quick.best("held") == 1.0
    assert quick.shown("held") == "1"
    assert not asked


def test_what_is_missing_alone_is_learnt_and_nothing_begun_for_nothing(tmp_path):
    found, run = comparison(tmp_path), RunFolder.create(tmp_path / "seed100", Settings())
    begun, learnt = [], []

    def begin():
        begun.append("prepared")
        return lambda row, strength: learnt.append((row, strength)) or random_directions(3, 1, seed=0)

    def named(row, strength):
        return f"{row}-{strength:g}"

    run.save(named("held", 1.0), random_directions(3, 1, seed=0))
    for _ in range(2):
        found.learn(QuietReporter(), run, 100, named, begin)
    assert begun == ["prepared"]
    assert learnt == [("held", 0.1), ("held", 10.0)]
    assert run.names() == ("held-0.1", "held-1", "held-10")


def test_results_that_were_learnt_in_another_way_are_not_taken_over():
    @dataclasses.dataclass(frozen=True)
    class How:
        epochs: int = 2
        steps: tuple[int, int] = (10, 5)

    found = dataclasses.replace(
        random_directions(4, 1, seed=0), provenance={"settings": {"epochs": 2, "steps": [10, 5]}}
    )
    assert learnt_as(found, How()) is found
    with pytest.raises(StorageError, match="results of epochs 3; got some of epochs 2"):
        learnt_as(found, How(epochs=3))
