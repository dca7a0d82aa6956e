"""A study of a user's own model: windows, settings, what it needs, and what it says where something is missing."""

import copy
import dataclasses
import math
import pickle
import re
import shutil

import plotly.graph_objects as go
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import landscope as ls
import small_study as small
from landscope.errors import InputError, NonFiniteError, StorageError
from landscope.progress import QuietReporter
from landscope.results import Result
from landscope.study import saved
from landscope.study.analysis import Analysis
from landscope.study.drift_path import walk_along_drift
from landscope.study.figures import FIGURES
from landscope.study.parts import Part, Stage
from landscope.study.pipeline import run_stages
from landscope.study.saved import Saved
from landscope.study.windows import Windows
from small_run import assert_same


def test_the_risk_is_the_loss_with_the_parameters_and_buffers_of_w0(recorded):
    study, by_hand = small.opened(recorded), small.network()
    small.train(by_hand, small.sgd(by_hand))
    by_hand.eval()
    inputs, labels = small.samples()
    risk = study.risk()
    assert float(risk(risk.w0)) == pytest.approx(small.CRITERION(by_hand(inputs), labels).item(), rel=1e-6)
    early, at_80 = study.risk(step=80), small.network()
    small.train(at_80, small.sgd(at_80), last=80)
    assert torch.equal(early.w0, at_80[0].weight.flatten())
    expected = small.CRITERION(at_80.eval()(inputs), labels).item()
    assert float(early(early.w0)) == pytest.approx(expected, rel=1e-6)
    others = study.risk(select="3.weight")
    assert (others.space.names, float(others(others.w0))) == (("3.weight",), pytest.approx(float(risk(risk.w0))))


def test_the_model_of_the_user_stays_as_it_is(recorded):
    model = small.network()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    ls.Study(recorded, model, small.CRITERION, small.samples()).analyse(progress=False)
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_the_window_is_the_last_quarter_and_the_fresh_data_are_the_quarter_before(recorded):
    study = ls.Study(recorded)
    assert study.window.steps.tolist() == list(range(181, 241))
    assert study.fresh.steps.tolist() == list(range(121, 181))
    assert study.saved_steps == small.SAVED
    assert len(study.trajectory) == small.N_STEPS


def test_a_window_named_before_the_training_has_its_models_saved(tmp_path):
    study = small.record(tmp_path / "s", window=(101, 150), fresh=(151, 203))
    assert study.saved_steps == sorted([*small.SAVED, 150, 203])
    assert (study.window.steps[[0, -1]].tolist(), study.fresh.steps[[0, -1]].tolist()) == ([101, 150], [151, 203])
    assert torch.equal(study.risk().w0, study.window.row(-1))


def test_a_window_named_after_the_training_must_end_where_a_model_was_saved(recorded):
    study = small.opened(recorded, window=(129, 192))
    assert study.fresh.steps[[0, -1]].tolist() == [65, 128]
    with pytest.raises(InputError, match=r"the whole model was saved: 0, 16, 32, .*, 240; got step 150"):
        small.opened(recorded, window=(101, 150)).analyse(progress=False)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"window": (100, 240), "fresh": (100, 240)}, "fresh must not overlap the window"),
        ({"window": (100, 240), "fresh": (50, 100)}, "fresh must not overlap the window"),
        ({"fresh": (50, 100)}, "fresh needs a window"),
        ({"window": (240, 100)}, "first step before its last"),
    ],
)
def test_windows_that_make_no_sense_are_refused(recorded, settings, message):
    with pytest.raises(InputError, match=message):
        small.opened(recorded, **settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"window": (200, 300)}, r"window within the recorded steps 1 to 240; got steps 200 to 300"),
        ({"window": (201, 240), "fresh": (260, 300)}, r"fresh within the recorded steps 1 to 240"),
        ({"window": (231, 240)}, r"at least 21 recorded steps in window; got 10"),
    ],
)
def test_windows_beyond_the_recording_are_refused(recorded, settings, message):
    with pytest.raises(InputError, match=message):
        small.opened(recorded, **settings).analyse(progress=False)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"window": (1, 80)}, r"window within the recorded steps 41 to 120; got steps 1 to 80"),
        ({"window": (81, 120), "fresh": (1, 80)}, r"fresh within the recorded steps 41 to 120; got steps 1 to 80"),
    ],
)
def test_windows_that_begin_before_the_recording_are_refused(tmp_path, settings, message):
    study, model, optimizer = small.begin(tmp_path / "s", **settings)
    with study.record(optimizer, small.SELECT, first_step=41):
        small.train(model, optimizer, first=41, last=120)
    with pytest.raises(InputError, match=message):
        _ = study.window


