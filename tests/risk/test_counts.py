"""Samples are counted right in batches of any structure, and a loss that depends on the cut into blocks is refused."""

import functools

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import landscope as ls
from landscope.errors import InputError
from landscope.risk.data import cut_blocks
from landscope.risk.samples import Counted, count_of, joined, rows_of


def weight_at_zero():
    model = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(model.weight)
    return model


def structured(outputs, targets):
    return (outputs[:, 0] - targets["t"]).square().mean()


UNEVEN = [(torch.ones(2, 1), {"t": torch.zeros(2)}), (torch.ones(1, 1), {"t": torch.tensor([3.0])})]


def test_targets_in_a_mapping_are_counted_by_samples():
    # losses 0, 0 and (0 - 3)^2: the mean is 9/3; the derivative of the last is 2 (0 - 3), a third of it -2
    risk = ls.EmpiricalRisk(weight_at_zero(), structured, UNEVEN)
    assert float(risk(risk.w0)) == pytest.approx(3, rel=1e-6)
    assert risk.gradient(risk.w0).tolist() == pytest.approx([-2], rel=1e-6)
    assert risk.hessian_vector_product(risk.w0, torch.ones(1)).tolist() == pytest.approx([2], rel=1e-6)
    line = ls.loss_profiles(risk, risk.w0, torch.ones(1, 1), torch.tensor([1.0])).loss
    assert float(line) == pytest.approx((1 + 1 + 4) / 3, rel=1e-6)


def test_one_batch_with_targets_in_a_mapping_is_cut_into_blocks():
    inputs, targets = torch.randn(300, 3), torch.randn(300)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
    batch = (inputs, {"t": targets, "more": [torch.zeros(300), torch.zeros(300, 2)]})
    risk = ls.EmpiricalRisk(model, structured, [batch])
    exact = float((model(inputs)[:, 0] - targets).square().mean().detach())
    assert float(risk(risk.w0)) == pytest.approx(exact, rel=1e-5)
    blocks = cut_blocks([(inputs, Counted(batch[1], 300))], 128)
    assert [len(block[0]) for block in blocks] == [block[1].count for block in blocks] == [128, 128, 44]
    assert torch.equal(torch.cat([block[1].targets["t"] for block in blocks]), targets)
    assert torch.equal(blocks[2][1].targets["more"][1], torch.zeros(44, 2))


def distillation(outputs, targets):
    """Labels and the logits of a teacher; the losses of the samples, or their mean."""
    labels, teacher = targets
    soft = F.kl_div(F.log_softmax(outputs, 1), F.softmax(teacher, 1), reduction="none").sum(1)
    return F.cross_entropy(outputs, labels, reduction="none") + soft


@pytest.mark.parametrize("reduced", [True, False])
def test_distillation_with_batches_of_uneven_size_has_the_mean_over_all_samples(reduced):
    model, inputs = nn.Linear(4, 3), torch.randn(13, 4)
    targets = torch.randint(3, (13,)), torch.randn(13, 3)
    batches = [(inputs[rows], [part[rows] for part in targets]) for rows in (slice(0, 8), slice(8, 13))]
    criterion = (lambda o, t: distillation(o, t).mean()) if reduced else distillation
    risk = ls.EmpiricalRisk(model, criterion, batches)
    exact = float(distillation(model(inputs), targets).mean().detach())
    assert float(risk(risk.w0)) == pytest.approx(exact, rel=1e-5)
    if not reduced:
        assert torch.allclose(risk.sample_losses(risk.w0).float(), distillation(model(inputs), targets), rtol=1e-5)


def test_numbers_of_samples_are_inferred_only_without_doubt():
    images = [torch.zeros(3, 8, 9), torch.zeros(3, 4, 4)]
    boxes = [{"boxes": torch.zeros(5, 4)}, {"boxes": torch.zeros(0, 4)}]
    assert count_of(images, boxes) == 2
    assert count_of({"ids": torch.zeros(6, 9), "use_cache": False}, torch.zeros(6)) == 6
    assert count_of(torch.zeros(4, 2), (torch.zeros(4), torch.zeros(4, 7))) == 4
    assert count_of(torch.zeros(4, 2), {"t": torch.zeros(4), "temperature": torch.tensor(2.0), "names": ["a"] * 4}) == 4
    graph = torch.zeros(3, 5), torch.zeros(2, 8, dtype=torch.long), torch.zeros(3, dtype=torch.long)
    assert count_of(graph, torch.zeros(2)) is None  # three parts, of which one has three nodes, are no three graphs
    assert count_of(object(), torch.zeros(2)) is None
    assert count_of({"ids": torch.zeros(6, 9)}, torch.zeros(54)) is None


