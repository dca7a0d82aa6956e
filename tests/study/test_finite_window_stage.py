"""The finite-window process of a study: its rows are those of the library, and what has none says why."""

import math
from types import SimpleNamespace

import pytest
import torch

import landscope as ls
from landscope.errors import InputError
from landscope.landscape.preconditioned import adam_preconditioner
from landscope.law.window_limit import WindowLimit
from landscope.noise import StepRule
from landscope.study.checkpoints import Checkpoints
from landscope.study.minibatch_order import order_shown, why_epochs_unseen
from landscope.study.relaxation import relaxation_of, step_rule_of
from landscope.study.second_moments import SecondMoments, steady_scale
from landscope.study.settings import StudySettings
from landscope.study.training_facts import TrainingFacts
from small_study import CRITERION, SELECT, SETTINGS, network, samples, train

SHORT = {**SETTINGS, "n_nulls": 1, "n_processes": 2, "curvature_modes": 20}


def study_with(folder, make, after_step=None, **changes):
    """A study of a short training with any optimiser, as far as the law."""
    model = network()
    optimizer = make(model.parameters())
    study = ls.Study(folder, model, CRITERION, samples(), **{**SHORT, **changes})
    with study.record(optimizer, SELECT):
        train(model, optimizer, after_step=after_step and (lambda step: after_step(optimizer, step)))
    study.analyse(progress=False)
    return study


def why_not(study):
    reasons = study.folder.read_note("not-measured")
    assert not study.folder.names("exponents-finite-window-")
    return reasons["exponents-finite-window-0"]


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    make = lambda weights: torch.optim.SGD(weights, lr=0.1, weight_decay=0.01)  # noqa: E731
    return study_with(tmp_path_factory.mktemp("plain") / "study", make)


def test_the_rows_are_those_of_the_library(plain):
    curvature = plain.folder.load("basis-curvature", ls.directions.Directions)
    found, widths = (
        plain.folder.load("window-limit", WindowLimit),
        plain.folder.load("flatness-curvature", ls.landscape.Flatness),
    )
    pulled = ls.directions.Directions.of(curvature.directions, values=curvature.values + 0.01)
    assert ls.surrogates.epoch_noise_share(plain.window, pulled, 10) > 0.5
    expected = ls.law.window_limit(pulled, plain.window, widths, learning_rate=0.1)
    torch.testing.assert_close(found.limit, expected.limit, rtol=1e-9, atol=0)
    assert found.order == "independent minibatches"
    risk = plain.risk()
    product = risk.fisher_information().product
    rest = ls.surrogates.rest_curvature(plain.window, curvature, lambda v: product(risk.w0, v.to(risk.w0)), seed=0)
    both = ls.surrogates.finite_window_process(
        plain.window, pulled, rest=rest + 0.01, seed=2, n_windows=2
    )  # fmt: skip
    row = [row for row in plain.law.rows if row.name == "finite-window process"][1]
    own = ls.principal_modes(both.part(slice(len(plain.window))), len(row.variance))
    torch.testing.assert_close(row.variance, own.variance, rtol=1e-5, atol=0)


def test_the_default_analysis_shows_it_in_the_table_the_summary_and_on_the_page(plain):
    names = [row.name for row in plain.law.rows]
    assert names.count("finite-window process") == names.count("finite-window process, its next window") == 2
    assert "ψ∞" in repr(plain.law)
    page = plain.report().read_text()
    assert "A stationary process with the noise of the run" in page
    assert "in a window without end" in page
    assert "A window without end." in page
    assert "with independent minibatches (the noise does not sum to zero over epochs of about 10 steps)" in page
    assert "with independent minibatches (the noise" in repr(plain.law)
    assert {"variance_along_curvature", "variance_against_flatness"} <= plain.plots.available().keys()
    legend = {trace.name for trace in plain.plots.variance_against_flatness().data}
    assert "finite-window process" in legend
    psi = next(judgement for judgement in plain.claims if judgement.claim.key == "psi")
    (control,) = [control for control in psi.measurement.controls if control.name.startswith("a stationary process")]
    assert control.was_measured


