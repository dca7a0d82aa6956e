"""Methods that only the comparisons use: each against what it should hold, and their keys."""

import pytest
import torch

import landscope as ls
from blobs import CRITERION, learn, network, sgd, task
from landscope.errors import InputError
from landscope.memory import LDC, Basin
from landscope.memory.methods.accumulate import layerwise_penalty, task_penalty
from landscope.memory.methods.snapshot import TaskSnapshot
from landscope.penalties import flatness_from_variance, landscape_dependent_constraint
from landscope.penalties.compression.moved import moved_penalty
from landscope.reproduction.sequential.ablations import BasinAblation, FreshVarianceLDC, LowFloorLDC
from landscope.reproduction.sequential.methods import COMPARED, PSI_METHODS, MethodSettings, method_label


@pytest.fixture(scope="module")
def snapshot():
    model = network()
    optimizer = sgd(model)
    learn(model, optimizer, task(0), 400, torch.Generator())
    with ls.TrajectoryRecorder(model, optimizer) as recorder:
        learn(model, optimizer, task(0), 60, torch.Generator())
    return TaskSnapshot(ls.EmpiricalRisk(model, CRITERION, task(0)), recorder.trajectory())


def test_labels_are_unique_and_keys_find_their_method():
    assert len({row.label for row in COMPARED.values()}) == len(COMPARED) == 34
    assert len({row.method for row in COMPARED.values()}) == 29  # of two some are tuned or follow the outputs
    assert COMPARED[PSI_METHODS[4]].method == LDC("variance", floor=False)
    assert COMPARED["ldc-variance-psi3-no-floor"].label == "LDC, no floor, F from psi = 3"
    assert method_label("joint") == "all tasks so far at once"
    with pytest.raises(InputError, match="method to be one of"):
        MethodSettings("ldc")  # with or without a floor must be stated


@pytest.mark.parametrize("key", list(COMPARED))
def test_every_method_makes_a_penalty_that_is_zero_at_the_end_of_the_task(snapshot, key):
    w = snapshot.w1 + 0.1 * torch.randn(len(snapshot.w1))
    penalty = task_penalty(snapshot, COMPARED[key].method, 2.0, 6)
    assert float(penalty(snapshot.w1)) == pytest.approx(0.0, abs=1e-9)
    assert float(penalty(w)) > 0
    if COMPARED[key].counts == "modes" and "factored" not in key:
        assert 5 <= len(penalty.directions) <= 6  # a mode without a flatness is left to the floor
    assert float(penalty.with_strength(6.0)(w)) == pytest.approx(3 * float(penalty(w)), rel=1e-5)


def test_the_lower_floor_is_that_of_the_flattest_of_twice_as_many_modes(snapshot):
    widths = snapshot.widths(8)
    penalty = LowFloorLDC().penalty(snapshot, 4)
    held = widths[:4][~widths[:4].isnan()]
    assert penalty.floor == pytest.approx(float(widths[~widths.isnan()].max()) ** -2)
    assert torch.allclose(penalty.stiffness.double(), held**-2)


def test_fresh_variance_comes_from_the_half_that_did_not_choose_the_modes(snapshot):
    steps, half = snapshot.trajectory.steps, len(snapshot.trajectory) // 2
    first = snapshot.trajectory.window(stop=int(steps[half]))
    second = snapshot.trajectory.window(start=int(steps[half]))
    assert len(first) + len(second) == len(snapshot.trajectory)
    modes = ls.principal_modes(first, 6)
    measured = snapshot.widths_along(modes.directions[[1, 4]])
    rows = second.weights.double()
    variance = ((rows - rows.mean(dim=0)) @ modes.directions.T).square().mean(dim=0)
    widths = flatness_from_variance(variance, 4.0, measured, [2, 5])
    expected = landscape_dependent_constraint(snapshot.w1, modes, widths, strength=1.0)
    found = FreshVarianceLDC().penalty(snapshot, 6)
    w = snapshot.w1 + torch.randn(3, len(snapshot.w1))
    assert torch.allclose(found(w), expected(w))


def test_the_curvature_of_the_loss_is_that_of_ln_l_times_the_mean_loss_of_the_basin(snapshot):
    w = snapshot.w1 + 0.1 * torch.randn(len(snapshot.w1))
    whole, of_loss = (BasinAblation(of_loss=of_loss).penalty(snapshot, 0) for of_loss in (False, True))
    mean_loss = whole.parts[0].part.provenance["settings"]["mean_loss"]
    assert float(of_loss(w)) == pytest.approx(mean_loss * float(whole(w)), rel=1e-5)
    assert float(whole(w)) == pytest.approx(float(Basin().penalty(snapshot, 0)(w)), rel=1e-6)


def test_tasks_keep_products_and_anchors_of_their_own_where_they_are_told_to(snapshot):
    first, w1 = Basin().penalty(snapshot, 0), snapshot.w1 + 0.3
    w = w1 + 0.1 * torch.randn(len(w1))
    second = moved_penalty(Basin(seed=1).penalty(snapshot, 0), w1)
    anchored = BasinAblation(is_merged=False, is_moved=False).added(first, second, None, w1)
    assert float(anchored(w)) == pytest.approx(float(first(w) + second(w)), rel=1e-5)
    products = BasinAblation(is_merged=False).added(first, second, None, w1)
    assert float(products(w)) == pytest.approx(float(moved_penalty(first, w1)(w) + second(w)), rel=1e-5)
    assert products.n_stored == 2 * Basin().added(first, second, None, w1).n_stored


def test_fresh_variance_serves_layer_by_layer(snapshot):
    penalty = layerwise_penalty(snapshot, FreshVarianceLDC(), 4.0, 4)
    assert [len(part.part.stiffness) for part in penalty.parts] == [4, 4, 4]
    assert float(penalty(snapshot.w1)) == pytest.approx(0.0, abs=1e-9)
