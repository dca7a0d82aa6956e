"""A penalty on changed parameters is the old one at the shared weights, with those that are gone at rest."""

import dataclasses

import pytest
import torch

from landscope.errors import InputError
from landscope.parameters import ParameterSpace
from landscope.penalties import (
    KroneckerPenalty,
    LowRankKroneckerPenalty,
    PartPenalty,
    PenaltySum,
    QuadraticPenalty,
    low_rank_penalty,
)
from landscope.penalties.compression.carried import carried_penalty, shared_positions

OLD = ParameterSpace(("word", "head.weight", "head.bias", "gone"), ((3, 2), (2, 3), (2,), (2,)))
GROWN = ParameterSpace(("new", "word", "head.weight", "head.bias"), ((1,), (5, 2), (4, 3), (4,)))
SHRUNK = ParameterSpace(("word", "head.weight", "head.bias"), ((2, 2), (1, 3), (1,)))


def covariance(size, seed):
    rows = torch.randn(size, size, generator=torch.Generator().manual_seed(seed)).double()
    return rows @ rows.T


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).double()


def head(space, transposed=False):
    weight, bias = space.columns(["head.weight"]).view(-1, 3), space.columns(["head.bias"])
    return torch.cat([weight.T if transposed else weight, bias[:, None]], dim=1)


def product():
    penalty = KroneckerPenalty(anchor=randn(2, 4), inputs=covariance(4, 1), outputs=covariance(2, 2), strength=3.0)
    return PartPenalty(penalty, head(OLD).flatten(), dim=OLD.dim, parameters=OLD.names)


def low_rank():
    return dataclasses.replace(product(), part=low_rank_penalty(product().part, 2))


def each():
    penalty = QuadraticPenalty(anchor=randn(8), stiffness=randn(8, seed=3).square(), strength=2.0)
    return PartPenalty(penalty, OLD.columns(["word", "gone"]), dim=OLD.dim, parameters=OLD.names)


def along(floor):
    directions = torch.linalg.qr(randn(OLD.dim, 4, seed=4))[0].T
    return QuadraticPenalty(
        anchor=randn(OLD.dim), directions=directions, stiffness=torch.tensor([5.0, 4.0, 3.0, 2.0]).double(), floor=floor
    )


PENALTIES = {
    "product": product(), "low rank": low_rank(), "each": each(), "along": along(0.0), "with floor": along(0.5),
    "sum": PenaltySum((product(), each(), along(0.5))),
}  # fmt: skip


@pytest.mark.parametrize("space", [GROWN, SHRUNK], ids=["grown", "shrunk"])
@pytest.mark.parametrize("name", list(PENALTIES))
def test_it_is_the_old_penalty_with_the_rest_at_its_anchor(name, space):
    penalty, now = PENALTIES[name], randn(space.dim, seed=7)
    carried = carried_penalty(penalty, OLD, space, now)
    assert carried.dim == space.dim
    positions, points = shared_positions(OLD, space), randn(5, space.dim, seed=8)
    parts = penalty.parts if isinstance(penalty, PenaltySum) else (penalty,)
    expected = 0.0
    for part in parts:  # each has an anchor of its own
        rest = torch.zeros(OLD.dim).double()
        columns = part.columns if isinstance(part, PartPenalty) else torch.arange(OLD.dim)
        rest[columns] = (part.part if isinstance(part, PartPenalty) else part).anchor.flatten()
        old = rest.expand(5, -1).clone()
        old[:, positions >= 0] = points[:, positions[positions >= 0]]
        expected = expected + part(old)
    assert torch.allclose(carried(points), expected, rtol=1e-9)


def test_a_layer_that_grew_keeps_its_columns_so_that_further_tasks_add_to_it():
    carried = carried_penalty(product(), OLD, GROWN, randn(GROWN.dim))
    assert isinstance(carried.part, KroneckerPenalty)
    assert torch.equal(carried.columns, head(GROWN).flatten())
    diagonal = carried_penalty(each(), OLD, GROWN, randn(GROWN.dim))
    assert torch.equal(diagonal.columns, GROWN.columns(["word"]))
    assert int((diagonal.part.stiffness > 0).sum()) == 6


@pytest.mark.parametrize(("inputs", "stays"), [(3, True), (2, False), (5, False)])
def test_a_product_of_low_rank_stays_one_where_its_inputs_do(inputs, stays):
    """With other inputs the factor is dense: the floor of a low rank would hold the new columns."""
    old, new = ParameterSpace(("w",), ((2, 3),)), ParameterSpace(("w",), ((4, inputs),))
    full = KroneckerPenalty(anchor=randn(2, 3), inputs=covariance(3, 1), outputs=covariance(2, 2), strength=2.0)
    part = low_rank_penalty(full, 1)
    carried = carried_penalty(PartPenalty(part, torch.arange(6), dim=6), old, new, randn(new.dim))
    assert isinstance(carried.part, LowRankKroneckerPenalty) is stays
    shared = min(3, inputs)
    assert torch.allclose(carried.part.inputs[:shared, :shared], part.inputs[:shared, :shared])
    assert not carried.part.inputs[shared:].any()
    assert torch.equal(carried.part.outputs[:2, :2], part.outputs)
    assert not carried.part.outputs[2:].any()


def test_a_layer_without_its_bias_is_held_weight_by_weight():
    """The product of two factors holds weight and bias together; without the bias its diagonal stays."""
    carried = carried_penalty(product(), OLD, GROWN, randn(GROWN.dim), ["head.bias"])
    assert isinstance(carried.part, QuadraticPenalty)
    factors = product().part
    expected = torch.outer(factors.outputs.diagonal(), factors.inputs.diagonal())[:, :3]
    assert torch.equal(carried.part.stiffness[carried.part.stiffness > 0], expected.flatten())


def test_layers_of_the_other_orientation_and_convolutions():
    """Of a Conv1D the weight is transposed; of a convolution with other channels only the diagonal can be carried."""
    old, new = (ParameterSpace(("a.weight",), ((3, outputs),)) for outputs in (2, 4))
    columns = old.columns(["a.weight"]).view(3, 2).T
    factors = KroneckerPenalty(anchor=randn(2, 3), inputs=covariance(3, 1), outputs=covariance(2, 2))
    carried = carried_penalty(PartPenalty(factors, columns.flatten(), dim=6), old, new, randn(12))
    assert torch.equal(carried.columns.view(4, 3), new.columns(["a.weight"]).view(3, 4).T)
    assert torch.equal(carried.part.outputs[:2, :2], factors.outputs)
    old, new = (ParameterSpace(("a.weight",), ((2, channels, 2),)) for channels in (1, 2))
    factors = KroneckerPenalty(anchor=randn(2, 2), inputs=covariance(2, 1), outputs=covariance(2, 2))
    carried = carried_penalty(PartPenalty(factors, torch.arange(4), dim=4), old, new, randn(8))
    stiffness = carried.stiffness.view(2, 2, 2)
    assert torch.equal(stiffness[:, 0], torch.outer(factors.outputs.diagonal(), factors.inputs.diagonal()))
    assert int((stiffness > 0).sum()) == 4


def test_nothing_is_left_or_the_penalty_is_another():
    stranger = ParameterSpace(("other",), ((2,),))
    assert carried_penalty(PENALTIES["sum"], OLD, stranger, torch.zeros(2).double()) is None
    with pytest.raises(InputError, match="a penalty on the 16 old weights"):
        carried_penalty(PENALTIES["each"].part, OLD, GROWN, randn(GROWN.dim))
