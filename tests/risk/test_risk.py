"""EmpiricalRisk and its lines against naive float64 evaluation, on random and on trained networks."""

import copy

import pytest
import torch
from torch import nn

import landscope as ls
from landscope.errors import InputError
from landscope.reproduction.experiment.networks import mlp
from landscope.risk import data as batches
from naive import RTOL, assert_lines_agree, naive_loss, naive_side, vectors


class Residual(nn.Module):
    """Two paths meet, BatchNorm in eval mode, one layer used twice."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(6, 8)
        self.norm = nn.BatchNorm1d(8)
        self.twice = nn.Linear(8, 8)
        self.last = nn.Linear(8, 3)

    def forward(self, x):
        h = torch.relu(self.norm(self.first(x)))
        h = h + torch.tanh(self.twice(h))
        return self.last(h + self.twice(h))


class Functional(nn.Module):
    """Parameters that are used without a module, and a size taken from the input."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.rand(6) + 0.5)
        self.layer = nn.Linear(6, 3)

    def forward(self, x):
        return self.layer((x * self.scale).reshape(x.shape[0], -1))


def cnn():
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 4, 3), nn.ReLU(),
        nn.Flatten(), nn.Linear(16, 3),
    )  # fmt: skip


CASES = {
    "hidden layer": (lambda: mlp([6, 8, 8, 3]), "2.weight", vectors),
    "first layer": (lambda: mlp([6, 8, 8, 3]), "0.weight", vectors),
    "last layer": (lambda: mlp([6, 8, 8, 3], bias=True), "4.*", vectors),
    "biases": (lambda: mlp([6, 8, 8, 3], bias=True), "*.bias", vectors),
    "all layers": (lambda: mlp([6, 8, 8, 3], bias=True), None, vectors),
    "two of three layers": (lambda: mlp([6, 8, 8, 3]), ["2.weight", "4.weight"], vectors),
    "residual, shared layer": (Residual, "twice.*", vectors),
    "residual, norm": (Residual, "norm.*", vectors),
    "functional parameter": (Functional, "scale", vectors),
    "convolution": (cnn, "4.weight", lambda: (torch.randn(60, 1, 8, 8), torch.randint(0, 3, (60,)))),
    "first convolution and norm": (cnn, ["0.*", "1.*"], lambda: (torch.randn(60, 1, 8, 8), torch.randint(0, 3, (60,)))),
    "embedding": (
        lambda: nn.Sequential(nn.Embedding(11, 5), nn.Flatten(), nn.ReLU(), nn.Linear(20, 3)),
        "0.weight",
        lambda: (torch.randint(0, 11, (70, 4)), torch.randint(0, 3, (70,))),
    ),
    "layer norm": (lambda: nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8), nn.GELU(), nn.Linear(8, 3)), "1.*", vectors),
}  # fmt: skip


@pytest.fixture(params=["blocks as they come", "blocks by label"])
def layout(request, monkeypatch):
    """Force blocks by label, also for labels with few samples."""
    if request.param == "blocks by label":
        monkeypatch.setattr(batches, "_FEWEST_ROWS", 1)


@pytest.fixture(params=CASES)
def case(request, layout):
    build, select, data = CASES[request.param]
    model = build()
    for module in model.modules():  # running statistics that do something
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.running_mean.uniform_(-0.5, 0.5)
            module.running_var.uniform_(0.5, 2.0)
    space = ls.ParameterSpace.of(model, select)
    inputs, targets = data()
    risk = ls.EmpiricalRisk(model, nn.CrossEntropyLoss(), (inputs, targets), space=space)
    return model, inputs, targets, space, risk


def test_risk_agrees_with_the_naive_twin(case):
    model, inputs, targets, space, risk = case
    assert risk.is_traced
    for step in (0.0, 0.3, 3.0):
        w = risk.w0 + step * torch.randn(space.dim)
        assert float(risk(w)) == pytest.approx(naive_loss(model, inputs, targets, space, w), rel=RTOL)


@pytest.mark.parametrize("cache_bytes", [2**30, 1])
def test_lines_agree_with_the_naive_twin(case, cache_bytes):
    model, *data, space, _ = case
    risk = ls.EmpiricalRisk(model, nn.CrossEntropyLoss(), tuple(data), space=space, cache_bytes=cache_bytes)
    assert_lines_agree(model, data, risk, torch.randn(3, space.dim), torch.tensor([-2.0, -0.1, 0.0, 0.7]))


