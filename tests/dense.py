"""Symmetric matrices as landscapes, and the Hessian of a small network as a matrix."""

import functools

import torch

import landscope as ls


class Quadratic:
    """The landscape w'Aw/2, which counts its products."""

    def __init__(self, matrix):
        self.matrix, self.n_products = matrix, 0

    def __call__(self, w):
        return ((w @ self.matrix) * w).sum(dim=-1) / 2

    def hessian_vector_product(self, w, vector):
        self.n_products += 1
        return self.matrix @ vector

    @property
    def origin(self):
        return self.matrix.new_zeros(len(self.matrix))


def with_spectrum(values, seed=0):
    """A landscape with given curvatures along random axes."""
    normal = torch.randn(len(values), len(values), generator=torch.Generator().manual_seed(seed)).double()
    axes = torch.linalg.qr(normal).Q
    matrix = (axes * values.double()) @ axes.T
    return Quadratic((matrix + matrix.T) / 2)


@functools.cache
def network():
    """The risk of 67 weights after some training, its dense Hessian and its dense Gauss-Newton matrix."""
    generator = torch.Generator().manual_seed(0)
    inputs, labels = torch.randn(60, 5, generator=generator).double(), torch.arange(60) % 3
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(5, 7), torch.nn.Tanh(), torch.nn.Linear(7, 3)).double()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3)
    for _ in range(40):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(inputs), labels).backward()
        optimizer.step()
    risk = ls.EmpiricalRisk(model, torch.nn.functional.cross_entropy, (inputs, labels))

    def logits(w):
        return torch.func.functional_call(model, risk.space.unflatten(w), inputs)

    hessian = torch.func.hessian(lambda w: torch.nn.functional.cross_entropy(logits(w), labels))(risk.w0)
    jacobian, chances = torch.func.jacrev(logits)(risk.w0), logits(risk.w0).softmax(dim=1)
    middle = torch.diag_embed(chances) - chances[:, :, None] * chances[:, None, :]
    gauss_newton = torch.einsum("kcn,kcd,kdm->nm", jacobian, middle, jacobian) / len(inputs)
    return risk, {"hessian": hessian.detach(), "gauss-newton": gauss_newton.detach()}
