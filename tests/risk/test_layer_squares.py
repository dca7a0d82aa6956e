"""Sums of powers of single-sample gradients, from the inputs of layers, against a loop over samples."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import landscope as ls
from landscope.risk import sample_gradients
from landscope.risk.layer_terms import layer_term

SAMPLES, CLASSES = 5, 3


class Flat(nn.Module):
    """A layer, the mean over its positions, and a nonlinear head."""

    def __init__(self, layer, width, mean=lambda hidden: hidden):
        super().__init__()
        self.layer, self.head, self.mean = layer, nn.Linear(width, CLASSES), mean

    def forward(self, x):
        return self.head(self.mean(torch.sin(self.layer(x))))


def after(hidden):
    """The mean of channels that come first."""
    return hidden.flatten(2).mean(2)


def before(hidden):
    """The mean of channels that come last."""
    return hidden.flatten(1, -2).mean(1)


class Twice(nn.Module):
    """One layer is called at two depths."""

    def __init__(self):
        super().__init__()
        self.shared, self.head = nn.Linear(4, 4), nn.Linear(4, CLASSES)

    def forward(self, x):
        return self.head(torch.tanh(self.shared(torch.tanh(self.shared(x)))))


class Tied(nn.Module):
    """The table of the inputs is the matrix of the outputs."""

    def __init__(self):
        super().__init__()
        self.embedding, self.norm = nn.Embedding(CLASSES, 4), nn.LayerNorm(4)
        self.head = nn.Linear(4, CLASSES, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, x):
        return self.head(self.norm(self.embedding(x).mean(dim=1)))


class TiedOutside(Tied):
    """The matrix of the outputs is used without its module."""

    def forward(self, x):
        return F.linear(self.norm(self.embedding(x).mean(dim=1)), self.embedding.weight)


class Mirrored(nn.Module):
    """Two layers of positions share a weight; one of them has a bias of its own."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4, bias=False)
        self.third, self.head = nn.Linear(4, 4), nn.Linear(4, CLASSES)
        self.second.weight = self.first.weight

    def forward(self, x):
        positions = torch.stack([x, 2 * x, x.flip(1)], dim=1)
        return self.head(torch.tanh(self.second(torch.tanh(self.first(positions)))).mean(1) + self.third(x))


class TiedConvolutions(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv1d(2, 2, 3, padding=1), nn.Conv1d(2, 2, 3, bias=False)
        self.second.weight, self.head = self.first.weight, nn.Linear(2, CLASSES)

    def forward(self, x):
        return self.head(self.second(torch.tanh(self.first(x))).mean(2))


class TwoNames(Twice):
    """One module is registered twice, and called under both names."""

    def __init__(self):
        super().__init__()
        self.again = self.shared

    def forward(self, x):
        return self.head(torch.tanh(self.again(torch.tanh(self.shared(x)))))


class Turned(nn.Module):
    """Positions come before samples, as in recurrent networks; one weight is used without its module."""

    def __init__(self):
        super().__init__()
        self.layer, self.other, self.head = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, CLASSES)

    def forward(self, x):
        hidden = torch.tanh(self.layer(x.transpose(0, 1))).mean(dim=0)
        return self.head(hidden + F.linear(hidden, self.other.weight))


def images(channels, *size):
    return lambda: torch.randn(SAMPLES, channels, *size)


KINDS = {
    "linear": (lambda: Flat(nn.Linear(4, 6), 6), images(4), True),
    "linear of positions": (lambda: Flat(nn.Linear(4, 6, bias=False), 6, before), images(7, 4), True),
    "convolution": (lambda: Flat(nn.Conv2d(2, 4, 3, stride=2, padding=1), 4, after), images(2, 5, 6), True),
    "groups": (
        lambda: Flat(nn.Conv2d(4, 6, (2, 3), groups=2, dilation=2, bias=False), 6, after),
        images(4, 6, 6),
        True,
    ),
    "same": (
        lambda: Flat(nn.Conv2d(2, 2, 4, padding="same", padding_mode="circular"), 2, after),
        images(2, 5, 5),
        True,
    ),
    "one position": (lambda: Flat(nn.Conv2d(2, 4, 3, groups=2), 4, after), images(2, 3, 3), True),
    "one axis": (lambda: Flat(nn.Conv1d(2, 4, 3, padding=1), 4, after), images(2, 7), True),
    "three axes": (lambda: Flat(nn.Conv3d(2, 4, 2), 4, after), images(2, 3, 3, 3), False),
    "layer norm": (lambda: Flat(nn.LayerNorm((3, 4)), 4, before), images(2, 3, 4), True),
    "root mean square norm": (lambda: Flat(nn.RMSNorm(4), 4), images(4), True),
    "group norm": (lambda: Flat(nn.GroupNorm(2, 4), 4, after), images(4, 3), True),
    "batch norm": (lambda: Flat(nn.BatchNorm2d(4), 4, after), images(4, 3, 3), True),
    "embedding": (
        lambda: Flat(nn.Embedding(4, 6, padding_idx=1), 6, before),
        lambda: torch.randint(4, (SAMPLES, 6)),
        True,
    ),
    "called twice": (Twice, images(4), True),
    "tied": (Tied, lambda: torch.randint(CLASSES, (SAMPLES, 4)), True),
    "tied linear layers": (Mirrored, images(4), True),
    "tied convolutions": (TiedConvolutions, images(2, 5), False),
    "tied outside of layers": (TiedOutside, lambda: torch.randint(CLASSES, (SAMPLES, 4)), False),
    "one module under two names": (TwoNames, images(4), True),
    "turned": (Turned, images(7, 4), False),
}