def test_gradient_and_hessian_agree_with_autograd(case):
    model, inputs, targets, space, risk = case
    twin = copy.deepcopy(model).double().eval().requires_grad_(False)

    def loss(w):
        replaced = space.unflatten(w)
        outputs = torch.func.functional_call(
            twin, replaced, (inputs.double() if inputs.is_floating_point() else inputs,)
        )
        return nn.functional.cross_entropy(outputs, targets)

    w = risk.w0.double()
    scale = float(torch.func.grad(loss)(w).norm())
    assert torch.allclose(risk.gradient(risk.w0).double(), torch.func.grad(loss)(w), rtol=1e-4, atol=1e-5 * scale)
    if space.dim <= 160:
        hessian = torch.autograd.functional.hessian(loss, w)
        vector = torch.randn(space.dim)
        product = risk.hessian_vector_product(risk.w0, vector).double()
        expected = hessian @ vector.double()
        assert torch.allclose(product, expected, rtol=1e-3, atol=1e-4 * float(expected.norm()))


@pytest.mark.parametrize("select", ["2.weight", "4.weight"])
def test_samples_come_in_the_order_of_the_data_whatever_the_blocks(trained_digits, monkeypatch, select):
    model, data = trained_digits
    space = ls.ParameterSpace.of(model, select)
    plain = ls.EmpiricalRisk(model, nn.functional.cross_entropy, data, space=space)
    monkeypatch.setattr(batches, "_FEWEST_ROWS", 1)
    sorted_ = ls.EmpiricalRisk(model, nn.functional.cross_entropy, data, space=space)
    directions = torch.randn(2, space.dim)
    index, displacement = torch.tensor([0, 1, 1]), torch.tensor([0.0, 0.1, -0.3])
    rows = torch.tensor([3, 700, 4, 4])

    def answers(risk):
        lines = risk.sample_lines(risk.w0, directions)
        return {
            "losses": risk.sample_losses(risk.w0),
            "along lines": lines.losses(index, displacement),
            "slopes": torch.stack(lines.slopes(index, displacement)),
            "curvatures": lines.curvatures(torch.tensor([0]), torch.tensor([1])),
            "gradient of some": risk.mean_gradient(risk.w0, rows),
        }

    assert sorted_._blocks.n_blocks > plain._blocks.n_blocks
    expected = answers(plain)
    for name, found in answers(sorted_).items():
        scale = float(expected[name].abs().max())
        assert torch.allclose(found, expected[name], rtol=1e-4, atol=1e-6 * scale), name


def test_flatness_of_a_trained_network_agrees_with_scan_and_brent(trained_digits):
    model, data = trained_digits
    space = ls.ParameterSpace.of(model, "2.weight")
    risk = ls.EmpiricalRisk(model, nn.functional.cross_entropy, data, space=space)
    directions = torch.linalg.qr(torch.randn(space.dim, 3)).Q.T.contiguous()
    found = ls.flatness(risk, risk.w0, directions)
    assert bool(found.bracketed.all())
    for row, direction in enumerate(directions):
        for side, sign in ((found.left, -1), (found.right, 1)):

            def loss(d, v=sign * direction):
                return naive_loss(model, *data, space, risk.w0.double() + d * v.double())

            exact = naive_side(loss, 2 * abs(float(side[row])))
            assert abs(float(side[row])) == pytest.approx(exact, rel=1e-3)


def test_tiny_losses_keep_their_digits():
    logits = torch.tensor([[30.0, 0.0, -1.0], [0.0, 25.0, 3.0]])
    targets = torch.tensor([0, 1])
    model = nn.Linear(3, 3, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.eye(3))
    risk = ls.EmpiricalRisk(model, nn.functional.cross_entropy, (logits, targets))
    exact = naive_loss(model, logits, targets, risk.space, risk.w0)
    assert float(risk(risk.w0)) == pytest.approx(exact, rel=RTOL)
    assert ls.loss_profiles(risk, risk.w0, torch.ones(1, 9), torch.zeros(1)).loss0 == pytest.approx(exact, rel=RTOL)


def test_losses_far_out_overflow_nothing():
    model = nn.Linear(2, 2, bias=False)
    data = (torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([1, 0]))
    risk = ls.EmpiricalRisk(model, nn.functional.cross_entropy, data)
    direction = torch.eye(2).reshape(1, 4)
    far = ls.loss_profiles(risk, risk.w0, direction, torch.tensor([1e4])).loss
    exact = naive_loss(model, *data, risk.space, risk.w0.double() + 1e4 * direction[0].double())
    assert float(far) == pytest.approx(exact, rel=1e-6)


