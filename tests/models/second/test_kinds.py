"""Each kind of model and loss: the risk, the recording, flatness, gradient noise and memory against plain code."""

import warnings

import pytest
import torch
import torch.distributed as dist

import landscope as ls
from models.second import generative, structured, training
from models.second.kind import train

KINDS = [*generative.KINDS, *structured.KINDS, *training.KINDS]


pytestmark = pytest.mark.filterwarnings("ignore:landscope evaluates the whole model")


@pytest.fixture(scope="module")
def one_process():
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.fixture(scope="module", params=KINDS, ids=lambda kind: kind.name)
def trained(request, one_process):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "landscope evaluates the whole model")
        return train(request.param)


def close(found, exact, rtol):
    """Agree up to rounding, in units of the largest entry."""
    assert found.shape == exact.shape
    assert float((found.double() - exact).abs().max()) <= rtol * float(exact.abs().max())


def test_the_risk_and_its_gradient_are_those_of_a_plain_loop(trained):
    truth, risk = trained.truth, trained.risk
    assert torch.equal(risk.w0.double(), truth.w0)
    for w in (risk.w0, risk.w0 + 0.1 * torch.randn_like(risk.w0)):
        assert float(risk(w)) == pytest.approx(truth.loss(w), rel=trained.kind.rtol)
        close(risk.gradient(w), truth.gradient(w), 10 * trained.kind.rtol)


def test_the_recorded_rows_are_those_of_the_loop(trained):
    assert torch.equal(trained.path.weights, trained.rows.to(trained.path.weights))
    assert trained.path.steps.tolist() == list(range(1, trained.kind.steps + 1))
    assert bool((trained.rows[1:] != trained.rows[:-1]).any(dim=1).all())


def test_the_loss_at_the_edges_of_a_valley_is_ratio_times_the_loss_within_it(trained):
    truth, w0, rtol = trained.truth, trained.risk.w0.double(), 1e-3
    found = ls.flatness(trained.risk, trained.risk.w0, trained.directions, ratio=trained.kind.ratio, rtol=rtol)
    assert found.bracketed.all()
    edge = trained.kind.ratio * truth.loss(w0)
    for direction, *ends in zip(trained.directions.double(), found.left, found.right, strict=True):
        for end in ends:  # the crossing is bracketed to rtol, and a few points inside are below the edge
            assert truth.loss(w0 + (1 + 2 * rtol) * end * direction) > edge
            assert truth.loss(w0 + (1 - 2 * rtol) * end * direction) < edge
            assert all(truth.loss(w0 + part * end * direction) < edge for part in (0.25, 0.5, 0.75))


def test_gradient_noise_is_the_covariance_of_the_gradients_of_the_batches(trained):
    ensemble = trained.risk.minibatches(trained.kind.noise)
    found = ls.noise.gradient_noise(ensemble, trained.risk.w0, trained.directions)
    slopes = trained.truth.batch_gradients(trained.risk.w0) @ trained.directions.double().T
    assert found.n_batches == len(slopes)
    close(found.mean, slopes.mean(dim=0), 20 * trained.kind.rtol)
    close(found.covariance, torch.cov(slopes.T, correction=0), 20 * trained.kind.rtol)


def test_a_memory_holds_the_weights_where_the_task_ended(trained):
    penalty = trained.kind.consolidate(trained.memory, trained)
    w1 = trained.risk.w0.to(penalty.anchor if hasattr(penalty, "anchor") else trained.risk.w0)
    assert float(penalty(w1)) == 0
    away = torch.randn_like(w1)
    assert float(penalty(w1 + away)) > 0
    if getattr(trained.memory.method, "name", "") == "ewc":
        squares = torch.cat(trained.truth.sample_gradients(w1)).square().mean(dim=0)
        assert float(penalty(w1 + away)) == pytest.approx(float((squares * away.double() ** 2).sum() / 2), rel=1e-4)
