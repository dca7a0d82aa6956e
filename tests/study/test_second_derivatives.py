"""A loss of which torch has no second derivative: what needs a Hessian is marked, and all else is measured."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import landscope as ls
from landscope.errors import InputError

M, T, CLASSES = 48, 6, 4
NEEDS_HESSIAN = {
    "basis-curvature", "basis-hessian", "noise-log-hessian", "flatness-and-curvature", "controls-edge",
    "controls-invariant-flatness", "controls-learning-coefficient",
}  # fmt: skip


def recogniser():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, CLASSES))


def ctc(outputs, y):
    logits = outputs.log_softmax(-1).transpose(0, 1)
    return F.ctc_loss(logits, y["labels"], y["frames"], y["lengths"], reduction="none") / y["lengths"]


def batches():
    generator = torch.Generator().manual_seed(1)
    inputs, labels = torch.randn(M, T, 3, generator=generator), torch.randint(1, CLASSES, (M, 2), generator=generator)
    lengths, frames = torch.randint(1, 3, (M,), generator=generator), torch.full((M,), T)
    return [
        (inputs[k : k + 8], {"labels": labels[k : k + 8], "frames": frames[k : k + 8], "lengths": lengths[k : k + 8]})
        for k in range(0, M, 8)
    ]


def study_of_ctc(folder, **changes):
    model, data = recogniser(), batches()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    settings = {"batch_size": 8, "n_nulls": 1, "curvature_modes": 5, "fit_modes": (1, 5), "flatness_modes": 6,
                "noise_modes": 5, "basis_modes": 5, "ratio": 1.05, "n_processes": 1,
                "learning_coefficient_steps": 100}  # fmt: skip
    study = ls.Study(folder, model, ctc, data, **{**settings, **changes})
    before = study.stages
    with study.record(optimizer, select="2"):
        for step in range(60):
            inputs, targets = data[step % len(data)]
            optimizer.zero_grad()
            ctc(model(inputs), targets).mean().backward()
            optimizer.step()
    return study, before


@pytest.mark.slow
def test_a_study_of_ctc_measures_all_but_what_needs_a_hessian(tmp_path):
    study, before = study_of_ctc(tmp_path / "s")
    foreseen = {name: why for outlook in before for why, names in outlook.missing.items() for name in names}
    assert {name for name, why in foreseen.items() if "second derivatives of the loss" in why} >= NEEDS_HESSIAN
    study.analyse(progress=False)
    study.analyse(progress=False, noise=True, controls=True)
    study.report()
    reasons = study.not_measured
    told = {name for name, why in reasons.items() if "second derivatives" in why}
    assert {name for name in NEEDS_HESSIAN if name in reasons} <= told
    assert {"basis-curvature", "basis-hessian", "noise-log-hessian", "flatness-and-curvature"} <= told
    assert {name for name in reasons if name.startswith("noise-layer")} <= told
    assert "nn.CTCLoss" in reasons["basis-curvature"]
    for name in ("flatness", "exponents-in-sample", "exponents-shuffled-0", "noise-gradient", "noise-springs",
                 "noise-temperature", "basis-gradient-noise", "exponents-random", "sensitivity"):  # fmt: skip
        assert study.folder.has(name), (name, reasons.get(name))


@pytest.mark.parametrize("make", [nn.MultiMarginLoss, nn.MultiLabelMarginLoss])
def test_a_product_with_the_hessian_says_what_is_missing(make):
    torch.manual_seed(0)
    inputs = torch.randn(8, 3)
    targets = torch.arange(8) % 3 if make is nn.MultiMarginLoss else torch.tensor([[0, -1, -1]] * 8)
    risk = ls.EmpiricalRisk(nn.Linear(3, 3), make(), (inputs, targets))
    v = torch.ones_like(risk.w0)
    assert risk.gradient(risk.w0).any()
    for product in (
        lambda: risk.hessian_vector_product(risk.w0, v),
        lambda: risk.gauss_newton_product(risk.w0, v),
        lambda: risk.minibatches(4).batch_hessian_vector_product(risk.w0, 0, v),
        lambda: risk.mean_hessian_vector_product(risk.w0, torch.arange(3), v),
        lambda: ls.landscape.directional_curvature(risk, risk.w0, v[None]),
    ):
        with pytest.raises(InputError, match=r"second derivatives.*torch has none.*margin.*replace the operation"):
            product()


class Cube(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, slope):
        return 3 * ctx.saved_tensors[0].square() * slope


def test_a_backward_pass_that_is_differentiable_once_gives_no_zero_hessian():
    """Torch cuts the graph behind it: the product was zero without a word."""
    torch.manual_seed(0)
    data = [(torch.randn(8, 3), None)]
    risk = ls.EmpiricalRisk.from_closure(nn.Linear(3, 2), lambda m, b: Cube.apply(m(b[0])).square().sum(1), data)
    assert risk.gradient(risk.w0).any()
    with pytest.raises(InputError, match=r"second derivatives.*once_differentiable"):
        risk.hessian_vector_product(risk.w0, torch.ones_like(risk.w0))


class NumpyCube(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return torch.from_numpy(x.detach().numpy() ** 3)

    @staticmethod
    def backward(ctx, slope):
        return torch.from_numpy(3 * ctx.saved_tensors[0].detach().numpy() ** 2 * slope.detach().numpy())


class Doubled(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return 2 * x

    @staticmethod
    def backward(ctx, slope):
        return 2 * slope


@pytest.mark.parametrize("after", [nn.Identity(), nn.Tanh(), nn.Sequential(nn.Linear(2, 2), nn.Tanh())])
def test_a_backward_pass_outside_of_torch_gives_no_zero_hessian(after):
    """Whether the gradient has no graph at all, or a graph past the custom function only."""
    torch.manual_seed(0)
    model = nn.ModuleDict({"before": nn.Linear(3, 2), "after": after})
    data = [(torch.randn(8, 3), None)]

    def risk_with(function):
        return ls.EmpiricalRisk.from_closure(
            model, lambda m, b: m["after"](function.apply(m["before"](b[0]))).sum(1), data
        )

    risk = risk_with(NumpyCube)
    assert risk.gradient(risk.w0).any()
    for product in (
        lambda: risk.hessian_vector_product(risk.w0, torch.ones_like(risk.w0)),
        lambda: ls.landscape.trace(risk, risk.w0, n_probes=2),
        lambda: ls.directions.hessian(risk, risk.w0, 1),
    ):
        with pytest.raises(InputError, match=r"second derivatives.*numpy or \.detach\(\)"):
            product()
    if not isinstance(after, nn.Identity):  # a linear loss of a linear function has no curvature, and no graph
        fine = risk_with(Doubled)
        assert fine.hessian_vector_product(fine.w0, torch.ones_like(fine.w0)).any()
