"""Penalties that remember a task: each constructor against its published formula, written out slowly in float64."""

import contextlib
import math

import pytest
import torch
from torch import nn

import landscope as ls
from landscope.penalties.blocks import PenaltySum
from landscope.penalties.kronecker import KroneckerPenalty
from landscope.reproduction.experiment.networks import mlp
from landscope.synthetic import InverseGaussian

SAMPLES, CLASSES = 12, 3


class Twisted(nn.Module):
    """Cannot be traced: its path depends on the data."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(6, 4), nn.Linear(4, CLASSES)

    def forward(self, x):
        hidden = self.first(x)
        return self.last(torch.relu(hidden) if x.shape[0] >= 0 and bool(torch.ones(1).sum() > 0) else hidden)


def convolutional():
    return nn.Sequential(
        nn.Conv2d(2, 3, 2, stride=1, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(12, CLASSES, bias=False),
    )  # fmt: skip


MODELS = {
    "perceptron": (lambda: mlp([6, 5, 4, CLASSES]), (6,), "2.weight"),
    "with bias": (lambda: mlp([6, 5, 4, CLASSES], bias=True), (6,), ["2.*", "4.*"]),
    "convolution": (convolutional, (2, 3, 3), ["0.*", "4.weight"]),
    "untraced": (Twisted, (6,), "first.*"),
}


@pytest.fixture(params=list(MODELS))
def problem(request):
    make, shape, select = MODELS[request.param]
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = make().double()
        data = (torch.randn(SAMPLES, *shape).double(), torch.randint(CLASSES, (SAMPLES,)))
    with pytest.warns(UserWarning, match="slower") if request.param == "untraced" else contextlib.nullcontext():
        risk = ls.EmpiricalRisk(model, nn.CrossEntropyLoss(), data, space=ls.ParameterSpace.of(model, select))
    return model, data, risk


def slopes_of_answers(model, data, risk):
    """Gradient of ln p_c of every sample and class, one at a time, and the probabilities: [M, C, N], [M, C]."""
    tensors = risk.space.tensors(model)
    slopes, chances = [], []
    for x in data[0]:
        logs = model(x[None]).log_softmax(dim=1)[0]
        rows = [torch.autograd.grad(log, tensors, retain_graph=True) for log in logs]
        slopes.append(torch.stack([torch.cat([part.flatten() for part in row]) for row in rows]))
        chances.append(logs.exp().detach())
    return torch.stack(slopes), torch.stack(chances)


def fisher_matrix(model, data, risk):
    slopes, chances = slopes_of_answers(model, data, risk)
    return torch.einsum("kc,kci,kcj->ij", chances, slopes, slopes) / SAMPLES


def test_the_fisher_information_agrees_with_the_sum_over_samples_and_answers(problem):
    expected = fisher_matrix(*problem)
    risk = problem[2]
    found = risk.fisher_information()
    assert torch.allclose(found.diagonal(risk.w0), expected.diagonal(), rtol=1e-9, atol=1e-15)
    vector = torch.randn(risk.space.dim).double()
    assert torch.allclose(found.product(risk.w0, vector), expected @ vector, rtol=1e-9, atol=1e-12)


def test_the_other_fishers_are_what_their_names_say(problem):
    _model, data, risk = problem
    slopes, _ = slopes_of_answers(*problem)
    own = slopes[torch.arange(SAMPLES), data[1]]
    found = risk.fisher_information()
    assert torch.allclose(found.diagonal(risk.w0, "empirical"), own.square().mean(dim=0), rtol=1e-9, atol=1e-15)
    batches = own.view(4, 3, -1).mean(dim=1)
    got = found.diagonal(risk.w0, "batch-mean", batch_size=3)
    assert torch.allclose(got, batches.square().mean(dim=0), rtol=1e-9, atol=1e-15)
    one = found.diagonal(risk.w0, "batch-mean", batch_size=1)
    assert torch.allclose(one, found.diagonal(risk.w0, "empirical"), rtol=1e-9, atol=1e-15)


def test_measuring_leaves_the_model_as_it_was(problem):
    model, _, risk = problem
    before = {name: value.clone() for name, value in model.state_dict().items()}
    random = torch.get_rng_state()
    ls.penalties.elastic_weight_consolidation(risk, risk.w0)
    ls.penalties.kronecker_elastic_weight_consolidation(risk, risk.w0)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())
    assert torch.equal(random, torch.get_rng_state())
    assert not any(part._forward_hooks for part in [*model.modules(), *risk._model.modules()])


def test_kronecker_factors_agree_with_sums_over_samples_positions_and_answers(problem):
    model, data, risk = problem
    for layer in risk.kronecker_factors(risk.w0):
        part = model.get_submodule(layer.name)
        a = torch.zeros_like(layer.inputs)
        g = torch.zeros_like(layer.outputs)
        for x in data[0]:
            entered, left = _watch(part, model, x)
            logs = left[1].log_softmax(dim=1)[0]
            rows = _positions(part, entered, layer.columns.shape[1])
            a += rows.T @ rows
            for log in logs:
                (slope,) = torch.autograd.grad(log, left[0], retain_graph=True)
                slope = slope[0].flatten(1).T if isinstance(part, nn.Conv2d) else slope
                g += log.exp().detach() * slope.T @ slope / len(slope)
        assert torch.allclose(layer.inputs, a / SAMPLES, rtol=1e-9)
        assert torch.allclose(layer.outputs, g / SAMPLES, rtol=1e-9, atol=1e-15)
        weights = risk.w0[layer.columns][:, : part.weight[0].numel()]
        assert torch.equal(weights, part.weight.detach().flatten(1))


def _watch(part, model, x):
    kept = {}

    def note(_, entered, left):
        kept["entered"], kept["left"] = entered[0].detach(), left
        return left.clone()

    handle = part.register_forward_hook(note)
    logits = model(x[None])
    handle.remove()
    return kept["entered"], (kept["left"], logits)


def _positions(part, entered, width):
    """Every window of the image that a kernel sees, one by one; a 1 at the end where there is a bias."""
    if isinstance(part, nn.Linear):
        rows = entered
    else:
        image = nn.functional.pad(entered[0], (part.padding[1],) * 2 + (part.padding[0],) * 2)
        high, wide = part.kernel_size
        places = [(i, j) for i in range(image.shape[1] - high + 1) for j in range(image.shape[2] - wide + 1)]
        rows = torch.stack([image[:, i : i + high, j : j + wide].flatten() for i, j in places])
    return rows if rows.shape[1] == width else torch.cat([rows, torch.ones(len(rows), 1).double()], dim=1)


class CountsItsSamples(nn.Module):
    """Reads the number of samples before the free layer, and forgets the first axis of a batch of one."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(6, 6, bias=False), nn.Linear(3, CLASSES)

    def forward(self, x):
        count = x.size(0)
        return self.last(torch.relu(self.first(x)).view(count, 2, 3).sum(dim=1)).squeeze()


