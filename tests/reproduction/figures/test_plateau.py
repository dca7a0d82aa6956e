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
from landscope.reproduction.figures import plateau, plateau_training
from landscope.reproduction.figures.plateau import CLAIMS, Plateau, plateau_measurements
from landscope.reproduction.figures.plateau_training import RESTS, noisy_cross_entropy
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
        rest="weight-decay", sampling=sampling, seed=seed, relaxations=40.0, loss=torch.ones(20),
        psi=exponents_of(WIDTH, limit.variance), psi_relaxation=relaxed,
    )  # fmt: skip
    return facts, limit


def test_bowls_end_at_zero_with_replacement_and_on_the_plateau_without():
    ends = {sampling: ending(sampling, 0) for sampling in ("with-replacement", "reshuffled")}
    found = {(rest, sampling, 0): end for rest in RESTS for sampling, end in ends.items()}
    white, shuffled = (end[1] for end in ends.values())
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
        (rest, sampling, seed): (dataclasses.replace(facts, psi=facts.psi + 0.05 * (seed - 1)), limit)
        for seed in range(3)
        for (rest, sampling, _), (facts, limit) in found.items()
    }
    known = {"psi_plateau": "not reproduced", "psi_label_noise": "not reproduced", "plateau_by_order": "reproduced"}
    assert verdicts(plateau_measurements(several), CLAIMS) == known


def test_labels_drawn_anew_have_the_smoothed_loss_and_gradient_on_average():
    few = torch.randn(5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    outputs = few.repeat(4000, 1).requires_grad_()
    labels = torch.tensor([0, 1, 2, 3, 0]).repeat(4000)
    losses = noisy_cross_entropy(outputs, labels, share=0.3, generator=torch.Generator().manual_seed(1))
    smooth = [-torch.log_softmax(row, 0) @ (0.7 * torch.eye(4)[z] + 0.3 / 4).double() for row, z in
              zip(few, labels[:5].tolist(), strict=True)]  # fmt: skip
    means = losses.detach().unflatten(0, (-1, 5))
    # The error of a mean of 4000 draws.
    assert bool(((means.mean(dim=0) - torch.stack(smooth)).abs() < 4 * means.std(dim=0) / 4000**0.5).all())
    (slopes,) = torch.autograd.grad(losses.sum(), outputs)
    smoothed = torch.softmax(few, 1) - (0.7 * torch.eye(4)[labels[:5]] + 0.3 / 4)
    # A label's share of draws scatters by (0.225 * 0.775/4000)^(1/2) = 0.0066 at most.
    assert bool(((slopes.unflatten(0, (-1, 5)).mean(dim=0) - smoothed).abs() < 4 * 0.0068).all())


@pytest.mark.slow
def test_a_short_run_makes_the_page_and_goes_on(plan, monkeypatch):
    for module, name, value in (
        (plateau_training, "DECAY", 0.05), (plateau_training, "BURN_IN", 2), (plateau_training, "POINTS", 20),
        (plateau, "_QUICK_RELAXATIONS", 6), (plateau, "_QUICK_DIRECTIONS", 4),
    ):  # fmt: skip
        monkeypatch.setattr(module, name, value)
    (section,) = reproduce(plan, [plateau], QuietReporter()).sections
    assert len(section.rows) == 8
    assert [judgement.claim.key for judgement in section.judgements] == [claim.key for claim in CLAIMS]
    assert all(plot.draw().data for plot in section.plots)
    facts = plan.load("plateau-weight-decay-reshuffled-seed0", "plateau", Plateau)
    assert len(facts.loss) == 20
    assert abs(facts.loss_change) < 1
    limit = plan.load("plateau-weight-decay-reshuffled-seed0", "plateau-limit", ls.law.RunLimit)
    assert float(limit.length[-1]) == pytest.approx(6 / (0.2 * 0.05), abs=15)
    assert bool((limit.local_curvature > 0.0499).all())
    monkeypatch.setattr(plateau, "_QUICK_RELAXATIONS", 7)
    job = plateau.jobs(plan)[0]
    with pytest.raises(StorageError, match="relaxations"):
        job.call(QuietReporter(), *job.arguments)