def test_a_window_may_begin_within_the_interval_before_the_first_row(tmp_path):
    study, model, optimizer = small.begin(tmp_path / "s", window=(1, 120))
    with study.record(optimizer, small.SELECT, every=5):
        small.train(model, optimizer, last=120)
    assert study.window.steps[[0, -1]].tolist() == [5, 120]


def test_without_fresh_data_the_page_says_so(recorded):
    study = small.opened(recorded, fresh="none", n_nulls=0)
    study.analyse(progress=False)
    assert study.fresh is None
    assert study.not_measured["exponents-fresh"] == "needs fresh data: a second window of recorded steps"
    page = study.report().read_text()
    assert "Only one window was analysed" in page
    assert "needs fresh data" in page
    assert study.summary()["fresh"] is None


def test_settings_may_change_until_there_is_a_result(recorded):
    small.opened(recorded, n_nulls=1)
    study = small.opened(recorded, n_nulls=0)
    assert small.opened(recorded).folder.settings.n_nulls == 0
    study.analyse(until="modes", progress=False)
    with pytest.raises(StorageError, match=r"n_nulls: 0 there, 3 asked.*discard_results\(\)"):
        small.opened(recorded, n_nulls=3)
    assert torch.equal(small.opened(recorded, n_nulls=0).modes.variance, study.modes.variance)
    study.discard_results()
    assert small.opened(recorded, n_nulls=3).folder.settings.n_nulls == 3


def test_discarding_leaves_the_recording_and_the_models(recorded):
    study = small.opened(recorded, evaluate=small.evaluate)
    before = {path.relative_to(recorded) for path in recorded.rglob("*")}
    study.analyse(progress=False)
    study.report()
    study.discard_results()
    assert {path.relative_to(recorded) for path in recorded.rglob("*")} == before
    with pytest.raises(StorageError, match="spectrum"):
        study.report()


def test_the_history_of_a_training_outlives_the_results(recorded):
    study = small.opened(recorded)
    measured = torch.tensor([0.5, 0.4], dtype=torch.float64)
    history = ls.training_history.TrainingHistory(
        steps=torch.tensor([100, 200]), train_loss=measured, train_error=measured, test_loss=measured,
        test_error=measured, minibatch_loss=torch.empty(0, dtype=torch.float64),
    )  # fmt: skip
    study.save_history(history)
    study.analyse(progress=False)
    assert study.summary()["test_error_at_w0"] == 0.4
    study.discard_results()
    assert study.folder.has("training")


def test_a_loss_by_a_closure_and_a_loader_gives_the_same_flatness(recorded, tmp_path):
    import shutil

    twin = shutil.copytree(recorded, tmp_path / "twin")
    loader = DataLoader(TensorDataset(*small.samples()), batch_size=small.BATCH, shuffle=True)
    closure = ls.Study(
        twin, small.network(), losses=lambda model, batch: torch.nn.functional.cross_entropy(
            model(batch[0]), batch[1], reduction="none"), data=loader, n_nulls=0, n_processes=0,
    )  # fmt: skip
    closure.analyse(progress=False)
    criterion = small.opened(recorded)
    criterion.analyse(progress=False, until="flatness")
    torch.testing.assert_close(closure.flatness.width, criterion.flatness.width, rtol=1e-3, atol=0)
    summary = closure.summary()
    assert (summary["batch_size"], summary["steps_per_epoch"]) == (12, 10)
    assert ls.Study(twin).summary()["steps_per_epoch"] == 10


