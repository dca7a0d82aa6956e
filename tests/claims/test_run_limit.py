"""The claim on psi_infinity: decided by a number, not measured where the run does not show one."""

import dataclasses

import torch

import landscope as ls
from known import flatness_of
from landscope.claims.run_limit import CLAIMS, limit_measurements
from landscope.claims.verdict import judge
from landscope.directions import Directions
from landscope.synthetic import QuadraticBowl, autoregressive

RATE, ROWS = 0.1, 3000
CURVATURE = torch.logspace(0, -1.5, 30).double()
WIDTH = (8 / CURVATURE).sqrt()


def limit_of(true_psi):
    pull = RATE * CURVATURE
    path = autoregressive(1 - pull, ROWS, seed=0, noise_variance=WIDTH**-true_psi * (1 - (1 - pull).square()))
    window, axes = ls.Trajectory.of(path), Directions.of(torch.eye(30))
    found = ls.noise.effective_curvature(window, QuadraticBowl(CURVATURE), axes, local_curvature=CURVATURE)
    return ls.law.run_limit(axes, window, flatness_of(WIDTH), found, learning_rate=RATE)


def verdict(limit):
    return judge(CLAIMS[0], limit_measurements(limit)["psi_infinity_of_run"])


def test_the_exponent_decides():
    assert verdict(limit_of(4.0)).verdict == "reproduced"
    found = verdict(limit_of(0.0))
    assert found.verdict == "not reproduced"
    assert "with lambda_eff" in found.sentence


def test_what_is_not_identified_is_not_measured_and_says_why():
    lost = dataclasses.replace(limit_of(4.0), psi_infinity=float("nan"), reason="it diffuses")
    found = verdict(lost)
    assert found.verdict == "not measured"
    assert "Not identified: it diffuses" in found.sentence


def test_the_note_names_what_it_was_measured_in():
    found = limit_measurements(limit_of(4.0), "the training that goes on")["psi_infinity_of_run"]
    assert found.note.startswith("measured in the training that goes on; ")
