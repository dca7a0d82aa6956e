"""The sentence about interpolation follows from the numbers."""

import pytest

from landscope.reproduction.figures.language_verdict import verdict

LOSSES = {"none": [1.9, 1.9, 1.9], "ewc-empirical": [1.8, 1.8, 1.8], "interpolation": [1.7, 1.7, 1.7]}


@pytest.mark.parametrize(("ours", "words"), [
    ([1.6, 1.6, 1.6], "than nothing in 3 of 3 seeds (difference -0.300 [-0.300, -0.300])"),
    ([1.6, 1.6, 1.75], "Interpolation between old and new weights is not told apart from the default"),
    ([1.75, 1.75, 1.75], "Interpolation between old and new weights is better than the default"),
    ([1.75, 1.75, 1.75], "than interpolation at its best share in 0 of 3 seeds (difference 0.050 [0.050, 0.050])"),
    ([1.75, 1.75, 1.75], "try `landscope.memory.interpolation` first"),
    ([1.6, 1.6, 1.6], "has a lower loss"),
])  # fmt: skip
def test_words_are_those_of_the_counts(ours, words):
    assert words in verdict({**LOSSES, "basin-budget-at-end": ours})


def test_worse_than_another_rival_is_named_too():
    losses = {**LOSSES, "ewc-empirical": [1.5, 1.5, 1.5], "basin-budget-at-end": [1.6, 1.6, 1.6]}
    said = verdict(losses)
    assert "in 0 of 3 seeds" in said
    assert said.endswith("better: EWC, empirical Fisher.")
    assert "Interpolation between" not in said


def test_missing_rows_are_no_verdict():
    assert verdict(LOSSES) == ""