@pytest.mark.parametrize(("drop_last", "steps"), [(False, 18), (True, 17)])
def test_the_steps_of_an_epoch_are_those_of_the_loader(recorded, drop_last, steps):
    loader = DataLoader(TensorDataset(*small.samples()), batch_size=7, drop_last=drop_last)
    study = ls.Study(recorded, small.network(), small.CRITERION, loader, batch_size=None)
    assert (study._analysis.batch_size, study._analysis.steps_per_epoch) == (7, steps)


def test_the_steps_of_an_epoch_are_counted_where_the_samples_are(recorded):
    for data in (small.samples(), TensorDataset(*small.samples())):
        study = ls.Study(recorded, small.network(), small.CRITERION, data, batch_size=12)
        assert study._analysis.steps_per_epoch == 10
    batches = [small.samples()]
    assert ls.Study(recorded, small.network(), small.CRITERION, batches)._analysis.steps_per_epoch is None


def test_a_batch_size_beside_a_loader_of_another_one_counts_the_samples(recorded):
    loader = DataLoader(TensorDataset(*small.samples()), batch_size=7)
    study = ls.Study(recorded, small.network(), small.CRITERION, loader, batch_size=12)
    assert study._analysis.steps_per_epoch == 10


def test_another_loader_replaces_what_an_earlier_one_said(recorded):
    for size in (7, 12):
        loader = DataLoader(TensorDataset(*small.samples()), batch_size=size)
        study = ls.Study(recorded, small.network(), small.CRITERION, loader, batch_size=None)
        study.analyse(until="modes", progress=False)
        study.discard_results()
        assert study._analysis.batch_size == size


def test_flatness_at_another_ratio_is_used_everywhere(recorded):
    study = small.opened(recorded, n_nulls=1, ratio=1.5, steps_per_epoch=10)
    study.analyse(noise=True, controls=True, progress=False)
    for name in ("flatness", "flatness-hessian", "flatness-random"):
        assert ls.load(study.folder.file(name)).ratio == 1.5
    by_hand = ls.flatness(study.risk(), study.window.row(-1), study.modes.directions[:3], ratio=1.5)
    torch.testing.assert_close(study.flatness.width[:3], by_hand.width)
    # at any factor r of the loss these are 1 where ln L is quadratic, and sqrt((r - 1)/ln r) = 1.11 where L is
    to_curvature = ls.load(study.folder.file("flatness-and-curvature")).ratio
    assert 0.95 < float(to_curvature.nanmedian()) < 1.15
    springs = ls.load(study.folder.file("noise-springs"))
    assert 0.85 < float((springs.predicted_flatness / springs.width).nanmedian()) < 1.15
    assert "out to 1.5 L₀" in study.report().read_text()
    assert "flatness at 1.32 L0 instead of 1.5 L0" in ls.load(study.folder.file("sensitivity")).choices


def test_a_shuffling_loader_is_read_in_the_order_of_its_data(recorded):
    loader = DataLoader(TensorDataset(*small.samples()), batch_size=7, shuffle=True, drop_last=True)
    study, plain = ls.Study(recorded, small.network(), small.CRITERION, loader), small.opened(recorded)
    w0, state = plain.risk().w0, torch.get_rng_state()
    for _ in range(2):
        assert torch.equal(study.risk().sample_losses(w0), plain.risk().sample_losses(w0))
        study._begin()
    assert torch.equal(torch.get_rng_state(), state)


def test_what_is_not_given_is_named_with_what_it_needs(recorded):
    study = small.opened(recorded, n_nulls=0, batch_size=None)
    study.analyse(noise=True, controls=True, dynamics=True, progress=False)
    reasons = study.not_measured
    assert "batch_size=50" in reasons["noise-springs"]
    assert "evaluate=f" in reasons["training"]
    assert "steps_per_epoch" in reasons["growth"]
    assert "train_on=f" in reasons["exponents-sampling-reshuffled"]
    verdicts = {judgement.claim.key: judgement for judgement in study.claims}
    assert verdicts["margin"].verdict == verdicts["tau_by_sampling"].verdict == "not measured"
    assert "evaluate=f" in verdicts["margin"].sentence
    page = study.report().read_text()
    for text in ("needs errors of a model", "needs training on from the end of the window", "needs the steps in"):
        assert text in page