def in_epochs(model, optimizer):
    """240 steps over 24 epochs of ten minibatches, each in a new order."""
    inputs, labels = samples()
    for epoch in range(24):
        order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(epoch))
        for batch in order.split(len(labels) // 10):
            optimizer.zero_grad()
            CRITERION(model(inputs[batch]), labels[batch]).backward()
            optimizer.step()


def test_a_run_in_reshuffled_epochs_has_the_limit_of_its_own_order(tmp_path):
    torch.manual_seed(2)
    model = torch.nn.Sequential(torch.nn.Linear(6, 10), torch.nn.Tanh(), torch.nn.Linear(10, 3))
    optimizer, (inputs, labels) = torch.optim.SGD(model.parameters(), lr=0.2, weight_decay=0.01), samples()
    for _ in range(1000):  # to rest: where the loss still falls, the drift of an epoch hides its noise
        optimizer.zero_grad()
        CRITERION(model(inputs), labels).backward()
        optimizer.step()
    few = {**SHORT, "curvature_modes": 6, "n_processes": 1}
    study = ls.Study(tmp_path / "study", model, CRITERION, samples(), steps_per_epoch=10, **few)
    with study.record(optimizer, SELECT):
        in_epochs(model, optimizer)
    study.analyse(progress=False)
    curvature = study.folder.load("basis-curvature", ls.directions.Directions)
    widths = study.folder.load("flatness-curvature", ls.landscape.Flatness)
    found = study.folder.load("window-limit", WindowLimit)
    pulled = ls.directions.Directions.of(curvature.directions, values=curvature.values + 0.01)
    own, independent = (
        ls.law.window_limit(pulled, study.window, widths, learning_rate=0.2, steps_per_epoch=count)
        for count in (10, None)
    )
    torch.testing.assert_close(found.limit, own.limit, rtol=1e-9, atol=0)
    assert found.order == "reshuffled epochs of 10 minibatches"
    assert found.psi_infinity != pytest.approx(independent.psi_infinity, abs=0.01)
    assert found.order in study.report().read_text()
    assert "reshuffled" in study.plots.variance_along_curvature().data[0].name


def test_why_a_window_cannot_show_the_order_of_its_minibatches():
    steps = torch.arange(1, 42)
    assert why_epochs_unseen(steps, 10) == ""
    assert why_epochs_unseen(steps, None) == "the steps in an epoch are not: ls.Study(..., steps_per_epoch=...)"
    assert why_epochs_unseen(steps, 30) == "the window holds fewer than two whole epochs of 30 steps"
    assert why_epochs_unseen(3 * steps, 10) == "no rows stand at the ends of the epochs of 10 steps"
    window, axis = ls.Trajectory.of(torch.randn(41, 3)), ls.directions.Directions.of(torch.eye(3)[:1])
    for epoch in (10, 30, 1000):  # the share of the noise left over an epoch is unknown in the same cases
        assert math.isnan(ls.surrogates.epoch_noise_share(window, axis, epoch)) == bool(why_epochs_unseen(steps, epoch))


def test_an_order_that_is_not_known_is_said(tmp_path):
    make = lambda weights: torch.optim.SGD(weights, lr=0.1)  # noqa: E731
    study = study_with(tmp_path / "study", make, batch_size=None, n_processes=1, curvature_modes=6)
    said = "independent minibatches (which is not known, as the steps in an epoch are not: ls.Study("
    assert said in repr(study.law)
    assert said in study.report().read_text()


def test_a_schedule_is_said_and_counted(tmp_path):
    def halve(optimizer, step):
        if step == 210:
            optimizer.param_groups[0]["lr"] = 0.05

    study = study_with(tmp_path / "study", lambda weights: torch.optim.SGD(weights, lr=0.1), halve)
    found = study.folder.load("window-limit", WindowLimit)
    total = float(study.window.learning_rate.sum())
    assert total == pytest.approx(30 * 0.1 + 30 * 0.05)  # steps 181 to 240
    torch.testing.assert_close(found.relaxations, (total * found.curvature).clamp(min=0), rtol=1e-9, atol=0)
    assert "The learning rate was not constant" in study.report().read_text()


def test_adam_relaxes_in_its_own_coordinates(tmp_path):
    """Second moments that average over 10,000 steps stay; those of 20 steps drift, and the page says so."""

    def adam(beta2, make=torch.optim.AdamW, **options):
        return lambda weights: make(weights, lr=2e-3, betas=(0.9, beta2), **options)

    study = study_with(tmp_path / "steady", adam(0.9999), steps_per_epoch=10)
    scale = SecondMoments(study.path / "second-moments").load(240)
    relaxation = relaxation_of(study._analysis)
    assert torch.equal(relaxation.scale, scale)
    vector = torch.randn(60, generator=torch.Generator().manual_seed(0))
    product, w0 = study.risk().fisher_information().product, study.risk().w0
    exact = product(w0, (vector / scale).to(w0)) / scale
    torch.testing.assert_close(relaxation.product(vector).double(), exact.double(), rtol=1e-4, atol=1e-6)
    found = study.folder.load("window-limit", WindowLimit)
    assert "preconditioned" in found.name
    assert found.n_used > 3
    names = [row.name for row in study.law.rows]
    assert names.count("finite-window process") == 2
    drifting = study_with(tmp_path / "drifting", adam(0.8))
    assert "second moments whose root changes by at most 25%" in why_not(drifting)
    assert "second moments" in drifting.report().read_text()


@pytest.mark.parametrize("choose", [None, lambda step: False])
def test_a_recording_that_begins_later_keeps_the_second_moments_of_its_begin(tmp_path, choose):
    """The window of a training that went on before has its own begin, wherever its whole models stand."""
    model, data = torch.nn.Linear(3, 1), (torch.ones(4, 3), torch.ones(4, 1))
    optimizer = torch.optim.Adam(model.parameters())

    def step():
        optimizer.zero_grad()
        torch.nn.functional.mse_loss(model(data[0]), data[1]).backward()
        optimizer.step()

    for _ in range(5):
        step()
    before = adam_preconditioner(model, optimizer, ls.ParameterSpace.of(model)).scale
    study = ls.Study(tmp_path / "study", model, torch.nn.functional.mse_loss, data)
    with study.record(optimizer, first_step=6, checkpoints=choose):
        for _ in range(30):
            step()
    moments = SecondMoments(study.path / "second-moments")
    assert torch.equal(moments.load(5), before)
    assert Checkpoints(study.path / "checkpoints").steps()[0] == 5
    assert torch.isfinite(steady_scale(moments, 6, moments.steps()[-1])).all()


def test_second_moments_are_checked_where_they_were_saved(tmp_path):
    model = torch.nn.Linear(3, 1, bias=False)
    space, optimizer = ls.ParameterSpace.of(model), torch.optim.Adam(model.parameters(), betas=(0.9, 0.99))
    moments = SecondMoments(tmp_path / "moments")
    moments.follow([0], 0, model, optimizer, space)
    assert moments.steps() == []  # Adam has none before its first step
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    for step in (1, 5, 9):
        moments.follow([1, 5, 9], step, model, optimizer, space)
    torch.testing.assert_close(steady_scale(moments, 5, 9), torch.full((3,), 1 + 1e-8).double().sqrt())
    with pytest.raises(InputError, match="saved before step 0"):
        steady_scale(moments, 0, 9)
    optimizer.state[model.weight]["exp_avg_sq"] *= 1.3**2
    moments.file(5).unlink()
    moments.follow([1, 5, 9], 5, model, optimizer, space)
    with pytest.raises(InputError, match="a change of 26%"):  # ln 1.3
        steady_scale(moments, 5, 9)
    moments.follow([9], 9, model, optimizer, space)
    assert moments.steps() == [9]


@pytest.mark.parametrize(
    ("facts", "rule"),
    [
        ({"optimizer": "SGD", "momentum": 0.9}, StepRule(momentum=0.9)),
        ({"optimizer": "SGD", "momentum": 0.9, "dampening": 0.5}, StepRule(momentum=0.9, gradient_share=0.5)),
        ({"optimizer": "SGD", "momentum": 0.9, "nesterov": True}, StepRule(momentum=0.9, nesterov=True)),
        ({"optimizer": "Adam", "beta1": 0.5, "weight_decay": 0.1}, StepRule(momentum=0.5, gradient_share=0.5)),
        (
            {"optimizer": "AdamW", "beta1": 0.5, "weight_decay": 0.1},
            StepRule(momentum=0.5, gradient_share=0.5, decoupled_decay=0.1),
        ),
    ],
)
def test_the_step_of_an_optimiser(facts, rule):
    assert step_rule_of(TrainingFacts(**facts)) == rule


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"optimizer": "NAdam"}, "got NAdam"),
        ({"optimizer": ""}, "no optimiser that is known"),
        ({"optimizer": "SGD", "maximize": True}, "maximize=True"),
        ({"optimizer": "Adam", "groups_differ": True}, "options that differ"),
    ],
)
def test_other_optimisers_are_not_measured_with_the_reason(facts, said):
    with pytest.raises(InputError, match=said):
        step_rule_of(TrainingFacts(**facts))


