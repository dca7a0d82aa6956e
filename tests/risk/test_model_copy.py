"""Models that deepcopy refuses, half precision, and checkpoints: the values of a plain twin."""

import copy
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

import landscope as ls
from landscope.errors import InputError, LandscopeWarning
from landscope.plain_lines import PlainBatchLines, PlainLines

INPUTS = torch.randn(40, 4, generator=torch.Generator().manual_seed(1))
TARGETS = torch.randint(3, (40,), generator=torch.Generator().manual_seed(2))


class KeepsGraph(nn.Module):
    """Keeps its activation, and a list of outputs, with their graphs."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(4, 6), nn.Linear(6, 3)
        self.outputs = []

    def forward(self, x):
        self.activation = self.first(x).tanh()
        out = self.second(self.activation)
        self.outputs = [{"last": out}]
        return out


def weight_normed():
    return nn.Sequential(nn.utils.weight_norm(nn.Linear(4, 6)), nn.Tanh(), nn.utils.weight_norm(nn.Linear(6, 3)))


def spectral_normed():
    return nn.Sequential(nn.utils.spectral_norm(nn.Linear(4, 6)), nn.Tanh(), nn.Linear(6, 3))


def parametrized():
    norm = nn.utils.parametrizations.weight_norm
    return nn.Sequential(norm(nn.Linear(4, 6)), nn.Tanh(), norm(nn.Linear(6, 3)))


def exact(build, model, space, w):
    """The loss of a new model with the same state and the weights w."""
    twin = build().eval()
    twin.load_state_dict(model.state_dict())
    with torch.no_grad():
        for name, value in space.unflatten(w).items():
            dict(twin.named_parameters())[name].copy_(value)
        return float(F.cross_entropy(twin.double()(INPUTS.double()), TARGETS))


@pytest.mark.filterwarnings("ignore:landscope evaluates the whole model")
@pytest.mark.filterwarnings("ignore:`torch.nn.utils.weight_norm` is deprecated:FutureWarning")
@pytest.mark.parametrize("build", [KeepsGraph, weight_normed, spectral_normed, parametrized])
def test_models_that_keep_a_graph_are_copied_and_evaluated(build):
    torch.manual_seed(0)
    model = build()
    for _ in range(3):  # a spectral norm needs some calls
        F.cross_entropy(model(INPUTS), TARGETS).backward()
    state = copy.deepcopy(model.state_dict())
    space = ls.ParameterSpace.of(model)
    risk = ls.EmpiricalRisk(model, nn.CrossEntropyLoss(), (INPUTS, TARGETS))
    direction = torch.randn(space.dim)
    for step in (0.0, 0.3):
        w = risk.w0 + step * direction
        assert float(risk(w)) == pytest.approx(exact(build, model, space, w), rel=1e-5)
        line = ls.loss_profiles(risk, risk.w0, direction[None], torch.tensor([step])).loss
        assert float(line) == pytest.approx(exact(build, model, space, w), rel=1e-5)
    h = 1e-3
    slope = exact(build, model, space, risk.w0 + h * direction) - exact(build, model, space, risk.w0 - h * direction)
    assert float(risk.gradient(risk.w0) @ direction) == pytest.approx(slope / (2 * h), rel=2e-2, abs=1e-3)
    again = ls.EmpiricalRisk(model, nn.CrossEntropyLoss(), (INPUTS, TARGETS))
    assert float(again(risk.w0)) == float(risk(risk.w0))
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


@pytest.mark.filterwarnings("ignore:`torch.jit.*` is deprecated:DeprecationWarning")
@pytest.mark.parametrize("place", ["whole", "part"])
def test_a_script_module_is_refused_with_the_way_on(place):
    scripted = torch.jit.script(nn.Linear(4, 3))
    model = scripted if place == "whole" else nn.Sequential(nn.Identity(), scripted)
    with pytest.raises(InputError, match="ScriptModule"):
        ls.EmpiricalRisk(model, nn.CrossEntropyLoss(), (INPUTS, TARGETS))


def test_complex_weights_are_refused_with_the_way_on_unless_they_are_not_selected():
    class Filter(nn.Module):
        def __init__(self):
            super().__init__()
            self.filter, self.head = nn.Parameter(torch.ones(3, dtype=torch.complex64)), nn.Linear(4, 3)

        def forward(self, x):
            return self.head(torch.fft.irfft(torch.fft.rfft(x) * self.filter, n=4))

    model = Filter()
    with pytest.raises(InputError, match="view_as_real"):
        ls.ParameterSpace.of(model)
    risk = ls.EmpiricalRisk(
        model, nn.CrossEntropyLoss(), (INPUTS, TARGETS), space=ls.ParameterSpace.of(model, "head.*")
    )
    assert float(risk(risk.w0)) == pytest.approx(F.cross_entropy(model(INPUTS), TARGETS).item(), rel=1e-5)


# Half precision -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_widths_of_a_parabola_in_half_precision_follow_its_formula(dtype):
    """L = 1 + c d^2 / 2 along the first axis reaches e L(0) at d = sqrt(2 (e - 1) / c)."""
    curvature = torch.tensor([3.0, 5.0])
    found = ls.flatness(lambda w: 1 + (curvature * w.square()).sum(-1) / 2, torch.zeros(2, dtype=dtype), torch.eye(2))
    for side in (found.left, found.right):
        torch.testing.assert_close(side.abs(), (2 * (math.e - 1) / curvature.double()).sqrt(), rtol=1e-4, atol=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_widths_of_a_model_in_half_precision_follow_the_formula(dtype):
    """The squared error (w - 2)^2 for inputs 1 rises from w = 1 to e times its value at w = 2 - sqrt(e)."""
    model = nn.Linear(1, 1, bias=False).to(dtype)
    nn.init.ones_(model.weight)
    data = torch.ones(4, 1, dtype=dtype), torch.full((4, 1), 2.0, dtype=dtype)
    risk = ls.EmpiricalRisk(model, nn.MSELoss(), data)
    assert risk.w0.dtype == torch.float32
    assert model.weight.dtype == dtype
    found = ls.flatness(risk, risk.w0.to(dtype), torch.ones(1, 1))
    assert float(found.left.abs()) == pytest.approx(math.sqrt(math.e) - 1, rel=1e-4)
    closure = ls.EmpiricalRisk.from_closure(
        model, lambda model, batch: (model(batch["x"]) - batch["y"]).square(), [{"x": data[0], "y": data[1]}]
    )
    assert float(closure(torch.tensor([1.001]))) == pytest.approx(0.999**2, rel=1e-6)
    assert float(closure.gradient(torch.tensor([1.001]))) == pytest.approx(-2 * 0.999, rel=1e-6)


def test_a_model_with_layers_in_two_precisions_is_evaluated_in_the_higher():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6).bfloat16(), nn.Tanh(), nn.Linear(6, 3).bfloat16())
    twin = copy.deepcopy(model).double()
    space = ls.ParameterSpace.of(model, "2.*")
    risk = ls.EmpiricalRisk(model, nn.CrossEntropyLoss(), (INPUTS.bfloat16(), TARGETS), space=space)
    expected = F.cross_entropy(twin(INPUTS.bfloat16().double()), TARGETS)
    assert float(risk(risk.w0)) == pytest.approx(float(expected.detach()), rel=1e-6)


class HalfInside(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 3).bfloat16()

    def forward(self, x):
        return self.layer(x.bfloat16()).float()


def test_what_cannot_be_raised_is_evaluated_as_it_is_with_a_warning():
    model = HalfInside()
    with pytest.warns(LandscopeWarning, match="in bfloat16, because it could not be evaluated in float32"):
        risk = ls.EmpiricalRisk(model, nn.CrossEntropyLoss(), (INPUTS, TARGETS))
    assert risk.w0.dtype == torch.bfloat16
    assert float(risk(risk.w0)) == pytest.approx(F.cross_entropy(model(INPUTS), TARGETS).item(), rel=1e-6)


@pytest.mark.parametrize("kind", [PlainLines, PlainBatchLines])
def test_a_formula_that_needs_half_precision_gets_it_with_a_warning(kind):
    matrix = torch.eye(2).bfloat16()
    with pytest.warns(LandscopeWarning, match="accepts weights in bfloat16 only"):
        kind(lambda w: (w @ matrix).square().sum(-1, keepdim=kind is PlainBatchLines), torch.ones(2).bfloat16(), matrix)


# Checkpoints ----------------------------------------------------------------------------------------------------------


class Checkpointed(nn.Module):
    def __init__(self, *, reentrant=False, use=True):
        super().__init__()
        self.first, self.second, self.head = nn.Linear(4, 6), nn.Linear(6, 6), nn.Linear(6, 3)
        self.reentrant, self.use = reentrant, use

    def middle(self, h):
        return self.second(h).tanh().square()

    def forward(self, x):
        h = self.first(x).tanh()
        if h.sum() > -1e9:  # torch.fx cannot follow this
            h = checkpoint(self.middle, h, use_reentrant=self.reentrant) if self.use else self.middle(h)
        return self.head(h)


@pytest.mark.filterwarnings("ignore:landscope evaluates the whole model")
@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpoints_have_all_derivatives(reentrant):
    torch.manual_seed(0)
    model = Checkpointed(reentrant=reentrant)
    plain = Checkpointed(use=False)
    plain.load_state_dict(model.state_dict())
    risk, expected = (ls.EmpiricalRisk(m, nn.CrossEntropyLoss(), (INPUTS, TARGETS)) for m in (model, plain))
    w, vector = risk.w0 + 0.1, torch.randn_like(risk.w0)
    torch.testing.assert_close(risk.gradient(w), expected.gradient(w))
    torch.testing.assert_close(risk.hessian_vector_product(w, vector), expected.hessian_vector_product(w, vector))
    torch.testing.assert_close(
        risk.fisher_information().diagonal(w, kind="empirical"),
        expected.fisher_information().diagonal(w, kind="empirical"),
    )
    numbers = [r.sample_lines(w, vector[None]).slopes(torch.tensor([0]), torch.tensor([0.1])) for r in (risk, expected)]
    torch.testing.assert_close(*numbers)
    # Outside landscope, checkpoints still compute activations twice.
    calls = []
    model.second.register_forward_hook(lambda *_: calls.append(1))
    x = INPUTS.clone().requires_grad_()
    model(x).sum().backward()
    assert len(calls) == 2


@pytest.mark.filterwarnings("ignore:`gradient_checkpointing_enable` is deprecated:FutureWarning")
def test_hugging_face_models_after_enabling_checkpoints():
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=7, n_positions=5, n_embd=8, n_layer=1, n_head=2, bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    model = transformers.GPT2LMHeadModel(config)
    ids = torch.randint(7, (3, 5))

    def losses(model, batch):
        logits = model(input_ids=batch).logits
        return F.cross_entropy(logits[:, :-1].flatten(0, 1), batch[:, 1:].flatten(), reduction="none")

    space = ls.ParameterSpace.of(model, "transformer.h.0.mlp.c_proj.*")
    plain = ls.EmpiricalRisk.from_closure(model, losses, [ids], space=space)
    model.gradient_checkpointing_enable()
    model.enable_input_require_grads()
    hooks = dict(model.get_input_embeddings()._forward_hooks)
    risk = ls.EmpiricalRisk.from_closure(model, losses, [ids], space=space)
    w, vector = risk.w0, torch.randn_like(risk.w0)
    torch.testing.assert_close(risk.gradient(w), plain.gradient(w))
    torch.testing.assert_close(risk.hessian_vector_product(w, vector), plain.hessian_vector_product(w, vector))
    slopes = risk.sample_lines(w, vector[None]).slopes(torch.tensor([0]), torch.tensor([0.0]))[1]
    assert float(slopes.mean()) == pytest.approx(float(plain.gradient(w) @ vector), rel=1e-4)
    assert dict(model.get_input_embeddings()._forward_hooks) == hooks
