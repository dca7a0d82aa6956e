"""Losses that compare the samples of a batch have no minibatches of another size."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import landscope as ls
from landscope.errors import InputError


def contrast(model, views):
    one, other = (F.normalize(model(view), dim=1) for view in views)
    return F.cross_entropy(one @ other.T, torch.arange(len(one)), reduction="none")


def weighted(model, views):
    """Weights that add up to one in each batch: their ratios are those of the samples alone."""
    weights = views[0].square().sum(dim=1)
    weights = weights / weights.sum()
    return weights * (model(views[0]) - views[1]).square().sum(dim=1), weights


def risk_of(losses, size=8):
    torch.manual_seed(0)
    model, x, y = nn.Linear(3, 3), torch.randn(16, 3), torch.randn(16, 3)
    batches = list(zip(x.split(size), y.split(size), strict=True))
    return model, batches, ls.EmpiricalRisk.from_closure(model, losses, batches)


def test_other_sizes_are_refused_with_the_way_on():
    model, batches, risk = risk_of(contrast)
    for call in (
        lambda: risk.minibatches(4),
        lambda: risk.sample_losses(risk.w0),
        lambda: risk.mean_gradient(risk.w0, torch.tensor([0, 1, 9])),
    ):
        with pytest.raises(InputError, match=r"compares the samples.*\n?.*minibatches\(None\)"):
            call()
    found = risk.minibatches(None).batch_losses(risk.w0)
    expected = torch.stack([contrast(model, batch).mean() for batch in batches])
    torch.testing.assert_close(found, expected.double(), rtol=1e-5, atol=0)
    small, batches, other = risk_of(contrast, 4)
    expected = torch.stack([contrast(small, batch).mean() for batch in batches])
    torch.testing.assert_close(other.minibatches(None).batch_losses(other.w0), expected.double(), rtol=1e-5, atol=0)


def with_noise(losses):
    return lambda model, batch: losses(model, (batch[0] + 0.1 * torch.randn_like(batch[0]), batch[1]))


def test_a_comparison_is_seen_although_the_loss_draws_numbers():
    model, batches, _ = risk_of(contrast)
    risk = ls.EmpiricalRisk.from_closure(model, with_noise(contrast), batches, seed=0)
    for call in (lambda: risk.minibatches(4), lambda: risk.sample_losses(risk.w0)):
        with pytest.raises(InputError, match=r"compares the samples.*minibatches\(None\)"):
            call()
    assert risk.minibatches(None).n_batches == 2


def test_a_loss_that_draws_numbers_for_each_sample_has_minibatches_of_any_size():
    def squares(model, batch):
        return (model(batch[0]) - batch[1]).square().sum(dim=1)

    model, batches, _ = risk_of(squares)
    risk = ls.EmpiricalRisk.from_closure(model, with_noise(squares), batches, seed=5)
    rows = []
    for number, batch in enumerate(batches):
        torch.manual_seed(5 + number)
        rows.append(with_noise(squares)(model, batch).detach())
    expected = torch.cat(rows).double()
    torch.testing.assert_close(risk.sample_losses(risk.w0), expected, rtol=1e-5, atol=0)
    torch.testing.assert_close(
        risk.minibatches(4).batch_losses(risk.w0), expected.view(4, 4).mean(1), rtol=1e-5, atol=0
    )


def test_whole_batches_have_the_gradient_of_their_loss():
    model, batches, risk = risk_of(contrast)
    found = risk.mean_gradient(risk.w0, torch.arange(8, 16))
    expected = torch.autograd.grad(contrast(model, batches[1]).mean(), list(model.parameters()))
    torch.testing.assert_close(found, torch.cat([part.flatten() for part in expected]), rtol=1e-4, atol=1e-7)


def test_weights_divided_by_their_sum_are_no_comparison():
    model, batches, risk = risk_of(weighted)
    found = risk.minibatches(4).batch_losses(risk.w0)
    for value, rows in zip(found, [*batches[0][0].split(4), *batches[1][0].split(4)], strict=True):
        places = torch.cat([batch[0] for batch in batches])
        targets = torch.cat([batch[1] for batch in batches])
        own = [int(torch.nonzero((places == row).all(dim=1))) for row in rows]
        losses, weights = weighted(model, (places[own], targets[own]))
        assert float(value) == pytest.approx(float((losses.sum() / weights.sum()).detach()), rel=1e-5)