def test_an_unknown_optimiser_and_missing_steps_are_reasons_on_the_page(tmp_path):
    study = study_with(tmp_path / "study", lambda weights: torch.optim.RMSprop(weights, lr=1e-3))
    assert "not worked out" in why_not(study)
    assert "not worked out" in study.report().read_text()
    assert math.isnan(study.summary()["psi_infinity_of_process"])


def test_a_preconditioned_bowl_has_the_known_variances():
    """Adam with constant second moments: in y = s w the ratio sigma^2/D is that of its rule with curvature H/s^2."""
    rate, rows, copies = 0.02, 4000, 400
    curvature, root = torch.tensor([4.0, 0.25]).double(), torch.tensor([2.0, 0.5]).double()  # sqrt(v) + eps
    rule = StepRule(momentum=0.9, gradient_share=0.1, decoupled_decay=0.5)
    generator = torch.Generator().manual_seed(0)
    weights, buffer = torch.zeros(copies, 2).double(), torch.zeros(copies, 2).double()
    path = torch.empty(rows, copies, 2, dtype=torch.float64)
    for step in range(-2000, rows):
        gradient = curvature * weights + torch.randn(copies, 2, generator=generator, dtype=torch.float64)
        buffer = 0.9 * buffer + 0.1 * gradient
        weights = (1 - rate * 0.5) * weights - rate * buffer / root
        if step >= 0:
            path[step] = weights
    scaled = path * root.sqrt()
    found = scaled.square().mean(dim=(0, 1)) / scaled.diff(dim=0).square().mean(dim=(0, 1))
    expected = rule.variance_over_velocity(rate * curvature / root, rate * 0.5)
    # Relaxation times of 40 steps: 400 copies of 4,000 rows hold 20,000 independent values of theta^2.
    torch.testing.assert_close(found, expected, rtol=4 * math.sqrt(2 / 20_000), atol=0)


