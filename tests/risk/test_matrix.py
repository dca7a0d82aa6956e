"""Architecture x loss x batch structure against a naive float64 evaluation, without a change to objects of the user."""

import contextlib
import copy
import itertools
import math
import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import landscope as ls
from landscope.errors import InputError, LandscopeError

N, CLASSES, LENGTH = 24, 3, 5


class Vectors(nn.Module):
    """Linear layers with BatchNorm, dropout and a residual path."""

    batch = "vectors"

    def __init__(self):
        super().__init__()
        self.first, self.norm, self.drop = nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Dropout(0.5)
        self.inner, self.head = nn.Linear(6, 6), nn.Linear(6, CLASSES)

    def forward(self, x):
        h = torch.tanh(self.norm(self.first(x)))
        return self.head(h + self.drop(torch.tanh(self.inner(h))))


class Images(nn.Module):
    batch = "images"

    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.inner = nn.Conv2d(1, 3, 3, padding=1), nn.BatchNorm2d(3), nn.Conv2d(3, 3, 3)
        self.head = nn.Linear(3, CLASSES)

    def forward(self, x):
        h = torch.tanh(self.norm(self.conv(x)))
        return self.head(torch.tanh(self.inner(h)).mean(dim=(2, 3)))


class LowRank(nn.Module):
    """A frozen layer with a LoRA-style addition, and layer normalisation."""

    batch = "vectors"

    def __init__(self):
        super().__init__()
        self.base = nn.Linear(4, 6).requires_grad_(False)
        self.down, self.up = nn.Linear(4, 2, bias=False), nn.Linear(2, 6, bias=False)
        self.norm, self.head = nn.LayerNorm(6), nn.Linear(6, CLASSES).requires_grad_(False)

    def forward(self, x):
        return self.head(self.norm(torch.tanh(self.base(x) + self.up(self.down(x)))))


class Attention(nn.Module):
    """Embedding, attention and a head tied to the embedding, with one output for each token."""

    batch = "tokens"

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(7, 4)
        self.attend = nn.MultiheadAttention(4, 2, batch_first=True, dropout=0.3)
        self.inner = nn.Linear(4, 4)
        self.head = nn.Linear(4, 7, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, tokens):
        h = self.embed(tokens)
        h = h + self.attend(h, h, h, need_weights=False)[0]
        return self.head(torch.tanh(self.inner(h)))


class TwoInputs(nn.Module):
    """Two named inputs, and an output with several fields."""

    batch = "several"

    def __init__(self):
        super().__init__()
        self.left, self.right, self.inner = nn.Linear(4, 6), nn.Linear(2, 6), nn.Linear(6, 6)
        self.head = nn.Linear(6, CLASSES)

    def forward(self, first, second):
        h = torch.tanh(self.left(first) + self.right(second))
        return {"logits": self.head(torch.tanh(self.inner(h))), "hidden": h}


SELECT = {Vectors: "inner.*", Images: "inner.*", LowRank: None, Attention: "*", TwoInputs: "inner.*"}


def token_losses(outputs, labels):
    """Sum over the counted positions, and their number."""
    losses = F.cross_entropy(outputs.flatten(0, 1), labels.flatten(), ignore_index=-100, reduction="none")
    return losses.reshape(labels.shape).sum(1), float((labels != -100).sum())


def token_mean(outputs, labels):
    return F.cross_entropy(outputs.flatten(0, 1), labels.flatten(), ignore_index=-100)


def unit(labels, like):
    return F.one_hot(labels, CLASSES).to(like)


def distances(outputs, labels):
    return (outputs - unit(labels, outputs)).square().sum(1)


LOSSES = {
    "cross-entropy": (F.cross_entropy, F.cross_entropy),
    "smoothed": (nn.CrossEntropyLoss(label_smoothing=0.1),) * 2,
    "weighted": (nn.CrossEntropyLoss(weight=torch.tensor([0.2, 1.0, 3.0])),) * 2,
    "ignored": (nn.CrossEntropyLoss(ignore_index=1),) * 2,
    "own, a loss a sample": (distances, lambda o, y: distances(o, y).mean()),
    "own, a mean": (lambda o, y: F.huber_loss(o, unit(y, o)), lambda o, y: F.huber_loss(o, unit(y, o))),
    "tokens": (token_losses, token_mean),
}  # fmt: skip
STRUCTURES = ("tensors", "loader", "dataset", "tuples", "mappings", "uneven batches")