def test_lists_of_samples_and_lists_of_fields_are_cut_and_joined_as_what_they_are():
    samples = [{"boxes": torch.full((n, 4), float(n))} for n in range(3)]
    assert rows_of(samples, 3, slice(1, 3)) == samples[1:]
    fields = [torch.arange(4), torch.arange(8).view(4, 2)]
    assert [part.tolist() for part in rows_of(fields, 4, slice(1, 2))] == [[1], [[2, 3]]]
    assert [part.shape for part in joined([fields, rows_of(fields, 4, slice(0, 2))], (4, 2))] == [(6,), (6, 2)]
    with pytest.raises(ValueError, match="samples or fields"):
        rows_of([torch.zeros(2, 2), torch.zeros(2, 2)], 2, slice(0, 1))


class GraphMean(nn.Module):
    """The mean of a linear function over the nodes of each graph."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 1)

    def forward(self, nodes, edges, graph):
        sums = torch.zeros(int(graph.max()) + 1).index_add(0, graph, self.layer(nodes)[:, 0])
        return sums / torch.bincount(graph)


GRAPHS = [
    (torch.randn(5, 2), torch.zeros(2, 4, dtype=torch.long), torch.tensor([0, 0, 1, 2, 2]), torch.randn(3)),
    (torch.randn(7, 2), torch.zeros(2, 6, dtype=torch.long), torch.tensor([0, 0, 0, 0, 0, 1, 1]), torch.randn(2)),
]


@pytest.mark.filterwarnings("ignore:landscope evaluates the whole model")
def test_graphs_need_a_count_or_one_loss_for_each():
    model = GraphMean()
    losses = torch.cat([(model(*batch[:3]) - batch[3]).square() for batch in GRAPHS])

    def mean(outputs, targets):
        return (outputs - targets).square().mean()

    with pytest.raises(InputError, match=r"can be counted.*count=f"):
        ls.EmpiricalRisk(model, mean, GRAPHS)
    for risk in (
        ls.EmpiricalRisk(model, mean, GRAPHS, count=lambda batch: len(batch[3])),
        ls.EmpiricalRisk(model, lambda outputs, targets: (outputs - targets).square(), GRAPHS),
        ls.EmpiricalRisk.from_closure(model, lambda m, b: mean(m(*b[:3]), b[3]), GRAPHS, count=lambda b: len(b[3])),
    ):
        assert float(risk(risk.w0)) == pytest.approx(float(losses.mean().detach()), rel=1e-5)
    assert torch.allclose(ls.EmpiricalRisk(model, nn.MSELoss(), GRAPHS).sample_losses(risk.w0).float(), losses)
    single = ls.EmpiricalRisk(model, lambda outputs, targets: (outputs - targets).square(), GRAPHS)
    assert single.minibatches(5).batch_losses(single.w0).tolist() == pytest.approx(
        [float(losses.mean().detach())], rel=1e-5
    )


@pytest.mark.parametrize("count", [0, 1.5, "two", torch.zeros(2)])
def test_a_count_is_a_whole_number(count):
    with pytest.raises(InputError, match=r"a whole number of at least 1.*count=lambda batch"):
        ls.EmpiricalRisk(weight_at_zero(), structured, UNEVEN, count=lambda batch: count)
    with pytest.raises(InputError, match=r"count as a function of a batch.*KeyError"):
        ls.EmpiricalRisk(weight_at_zero(), structured, UNEVEN, count=lambda batch: batch[1]["labels"])


def test_a_count_that_no_loss_uses_is_refused():
    model, data = nn.Linear(4, 3), (torch.randn(12, 4), torch.arange(12) % 3)
    with pytest.raises(InputError, match=r"got a criterion of torch, which counts.* Leave count= out"):
        ls.EmpiricalRisk(model, nn.CrossEntropyLoss(), data, count=lambda batch: 5)

    def each(model, batch):
        return F.cross_entropy(model(batch[0]), batch[1], reduction="none")

    for losses in (each, lambda model, batch: (each(model, batch).sum(), 12)):
        with pytest.raises(InputError, match=r"got the losses of samples, or a sum with its count.*Leave count= out"):
            ls.EmpiricalRisk.from_closure(model, losses, [data], count=lambda batch: 5)


class Dense(nn.Module):
    """Class scores of each pixel, among other outputs."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 3, 1)

    def forward(self, x):
        return {"out": self.conv(x), "name": "dense"}


