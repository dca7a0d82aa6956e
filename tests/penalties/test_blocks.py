"""All penalties and their sums against autograd and dense algebra, and their states."""

import pytest
import torch

import landscope as ls
from landscope.penalties.blocks import PartPenalty, PenaltySum
from landscope.penalties.kronecker import KroneckerPenalty
from quadratics import diagonal, form_of, layer_penalty, low_rank

PENALTIES = {
    "one layer": lambda: layer_penalty(),
    "low rank": lambda: low_rank(floor=0.0),
    "low rank, floor": lambda: low_rank(),
    "diagonal": lambda: diagonal(),
    "low ranks": lambda: PenaltySum((low_rank(), low_rank(), low_rank(floor=0.0))),
    "of all kinds": lambda: PenaltySum(
        (
            layer_penalty(),
            low_rank(),
            diagonal(),
        )
    ),
    "merged": lambda: ls.penalties.merged_penalty([low_rank(), low_rank()]),
    "merged to a rank": lambda: ls.penalties.merged_penalty([low_rank(), low_rank()], rank=2),
}


@pytest.mark.parametrize("name", list(PENALTIES))
def test_value_slope_and_implicit_step_agree_with_autograd_and_dense_algebra(name):
    torch.manual_seed(1)
    penalty = PENALTIES[name]()
    w = torch.randn(11).double().requires_grad_()
    (slope,) = torch.autograd.grad(penalty(w), w)
    assert torch.allclose(penalty.gradient(w.detach()), slope, rtol=1e-9, atol=1e-12)
    matrix, at_zero = form_of(penalty)
    for step_size in (1e-3, 0.1, 1e3):
        expected = torch.linalg.solve(torch.eye(11).double() + step_size * matrix, w.detach() - step_size * at_zero)
        found = penalty.proximal_step(w.detach(), step_size)
        assert torch.allclose(found, expected, rtol=0, atol=1e-7 * max(1.0, float(expected.norm()))), step_size


def test_penalties_on_different_weights_need_no_iterations():
    torch.manual_seed(2)
    first, second = layer_penalty(), layer_penalty()
    apart = PenaltySum((first, _elsewhere(second, first.columns)))
    w = torch.randn(11).double()
    expected = apart.parts[1].proximal_step(apart.parts[0].proximal_step(w, 0.3), 0.3)
    assert torch.allclose(apart.proximal_step(w, 0.3), expected, rtol=0, atol=1e-12)


def _elsewhere(penalty, taken):
    free = [place for place in range(11) if place not in taken.tolist()][:4]
    kept = penalty.part
    small = KroneckerPenalty(anchor=kept.anchor[:, :2], inputs=kept.inputs[:2, :2], outputs=kept.outputs)
    return PartPenalty(small, torch.tensor(free), dim=11)


@pytest.mark.parametrize(("dtype", "atol"), [(torch.float32, 1e-4), (torch.bfloat16, 3e-2), (torch.float16, 3e-3)])
def test_implicit_steps_of_sums_hold_in_small_dtypes_and_at_any_strength(dtype, atol):
    torch.manual_seed(7)
    exact = PenaltySum((layer_penalty(strength=1e6), low_rank(strength=1e4), low_rank(strength=1e-2)))
    w = torch.randn(4, 11).to(dtype)
    matrix, at_zero = form_of(exact)
    right = w.double() - 0.1 * at_zero
    expected = torch.linalg.solve(torch.eye(11).double() + 0.1 * matrix, right.T).T
    found = exact.proximal_step(w, 0.1)
    assert found.dtype == dtype
    assert torch.allclose(found.double(), expected, rtol=0, atol=atol * float(expected.abs().max()))


@pytest.mark.parametrize("name", list(PENALTIES))
def test_states_come_back_through_torch_save(tmp_path, name):
    penalty = PENALTIES[name]()
    torch.save(penalty.state_dict(), tmp_path / "state.pt")
    again = ls.penalties.load_penalty(torch.load(tmp_path / "state.pt", weights_only=True))
    w = torch.randn(11).double()
    assert torch.equal(again(w), penalty(w))
    assert torch.equal(again.proximal_step(w, 0.1), penalty.proximal_step(w, 0.1))
    single = penalty.to(dtype=torch.float32)
    assert single(w.float()).dtype == torch.float32
    assert float(single(w.float())) == pytest.approx(float(penalty(w)), rel=1e-4)