CRITERIA = {
    "mse": (nn.MSELoss(), torch.randn(50, 3)),
    "functional mse": (nn.functional.mse_loss, torch.randn(50, 3)),
    "weighted": (nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 5.0])), torch.randint(0, 3, (50,))),
    "smoothed": (nn.CrossEntropyLoss(label_smoothing=0.1), torch.randint(0, 3, (50,))),
    "ignored": (nn.CrossEntropyLoss(ignore_index=2), torch.arange(50) % 3),
    "default ignored": (nn.CrossEntropyLoss(), torch.where(torch.arange(50) % 4 == 0, -100, 1)),
    "own scalar": (lambda outputs, targets: (outputs - targets).abs().mean(), torch.randn(50, 3)),
    "own unreduced": (lambda outputs, targets: (outputs - targets).abs(), torch.randn(50, 3)),
    "probabilities": (nn.CrossEntropyLoss(), torch.softmax(torch.randn(50, 3), dim=1)),
}


@pytest.mark.parametrize("name", CRITERIA)
def test_other_criteria_agree_with_their_mean(name):
    criterion, targets = CRITERIA[name]
    model, inputs = mlp([6, 5, 3]), torch.randn(50, 6)
    risk = ls.EmpiricalRisk(model, criterion, (inputs, targets), space=ls.ParameterSpace.of(model, "0.weight"))

    def twin(outputs, targets):
        kwargs = {"weight": criterion.weight.double()} if name == "weighted" else {}
        if kwargs:
            return nn.functional.cross_entropy(outputs, targets, **kwargs)
        return criterion(outputs, targets).mean()

    w = risk.w0 + 0.1
    exact = naive_loss(model, inputs, targets, risk.space, w, twin)
    assert float(risk(w)) == pytest.approx(exact, rel=RTOL)
    line = ls.loss_profiles(risk, risk.w0, torch.ones(1, risk.space.dim), torch.tensor([0.1])).loss
    assert float(line) == pytest.approx(exact, rel=RTOL)


def test_closures_take_any_batches():
    model, (inputs, targets) = mlp([6, 8, 3]), vectors(90)
    plain = ls.EmpiricalRisk(model, nn.functional.cross_entropy, (inputs, targets))
    batches = [{"x": x, "y": y} for x, y in zip(inputs.split(40), targets.split(40), strict=True)]

    def sums(model, batch):
        losses = nn.functional.cross_entropy(model(batch["x"]), batch["y"], reduction="none")
        return losses.sum(), len(losses)

    def samples(model, batch):
        return nn.functional.cross_entropy(model(batch["x"]), batch["y"], reduction="none")

    for closure in (sums, samples):
        risk = ls.EmpiricalRisk.from_closure(model, closure, batches)
        assert float(risk(plain.w0)) == pytest.approx(float(plain(plain.w0)), rel=RTOL)
        assert torch.allclose(risk.gradient(plain.w0), plain.gradient(plain.w0), atol=1e-6)
        torch.testing.assert_close(risk.sample_losses(plain.w0), plain.sample_losses(plain.w0), rtol=1e-5, atol=1e-7)


def test_a_loader_is_read_once_and_equals_its_tensors():
    model, (inputs, targets) = mlp([6, 8, 3]), vectors(103)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(inputs, targets), batch_size=16, shuffle=True)
    risk = ls.EmpiricalRisk(model, nn.functional.cross_entropy, loader)
    plain = ls.EmpiricalRisk(model, nn.functional.cross_entropy, (inputs, targets))
    assert float(risk(risk.w0)) == pytest.approx(float(plain(plain.w0)), rel=RTOL)


def test_minibatches_average_to_the_risk_and_partition_the_data():
    model, (inputs, targets) = mlp([6, 8, 3]), vectors(100)
    risk = ls.EmpiricalRisk(model, nn.functional.cross_entropy, (inputs, targets))
    ensemble = risk.minibatches(20, seed=1)
    assert sorted(ensemble.batches.flatten().tolist()) == list(range(100))
    points = torch.stack([risk.w0, risk.w0 + 0.1])
    assert ensemble.batch_losses(points).shape == (2, 5)
    assert torch.allclose(ensemble(points), risk(points), rtol=1e-12)
    with pytest.raises(InputError, match="between 1 and 100"):
        risk.minibatches(101)


