"""The shortest windows that a study takes: every number, or the reason why there is none; never a warning."""

import math

import pytest

import small_study as small

SHORTEST = {"window": (220, 240), "fresh": (190, 210)}
CASES = {
    "a few rows": ("0.weight", {}),
    "three weights": ("3.bias", {"fit_modes": (1, 3)}),
    "no flatness within reach": ("0.weight", {"ratio": 1e6}),
    "one window": ("0.weight", {"fresh": "none", "n_nulls": 0, "n_processes": 0}),
}


@pytest.mark.slow
@pytest.mark.parametrize(("select", "changes"), CASES.values(), ids=CASES)
def test_the_shortest_windows_are_measured_without_a_warning(tmp_path, select, changes):
    study, model, optimizer = small.begin(
        tmp_path / "study", train_on=small.train_on, evaluate=small.evaluate, steps_per_epoch=10,
        **{**SHORTEST, "spectrum_ranks": None, **changes},
    )  # fmt: skip
    with study.record(optimizer, select):
        small.train(model, optimizer)
    study.analyse(noise=True, controls=True, dynamics=True, progress=False)
    for judgement in study.claims:
        found = judgement.measurement
        assert math.isfinite(found.value) or found.note, judgement.claim.key
