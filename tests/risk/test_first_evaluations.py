"""A risk evaluates its first batch as few times as its checks allow, and finds the same faults."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import landscope as ls

MADE = torch.Generator().manual_seed(3)
X, Y = torch.randn(30, 4, generator=MADE), torch.randint(3, (30,), generator=MADE)
BATCHES = list(zip(X.split(10), Y.split(10), strict=True))


def samples(outputs, labels):
    return F.cross_entropy(outputs, labels, reduction="none")


def total(outputs, labels):
    return F.cross_entropy(outputs, labels, reduction="sum"), len(labels)


@pytest.mark.parametrize(
    ("losses", "options", "times"),
    [
        # With weights whose reading is followed, with a graph, without one, and away from the weights of the model.
        (samples, {}, 4),
        (total, {}, 4),
        # Away from them it is evaluated with and without a record of its layers.
        (F.cross_entropy, {"count": lambda batch: len(batch[1])}, 5),
        (samples, {"seed": 0}, 3),
        (F.cross_entropy, {"count": lambda batch: len(batch[1]), "seed": 0}, 4),  # and with another seed
    ],
    ids=["samples", "sums", "means", "samples with a seed", "means with a seed"],
)
def test_the_first_batch_is_evaluated_few_times(losses, options, times):
    seen = []

    def counted(model, batch):
        seen.append(torch.equal(batch[1], Y[:10]) and torch.equal(batch[0], X[:10]))
        return losses(model(batch[0]), batch[1])

    torch.manual_seed(0)
    model = nn.Linear(4, 3)
    risk = ls.EmpiricalRisk.from_closure(model, counted, BATCHES, **options)
    assert sum(seen) == times
    expected = float(F.cross_entropy(model(X), Y).detach())
    assert float(risk(risk.w0)) == pytest.approx(expected, rel=1e-5)