def test_weights_are_a_snapshot_and_the_user_keeps_everything():
    model, (inputs, targets) = Residual(), vectors()
    model.train()
    model.first.weight.requires_grad_(False)
    before = copy.deepcopy(model.state_dict())
    flags = [parameter.requires_grad for parameter in model.parameters()]
    state = torch.get_rng_state()
    risk = ls.EmpiricalRisk(model, nn.functional.cross_entropy, (inputs, targets))
    at_start = float(risk(risk.w0))
    risk.gradient(risk.w0)
    ls.flatness(risk, risk.w0, torch.ones(1, risk.space.dim))
    with pytest.raises(InputError):
        ls.flatness(risk, risk.w0, torch.zeros(1, risk.space.dim))
    assert model.training
    assert model.norm.training
    assert torch.equal(state, torch.get_rng_state())
    assert flags == [parameter.requires_grad for parameter in model.parameters()]
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    with torch.no_grad():
        model.last.weight.zero_()
    assert float(risk(risk.w0)) == at_start


def test_data_are_copied_and_loaders_leave_the_random_state():
    model, (inputs, targets) = mlp([6, 8, 3]), vectors(50)
    generator = torch.Generator().manual_seed(5)
    dataset = torch.utils.data.TensorDataset(inputs, targets)
    state, own = torch.get_rng_state(), generator.get_state()
    for data in (
        (inputs, targets),
        torch.utils.data.DataLoader(dataset, batch_size=10, shuffle=True),
        torch.utils.data.DataLoader(dataset, batch_size=10, shuffle=True, generator=generator),
    ):
        risk = ls.EmpiricalRisk(model, nn.functional.cross_entropy, data)
        before = float(risk(risk.w0))
        inputs.mul_(2)
        assert float(risk(risk.w0)) == before
        inputs.div_(2)
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(own, generator.get_state())


def test_a_subclass_of_a_loss_is_evaluated_itself():
    class Focal(nn.CrossEntropyLoss):
        def forward(self, outputs, targets):
            p = torch.softmax(outputs, dim=1).gather(1, targets[:, None])
            return ((1 - p) ** 2 * -p.log()).mean()

    model, (inputs, targets) = mlp([6, 8, 3]), vectors(50)
    for criterion in (Focal(), nn.KLDivLoss(reduction="batchmean", log_target=True)):
        if isinstance(criterion, nn.KLDivLoss):
            targets = torch.log_softmax(torch.randn(50, 3), dim=1)
        risk = ls.EmpiricalRisk(model, criterion, (inputs, targets))
        exact = naive_loss(model, inputs, targets, risk.space, risk.w0, criterion)
        assert float(risk(risk.w0)) == pytest.approx(exact, rel=1e-5)


def test_a_risk_can_be_made_and_used_without_gradients():
    model, data = mlp([6, 8, 3]), vectors(50)
    with torch.no_grad():
        risk = ls.EmpiricalRisk(model, nn.functional.cross_entropy, data)
        assert risk.gradient(risk.w0).norm() > 0
        assert risk(torch.zeros(0, risk.space.dim)).shape == (0,)


def test_derivatives_far_out_overflow_no_earlier_than_losses():
    model = nn.Linear(2, 3, bias=False)
    nn.init.zeros_(model.weight)
    risk = ls.EmpiricalRisk(model, nn.functional.cross_entropy, (torch.ones(4, 2), torch.zeros(4, dtype=torch.long)))
    direction = torch.zeros(3, 2)
    direction[2, 0] = 10.0  # margins of 87 at 8.7: exp(87) fits float32, ten times that does not
    lines = risk.sample_lines(risk.w0, direction.reshape(1, -1))
    losses, slopes = lines.slopes(torch.tensor([0]), torch.tensor([8.7]))
    assert torch.allclose(losses, torch.full_like(losses, 87.0), rtol=1e-5)
    assert torch.allclose(slopes, torch.full_like(slopes, 10.0), rtol=1e-5)


def test_batches_of_any_structure_are_moved_to_the_device_of_the_model():
    from landscope.risk.samples import moved

    class Batch:
        where = "cpu"

        def to(self, device):
            self.where = device.type
            return self

    text, tensor, own = "a", torch.ones(2), Batch()
    found = moved({"x": [tensor, (tensor, text)], "y": own, "z": 3}, torch.device("meta"))
    assert (found["x"][0].device.type, found["x"][1][0].device.type, found["y"].where) == ("meta",) * 3
    assert (found["x"][1][1], found["z"], tensor.device.type) == (text, 3, "cpu")