def ignoring(outputs, targets):
    return F.cross_entropy(outputs["out"], targets, ignore_index=255)


def test_unevenly_ignored_targets_of_any_output_are_refused_in_a_mean_and_right_with_their_weight():
    model, inputs = Dense(), torch.randn(60, 1, 2, 2)
    targets = torch.randint(3, (60, 2, 2))
    even = ls.EmpiricalRisk(model, ignoring, (inputs, targets))
    assert float(even(even.w0)) == pytest.approx(float(ignoring(model(inputs), targets).detach()), rel=1e-5)
    targets[40:, 0] = 255
    with pytest.raises(InputError, match=r"mean over the samples.*weight"):
        ls.EmpiricalRisk(model, ignoring, (inputs, targets))

    def weighted(outputs, targets):
        losses = F.cross_entropy(outputs["out"], targets, ignore_index=255, reduction="none")
        return losses, (targets != 255).sum()

    risk = ls.EmpiricalRisk(model, weighted, (inputs, targets))
    assert float(risk(risk.w0)) == pytest.approx(float(ignoring(model(inputs), targets).detach()), rel=1e-5)


def test_one_number_for_sequences_of_different_lengths_is_refused():
    model = nn.Linear(2, 1)
    batches = [(torch.randn(4, t, 2), torch.randn(4, t)) for t in (3, 5)]
    with pytest.raises(InputError, match="different lengths"):
        ls.EmpiricalRisk(model, lambda o, y: (o.squeeze(2) - y).square().mean(), batches)
    tokens = ls.EmpiricalRisk(
        model, lambda o, y: (o.squeeze(2) - y).square().mean(), batches, count=lambda batch: batch[1].numel()
    )
    exact = torch.cat([(model(x).squeeze(2) - y).square().flatten() for x, y in batches]).mean()
    assert float(tokens(tokens.w0)) == pytest.approx(float(exact.detach()), rel=1e-5)


def in_batch_contrast(outputs, targets):
    return F.cross_entropy(outputs @ outputs.T, torch.arange(len(outputs)), reduction="none")


@pytest.mark.parametrize(
    ("criterion", "hint"),
    [
        (lambda outputs, targets: (outputs - targets).square().mean(), "compares each output with each target"),
        (lambda outputs, targets: (outputs - targets).square(), "compares each output with each target"),
        (lambda outputs, targets: (outputs.squeeze(1) - targets).square().sum(), 'a sum, as of reduction="sum"'),
        (in_batch_contrast, r"compares samples with each other.*losses=f"),
    ],
)
def test_a_criterion_that_depends_on_its_batch_is_refused(criterion, hint):
    with pytest.raises(InputError, match=hint):
        ls.EmpiricalRisk(nn.Linear(2, 1), criterion, (torch.randn(20, 2), torch.randn(20)))


@pytest.mark.parametrize("criterion", [nn.MSELoss(), F.l1_loss, nn.SmoothL1Loss(), functools.partial(F.huber_loss)])
def test_outputs_and_targets_of_different_shapes_are_refused(criterion):
    with pytest.raises(InputError, match=r"the shape of the outputs, \[20, 1\]; got targets of shape \[20\]"):
        ls.EmpiricalRisk(nn.Linear(2, 1), criterion, (torch.randn(20, 2), torch.randn(20)))


@pytest.mark.parametrize("criterion", [nn.MSELoss(reduction="sum"), functools.partial(F.mse_loss, reduction="sum")])
def test_a_sum_is_said_to_become_the_mean(criterion):
    data = (torch.ones(4, 1), torch.zeros(4, 1))
    with pytest.warns(UserWarning, match=r"reduction='sum'.*mean over the samples"):
        risk = ls.EmpiricalRisk(nn.Linear(1, 1, bias=False), criterion, data)
    assert float(risk(torch.tensor([3.0]))) == pytest.approx(9, rel=1e-6)
