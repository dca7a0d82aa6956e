"""Models whose code defines its own gradient: every derivative is that of torch on the model of the user."""

import warnings

import pytest
import torch
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

import landscope as ls
from landscope.errors import InputError, LandscopeWarning

GENERATOR = torch.Generator().manual_seed(0)
X, Y = torch.randn(12, 4, generator=GENERATOR, dtype=torch.float64), torch.arange(12) % 3
pytestmark = pytest.mark.filterwarnings("ignore:landscope evaluates the whole model")


class StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(_, x):
        return (2 * x).round() / 2

    @staticmethod
    def backward(_, slope):
        return slope


class Reversed(torch.autograd.Function):
    @staticmethod
    def forward(_, x):
        return x.view_as(x)

    @staticmethod
    def backward(_, slope):
        return -slope


class Square(torch.autograd.Function):
    """A backward pass that is right, and has a derivative."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx, slope):
        return 2 * ctx.saved_tensors[0] * slope


class SquareOnce(Square):
    @staticmethod
    @once_differentiable
    def backward(ctx, slope):
        return 3 * ctx.saved_tensors[0] * slope


class Model(nn.Module):
    def __init__(self, between=torch.tanh):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last, self.between = nn.Linear(4, 3), nn.Linear(3, 3), between
        self.double()

    def forward(self, x):
        return self.last(torch.tanh(self.between(self.first(x))))


class WithinNoGrad(Model):
    def forward(self, x):
        with torch.no_grad():
            values = self.first(x)
        return self.last(torch.tanh(values)) + 0.1 * self.first(x)


class Decorated(Model):
    @torch.no_grad()
    def gate(self, x):
        return self.first(x).sigmoid()

    def forward(self, x):
        return self.last(self.gate(x) * self.first(x))


class Hooked(Model):
    def forward(self, x):
        values = self.first(x)
        if values.requires_grad:
            values.register_hook(lambda slope: 3 * slope)
        return self.last(torch.tanh(values))


def with_module_hook():
    model = Model(nn.Tanh())
    model.between.register_full_backward_hook(lambda _module, slopes, _outputs: (-2 * slopes[0],))
    return model


MODELS = {
    "straight-through": lambda: Model(StraightThrough.apply),
    "reversal": lambda: Model(Reversed.apply),
    "no_grad": WithinNoGrad,
    "decorated": Decorated,
    "hook of a tensor": Hooked,
    "hook of a module": with_module_hook,
    "detach": lambda: Model(lambda values: values.detach() * values),
}


def losses(model, batch):
    return F.cross_entropy(model(batch[0]), batch[1], reduction="none")


MAKERS = (
    lambda model: ls.EmpiricalRisk(model, nn.CrossEntropyLoss(), (X, Y)),
    lambda model: ls.EmpiricalRisk.from_closure(model, losses, [(X, Y)]),
)


def risks(model):
    return (make(model) for make in MAKERS)


def away(model, risk):
    """Other weights, also in the model of the user."""
    w = risk.w0 + 0.3 * torch.randn(risk.space.dim, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    nn.utils.vector_to_parameters(w, model.parameters())
    return w


def flat(gradients, model):
    pairs = zip(gradients, model.parameters(), strict=True)
    return torch.cat([(torch.zeros_like(p) if g is None else g).flatten() for g, p in pairs])


def gradient(value, model, **options):
    return flat(torch.autograd.grad(value, list(model.parameters()), allow_unused=True, **options), model)


def close(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("name", MODELS)
def test_derivatives_are_those_of_the_backward_pass(name):
    model = MODELS[name]()
    for risk in risks(model):
        w = away(model, risk)
        close(risk.gradient(w), gradient(losses(model, (X, Y)).mean(), model))
        v = torch.randn(risk.space.dim, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
        slope = gradient(losses(model, (X, Y)).mean(), model, create_graph=True)
        close(risk.hessian_vector_product(w, v), gradient(slope @ v, model))
        single = torch.stack([gradient(loss, model, retain_graph=True) for loss in losses(model, (X, Y))])
        close(risk.fisher_information().diagonal(w, "empirical"), single.square().mean(0))
        lines = risk.sample_lines(w, v[None])
        close(lines.slopes(torch.tensor([0]), torch.zeros(1, dtype=torch.float64))[1][0], single @ v)


@pytest.mark.parametrize("name", MODELS)
def test_fisher_information_and_gauss_newton_go_through_the_backward_pass(name):
    model = MODELS[name]()
    for number, risk in enumerate(risks(model)):
        w = away(model, risk)
        logits = model(X)
        jacobian = torch.stack([
            torch.stack([gradient(logit, model, retain_graph=True) for logit in row]) for row in logits
        ])  # fmt: skip
        p = logits.softmax(1).detach()
        curved = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
        matrix = torch.einsum("kaj,kab,kbi->ji", jacobian, curved, jacobian) / len(X)
        v = torch.randn(len(w), generator=torch.Generator().manual_seed(2), dtype=torch.float64)
        close(risk.gauss_newton_product(w, v), matrix @ v)
        if number == 0:
            close(risk.fisher_information().diagonal(w, "exact"), matrix.diag())
            close(risk.fisher_information().product(w, v), matrix @ v)


class Clipped(Model):
    def forward(self, x):
        values = self.first(x)
        if values.requires_grad:
            values.register_hook(lambda slope: slope.clamp(-1.0, 1.0))
        return self.last(torch.tanh(values))


class Auxiliary(torch.autograd.Function):
    """A loss that is in the gradient alone."""

    @staticmethod
    def forward(ctx, x, loss):
        ctx.loss = loss.detach()
        return x.view_as(x)

    @staticmethod
    def backward(ctx, slope):
        return slope, torch.ones_like(ctx.loss)


class Balanced(Model):
    def forward(self, x):
        return self.last(torch.tanh(Auxiliary.apply(self.first(x), self.first.weight.square().sum())))


@pytest.mark.parametrize("kind", [Clipped, Balanced])
def test_a_backward_pass_that_is_not_linear_is_marked(kind):
    """Its gradient depends on the samples in a batch, even where the gradients of the probe are too small to clip."""
    for make in MAKERS:
        with pytest.warns(LandscopeWarning, match=rf"The backward pass of {kind.__name__} clips gradients or adds"):
            risk = make(kind())
        assert not risk.is_traced


def test_a_right_backward_pass_leaves_the_model_traced():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert ls.EmpiricalRisk(Model(Square.apply), nn.CrossEntropyLoss(), (X, Y)).is_traced


def test_a_function_with_one_derivative_has_no_hessian():
    for risk in risks(Model(SquareOnce.apply)):
        with pytest.raises(InputError, match=r"second derivatives.*without once_differentiable"):
            risk.hessian_vector_product(risk.w0, torch.ones_like(risk.w0))
        with pytest.raises(InputError, match=r"second derivatives.*without once_differentiable"):
            risk.gauss_newton_product(risk.w0, torch.ones_like(risk.w0))


class Through(torch.autograd.Function):
    """Its value does not depend on the second argument, but its gradient does."""

    @staticmethod
    def forward(_, x, other):
        return x * 1.0

    @staticmethod
    def backward(_, slope):
        return slope, slope


class Adds(nn.Module):
    def forward(self, x, other):
        return Through.apply(x, other)


def test_a_layer_is_not_skipped_where_the_gradient_alone_passes_through_it():
    class Passing(Model):
        def forward(self, x):
            return self.last(torch.tanh(self.between(x[:, :3], self.first(x)))) + self.first(x)

    model = Passing(Adds())
    for risk in risks(model):
        w = away(model, risk)
        close(risk.gradient(w), gradient(losses(model, (X, Y)).mean(), model))


def test_forward_hooks_run_at_every_evaluation():
    model, seen = Model(), []
    model.first.register_forward_hook(lambda _module, _inputs, outputs: seen.append(1) or 2 * outputs)
    for risk in risks(model):
        w, before = away(model, risk), len(seen)
        expected = losses(model, (X, Y)).mean()
        assert float(risk(w)) == pytest.approx(float(expected.detach()), rel=1e-12)
        assert len(seen) == before + 2  # the hook of the user, in the model and in its copy
        close(risk.gradient(w), gradient(expected, model))