def test_what_is_given_is_measured(analysed):
    samplings = ("reshuffled", "shuffled-once", "fixed", "with-replacement")
    need_training = {f"exponents-sampling-{name}" for name in samplings} | {"controls-yaida", "controls-lyapunov"}
    # The loss of this small training still falls, and the correction says so instead of a number.
    not_applicable = {"exponents-one-window", "exponents-one-window-separable"}
    found = ls.load(analysed.folder.file("one-window"))
    assert all(found.drift_reason and found.drift_reason in analysed.not_measured[name] for name in not_applicable)
    assert need_training <= set(analysed.not_measured)
    others = {name for name, reason in analysed.not_measured.items() if "train_on" not in reason}
    assert others == not_applicable
    summary, model = analysed.summary(), small.network()
    small.train(model, small.sgd(model))
    assert summary["train_error_at_w0"] == small.evaluate(model.eval())["train_error"]
    assert summary["loss_at_w0"] == pytest.approx(small.evaluate(model)["train_loss"], rel=1e-5)
    assert ls.load(analysed.folder.file("training")).steps.tolist() == small.SAVED
    assert {judgement.claim.key for judgement in analysed.claims if judgement.verdict == "not measured"} <= {
        "faster_decay", "gamma", "inverse_einstein", "modes_for_90_percent", "plateau", "psi_infinity_of_run",
        "response_temperature", "stationary", "tau_by_sampling",
    }  # fmt: skip
    for judgement in analysed.claims:  # no number of one run is certain
        found = judgement.measurement
        assert math.isnan(found.value) or found.has_interval or found.no_interval, judgement.claim.key


def test_a_training_that_offers_some_orders_is_continued_with_these(recorded):
    study = small.opened(recorded, train_on=small.train_on, n_nulls=0, steps_per_epoch=10)
    study.analyse(noise=True, dynamics=True, progress=False)
    assert study.folder.has("exponents-sampling-reshuffled")
    assert study.folder.has("controls-yaida")
    assert "The loop has no order fixed." in study.not_measured["exponents-sampling-fixed"]
    assert study.plots.correlation_time_by_sampling().data


def test_a_folder_alone_is_read_drawn_and_reported(analysed):
    study = ls.Study(analysed.path)
    assert study.law["in-sample"].psi == analysed.law.in_sample.psi
    assert torch.equal(study.modes.directions, analysed.modes.directions)
    without = {
        "correlation_time_by_sampling", "stationarity", "psi_against_window", "variance_and_relaxation",
        "response_and_correlation", "response_temperature",
    }  # fmt: skip
    assert all("train_on=f" in analysed.not_measured[FIGURES[name].results[0].name] for name in without)
    for name in set(FIGURES) - without:
        assert isinstance(getattr(study.plots, name)(), go.Figure), name
    for name in without:
        with pytest.raises(InputError, match=r"none for .*train_on=f"):
            getattr(study.plots, name)()
    assert study.report().read_text().count("<figure") == len(FIGURES) - len(without)
    with pytest.raises(AttributeError, match="variance_against_flatness"):
        _ = study.plots.variance
    with pytest.raises(InputError, match="opened by its folder alone"):
        _ = study.model


def test_figures_before_the_analysis_name_what_they_need(recorded):
    for name, figure in FIGURES.items():
        with pytest.raises(InputError, match=re.escape(figure.results[0].name)):
            getattr(ls.Study(recorded).plots, name)()
    assert dir(ls.Study(recorded).plots) == sorted(FIGURES)


def test_progress_is_passed_to_a_callback(recorded):
    seen = []
    small.opened(recorded, n_nulls=1).analyse(progress=lambda *call: seen.append(call))
    assert list(dict.fromkeys(stage for stage, _, _ in seen)) == ["Principal modes", "Flatness", "Law and nulls"]
    for title in ("Principal modes", "Flatness", "Law and nulls"):
        done = [(amount, total) for stage, amount, total in seen if stage == title]
        assert done == sorted(done)
        assert done[-1][0] == done[-1][1]


def test_a_second_process_is_refused(recorded):
    study, other = small.opened(recorded), small.opened(recorded)
    with study.folder.locked(), pytest.raises(StorageError, match="another process"):
        other.analyse(progress=False)
    with study.folder.locked(), pytest.raises(StorageError, match="another process"):
        other.discard_results()