def noise_of_epochs(share, seed=0):
    """A window of 24 epochs of ten steps, whose noise leaves this share of that of independent minibatches."""
    kicks = torch.randn(24, 10, 40, generator=torch.Generator().manual_seed(seed)).double()
    kicks -= (1 - math.sqrt(share)) * kicks.mean(dim=1, keepdim=True)
    return ls.Trajectory.of(torch.cat([torch.zeros(1, 40).double(), kicks.flatten(0, 1)]).cumsum(dim=0))


@pytest.mark.parametrize(("share", "known"), [(0.0, True), (0.1, True), (0.5, False), (1.0, True)])
@pytest.mark.parametrize("stated", [None, "independent", "reshuffled"])
def test_a_share_between_none_and_all_of_the_noise_leaves_the_order_open_unless_it_is_stated(share, known, stated):
    window, axis = noise_of_epochs(share), ls.directions.Directions.of(torch.eye(40)[:1].double())
    analysis = SimpleNamespace(
        window=window,
        steps_per_epoch=10,
        learning_rate=math.nan,
        settings=StudySettings(minibatch_order=stated),
        facts=TrainingFacts(optimizer="SGD"),
    )
    epoch, said = order_shown(window, axis, analysis)
    if stated:
        assert (epoch, said) == (10 if stated == "reshuffled" else None, "")
    else:
        assert bool(said) != known
        assert "minibatch_order" in (said or "minibatch_order")
        assert (epoch == 10) == (share < 0.5) or not known


def test_a_stated_order_is_that_of_the_process(tmp_path):
    make = lambda weights: torch.optim.SGD(weights, lr=0.1)  # noqa: E731
    few = {"n_processes": 1, "curvature_modes": 6, "minibatch_order": "reshuffled"}
    study = study_with(tmp_path / "study", make, steps_per_epoch=10, **few)
    assert "with reshuffled epochs of 10 minibatches" in repr(study.law)
    assert study.folder.load("window-limit", WindowLimit).steps_per_epoch == 10
