"""Where the exponent ends: claims on made-up ends, and a short run from the first step to the page."""

import dataclasses
import math

import pytest
import torch

import landscope as ls
from known import flatness_of
from landscope.directions import Directions
from landscope.errors import StorageError
from landscope.progress import QuietReporter
from landscope.reproduction.figures import plateau
from landscope.reproduction.figures.plateau import CLAIMS, Plateau, plateau_measurements
from landscope.reproduction.reproduce import reproduce
from landscope.synthetic import QuadraticBowl, sgd_over_epochs
from verdicts import verdicts

RATE, BATCHES = 0.1, 40
CURVATURE = torch.logspace(0, -2, 60).double()
WIDTH = (8 / CURVATURE).sqrt()


def exponents_of(width, variances):
    return torch.tensor([-ls.law.fit_power_law(width, row).exponent for row in variances], dtype=torch.float64)


def ending(sampling, seed):
    """C ~ H in bowls; the window has 40 relaxation times of the slowest direction."""
    gradients = torch.randn(BATCHES, 60, generator=torch.Generator().manual_seed(seed)).double() * CURVATURE.sqrt()
    gradients -= gradients.mean(dim=0)
    epochs = 1100
    path = sgd_over_epochs(
        gradients, epochs, learning_rate=RATE, seed=seed, curvature=CURVATURE, sampling=sampling
    )[100 * BATCHES :]  # fmt: skip
    window, axes = ls.Trajectory.of(path), Directions.of(torch.eye(60))
    pull = ls.noise.effective_curvature(window, QuadraticBowl(CURVATURE), axes)
    limit = ls.law.run_limit(
        axes, window, flatness_of(WIDTH), pull, learning_rate=RATE,
        steps_per_epoch=BATCHES if sampling == "reshuffled" else None,
    )  # fmt: skip
    times = ls.noise.window_time(CURVATURE, limit.length, learning_rate=RATE,
                                 steps_per_epoch=BATCHES if sampling == "reshuffled" else None)  # fmt: skip
    relaxed = exponents_of(WIDTH, limit.velocity_variance * times)
    facts = Plateau(
        sampling=sampling, seed=seed, relaxations=40.0, loss=torch.ones(20), psi=exponents_of(WIDTH, limit.variance),
        psi_relaxation=relaxed,
    )  # fmt: skip
    return facts, limit


def test_bowls_end_at_zero_with_replacement_and_on_the_plateau_without():
    found = {(sampling, 0): ending(sampling, 0) for sampling in ("with-replacement", "reshuffled")}
    white, shuffled = (found[sampling, 0][1] for sampling in ("with-replacement", "reshuffled"))
    # Noise over curvature is the same in all directions but for 40 minibatches: the error of ln D is (2/40)^(1/2), and
    # of a slope of 60 of them over 0.66 units of ln F it is 0.224/(60^(1/2) 0.66) = 0.044.
    assert float(white.psi[-1]) == pytest.approx(0.0, abs=4 * 0.06)
    assert white.psi_infinity == pytest.approx(0.0, abs=4 * 0.044)
    assert float(white.psi[0]) > 0.5
    # alpha lambda M is 4 to 0.04 here: flat directions lie below the crossover at 3.
    times = ls.noise.window_time(CURVATURE, torch.tensor([math.inf]), learning_rate=RATE, steps_per_epoch=BATCHES)[0]
    known = -ls.law.fit_power_law(WIDTH, CURVATURE * times).exponent
    assert known > 0.5
    assert shuffled.psi_infinity == pytest.approx(known, abs=4 * 0.044)
    assert set(verdicts(plateau_measurements(found), CLAIMS).values()) == {"undecided"}  # one seed
    # Seeds that scatter as the errors above say.
    several = {
        (sampling, seed): (dataclasses.replace(facts, psi=facts.psi + 0.05 * (seed - 1)), limit)
        for seed in range(3)
        for (sampling, _), (facts, limit) in found.items()
    }
    known = {"psi_plateau": "not reproduced", "plateau_by_order": "reproduced"}
    assert verdicts(plateau_measurements(several), CLAIMS) == known


@pytest.mark.slow
def test_a_short_run_makes_the_page_and_goes_on(plan, monkeypatch):
    for name, value in {
        "_DECAY": 0.05, "_BURN_IN": 2, "_QUICK_RELAXATIONS": 6, "_QUICK_DIRECTIONS": 4, "_POINTS": 20,
    }.items():  # fmt: skip
        monkeypatch.setattr(plateau, name, value)
    (section,) = reproduce(plan, [plateau], QuietReporter()).sections
    assert len(section.rows) == 4
    assert [judgement.claim.key for judgement in section.judgements] == [claim.key for claim in CLAIMS]
    assert all(plot.draw().data for plot in section.plots)
    facts = plan.load("plateau-reshuffled-seed0", "plateau", Plateau)
    assert len(facts.loss) == 20
    assert abs(facts.loss_change) < 1
    limit = plan.load("plateau-reshuffled-seed0", "plateau-limit", ls.law.RunLimit)
    assert float(limit.length[-1]) == pytest.approx(6 / (0.2 * 0.05), abs=15)
    assert bool((limit.local_curvature > 0.0499).all())
    monkeypatch.setattr(plateau, "_QUICK_RELAXATIONS", 7)
    job = plateau.jobs(plan)[0]
    with pytest.raises(StorageError, match="relaxations"):
        job.call(QuietReporter(), *job.arguments)
