"""The loss of guessing: known for every cross-entropy of the outputs, for no other loss, and never told falsely."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import landscope as ls
from landscope.risk.guessing import guess_above
from landscope.risk.language_model import language_model_losses

WEIGHTS = torch.tensor([0.1, 1.0, 5.0])
N = 40


class Reverse(nn.Module):
    """A model of known logits that are wrong, and at another scale."""

    def __init__(self, sign=-1.0, size=8.0):
        super().__init__()
        self.size = nn.Parameter(torch.tensor(sign * size))

    def forward(self, x):
        return self.size * x


class LogChances(Reverse):
    """The same with the logarithms of chances as outputs."""

    def forward(self, x):
        return super().forward(x).log_softmax(dim=1)


def inputs(*shape):
    return torch.randn(N, *shape, generator=torch.Generator().manual_seed(1))


X = inputs(3)
LABELS = X.argmax(dim=1)
IGNORED = torch.where(torch.arange(N) % 3 == 0, -100, LABELS)
BITS = (X > 0).float()
UNEVEN = LABELS.bincount() / N * WEIGHTS  # the share of each class times its weight


def of_bits(model, batch):
    return F.binary_cross_entropy_with_logits(model(batch[0]), batch[1], reduction="none")


def weighted(model, batch):
    return F.cross_entropy(model(batch[0]), batch[1], WEIGHTS, reduction="none"), WEIGHTS[batch[1]]


def of_labels(**options):
    return lambda model, batch: F.cross_entropy(model(batch[0]), batch[1], **options)


def guessed(criterion, targets, model=None, x=X):
    risk = ls.EmpiricalRisk(model or Reverse(), criterion, (x, targets))
    return guess_above(risk, float(risk(risk.w0)))


def guessed_by(losses, targets, model=None, **options):
    risk = ls.EmpiricalRisk.from_closure(
        model or Reverse(), losses, [(X[:25], targets[:25]), (X[25:], targets[25:])], **options
    )
    return guess_above(risk, float(risk(risk.w0)))


@pytest.mark.parametrize(
    ("criterion", "targets", "loss"),
    [
        (nn.CrossEntropyLoss(), LABELS, math.log(3)),
        (F.cross_entropy, LABELS, math.log(3)),
        (nn.CrossEntropyLoss(WEIGHTS), LABELS, math.log(3)),  # the mean is over the weights
        (nn.CrossEntropyLoss(WEIGHTS, reduction="none"), LABELS, float(UNEVEN.sum()) * math.log(3)),
        (nn.CrossEntropyLoss(WEIGHTS, ignore_index=1), LABELS, math.log(3)),
        (nn.CrossEntropyLoss(), IGNORED, math.log(3)),
        (nn.CrossEntropyLoss(label_smoothing=0.2), LABELS, math.log(3)),
        (nn.CrossEntropyLoss(), (3 * X).softmax(dim=1), math.log(3)),
        (nn.CrossEntropyLoss(), BITS, float(BITS.sum(dim=1).mean()) * math.log(3)),  # several classes at once
        (nn.BCEWithLogitsLoss(), BITS, math.log(2)),
        (nn.BCEWithLogitsLoss(WEIGHTS), BITS, float(WEIGHTS.mean()) * math.log(2)),
        (
            nn.BCEWithLogitsLoss(pos_weight=WEIGHTS), BITS,
            float((BITS * WEIGHTS + 1 - BITS).mean()) * math.log(2),
        ),
    ],
)  # fmt: skip
def test_the_loss_of_guessing_is_that_of_the_criterion(criterion, targets, loss):
    found = guessed(criterion, targets)
    assert found.loss == pytest.approx(loss, rel=1e-5)
    assert found.n_classes == (None if isinstance(criterion, nn.BCEWithLogitsLoss) else 3)
    assert guessed(criterion, targets, Reverse(sign=1.0)) is None


def test_logarithms_of_chances_are_read_as_such_and_raw_outputs_are_not():
    assert guessed(nn.NLLLoss(WEIGHTS), LABELS, LogChances()).loss == pytest.approx(math.log(3))
    assert guessed(nn.NLLLoss(), LABELS) is None


@pytest.mark.parametrize(
    ("losses", "targets", "options"),
    [
        (of_labels(reduction="none"), LABELS, {}),
        (of_labels(reduction="none", label_smoothing=0.1), LABELS, {}),
        (lambda model, batch: (of_labels(reduction="sum")(model, batch), len(batch[1])), LABELS, {}),
        (weighted, LABELS, {}),
        (of_labels(), LABELS, {"count": lambda batch: len(batch[1])}),
        (of_bits, BITS, {}),
    ],
)  # fmt: skip
def test_a_cross_entropy_in_a_function_is_found(losses, targets, options):
    found = guessed_by(losses, targets, **options)
    assert found.loss == pytest.approx(math.log(2 if targets is BITS else 3), rel=1e-5)
    assert guessed_by(losses, targets, Reverse(sign=1.0), **options) is None


def focal(model, batch):
    losses = F.cross_entropy(model(batch[0]), batch[1], reduction="none")
    return (1 - losses.neg().exp()) ** 2 * losses


@pytest.mark.parametrize(
    ("losses", "targets"),
    [
        (lambda model, batch: (model(batch[0]) - batch[1]).square().sum(dim=1), 8 * X),
        (focal, LABELS),
        (lambda model, batch: F.cross_entropy(model(batch[0]) / 2, batch[1], reduction="none"), LABELS),
        (lambda model, batch: F.cross_entropy(model(batch[0])[:, :2], batch[1].clamp(max=1), reduction="none"), LABELS),
        (lambda model, batch: F.multi_margin_loss(model(batch[0]), batch[1], reduction="none"), LABELS),
        (lambda model, batch: F.cross_entropy(model(batch[0]), batch[1], reduction="none") + model.size**2, LABELS),
        (
            lambda model, batch: F.kl_div(model(batch[0]).log_softmax(1), batch[1], reduction="none").sum(1),
            (3 * X).softmax(dim=1),
        ),
    ],
)
def test_another_loss_is_not_taken_for_one(losses, targets):
    assert guessed_by(losses, targets) is None


def test_a_function_that_refuses_other_outputs_is_left_alone():
    def losses(model, batch):
        logits = model(batch[0])
        if float(logits.detach().abs().max()) < 4:
            raise ValueError("these are no logits of mine")
        return F.cross_entropy(logits, batch[1], reduction="none")

    assert guessed_by(losses, LABELS) is None


def test_tokens_and_pixels():
    tokens = torch.randint(5, (N, 4), generator=torch.Generator().manual_seed(0))
    after = F.one_hot(tokens.roll(-1, dims=1), 5).float()  # position i knows token i + 1
    assert guessed(language_model_losses, tokens, x=after).loss == pytest.approx(math.log(5))
    assert guessed(language_model_losses, tokens, Reverse(sign=1.0), x=after) is None
    pixels = after.movedim(-1, 1)
    wrong = guessed(nn.CrossEntropyLoss(), after.argmax(-1), x=pixels)
    assert (wrong.loss, wrong.n_classes) == (pytest.approx(math.log(5)), 5)


@pytest.mark.parametrize("criterion", [nn.CrossEntropyLoss(), nn.CrossEntropyLoss(WEIGHTS, label_smoothing=0.2)])
def test_a_model_that_is_only_too_sure_knows_the_data(criterion):
    """With a third of the labels wrong and logits of a hundred, the loss is thirty times that of guessing."""
    labels = torch.where(torch.arange(N) % 3 == 0, (LABELS + 1) % 3, LABELS)
    sure = Reverse(sign=1.0, size=100.0)
    risk = ls.EmpiricalRisk(sure, criterion, (X, labels))
    assert float(risk(risk.w0)) > 20
    assert guessed(criterion, labels, sure) is None


def test_neither_the_model_nor_the_random_state_changes():
    model = Reverse()
    state = torch.get_rng_state()
    assert guessed_by(of_labels(reduction="none"), LABELS, model) is not None
    assert model.size.item() == -8.0
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training