def test_models_that_know_how_many_samples_they_see_have_the_same_fisher_information():
    model = CountsItsSamples().double()
    data = (torch.randn(SAMPLES, 6).double(), torch.randint(CLASSES, (SAMPLES,)))
    risk = ls.EmpiricalRisk(model, nn.CrossEntropyLoss(), data, space=ls.ParameterSpace.of(model, "first.weight"))
    whole = torch.zeros(36).double()
    for row in range(SAMPLES):
        outputs = model(data[0])[row]
        p = outputs.softmax(dim=0).detach()
        for answer in range(CLASSES):
            slope = torch.autograd.grad(model(data[0])[row].log_softmax(dim=0)[answer], model.first.weight)[0].flatten()
            whole += p[answer] * slope.square()
    found = risk.fisher_information().diagonal(risk.w0)
    assert torch.allclose(found, whole / SAMPLES, rtol=1e-9, atol=1e-15)


def test_weights_come_to_the_model_in_its_dtype(capfd):
    model = mlp([4, 3, 3, 2], seed=0)
    data = (torch.randn(8, 4), torch.tensor([0, 1] * 4))
    risk = ls.EmpiricalRisk(model, nn.CrossEntropyLoss(), data, space=ls.ParameterSpace.of(model, "2.weight"))
    penalty = ls.penalties.elastic_weight_consolidation(risk, risk.w0.double())
    assert torch.allclose(penalty.stiffness.float(), ls.penalties.elastic_weight_consolidation(risk, risk.w0).stiffness)
    assert capfd.readouterr().err == ""


