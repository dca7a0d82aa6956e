"""The Fisher information and its Kronecker factors against sums over samples and labels in float64."""

import pytest
import torch
from torch import nn

import landscope as ls
from classifiers import CLASSES, MODELS, SAMPLES, fisher_matrix, slopes_of_answers, small_classifier
from landscope.errors import InputError
from landscope.risk.diagonal_sums import DiagonalSums
from landscope.risk.fisher import FisherInformation
from landscope.risk.kronecker import FactorSums


@pytest.fixture(params=list(MODELS))
def problem(request):
    return small_classifier(request.param)


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


def test_factors_by_draws_scatter_about_the_exact_ones_and_functions_of_a_batch_take_their_own_targets():
    torch.manual_seed(0)
    model, x, labels = nn.Linear(4, CLASSES).double(), torch.randn(SAMPLES, 4).double(), torch.arange(SAMPLES) % CLASSES
    risk = ls.EmpiricalRisk(model, nn.CrossEntropyLoss(), (x, labels))
    (exact,), (drawn,) = risk.kronecker_factors(risk.w0), risk.kronecker_factors(risk.w0, "monte-carlo", n_draws=400)
    assert torch.allclose(drawn.inputs, exact.inputs)
    # The trace is a mean of |e_y - p|^2 <= 2 over samples and draws: five standard errors.
    assert abs(float(drawn.outputs.trace() - exact.outputs.trace())) < 5 * 2 / (400 * SAMPLES) ** 0.5
    assert not torch.equal(drawn.outputs, exact.outputs)
    closure = ls.EmpiricalRisk.from_closure(
        model, lambda m, batch: nn.functional.cross_entropy(m(batch[0]), batch[1], reduction="none"), [(x, labels)]
    )
    (own,) = closure.kronecker_factors(closure.w0)
    slopes = nn.functional.one_hot(labels, CLASSES) - model(x).softmax(dim=1).detach()
    assert torch.allclose(own.outputs, slopes.T @ slopes / SAMPLES)
    assert torch.allclose(own.inputs, exact.inputs)


@pytest.mark.parametrize("name", MODELS)
def test_sums_over_points_are_the_means_of_what_is_found_at_each(name):
    risk = small_classifier(name)[2]
    fisher, names = risk.fisher_information(), list(risk.space.names)
    points = [risk.w0, risk.w0 + 0.1, risk.w0 - 0.2]
    for kind in ("exact", "random-signs"):
        factors, diagonal = FactorSums(fisher, kind, n_draws=2), DiagonalSums(fisher, names, kind, n_draws=2)
        for seed, point in enumerate(points):
            factors.add(point, seed=seed)
            diagonal.add(point, seed=seed)
        apart = [risk.kronecker_factors(point, kind, n_draws=2, seed=seed) for seed, point in enumerate(points)]
        for found, *each in zip(factors.means(), *apart, strict=True):
            for side in ("inputs", "outputs"):
                expected = sum(getattr(one, side) for one in each) / 3
                assert torch.allclose(getattr(found, side), expected, rtol=1e-9, atol=1e-14)
        squares = [fisher.diagonal(point, kind, n_draws=2, seed=seed) for seed, point in enumerate(points)]
        assert torch.allclose(diagonal.mean(), sum(squares) / 3, rtol=1e-9, atol=1e-14)


def test_products_in_single_precision_round_by_little():
    torch.manual_seed(0)
    model, x, labels = nn.Linear(30, CLASSES), torch.randn(500, 30), torch.arange(500) % CLASSES
    single, double = (
        ls.EmpiricalRisk(model.to(dtype), nn.CrossEntropyLoss(), (x.to(dtype), labels))
        for dtype in (torch.float32, torch.float64)
    )
    (found,), (exact,) = single.kronecker_factors(single.w0), double.kronecker_factors(double.w0)
    # 500 terms of one product, each rounded to 6e-8 of a sum that is at most the diagonal: 3e-5, mostly far less.
    assert float((found.inputs - exact.inputs).abs().max()) < 3e-5 * float(exact.inputs.diagonal().max())
    assert float((found.outputs - exact.outputs).abs().max()) < 6e-5 * float(exact.outputs.diagonal().max())


def test_the_trial_of_layers_takes_one_draw_however_many_answers_there_are(monkeypatch):
    """The exact information of eight short rows, of 4,096 answers each, would be as many backward passes."""
    taken = []
    slopes = FisherInformation.slopes

    def noted(self, source, w, kind, **options):
        taken.append((kind, options["n_draws"]))
        return slopes(self, source, w, kind, **options)

    monkeypatch.setattr(FisherInformation, "slopes", noted)
    data = (torch.randn(9, 3), torch.arange(9) % 2)
    known, unknown = nn.CrossEntropyLoss(), nn.CrossEntropyLoss(weight=torch.ones(2))
    assert ls.EmpiricalRisk(nn.Linear(3, 2), known, data).layers_with_factors() == [""]
    assert ls.EmpiricalRisk(nn.Linear(3, 2), unknown, data).layers_with_factors() == [""]
    assert [kind for kind, _ in taken] == ["monte-carlo", "empirical"]
    assert taken[0][1] == 1


def test_layers_have_factors_also_for_a_distribution_without_a_divergence():
    """Its answers can be drawn, and neither gone through nor mixed."""
    criterion = ls.NegativeLogLikelihood(lambda outputs: torch.distributions.StudentT(4.0, outputs))
    risk = ls.EmpiricalRisk(nn.Linear(3, 2), criterion, (torch.randn(9, 3), torch.randn(9, 2)))
    assert risk.layers_with_factors() == [""]
    (factors,) = risk.kronecker_factors(risk.w0, "monte-carlo", n_draws=1)
    assert float(factors.outputs.trace()) > 0
    with pytest.raises(InputError, match="divergence"):
        risk.kronecker_factors(risk.w0, "random-signs")