def test_what_a_person_sees(recorded, analysed):
    assert repr(ls.Study(recorded)) == f"Study({str(recorded)!r}: nothing analysed yet)"
    assert repr(analysed).endswith(": modes, flatness, law, noise, controls, dynamics)")
    table = repr(analysed.law).splitlines()
    assert table[0].split() == ["psi", "psi_D", "psi_tau", "gamma", "directions"]
    assert table[1].startswith("in-sample")
    assert f" {analysed.law.in_sample.psi:.2f} " in table[1]
    html = analysed.law._repr_html_()
    assert html.count("<tr>") + html.count("<p>") == len(table)
    assert "same modes, fresh data" in html
    with pytest.raises(KeyError, match="the rows are in-sample"):
        _ = analysed.law["in sample"]
    heading, *claims, chance = repr(analysed.claims).splitlines()
    assert chance.startswith("Chance:")
    assert heading.split() == ["claim", "verdict", "measured", "claimed"]
    assert [line.split()[0] for line in claims] == [judgement.claim.key for judgement in analysed.claims]
    assert max(map(len, claims)) < 120
    assert f" {analysed.measurements['psi'].value:.3g} " in next(line for line in claims if line.startswith("psi "))
    assert analysed.claims._repr_html_().count("<tr>") == len(claims) + 1


def test_a_copy_of_a_study_and_a_study_in_another_process_read_the_same_folder(analysed):
    _ = analysed.law
    for again in (copy.deepcopy(analysed), pickle.loads(pickle.dumps(small.opened(analysed.path)))):
        assert (again.path, repr(again.law)) == (analysed.path, repr(analysed.law))
        assert torch.equal(again.risk().w0, analysed.risk().w0)
        assert again.model is not analysed.model
        with again.folder.locked():
            pass


def test_a_copy_made_while_recording_does_not_record(tmp_path):
    study, model, optimizer = small.begin(tmp_path / "s")
    with study.record(optimizer, small.SELECT):
        small.train(model, optimizer, last=30)
        again = copy.deepcopy(study)
        with pytest.raises(StorageError, match="another process"):
            again.record(small.sgd(again.model), small.SELECT, first_step=31)
    assert len(study.trajectory) == 30


@pytest.mark.parametrize(
    "asked",
    [{"noise": True}, {"controls": True}, {"noise": True, "controls": True}, {"dynamics": True}],
)
def test_stages_after_the_last_one_are_refused(recorded, asked):
    with pytest.raises(InputError, match=rf"up to until='law'; got {'=True and '.join(asked)}=True, which comes later"):
        small.opened(recorded).analyse(until="law", progress=False, **asked)


def test_settings_are_explained_by_help():
    from landscope.study import StudySettings

    for name in StudySettings.model_fields:
        assert f"    {name}: " in StudySettings.__doc__
    assert "noise_modes: Number of log-spaced modes" in StudySettings.__doc__
    assert "Default: 100." in StudySettings.__doc__


def test_one_study_has_the_claims_of_all_stages(analysed):
    from landscope.claims.statements import CLAIMS

    judged = {judgement.claim.key for judgement in analysed.claims}
    assert judged <= {claim.key for claim in CLAIMS}
    assert {"psi", "minibatch_springs", "psi_hessian"} <= judged
    assert judged == set(analysed.measurements)


def test_what_is_given_later_is_measured_later(recorded, tmp_path):
    whole = shutil.copytree(recorded, tmp_path / "whole")
    inputs, labels = small.samples()
    loader = DataLoader(TensorDataset(inputs, labels), small.BATCH)
    settings = {"n_nulls": 0, "n_processes": 0, "batch_size": None}

    def analysed(folder, data, **changes):
        study = ls.Study(folder, small.network(), small.CRITERION, data, **settings, **changes)
        study.analyse(noise=True, progress=False)
        return study

    first = analysed(recorded, (inputs, labels))
    assert "evaluate=f" in {judgement.claim.key: judgement for judgement in first.claims}["margin"].sentence
    assert math.isnan(ls.load(first.folder.file("noise-velocity")).persistence[0])
    later = analysed(recorded, loader, evaluate=small.evaluate)
    assert_same(small.contents(later), small.contents(analysed(whole, loader, evaluate=small.evaluate)))
    assert later.measurements["margin"].value == 0
    before = {name: later.folder.file(name).stat().st_mtime_ns for name in later.folder.names()}
    again = analysed(recorded, (inputs, labels))
    assert {name: again.folder.file(name).stat().st_mtime_ns for name in again.folder.names()} == before