def test_for_one_sample_and_one_layer_the_factors_are_the_fisher_information():
    torch.manual_seed(0)
    model = nn.Linear(4, CLASSES).double()
    data = (torch.randn(1, 4).double(), torch.tensor([1]))
    risk = ls.EmpiricalRisk(model, nn.CrossEntropyLoss(), data)
    (layer,) = risk.kronecker_factors(risk.w0)
    places = layer.columns.flatten()
    fisher = torch.stack([risk.fisher_information().product(risk.w0, v) for v in torch.eye(risk.space.dim).double()])
    product = torch.kron(layer.outputs, layer.inputs)
    assert torch.allclose(product, fisher[places][:, places], atol=1e-12)


def test_elastic_weight_consolidation_is_half_the_fisher_information_times_squares(problem):
    risk = problem[2]
    diagonal = fisher_matrix(*problem).diagonal()
    w1 = risk.w0 + 0.1
    penalty = ls.penalties.elastic_weight_consolidation(risk, risk.w0, strength=7.0)
    assert float(penalty(w1)) == pytest.approx(7.0 / 2 * 0.01 * float(diagonal.sum()), rel=1e-9)
    assert penalty.n_stored == 2 * risk.space.dim
    identity = torch.eye(risk.space.dim).double()
    same = ls.penalties.curvature_constraint(risk.w0, identity, diagonal, strength=7.0)
    w = risk.w0 + torch.randn(risk.space.dim).double()
    assert torch.allclose(same(w), penalty(w))
    assert torch.allclose(same.gradient(w), penalty.gradient(w))


def test_only_the_weights_of_largest_information_are_held(problem):
    risk = problem[2]
    full = ls.penalties.elastic_weight_consolidation(risk, risk.w0).stiffness
    few = ls.penalties.elastic_weight_consolidation(risk, risk.w0, n_weights=5).stiffness
    assert int((few > 0).sum()) == 5
    assert float(few[few > 0].min()) >= float(full[few == 0].max())
    assert torch.equal(few[few > 0], full[few > 0])


def layer_penalty(dim=11, strength=2.0):
    def covariance(n):
        rows = torch.randn(2 * n, n).double()
        return rows.T @ rows / n

    columns = torch.randperm(dim)[:6].view(2, 3)
    return KroneckerPenalty(
        anchor=torch.randn(2, 3).double(), columns=columns, inputs=covariance(3), outputs=covariance(2), dim=dim,
        strength=strength,
    )  # fmt: skip


def low_rank(dim=11, k=3, floor=0.2, strength=1.5):
    return ls.penalties.QuadraticPenalty(
        anchor=torch.randn(dim).double(), directions=torch.linalg.qr(torch.randn(dim, k).double()).Q.T.contiguous(),
        stiffness=torch.rand(k).double() * 5, floor=floor, strength=strength,
    )  # fmt: skip


def form_of(penalty, dim=11):
    """The matrix and the vector of the slope of a quadratic form, from its gradients at N + 1 points."""
    at_zero = penalty.gradient(torch.zeros(dim).double())
    return torch.stack([penalty.gradient(row) - at_zero for row in torch.eye(dim).double()]), at_zero


SUMS = {
    "one layer": lambda: layer_penalty(),
    "low ranks": lambda: PenaltySum((low_rank(), low_rank(), low_rank(floor=0.0))),
    "of all kinds": lambda: PenaltySum(
        (
            layer_penalty(),
            low_rank(),
            ls.penalties.QuadraticPenalty(anchor=torch.ones(11).double(), stiffness=torch.rand(11).double()),
        )
    ),
    "merged": lambda: ls.penalties.merged_penalty([low_rank(), low_rank()]),
    "merged to a rank": lambda: ls.penalties.merged_penalty([low_rank(), low_rank()], rank=2),
}


@pytest.mark.parametrize("name", list(SUMS))
def test_value_slope_and_implicit_step_agree_with_autograd_and_dense_algebra(name):
    torch.manual_seed(1)
    penalty = SUMS[name]()
    w = torch.randn(11).double().requires_grad_()
    (slope,) = torch.autograd.grad(penalty(w), w)
    assert torch.allclose(penalty.gradient(w.detach()), slope, rtol=1e-9, atol=1e-12)
    matrix, at_zero = form_of(penalty)
    for step_size in (1e-3, 0.1, 1e3):
        expected = torch.linalg.solve(torch.eye(11).double() + step_size * matrix, w.detach() - step_size * at_zero)
        found = penalty.proximal_step(w.detach(), step_size)
        assert torch.allclose(found, expected, rtol=0, atol=1e-7 * max(1.0, float(expected.norm()))), step_size


