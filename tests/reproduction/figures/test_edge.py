"""The edge of stability of two networks: tiny trainings, and claims that can come out either way."""

import dataclasses

import pytest
import torch

from landscope.noise.edge_of_stability import EdgeOfStability
from landscope.progress import QuietReporter
from landscope.reproduction.figures import edge
from landscope.reproduction.figures.edge import CLAIMS, edge_judgements


def end(ratio, share):
    shares = torch.full((10,), share).double()
    return EdgeOfStability(
        batch_sharpness=20 * ratio, batch_sharpness_error=0.1, sharpness=10.0, bound=20.0, noise_bound=20.0,
        pull=shares, share=shares, share_error=shares / 10, predicted_share=shares, mode_share=shares,
        mode_share_error=shares, momentum=0.0, n_batches=20,
    )  # fmt: skip


@pytest.mark.parametrize(("ratio", "share", "expected"), [(1.0, 0.1, "reproduced"), (0.2, 0.7, "not reproduced")])
def test_the_ends_of_the_seeds_decide(ratio, share, expected):
    ends = [end(ratio + 0.01 * seed, share + 0.01 * seed) for seed in range(3)]
    judgements = edge_judgements("resnet", ends)
    assert [judgement.claim.key for judgement in judgements] == ["batch_sharpness_resnet", "no_oscillation_resnet"]
    assert {judgement.verdict for judgement in judgements} == {expected}
    mean = sum(share + 0.01 * seed for seed in range(3)) / 3
    assert f"a bowl of the same curvature has {mean:.3g}" in judgements[1].why


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:landscope evaluates the whole model")  # the check of shapes is not traced
def test_tiny_trainings(plan, monkeypatch):
    def tiny(case):
        return dataclasses.replace(case, samples=60, measured=30, steps=20, window=16, batch_size=10)

    monkeypatch.setattr(edge._Case, "quick", tiny)
    monkeypatch.setattr(edge, "_EIGENVECTORS", 2)
    monkeypatch.setattr(edge, "_LENGTH", 9)
    plan = dataclasses.replace(plan, seeds=1)
    jobs = edge.jobs(plan)
    for job in jobs:
        job.call(QuietReporter(), *job.arguments)
    (section,) = edge.sections(plan)
    assert [row[1] for row in section.rows] == ["10", "20"] * 2
    assert [judgement.claim.key for judgement in section.judgements] == [claim.key for claim in CLAIMS]
    assert all(judgement.verdict != "not measured" for judgement in section.judgements)
    assert all(plot.draw().data for plot in section.plots)
    resnet, transformer = (section.values[f"edge-{name}-seed0"] for name in ("resnet", "transformer"))
    # Without batch normalisation both kinds of statistics are the same; with it they are not.
    assert transformer["kept_sharpness"] == transformer["batch_sharpness"]
    assert resnet["kept_sharpness"] != pytest.approx(resnet["batch_sharpness"], rel=1e-3)
    monkeypatch.setattr(edge, "_measured", None)  # what is there is not made again
    jobs[0].call(QuietReporter(), *jobs[0].arguments)
