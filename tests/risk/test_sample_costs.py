"""Sums over single-sample gradients go by layers or sample by sample, whichever needs fewer multiplications."""

import dataclasses

import pytest
import torch
from torch import nn

import landscope as ls
from landscope.risk.layer_calls import outputs_with_calls
from landscope.risk.layer_groups import layer_groups
from landscope.risk.sample_costs import _DOUBLE as DOUBLE
from landscope.risk.sample_costs import _KEPT_NUMBER as KEPT
from landscope.risk.sample_costs import _NUMBER as NUMBER
from landscope.risk.sample_costs import SampleCosts

SAMPLES, WORDS, LENGTH, WIDTH, CLASSES = 6, 7, 5, 4, 3


class Tokens(nn.Module):
    """A table, two layers of positions, and a head with one position."""

    def __init__(self):
        super().__init__()
        self.table, self.norm = nn.Embedding(WORDS, WIDTH), nn.LayerNorm(WIDTH)
        self.inner, self.head = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, CLASSES)

    def forward(self, x):
        return self.head(torch.tanh(self.inner(self.norm(self.table(x)))).mean(dim=1))


def risk_of(model, n=SAMPLES, classes=CLASSES):
    torch.manual_seed(0)
    data = torch.randint(WORDS, (n, LENGTH)), torch.randint(classes, (n,))
    return ls.EmpiricalRisk(model, nn.CrossEntropyLoss(), data)


def costs_of(risk, without=()):
    model, source = risk._model, risk.fisher_information()._source()
    layers = {name: part for name, part in model.named_modules() if part._parameters}
    _, calls = outputs_with_calls(source, risk.space, risk.w0, 0, layers)
    groups = {name: group for name, group in layer_groups(model, risk.space.names).items() if name not in without}
    sizes = {
        name: shape.numel() for name, shape in zip(risk.space.names, map(torch.Size, risk.space.shapes), strict=True)
    }
    return SampleCosts.of(groups, layers, calls, sizes, SAMPLES)


def test_multiplications_are_those_counted_by_hand():
    costs = costs_of(risk_of(Tokens()))
    inner, head = LENGTH * WIDTH**2, WIDTH * CLASSES  # for each sample
    forward = SAMPLES * (inner + head)
    assert costs.forward == forward
    assert costs.once == SAMPLES * DOUBLE * head  # one position: one product of matrices for all slopes
    biases_and_norm = CLASSES + WIDTH + 2 * WIDTH
    rows_read = LENGTH * WIDTH
    assert costs.each == SAMPLES * (inner + NUMBER * (WIDTH**2 + biases_and_norm + rows_read))
    every = SAMPLES * (inner + head + KEPT * (WORDS * WIDTH + WIDTH**2 + head + biases_and_norm))
    assert costs.every == every
    assert costs.others is None
    assert costs.by_layers(3) == forward + costs.once + 3 * (forward + costs.each)
    assert costs.by_samples(3) == forward + 3 * (2 * forward + every)


def test_a_weight_without_its_layer_needs_the_passes_of_single_samples_too():
    costs = costs_of(risk_of(Tokens()), without=("inner",))
    others = SAMPLES * KEPT * (WIDTH**2 + WIDTH)
    assert costs.others == others
    whole = costs.forward + costs.once + 2 * (costs.forward + costs.each)
    assert costs.by_layers(2) == whole + costs.forward + 2 * (2 * costs.forward + others)


def test_a_shared_weight_multiplies_at_every_use():
    model = Tokens()
    model.head = nn.Linear(WIDTH, WORDS, bias=False)
    model.head.weight = model.table.weight
    costs = costs_of(risk_of(model, classes=WORDS))
    shared = WIDTH * WORDS  # the head multiplies, the table is read
    inner, small = LENGTH * WIDTH**2, WIDTH + 2 * WIDTH
    assert costs.once == 0
    assert costs.each == SAMPLES * (inner + shared + NUMBER * (shared + WIDTH**2 + small))


def test_convolutions_multiply_at_every_place():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 4, 3, groups=2), nn.Flatten(), nn.Linear(16, CLASSES))
    data = torch.randn(SAMPLES, 2, 4, 4), torch.arange(SAMPLES) % CLASSES
    costs = costs_of(ls.EmpiricalRisk(model, nn.CrossEntropyLoss(), data))
    assert costs.forward == SAMPLES * (4 * 36 + 16 * CLASSES)  # 2 x 2 places, 4 channels of 9 weights each


def ways_of(risk, kind):
    fisher = risk.fisher_information()
    source = fisher._source()
    gradients, slopes = fisher.sample_gradients(source), fisher.slopes(source, risk.w0, kind)
    return gradients.tested(risk.w0, source.largest_block, slopes, 2, gradients._share)


def vectors():
    model = nn.Sequential(nn.Linear(LENGTH, 64), nn.Tanh(), nn.Linear(64, CLASSES)).double()
    data = torch.randn(40, LENGTH).double(), torch.arange(40) % CLASSES
    return ls.EmpiricalRisk(model, nn.CrossEntropyLoss(), data)


def tokens():
    return risk_of(Tokens().double())


def of_closure():
    def losses(model, batch):
        return nn.functional.cross_entropy(model(batch[0]), batch[1], reduction="none")

    batch = torch.randint(WORDS, (SAMPLES, LENGTH)), torch.arange(SAMPLES) % CLASSES
    return ls.EmpiricalRisk.from_closure(Tokens().double(), losses, [batch])


@pytest.mark.parametrize(
    ("make", "kind", "by_layers"),
    [
        (vectors, "empirical", True),
        (vectors, "exact", True),
        (tokens, "empirical", False),  # to test the layers would cost more than the sums
        (tokens, "exact", True),  # three slopes
        (of_closure, "empirical", True),  # its samples are evaluated one after another
    ],
)
def test_the_cheaper_way_is_taken_and_both_agree(make, kind, by_layers):
    torch.manual_seed(0)
    risk = make()
    assert bool(ways_of(risk, kind).groups) == by_layers
    found, layers, single = (
        dataclasses.replace(risk.fisher_information(), by_layers=chosen).diagonal(risk.w0, kind)
        for chosen in (None, True, False)
    )
    assert torch.equal(found, layers if by_layers else single)
    torch.testing.assert_close(layers, single, rtol=1e-10, atol=1e-16)