def test_penalties_on_different_weights_need_no_iterations():
    torch.manual_seed(2)
    first, second = layer_penalty(), layer_penalty()
    apart = PenaltySum((first, _elsewhere(second, first.columns)))
    w = torch.randn(11).double()
    expected = apart.parts[1].proximal_step(apart.parts[0].proximal_step(w, 0.3), 0.3)
    assert torch.allclose(apart.proximal_step(w, 0.3), expected, rtol=0, atol=1e-12)


def _elsewhere(penalty, taken):
    free = [place for place in range(11) if place not in taken.flatten().tolist()][:4]
    return KroneckerPenalty(
        anchor=penalty.anchor[:, :2], columns=torch.tensor(free).view(2, 2), inputs=penalty.inputs[:2, :2],
        outputs=penalty.outputs, dim=11,
    )  # fmt: skip


@pytest.mark.parametrize("floors", [(0.2, 0.3), (0.0, 0.1), (0.0, 0.0)])
def test_a_merged_penalty_is_the_sum(floors):
    torch.manual_seed(4)
    parts = [low_rank(floor=floor) for floor in floors]
    total = PenaltySum(tuple(parts))
    merged = ls.penalties.merged_penalty([total])
    w = torch.randn(20, 11).double() * 3
    assert torch.allclose(merged(w), total(w), rtol=1e-9)
    assert torch.allclose(merged.gradient(w), total.gradient(w), rtol=1e-9, atol=1e-9)
    assert torch.allclose(merged.gradient(merged.anchor), torch.zeros(11).double(), atol=1e-9)
    assert merged.provenance["settings"]["largest_error"] == 0


def test_merged_diagonals_are_the_sum_and_leave_free_weights_where_they_are():
    anchors = torch.randn(3, 5).double()
    stiffness = torch.rand(3, 5).double()
    stiffness[:, 2] = 0
    parts = [
        ls.penalties.QuadraticPenalty(anchor=a, stiffness=k, strength=2.0)
        for a, k in zip(anchors, stiffness, strict=True)
    ]
    merged, w = ls.penalties.merged_penalty(parts), torch.randn(7, 5).double()
    assert torch.allclose(merged(w), PenaltySum(tuple(parts))(w), rtol=1e-9)
    assert float(merged.anchor[2]) == float(anchors[-1, 2])


def test_a_merge_to_a_smaller_rank_is_as_wrong_as_it_says():
    torch.manual_seed(5)
    parts = [low_rank(k=4), low_rank(k=4)]
    exact, _ = form_of(PenaltySum(tuple(parts)))
    for rank in (0, 2, 5, 8):
        merged = ls.penalties.merged_penalty(parts, rank=rank)
        assert len(merged.stiffness) == rank
        assert merged.n_stored == (rank + 1) * 11 + rank
        difference = (form_of(merged)[0] - exact) / 2  # a slope is twice the stiffness
        largest = float(torch.linalg.eigvalsh(difference).abs().max())
        assert largest == pytest.approx(merged.provenance["settings"]["largest_error"], rel=1e-6, abs=1e-12)
        assert torch.allclose(merged.anchor, ls.penalties.merged_penalty(parts).anchor, atol=1e-9)
        # The floor is the mean stiffness of all that is not kept.
        assert abs(float(difference.trace())) < 1e-9


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_penalties_on_the_same_directions_merge_at_any_rank(dtype):
    for seed in range(20):
        torch.manual_seed(seed)
        directions = torch.linalg.qr(torch.randn(11, 3).to(dtype)).Q.T.contiguous()
        parts = [ls.penalties.QuadraticPenalty(anchor=torch.randn(11).to(dtype), directions=directions,
                                     stiffness=torch.rand(3).to(dtype)) for _ in range(2)]  # fmt: skip
        merged = ls.penalties.merged_penalty(parts, rank=3)
        w = torch.randn(11).to(dtype)
        assert float(merged(w)) == pytest.approx(float(PenaltySum(tuple(parts))(w)), rel=1e-3)