@pytest.fixture(params=list(KINDS))
def problem(request):
    torch.manual_seed(1)
    make, inputs, by_layer = KINDS[request.param]
    model, x = make(), inputs()
    for part in model.modules():  # away from the special values of a fresh layer
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            part.running_mean.normal_()
            part.running_var.uniform_(0.5, 2)
    with torch.no_grad():
        for tensor in model.parameters():
            tensor.add_(0.3 * torch.randn_like(tensor))
    model, x = model.double(), x.double() if x.is_floating_point() else x
    labels = torch.randint(CLASSES, (SAMPLES,))
    return model, (x, labels), ls.EmpiricalRisk(model, nn.CrossEntropyLoss(), (x, labels)), by_layer


def gradient_of(model, tensors, value):
    found = torch.autograd.grad(value, tensors, retain_graph=True, allow_unused=True)
    return torch.cat([(torch.zeros_like(t) if g is None else g).flatten() for g, t in zip(found, tensors, strict=True)])


def test_layers_give_the_sums_of_a_loop_over_samples(problem, monkeypatch):
    model, (x, labels), risk, by_layer = problem
    model.eval()
    tensors, n = risk.space.tensors(model), risk.space.dim
    exact, own, moved = (torch.zeros(n).double() for _ in range(3))
    for one, label in zip(x, labels, strict=True):
        outputs = model(one[None])[0]
        logs = outputs.log_softmax(dim=0)
        for log in logs:
            exact += log.exp().detach() * gradient_of(model, tensors, log).square() / SAMPLES
        own += gradient_of(model, tensors, logs[label]).square() / SAMPLES
        moved += gradient_of(model, tensors, outputs.square().sum()).abs() / SAMPLES
    one_by_one = []
    original = sample_gradients.SampleGradients._by_samples
    monkeypatch.setattr(
        sample_gradients.SampleGradients,
        "_by_samples",
        lambda self, w, block, ways, *rest: (one_by_one.extend(ways.others), original(self, w, block, ways, *rest))[1],
    )
    fisher = dataclasses.replace(risk.fisher_information(), by_layers=True)
    for found, expected in (
        (fisher.diagonal(risk.w0), exact),
        (fisher.diagonal(risk.w0, "empirical"), own),
        (fisher.output_sensitivity(risk.w0), moved),
    ):
        assert torch.allclose(found, expected, rtol=1e-8, atol=1e-14)
    assert (one_by_one == []) == by_layer
    assert not any(part._forward_hooks for part in risk._model.modules())


def test_a_layer_whose_samples_come_second_takes_part_and_a_weight_without_its_module_does_not():
    torch.manual_seed(0)
    model = Turned().double()
    x, labels = torch.randn(SAMPLES, SAMPLES, 4).double(), torch.randint(CLASSES, (SAMPLES,))  # as many positions
    risk = ls.EmpiricalRisk(model, nn.CrossEntropyLoss(), (x, labels))
    fisher = dataclasses.replace(risk.fisher_information(), by_layers=True)
    slopes = fisher.slopes(fisher._source(), risk.w0, "exact")
    ways = fisher.sample_gradients().tested(risk.w0, 0, slopes, 2)
    assert list(ways.groups) == ["layer", "head"]
    assert [axis.axis for axis in ways.axes["layer"].axes] == [1]
    assert list(ways.others) == ["other.weight", "other.bias"]


def test_layers_with_rules_of_their_own_have_no_closed_form():
    assert layer_term(nn.Embedding(3, 2, max_norm=1.0)) is None
    assert layer_term(nn.Embedding(3, 2, scale_grad_by_freq=True)) is None
    assert layer_term(nn.BatchNorm1d(3, track_running_stats=False)) is None
    assert layer_term(nn.LSTM(3, 2)) is None

    class Doubled(nn.Linear):
        def forward(self, x):
            return 2 * super().forward(x)

    assert layer_term(Doubled(2, 2)) is None


class Masked(nn.Module):
    """Two layers of a mapping of inputs, which is not traced: the result of the first one is stored for each batch."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.head = nn.Linear(3, 4), nn.Linear(4, 4), nn.Linear(4, CLASSES)

    def forward(self, x, mask):
        if not isinstance(x, torch.Tensor):
            raise TypeError
        hidden = torch.sin(self.second(torch.sin(self.first(x)))) * mask[..., None]
        return self.head(hidden.sum(dim=1))


@pytest.mark.filterwarnings("ignore:landscope evaluates the whole model")
def test_layers_are_watched_where_first_layers_are_stored_only_then():
    """Of batches of other lengths, each with a recording of its own at its first evaluation."""
    torch.manual_seed(0)
    model = Masked().double()
    batches = [
        {"x": torch.randn(3, n, 3).double(), "mask": torch.ones(3, n).double(), "labels": torch.arange(3)}
        for n in (2, 4)
    ]
    space = ls.ParameterSpace.of(model, ["second.*", "head.*"])

    def made(**options):
        return ls.EmpiricalRisk(model, nn.CrossEntropyLoss(), batches, space=space, **options)

    stored, whole = made(), made(cache_bytes=0)
    for kind in ("exact", "empirical"):
        found, expected = (risk.fisher_information().diagonal(risk.w0, kind) for risk in (made(), whole))
        assert torch.allclose(found, expected, rtol=1e-10, atol=0)
    for found, expected in zip(stored.kronecker_factors(stored.w0), whole.kronecker_factors(whole.w0), strict=True):
        assert torch.allclose(found.inputs, expected.inputs, rtol=1e-10)
        assert torch.allclose(found.outputs, expected.outputs, rtol=1e-10)