def test_results_of_an_earlier_history_go_with_it(analysed, tmp_path):
    study = small.opened(shutil.copytree(analysed.path, tmp_path / "copy"))
    first = ls.load(study.folder.file("noise-drift-law"))
    history = ls.load(study.folder.file("training"))
    study.save_history(dataclasses.replace(history, train_loss=2 * history.train_loss))
    assert not study.folder.has("noise-drift-law")
    assert not study.folder.has("noise-phases")
    study.analyse(noise=True, progress=False)
    torch.testing.assert_close(ls.load(study.folder.file("noise-drift-law")).loss, 2 * first.loss)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            NonFiniteError(expected="a finite walk", got="NaN", hint="Take shorter steps."),
            "needs a finite walk; found: NaN. Take shorter steps.",
        ),
        (torch.linalg.LinAlgError("eigh did not converge"), "eigh did not converge"),
    ],
)
def test_a_computation_that_fails_is_noted_and_the_analysis_goes_on(recorded, error, said):
    def fail(_):
        raise error

    study = small.opened(recorded)
    stage = Stage("walk", "Walk", lambda _: (Part(Saved("walk", Result), fail, is_optional=True),))
    run_stages(study._analysis, [stage], QuietReporter())
    assert study.not_measured == {"walk": said}
    needed = Stage("walk", "Walk", lambda _: (Part(Saved("walk", Result), fail),))
    with pytest.raises(type(error)):
        run_stages(study._analysis, [needed], QuietReporter())


def test_a_window_that_ends_where_it_began_has_no_slope(analysed):
    analysis = Analysis(analysed.folder, analysed._subject)
    window = analysis.window
    rows = window.weights.clone()
    rows[0] = rows[-1]
    analysis.windows = Windows(ls.Trajectory.of(rows, steps=window.steps, space=window.space), None)
    still = walk_along_drift(analysis)
    assert math.isnan(still.beta_slope)
    assert set(still.random_train_error.tolist()) == {float(still.train_error[0])}


def test_random_steps_as_long_as_the_drift_have_the_errors_of_the_model_there(analysed):
    """Twin: the model with the first random step written into it."""
    analysis = Analysis(analysed.folder, analysed._subject)
    path, risk = analysis.load(saved.DRIFT_PATH), analysis.risk
    generator = torch.Generator().manual_seed(analysis.settings.seed)
    direction = torch.randn(len(risk.w0), generator=generator, dtype=torch.float64)
    step = direction * abs(path.window_displacement) / direction.norm()
    model = analysis.model_at(analysis.windows.step).eval()
    with torch.no_grad():
        (weights,) = (parameter for name, parameter in model.named_parameters() if name in risk.space.names)
        weights.copy_((risk.w0 + step.to(risk.w0)).view_as(weights))
    assert len(path.random_train_error) == 5
    assert float(path.random_train_error[0]) == pytest.approx(small.evaluate(model)["train_error"])


def test_alpha_is_the_mean_over_the_window_and_a_schedule_is_named(tmp_path):
    study, model, optimizer = small.begin(tmp_path / "s", n_nulls=0)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / small.N_STEPS)
    with study.record(optimizer, small.SELECT):
        small.train(model, optimizer, after_step=lambda _: schedule.step())
    rates = study.window.learning_rate
    assert study._analysis.learning_rate == pytest.approx(float(rates.mean()))
    assert float(rates.mean()) > 5 * float(rates[-1])
    study.analyse(noise=True, progress=False)
    (caveat,) = study.summary()["caveats"]
    assert f"{float(rates[0]):g} to {float(rates[-1]):g}" in caveat
    assert caveat[1:] in study.report().read_text()
    notes = {judgement.claim.key: judgement.measurement.note for judgement in study.claims}
    assert caveat in notes["cooling"]
    assert caveat not in notes["psi"]