@pytest.mark.parametrize(("dtype", "atol"), [(torch.float32, 1e-4), (torch.bfloat16, 3e-2), (torch.float16, 3e-3)])
def test_implicit_steps_of_sums_hold_in_small_dtypes_and_at_any_strength(dtype, atol):
    torch.manual_seed(7)
    exact = PenaltySum((layer_penalty(strength=1e6), low_rank(strength=1e4), low_rank(strength=1e-2)))
    w = torch.randn(4, 11).to(dtype)
    matrix, at_zero = form_of(exact)
    right = w.double() - 0.1 * at_zero
    expected = torch.linalg.solve(torch.eye(11).double() + 0.1 * matrix, right.T).T
    found = exact.proximal_step(w, 0.1)
    assert found.dtype == dtype
    assert torch.allclose(found.double(), expected, rtol=0, atol=atol * float(expected.abs().max()))


def test_modes_in_half_precision_make_a_penalty():
    directions = torch.linalg.qr(torch.randn(12, 5)).Q.T.contiguous().bfloat16()
    ls.penalties.QuadraticPenalty(
        anchor=torch.zeros(12).bfloat16(), directions=directions, stiffness=torch.ones(5).bfloat16()
    )


def test_twenty_tasks_keep_bounded_memory():
    torch.manual_seed(6)
    merged = low_rank(k=2)
    for _ in range(19):
        merged = ls.penalties.merged_penalty([merged, low_rank(k=2)], rank=4)
    assert merged.n_stored == 5 * 11 + 4


@pytest.mark.parametrize("name", list(SUMS))
def test_states_come_back_through_torch_save(tmp_path, name):
    penalty = SUMS[name]()
    torch.save(penalty.state_dict(), tmp_path / "state.pt")
    again = ls.penalties.load_penalty(torch.load(tmp_path / "state.pt", weights_only=True))
    w = torch.randn(11).double()
    assert torch.equal(again(w), penalty(w))
    assert torch.equal(again.proximal_step(w, 0.1), penalty.proximal_step(w, 0.1))
    single = penalty.to(dtype=torch.float32)
    assert single(w.float()).dtype == torch.float32
    assert float(single(w.float())) == pytest.approx(float(penalty(w)), rel=1e-4)


# --- landscape-dependent constraints


def window(rows=40, dim=12):
    return ls.principal_modes(ls.Trajectory.of(torch.randn(rows, dim).double() * torch.logspace(0, -2, dim).double()))


def test_the_constraint_is_equation_14_with_a_floor():
    modes = window()
    F = torch.logspace(-1, 1, 12).double()
    w1, w = modes.mean + 0.1, torch.randn(12).double()
    q = modes.directions @ (w - w1)
    expected = sum(float(q[i]) ** 2 / float(F[i]) ** 2 for i in range(5))
    paper = ls.penalties.landscape_dependent_constraint(w1, modes, F, n_modes=5, floor="none", strength=10.0)
    assert float(paper(w)) == pytest.approx(10 * expected, rel=1e-9)
    floored = ls.penalties.landscape_dependent_constraint(w1, modes, F, n_modes=5)
    rest = float((w - w1).square().sum() - q[:5].square().sum())
    assert float(floored(w)) == pytest.approx(4 * (expected + rest / float(F[4]) ** 2), rel=1e-9)
    assert floored.n_stored == 6 * 12 + 5


def test_the_default_strength_makes_the_penalty_the_rise_of_the_log_loss_of_a_well():
    curvature = torch.logspace(2, 0, 4).double()
    well = InverseGaussian(curvature)
    F = ls.flatness(well, torch.zeros(4).double(), torch.eye(4).double(), rtol=1e-9)
    modes = ls.principal_modes(ls.Trajectory.of(torch.randn(30, 4).double() * torch.tensor([4.0, 3.0, 2.0, 1.0])))
    modes = ls.directions.Directions(
        mean=modes.mean, directions=torch.eye(4).double(), variance=modes.variance, total_variance=1.0, n_steps=30
    )
    penalty = ls.penalties.landscape_dependent_constraint(torch.zeros(4).double(), modes, F)
    w = torch.randn(4).double() * 0.1
    assert float(penalty(w)) == pytest.approx(math.log(float(well(w) / well(torch.zeros(4).double()))), rel=1e-6)


def test_a_mode_without_a_flatness_is_left_to_the_floor():
    modes = window()
    F = torch.tensor([1.0, math.nan, 2.0, math.nan])
    penalty = ls.penalties.landscape_dependent_constraint(modes.mean, modes, F)
    assert len(penalty.stiffness) == 2
    assert penalty.floor == 0.25
    along = float(penalty(modes.mean + modes.directions[1]))
    assert along == pytest.approx(4 * 0.25, rel=1e-9)


