"""The claims on the edge of stability, in worlds where each comes out either way."""

import math

import pytest
import torch

from landscope.claims.edge import edge_measurements
from landscope.noise.edge_of_stability import EdgeOfStability
from landscope.noise.oscillation import oscillation_share
from verdicts import verdicts


def world(*, sharpness=20.0, error=0.5, share=0.1, alpha=0.1, momentum=0.0, every=1):
    shares = torch.full((20,), share if every == 1 else math.nan).double()
    pull = alpha * torch.linspace(5.0, 1.0, 20).double()
    return EdgeOfStability(
        batch_sharpness=sharpness, batch_sharpness_error=error, sharpness=15.0, bound=2 * (1 + momentum) / alpha,
        noise_bound=2 * (1 - momentum) / alpha, pull=pull, share=shares, share_error=torch.full((20,), 0.02).double(),
        predicted_share=oscillation_share(pull, momentum), mode_share=shares, mode_share_error=shares,
        momentum=momentum, n_batches=32,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("key", "changes", "expected"),
    [
        ("batch_sharpness", {}, "reproduced"),
        ("batch_sharpness", {"sharpness": 2.0}, "not reproduced"),
        ("batch_sharpness", {"sharpness": 23.0, "error": 2.0}, "undecided"),
        ("batch_sharpness", {"sharpness": 2.0, "error": 0.05, "momentum": 0.9}, "reproduced"),
        ("batch_sharpness", {"alpha": math.nan}, "not measured"),
        ("no_oscillation", {}, "reproduced"),
        ("no_oscillation", {"share": 0.6}, "not reproduced"),
        ("no_oscillation", {"share": 0.25}, "undecided"),
        ("no_oscillation", {"share": 0.1, "alpha": math.nan}, "reproduced"),
        ("no_oscillation", {"every": 2}, "not measured"),
    ],
)
def test_the_edge_of_stability_decides(key, changes, expected):
    assert verdicts(edge_measurements(world(**changes)))[key] == expected


def test_the_notes_name_what_stands_beside():
    found = edge_measurements(world(momentum=0.5))
    assert "against 2(1+beta)/alpha it is 0.67" in found["batch_sharpness"].note
    assert "the largest curvature of the whole loss is 0.5 of its bound" in found["batch_sharpness"].note
    assert "a bowl of the same curvature has" in found["no_oscillation"].note
