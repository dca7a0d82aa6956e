"""Fisher information where samples are folded with positions or come second, against loops over single samples."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import landscope as ls
from landscope.errors import InputError
from landscope.risk.sample_axes import SampleAxis

N, T, CLASSES = 6, 4, 3


class Frames(nn.Module):
    """A layer that sees all positions of all samples as rows, and a head of their means."""

    def __init__(self, layer=None, fold=lambda x: x.flatten(0, 1), width=5):
        super().__init__()
        self.a, self.o, self.fold = layer or nn.Linear(2, width), nn.Linear(width, CLASSES), fold

    def forward(self, x):
        n, t = x.shape[0], x.shape[1]
        rows = self.a(self.fold(x))
        hidden = torch.tanh(rows[0] if isinstance(rows, tuple) else rows).flatten(1)
        return self.o(hidden.view(n, t, hidden.shape[1]).mean(1))


class TimeMajor(Frames):
    """Rows of one time follow each other, as after a transpose."""

    def forward(self, x):
        n, t, d = x.shape
        return self.o(torch.tanh(self.a(x.transpose(0, 1).reshape(t * n, d))).view(t, n, -1).mean(0))


class Steps(nn.Module):
    """A recurrent network with the time first, which returns [T, N, C], or [N * T, C] where it is flat."""

    def __init__(self, *, flat=False, decides=False):
        super().__init__()
        self.r, self.norm, self.o = nn.GRU(2, 3), nn.LayerNorm(3), nn.Linear(3, CLASSES)
        self.flat, self.decides = flat, decides

    def forward(self, x):
        hidden = self.norm(self.r(x.transpose(0, 1))[0])
        if self.decides and float(hidden.detach().sum()) > 1e9:
            hidden = 2 * hidden
        return self.o(hidden.transpose(0, 1).flatten(0, 1) if self.flat else hidden)


class Dense(Steps):
    """The same without a recurrent layer: all its layers have a closed form."""

    def __init__(self, **options):
        super().__init__(**options)
        self.r = None
        self.a = nn.Linear(2, 3)

    def forward(self, x):
        hidden = self.norm(torch.tanh(self.a(x.transpose(0, 1))).cumsum(dim=0))
        return self.o(hidden.transpose(0, 1).flatten(0, 1) if self.flat else hidden)


def of_time_first(outputs, targets):
    return F.cross_entropy(outputs.permute(1, 2, 0), targets, reduction="none").mean(1)


def of_flat(outputs, targets):
    return F.cross_entropy(outputs, targets.flatten(), reduction="none").view(targets.shape).mean(1)


def ctc(outputs, targets):
    lengths = torch.full((outputs.shape[1],), len(outputs)), torch.full((len(targets),), 2)
    return F.ctc_loss(outputs.log_softmax(-1), targets[:, :2] % 2 + 1, *lengths, reduction="none")


def of_means(outputs, targets):
    """All times of a sample take part in one loss."""
    return F.cross_entropy(outputs.mean(0), targets[:, 0], reduction="none")


def mean_of(criterion):
    return lambda outputs, targets: criterion(outputs, targets).mean()


def vectors(n=N, t=T):
    return torch.randn(n, t, 2).double(), torch.randint(CLASSES, (n,))


def sequences(n=N, t=T):
    return torch.randn(n, t, 2).double(), torch.randint(CLASSES, (n, t))


def tokens():
    return torch.randint(4, (N, T)), torch.randint(CLASSES, (N,))


def images():
    return torch.randn(N, T, 2, 3, 3).double(), torch.randint(CLASSES, (N,))


CE = nn.CrossEntropyLoss()
KINDS = {
    "reshape": (lambda: Frames(fold=lambda x: x.reshape(x.shape[0] * x.shape[1], 2)), vectors, CE),
    "as many positions": (Frames, lambda: vectors(4, 4), CE),
    "flatten": (Frames, vectors, CE),
    "view": (lambda: Frames(fold=lambda x: x.view(-1, 2)), vectors, CE),
    "norm": (lambda: Frames(nn.LayerNorm(2), width=2), vectors, CE),
    "embedding": (lambda: Frames(nn.Embedding(4, 5)), tokens, CE),
    "convolution": (lambda: Frames(nn.Conv2d(2, 2, 2), width=8), images, CE),
    "group norm": (lambda: Frames(nn.GroupNorm(1, 2), width=18), images, CE),
    "three axes": (lambda: Frames(nn.Sequential(nn.Unflatten(0, (-1, 1)), nn.Conv3d(1, 1, 2)), width=4), images, CE),
    "time-major rows": (TimeMajor, vectors, CE),
    "time first": (Steps, sequences, of_time_first),
    "time first, as many times": (Dense, lambda: sequences(4, 4), of_time_first),
    "time first, layers": (Dense, sequences, of_time_first),
    "connectionist": (Steps, sequences, ctc),
    "mean of a batch": (Dense, sequences, mean_of(of_time_first)),
    "flat": (lambda: Steps(flat=True), sequences, of_flat),
    "flat mean": (lambda: Dense(flat=True), lambda: sequences(4, 4), mean_of(of_flat)),
    "not traced": (lambda: Steps(decides=True), sequences, of_time_first),
}


def slope_of(model, value):
    found = torch.autograd.grad(value, list(model.parameters()), retain_graph=True, materialize_grads=True)
    return torch.cat([part.flatten() for part in found])


def loops(model, x, y, criterion):
    """The exact and the empirical information, and the change of the outputs, by batches of one sample."""
    exact, own, moved = 0, 0, 0
    for k in range(len(x)):
        outputs = model(x[k : k + 1])
        own = own + slope_of(model, criterion(outputs, y[k : k + 1]).sum()).square() / len(x)
        moved = moved + slope_of(model, outputs.square().sum()).abs() / len(x)
        if criterion is CE:
            for log in outputs[0].log_softmax(dim=0):
                exact = exact + log.exp().detach() * slope_of(model, log).square() / len(x)
    return exact, own, moved


@pytest.mark.filterwarnings("ignore:landscope evaluates the whole model")
@pytest.mark.parametrize("kind", list(KINDS))
def test_all_paths_give_the_sums_of_a_loop_over_single_samples(kind):
    torch.manual_seed(0)
    make, data, criterion = KINDS[kind]
    model, (x, y) = make().double(), data()
    exact, own, moved = loops(model, x, y, criterion)
    risk = ls.EmpiricalRisk(model, criterion, (x, y))
    assert risk.is_traced == (kind != "not traced")
    for by_layers in (True, False):
        fisher = dataclasses.replace(risk.fisher_information(), by_layers=by_layers)
        assert torch.allclose(fisher.diagonal(risk.w0, "empirical"), own, rtol=1e-7, atol=1e-13)
        assert torch.allclose(fisher.output_sensitivity(risk.w0), moved, rtol=1e-7, atol=1e-13)
        if criterion is CE:
            assert torch.allclose(fisher.diagonal(risk.w0), exact, rtol=1e-7, atol=1e-13)


@pytest.mark.parametrize(("folded", "plain"), [(Frames, None), (TimeMajor, None), (Dense, of_time_first)])
def test_kronecker_factors_do_not_depend_on_where_the_samples_are(folded, plain):
    """The twin keeps the samples first; its factors are compared with loops elsewhere."""
    torch.manual_seed(0)
    model = folded().double()

    class Twin(folded):
        def forward(self, x):
            if plain is None:
                return self.o(torch.tanh(self.a(x)).mean(1))
            return self.o(self.norm(torch.tanh(self.a(x)).cumsum(dim=1))).transpose(1, 2)

    twin = Twin().double()
    twin.load_state_dict(model.state_dict())
    x, y = vectors() if plain is None else sequences()
    select = ["a.*", "o.*"]
    risks = [
        ls.EmpiricalRisk(part, own, (x, y), space=ls.ParameterSpace.of(part, select))
        for part, own in ((model, plain or CE), (twin, CE if plain is None else of_columns))
    ]
    for found, expected in zip(*(risk.kronecker_factors(risk.w0) for risk in risks), strict=True):
        assert torch.allclose(found.inputs, expected.inputs, rtol=1e-9)
        assert torch.allclose(found.outputs, expected.outputs, rtol=1e-9, atol=1e-15)


def of_columns(outputs, targets):
    return F.cross_entropy(outputs, targets, reduction="none").mean(1)


class Turn(nn.Module):
    def forward(self, x):
        return x.transpose(1, 2)


class Table(nn.Module):
    """All samples meet one table, with as many rows as there are samples."""

    def __init__(self):
        super().__init__()
        self.first, self.rows = nn.Linear(2, 3), nn.Linear(3, 3)
        self.a, self.o = nn.Linear(3, 3), nn.Linear(N, CLASSES)
        self.register_buffer("places", torch.randn(N, 3))

    def forward(self, x):
        return self.o(torch.tanh(self.a(torch.tanh(self.first(x)))) @ self.rows(self.places).T)


def test_rows_that_are_no_samples_are_never_taken_for_samples():
    torch.manual_seed(0)
    model = Table().double()
    x, y = torch.randn(N, 2).double(), torch.randint(CLASSES, (N,))
    everything = loops(model, x, y, CE)[0]
    for select in ("*", ["a.*", "o.*"]):
        space = ls.ParameterSpace.of(model, select)
        risk = ls.EmpiricalRisk(model, CE, (x, y), space=space)
        expected = torch.cat([
            everything[ls.ParameterSpace.of(model).columns([name])] for name in space.names
        ])  # fmt: skip
        for by_layers in (True, False):
            fisher = dataclasses.replace(risk.fisher_information(), by_layers=by_layers)
            assert torch.allclose(fisher.diagonal(risk.w0), expected, rtol=1e-7, atol=1e-13)
    risk = ls.EmpiricalRisk(model, CE, (x, y))
    with pytest.raises(InputError, match=r"rows, which is called for several samples at once"):
        risk.kronecker_factors(risk.w0)


def test_samples_of_different_lengths_have_gradients_but_no_sensitivity():
    """Their outputs are rows of all samples, so that only the losses say what belongs to whom."""
    torch.manual_seed(0)
    model = nn.Linear(2, CLASSES).double()
    lengths = [2, 5, 1]
    rows, labels = torch.randn(8, 2).double(), torch.randint(CLASSES, (8,))

    def losses(model, batch):
        single = F.cross_entropy(model(batch[0]), batch[1], reduction="none")
        return torch.stack([part.mean() for part in single.split(lengths)])

    risk = ls.EmpiricalRisk.from_closure(model, losses, [(rows, labels)])
    expected = sum(slope_of(model, loss).square() for loss in losses(model, (rows, labels))) / 3
    fisher = risk.fisher_information()
    assert torch.allclose(fisher.diagonal(risk.w0, "empirical"), expected, rtol=1e-9)
    with pytest.raises(InputError, match=r"what belongs to which sample"):
        fisher.output_sensitivity(risk.w0)


@pytest.mark.parametrize(("make", "criterion"), [(Frames, CE), (Dense, of_time_first), (Steps, of_time_first)])
def test_batches_of_other_lengths_and_sizes(make, criterion):
    """The largest batch is tested; in one of the others there are as many times as samples."""
    torch.manual_seed(0)
    model = make().double()
    data = vectors if criterion is CE else sequences
    batches = [data(n, t) for n, t in ((2, 5), (6, 4), (3, 3), (1, 2))]
    risk = ls.EmpiricalRisk(model, criterion, batches)
    found = [loops(model, x, y, criterion) for x, y in batches]
    exact, own, moved = (sum(len(x) * part for (x, _), part in zip(batches, parts, strict=True)) / 12
                         for parts in zip(*found, strict=True))  # fmt: skip
    fisher = risk.fisher_information()
    assert torch.allclose(fisher.diagonal(risk.w0, "empirical"), own, rtol=1e-7, atol=1e-13)
    assert torch.allclose(fisher.output_sensitivity(risk.w0), moved, rtol=1e-7, atol=1e-13)
    if criterion is CE:
        assert torch.allclose(fisher.diagonal(risk.w0), exact, rtol=1e-7, atol=1e-13)


def test_a_sample_is_one_of_the_data_also_where_its_positions_have_losses_of_their_own():
    """F is the sum over sequences of the squared gradients of their losses, over the number of losses."""
    torch.manual_seed(0)
    model, (x, y) = Dense(flat=True).double(), sequences()

    def of_positions(outputs, targets):
        return F.cross_entropy(outputs, targets.flatten(), reduction="none")

    _, own, moved = loops(model, x, y, of_positions)
    risk = ls.EmpiricalRisk(model, of_positions, (x, y))
    fisher = risk.fisher_information()
    assert torch.allclose(fisher.diagonal(risk.w0, "empirical"), own / T, rtol=1e-7, atol=1e-13)
    assert torch.allclose(fisher.output_sensitivity(risk.w0), moved, rtol=1e-7, atol=1e-13)
    single = [risk.mean_gradient(risk.w0, torch.tensor([k])) * T for k in range(N)]  # the mean of T losses
    assert torch.allclose(own, sum(part.square() for part in single) / N, rtol=1e-7, atol=1e-13)


class Routed(Frames):
    """Positions above a threshold go to one layer, so that its rows are of no fixed number."""

    def forward(self, x):
        rows = self.fold(x)
        hidden, large = rows @ torch.ones(2, 5).to(rows), rows[:, 0] > 0
        hidden = hidden.index_put((large,), self.a(rows[large]))
        return self.o(torch.tanh(hidden).view(len(x), -1, 5).mean(1))


@pytest.mark.filterwarnings("ignore:landscope evaluates the whole model")
@pytest.mark.parametrize("seed", range(4))
def test_layers_that_see_chosen_positions_only(seed):
    torch.manual_seed(seed)
    model, (x, y) = Routed().double(), vectors(5, 2)
    if seed == 0:  # as many chosen positions as samples, in another order
        x[..., 0] = torch.tensor([[1, 1], [-1, -1], [1, 1], [-1, 1], [-1, -1]]) * x[..., 0].abs()
    exact, own, _ = loops(model, x, y, CE)
    risk = ls.EmpiricalRisk(model, CE, (x, y))
    fisher = risk.fisher_information()
    assert torch.allclose(fisher.diagonal(risk.w0), exact, rtol=1e-7, atol=1e-13)
    assert torch.allclose(fisher.diagonal(risk.w0, "empirical"), own, rtol=1e-7, atol=1e-13)


@pytest.mark.parametrize("compares", [False, True])
def test_functions_of_a_batch_with_time_first(compares):
    torch.manual_seed(0)
    model, (x, y) = Dense().double(), sequences()

    def losses(model, batch):
        found = of_time_first(model(batch[0]), batch[1])
        return found - found.mean() / 2 if compares else found

    risk = ls.EmpiricalRisk.from_closure(model, losses, [(x, y)])
    fisher, (_, own, moved) = risk.fisher_information(), loops(model, x, y, of_time_first)
    assert torch.allclose(fisher.output_sensitivity(risk.w0), moved, rtol=1e-7, atol=1e-13)
    if compares:
        with pytest.raises(InputError, match=r"compare the samples"):
            fisher.diagonal(risk.w0, "empirical")
    else:
        assert torch.allclose(fisher.diagonal(risk.w0, "empirical"), own, rtol=1e-7, atol=1e-13)


def test_the_gauss_newton_diagonal_of_time_first_outputs_is_that_of_its_products():
    torch.manual_seed(0)
    model, data = Dense().double(), sequences()
    risk = ls.EmpiricalRisk(model, of_means, data, space=ls.ParameterSpace.of(model, "a.*"))
    fisher = risk.fisher_information()
    expected = torch.stack(
        [fisher.gauss_newton_product(risk.w0, row)[k] for k, row in enumerate(torch.eye(9).double())]
    )
    assert torch.allclose(fisher.diagonal(risk.w0, "gauss-newton"), expected, rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize(
    "criterion", [nn.MSELoss(), ls.NegativeLogLikelihood(lambda z: torch.distributions.Normal(z, 1))]
)
def test_outputs_that_are_turned_in_memory_have_their_information(criterion):
    torch.manual_seed(0)
    turned = nn.Sequential(nn.Linear(2, 3), Turn()).double()
    risk = ls.EmpiricalRisk(turned, criterion, (torch.randn(N, T, 2).double(), torch.zeros(N, 3, T).double()))
    fisher = risk.fisher_information()
    expected = torch.stack([fisher.product(risk.w0, row)[k] for k, row in enumerate(torch.eye(9).double())])
    assert torch.allclose(fisher.diagonal(risk.w0), expected, rtol=1e-9)
    assert expected.min() > 0


@pytest.mark.parametrize(
    ("axis", "shape", "first"),
    [
        (SampleAxis(1), (2, 3, 4), lambda x: x.permute(1, 0, 2)),
        (SampleAxis(0, folded=True), (6, 4), lambda x: x.view(3, 2, 4)),
        (SampleAxis(0, outer=False, folded=True), (6, 4), lambda x: x.view(2, 3, 4).permute(1, 0, 2)),
        (SampleAxis(1, outer=False, folded=True), (4, 6), lambda x: x.view(4, 2, 3).permute(2, 0, 1)),
    ],
)
def test_views_with_the_samples_first_go_back(axis, shape, first):
    x = torch.arange(24.0).view(shape)
    view = axis.first(x, 3)
    assert torch.equal(view.reshape(3, -1).sort(1).values, first(x).reshape(3, -1).sort(1).values)
    assert torch.equal(axis.back(view), x)


def test_a_layer_may_be_called_by_the_name_of_its_input():
    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 3)

        def forward(self, x):
            return self.layer(input=x)

    named, plain = Named(), nn.Sequential(nn.Linear(4, 3))
    plain[0].load_state_dict(named.layer.state_dict())
    data = (torch.randn(6, 4), torch.randint(3, (6,)))
    first, second = (ls.EmpiricalRisk(model, nn.CrossEntropyLoss(), data) for model in (named, plain))
    for own, other in zip(first.kronecker_factors(first.w0), second.kronecker_factors(second.w0), strict=True):
        assert torch.allclose(own.inputs, other.inputs)
        assert torch.allclose(own.outputs, other.outputs)
