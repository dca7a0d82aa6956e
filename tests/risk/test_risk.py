"""EmpiricalRisk and its lines against naive float64 evaluation, on random and on trained networks."""

import copy
import math

import pytest
import torch
from torch import nn

import landscope as ls
from landscope.errors import InputError
from landscope.reproduction.experiment.networks import mlp
from landscope.risk import data as batches
from landscope.risk import lines, traced_blocks
from landscope.risk.lines import TracedLines
from naive import naive_loss, naive_side

RTOL = 1e-6  # float32 losses of single samples, summed in float64


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


class Branching(nn.Module):
    """Python control flow on data: cannot be traced."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(6, 3)

    def forward(self, x):
        return self.layer(x) if x.sum() > -1e9 else -self.layer(x)


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


def vectors(n=200):
    return torch.randn(n, 6), torch.randint(0, 3, (n,))


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


def assert_lines_agree(model, data, risk, directions, steps):
    found = ls.loss_profiles(risk, risk.w0, directions, steps).loss
    for direction, row in zip(directions, found, strict=True):
        for step, loss in zip(steps, row, strict=True):
            exact = naive_loss(model, *data, risk.space, risk.w0.double() + step.double() * direction.double())
            assert float(loss) == pytest.approx(exact, rel=2 * RTOL)


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


@pytest.mark.parametrize("rows", [200, 2000])  # more blocks than threads, and one block for all of them
def test_the_answer_does_not_depend_on_threads(confident, monkeypatch, rows):
    model, data = confident
    space = ls.ParameterSpace.of(model, "2.weight")
    directions = torch.randn(5, space.dim)
    monkeypatch.setattr(traced_blocks, "_BLOCK_ELEMENTS", 64 * rows)
    monkeypatch.setattr(lines, "_SHARED_BYTES", 0)
    threads = torch.get_num_threads()
    answers = []
    for count in (1, 2, 3):
        torch.set_num_threads(count)
        try:
            risk = ls.EmpiricalRisk(model, nn.functional.cross_entropy, data, space=space)
            losses = ls.loss_profiles(risk, risk.w0, directions, torch.linspace(-1, 1, 7)).loss
            assert risk.lines(risk.w0, directions).sketch() is not None
            answers.append(torch.cat([losses, ls.flatness(risk, risk.w0, directions).width[:, None]], dim=1))
            assert len(risk.lines(risk.w0, directions)._evaluators) == count
            assert torch.get_num_threads() == count
        finally:
            torch.set_num_threads(threads)
    assert torch.equal(answers[0], answers[1])
    assert torch.equal(answers[0], answers[2])


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


def test_stored_values_are_not_overwritten(trained_digits):
    model, data = trained_digits
    space = ls.ParameterSpace.of(model, "0.weight")  # two ReLUs work in place on what follows
    risk = ls.EmpiricalRisk(model, nn.functional.cross_entropy, data, space=space)
    lines = risk.lines(risk.w0, torch.randn(2, space.dim))
    index, displacement = torch.tensor([0, 1, 0]), torch.tensor([0.3, -0.2, 0.0]).double()
    first = lines(index, displacement)
    assert torch.equal(lines(index, displacement), first)
    assert torch.equal(torch.cat([lines(i[None], d[None]) for i, d in zip(index, displacement, strict=True)]), first)


@pytest.fixture
def confident(trained_digits):
    """Larger logits, as after long training: few samples carry the loss."""
    model, data = trained_digits
    model = copy.deepcopy(model)
    with torch.no_grad():
        model[-1].weight *= 4
    return model, data


def test_a_sketch_changes_answers_within_the_tolerance_only(confident, monkeypatch):
    model, data = confident
    space = ls.ParameterSpace.of(model, "2.weight")
    risk = ls.EmpiricalRisk(model, nn.functional.cross_entropy, data, space=space)
    directions = torch.linalg.qr(torch.randn(space.dim, 8)).Q.T.contiguous()
    guided = ls.flatness(risk, risk.w0, directions)
    alone = ls.flatness(risk, risk.w0, directions[5:6])
    assert torch.equal(alone.width, guided.width[5:6])
    monkeypatch.setattr(TracedLines, "sketch", lambda self: None)
    plain = ls.flatness(risk, risk.w0, directions)
    assert torch.allclose(guided.left, plain.left, rtol=1e-3)
    assert torch.allclose(guided.right, plain.right, rtol=1e-3)
    assert float(guided.evaluations.double().mean()) < float(plain.evaluations.double().mean())


def test_a_sketch_is_offered_only_where_few_samples_carry_the_loss():
    model, inputs = mlp([6, 8, 8, 3]), torch.randn(400, 6)
    space = ls.ParameterSpace.of(model, "2.weight")
    even = ls.EmpiricalRisk(model, nn.functional.cross_entropy, (inputs, torch.randint(0, 3, (400,))), space=space)
    assert even.lines(even.w0, torch.randn(1, space.dim)).sketch() is None
    signed = ls.EmpiricalRisk(model, lambda z, y: z[:, 0], (inputs, torch.zeros(400)), space=space)
    assert signed.lines(signed.w0, torch.randn(1, space.dim)).sketch() is None


class TestAMisleadingSketch:
    """A sketch only guesses: the result is always a crossing of the whole loss."""

    class Lines:
        group = 4

        def __init__(self, losses, approximation=None):
            self._losses, self._approximation = losses, approximation

        def __call__(self, index, displacement):
            return self._losses(displacement)

        def sketch(self):
            return None if self._approximation is None else type(self)(self._approximation)

    def flatness(self, loss, approximation, **options):
        """With the sketch, and without it."""

        class Landscape:
            def __call__(self, w):
                return loss(w[..., 0])

            def lines(self, w0, directions):
                return TestAMisleadingSketch.Lines(loss, approximation)

        line = torch.zeros(1), torch.ones(1, 1)
        return ls.flatness(Landscape(), *line, **options), ls.flatness(lambda w: loss(w[..., 0]), *line, **options)

    @pytest.mark.parametrize(
        "approximation",
        [
            lambda d: torch.exp(25 * d**2),  # too sharp
            lambda d: torch.exp(d**2 / 25),  # too flat
            lambda d: torch.ones_like(d),  # never crosses
            lambda d: torch.where(d.abs() < 1e-3, 1.0, torch.inf).double(),  # a wall
            lambda d: torch.zeros_like(d),  # no loss at all
            lambda d: torch.exp(0.99 * d**2),  # close
            lambda d: torch.where(d.abs() < 6, 1 + 1e-3 * d**2, torch.nan),  # NaN far out
        ],
    )
    def test_it_changes_no_answer(self, approximation):
        found, _ = self.flatness(lambda d: torch.exp(d**2), approximation, max_displacement=50.0)
        assert float(found.right) == pytest.approx(1.0, rel=1e-3)
        assert float(found.left) == pytest.approx(-1.0, rel=1e-3)

    def test_a_good_sketch_saves_more_than_half_of_the_evaluations(self):
        guided, plain = self.flatness(lambda d: torch.exp(d**2), lambda d: torch.exp(0.999 * d**2))
        assert float(guided.width) == pytest.approx(2.0, rel=1e-3)
        assert 2 * int(guided.evaluations) < int(plain.evaluations)

    def test_an_inner_crossing_is_found_as_without_it_where_it_was_far_off(self):
        def bump(d):
            return torch.exp(3 * torch.exp(-(((d.abs() - 0.8) / 0.4) ** 2)) + (d / 3) ** 2 - 3 * math.exp(-4))

        guided, plain = self.flatness(bump, lambda d: torch.exp((d / 4) ** 2), max_displacement=50.0)
        assert float(guided.right) < 1.0
        assert float(guided.right) == pytest.approx(float(plain.right), rel=1e-5)


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


def test_an_untraceable_model_gets_the_same_numbers_and_one_warning():
    model, (inputs, targets) = Branching(), vectors()
    with pytest.warns(UserWarning, match="makes a decision by the values of a tensor"):
        risk = ls.EmpiricalRisk(model, nn.functional.cross_entropy, (inputs, targets))
    assert not risk.is_traced
    w = risk.w0 + 0.5
    assert float(risk(w)) == pytest.approx(naive_loss(model, inputs, targets, risk.space, w), rel=RTOL)
    found = ls.flatness(risk, risk.w0, torch.randn(2, risk.space.dim), max_displacement=30.0)
    assert bool(found.bracketed.all())


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


class NormInForward(nn.Module):
    """A division by a norm of the parameters in Python, which tracing freezes."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(6, 3)

    def forward(self, x):
        return self.layer(x) / sum(float(p.detach().norm()) for p in self.parameters())


