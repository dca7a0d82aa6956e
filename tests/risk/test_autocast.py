"""torch.autocast is off in a risk, wherever it is made or called; where a model switches it on itself, that is said.

Known answers are the numbers outside of torch.autocast: they are the same to the bit, because the same operations run.
"""

import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import landscope as ls
from landscope.errors import LandscopeWarning
from landscope.full_precision import is_autocast_on

X = torch.randn(12, 5, generator=torch.Generator().manual_seed(0))
Y = torch.arange(12) % 3


def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 3))


def losses(model, batch):
    return F.cross_entropy(model(batch[0]), batch[1], reduction="none")


MAKE = {
    "criterion": lambda: ls.EmpiricalRisk(model(), nn.CrossEntropyLoss(), (X, Y)),
    "lambda": lambda: ls.EmpiricalRisk(model(), lambda o, y: F.cross_entropy(o, y), (X, Y)),
    "function": lambda: ls.EmpiricalRisk.from_closure(model(), losses, [(X, Y)]),
}
V = torch.randn(57, generator=torch.Generator().manual_seed(1))
LINE = torch.zeros(2, dtype=torch.long), torch.tensor([0.0, 0.5], dtype=torch.float64)
USES = {
    "loss": lambda risk: risk(risk.w0),
    "gradient": lambda risk: risk.gradient(risk.w0),
    "Hessian": lambda risk: risk.hessian_vector_product(risk.w0, V),
    "Gauss-Newton": lambda risk: risk.gauss_newton_product(risk.w0, V),
    "samples": lambda risk: risk.sample_losses(risk.w0),
    "lines": lambda risk: risk.lines(risk.w0, V[None])(*LINE),
    "slopes": lambda risk: torch.stack(risk.sample_lines(risk.w0, V[None]).slopes(*LINE)),
    "curvatures": lambda risk: risk.sample_lines(risk.w0, V[None]).curvatures(LINE[0][:1], LINE[0][:1]),
    "minibatches": lambda risk: risk.minibatches(4).batch_losses(risk.w0),
    "gradients of minibatches": lambda risk: torch.stack(list(risk.minibatches(4).batch_gradients(risk.w0))),
    "Fisher information": lambda risk: risk.fisher_information().diagonal(risk.w0, "empirical"),
    "flatness": lambda risk: ls.flatness(risk, risk.w0, V[None] / V.norm()).width,
    "metric": lambda risk: torch.tensor(risk.metric(lambda m: m(X).sum())(risk.w0)),
}


@pytest.mark.parametrize("make", MAKE)
def test_autocast_around_a_risk_changes_nothing(make):
    outside = MAKE[make]()
    expected = {name: use(outside) for name, use in USES.items()}
    with torch.autocast("cpu", dtype=torch.bfloat16):
        within = MAKE[make]()
        found = {name: use(within) for name, use in USES.items()}
        assert is_autocast_on()
        assert (model()(X)).dtype == torch.bfloat16  # the user's own operations are cast on
    for name, value in expected.items():
        assert torch.equal(found[name], value), name


class Mixed(nn.Module):
    """A model that switches mixed precision on itself."""

    def __init__(self, *, always):
        super().__init__()
        self.inner, self.always = model(), always

    def forward(self, x):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.always or self.training):
            return self.inner(x).float()


@pytest.mark.parametrize("with_function", [False, True])
def test_a_model_that_switches_it_on_itself_is_named(with_function):
    def make(own):
        if with_function:
            return ls.EmpiricalRisk.from_closure(own, losses, [(X, Y)])
        return ls.EmpiricalRisk(own, nn.CrossEntropyLoss(), (X, Y))

    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        make(Mixed(always=True))
    told = [str(one.message) for one in said if one.category is LandscopeWarning]
    assert len(told) == 1
    assert "Mixed, or" in told[0]
    assert "enabled=self.training" in told[0]
    with warnings.catch_warnings():
        warnings.simplefilter("error", LandscopeWarning)
        warnings.simplefilter("ignore", UserWarning)  # torch.fx does not see through the context: no fault
        risk = make(Mixed(always=False))
    torch.testing.assert_close(risk(risk.w0), MAKE["criterion"]()(risk.w0), rtol=1e-6, atol=0)


def test_penalties_in_a_loop_with_autocast_are_in_full_precision():
    penalty = ls.penalties.QuadraticPenalty(
        anchor=torch.zeros(57), directions=torch.linalg.qr(torch.stack([V, X.flatten()[:57]], dim=1))[0].T,
        stiffness=torch.tensor([3.0, 2.0]), floor=0.5,
    )  # fmt: skip
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = penalty(V)
    assert torch.equal(found, penalty(V))