def test_a_constant_learning_rate_and_even_rows_have_no_caveat(analysed):
    assert analysed.summary()["caveats"] == []


def _recorded_with(folder, groups, kind=torch.optim.SGD):
    """The analysis of a short training whose optimiser has two groups: the recorded layer, and the others."""
    study, model, _ = small.begin(folder, n_nulls=0)
    layer, others = [model[0].weight], [p for p in model.parameters() if p is not model[0].weight]
    optimizer = kind([{"params": others, **groups[0]}, {"params": layer, **groups[1]}], lr=0.1)
    with study.record(optimizer, small.SELECT):
        small.train(model, optimizer, last=40)
    return study


def test_facts_are_those_of_the_recorded_weights(tmp_path):
    facts = _recorded_with(tmp_path / "s", [{}, {"momentum": 0.9, "lr": 0.01}])._analysis.facts
    assert (facts.momentum, facts.learning_rate, facts.is_plain_sgd) == (0.9, 0.01, False)
    assert _recorded_with(tmp_path / "t", [{"momentum": 0.9}, {}])._analysis.facts.is_plain_sgd


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (torch.optim.SGD, {"weight_decay": 0.1}),
        (torch.optim.SGD, {"momentum": 0.5, "nesterov": True}),
        (torch.optim.SGD, {"maximize": True}),
        (torch.optim.SGD, {"dampening": 0.5}),
        (torch.optim.Adam, {}),
    ],
)
def test_steps_that_are_more_than_the_gradient_are_not_plain(tmp_path, kind, options):
    assert not _recorded_with(tmp_path / "s", [{}, options], kind)._analysis.facts.is_plain_sgd


def test_groups_that_differ_are_not_plain_and_have_no_one_learning_rate(tmp_path):
    study, model, _ = small.begin(tmp_path / "s", n_nulls=0)
    groups = [{"params": [p], "lr": 0.1 / (1 + number)} for number, p in enumerate(model.parameters())]
    optimizer = torch.optim.SGD(groups, lr=0.1)
    with study.record(optimizer, "0.*"):
        small.train(model, optimizer)
    assert study.trajectory.learning_rate.isnan().all()
    assert not study._analysis.facts.is_plain_sgd
    study.analyse(noise=True, progress=False)
    assert "parameter groups that differ" in study.not_measured["noise-temperature"]


def test_rows_that_are_not_evenly_spaced_lose_velocities_alone(tmp_path):
    study, model, optimizer = small.begin(tmp_path / "s", n_nulls=0)
    with study.record(optimizer, small.SELECT):
        small.train(model, optimizer)
    whole, kept = study.trajectory, [step for step in range(1, 241) if step < 200 or step % 2 == 0]
    weights = whole.weights[torch.tensor(kept) - 1]
    rows = ls.Trajectory.of(weights, steps=torch.tensor(kept), space=whole.space)
    study = ls.Study(tmp_path / "uneven", model, small.CRITERION, small.samples(), **small.SETTINGS)
    study.use_trajectory(rows)
    study.analyse(noise=True, progress=False)
    assert "equal distances" in study.not_measured["noise-velocity"]
    assert study.folder.has("noise-gradient")
    assert "1 to 2 steps apart" in study.summary()["caveats"][0]
    assert "1 to 2 steps apart: D and tau" in study.report().read_text()


def _sgd_on(rate=0.1, take=1.0, **options):
    """A training that goes on with an optimiser of its own, for a share of the steps that are asked."""

    def train_on(model, record, *, sampling, n_steps, seed):
        if sampling != "with-replacement":
            raise NotImplementedError("Independent minibatches only.")
        optimizer = torch.optim.SGD(model.parameters(), lr=rate, **options)
        with record(optimizer):
            small.train(model, optimizer, 1000 * seed, 1000 * seed + int(take * n_steps) - 1)

    return train_on


def _one_layer(model, record, *, sampling, n_steps, seed):
    """A training that goes on with some of the weights, without a word to the others."""
    optimizer = torch.optim.SGD(model[0].parameters(), lr=0.1)
    first = small.first_step(sampling, seed)
    with record(optimizer):
        small.train(model, optimizer, first, first + n_steps - 1)


