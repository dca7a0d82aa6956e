"""No public function multiplies in fewer digits than float32 has, whatever is switched on for the training."""

import collections
import traceback
import warnings
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

import landscope as ls
from landscope.full_precision import full_precision, is_reduced
from own_model import X, Y, net, sgd
from public_arguments import VALID

PACKAGE = f"{Path(ls.__file__).parent}/"  # a clone may have the name of the package
aten = torch.ops.aten
_PRODUCTS = {
    aten.mm, aten.addmm, aten.bmm, aten.baddbmm, aten.mv, aten.addmv, aten.dot, aten.linear, aten.convolution,
    aten.convolution_backward,
}  # fmt: skip


class CoarseProducts(TorchDispatchMode):
    """Notes products of few digits, by the line of landscope that asked for them."""

    def __init__(self):
        super().__init__()
        self.lines, self.n_products = collections.Counter(), 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.overloadpacket in _PRODUCTS:
            self.n_products += 1
            dtypes = {part.dtype for part in args if isinstance(part, torch.Tensor)}
            if dtypes & {torch.float32, torch.bfloat16, torch.float16} and is_reduced():
                frames = [f for f in traceback.extract_stack() if f.filename.startswith(PACKAGE)]
                self.lines[f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "outside"] += 1
        return func(*args, **(kwargs or {}))


@pytest.fixture
def switched_on():
    """What a training in mixed precision switches on."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        yield
    assert torch.get_float32_matmul_precision() == "medium"
    torch.set_float32_matmul_precision(before)


def test_what_is_noted(switched_on):
    with CoarseProducts() as noted:
        _ = torch.ones(2, 2) @ torch.ones(2, 2)
        with full_precision():
            _ = torch.ones(2, 2) @ torch.ones(2, 2)
    assert (noted.n_products, dict(noted.lines)) == (2, {"outside": 1})


def measured(risk, window):
    """Public measurements in float32, beside those with valid arguments."""
    modes = ls.principal_modes(window, 2)
    p = modes.directions.float()
    products = {"value": risk(risk.w0), "gradient": risk.gradient(risk.w0)}
    products["v"] = risk.hessian_vector_product(risk.w0, p[0])
    products["c"] = ls.landscape.directional_curvature(risk, risk.w0, p)
    products["h"] = ls.directions.hessian(risk, risk.w0, 2).values
    products["noise"] = ls.noise.gradient_noise(risk.minibatches(3, seed=0), risk.w0, p).covariance
    products["flatness"] = ls.flatness(lambda w: 1 + (w @ p.T).square().sum(-1), risk.w0, p).width
    return products


@pytest.fixture
def window():
    torch.manual_seed(0)
    model = net()
    space = ls.ParameterSpace.of(model)
    rows = torch.randn(20, space.dim).cumsum(0) * 1e-2
    return ls.Trajectory.of(space.flatten(model) + rows, space=space)


def test_measurements_in_float32(switched_on, window):
    with torch.autocast("cpu", enabled=False):
        risk = ls.EmpiricalRisk(net(), nn.CrossEntropyLoss(), (X, Y))
    with CoarseProducts() as noted:
        measured(risk, window)
    assert noted.n_products
    assert not noted.lines


@pytest.mark.parametrize("method", ["basin", "ldc", "kfac"])
def test_a_task_is_kept(switched_on, method):
    model = net()
    optimizer = sgd(model)
    memory = ls.TaskMemory(model, method=method, strength=1.0, n_modes=2, window=20)
    for _ in range(2):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with memory.training(optimizer):
                for _ in range(12):
                    optimizer.zero_grad()
                    nn.functional.cross_entropy(model(X), Y).backward()
                    with CoarseProducts() as noted:
                        optimizer.step()
                    assert not noted.lines
            with CoarseProducts() as noted:
                memory.consolidate(nn.CrossEntropyLoss(), (X, Y))
            assert not noted.lines


def test_public_functions(switched_on):
    found, n_products = {}, 0
    for name, (function, arguments) in VALID.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with CoarseProducts() as noted:
                function(**arguments)
        n_products += noted.n_products
        del noted.lines["outside"]  # a training of the user, in his own precision
        found |= {name: dict(noted.lines)} if noted.lines else {}
    assert n_products > 1000
    assert not found


def test_settings_come_back():
    backends = torch.backends
    for precision in ("high", "medium", "highest"):
        torch.set_float32_matmul_precision(precision)
        with full_precision():
            assert not is_reduced()
            assert torch.get_float32_matmul_precision() == "highest"  # also where a model asks in the older way
            assert not backends.cuda.matmul.allow_tf32
        assert torch.get_float32_matmul_precision() == precision
    backends.mkldnn.matmul.fp32_precision = "bf16"
    with full_precision():
        assert backends.mkldnn.matmul.fp32_precision == "ieee"
    assert backends.mkldnn.matmul.fp32_precision == "bf16"
    torch.set_float32_matmul_precision("highest")


def test_convolutions_of_a_gpu(monkeypatch):
    """They are in TF32 by default; without a GPU nobody asks for them."""
    from landscope import full_precision as module

    assert not is_reduced()
    monkeypatch.setattr(module, "_has_cuda", lambda: True)
    assert is_reduced()
    with full_precision():
        assert not is_reduced()
        assert not torch.backends.cudnn.allow_tf32
    assert torch.backends.cudnn.allow_tf32
    assert torch.backends.cudnn.conv.fp32_precision == "tf32"
