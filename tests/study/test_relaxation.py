"""The curvature that a study relaxes in: the Gauss-Newton matrix of any loss that has one."""

import torch
from torch import nn

import landscope as ls
from landscope.study.curvature_matrix import curvature_matrix


def _risk(criterion, model=None):
    torch.manual_seed(0)
    x, y = torch.randn(20, 3).double(), torch.randn(20, 1).double()
    return ls.EmpiricalRisk((model or nn.Linear(3, 1)).double(), criterion, (x, y)), x


def test_the_squared_error_of_a_linear_model_has_twice_the_mean_of_x_x():
    risk, x = _risk(nn.MSELoss())
    name, product = curvature_matrix(risk)
    inputs = torch.cat([torch.ones(20, 1).double(), x] if risk.space.names[0] == "bias" else [x, torch.ones(20, 1)], 1)
    expected = 2 * inputs.T @ inputs / 20
    found = torch.stack([product(row) for row in torch.eye(4).double()])
    assert name == "Gauss-Newton"
    assert torch.allclose(found, expected, rtol=1e-9)
    directions = ls.directions.gauss_newton(risk, risk.w0, 2)
    values = torch.linalg.eigvalsh(expected).flip(0)
    assert torch.allclose(directions.values.double(), values[:2], rtol=1e-4)


def test_a_loss_of_straight_pieces_leaves_the_hessian():
    risk, _ = _risk(nn.L1Loss(), nn.Sequential(nn.Linear(3, 2), nn.Tanh(), nn.Linear(2, 1)))
    name, product = curvature_matrix(risk)
    vector = torch.randn(risk.space.dim).double()
    assert name == "Hessian"
    assert torch.allclose(product(vector), risk.hessian_vector_product(risk.w0, vector))


def test_a_function_of_a_batch_has_the_matrix_of_its_loss():
    known, x = _risk(nn.MSELoss())
    batches = list(zip(x.split(8), known._blocks.blocks[0][1].split(8), strict=True))
    model = nn.Linear(3, 1).double()
    model.load_state_dict(dict(known.space.unflatten(known.w0)))
    risk = ls.EmpiricalRisk.from_closure(model, lambda m, b: (m(b[0]) - b[1]).square()[:, 0], batches)
    name, product = curvature_matrix(risk)
    vector = torch.randn(4).double()
    assert name == "Gauss-Newton"
    assert torch.allclose(product(vector), known.gauss_newton_product(known.w0, vector))
