"""Section S9: short descents, and claims that can come out either way."""

import dataclasses
import math

import pytest
import torch

from landscope.errors import StorageError
from landscope.progress import QuietReporter
from landscope.reproduction.figures import sec_s9
from landscope.reproduction.figures.sec_s9 import CLAIMS, NoisyRun, noise_measurements
from landscope.reproduction.reproduce import reproduce
from verdicts import verdicts


def noisy(test_error, flatness):
    rows = torch.tensor([test_error]).double()
    return NoisyRun(
        noise="x", step=rows, train_loss=rows, train_error=rows, test_error=rows, flatness=flatness, sharpness=1.0,
        exploration_step=math.nan,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("own", "none", "expected"),
    [(0.05, 0.10, "reproduced"), (0.15, 0.10, "not reproduced"), (0.05, 0.05, "contested")],
)
def test_noise_by_flatness(own, none, expected):
    """Against isotropic noise; descent without noise must not do as well, other noises decide nothing."""

    def runs(error):
        return [noisy(error + 1e-4 * seed**2, 1 / error + 0.01 * seed**2) for seed in range(3)]

    isotropic = [noisy(0.10 + 1e-5 * seed, 10.0) for seed in range(3)]
    found = {"flatness": runs(own), "isotropic": isotropic, "none": runs(none), "sgd": runs(own)}
    measured = noise_measurements(found)
    assert verdicts(measured, CLAIMS)["flatness_noise_error"] == expected
    assert verdicts(measured, CLAIMS)["flatness_noise_width"] == expected
    assert "sgd" in measured["flatness_noise_error"].note


@pytest.mark.parametrize(("rise", "expected"), [(1.0, "reproduced"), (4.0, "contested"), (0.25, "reproduced")])
def test_a_higher_loss_alone_makes_flatness(rise, expected):
    """Twice as flat: half of ln 4, as a loss that is four times higher makes it at the same curvature."""

    def runs(width, loss=0.1):
        made = [noisy(0.1, width * (1 + 0.01 * seed)) for seed in range(3)]
        return [dataclasses.replace(one, train_loss=torch.tensor([loss]).double()) for one in made]

    flat = [noisy(0.1, 1.0) for _ in range(3)]
    measured = noise_measurements({"flatness": runs(2.0, 0.1 * rise), "isotropic": flat, "none": runs(0.5)})
    assert verdicts(measured, CLAIMS)["flatness_noise_width"] == expected


@pytest.mark.slow
def test_short_descents(plan, monkeypatch):
    monkeypatch.setattr(sec_s9, "_QUICK_SIZE", (60, 20))
    (section,) = reproduce(plan, [sec_s9], QuietReporter()).sections
    assert {"none", "isotropic", "flatness", "sgd"} <= {row[0] for row in section.rows}
    assert [judgement.claim.key for judgement in section.judgements] == [claim.key for claim in CLAIMS]
    assert section.plots[0].draw().data
    monkeypatch.setattr(sec_s9, "_QUICK_SIZE", (60, 30))
    job = sec_s9.jobs(plan)[0]
    with pytest.raises(StorageError, match="results of steps 30"):
        job.call(QuietReporter(), *job.arguments)
