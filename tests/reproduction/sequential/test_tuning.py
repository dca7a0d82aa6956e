"""Strengths are chosen on seeds that are not reported."""

import dataclasses
import math
from types import SimpleNamespace

import pytest

from landscope.directions.directions import Directions
from landscope.directions.random_directions import random_directions
from landscope.errors import StorageError
from landscope.progress import QuietReporter
from landscope.reproduction.experiment.folder import ExperimentFolder
from landscope.reproduction.experiment.settings import Settings
from landscope.reproduction.figures.two_task_experiment import TwoTaskExperiment
from landscope.reproduction.sequential.kept_results import make_missing
from landscope.reproduction.sequential.tuning import Seeds, Tuner, middle_strengths

STRENGTHS = {"held": (0.1, 1.0, 10.0), "free": (math.nan,)}


def tuner(best=1.0, asked=None):
    """Errors are least at ``best`` on tuning seeds, and at 0.1 on reported ones."""

    def load(seed, row, strength):
        if asked is not None:
            asked.append((seed, row, strength))
        return abs(math.log10(strength / (best if seed >= 100 else 0.1)))

    return Tuner(STRENGTHS, load, lambda error: error, tuning=(100, 101), reported=(0, 1, 2))


def test_the_best_is_that_of_the_tuning_seeds_and_the_others_are_reported_with_it():
    asked = []
    chosen = tuner(asked=asked)
    assert chosen.best("held").value == 1.0
    assert {seed for seed, *_ in asked} == {100, 101}
    assert chosen.results("held") == pytest.approx([1.0, 1.0, 1.0])
    assert str(chosen.best("held")) == "1"
    assert str(tuner(best=10.0).best("held")) == "10 (edge)"
    assert str(chosen.best("free")) == "–"


def test_all_strengths_are_tried_on_tuning_seeds_and_the_best_alone_on_others():
    chosen = tuner()
    assert chosen.trials(100) == [("held", 0.1), ("held", 1.0), ("held", 10.0)]
    (row, strength), (free, none) = chosen.trials(2)
    assert (row, strength, free) == ("held", 1.0, "free")
    assert math.isnan(none)


def test_a_quick_comparison_takes_the_middle_and_tunes_nothing():
    asked = []
    quick = dataclasses.replace(tuner(asked=asked), strengths=middle_strengths(STRENGTHS), tuning=())
    assert (quick.best("held").value, str(quick.best("held"))) == (1.0, "1")
    assert not asked


@pytest.mark.parametrize(("quick", "tunes", "expected"), [
    (False, False, (5, 2)), (True, False, (3, 0)), (True, True, (3, 3)),
])  # fmt: skip
def test_a_quick_plan_has_its_own_number_of_seeds(quick, tunes, expected):
    plan, seeds = SimpleNamespace(seeds=3, quick=quick), Seeds(5, 2, tuned_when_quick=tunes)
    reported, tuning = seeds.reported_of(plan), seeds.tuning_of(plan)
    assert (len(reported), len(tuning)) == expected == tuple(seeds.counts_of(plan).values())
    assert not set(reported) & set(tuning)


def test_only_missing_results_are_made_and_nothing_is_prepared_for_none(tmp_path):
    path, prepared, made = tmp_path / "seed100", [], []
    ExperimentFolder.create(path, Settings()).save("held-1", random_directions(3, 1, seed=0))

    def prepare():
        prepared.append("prepared")
        return lambda strength: made.append(strength) or random_directions(3, 1, seed=int(strength))

    trials = {f"held-{strength:g}": strength for strength in STRENGTHS["held"]}
    for _ in range(2):
        make_missing(path, Settings(), trials, prepare, QuietReporter())
    assert prepared == ["prepared"]
    assert made == [0.1, 10.0]
    first = random_directions(3, 1, seed=10).directions
    assert bool((ExperimentFolder.open(path).load("held-10", Directions).directions == first).all())


def test_results_of_other_numbers_are_refused(tmp_path):
    experiment = TwoTaskExperiment("k", "K", ((0, 1), (2, 3)), "tasks", Seeds(1, 1), (), n_modes=20)

    def make(experiment, path=tmp_path / "seed0"):
        make_missing(
            path, Settings(), {"trials": 0}, lambda: lambda seed: random_directions(3, 1, seed=seed), QuietReporter(),
            experiment.numbers(),
        )  # fmt: skip

    make(experiment)
    make(dataclasses.replace(experiment, name="the same"))
    for changes, message in (
        ({"groups": ((0, 1), (2, 4))}, r"groups \[\[0, 1\], \[2, 4\]\]"), ({"n_modes": 10}, "n_modes 10"),
        ({"pretraining": "all"}, "pretraining all"), ({"methods": (("ewc", 0),)}, "methods"),
    ):  # fmt: skip
        with pytest.raises(StorageError, match=message):
            make(dataclasses.replace(experiment, **changes))
