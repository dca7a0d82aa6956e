"""Small batches are evaluated together, and every loss is that of the batch on its own."""

import pytest
import torch
from torch import nn

import landscope as ls
from landscope.risk.joined_batches import JoinedLosses

SIZES = [4, 4, 3, 5, 4]


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2))


def batches(width=3):
    generator = torch.Generator().manual_seed(1)
    return [(torch.randn(n, width, generator=generator), torch.arange(n) % 2) for n in SIZES]


def each(model, batch):
    return nn.functional.cross_entropy(model(batch[0]), batch[1], reduction="none")


def weighted(model, batch):
    return each(model, batch), 1.0 + batch[1]


def added(model, batch):
    return each(model, batch).sum(), len(batch[1])


def by_the_batch(model, batch):
    """A loss of each sample that looks at the others."""
    return each(model, batch) * batch[0].std()


def slow(losses, model, data):
    """The plain loop over the batches of the user: sum of losses over sum of weights, in float64."""
    total, weight = 0.0, 0.0
    for batch in data:
        found = losses(model, batch)
        values, weights = found if isinstance(found, tuple) else (found, torch.ones(len(found)))
        total, weight = total + values.double().sum(), weight + torch.as_tensor(weights).sum()
    return total / weight


def made(losses, data, **options):
    model = network()
    return model, ls.EmpiricalRisk.from_closure(model, losses, data, **options)


def set_weights(model, w):
    nn.utils.vector_to_parameters(w, model.parameters())
    return model


@pytest.mark.parametrize(
    ("losses", "is_joined"), [(each, True), (weighted, True), (added, True), (by_the_batch, False)]
)
def test_the_loss_and_its_gradient_are_those_of_the_plain_loop(losses, is_joined):
    model, risk = made(losses, batches())
    assert isinstance(risk._blocks, JoinedLosses) is is_joined
    assert risk._blocks.n_blocks == (1 if is_joined else 5)
    w = risk.w0 + 0.3 * torch.randn(risk.w0.shape, generator=torch.Generator().manual_seed(2))
    expected = slow(losses, set_weights(model, w), batches())
    expected.backward()
    gradient = torch.cat([p.grad.reshape(-1) for p in model.parameters()])
    # Sums of 20 float32 losses: their rounding is 6e-8 each.
    torch.testing.assert_close(risk(w), expected.detach(), rtol=1e-6, atol=0)
    torch.testing.assert_close(risk.gradient(w), gradient, rtol=1e-5, atol=1e-7)


def test_minibatches_and_samples_are_those_of_the_user():
    model, risk = made(each, batches())
    with torch.no_grad():
        apart = [each(model, batch).double() for batch in batches()]
    torch.testing.assert_close(risk.sample_losses(risk.w0), torch.cat(apart), rtol=1e-5, atol=0)
    own = risk.minibatches(None)
    assert own.n_batches == len(SIZES)
    torch.testing.assert_close(
        own.batch_losses(risk.w0), torch.stack([part.mean() for part in apart]), rtol=1e-5, atol=0
    )
    pairs = risk.minibatches(10)
    torch.testing.assert_close(pairs.batch_losses(risk.w0), torch.cat(apart).view(2, 10).mean(dim=1), rtol=1e-5, atol=0)


def test_batches_that_differ_in_structure_or_have_draws_or_means_of_their_own_stay_apart():
    other = [*batches(), {"x": torch.ones(2, 3), "y": torch.zeros(2).long()}]

    def of_both(model, batch):
        return each(model, (batch["x"], batch["y"]) if isinstance(batch, dict) else batch)

    assert made(of_both, other)[1]._blocks.n_blocks == 2
    assert made(each, batches(), seed=1)[1]._blocks.n_blocks == 5
    mean = made(lambda model, batch: each(model, batch).mean(), batches(), count=lambda batch: len(batch[1]))[1]
    assert mean._blocks.n_blocks == 5
    assert made(each, batches()[:1])[1]._blocks.n_blocks == 1


def test_batches_are_joined_up_to_a_limit_of_memory(monkeypatch):
    # The graph of 4 samples keeps the inputs (48 bytes), the hidden layer (80), logarithms (32) and labels (32).
    monkeypatch.setattr("landscope.risk.joined_batches._JOINED_BYTES", 3 * 192)
    model, risk = made(each, batches())
    assert 1 < risk._blocks.n_blocks < 5
    torch.testing.assert_close(risk(risk.w0), slow(each, model, batches()).detach(), rtol=1e-6, atol=0)
    assert risk.minibatches(None).n_batches == 5