def hooked(position):
    model = mlp([6, 8, 8, 3])
    model[position].register_forward_hook(lambda module, inputs, output: output.square())
    return model


class InPlace(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(6, 3)

    def forward(self, x):
        x -= 0.5
        x /= 0.3
        return self.layer(x)


class InPlaceOnKept(nn.Module):
    """A later layer changes a stored value in place."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x):
        h = torch.relu(x)
        h += self.first(h)
        return self.second(h)


AWKWARD = {
    "norm in forward": (NormInForward, None),
    "hook on the head": (lambda: hooked(4), "2.weight"),
    "hook on the selected layer": (lambda: hooked(2), "2.weight"),
    "in place on the inputs": (InPlace, None),
    "in place on a kept value": (InPlaceOnKept, "first.*"),
    "inplace relu first": (lambda: nn.Sequential(nn.ReLU(inplace=True), nn.Linear(6, 3)), None),
}


@pytest.mark.filterwarnings("ignore:landscope evaluates the whole model")
@pytest.mark.parametrize("name", AWKWARD)
def test_awkward_models_get_right_numbers_away_from_w0(name):
    build, select = AWKWARD[name]
    model, (inputs, targets) = build(), vectors(300)
    kept = inputs.clone()
    space = ls.ParameterSpace.of(model, select)
    risk = ls.EmpiricalRisk(model, nn.functional.cross_entropy, (inputs, targets), space=space)
    direction = torch.randn(space.dim)
    for repeat in range(2):
        for step in (0.0, 0.5, 2.0):
            w = risk.w0 + step * direction
            twin = copy.deepcopy(model).eval()
            with torch.no_grad():
                for name_, value in space.unflatten(w).items():
                    dict(twin.named_parameters())[name_].copy_(value)
                exact = float(nn.functional.cross_entropy(twin(kept.clone()).double(), targets))
            assert float(risk(w)) == pytest.approx(exact, rel=1e-5), (repeat, step)
            line = ls.loss_profiles(risk, risk.w0, direction[None], torch.tensor([step])).loss
            assert float(line) == pytest.approx(exact, rel=1e-5), (repeat, step)
    assert torch.equal(inputs, kept)


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


def test_memory_for_frozen_values_is_bounded():
    model = nn.Sequential(nn.Flatten(0, 0), nn.ReLU(), nn.Linear(100, 5))
    inputs, targets = torch.randn(4000, 100), torch.randint(0, 5, (4000,))
    limit = 400_000
    risk = ls.EmpiricalRisk(model, nn.CrossEntropyLoss(), (inputs, targets), cache_bytes=limit)
    risk(risk.w0)
    kept = risk._blocks.prefix_outputs._values
    assert sum(v.untyped_storage().nbytes() for values in kept.values() for v in values) <= limit


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


@pytest.mark.parametrize("place", ["on the activation", "on the last layer", "on the moved layer"])
def test_hooks_are_part_of_the_model(place):
    model = mlp([6, 8, 8, 3])
    layer = {"on the activation": 3, "on the last layer": 4, "on the moved layer": 2}[place]
    model[layer].register_forward_hook(lambda module, inputs, output: output.clamp(max=0.05))
    inputs, targets = torch.randn(200, 6), torch.randint(0, 3, (200,))
    inputs[:64] *= 1e-3  # the hook does nothing to the samples that are looked at first
    space = ls.ParameterSpace.of(model, "2.weight")
    risk = ls.EmpiricalRisk(model, nn.functional.cross_entropy, (inputs, targets), space=space)
    assert_lines_agree(model, (inputs, targets), risk, torch.randn(1, space.dim), torch.tensor([0.0, 1.0]))


class WorksInPlace(nn.Module):
    """Overwrites a prefix output that the rest of the model reads."""

    def __init__(self):
        super().__init__()
        self.stem, self.moved, self.head = nn.Linear(6, 8), nn.Linear(6, 8), nn.Linear(8, 3)

    def forward(self, x):
        return self.head(self.stem(x).add_(torch.tanh(self.moved(x))))


@pytest.mark.parametrize("cache_bytes", [2**30, 1])
@pytest.mark.filterwarnings("ignore:landscope evaluates the whole model")
def test_a_model_that_works_in_place_gives_the_same_answers(cache_bytes):
    model, data = WorksInPlace(), vectors()
    space = ls.ParameterSpace.of(model, "moved.weight")
    risk = ls.EmpiricalRisk(model, nn.functional.cross_entropy, data, space=space, cache_bytes=cache_bytes)
    assert_lines_agree(model, data, risk, torch.randn(1, space.dim), torch.tensor([0.2, -0.3, 0.7]))


def test_the_order_of_directions_changes_no_bit(trained_digits, monkeypatch):
    model, data = trained_digits
    monkeypatch.setattr(lines, "_MAX_GROUP", 2)  # directions are forgotten, and their memory is used again
    space = ls.ParameterSpace.of(model, "2.weight")
    risk = ls.EmpiricalRisk(model, nn.functional.cross_entropy, data, space=space)
    directions, step = torch.randn(6, space.dim), torch.tensor([0.3]).double()
    lines_of_risk = risk.lines(risk.w0, directions)
    forth = [lines_of_risk(torch.tensor([i]), step) for i in range(6)]
    back = [lines_of_risk(torch.tensor([i]), step) for i in reversed(range(6))]
    assert torch.equal(torch.cat(forth), torch.cat(back[::-1]))
    assert torch.equal(torch.cat(forth), lines_of_risk(torch.arange(6), step.expand(6)))


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
