"""The mean of a batch is added with the weight that it has, or it is refused: a weight is never guessed."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import landscope as ls
from landscope.errors import InputError

WEIGHTS = torch.tensor([1.0, 1.0, 40.0])
REFUSED = "the mean over the samples of a batch|the weight of the mean of a batch"
TOGETHER = "whose samples together have a mean"


def data(n, sizes, *, rare=()):
    """Two classes, and a third one at some places; as batches of these sizes."""
    generator = torch.Generator().manual_seed(0)
    inputs, labels = torch.randn(n, 4, generator=generator), torch.randint(2, (n,), generator=generator)
    labels[list(rare)] = 2
    return list(zip(inputs.split(sizes), labels.split(sizes), strict=True))


def class_weighted(outputs, labels):
    return F.cross_entropy(outputs, labels, weight=WEIGHTS)


def rows(batch):
    return len(batch[0])


def closure(criterion):
    return lambda model, batch: criterion(model(batch[0]), batch[1])


RARE = {
    "uneven batches": data(57, (50, 7), rare=[3, 52, 53]),
    "a rare class in the middle": data(3000, (1000, 1000, 1000), rare=range(1050, 1060)),
    "classes in turn": data(96, (32, 32, 32), rare=range(64, 96)),
}


@pytest.mark.parametrize("batches", RARE.values(), ids=RARE)
@pytest.mark.parametrize(
    "made",
    [
        lambda model, batches: ls.EmpiricalRisk(model, class_weighted, batches),
        lambda model, batches: ls.EmpiricalRisk(model, class_weighted, [{"input": x, "labels": y} for x, y in batches]),
        lambda model, batches: ls.EmpiricalRisk(model, class_weighted, batches, count=rows),
        lambda model, batches: ls.EmpiricalRisk.from_closure(model, closure(class_weighted), batches, count=rows),
        lambda model, batches: ls.EmpiricalRisk.from_closure(
            model, closure(class_weighted), batches, count=rows, seed=0
        ),
    ],
    ids=["tensors", "mappings", "count", "closure", "seeded closure"],
)
def test_means_with_class_weights_are_refused(made, batches):
    with pytest.raises(InputError, match=REFUSED):
        made(nn.Linear(4, 3), batches)


@pytest.mark.parametrize("batches", RARE.values(), ids=RARE)
def test_what_the_error_says_gives_the_mean_over_all_weights(batches):
    model = nn.Linear(4, 3)
    inputs, labels = (torch.cat(parts) for parts in zip(*batches, strict=True))
    with torch.no_grad():
        own = -F.log_softmax(model(inputs).double(), 1)[torch.arange(len(labels)), labels]
    exact = float((WEIGHTS[labels] * own).sum() / WEIGHTS[labels].sum())

    def total(model, batch):
        weights = WEIGHTS[batch[1]]
        return (weights * F.cross_entropy(model(batch[0]), batch[1], reduction="none")).sum(), weights.sum()

    for risk in (
        ls.EmpiricalRisk.from_closure(model, total, batches),
        ls.EmpiricalRisk(model, nn.CrossEntropyLoss(weight=WEIGHTS), batches),
    ):
        assert float(risk(risk.w0)) == pytest.approx(exact, rel=1e-5)  # float32 losses of a few thousand samples


def test_means_over_samples_are_taken_by_their_number():
    model, batches = nn.Linear(4, 3), RARE["uneven batches"]
    inputs, labels = (torch.cat(parts) for parts in zip(*batches, strict=True))
    exact = float(F.cross_entropy(model(inputs), labels).detach())
    risk = ls.EmpiricalRisk.from_closure(model, closure(F.cross_entropy), batches, count=rows)
    assert float(risk(risk.w0)) == pytest.approx(exact, rel=1e-5)


def test_the_weight_may_be_a_count_of_tokens():
    model = nn.Linear(4, 3)
    inputs, labels = torch.randn(12, 5, 4), torch.randint(3, (12, 5))
    labels[3:, 2:] = -100
    batches = list(zip(inputs.split((6, 6)), labels.split((6, 6)), strict=True))

    def mean(outputs, labels):
        return F.cross_entropy(outputs.transpose(1, 2), labels)

    risk = ls.EmpiricalRisk(model, mean, batches, count=lambda batch: int((batch[1] != -100).sum()))
    assert float(risk(risk.w0)) == pytest.approx(float(mean(model(inputs), labels).detach()), rel=1e-5)
    with pytest.raises(InputError, match=REFUSED):
        ls.EmpiricalRisk(model, mean, batches, count=rows)


def test_parts_are_compared_where_batches_have_different_shapes():
    """The mean over tokens of sequences of different lengths, some of them padding, counted by sequences."""
    generator = torch.Generator().manual_seed(0)
    batches = [
        (torch.randn(8, length, 4, generator=generator), torch.randint(3, (8, length), generator=generator))
        for length in (3, 5, 9)
    ]
    for _, labels in batches:
        labels[5:, 1:] = -100

    def mean(model, batch):
        return F.cross_entropy(model(batch[0]).transpose(1, 2), batch[1])

    with pytest.raises(InputError, match=TOGETHER):
        ls.EmpiricalRisk.from_closure(nn.Linear(4, 3), mean, batches, count=rows)


def contrastive(model, batch):
    """Each sample against all others of its batch: a mean of no samples."""
    outputs = F.normalize(model(batch[0]), dim=1)
    return F.cross_entropy(outputs @ outputs.T / 0.1, torch.arange(len(outputs)))


@pytest.mark.parametrize("sizes", [(30, 27), (20, 20, 17)])
def test_a_loss_that_compares_samples_keeps_its_batches_and_counts(sizes):
    model, batches = nn.Linear(4, 3), data(57, sizes)
    risk = ls.EmpiricalRisk.from_closure(model, contrastive, batches, count=rows)
    exact = sum(rows(batch) * float(contrastive(model, batch).detach()) for batch in batches) / 57
    assert float(risk(risk.w0)) == pytest.approx(exact, rel=1e-5)


def test_a_criterion_with_one_number_wants_batches_that_can_be_cut():
    """A list of two tensors with two entries is two samples or two fields."""

    def mean(outputs, targets):
        return F.cross_entropy(outputs, targets[0])

    pairs, model = data(7, (2, 2, 3)), nn.Linear(4, 3)
    with pytest.raises(InputError, match=r"can be cut into samples.*pass count=f"):
        ls.EmpiricalRisk(model, mean, [(x, [y, y]) for x, y in pairs[:2]])
    risk = ls.EmpiricalRisk(model, mean, [(x, [y, y]) for x, y in pairs])  # the last one shows what all are
    inputs, labels = (torch.cat(parts) for parts in zip(*pairs, strict=True))
    assert float(risk(risk.w0)) == pytest.approx(float(F.cross_entropy(model(inputs), labels).detach()), rel=1e-5)


def test_a_loss_that_draws_noise_keeps_its_counts():
    """A joined batch draws other numbers, so that its mean says nothing about the weights of the two."""

    def noisy(model, batch):
        return (model(batch[0] + torch.randn_like(batch[0])) - 1).square().mean()

    batches = [(torch.ones(1, 4),), (2 * torch.ones(1, 4),)]
    risk = ls.EmpiricalRisk.from_closure(nn.Linear(4, 1), noisy, batches, count=rows, seed=0)
    assert torch.isfinite(risk(risk.w0))


@pytest.mark.filterwarnings("ignore:landscope evaluates the whole model")
def test_a_count_that_reads_other_batches_than_the_pairs_is_taken_at_its_word():
    class Masked(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(4, 3)

        def forward(self, x, mask):
            return self.linear(x * mask)

    batches = [(torch.randn(n, 4), torch.ones(n, 4), torch.randint(3, (n,))) for n in (5, 8)]
    model, criterion = Masked(), lambda outputs, labels: F.cross_entropy(outputs, labels)
    risk = ls.EmpiricalRisk(model, criterion, batches, count=lambda batch: len(batch[0]))
    losses = [F.cross_entropy(model(x, mask), y) * len(y) for x, mask, y in batches]
    assert float(risk(risk.w0)) == pytest.approx(sum(float(loss.detach()) for loss in losses) / 13, rel=1e-6)
