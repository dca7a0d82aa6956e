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

import landscope as ls
import small_study as small
from landscope.errors import InputError, NonFiniteError, StorageError
from landscope.progress import QuietReporter
from landscope.results import Result
from landscope.study import saved
from landscope.study.analysis import Analysis
from landscope.study.figures import FIGURES
from landscope.study.parts import Part, Stage
from landscope.study.pipeline import run_stages
from landscope.study.saved import Saved


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


def test_the_law_says_why_a_row_is_empty_and_which_is_missing(recorded):
    study = small.opened(recorded, fresh="none", ratio=1e30)
    study.analyse(progress=False)
    text = repr(study.law)
    assert re.search(r"in-sample: no exponents, .* of 2 to 30, 0 did not move and 29 have no flatness", text)
    assert "same modes, fresh data: not measured: needs fresh data" in text
    assert "<p>in-sample: no exponents" in study.law._repr_html_()