def inputs_of(kind):
    if kind == "vectors":
        return (torch.randn(N, 4),)
    if kind == "images":
        return (torch.randn(N, 1, 6, 6),)
    if kind == "tokens":
        return (torch.randint(0, 7, (N, LENGTH)),)
    return torch.randn(N, 4), torch.randn(N, 2)


def structured(structure, names, inputs, targets):
    """The same samples in each data structure that a user may pass."""
    cuts = [slice(0, 10), slice(10, 20), slice(20, N)]
    if structure == "tensors" and len(inputs) == 1:
        return inputs[0], targets
    if structure == "dataset":
        return torch.utils.data.TensorDataset(*inputs, targets)
    if structure == "loader":
        return torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*inputs, targets), batch_size=7)
    if structure == "uneven batches" and len(inputs) == 1:
        return [(inputs[0][cut], targets[cut]) for cut in cuts]
    if structure == "mappings":
        return [{**{n: x[cut] for n, x in zip(names, inputs, strict=True)}, "labels": targets[cut]} for cut in cuts]
    return [(*(x[cut] for x in inputs), targets[cut]) for cut in cuts]


TRACED = (Vectors, Images, LowRank)
WHOLE = tuple(loss for loss in LOSSES if loss != "tokens")
ONE_NUMBER = tuple(loss for loss in WHOLE if not loss.startswith("own"))
SEVERAL = ("loader", "dataset", "tuples", "mappings")
# Not every triple, but every pair: loss with structure, and both with each architecture that takes them.
CASES = [
    *((TRACED[(i + j) % 3], loss, form) for i, loss in enumerate(WHOLE) for j, form in enumerate(STRUCTURES)),
    *((Attention, "tokens", form) for form in STRUCTURES),
    *((TwoInputs, *pair) for pair in zip(ONE_NUMBER, SEVERAL, strict=True)),
]


def test_the_cases_meet_every_pair():
    met = {pair for case in CASES for pair in itertools.combinations(case, 2)}
    assert {*itertools.product(LOSSES, STRUCTURES)} <= met
    assert {*itertools.product(TRACED, WHOLE), (Attention, "tokens")} <= met
    assert {*itertools.product([*TRACED, Attention], STRUCTURES)} <= met
    assert {*itertools.product([TwoInputs], [*ONE_NUMBER, *SEVERAL])} <= met


def state_of(model):
    """All state of the user that a risk might change."""
    return {
        "values": {name: value.clone() for name, value in model.state_dict().items()},
        "modes": [module.training for module in model.modules()],
        "wants": [parameter.requires_grad for parameter in model.parameters()],
        "gradients": [None if p.grad is None else p.grad.clone() for p in model.parameters()],
        "random": torch.get_rng_state(),
        "ids": [id(parameter) for parameter in model.parameters()],
    }


def assert_untouched(before, model):
    after = state_of(model)
    for name, value in before["values"].items():
        assert torch.equal(value, after["values"][name]), name
    for part in ("modes", "wants", "ids"):
        assert before[part] == after[part], part
    for old, new in zip(before["gradients"], after["gradients"], strict=True):
        assert (old is None) == (new is None)
        assert old is None or torch.equal(old, new)
    assert torch.equal(before["random"], after["random"])


def prepared(build, device):
    model = build().to(device)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.running_mean.uniform_(-0.5, 0.5)
            module.running_var.uniform_(0.5, 2.0)
    model.train()
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.grad = torch.randn_like(parameter)
    return model


def problem(build, device):
    """A model, its inputs and its targets."""
    model = prepared(build, device)
    inputs = tuple(x.to(device) for x in inputs_of(build.batch))
    targets = torch.randint(0, CLASSES, (N, LENGTH) if build is Attention else (N,), device=device)
    return model, inputs, targets


