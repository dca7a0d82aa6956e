"""A mean where a sum belongs, or a sum where a mean belongs, is seen by half a batch."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import landscope as ls
from landscope.errors import InputError

MADE = torch.Generator().manual_seed(7)
X, Y = torch.randn(40, 4, generator=MADE), torch.randint(3, (40,), generator=MADE)
BATCHES = list(zip(X.split(16), Y.split(16), strict=True))  # 16, 16 and 8 samples
SINGLE = list(zip(X.split(1), Y.split(1), strict=True))


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))


def of(reduction, weight=None):
    """A loss of a batch, with its count unless it is None."""

    def losses(model, batch):
        found = F.cross_entropy(model(batch[0]), batch[1], reduction=reduction)
        return found if weight is None else (found, weight(batch))

    return losses


def n_samples(batch):
    return len(batch[0])


@torch.no_grad()
def plain(model):
    return float(F.cross_entropy(model(X), Y))


def risk(losses, batches=BATCHES, **options):
    return ls.EmpiricalRisk.from_closure(network(), losses, batches, **options)


@pytest.mark.parametrize("batches", [BATCHES, SINGLE, [{"x": X, "y": Y}]], ids=["batches", "single", "mapping"])
def test_a_mean_with_its_count_is_refused(batches):
    def losses(model, batch):
        inputs, targets = batch.values() if isinstance(batch, dict) else batch
        return F.cross_entropy(model(inputs), targets), len(targets)

    with pytest.raises(InputError, match=r"\(losses.sum\(\), count\); got .* as a mean gives.*multiply.*count=f"):
        risk(losses, batches)


def test_a_mean_of_tokens_with_the_number_of_tokens_or_of_texts_is_refused():
    texts = [(torch.randn(6, 5, 4, generator=MADE), torch.randint(-1, 3, (6, 5), generator=MADE)) for _ in range(2)]

    def of_tokens(reduction, counted=None):
        def losses(model, batch):
            logits = model(batch[0]).transpose(1, 2)
            found = F.cross_entropy(logits, batch[1], ignore_index=-1, reduction=reduction)
            return found, (batch[1] >= 0).sum() if counted is None else counted(batch)

        return losses

    for counted in (None, n_samples):
        with pytest.raises(InputError, match="as a mean gives"):
            risk(of_tokens("mean", counted), texts)
    right, model = risk(of_tokens("sum"), texts), network()
    with torch.no_grad():
        losses, counts = zip(*(of_tokens("sum")(model, batch) for batch in texts), strict=True)
    expected = float(sum(losses) / sum(counts))
    assert float(right(right.w0)) == pytest.approx(expected, rel=1e-5)


def test_losses_of_samples_divided_by_their_number_are_a_mean():
    with pytest.raises(InputError, match="as a mean gives"):
        risk(lambda model, batch: of("none")(model, batch) / len(batch[0]))


def test_a_sum_as_mean_with_a_count_is_refused_for_a_function_and_for_a_criterion():
    message = r"the mean over a batch, for a loss with count=; got .* as a sum gives. Return reduction='mean'"
    with pytest.raises(InputError, match=message):
        risk(of("sum"), count=n_samples)
    with pytest.raises(InputError, match=message):
        ls.EmpiricalRisk(
            network(), lambda outputs, y: F.cross_entropy(outputs, y, reduction="sum"), BATCHES, count=n_samples
        )


@pytest.mark.parametrize("batches", [BATCHES, SINGLE], ids=["batches", "single"])
def test_right_sums_and_means_are_taken(batches):
    for found in (
        risk(of("sum", n_samples), batches),
        risk(of("sum", lambda batch: torch.tensor([len(batch[0])])), batches),
        risk(of("none"), batches),
        risk(of("mean"), batches, count=n_samples),
    ):
        assert float(found(found.w0)) == pytest.approx(plain(network()), rel=1e-5)


def test_a_mean_over_batches_is_a_choice():
    found = risk(of("mean", lambda _: 1))
    model = network()
    with torch.no_grad():
        expected = sum(float(F.cross_entropy(model(x), y)) for x, y in BATCHES) / len(BATCHES)
    assert float(found(found.w0)) == pytest.approx(expected, rel=1e-5)


def noisy(reduction, weight=None):
    def losses(model, batch):
        return of(reduction, weight)(model, (batch[0] + 0.3 * torch.randn_like(batch[0]), batch[1]))

    return losses


@pytest.mark.parametrize("seed", range(3))
def test_a_loss_that_draws_numbers_is_compared_by_its_means(seed):
    with pytest.raises(InputError, match="as a mean gives"):
        risk(noisy("mean", n_samples), seed=seed)
    with pytest.raises(InputError, match="as a sum gives"):
        risk(noisy("sum"), seed=seed, count=n_samples)
    for right in (risk(noisy("sum", n_samples), seed=seed), risk(noisy("mean"), seed=seed, count=n_samples)):
        by_sample = risk(noisy("none"), seed=seed)
        assert float(right(right.w0)) == pytest.approx(float(by_sample(by_sample.w0)), rel=1e-5)


@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_a_term_of_its_own_in_each_batch_is_no_mean(scale):
    def losses(model, batch):
        total = of("sum")(model, batch)
        return total + scale * sum(p.square().sum() for p in model.parameters()), len(batch[0])

    found = risk(losses)
    model = network()
    penalty = 3 * scale * sum(float(p.detach().square().sum()) for p in model.parameters()) / 40
    assert float(found(found.w0)) == pytest.approx(plain(model) + penalty, rel=1e-5)


def test_batches_that_compare_their_samples_are_no_means():
    def contrast(model, batch):
        one = F.normalize(model(batch[0]), dim=1)
        return F.cross_entropy(one @ one.T, torch.arange(len(one)), reduction="sum"), len(one)

    found = risk(contrast)
    with torch.no_grad():
        expected = sum(float(contrast(network(), batch)[0]) for batch in BATCHES) / 40
    assert float(found(found.w0)) == pytest.approx(expected, rel=1e-5)


@torch.no_grad()
def test_losses_with_weights_are_multiplied_by_them_already_and_the_mean_is_sum_over_sum():
    weights = torch.rand(40, generator=torch.Generator().manual_seed(1)) + 0.5
    batches = list(zip(X.split(16), Y.split(16), weights.split(16), strict=True))

    def single(model, batch):
        return F.cross_entropy(model(batch[0]), batch[1], reduction="none")

    found = risk(lambda model, batch: (batch[2] * single(model, batch), batch[2]), batches)
    by_hand = (weights * single(network(), (X, Y))).sum() / weights.sum()
    assert float(found(found.w0)) == pytest.approx(float(by_hand), rel=1e-6)  # single precision
    # Losses that are not multiplied give another number: nothing multiplies them for the caller.
    plain = risk(lambda model, batch: (single(model, batch), batch[2]), batches)
    assert float(plain(plain.w0)) == pytest.approx(float(single(network(), (X, Y)).sum() / weights.sum()), rel=1e-6)