def _continued(folder, train_on, *, controls=False):
    study = small.opened(folder, train_on=train_on, n_nulls=0, n_processes=0)
    study.analyse(controls=controls, dynamics=True, progress=False)
    return study


def test_stationarity_is_tested_with_the_rate_and_the_optimiser_of_the_training_that_went_on(recorded, tmp_path):
    study, model, _ = small.begin(tmp_path / "s", n_nulls=0, n_processes=0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    with study.record(optimizer, small.SELECT):
        small.train(model, optimizer)
    study = _continued(study.path, _sgd_on(rate=0.01, momentum=0.9))
    assert ls.load(study.folder.file("controls-yaida")).provenance["settings"]["learning_rate"] == 0.01
    assert ls.load(study.folder.file("controls-lyapunov")).provenance["settings"]["learning_rate"] == 0.01
    notes = {judgement.claim.key: judgement.measurement.note for judgement in study.claims}
    assert "for plain SGD, without momentum" in notes["stationary"]
    assert not list(study.path.glob(".continued*"))
    study.discard_results()
    assert not (study.path / "continued.json").exists()
    study = _continued(recorded, _sgd_on())
    notes = {judgement.claim.key: judgement.measurement.note for judgement in study.claims}
    assert "residual of the Lyapunov equation" in notes["stationary"]


def test_stationarity_is_of_the_weights_that_the_training_that_went_on_trains(recorded):
    study = _continued(recorded, _one_layer)
    assert study.folder.has("controls-yaida")
    assert study.folder.has("controls-lyapunov")


def test_a_training_that_goes_on_for_too_few_steps_is_refused_before_the_analysis(recorded):
    with pytest.raises(InputError, match=r"4 steps .*; got 2\. Let train_on take all n_steps"):
        _continued(recorded, _sgd_on(take=0.5))
    assert not (recorded / "modes.zarr.zip").exists()


def test_gradients_along_the_training_that_went_on_are_of_the_whole_model(recorded, monkeypatch):
    from landscope.study.stages import continued

    seen = []

    def watched(trajectory, landscape, modes, **options):
        seen.append((trajectory, landscape))
        return ls.noise.yaida_relation(trajectory, landscape, modes, **options)

    monkeypatch.setattr(continued, "yaida_relation", watched)
    study = _continued(recorded, _sgd_on())
    ((trajectory, landscape),) = seen
    assert trajectory.dim == landscape.w0.numel() == sum(p.numel() for p in study.model.parameters())


def test_stationarity_alone_is_lost_where_it_cannot_be_tested_and_made_when_it_can(recorded, monkeypatch):
    from landscope.study.stages import continued

    with monkeypatch.context() as patched:
        patched.setattr(continued, "_CONTINUED_BYTES", 1000)
        study = _continued(recorded, _sgd_on())
    assert study.folder.has("exponents-sampling-with-replacement")
    assert "the whole model" in study.not_measured["controls-yaida"]
    study.analyse(dynamics=True, progress=False)
    assert study.folder.has("controls-yaida")
    assert study.folder.has("controls-lyapunov")
    assert "controls-yaida" not in study.not_measured


def test_a_thinned_recording_has_all_controls(tmp_path):
    study, model, optimizer = small.begin(tmp_path / "s", n_nulls=0, n_processes=0)
    with study.record(optimizer, small.SELECT, every=5):
        small.train(model, optimizer, last=600)
    study = _continued(study.path, _sgd_on(), controls=True)
    assert study.folder.has("exponents-sampling-with-replacement")
    assert study.folder.has("controls-yaida")


def test_the_law_says_why_a_row_is_empty_and_which_is_missing(recorded):
    study = small.opened(recorded, fresh="none", ratio=1e30)
    study.analyse(progress=False)
    text = repr(study.law)
    assert re.search(r"in-sample: no exponents, .* of 2 to 30, 0 did not move and 29 have no flatness", text)
    assert "same modes, fresh data: not measured: needs fresh data" in text
    assert "<p>in-sample: no exponents" in study.law._repr_html_()
