"""Loaders that leave samples out by chance, or draw them: all samples are taken, or it is said what was taken."""

import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import (
    DataLoader,
    RandomSampler,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)

import landscope as ls
from landscope.errors import LandscopeWarning

M, B = 22, 4
X = torch.randn(M, 3, generator=torch.Generator().manual_seed(0))
Y = torch.arange(M) % 2
DATA = TensorDataset(X, Y)
SOME = list(range(0, M, 2))  # 11 samples


def model():
    torch.manual_seed(0)
    return nn.Linear(3, 2)


def risk_of(loader):
    return ls.EmpiricalRisk(model(), nn.CrossEntropyLoss(), loader)


def losses(model, batch):
    return F.cross_entropy(model(batch[0]), batch[1], reduction="none")


def mean_over(rows):
    with torch.no_grad():
        return F.cross_entropy(model()(X[rows]), Y[rows]).double()


@pytest.mark.parametrize(
    ("options", "rows"),
    [
        ({"shuffle": True, "drop_last": True}, range(M)),
        ({"shuffle": True}, range(M)),
        ({"sampler": SubsetRandomSampler(SOME), "drop_last": True}, SOME),
        ({"sampler": SubsetRandomSampler(SOME)}, SOME),
        ({"drop_last": True}, range(M - M % B)),  # the training never sees the others
        ({}, range(M)),
    ],
)
def test_samples_that_a_training_sees_are_taken_without_a_word(options, rows):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        risk = risk_of(DataLoader(DATA, B, **options))
    assert len(risk.sample_losses(risk.w0)) == len(rows)
    torch.testing.assert_close(risk(risk.w0), mean_over(list(rows)), rtol=1e-6, atol=0)


WEIGHTS = torch.linspace(0.1, 1, M)


@pytest.mark.parametrize(
    ("sampler", "said"),
    [
        (WeightedRandomSampler(WEIGHTS, 10), r"by weights.*10 among 22 samples.*\(v \* losses, v\)"),
        (RandomSampler(DATA, replacement=True), r"one draw of 22 among 22 samples.*loader.dataset"),
        (RandomSampler(DATA, num_samples=9), r"one draw of 9 among 22 samples"),
    ],
)
def test_a_sampler_that_draws_is_named_with_its_counts(sampler, said):
    for make in (risk_of, lambda loader: ls.EmpiricalRisk.from_closure(model(), losses, loader)):
        with pytest.warns(LandscopeWarning, match=said):
            make(DataLoader(DATA, B, sampler=sampler))


def test_batches_of_a_function_stay_as_they_are_and_dropped_ones_are_counted():
    with pytest.warns(LandscopeWarning, match=r"leaves out 2 of 22 samples.*the 20 samples.*drop_last=False"):
        risk = ls.EmpiricalRisk.from_closure(model(), losses, DataLoader(DATA, B, shuffle=True, drop_last=True))
    assert len(risk.sample_losses(risk.w0)) == 20


def test_the_way_on_of_a_weighted_sampler_gives_its_mean_loss():
    """Drawing sample i with probability p_i, the loss of a training is sum_i p_i d_i in the mean."""

    def weighted(outputs, y):
        own = y["weights"]
        return own * F.cross_entropy(outputs, y["labels"], reduction="none"), own

    risk = ls.EmpiricalRisk(model(), weighted, [(X, {"labels": Y, "weights": WEIGHTS})])
    with torch.no_grad():
        single = F.cross_entropy(model()(X), Y, reduction="none").double()
    expected = (WEIGHTS.double() / WEIGHTS.double().sum() * single).sum()
    torch.testing.assert_close(risk(risk.w0), expected, rtol=1e-6, atol=0)


def test_a_study_says_it_before_the_training_and_takes_dropped_samples(tmp_path):
    own = model()
    optimizer = torch.optim.SGD(own.parameters(), lr=0.1)
    drawn = DataLoader(DATA, B, sampler=WeightedRandomSampler(WEIGHTS, 10))
    with pytest.warns(LandscopeWarning, match="by weights"):
        ls.Study(tmp_path / "drawn", own, nn.CrossEntropyLoss(), drawn).record(optimizer)
    shuffled = DataLoader(DATA, B, shuffle=True, drop_last=True)
    ls.Study(tmp_path / "shuffled", own, nn.CrossEntropyLoss(), shuffled).record(optimizer)
