"""The first sentences: above, below or inside the range of a null, by how much, and what follows."""

import math

import pytest

from landscope.study.lead import lead_of

NAN, NOTHING = math.nan, (math.nan, math.nan)
SUMMARY = {
    "first_mode_share": 0.474, "modes_for_90_percent": 6, "window_rows": 60, "weights": 600, "psi": 4.0,
    "psi_fresh": 1.5, "psi_null": [2.0, 2.4], "psi_null_band": (1.0, 3.5), "psi_process": [4.4, 4.8],
    "psi_process_band": (4.25, 5.0), "psi_process_fresh": [1.0], "rate_changed": False,
    "limit_directions": "eigenvectors", "limit_order": "independent minibatches",
    "psi_along_curvature": 0.95, "psi_along_curvature_interval": NOTHING,
    "psi_along_curvature_expected": 0.9, "psi_infinity_of_process": 0.1,
    "psi_infinity_of_process_in_words": "0.10 [0.00, 0.20]", "psi_infinity_of_run": NAN,
    "psi_infinity_of_run_interval": NOTHING, "fresh": [1, 60], "exploration_reached": True, "caveats": [],
}  # fmt: skip


def lead(**changes):
    return " ".join(lead_of({**SUMMARY, **changes}))


def test_the_lead_says_above_or_below_by_how_much_and_what_follows():
    text = lead()
    assert "gives ψ = 2 to 2.4 in 2 draws; one more draw would give 1.00 to 3.50 (95 %; a wide range" in text
    assert "The 4.00 of the window lies 0.50 above this range, so steps in random order do not give so large" in text
    assert (
        "The 4.00 of the window lies 0.25 below this range, so noise, curvature and the length of the window would"
        in text
    )
    assert "outside" not in text


def test_weights_that_move_along_one_direction_alone():
    assert "Along all others they do not move." in lead(modes_for_90_percent=1)
    assert "90 % lies in modes 2 to 6." in lead()


def test_inside_it_says_that_the_null_gives_it_too():
    text = lead(psi=3.0, psi_process_band=(2.0, 5.0))
    assert "The 3.00 of the window lies within this range, so it cannot be told apart from what steps in random" in text
    assert "so it cannot be told apart from what noise, curvature and the length of the window give" in text
    assert "a wide range" not in lead(psi_null=[2.0] * 5, psi_process=[3.0] * 5)


@pytest.mark.parametrize(("psi", "said"), [(4.0, "2.00 more"), (1.5, "0.50 less")])
def test_one_draw_is_compared_and_decides_nothing(psi, said):
    text = lead(psi=psi, psi_null=[2.0], psi_null_band=NOTHING, psi_process=[])
    assert f"gives ψ = 2.00 in its only draw, and the window has {said}." in text
    assert "nothing follows: set n_nulls to 3 or more" in text


@pytest.mark.parametrize(("psi", "said"), [(0.2, "moves more along flat ones"), (1.6, "moves less along flat ones")])
def test_a_difference_from_the_process_along_the_curvature_is_said(psi, said):
    assert said in lead(psi_along_curvature=psi)
    assert "along flat ones" not in lead(psi_along_curvature=0.95)
    assert "along flat ones" not in lead(psi_along_curvature=NAN)


def test_a_difference_within_the_interval_of_the_window_is_not_said():
    assert "along flat ones" not in lead(psi_along_curvature=0.2, psi_along_curvature_interval=(-1.0, 1.4))
    assert "moves more along flat ones" in lead(psi_along_curvature=0.2, psi_along_curvature_interval=(0.1, 0.3))


def test_each_exponent_of_a_window_without_end_has_its_name():
    text = lead(psi_infinity_of_run=0.3, psi_infinity_of_run_interval=(0.1, 0.5))
    assert "the process, with independent minibatches, 0.90." in text
    assert "ψ∞ of the process = 0.10 [0.00, 0.20]. ψ∞ of the process is computed:" in text
    assert "ψ∞ of the run = 0.30 [0.10, 0.50]. ψ∞ of the run is measured:" in text
    assert "ψ∞ of the run" not in lead()


def test_nothing_of_a_lead_without_numbers_is_nan():
    bare = {"psi_null": [NAN], "psi_null_band": NOTHING, "psi_process": [], "psi_process_fresh": [], "psi_fresh": NAN,
            "psi_infinity_of_process": NAN}  # fmt: skip
    for text in (lead(**bare), lead(**bare, psi=NAN)):
        assert "nan" not in text