def slow_risk(*args, **options):
    """A risk; some models cannot be traced, and the numbers are what counts here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return ls.EmpiricalRisk(*args, **options)


class Twin:
    """Naive evaluation: the whole model in float64 on all samples at once."""

    def __init__(self, model, space, inputs, targets, mean_loss):
        self.model = copy.deepcopy(model).double().cpu().eval().requires_grad_(False)
        self.space, self.targets, self.mean_loss = space, targets.cpu(), mean_loss
        self.inputs = [x.cpu().double() if x.is_floating_point() else x.cpu() for x in inputs]
        if isinstance(mean_loss, nn.Module):
            self.mean_loss = copy.deepcopy(mean_loss).double().cpu()

    def __call__(self, w):
        with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
            outputs = torch.func.functional_call(self.model, self.space.unflatten(w), tuple(self.inputs))
        return self.mean_loss(outputs["logits"] if isinstance(outputs, dict) else outputs, self.targets)


@pytest.mark.filterwarnings("ignore:The lines start at other weights")  # meant here: the twin has the same statistics
@pytest.mark.parametrize(
    ("build", "loss", "structure"), CASES, ids=["-".join([b.__name__, *rest]) for b, *rest in CASES]
)
def test_risk_lines_and_derivatives(build, loss, structure, device):
    model, inputs, targets = problem(build, device)
    criterion, mean_loss = LOSSES[loss]
    if isinstance(criterion, nn.Module):
        criterion = copy.deepcopy(criterion).to(device)
    if build is Attention:
        targets[:, 0] = -100
        targets[3, 2:] = -100
    names = ["first", "second"] if build is TwoInputs else ["tokens" if build is Attention else "x"]
    data = structured(structure, names, inputs, targets)
    space = ls.ParameterSpace.of(model, SELECT[build])
    before = state_of(model)
    risk = slow_risk(model, criterion, data, space=space)
    twin = Twin(model, space, inputs, targets, mean_loss)

    w = (risk.w0 + 0.1 * torch.randn(space.dim, device=device)).detach()
    exact = w.cpu().double().requires_grad_()
    assert float(risk(w)) == pytest.approx(twin(exact).item(), rel=2e-6)

    directions = torch.randn(2, space.dim, device=device)
    steps = torch.tensor([-0.3, 0.0, 0.2])
    found = ls.loss_profiles(risk, w, directions, steps).loss
    for row, d in itertools.product(range(2), range(3)):
        point = exact.detach() + steps[d].double() * directions[row].cpu().double()
        assert float(found[row, d]) == pytest.approx(twin(point).item(), rel=4e-6)

    (gradient,) = torch.autograd.grad(twin(exact), exact, create_graph=True)
    scale = gradient.detach().norm().item()
    assert torch.allclose(risk.gradient(w).cpu().double(), gradient.detach(), rtol=0, atol=2e-5 * scale)
    vector = torch.randn(space.dim, device=device)
    (product,) = torch.autograd.grad(gradient @ vector.cpu().double(), exact)
    found = risk.hessian_vector_product(w, vector).cpu().double()
    assert torch.allclose(found, product, rtol=0, atol=1e-4 * float(product.norm()))
    assert_untouched({**before, "random": torch.get_rng_state()}, model)


@pytest.mark.parametrize("build", SELECT)
def test_the_random_state_and_the_model_come_back(build, device):
    model, inputs, targets = problem(build, device)
    criterion = token_losses if build is Attention else F.cross_entropy
    data = structured("tuples", (), inputs, targets)
    space = ls.ParameterSpace.of(model, SELECT[build])
    directions = torch.randn(2, space.dim, device=device)
    before = state_of(model)
    risk = slow_risk(model, criterion, data, space=space)
    risk(risk.w0)
    risk.gradient(risk.w0)
    risk.hessian_vector_product(risk.w0, directions[0])
    ls.flatness(risk, risk.w0, directions)
    assert_untouched(before, model)


class Broken(nn.Module):
    """Fails at its third call."""

    def __init__(self, inner):
        super().__init__()
        self.inner, self.calls = inner, 0

    def forward(self, *inputs):
        self.calls += 1
        if self.calls > 2:
            raise ValueError("no more")
        return self.inner(*inputs)


@pytest.mark.parametrize("build", [Vectors, Images, LowRank])
def test_also_after_an_exception(build, device):
    model = Broken(prepared(build, device)).to(device)
    model.training = True
    data = (inputs_of(build.batch)[0].to(device), torch.randint(0, CLASSES, (N,), device=device))
    before = state_of(model)

    def criterion(outputs, targets):
        if not outputs.requires_grad and len(targets) == N:
            criterion.calls += 1
            if criterion.calls > 3:
                raise ValueError("enough")
        return F.cross_entropy(outputs, targets, reduction="none")

    criterion.calls = 0

    def use():
        risk = slow_risk(model, criterion, data)
        for _ in range(5):
            risk(risk.w0)

    with pytest.raises((ValueError, LandscopeError)):
        use()
    assert_untouched(before, model)


@pytest.mark.parametrize("build", SELECT)
@pytest.mark.parametrize("fails", [False, True])
def test_the_recorder_reads_only(build, fails, device):
    """The same training with and without a recorder ends in the same bits; an exception passes through."""

    def trained(record):
        torch.manual_seed(1)
        model, inputs, targets = problem(build, device)
        optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=0.01)
        rows = []

        def train():
            for step in range(6):
                optimizer.zero_grad()
                outputs = model(*inputs)
                outputs = outputs["logits"] if isinstance(outputs, dict) else outputs
                F.cross_entropy(outputs.flatten(0, -2), targets.flatten()).backward()
                optimizer.step()
                rows.append(ls.ParameterSpace.of(model, SELECT[build]).flatten(model).cpu())
                if fails and step == 3:
                    raise KeyError("user's own")

        recorder = ls.TrajectoryRecorder(model, optimizer, SELECT[build])
        recording = recorder if record else contextlib.nullcontext()
        with pytest.raises(KeyError) if fails else contextlib.nullcontext(), recording:
            train()
        return model, recorder, torch.stack(rows)

    model, recorder, rows = trained(record=True)
    assert torch.equal(recorder.trajectory().weights, rows)
    bare, _, _ = trained(record=False)
    assert_untouched({**state_of(bare), "ids": [id(p) for p in model.parameters()]}, model)


def test_one_warning_explains_slow_evaluation():
    data = [{"first": torch.randn(5, 4), "second": torch.randn(5, 2), "labels": torch.randint(0, CLASSES, (5,))}]
    model = TwoInputs()
    with pytest.warns(UserWarning, match="several inputs") as told:
        risk = ls.EmpiricalRisk(model, F.cross_entropy, data)
    ls.flatness(risk, risk.w0, torch.randn(2, risk.space.dim))  # any warning here would be an error
    assert len(told) == 1
    assert not risk.is_traced


@pytest.mark.parametrize("batch", [{"x": torch.zeros(2, 4)}, {"labels": torch.zeros(2).long()}, {}])
def test_mappings_need_inputs_and_targets(batch):
    with pytest.raises(InputError, match="targets under one of labels"):
        ls.EmpiricalRisk(Vectors(), F.cross_entropy, [batch])


# Batch normalisation with statistics taken anew -----------------------------------------------------------------------


def test_statistics_are_kept_or_reestimated(device, monkeypatch):
    """At each point, means and variances are averaged over batches, and other layers are in eval mode."""
    model = prepared(Vectors, device)
    x, y = torch.randn(N, 4, device=device), torch.randint(0, CLASSES, (N,), device=device)
    monkeypatch.setattr("landscope.risk.prepared._NORM_ROWS", 20)  # 24 samples: two batches of 12
    batches = [(x[:12], y[:12]), (x[12:], y[12:])]
    space = ls.ParameterSpace.of(model, "first.*")
    before = state_of(model)
    data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=12)
    risk = ls.EmpiricalRisk(model, F.cross_entropy, data, space=space, batch_norm="re-estimated")
    kept = ls.EmpiricalRisk(model, F.cross_entropy, (x, y), space=space)

    def naive(w):
        twin = copy.deepcopy(model).double().eval()
        with torch.no_grad():
            for name, value in space.unflatten(w.double()).items():
                dict(twin.named_parameters())[name].copy_(value)
            hidden = [twin.first(part.double()) for part, _ in batches]
            twin.norm.running_mean.copy_(torch.stack([h.mean(0) for h in hidden]).mean(0))
            twin.norm.running_var.copy_(torch.stack([h.var(0) for h in hidden]).mean(0))
            return float(F.cross_entropy(twin(x.double()), y))

    for scale in (1.0, 0.5, 3.0):
        w = risk.w0 * scale
        assert float(risk(w)) == pytest.approx(naive(w), rel=1e-5)
        assert float(kept(w)) != pytest.approx(naive(w), rel=1e-2)
    profile = ls.loss_profiles(risk, risk.w0, risk.w0[None], torch.tensor([0.0, 2.0]))
    assert float(profile.loss[0, 1]) == pytest.approx(naive(3 * risk.w0), rel=1e-5)
    assert_untouched(before, model)
    for landscape, name in ((risk, "re-estimated"), (kept, "kept")):
        found = ls.flatness(landscape, risk.w0, torch.randn(1, space.dim, device=device), max_displacement=0.5)
        assert found.provenance["settings"]["landscape"]["batch_norm"] == name


def test_scaling_before_a_norm_changes_nothing_with_new_statistics():
    """Re-estimated statistics remove the scale of the previous layer; kept statistics do not."""
    model = nn.Sequential(nn.Linear(4, 6, bias=False), nn.BatchNorm1d(6, eps=1e-12), nn.Tanh(), nn.Linear(6, CLASSES))
    data, space = (torch.randn(N, 4), torch.randint(0, CLASSES, (N,))), ls.ParameterSpace.of(model, "0.weight")
    fresh = ls.EmpiricalRisk(model, F.cross_entropy, data, space=space, batch_norm="re-estimated")
    assert float(fresh(2 * fresh.w0)) == pytest.approx(float(fresh(fresh.w0)), rel=1e-6)
    kept = ls.EmpiricalRisk(model, F.cross_entropy, data, space=space)
    assert float(kept(2 * kept.w0)) != pytest.approx(float(kept(kept.w0)), rel=1e-4)


def test_new_statistics_have_no_derivatives_and_need_a_norm():
    data = (torch.randn(N, 4), torch.randint(0, CLASSES, (N,)))
    risk = ls.EmpiricalRisk(Vectors(), F.cross_entropy, data, batch_norm="re-estimated")
    with pytest.raises(InputError, match="without derivatives"):
        risk.gradient(risk.w0)
    with pytest.raises(InputError, match="running statistics"):
        ls.EmpiricalRisk(LowRank(), F.cross_entropy, data, batch_norm="re-estimated")
    assert math.isfinite(float(risk(risk.w0)))


@pytest.mark.parametrize("structure", ["tensors", "loader", "dataset", "uneven batches"])
def test_new_statistics_do_not_depend_on_how_the_data_come(structure):
    x, y = torch.randn(N, 4), torch.randint(0, CLASSES, (N,))
    model = prepared(Vectors, torch.device("cpu"))
    whole = ls.EmpiricalRisk(model, F.cross_entropy, (x, y), batch_norm="re-estimated")
    other = ls.EmpiricalRisk(model, F.cross_entropy, structured(structure, ["x"], (x,), y), batch_norm="re-estimated")
    assert float(other(other.w0)) == pytest.approx(float(whole(whole.w0)), rel=1e-9)


# Criteria that give one number a batch --------------------------------------------------------------------------------


@pytest.mark.parametrize("structure", ["tensors", "mappings"])
@pytest.mark.parametrize(
    "criterion",
    [
        lambda o, y: F.cross_entropy(o, y, reduction="sum"),
        lambda o, y: F.cross_entropy(o, y, ignore_index=1),
        lambda o, y: F.cross_entropy(o, y, weight=torch.tensor([0.2, 1.0, 3.0])),
    ],
    ids=["sum", "ignored", "weighted"],
)
def test_a_scalar_criterion_that_is_not_a_mean_is_refused(structure, criterion):
    """Such a number has no known weight over batches."""
    x, y = torch.randn(N, 4), torch.arange(N) % 2
    y[: N // 2] = 0
    with pytest.raises(InputError, match="the mean over the samples"):
        ls.EmpiricalRisk(Vectors(), criterion, structured(structure, ["x"], (x,), y))


def test_the_weight_of_losses_is_one_number_or_one_for_each():
    data = (torch.randn(N, 4), torch.randint(0, CLASSES, (N,)))
    plain = ls.EmpiricalRisk(Vectors(), F.cross_entropy, data)
    with pytest.raises(InputError, match="one weight for each loss, or one number"):
        ls.EmpiricalRisk(Vectors(), lambda o, y: (F.cross_entropy(o, y, reduction="none"), torch.ones(3)), data)
    risk = ls.EmpiricalRisk(Vectors(), lambda o, y: (F.cross_entropy(o, y, reduction="none"), torch.ones(len(y))), data)
    assert float(risk(plain.w0)) == pytest.approx(float(plain(plain.w0)), rel=1e-6)


def test_wrong_keys_of_a_batch_are_named():
    batches = [{"image": torch.randn(5, 4), "index": torch.arange(5), "labels": torch.randint(0, CLASSES, (5,))}]
    with pytest.raises(InputError, match=r"forward: first, second; got image, index"):
        ls.EmpiricalRisk(TwoInputs(), F.cross_entropy, batches)


def test_logits_of_tokens_must_have_their_classes_second():
    tokens = torch.randint(0, 7, (N, LENGTH))
    with pytest.raises(InputError, match="language_model_losses"):
        ls.EmpiricalRisk(Attention(), nn.CrossEntropyLoss(), (tokens, tokens))