def test_flatness_from_variance_inverts_the_law_and_takes_its_scale_from_what_was_measured():
    variance = torch.logspace(0, -6, 30).double()
    F = 0.7 * variance ** (-1 / 4.0)
    found = ls.penalties.flatness_from_variance(variance, 4.0, F[[1, 9, 25]], ranks=[2, 10, 26])
    assert torch.allclose(found, F, rtol=1e-12)
    with_a_gap = ls.penalties.flatness_from_variance(
        variance, 4.0, torch.tensor([math.nan, float(F[9])]), ranks=[2, 10]
    )
    assert torch.allclose(with_a_gap, F, rtol=1e-6)


def test_the_penalty_is_zero_and_flat_at_its_anchor_and_knows_its_parameters():
    model = mlp([4, 3, 3, 2], seed=0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with ls.TrajectoryRecorder(model, optimizer, "2.weight") as recorder:
        for _ in range(20):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(torch.randn(8, 4)), torch.randint(2, (8,))).backward()
            optimizer.step()
    modes = ls.principal_modes(recorder.trajectory(), 3)
    w1 = recorder.trajectory().row(-1)
    penalty = ls.penalties.landscape_dependent_constraint(w1, modes, torch.ones(3))
    assert penalty.parameters == ("2.weight",)
    assert penalty.anchor.dtype == torch.float32
    assert float(penalty(w1)) == 0
    assert not bool(penalty.gradient(w1).any())


@pytest.mark.parametrize("floor", [0.0, 0.3])
def test_a_factored_penalty_keeps_the_stiffness_of_rows_and_columns(floor):
    torch.manual_seed(6)
    space = ls.ParameterSpace(("a.weight", "a.bias", "scale"), ((2, 4), (2,), ()))
    penalty = low_rank(floor=floor, k=5)
    factored = ls.penalties.factored_penalty(penalty, space)
    matrix = form_of(penalty)[0]
    for part, shape in zip(factored.parts, ((2, 4), (2, 1), (1, 1)), strict=True):
        m, n = shape
        places = part.columns.flatten()
        block = matrix[places][:, places].view(m, n, m, n)
        own = form_of(part)[0][places][:, places].view(m, n, m, n)
        assert torch.allclose(
            own, torch.einsum("op,ij->oipj", part.outputs, part.inputs) * 2 * part.strength, rtol=1e-9
        )
        for kept in ("oipi->op", "oioj->ij"):
            assert torch.allclose(torch.einsum(kept, own), torch.einsum(kept, block), rtol=1e-9, atol=1e-12)
    assert float(factored(penalty.anchor)) == pytest.approx(0.0, abs=1e-12)
    assert torch.allclose(factored.gradient(penalty.anchor), torch.zeros(11).double())


def test_directions_with_a_common_side_are_factored_exactly():
    torch.manual_seed(7)
    side, others = torch.randn(3).double(), torch.linalg.qr(torch.randn(4, 3).double()).Q.T
    directions = torch.stack([torch.outer(side / side.norm(), other).flatten() for other in others])
    penalty = ls.penalties.QuadraticPenalty(
        anchor=torch.randn(12).double(), directions=directions, stiffness=torch.tensor([2.0, 0.5, 7.0]).double()
    )
    w = torch.randn(5, 12).double()
    factored = ls.penalties.factored_penalty(penalty, ls.ParameterSpace(("w",), ((3, 4),)))
    assert torch.allclose(factored(w), penalty(w), rtol=1e-9)
    assert factored.n_stored == 12 + 9 + 16


@pytest.mark.parametrize("floor", [0.0, 0.3])
def test_what_factors_would_make_larger_keeps_its_diagonal(floor):
    torch.manual_seed(8)
    penalty = low_rank(floor=floor, k=3)
    factored = ls.penalties.factored_penalty(penalty, ls.ParameterSpace(("long", "short"), ((9,), (2,))))
    assert [type(part).__name__ for part in factored.parts] == ["PartPenalty", "KroneckerPenalty"]
    diagonal = form_of(factored)[0].diagonal()[:9]
    assert torch.allclose(diagonal, form_of(penalty)[0].diagonal()[:9], rtol=1e-9)
    assert factored.n_stored == 2 * 9 + (2 + 4 + 1)
